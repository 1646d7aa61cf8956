package deliver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/beneath"
	"github.com/pose-dev/pose-operator/internal/runner/ctxio"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
)

// maxPNGPixels bounds a picture, in pixels.
const maxPNGPixels = 64 << 20

// output is one judged file. It stays open from the judgement to the upload, so
// that what is uploaded is what was judged.
type output struct {
	spec   report.OutputFile
	file   *os.File
	size   int64
	sha256 string
}

// judgement is what the outputs prove.
type judgement struct {
	outputs []output
	summary result.Summary
	proven  bool         // a PoseJSON covered the frames
	smpl    *result.SMPL // the entries of the first SMPLNPZ, which pose.json must have too
	// wantsSMPL says that the engine is known to write an SMPLNPZ.
	wantsSMPL bool
}

func (j *judgement) close() {
	for _, o := range j.outputs {
		o.file.Close()
	}
}

// mediaTypes of the formats.
var mediaTypes = map[report.OutputFormat]string{
	report.FormatPoseJSON: "application/json",
	report.FormatSMPLNPZ:  "application/zip", // what .npz is
	report.FormatMP4:      "video/mp4",
	report.FormatPNG:      "image/png",
	formatFrameTimes:      "application/json",
	report.FormatOpaque:   "application/octet-stream",
}

// judge opens and checks every expected output below dir.
func judge(ctx context.Context, cfg report.DeliverConfig, dir string, facts report.VideoFacts) (*judgement, error) {
	j := &judgement{}
	err := j.openAll(cfg, dir)
	if err == nil {
		err = j.checkAll(ctx, facts)
	}
	if err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

func (j *judgement) openAll(cfg report.DeliverConfig, dir string) error {
	left := cfg.MaxBytes
	for _, spec := range cfg.Outputs {
		j.wantsSMPL = j.wantsSMPL || spec.Format == report.FormatSMPLNPZ
		o, err := open(dir, spec)
		if errors.Is(err, fs.ErrNotExist) && !spec.Required {
			continue
		}
		if err != nil {
			return err
		}
		j.outputs = append(j.outputs, *o)
		if left -= o.size; cfg.MaxBytes > 0 && left < 0 {
			return invalid(spec, "with it the outputs have more than the %s that the operator accepts", progress.Bytes(cfg.MaxBytes))
		}
	}
	return nil
}

// checkAll leaves pose.json for the end: it must have the entries of the body
// model's file.
func (j *judgement) checkAll(ctx context.Context, facts report.VideoFacts) error {
	for _, last := range []bool{false, true} {
		for i := range j.outputs {
			if (j.outputs[i].spec.Format == report.FormatPoseJSON) != last {
				continue
			}
			if err := j.check(ctx, i, facts); err != nil {
				return err
			}
		}
	}
	return nil
}

// invalid is the verdict on one output.
func invalid(spec report.OutputFile, format string, args ...any) error {
	return outcome.Failf(report.ReasonOutputInvalid, "output %s (%s): %w", spec.Name, spec.Path, fmt.Errorf(format, args...))
}

func open(dir string, spec report.OutputFile) (*output, error) {
	f, err := beneath.Open(dir, spec.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && spec.Required:
		return nil, invalid(spec, "a %s file was expected, and the engine says that all went well and wrote none: %w", spec.Format, fs.ErrNotExist)
	case errors.Is(err, fs.ErrNotExist):
		return nil, err
	case errors.Is(err, fs.ErrPermission):
		return nil, invalid(spec, "the engine wrote it so that the pod's group cannot read it: %w", err)
	case err != nil:
		return nil, invalid(spec, "a regular file was expected: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, err
	}
	if st.Nlink != 1 {
		f.Close()
		return nil, invalid(spec, "it has %d names (hard links), one was expected", st.Nlink)
	}
	if st.Size == 0 && spec.Format != report.FormatOpaque {
		f.Close()
		return nil, invalid(spec, "a %s file was expected, it is empty", spec.Format)
	}
	return &output{spec: spec, file: f, size: st.Size}, nil
}

// check reads output i as its format demands, and digests it.
func (j *judgement) check(ctx context.Context, i int, facts report.VideoFacts) error {
	o := &j.outputs[i]
	var err error
	switch o.spec.Format {
	case report.FormatPoseJSON:
		err = j.checkPose(ctx, o, facts)
	case report.FormatSMPLNPZ:
		err = j.checkSMPL(ctx, o)
	case report.FormatMP4:
		if err = checkMP4(o.file, o.size); err != nil {
			err = invalid(o.spec, "it is no complete MP4: %w", err)
		}
	case report.FormatPNG:
		err = checkPNG(o)
	case report.FormatOpaque:
	default:
		return outcome.Failf(report.ReasonConfig, "output %s has the unknown format %q", o.spec.Name, o.spec.Format)
	}
	if err != nil {
		return err
	}
	return o.digest(ctx)
}

// digest of the whole file.
func (o *output) digest(ctx context.Context) error {
	h := sha256.New()
	n, err := io.Copy(h, reader(ctx, o))
	if err != nil {
		return fmt.Errorf("read output %s: %w", o.spec.Name, err)
	}
	if n != o.size {
		return invalid(o.spec, "it changed from %d to %d bytes while it was read", o.size, n)
	}
	o.sha256 = hex.EncodeToString(h.Sum(nil))
	return nil
}

func (j *judgement) checkPose(ctx context.Context, o *output, facts report.VideoFacts) error {
	var s result.Summary
	var err error
	if limits := (result.Limits{Bytes: o.size}); j.smpl != nil {
		s, err = result.ValidatePair(reader(ctx, o), limits, facts.Frames, j.smpl)
	} else {
		s, err = result.Validate(reader(ctx, o), limits, facts.Frames)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return invalid(o.spec, "%w", err)
	}
	if s.Video.Width != facts.Width || s.Video.Height != facts.Height {
		return invalid(o.spec, "video: its coordinates are for %dx%d, the engine was given %dx%d", s.Video.Width, s.Video.Height, facts.Width, facts.Height)
	}
	if p := s.Parametric; p != nil && j.smpl == nil && j.wantsSMPL {
		return invalid(o.spec, "parametric: it names %s, and the engine wrote no such file", p.File)
	}
	j.summary, j.proven = s, true
	return nil
}

// checkSMPL reads the parameters of a body model, without pickles.
func (j *judgement) checkSMPL(ctx context.Context, o *output) error {
	s, err := result.CheckSMPL(ctxio.ReaderAt(ctx, o.file), o.size)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return invalid(o.spec, "%w", err)
	}
	if j.smpl == nil {
		j.smpl = s
	}
	return nil
}

func checkPNG(o *output) error {
	c, err := png.DecodeConfig(io.NewSectionReader(o.file, 0, o.size))
	if err != nil {
		return invalid(o.spec, "it is no PNG: %w", err)
	}
	if c.Width <= 0 || c.Height <= 0 || int64(c.Width)*int64(c.Height) > maxPNGPixels {
		return invalid(o.spec, "a picture of %dx%d is larger than %d pixels", c.Width, c.Height, maxPNGPixels)
	}
	return nil
}

// reader reads an output from its beginning and ends with ctx.
func reader(ctx context.Context, o *output) io.Reader {
	return ctxio.Reader(ctx, io.NewSectionReader(o.file, 0, o.size+1)) // one more: growth shows
}

// bounded limits a document that another container wrote.
func bounded(r io.Reader) io.Reader { return io.LimitReader(r, maxReport) }

// readFacts reads what prepare measured.
func readFacts(path string) (report.VideoFacts, error) {
	var facts report.VideoFacts
	f, err := os.Open(path)
	if err != nil {
		return facts, fmt.Errorf("read prepare's facts: %w", err)
	}
	defer f.Close()
	if err := json.NewDecoder(bounded(f)).Decode(&facts); err != nil {
		return facts, fmt.Errorf("read prepare's facts: %w", err)
	}
	if facts.Frames <= 0 {
		return facts, errors.New("prepare's facts name no frames")
	}
	return facts, nil
}
