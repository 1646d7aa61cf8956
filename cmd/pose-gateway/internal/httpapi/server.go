// Package httpapi is the gateway's HTTP side: routes, and what holds for all of them.
package httpapi

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/go-logr/logr"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/auth"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/exports"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/jobs"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/media"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/upload"
)

// Namespaces that the gateway serves.
type Namespaces struct {
	Default string
	// Allowed beside the default; nil allows no other. All allows any.
	Allowed []string
	All     bool
}

func (n Namespaces) serves(ns string) bool {
	return ns == n.Default || n.All || slices.Contains(n.Allowed, ns)
}

// choice says whether there is another than the default.
func (n Namespaces) choice() bool {
	return n.All || slices.ContainsFunc(n.Allowed, func(ns string) bool { return ns != n.Default })
}

// Limits of requests.
type Limits struct {
	// PerAddress and PerUser requests a minute, in bursts of a quarter of it.
	PerAddress, PerUser int
	// UploadsPerUser and Downloads at a time, the latter of all.
	UploadsPerUser, Downloads int
}

// Server answers requests.
type Server struct {
	Auth       *auth.Auth
	Authorizer *auth.Authorizer
	Jobs       *jobs.Service
	Hub        *jobs.Hub
	Media      *media.Service
	Exports    *exports.Service
	Uploads    *upload.Service
	Namespaces Namespaces
	Limits     Limits
	PublicURL  *url.URL
	// CORS are the origins whose pages may use the API with bearer tokens.
	CORS []string
	// TrustedProxies may say by X-Forwarded-For whom they speak for.
	TrustedProxies []netip.Prefix
	// Page is the web page's files; nil when this build has none.
	Page    fs.FS
	OpenAPI []byte
	Version string
	Log     logr.Logger
	Metrics *Metrics
	// Stopping is closed when the process is to end: streams end then, uploads go on.
	Stopping <-chan struct{}

	addresses, users *limiter
	uploading        *counter
	downloads        chan struct{}
}

// handler of a route. Its error is what the client is told.
type handler func(http.ResponseWriter, *http.Request) error

// userHandler of a route for those who are signed in.
type userHandler func(http.ResponseWriter, *http.Request, *auth.User) error

// Route of the API.
type Route struct {
	Method, Path string
	handle       handler
}

// Routes of the API, as the OpenAPI document has them.
func (s *Server) Routes() []Route {
	u := s.signedIn
	return []Route{
		{"GET", "/openapi.json", s.openAPI},
		{"GET", "/api/pose/config", s.config},
		{"GET", "/api/pose/session", u(s.session)},
		{"GET", "/api/pose/login", s.Auth.Begin},
		{"GET", "/api/pose/login/callback", s.Auth.Finish},
		{"POST", "/api/pose/logout", u(s.logout)},
		{"GET", "/api/pose/engines", u(s.engines)},
		{"POST", "/api/pose/video", u(s.uploads(s.video))},
		{"OPTIONS", "/api/pose/uploads", s.describeUploads},
		{"POST", "/api/pose/uploads", u(s.createUpload)},
		{"HEAD", "/api/pose/uploads/{upload}", u(s.headUpload)},
		{"PATCH", "/api/pose/uploads/{upload}", u(s.uploads(s.patchUpload))},
		{"DELETE", "/api/pose/uploads/{upload}", u(s.deleteUpload)},
		{"GET", "/api/pose/jobs", u(s.listJobs)},
		{"GET", "/api/pose/jobs/events", u(s.watch)},
		{"GET", "/api/pose/jobs/{job}", u(s.getJob)},
		{"DELETE", "/api/pose/jobs/{job}", u(s.deleteJob)},
		{"POST", "/api/pose/jobs/{job}/cancel", u(s.cancelJob)},
		{"POST", "/api/pose/jobs/{job}/retry", u(s.retryJob)},
		{"GET", "/api/pose/jobs/{job}/events", u(s.watch)},
		{"GET", "/api/pose/jobs/{job}/results", u(s.listResults)},
		{"GET", "/api/pose/jobs/{job}/results/{file}", u(s.getResult)},
		{"GET", "/api/pose/jobs/{job}/exports/{format}", u(s.getExport)},
		{"GET", "/api/pose/media/{link}/{file}", s.getMedia},
		{"GET", "/api/pose/exports/{link}/{file}", s.getExportLink},
	}
}

// Handler of all requests.
func (s *Server) Handler() http.Handler {
	s.addresses, s.users = newLimiter(s.Limits.PerAddress), newLimiter(s.Limits.PerUser)
	s.uploading = &counter{max: s.Limits.UploadsPerUser}
	s.downloads = make(chan struct{}, s.Limits.Downloads)
	mux := http.NewServeMux()
	for _, r := range s.Routes() {
		mux.Handle(r.Method+" "+r.Path, s.answer(r.handle))
	}
	s.pageRoutes(mux)
	return s.outer(mux)
}

// signedIn is for those who are known, and did not come from another site's page.
func (s *Server) signedIn(next userHandler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		u, err := s.Auth.Identify(r)
		if err != nil {
			return err
		}
		noteUser(r, u.Name)
		if err := s.users.take(u.Name); err != nil {
			return err
		}
		if err := s.Auth.CheckCSRF(r, u); err != nil {
			return err
		}
		return next(w, r, u)
	}
}

// uploads of one user at a time are bounded.
func (s *Server) uploads(next userHandler) userHandler {
	return func(w http.ResponseWriter, r *http.Request, u *auth.User) error {
		leave, err := s.uploading.enter(u.Name)
		if err != nil {
			return err
		}
		defer leave()
		return next(w, r, u)
	}
}

var namespacePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// namespace of a request: the one that it names, the user's own, or the default.
func (s *Server) namespace(r *http.Request, u *auth.User) (string, error) {
	named := r.URL.Query().Get("namespace")
	if named == "" {
		named = r.Header.Get("Pose-Namespace")
	}
	if named == "" && u.Namespace != "" {
		named = u.Namespace
	}
	switch {
	case named == "":
		return s.Namespaces.Default, nil
	case !namespacePattern.MatchString(named):
		return "", problem.New(http.StatusBadRequest, "%.64q is not the name of a namespace", named)
	case !s.Namespaces.serves(named):
		return "", problem.New(http.StatusForbidden, "this service does not serve the namespace %s", named)
	}
	return named, nil
}

// may gives the namespace of a request once the user may do verb there; name is that of
// one job, or empty.
func (s *Server) may(r *http.Request, u *auth.User, verb, name string) (string, error) {
	ns, err := s.namespace(r, u)
	if err != nil {
		return "", err
	}
	return ns, s.Authorizer.Check(r.Context(), u, auth.Action{Verb: verb, Resource: "posejobs", Namespace: ns, Name: name})
}

var jobPattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)

// jobName of the path; what is no name of a job is not asked about.
func jobName(r *http.Request) (string, error) {
	name := r.PathValue("job")
	if !jobPattern.MatchString(name) {
		return "", problem.New(http.StatusNotFound, "there is no job %.64q", name)
	}
	return name, nil
}

// rights of a user to a namespace's jobs, or to one of them where name is not empty.
func (s *Server) rights(r *http.Request, u *auth.User, ns, name string) (jobs.Rights, error) {
	var out jobs.Rights
	for verb, to := range map[string]*bool{"get": &out.Get, "create": &out.Create, "patch": &out.Patch, "delete": &out.Delete} {
		a := auth.Action{Verb: verb, Resource: "posejobs", Namespace: ns}
		if verb != "create" {
			a.Name = name
		}
		ok, err := s.Authorizer.Allowed(r.Context(), u, a)
		if err != nil {
			return out, err
		}
		*to = ok
	}
	return out, nil
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return problem.Because(err, http.StatusInternalServerError, "the service failed")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(raw) // a client that is gone is not told
	return nil
}

// now is the clock of limits and logs.
func now() time.Time { return time.Now() }
