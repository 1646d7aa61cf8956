package purge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// What a batch wrote is found by a listing of all that lies below its output: every
// folder that has attempts, or a manifest.json, is looked at as a job's output is.
// In it belongs to the batch what a job of the batch wrote, by the word of the owner
// or of the manifest; the pointer by its own. batch.json goes first, as a pointer does.

const (
	// besides is how many clips are removed side by side: each is a few small
	// requests, and waits for them.
	besides = 16
	// maxClips of one run: the names of those that were seen are kept. The next run
	// goes on.
	maxClips = 2 * clips.MaxClips
	// maxFailed is how many clips may not be looked at until the run is given up: the
	// store is down, then.
	maxFailed = 20
	// maxHead bounds what is read of batch.json to know whose it is.
	maxHead = 64 << 10
	// pace of the lines that say how far it is.
	pace = 10 * time.Second
)

var (
	errManyClips  = fmt.Errorf("there are more than %d folders of clips: run it again to go on", maxClips)
	errManyFailed = fmt.Errorf("%d folders of clips could not be looked at", maxFailed)
)

// batch removes what the batch and its jobs wrote.
func (p *run) batch(ctx context.Context, sink storage.Sink) error {
	if err := p.index(ctx, sink); err != nil {
		return known(err)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan string)
	var wait sync.WaitGroup
	var failed failures
	for range besides {
		wait.Go(func() {
			for clip := range next {
				if err := p.clip(ctx, sink, clip); err != nil && failed.add() >= maxFailed {
					stop(errManyFailed)
				}
			}
		})
	}
	err := p.clips(ctx, sink, next)
	close(next)
	wait.Wait()
	switch {
	case errors.Is(context.Cause(ctx), errManyFailed):
		return nil // each was counted
	case storage.KindOf(err) == storage.NotFound:
		return notFound(err)
	case errors.Is(err, errManyClips):
		return outcome.Failf("", "%w", err).MayPass(true)
	}
	return err
}

// failures counts, for several.
type failures struct {
	mu sync.Mutex
	n  int
}

func (f *failures) add() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	return f.n
}

// clips finds the folders with results, each once, and says how far it is.
func (p *run) clips(ctx context.Context, sink storage.Sink, next chan<- string) error {
	seen := map[string]bool{}
	said := time.Now()
	return p.retry(ctx, func(ctx context.Context) error {
		return sink.List(ctx, "", func(e storage.Entry) error {
			clip, ok := clipOf(e.Key)
			if !ok || seen[clip] {
				return nil
			}
			if len(seen) >= maxClips {
				return errManyClips
			}
			select {
			case next <- clip:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			seen[clip] = true
			if now := time.Now(); now.Sub(said) >= pace {
				said = now
				p.mu.Lock()
				sums := p.sums()
				p.mu.Unlock()
				p.say("%d folders of clips begun; %s %s so far", len(seen), p.verb(), sums)
			}
			return nil
		})
	})
}

// attemptID is the name of an attempt's folder.
var attemptID = regexp.MustCompile(`^[A-Za-z0-9._-]+-[0-9]+$`)

// clipOf gives the folder of a clip to whose results a key may belong: a clip's own
// name may have parts as these folders have them, and so may a result's file.
func clipOf(key string) (clip string, ok bool) {
	const attempts = "/" + result.AttemptsDir + "/"
	for rest := key; ; {
		at := strings.LastIndex(rest, attempts)
		if at < 0 {
			break
		}
		id, _, deeper := strings.Cut(key[at+len(attempts):], "/")
		if at > 0 && deeper && attemptID.MatchString(id) {
			return key[:at], true
		}
		rest = rest[:at]
	}
	if path.Base(key) == result.ManifestFile && path.Dir(key) != "." {
		return path.Dir(key), true
	}
	return "", false
}

// clip removes what the batch wrote for one clip. An error was counted.
func (p *run) clip(ctx context.Context, sink storage.Sink, clip string) error {
	one := &purger{run: p, sink: under{sink, clip}, base: clip + "/"}
	err := known(one.results(ctx))
	if err != nil && ctx.Err() == nil {
		p.leave(err)
		p.say("%s is left: %v", place(sink, clip), err)
	}
	return err
}

// index removes batch.json where it is the batch's.
func (p *run) index(ctx context.Context, sink storage.Sink) error {
	root := &purger{run: p, sink: sink}
	var head *clips.IndexHead
	index := storage.Entry{Key: report.BatchFile}
	err := p.retry(ctx, func(ctx context.Context) error {
		body, info, err := sink.Open(ctx, report.BatchFile)
		if err != nil {
			return err
		}
		defer body.Close()
		index.Size, index.Version = max(0, info.Size), info.Version
		head, _ = clips.ReadIndexHead(io.LimitReader(body, maxHead)) // nil for what is none
		return nil
	})
	switch {
	case storage.KindOf(err) == storage.NotFound:
		return nil
	case err != nil:
		return err
	case head == nil:
		root.keep("%s is a file of somebody else", report.BatchFile)
		return nil
	case head.Batch.Namespace != p.job.Namespace || head.Batch.Name != p.cfg.Batch:
		root.keep("%s is that of batch %s", report.BatchFile, name(report.JobRef{Namespace: head.Batch.Namespace, Name: head.Batch.Name}))
		return nil
	}
	if !root.remove(ctx, sink, index) {
		return errStays
	}
	p.count(func(r *report.PurgeReport) { r.Pointer = true })
	return nil
}

// under is a folder of a sink.
type under struct {
	storage.Sink
	folder string
}

func (u under) key(key string) string { return u.folder + "/" + key }

func (u under) Put(ctx context.Context, o storage.Object, body io.Reader) error {
	o.Key = u.key(o.Key)
	return u.Sink.Put(ctx, o, body)
}

func (u under) Stat(ctx context.Context, key string) (storage.Info, error) {
	return u.Sink.Stat(ctx, u.key(key))
}

func (u under) Get(ctx context.Context, key string, limit int64) ([]byte, storage.Info, error) {
	return u.Sink.Get(ctx, u.key(key), limit)
}

func (u under) Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	return u.Sink.Open(ctx, u.key(key))
}

func (u under) List(ctx context.Context, prefix string, each func(storage.Entry) error) error {
	return u.Sink.List(ctx, strings.TrimSuffix(u.key(prefix), "/"), func(e storage.Entry) error {
		e.Key = strings.TrimPrefix(e.Key, u.folder+"/")
		return each(e)
	})
}

func (u under) Delete(ctx context.Context, key string) error { return u.Sink.Delete(ctx, u.key(key)) }

func (u under) String() string { return storage.Join(u.Sink.String(), u.folder) }
