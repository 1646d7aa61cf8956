// Package prepare is the role that makes, of whatever was fetched, the one kind
// of video that engines read: H.264 in MP4, upright, constant frame rate, cut to
// the frames that were asked for. It counts those frames; a result has to cover
// exactly them. Boxes that the job brings are checked against the video and cut
// with it.
package prepare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/queue"
)

// spare is left free on the scratch volume, in bytes.
const spare = 64 << 20

// job is one run.
type job struct {
	cfg   report.PrepareConfig
	l     layout.Layout
	tools *tools
	log   io.Writer
	boxes *report.BoxesFacts // nil without boxes
	// source is what look saw of the fetched file.
	source report.SourceFacts
}

// Run prepares the layout's source file and writes the video and its facts.
func Run(ctx context.Context, cfg report.PrepareConfig, l layout.Layout, log io.Writer) (*report.VideoFacts, error) {
	if cfg.TimeoutSeconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(cfg.TimeoutSeconds)*time.Second)
		defer cancel()
	}
	t, err := newTools(cfg.TimeoutSeconds)
	if err != nil {
		return nil, err
	}
	j := &job{cfg: cfg, l: l, tools: t, log: log}
	p, err := j.prepare(ctx)
	if err != nil {
		return nil, failure(ctx, cfg, err, l.SourceFile)
	}
	fetched, err := readFetched(l.SourceFacts)
	if err != nil {
		return nil, err
	}
	facts := p.facts(fetched, j.source)
	if facts.Boxes = j.boxes; facts.Boxes != nil && fetched.Boxes != nil {
		facts.Boxes.SourceSHA256, facts.Boxes.SourceVersion = fetched.Boxes.SHA256, version(fetched.Boxes.Version)
	}
	if err := queue.Write(l.FactsFile, facts, 0o644); err != nil {
		return nil, failure(ctx, cfg, err, l.SourceFile)
	}
	// The engine reads the prepared file only; the space serves its outputs.
	_ = os.Remove(l.SourceFile)
	_ = os.Remove(l.BoxesSource)
	fmt.Fprintf(log, "pose-runner: prepared %d frames of %dx%d at %.3f fps\n", facts.Frames, facts.Width, facts.Height, facts.FPS)
	return &facts, nil
}

// prepare looks, decides, makes the file and counts its frames.
func (j *job) prepare(ctx context.Context) (plan, error) {
	v, s, err := j.look(ctx)
	if err != nil {
		return plan{}, err
	}
	p, err := makePlan(v, s, j.cfg)
	if err != nil {
		return plan{}, err
	}
	if err := j.prepareBoxes(ctx, p, s); err != nil {
		return plan{}, err
	}
	if err := j.leaveTimes(v, s, p); err != nil {
		return plan{}, err
	}
	if p.Copy {
		if p.Why, err = j.copy(ctx, p); err != nil {
			return plan{}, err
		}
		if p.Why == "" {
			return p, j.publish()
		}
		p.Copy = false
	}
	fmt.Fprintf(j.log, "pose-runner: re-encoding the video (%s)\n", p.Why)
	if err := j.make(ctx, p.encodeArgs(j.l.SourceFile, j.temp(), threadsFor(p.Width, p.Height, j.tools.threads), j.cfg.MaxPixels)); err != nil {
		return plan{}, err
	}
	c, err := j.coded(ctx, j.temp(), p.Frames)
	if err != nil {
		return plan{}, err
	}
	switch {
	case c.frames() != p.Frames:
		return plan{}, outcome.Failf(report.ReasonInputInvalid, "re-encoding gave %d frames, %d were decoded before: the video is damaged, re-encode it yourself", c.frames(), p.Frames)
	case c.width != p.Width || c.height != p.Height:
		return plan{}, outcome.Failf(report.ReasonInputInvalid, "re-encoding gave frames of %dx%d pixels instead of %dx%d: re-encode the video yourself", c.width, c.height, p.Width, p.Height)
	}
	return p, j.publish()
}

// copy puts the coded frames as they are into an MP4 file, and proves that a
// decoder is given the same: byte by byte the same frames with the same set-up,
// in the same order of showing, none more and none less than could be decoded.
// Otherwise it says why not.
func (j *job) copy(ctx context.Context, p plan) (string, error) {
	before, err := j.coded(ctx, j.l.SourceFile, p.Frames)
	if err != nil {
		return "", err
	}
	switch {
	case before.frames() != p.Frames:
		// Hidden or undecodable coded frames: readers would count differently.
		return fmt.Sprintf("%d coded frames of which %d can be shown", before.frames(), p.Frames), nil
	case before.changes:
		return "the decoder's set-up changes on the way", nil
	}
	if err := j.make(ctx, copyArgs(j.l.SourceFile, j.temp())); err != nil {
		var te *toolError
		if ctx.Err() == nil && errors.As(err, &te) && te.signal == 0 && !te.full() {
			return "its coded frames do not fit into MP4", nil
		}
		return "", err
	}
	after, err := j.coded(ctx, j.temp(), p.Frames)
	if err != nil {
		return "", err
	}
	if !before.same(after) {
		return "its coded frames differ in MP4", nil
	}
	return "", nil
}

// look reads the headers and decodes the frames.
func (j *job) look(ctx context.Context) (stream, scan, error) {
	info, err := os.Stat(j.l.SourceFile)
	if err != nil {
		return stream{}, scan{}, fmt.Errorf("the fetched file is not there: %w", err)
	}
	if info.Size() == 0 {
		return stream{}, scan{}, outcome.Failf(report.ReasonInputInvalid, "the file is empty: upload the video again")
	}
	var raw []byte
	args := append([]string{"-v", "error"}, openGuard...)
	_, err = j.tools.run(ctx, 0, slurp(&raw), "ffprobe", append(args, "-show_streams", "-show_format", "-of", "json", j.l.SourceFile)...)
	if err != nil {
		return stream{}, scan{}, err
	}
	v, ok, err := parseProbe(raw)
	if err != nil {
		return stream{}, scan{}, err
	}
	if !ok {
		return stream{}, scan{}, outcome.Failf(report.ReasonInputInvalid, "the file has no video stream (audio or pictures only): give a video")
	}
	if err := checkHeader(v, j.cfg); err != nil {
		return stream{}, scan{}, err
	}
	s, err := j.frames(ctx, v)
	j.source = report.SourceFacts{
		Bytes: info.Size(), Container: v.Container, Codec: v.Codec, Width: s.Width, Height: s.Height,
		Rotation: int64(v.Rotation), VariableRate: s.Uneven,
	}
	return v, s, err
}

// frames decodes as far as the cut reaches.
func (j *job) frames(ctx context.Context, v stream) (scan, error) {
	stop := j.cfg.EndFrame
	if limit := j.cfg.StartFrame + j.cfg.MaxFrames + 1; j.cfg.MaxFrames > 0 && (stop == 0 || limit < stop) {
		stop = limit
	}
	sc := newScanner(v, stop)
	stopped := false
	args := append([]string{"-v", "error", "-threads", fmt.Sprint(threadsFor(v.Width, v.Height, j.tools.threads))}, decodeGuard(j.cfg.MaxPixels)...)
	// What the loop filter does to the pictures is nothing to a count of them.
	args = append(args, "-skip_loop_filter", "all", "-select_streams", "V:0", "-show_entries", "frame=best_effort_timestamp,width,height", "-of", "compact", j.l.SourceFile)
	messages, err := j.tools.run(ctx, 0, func(r io.Reader) (bool, error) {
		var err error
		stopped, err = sc.read(r)
		return stopped, err
	}, "ffprobe", args...)
	if err != nil {
		return scan{}, err
	}
	if j.cfg.MaxFrames > 0 && sc.s.Frames > j.cfg.StartFrame+j.cfg.MaxFrames {
		return scan{}, tooMany(j.cfg)
	}
	if stopped {
		return sc.s, nil
	}
	switch broke := strings.Contains(messages, "partial file") || strings.Contains(messages, "File ended prematurely"); {
	case broke && sc.s.Frames < v.Promised:
		return scan{}, outcome.Failf(report.ReasonInputInvalid, "the file is cut off: it announces %d frames and holds %d: upload it again", v.Promised, sc.s.Frames)
	case broke && v.Promised == 0:
		return scan{}, outcome.Failf(report.ReasonInputInvalid, "the file is cut off after %d frames: upload it again; if that is all there is, copy it with ffmpeg -i IN -c copy OUT.mp4 or set spec.video.frames.end", sc.s.Frames)
	}
	return sc.s, nil
}

// make runs ffmpeg for the file that temp names.
func (j *job) make(ctx context.Context, args []string) error {
	var st unix.Statfs_t
	space := uint64(0)
	if unix.Statfs(filepath.Dir(j.temp()), &st) == nil {
		free := st.Bavail * uint64(st.Bsize) //nolint:gosec // a block size is positive
		space = max(1<<20, free-min(free, spare))
	}
	_, err := j.tools.run(ctx, space, discard, "ffmpeg", args...)
	if err != nil {
		_ = os.Remove(j.temp())
	}
	return err
}

// coded lists a file's coded frames without decoding them, up to a little more
// than most. In MP4 and its like a packet is a coded frame.
func (j *job) coded(ctx context.Context, path string, most int64) (*coded, error) {
	c := &coded{most: most}
	args := append([]string{"-v", "error"}, openGuard...)
	args = append(args, "-select_streams", "V:0", "-show_streams", "-show_packets", "-show_data_hash", "CRC32", "-show_entries",
		"stream=width,height,extradata_hash:packet=pts,flags,data_hash:packet_side_data=side_data_type", "-of", "compact", path)
	_, err := j.tools.run(ctx, 0, c.read, "ffprobe", args...)
	return c, err
}

func (j *job) temp() string { return j.l.VideoFile + ".part" }

func (j *job) publish() error {
	if err := os.Chmod(j.temp(), 0o644); err != nil {
		return err
	}
	return os.Rename(j.temp(), j.l.VideoFile)
}

func discard(r io.Reader) (bool, error) {
	_, err := io.Copy(io.Discard, r)
	return false, err
}

// readFetched reads what fetch left; nothing when nothing was fetched by it.
func readFetched(path string) (report.FetchReport, error) {
	var r report.FetchReport
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return r, fmt.Errorf("read what fetch left: %w", err)
	}
	return r, nil
}
