package prepare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/pose-dev/pose-operator/internal/boxes"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/ctxio"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
)

// prepareBoxes makes, of the boxes that were fetched, those that the engine reads:
// checked against the video, cut and renumbered with it. It comes before the
// video is encoded, which takes far longer.
func (j *job) prepareBoxes(ctx context.Context, p plan, s scan) error {
	if j.cfg.Boxes == "" {
		return nil
	}
	v := boxes.Video{Width: p.Width, Height: p.Height, Start: p.Start, Frames: p.Frames}
	if j.cfg.EndFrame == 0 {
		v.SourceFrames = s.Frames // else decoding ended with the cut
	}
	facts, err := j.cutBoxes(ctx, v)
	var invalid *boxes.Invalid
	if errors.As(err, &invalid) {
		return outcome.Failf(report.ReasonInputInvalid, "spec.video.boxes: %w", err)
	}
	// ffmpeg comes next, in the same container's memory: millions of boxes took
	// some hundred megabytes that the collector would give back too late.
	debug.FreeOSMemory()
	j.boxes = facts
	return err
}

func (j *job) cutBoxes(ctx context.Context, v boxes.Video) (*report.BoxesFacts, error) {
	all, err := j.readBoxes(ctx)
	if err != nil {
		return nil, err
	}
	cut, err := all.Cut(v)
	if err == nil {
		err = writeBoxes(j.l.BoxesFile, cut)
	}
	if err != nil {
		return nil, err
	}
	facts := &report.BoxesFacts{Boxes: int64(len(cut.Boxes)), Frames: cut.Frames(), IDs: cut.IDs}
	fmt.Fprintf(j.log, "pose-runner: %d of the file's %d boxes are in the frames that are asked for, in %d of %d frames\n", facts.Boxes, len(all.Boxes), facts.Frames, v.Frames)
	return facts, nil
}

func (j *job) readBoxes(ctx context.Context) (boxes.Set, error) {
	f, err := os.Open(j.l.BoxesSource)
	if err != nil {
		return boxes.Set{}, fmt.Errorf("the fetched boxes are not there: %w", err)
	}
	defer f.Close()
	r := ctxio.Reader(ctx, f)
	switch j.cfg.Boxes {
	case report.BoxesJSON:
		return boxes.ReadJSON(r, boxes.Limits{})
	case report.BoxesCSV:
		return boxes.ReadCSV(r, boxes.Limits{})
	}
	return boxes.Set{}, outcome.Failf(report.ReasonConfig, "boxes of the unknown format %q", j.cfg.Boxes)
}

// writeBoxes makes the file whole or not at all, for the other containers to read.
func writeBoxes(path string, s boxes.Set) error {
	temp := path + ".part"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	err = s.WriteJSON(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
	}
	return err
}
