package fill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// signal is a log that tells when a word was said in it.
type signal struct {
	word string
	said chan struct{}
}

func (s *signal) Write(p []byte) (int, error) {
	if strings.Contains(string(p), s.word) {
		close(s.said)
	}
	return len(p), nil
}

// TestRunsTakeTurns begins a second run while the first is in the middle of a file.
func TestRunsTakeTurns(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			w.Header().Set("Content-Length", "8")
			_, _ = w.Write([]byte("half"))
			w.(http.Flusher).Flush()
			close(begun)
			<-goOn
			_, _ = w.Write([]byte("half"))
			return
		}
		_, _ = w.Write([]byte("fast"))
	}))
	defer s.Close()
	p, dir := &place{Server: s}, t.TempDir()
	slow, fast := p.config(Source{URI: "/slow", Path: "slow"}), p.config(Source{URI: "/fast", Path: "fast"})
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- Run(t.Context(), slow, Options{Target: dir, Log: new(bytes.Buffer)}) }()
	<-begun
	waits := &signal{"another run", make(chan struct{})}
	go func() { second <- Run(t.Context(), fast, Options{Target: dir, Log: waits}) }()
	select {
	case <-waits.said:
	case err := <-second:
		t.Errorf("the second run did not wait for the first: %v", err)
		second <- err
	}
	close(goOn)
	for name, done := range map[string]chan error{"first": first, "second": second} {
		if err := <-done; err != nil {
			t.Errorf("%s run: %v", name, err)
		}
	}
	holds(t, dir, map[string]string{"slow": "halfhalf", "fast": "fast"})
	sums(t, dir)
	for _, file := range []string{recordFile, DigestsFile} {
		b, _ := os.ReadFile(filepath.Join(dir, file))
		if !strings.Contains(string(b), "slow") || !strings.Contains(string(b), "fast") {
			t.Errorf("%s lost what one run did:\n%s", file, b)
		}
	}
}

func TestEndsWhileItWaits(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	f := &filler{root: root, Options: Options{Log: new(bytes.Buffer)}}
	unlock, held, err := f.lock(t.Context())
	if err != nil || !held {
		t.Fatal(held, err)
	}
	defer unlock()
	p := serve(t, map[string][]byte{"/one": []byte("first")})
	ctx, cancel := context.WithCancel(t.Context())
	waits := &signal{"another run", make(chan struct{})}
	go func() { <-waits.said; cancel() }()
	if err := Run(ctx, p.config(Source{URI: "/one", Path: "one"}), Options{Target: dir, Log: waits}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	holds(t, dir, map[string]string{})
}

// TestDigestsThatNobodyReads makes lists that are larger than an adapter reads.
func TestDigestsThatNobodyReads(t *testing.T) {
	var members []member
	deep := strings.Repeat(strings.Repeat("x", 200)+"/", 5)
	for i := range maxDigests/1000 + 1 {
		members = append(members, member{name: fmt.Sprint(deep, i)})
	}
	many := archive(t, false, members...)
	p := serve(t, map[string][]byte{"/all.tar": many, "/one": []byte("first")})
	c := p.config(Source{URI: "/all.tar", Path: ".", Unpack: true})
	c.MaxBytes = 64 << 20
	dir := t.TempDir()
	if _, err := run(t, dir, c); err == nil || !strings.Contains(err.Error(), "fetch fewer files") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, DigestsFile)); err == nil {
		t.Error("a list that engines do not read was written")
	}

	dir = t.TempDir()
	line := digest(nil) + "  smpl\n"
	theirs := []byte(strings.Repeat(line, maxDigests/len(line)+1))
	_ = os.WriteFile(filepath.Join(dir, DigestsFile), theirs, 0o600)
	if _, err := run(t, dir, p.config(Source{URI: "/one", Path: "one"})); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("%v", err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, DigestsFile)); !bytes.Equal(b, theirs) {
		t.Error("somebody's digests were lost")
	}
}
