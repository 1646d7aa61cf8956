package progress

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

// Poster sends documents to the manager, as the pod whose token it has.
type Poster struct {
	url       string
	tokenFile string
	http      *http.Client
	next      atomic.Int64 // seconds
}

// Next is how long the manager said, at last, that nothing new is of use to it.
func (p *Poster) Next() time.Duration { return time.Duration(p.next.Load()) * time.Second }

// NewPoster sends to cfg.URL.
func NewPoster(cfg report.ProgressConfig, tokenFile string) *Poster {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(cfg.CAPEM))
	return &Poster{url: cfg.URL, tokenFile: tokenFile, http: &http.Client{
		Transport: &http.Transport{
			// A pinned root and no proxy: the token must reach the manager only.
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Post sends one JSON document, once, and gives the status of the answer.
func (p *Poster) Post(ctx context.Context, body []byte) (status int, err error) {
	// Read each time: the kubelet rotates the token.
	token, err := os.ReadFile(p.tokenFile)
	if err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := p.http.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4096))
	next, _ := strconv.ParseInt(resp.Header.Get(report.HeaderNext), 10, 64) // 0 of what is no number
	p.next.Store(min(max(0, next), report.MaxNextSeconds))
	return resp.StatusCode, nil
}
