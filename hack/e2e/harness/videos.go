package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// pedestrians is a real video of people who walk, from Debian's opencv-doc:
// 768x576 pixels, 10 frames per second, 795 frames.
const pedestrians = "/usr/share/doc/opencv-doc/examples/data/vtest.avi"

// Videos are the real video in the forms that people have.
type Videos struct {
	MP4, MOV, AVI string
	// Broken ones: cut in the middle, without a byte, and a text.
	Truncated, Empty, Text string
	// Rectangles is no real video: what the STAGED image of PHALP takes for people.
	Rectangles string
}

// MakeVideos writes the videos into dir, once.
func (e *Env) MakeVideos(ctx context.Context, dir string) (*Videos, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make %s: %w", dir, err)
	}
	v := &Videos{
		MP4: filepath.Join(dir, "pedestrians.mp4"), MOV: filepath.Join(dir, "pedestrians.mov"), AVI: pedestrians,
		Truncated: filepath.Join(dir, "truncated.mp4"), Empty: filepath.Join(dir, "empty.mp4"), Text: filepath.Join(dir, "text.mp4"),
		Rectangles: filepath.Join(dir, "rectangles.mp4"),
	}
	if _, err := os.Stat(pedestrians); err != nil {
		return nil, fmt.Errorf("%w. Install Debian's opencv-doc: `make debian-packages`", err)
	}
	for _, target := range []string{v.MP4, v.MOV} {
		if _, err := os.Stat(target); err == nil {
			continue
		}
		part := filepath.Join(dir, "part-"+filepath.Base(target))
		if _, err := e.Run(ctx, "ffmpeg", "-hide_banner", "-loglevel", "error", "-y", "-i", pedestrians,
			"-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p", part); err != nil {
			return nil, err
		}
		if err := os.Rename(part, target); err != nil {
			return nil, fmt.Errorf("keep %s: %w", target, err)
		}
	}
	if _, err := e.Run(ctx, "ffmpeg", "-hide_banner", "-loglevel", "error", "-y",
		"-f", "lavfi", "-i", "color=c=0x282828:s=320x240:r=25:d=1",
		"-vf", "drawbox=x=40:y=60:w=60:h=130:c=white:t=fill,drawbox=x=200:y=70:w=60:h=130:c=white:t=fill",
		"-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", v.Rectangles); err != nil {
		return nil, err
	}
	whole, err := os.ReadFile(v.MP4)
	if err != nil {
		return nil, fmt.Errorf("read the video: %w", err)
	}
	for path, content := range map[string][]byte{
		v.Truncated: whole[:len(whole)/2], v.Empty: nil, v.Text: []byte("this is no video\n"),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return nil, fmt.Errorf("write %s: %w", path, err)
		}
	}
	return v, nil
}
