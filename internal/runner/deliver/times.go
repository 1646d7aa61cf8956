package deliver

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
)

// formatFrameTimes of a file that is ours and no engine's.
const formatFrameTimes report.OutputFormat = "FrameTimes"

// addTimes puts the times of the frames beside the engine's outputs, where prepare left
// them. They are no condition of a result: what is wrong with them is told, and no more.
func (j *judgement) addTimes(ctx context.Context, path string, frames int64) error {
	spec := report.OutputFile{Name: result.FrameTimesName, Path: result.FrameTimesFile, Format: formatFrameTimes}
	if slices.ContainsFunc(j.outputs, func(o output) bool { return o.spec.Path == spec.Path || o.spec.Name == spec.Name }) {
		return errors.New("the engine has a file of their name")
	}
	o, err := open(filepath.Dir(path), spec)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err = result.ReadFrameTimes(reader(ctx, o), frames); err == nil {
		err = o.digest(ctx)
	}
	if err != nil {
		o.file.Close()
		return err
	}
	j.outputs = append(j.outputs, *o)
	return nil
}
