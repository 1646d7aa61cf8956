package httpapi

import (
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
)

func tooMany(detail string, after time.Duration) error {
	p := problem.New(http.StatusTooManyRequests, "%s", detail)
	p.RetryAfter = after
	return p
}

// maxLimited is how many users or addresses are remembered.
const maxLimited = 10_000

// limiter of requests by key.
type limiter struct {
	perMinute int

	mu   sync.Mutex
	keys map[string]*rate.Limiter
}

func newLimiter(perMinute int) *limiter { return &limiter{perMinute: perMinute} }

// take the place of one request.
func (l *limiter) take(key string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.keys[key]
	if k == nil {
		if len(l.keys) >= maxLimited {
			l.forget()
		}
		if l.keys == nil {
			l.keys = map[string]*rate.Limiter{}
		}
		k = rate.NewLimiter(rate.Limit(float64(l.perMinute)/60), max(1, l.perMinute/4))
		l.keys[key] = k
	}
	if k.Allow() {
		return nil
	}
	return tooMany("too many requests: slow down", time.Duration(float64(time.Minute)/float64(l.perMinute)).Round(time.Second)+time.Second)
}

// forget those who have not asked for a while, and all when nobody is such: then they
// are too many to be told apart.
func (l *limiter) forget() {
	for key, k := range l.keys {
		if k.Tokens() >= float64(k.Burst()) {
			delete(l.keys, key)
		}
	}
	if len(l.keys) >= maxLimited {
		clear(l.keys)
	}
}

// counter of what each user does at a time.
type counter struct {
	max int

	mu sync.Mutex
	by map[string]int
}

func (c *counter) enter(user string) (func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by[user] >= c.max {
		return nil, tooMany("too many uploads of yours are under way: wait for one to end", 5*time.Second)
	}
	if c.by == nil {
		c.by = map[string]int{}
	}
	c.by[user]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.by[user]--; c.by[user] == 0 {
			delete(c.by, user)
		}
	}, nil
}
