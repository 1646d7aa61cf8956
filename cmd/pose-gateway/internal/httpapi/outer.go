package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/netip"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/auth"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
)

// writeFor is how long a client may take for what is written at once, 32 KiB mostly.
const writeFor = 30 * time.Second

// seen of one request, for the log.
type seen struct {
	id, user, route string
	err             error
}

type seenKey struct{}

func seenOf(r *http.Request) *seen {
	s, _ := r.Context().Value(seenKey{}).(*seen)
	return s
}

func noteUser(r *http.Request, name string) {
	if s := seenOf(r); s != nil {
		s.user = name
	}
}

// writer knows what was answered, and waits for no client forever.
type writer struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.patience()
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.patience()
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err //nolint:wrapcheck // the handler's own
}

// patience for what is written next.
func (w *writer) patience() {
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(now().Add(writeFor))
}

// fresh is the beginning of a request, perhaps on a connection that had one before. A
// body must come soon; what reads a long one gives it more time. Without a body there is
// nothing to wait for, and a deadline would end the request's context.
func (w *writer) fresh(r *http.Request) {
	c := http.NewResponseController(w.ResponseWriter)
	_ = c.SetWriteDeadline(time.Time{})
	if r.ContentLength != 0 {
		_ = c.SetReadDeadline(now().Add(writeFor))
	}
}

// maxLogged is the most of a client's words in the log, in bytes: a job's name is no
// longer.
const maxLogged = 253

var idPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// outer is what holds for every request.
func (s *Server) outer(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		begun := now()
		w := &writer{ResponseWriter: rw}
		w.fresh(r)
		about := &seen{id: r.Header.Get("X-Request-Id")}
		if !idPattern.MatchString(about.id) {
			about.id = rand.Text()
		}
		r = r.WithContext(context.WithValue(r.Context(), seenKey{}, about))
		w.Header().Set("X-Request-Id", about.id)
		from := s.client(r)
		defer func() {
			v, answered := recover(), w.status != 0
			if v != nil && v != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
				s.Log.Error(nil, "A request made the service panic", "panic", v, "stack", string(debug.Stack()), "requestId", about.id)
				about.err = errors.New("panic")
				if !answered {
					s.fail(w, r, about.err)
				}
			}
			s.note(r, w, about, from, now().Sub(begun))
			if v != nil && answered {
				// An answer without a length would else end as a whole one does.
				panic(http.ErrAbortHandler)
			}
		}()
		s.secure(w.Header())
		preflight := s.cors(w, r) // first, so that scripts of other origins can read a refusal
		if err := s.addresses.take(addressKey(from)); err != nil {
			s.fail(w, r, err)
			return
		}
		if preflight {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		s.route(mux, w, r, about)
	})
}

// route finds the handler; where there is none the answer is a Problem too.
func (s *Server) route(mux *http.ServeMux, w *writer, r *http.Request, about *seen) {
	h, pattern := mux.Handler(r)
	about.route = pattern
	if pattern != "" {
		mux.ServeHTTP(w, r)
		return
	}
	// The mux knows whether another method would do, and says so in Allow.
	probe := &probe{header: http.Header{}}
	h.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", probe.header.Get("Allow"))
		s.fail(w, r, problem.New(http.StatusMethodNotAllowed, "%s takes %s", r.URL.Path, probe.header.Get("Allow")))
		return
	}
	s.fail(w, r, problem.New(http.StatusNotFound, "there is nothing here: /openapi.json says what there is"))
}

type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) WriteHeader(status int)      { p.status = status }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }

// answer runs a handler and tells its error.
func (s *Server) answer(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		err := h(w, r)
		if err == nil {
			return
		}
		if about := seenOf(r); about != nil {
			about.err = err
		}
		if ww, ok := w.(*writer); ok && ww.status != 0 {
			// The answer has begun: ended early it is no success.
			panic(http.ErrAbortHandler)
		}
		s.fail(w, r, err)
	})
}

// fail answers with a Problem (RFC 9457).
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p, about := problem.Of(err), seenOf(r)
	about.err = err
	h := w.Header()
	for _, name := range []string{"ETag", "Repr-Digest", "Content-Disposition", "Last-Modified"} {
		h.Del(name)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/problem+json")
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds()))))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="pose"`)
	}
	raw, _ := json.Marshal(map[string]any{"title": http.StatusText(p.Status), "status": p.Status, "detail": p.Detail, "requestId": about.id}) // text and numbers alone
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(raw)
	}
}

// note one request in log and metrics: its route and not its path, which may hold a
// link, and no header.
func (s *Server) note(r *http.Request, w *writer, about *seen, from netip.Addr, took time.Duration) {
	route := about.route
	if route == "" {
		route = "none"
	}
	s.Metrics.request(route, w.status, took)
	fields := []any{"requestId", about.id, "route", route, "method", r.Method, "status", w.status, "bytes", w.bytes, "seconds", took.Seconds(), "from", from.String()}
	if about.user != "" {
		fields = append(fields, "user", about.user)
	}
	if job := r.PathValue("job"); job != "" {
		fields = append(fields, "job", job[:min(len(job), maxLogged)])
	}
	switch {
	case w.status >= http.StatusInternalServerError && about.err != nil:
		s.Log.Error(about.err, "Request failed", fields...)
	case about.err != nil:
		s.Log.Info("Request refused", append(fields, "why", about.err.Error())...)
	default:
		s.Log.V(1).Info("Request", fields...)
	}
}

// pageCSP lets the page load what is the service's own and nothing else.
const pageCSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; " +
	"worker-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func (s *Server) secure(h http.Header) {
	h.Set("Content-Security-Policy", pageCSP)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
	if len(s.CORS) == 0 {
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
	}
	if s.PublicURL != nil && s.PublicURL.Scheme == "https" {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// exposed headers that scripts of other origins may read.
const exposed = "Location, Retry-After, X-Request-Id, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, Upload-Offset, Upload-Length, Upload-Expires, Pose-Job-Id, Content-Range, ETag, Repr-Digest"

// cors sets what lets scripts of other origins read the answer, and says whether the
// request is a preflight, for which that is the whole answer. Cookies are never allowed
// to other origins: they use bearer tokens.
func (s *Server) cors(w http.ResponseWriter, r *http.Request) bool {
	if len(s.CORS) == 0 {
		return false
	}
	w.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(s.CORS, origin) {
		return false
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", exposed)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PATCH, DELETE, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID, Pose-Namespace, Range, Tus-Resumable, Upload-Length, Upload-Metadata, Upload-Offset, X-Request-Id")
	h.Set("Access-Control-Max-Age", "600")
	return true
}

// client is who a request comes from: the last address in X-Forwarded-For that is no
// trusted proxy's, where the connection comes from one.
func (s *Server) client(r *http.Request) netip.Addr {
	from := auth.Peer(r)
	if !auth.Within(from, s.TrustedProxies) {
		return from
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		a, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			return from
		}
		if from = a.Unmap(); !auth.Within(from, s.TrustedProxies) {
			return from
		}
	}
	return from
}

// addressKey takes an IPv6 network of /64, which one host may have, as one.
func addressKey(a netip.Addr) string {
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
