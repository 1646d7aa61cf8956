package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/auth"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/exports"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/jobs"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/media"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/upload"
)

func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(s.OpenAPI)
	return nil
}

// chunkBytes is a good size of one PATCH: some pieces, so that little is sent again.
const chunkBytes = 64 << 20

func (s *Server) config(w http.ResponseWriter, _ *http.Request) error {
	login := map[string]any{"mode": s.Auth.Mode()}
	if s.Auth.Mode() == "OIDC" {
		login["loginURL"], login["logoutURL"] = "/api/pose/login", "/api/pose/logout"
	}
	return writeJSON(w, http.StatusOK, map[string]any{
		"version": s.Version,
		"login":   login,
		"uploads": map[string]any{
			"url": "/api/pose/uploads", "maxBytes": s.Uploads.MaxBytes, "chunkBytes": min(chunkBytes, s.Uploads.MaxBytes), "extensions": upload.Extensions,
		},
		"namespaces": map[string]any{"default": s.Namespaces.Default, "choice": s.Namespaces.choice()},
	})
}

func (s *Server) session(w http.ResponseWriter, r *http.Request, u *auth.User) error {
	ns, err := s.namespace(r, u)
	if err != nil {
		return err
	}
	token, err := s.Auth.CSRFToken(u)
	if err != nil {
		return err
	}
	out := map[string]any{"user": u.Name, "namespace": ns, "kind": u.Kind}
	if token != "" {
		out["csrfToken"] = token
	}
	if !u.Expires.IsZero() {
		out["expiresAt"] = u.Expires.UTC().Format(time.RFC3339)
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) logout(w http.ResponseWriter, _ *http.Request, _ *auth.User) error {
	s.Auth.Logout(w)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) engines(w http.ResponseWriter, r *http.Request, u *auth.User) error {
	if err := s.Authorizer.Check(r.Context(), u, auth.Action{Verb: "list", Resource: "poseengines"}); err != nil {
		return err
	}
	items, err := s.Jobs.Engines(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"items": items})
}

func (s *Server) video(w http.ResponseWriter, r *http.Request, u *auth.User) error {
	ns, err := s.may(r, u, "create", "")
	if err != nil {
		return err
	}
	job, err := s.Uploads.Form(w, r, u, ns)
	if err != nil {
		return err
	}
	return s.created(w, r, u, job)
}

// created answers with a new job.
func (s *Server) created(w http.ResponseWriter, r *http.Request, u *auth.User, job *v1alpha1.PoseJob) error {
	rights, err := s.rights(r, u, job.Namespace, job.Name)
	if err != nil {
		return err
	}
	v := s.Jobs.View(job, rights)
	w.Header().Set("Location", v.Links.Self)
	return writeJSON(w, http.StatusCreated, v)
}

func (s *Server) describeUploads(w http.ResponseWriter, _ *http.Request) error {
	s.Uploads.Describe(w)
	return nil
}

func (s *Server) createUpload(w http.ResponseWriter, r *http.Request, u *auth.User) error {
	ns, err := s.may(r, u, "create", "")
	if err != nil {
		return err
	}
	return s.Uploads.Create(w, r, u, ns)
}

func (s *Server) headUpload(w http.ResponseWriter, r *http.Request, u *auth.User) error {
	ns, err := s.may(r, u, "create", "")
	if err != nil {
		return err
	}
	return s.Uploads.Head(w, r, u, ns, r.PathValue("upload"))
}

func (s *Server) patchUpload(w http.ResponseWriter, r *http.Request, u *auth.User) error {
	ns, err := s.may(r, u, "create", "")
	if err != nil {
		return err
	}
	return s.Uploads.Patch(w, r, u, ns, r.PathValue("upload"))
}

func (s *Server) deleteUpload(w http.ResponseWriter, r *http.Request, u *auth.User) error {
	ns, err := s.may(r, u, "create", "")
	if err != nil {
		return err
	}
	return s.Uploads.Terminate(w, r, u, ns, r.PathValue("upload"))
}

const (
	defaultPage = 100
	maxPage     = 500
)

func (s *Server) listJobs(w http.ResponseWriter, r *http.Request, u *auth.User) error {
	ns, err := s.may(r, u, "list", "")
	if err != nil {
		return err
	}
	q, limit := r.URL.Query(), defaultPage
	if q.Has("limit") {
		if limit, err = strconv.Atoi(q.Get("limit")); err != nil || limit < 1 || limit > maxPage {
			return problem.New(http.StatusBadRequest, "limit must be a number from 1 to %d", maxPage)
		}
	}
	page, next, err := s.Jobs.Page(r.Context(), ns, limit, q.Get("continue"))
	if err != nil {
		return err
	}
	rights, err := s.rights(r, u, ns, "")
	if err != nil {
		return err
	}
	out := struct {
		Items    []jobs.Job `json:"items"`
		Continue string     `json:"continue,omitempty"`
	}{Items: []jobs.Job{}, Continue: next}
	for _, j := range page {
		out.Items = append(out.Items, s.Jobs.View(j, rights))
	}
	return writeJSON(w, http.StatusOK, out)
}

// job of a request that the user may do verb with.
func (s *Server) job(r *http.Request, u *auth.User, verb string) (*v1alpha1.PoseJob, error) {
	name, err := jobName(r)
	if err != nil {
		return nil, err
	}
	ns, err := s.may(r, u, verb, name)
	if err != nil {
		return nil, err
	}
	return s.Jobs.Get(r.Context(), ns, name)
}

func (s *Server) show(w http.ResponseWriter, r *http.Request, u *auth.User, job *v1alpha1.PoseJob) error {
	rights, err := s.rights(r, u, job.Namespace, job.Name)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, s.Jobs.View(job, rights))
}

func (s *Server) getJob(w http.ResponseWriter, r *http.Request, u *auth.User) error {
	job, err := s.job(r, u, "get")
	if err != nil {
		return err
	}
	return s.show(w, r, u, job)
}

func (s *Server) deleteJob(w http.ResponseWriter, r *http.Request, u *auth.User) error {
	results := v1alpha1.DeletionPolicy(r.URL.Query().Get("results"))
	if results != "" && results != v1alpha1.DeletionDelete && results != v1alpha1.DeletionRetain {
		return problem.New(http.StatusBadRequest, "results must be Delete or Retain")
	}
	job, err := s.job(r, u, "delete")
	if err != nil {
		return err
	}
	if err := s.Jobs.Delete(r.Context(), job, results); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) cancelJob(w http.ResponseWriter, r *http.Request, u *auth.User) error {
	job, err := s.job(r, u, "patch")
	if err != nil {
		return err
	}
	if job, err = s.Jobs.Cancel(r.Context(), u, job); err != nil {
		return err
	}
	return s.show(w, r, u, job)
}

func (s *Server) retryJob(w http.ResponseWriter, r *http.Request, u *auth.User) error {
	job, err := s.job(r, u, "get")
	if err != nil {
		return err
	}
	if _, err := s.may(r, u, "create", ""); err != nil {
		return err
	}
	next, err := s.Jobs.Retry(r.Context(), u, job)
	if err != nil {
		return err
	}
	return s.created(w, r, u, next)
}

func (s *Server) listResults(w http.ResponseWriter, r *http.Request, u *auth.User) error {
	job, err := s.job(r, u, "get")
	if err != nil {
		return err
	}
	files, err := s.Media.List(r.Context(), u, job)
	if err != nil {
		return err
	}
	list, err := s.Exports.List(r.Context(), u, job, s.title(job), files.ExpiresAt)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct {
		*media.Results
		*exports.List
	}{files, list})
}

// title is what people call a job: the name of its video's file.
func (s *Server) title(job *v1alpha1.PoseJob) string {
	return s.Jobs.View(job, jobs.Rights{}).Name
}

func (s *Server) getResult(w http.ResponseWriter, r *http.Request, u *auth.User) error {
	job, err := s.job(r, u, "get")
	if err != nil {
		return err
	}
	return s.download(func() error { return s.Media.Serve(w, r, u, job, r.PathValue("file")) })
}

func (s *Server) getExport(w http.ResponseWriter, r *http.Request, u *auth.User) error {
	job, err := s.job(r, u, "get")
	if err != nil {
		return err
	}
	return s.download(func() error { return s.Exports.Serve(w, r, job, s.title(job), r.PathValue("format")) })
}

// getExportLink is as getMedia, for a result in another format.
func (s *Server) getExportLink(w http.ResponseWriter, r *http.Request) error {
	u, err := s.Auth.Identify(r)
	if err != nil {
		u = nil
	}
	return s.download(func() error { return s.Exports.ServeLink(w, r, r.PathValue("link"), u, s.Jobs.Get) })
}

// getMedia needs no credentials but the link. A cookie that comes along must be of the
// same user.
func (s *Server) getMedia(w http.ResponseWriter, r *http.Request) error {
	u, err := s.Auth.Identify(r)
	if err != nil {
		u = nil
	}
	return s.download(func() error { return s.Media.ServeLink(w, r, r.PathValue("link"), u, s.Jobs.Get) })
}

// download within the bound of all downloads.
func (s *Server) download(f func() error) error {
	select {
	case s.downloads <- struct{}{}:
		defer func() { <-s.downloads }()
		return f()
	default:
		return tooMany("too many files are being sent: try again in a moment", 2*time.Second)
	}
}
