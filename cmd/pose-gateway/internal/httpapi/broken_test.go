package httpapi

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-logr/logr"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
)

// TestRefusedScriptsCanReadWhy: a page of an allowed origin that asks too often is told
// so, and does not see a failure of the network.
func TestRefusedScriptsCanReadWhy(t *testing.T) {
	const origin = "https://app.example.org"
	s := &Server{Log: logr.Discard(), Metrics: NewMetrics(func() int { return 0 }), addresses: newLimiter(1), CORS: []string{origin}}
	status := 0
	for range 3 {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/x", nil)
		r.Header.Set("Origin", origin)
		w := httptest.NewRecorder()
		s.outer(http.NewServeMux()).ServeHTTP(w, r)
		if status = w.Code; w.Header().Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%d: %v", status, w.Header())
		}
	}
	if status != http.StatusTooManyRequests {
		t.Errorf("%d: the test tests nothing", status)
	}
}

// TestBrokenOff: an error after the first bytes of an answer breaks the connection, so
// that no client takes what came for the whole; one before them is a problem.
func TestBrokenOff(t *testing.T) {
	s := &Server{Log: logr.Discard(), Metrics: NewMetrics(func() int { return 0 }), addresses: newLimiter(1000)}
	mux := http.NewServeMux()
	for path, bytes := range map[string]int{"/early": 0, "/late": 100_000} {
		mux.Handle("GET "+path, s.answer(func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Type", "application/zip")
			w.Header().Set("Content-Disposition", `attachment; filename="x.zip"`)
			if bytes > 0 {
				_, _ = w.Write(make([]byte, bytes))
			}
			return problem.New(http.StatusUnprocessableEntity, "the result cannot be exported")
		}))
	}
	server := httptest.NewServer(s.outer(mux))
	defer server.Close()
	for path, want := range map[string]int{"/early": http.StatusUnprocessableEntity, "/late": http.StatusOK} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		if broken := err != nil; resp.StatusCode != want || broken != (path == "/late") {
			t.Errorf("%s: %s, %v", path, resp.Status, err)
		}
		if path == "/early" && (resp.Header.Get("Content-Type") != "application/problem+json" || resp.Header.Get("Content-Disposition") != "") {
			t.Errorf("%s: %v", path, resp.Header)
		}
	}
}
