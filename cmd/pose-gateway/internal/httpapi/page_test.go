package httpapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/go-logr/logr"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/auth"
)

// server without anything behind it.
func server(change func(*Server)) http.Handler {
	s := &Server{Auth: &auth.Auth{}, Limits: Limits{PerAddress: 100000, PerUser: 100000, UploadsPerUser: 1, Downloads: 1}, Log: logr.Discard(), Metrics: NewMetrics(func() int { return 0 })}
	if change != nil {
		change(s)
	}
	return s.Handler()
}

func get(h http.Handler, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func TestPage(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	h := server(func(s *Server) {
		s.Page = fstest.MapFS{"index.html": file("<html>"), "favicon.svg": file("<svg>"), "assets/app-1a2b.js": file("let x"), "assets/sub/x.css": file("a{}")}
	})
	for path, want := range map[string]struct {
		status        int
		kind, caching string
	}{
		"/":                   {200, "text/html; charset=utf-8", "no-cache"},
		"/favicon.svg":        {200, "image/svg+xml", "public, max-age=3600"},
		"/assets/app-1a2b.js": {200, "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		"/assets/sub/x.css":   {200, "text/css; charset=utf-8", "public, max-age=31536000, immutable"},
		"/assets/":            {404, "application/problem+json", "no-store"},
		"/assets":             {404, "application/problem+json", "no-store"},
		"/assets/nosuch.js":   {404, "application/problem+json", "no-store"},
		"/nosuch":             {404, "application/problem+json", "no-store"},
		"/api/nosuch":         {404, "application/problem+json", "no-store"},
	} {
		w := get(h, http.MethodGet, path)
		if w.Code != want.status || w.Header().Get("Content-Type") != want.kind || w.Header().Get("Cache-Control") != want.caching || w.Header().Get("Content-Security-Policy") != pageCSP {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
	if w := get(server(nil), http.MethodGet, "/"); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "openapi.json") {
		t.Errorf("without a page: %d %s", w.Code, w.Body)
	}
	if w := get(h, http.MethodPost, "/"); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
}

// TestRequestIDs: a client's own is kept where it is harmless.
func TestRequestIDs(t *testing.T) {
	h := server(nil)
	for sent, kept := range map[string]bool{"abc-1.2_3": true, "": false, "a b": false, strings.Repeat("x", 65): false, "<script>": false} {
		r := httptest.NewRequest(http.MethodGet, "/nosuch", nil)
		r.Header.Set("X-Request-Id", sent)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Header().Get("X-Request-Id"); got == "" || (got == sent) != kept {
			t.Errorf("sent %q, answered %q", sent, got)
		}
	}
}

// TestPanics are an error of the service and nothing more.
func TestPanics(t *testing.T) {
	h := server(func(s *Server) { s.Uploads = nil }) // config then panics
	w := get(h, http.MethodGet, "/api/pose/config")
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "nil pointer") || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
