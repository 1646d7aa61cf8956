package verify

import (
	"context"
	"errors"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// MadePrefix begins the line of pose-runner's log that holds a Made as JSON, for
// whoever runs it.
const MadePrefix = "pose-runner: made "

// Made says of a result who made it, when, with what and from which video, as its
// manifest has it.
type Made struct {
	Job           report.JobRef `json:"job"`
	AttemptID     string        `json:"attemptID"`
	Engine        string        `json:"engine"`
	EngineVersion string        `json:"engineVersion,omitempty"`
	Variant       string        `json:"variant"`
	Device        string        `json:"device"`
	Image         string        `json:"image"`
	VideoURI      string        `json:"videoURI"`
	VideoSHA256   string        `json:"videoSHA256,omitempty"`
	StartFrame    int64         `json:"startFrame,omitempty"`
	Frames        int64         `json:"frames"`
	People        int64         `json:"people"`
	CompletedAt   time.Time     `json:"completedAt"`
	Operator      string        `json:"operatorVersion"`
}

// Describe a manifest.
func Describe(m *result.Manifest) Made {
	p := m.Provenance
	made := Made{
		Job: m.Job, AttemptID: m.AttemptID, Engine: p.Engine, Variant: p.Variant, Device: p.Device, Image: p.Image,
		VideoURI: p.VideoURI, VideoSHA256: m.Video.SourceSHA256, StartFrame: m.Video.StartFrame, Frames: m.Frames, People: m.People,
		CompletedAt: m.CompletedAt, Operator: p.OperatorVersion,
	}
	if m.Engine != nil {
		made.EngineVersion = m.Engine.Version
	}
	return made
}

// Whole finds a result and checks it. A result that is not whole is one with
// problems in its report. Where want, the digest of a manifest that must be there, is
// not empty, a result that is not there at all is such a one, too. found is nil when
// there is no manifest that could be read.
func Whole(ctx context.Context, store Store, want string, o Options) (rep *report.VerifyReport, found *Found, err error) {
	found, err = Find(ctx, store, want, o)
	if err == nil {
		rep, err = Check(ctx, store, found, o)
		return rep, found, err
	}
	problems, damage := IsDamage(err)
	if !damage && want != "" && (storage.KindOf(err) == storage.NotFound || errors.Is(err, result.ErrForeign)) {
		problems, damage = []string{err.Error()}, true
	}
	if !damage {
		return nil, nil, err
	}
	return &report.VerifyReport{URI: store.String(), Problems: problems}, nil, nil
}
