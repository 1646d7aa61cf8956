// Package input words what is wrong with a file that a job reads, so that the look
// before any attempt and the transfer itself say the same.
package input

import (
	"errors"
	"syscall"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// Input is a file that a job reads.
type Input struct {
	What   string // the video, or the boxes
	Prefix string // of a message about it
	Remedy string // for a file that is too large
	// ScratchBound says that the limit on its size is the job's own scratchSize.
	ScratchBound bool
}

// Inputs of a job.
var (
	Video = Input{What: "the video", Remedy: "cut or scale the video, or ask the platform admin"}
	Boxes = Input{What: "the file with the boxes", Prefix: "spec.video.boxes: ", Remedy: "leave out boxes of low score, or cut the video and its boxes into parts"}
)

// Failure gives an error of a look or a transfer its reason.
func (i Input) Failure(err error) error {
	var f *outcome.Failure
	var se *storage.Error
	switch {
	case err == nil, errors.As(err, &f):
		return err
	case errors.Is(err, storage.ErrTooLarge) && i.ScratchBound:
		return outcome.Failf(report.ReasonScratchExceeded, "%s%w that spec.scratchSize allows: raise it, or cut the video", i.Prefix, err)
	case errors.Is(err, storage.ErrTooLarge):
		return outcome.Failf(report.ReasonInputInvalid, "%s%w that the operator accepts: %s", i.Prefix, err, i.Remedy)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return outcome.Failf(report.ReasonScratchExceeded, "the scratch volume is full: give the job a larger scratchSize (%w)", err)
	case errors.As(err, &se):
		return outcome.Failf(report.ReasonInputUnavailable, "%s%w", i.Prefix, err).MayPass(se.Temporary)
	}
	return err
}

// Empty is the failure of a file without a byte at place.
func (i Input) Empty(place string) error {
	return outcome.Failf(report.ReasonInputInvalid, "%s%s is empty: upload %s again", i.Prefix, place, i.What)
}
