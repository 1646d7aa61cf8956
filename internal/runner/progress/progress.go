// Package progress pushes how far a role has come to the manager, and prints it.
//
// Progress is perishable: a push that fails is dropped, and nothing here ever
// blocks or fails the role.
package progress

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
)

const (
	pushTimeout = 5 * time.Second
	lastTimeout = 2 * time.Second
	// printEvery bounds the lines for people; a new stage is printed at once.
	printEvery = 15 * time.Second
)

// Client takes the newest progress and pushes it now and then. A nil Client
// drops all.
type Client struct {
	interval time.Duration
	role     report.Role
	poster   *Poster // nil pushes nothing
	log      io.Writer

	mu      sync.Mutex
	latest  *report.Progress
	changed chan struct{}
	stop    chan struct{}
	done    chan struct{}
	printed struct {
		stage string
		at    time.Time
	}
	complained bool
}

// Start makes a Client. A nil cfg prints only.
func Start(cfg *report.ProgressConfig, tokenFile string, role report.Role, log io.Writer) *Client {
	c := &Client{
		role: role, log: log,
		changed: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if cfg != nil && cfg.URL != "" {
		c.interval = time.Duration(max(1, cfg.IntervalSeconds)) * time.Second
		c.poster = NewPoster(*cfg, tokenFile)
	}
	go c.loop()
	return c
}

// Update takes a progress; the Client fills in version and role.
func (c *Client) Update(p report.Progress) {
	if c == nil {
		return
	}
	p.Version, p.Role = report.Version, c.role
	p.Stage = clean.Line(p.Stage, 128)
	c.mu.Lock()
	c.latest = &p
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// Close pushes what is left, for at most two seconds.
func (c *Client) Close() {
	if c == nil {
		return
	}
	close(c.stop)
	<-c.done
}

func (c *Client) loop() {
	defer close(c.done)
	for {
		select {
		case <-c.stop:
			c.flush(lastTimeout, true)
			return
		case <-c.changed:
			c.flush(pushTimeout, false)
		}
		if c.interval == 0 {
			continue
		}
		select {
		case <-c.stop:
			c.flush(lastTimeout, true)
			return
		case <-time.After(c.rest()):
		}
	}
}

// rest between two pushes.
func (c *Client) rest() time.Duration { return max(c.interval, c.poster.Next()) }

// flush prints and pushes the newest progress, once.
func (c *Client) flush(timeout time.Duration, last bool) {
	c.mu.Lock()
	p := c.latest
	c.latest = nil
	c.mu.Unlock()
	if p == nil {
		return
	}
	c.print(*p, last)
	if c.poster == nil {
		return
	}
	if err := c.push(*p, timeout); err != nil && !c.complained {
		c.complained = true // once: the log belongs to the role
		fmt.Fprintf(c.log, "pose-runner: progress cannot be pushed, the job goes on without: %s\n", clean.Line(clean.Redact(err.Error()), 300))
	}
}

func (c *Client) print(p report.Progress, last bool) {
	now := time.Now()
	if !last && p.Stage == c.printed.stage && now.Sub(c.printed.at) < printEvery {
		return
	}
	c.printed.stage, c.printed.at = p.Stage, now
	fmt.Fprintln(c.log, Text(p))
}

func (c *Client) push(p report.Progress, timeout time.Duration) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if len(body) > report.MaxProgressBytes {
		return fmt.Errorf("progress has %d bytes, at most %d are taken", len(body), report.MaxProgressBytes)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	status, err := c.poster.Post(ctx, body)
	if err == nil && status >= http.StatusMultipleChoices {
		err = fmt.Errorf("the manager answered %d %s", status, http.StatusText(status))
	}
	return err
}
