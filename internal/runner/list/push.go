package list

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// Bounds of the pushes. A manager that was started again trusts other certificates
// and ends this pod; one that changes its leader is back sooner.
const (
	pushTimeout = 20 * time.Second
	patience    = 2 * time.Minute
	firstDelay  = 200 * time.Millisecond
	maxDelay    = 10 * time.Second
)

type pusher struct {
	poster *progress.Poster
	log    io.Writer
}

// push one page until the manager has it. The same page may reach it twice.
func (p *pusher) push(ctx context.Context, page report.ClipsPage) error {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)
	if err := e.Encode(page); err != nil {
		return err
	}
	if body.Len() > report.MaxClipsPageBytes {
		return outcome.Failf(report.ReasonInputInvalid, "page %d of the list has %d bytes, at most %d are taken", page.Page, body.Len(), report.MaxClipsPageBytes)
	}
	begun, delay := time.Now(), firstDelay
	for {
		status, err := p.once(ctx, body.Bytes())
		switch {
		case err == nil && status < http.StatusMultipleChoices:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			err = fmt.Errorf("the manager answered %d %s", status, http.StatusText(status))
			if status == http.StatusConflict || status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge {
				return outcome.Failf("", "page %d of the list is refused: %w", page.Page, err).MayPass(true)
			}
		}
		text := clean.Line(clean.Redact(err.Error()), 300)
		if time.Since(begun) > patience {
			return outcome.Failf("", "page %d of the list cannot be pushed to the operator: %s", page.Page, text).MayPass(true)
		}
		fmt.Fprintf(p.log, "pose-runner: page %d of the list: %s; trying again in %s\n", page.Page, text, delay)
		if err := storage.Sleep(ctx, delay); err != nil {
			return err
		}
		delay = min(2*delay, maxDelay)
	}
}

func (p *pusher) once(ctx context.Context, body []byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	return p.poster.Post(ctx, body)
}
