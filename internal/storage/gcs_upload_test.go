package storage

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
)

// isChunk says whether r sends a part of a resumable upload.
func isChunk(r *http.Request) bool {
	return r.URL.Query().Get("upload_id") != "" && strings.HasPrefix(r.Header.Get("Content-Range"), "bytes ")
}

// incomplete answers a chunk as Google's server does to a client that wants no 308.
func incomplete(w http.ResponseWriter, has int) {
	w.Header().Set("X-Http-Status-Code-Override", "308")
	if has > 0 {
		w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", has-1))
	}
}

// sessions keeps one resumable upload as Google documents it: bytes that it has
// already are left out when they come again. The emulator appends whatever comes.
type sessions struct {
	mu     sync.Mutex
	data   []byte
	object []byte // what became of it
	chunks int
	breaks func(w http.ResponseWriter, r *http.Request, chunk int) bool
	after  func(chunk int) // what was stored, before the answer
}

func (s *sessions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case isChunk(r):
		s.put(w, r)
	case r.Method == http.MethodPost && r.URL.Query().Get("uploadType") == "resumable":
		w.Header().Set("Location", "http://"+r.Host+"/session?upload_id=1")
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (s *sessions) put(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.chunks++
	chunk := s.chunks
	s.mu.Unlock()
	if s.breaks != nil && s.breaks(w, r, chunk) {
		return
	}
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	var first, last int
	_, serr := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/", &first, &last)
	if _, total, _ := strings.Cut(r.Header.Get("Content-Range"), "/"); serr != nil || first > len(s.data) || last-first+1 != int(r.ContentLength) || total != "*" && total != fmt.Sprint(last+1) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	keep := len(body)
	if err != nil {
		keep -= keep % (256 << 10) // whole units of what arrived
	}
	if first+keep > len(s.data) {
		s.data = append(s.data, body[len(s.data)-first:keep]...)
	}
	if strings.HasSuffix(r.Header.Get("Content-Range"), fmt.Sprintf("/%d", len(s.data))) {
		s.object = s.data
	}
	if s.after != nil {
		s.after(chunk)
	}
	if s.object != nil {
		fmt.Fprintf(w, `{"size":"%d","generation":"1","crc32c":%q}`, len(s.object), crc32c(s.object))
		return
	}
	incomplete(w, len(s.data))
}

// TestGCSBrokenChunks breaks a resumable upload in ways after which a chunk is sent
// once more.
func TestGCSBrokenChunks(t *testing.T) {
	loses := func(which int) func(int) {
		return func(chunk int) {
			if chunk == which {
				panic(http.ErrAbortHandler)
			}
		}
	}
	for name, s := range map[string]*sessions{
		"whole": {},
		"in its midst": {breaks: func(_ http.ResponseWriter, r *http.Request, n int) bool {
			if n == 1 {
				r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, 3<<20), failingReader{}))
			}
			return false
		}, after: loses(1)},
		"before anything arrived": {breaks: func(_ http.ResponseWriter, _ *http.Request, n int) bool {
			if n == 1 {
				panic(http.ErrAbortHandler)
			}
			return false
		}},
		"busy": {breaks: func(w http.ResponseWriter, _ *http.Request, n int) bool {
			if n == 2 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return n == 2
		}},
		"the first answer is lost": {after: loses(1)},
		"the last answer is lost":  {after: loses(2)},
		"a part of it is taken": {breaks: func(_ http.ResponseWriter, r *http.Request, n int) bool {
			if n == 1 {
				r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, 5<<20), failingReader{}))
			}
			return false
		}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(s)
			defer srv.Close()
			sink, _ := hurry(t, "gs://results/a", Options{Store: report.StoreConfig{GCSEndpoint: srv.URL}})
			if err := putLarge(t.Context(), sink); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(s.object, large()) || s.chunks > 3 {
				t.Errorf("%d bytes came of %d chunks", len(s.object), s.chunks)
			}
		})
	}
}

// lose hands a request on and gives no answer.
func lose(_ http.ResponseWriter, r *http.Request) {
	r2 := r.Clone(r.Context())
	r2.URL, _ = r.URL.Parse(r.Header.Get("X-Test-Target") + r.URL.RequestURI())
	r2.RequestURI = ""
	if resp, err := http.DefaultTransport.RoundTrip(r2); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	panic(http.ErrAbortHandler)
}

type relocated struct {
	http.ResponseWriter
	from, to string
}

func (r relocated) WriteHeader(code int) {
	if l := r.Header().Get("Location"); l != "" {
		r.Header().Set("Location", strings.Replace(l, r.from, r.to, 1))
	}
	r.ResponseWriter.WriteHeader(code)
}

func sessionsAt(h http.Handler, from, to string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(relocated{w, from, to}, r) })
}

// TestGCSFailedUploads fail for good, or in a way that the whole can be sent again.
func TestGCSFailedUploads(t *testing.T) {
	o := gcsOptions(t, "results")
	target := o.Store.GCSEndpoint
	for name, tc := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		kind   Kind
		passes bool
		want   string
	}{
		"forbidden": {func(w http.ResponseWriter, r *http.Request) bool {
			if isChunk(r) {
				w.WriteHeader(http.StatusForbidden)
			}
			return isChunk(r)
		}, Forbidden, false, "403"},
		"the session is gone": {func(w http.ResponseWriter, r *http.Request) bool {
			if isChunk(r) {
				w.WriteHeader(http.StatusGone)
			}
			return isChunk(r)
		}, Unreachable, true, "ended the upload"},
		"nothing is taken": {func(w http.ResponseWriter, r *http.Request) bool {
			if isChunk(r) {
				incomplete(w, 0)
			}
			return isChunk(r)
		}, Unreachable, true, "took less"},
		"no object comes of it": {func(w http.ResponseWriter, r *http.Request) bool {
			var first, last int
			if isChunk(r) {
				_, _ = fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/", &first, &last)
				incomplete(w, last+1)
			}
			return isChunk(r)
		}, Unreachable, true, "ended the upload"},
		"other bytes arrive": {func(w http.ResponseWriter, r *http.Request) bool {
			if isChunk(r) {
				_, _ = io.Copy(io.Discard, r.Body)
				if strings.HasPrefix(r.Header.Get("Content-Range"), "bytes 0-") {
					incomplete(w, 16<<20)
				} else {
					_, _ = w.Write([]byte(`{"size":"20971520","generation":"1","crc32c":"AAAAAA=="}`))
				}
			}
			return isChunk(r)
		}, Unreachable, true, "other bytes arrived"},
		"the session is elsewhere": {func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("uploadType") == "resumable" {
				w.Header().Set("Location", "http://elsewhere.invalid/?upload_id=1")
			}
			return r.URL.Query().Get("uploadType") == "resumable"
		}, Refused, false, "another address"},
	} {
		t.Run(name, func(t *testing.T) {
			dropped, discarded := false, false
			srv := between(t, target, func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodDelete {
					dropped = dropped || r.URL.Query().Get("upload_id") != ""
					discarded = discarded || r.URL.Query().Get("ifGenerationMatch") == "1"
				}
				return tc.answer(w, r)
			})
			srv.Config.Handler = sessionsAt(srv.Config.Handler, target, srv.URL)
			o := o
			o.Store.GCSEndpoint = srv.URL
			sink, _ := hurry(t, "gs://results/b", o)
			err := putLarge(t.Context(), sink)
			if KindOf(err) != tc.kind || Temporary(err) != tc.passes || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("kind %d, temporary %v: %v", KindOf(err), Temporary(err), err)
			}
			if done := name == "other bytes arrive"; discarded != done || dropped == (done || name == "the session is elsewhere") {
				t.Errorf("the session was dropped: %v, the object removed: %v", dropped, discarded)
			}
			if _, err := sink.Stat(t.Context(), "large"); KindOf(err) != NotFound {
				t.Errorf("something is there: %v", err)
			}
		})
	}
}
