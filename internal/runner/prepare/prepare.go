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
	facts := p.facts(fetched.SHA256)
	if facts.Boxes = j.boxes; facts.Boxes != nil && fetched.Boxes != nil {
		facts.Boxes.SourceSHA256 = fetched.Boxes.SHA256
	}
	if err := writeJSON(l.FactsFile, facts); err != nil {
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
	if p.Copy {
		n, err := j.make(ctx, copyArgs(j.l.SourceFile, j.temp()))
		if err != nil {
			return plan{}, err
		}
		if n == p.Frames {
			return p, j.publish()
		}
		// Hidden or undecodable coded frames: readers would count differently.
		p.Copy, p.Why = false, fmt.Sprintf("%d coded frames of which %d can be shown", n, p.Frames)
	}
	fmt.Fprintf(j.log, "pose-runner: re-encoding the video (%s)\n", p.Why)
	n, err := j.make(ctx, p.encodeArgs(j.l.SourceFile, j.temp(), j.tools.threads))
	if err != nil {
		return plan{}, err
	}
	if n != p.Frames {
		return plan{}, outcome.Failf(report.ReasonInputInvalid, "re-encoding gave %d frames, %d were decoded before: the video is damaged, re-encode it yourself", n, p.Frames)
	}
	return p, j.publish()
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
	args := append([]string{"-v", "error"}, inputGuard...)
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
	args := append([]string{"-v", "error", "-threads", fmt.Sprint(j.tools.threads)}, inputGuard...)
	args = append(args, "-select_streams", "V:0", "-show_entries", "frame=best_effort_timestamp,width,height", "-of", "compact", j.l.SourceFile)
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
	if !stopped && sc.s.Frames < v.Promised && strings.Contains(messages, "partial file") {
		return scan{}, outcome.Failf(report.ReasonInputInvalid, "the file is cut off: it announces %d frames and holds %d: upload it again", v.Promised, sc.s.Frames)
	}
	return sc.s, nil
}

// make runs ffmpeg and counts the frames of what it wrote. Packets are frames
// here: one packet of H.264 in MP4 is one coded frame.
func (j *job) make(ctx context.Context, args []string) (int64, error) {
	var st unix.Statfs_t
	space := uint64(0)
	if unix.Statfs(filepath.Dir(j.temp()), &st) == nil {
		free := st.Bavail * uint64(st.Bsize) //nolint:gosec // a block size is positive
		space = max(1<<20, free-min(free, spare))
	}
	if _, err := j.tools.run(ctx, space, discard, "ffmpeg", args...); err != nil {
		_ = os.Remove(j.temp())
		return 0, err
	}
	var raw []byte
	count := append([]string{"-v", "error"}, inputGuard...)
	count = append(count, "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "json", j.temp())
	if _, err := j.tools.run(ctx, 0, slurp(&raw), "ffprobe", count...); err != nil {
		return 0, err
	}
	return parsePackets(raw)
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

// writeJSON writes v for the other containers to read.
func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	temp := path + ".part"
	if err := os.WriteFile(temp, b, 0o644); err != nil {
		return err
	}
	if err := os.Chmod(temp, 0o644); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
