package httpapi

import (
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
)

// pageRoutes serve the page: its names in assets carry a digest and never change.
func (s *Server) pageRoutes(mux *http.ServeMux) {
	mux.Handle("GET /{$}", s.answer(func(w http.ResponseWriter, _ *http.Request) error { return s.file(w, "index.html", "no-cache") }))
	mux.Handle("GET /assets/{file...}", s.answer(func(w http.ResponseWriter, r *http.Request) error {
		return s.file(w, "assets/"+r.PathValue("file"), "public, max-age=31536000, immutable")
	}))
	mux.Handle("GET /{file}", s.answer(func(w http.ResponseWriter, r *http.Request) error {
		return s.file(w, r.PathValue("file"), "public, max-age=3600")
	}))
}

func (s *Server) file(w http.ResponseWriter, name, caching string) error {
	none := problem.New(http.StatusNotFound, "there is nothing here: /openapi.json says what there is")
	if s.Page == nil || !fs.ValidPath(name) {
		return none
	}
	f, err := s.Page.Open(name)
	if err != nil {
		return none
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return none
	}
	kind := mime.TypeByExtension(path.Ext(name))
	if kind == "" {
		kind = "application/octet-stream"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", caching)
	_, _ = io.Copy(w, f) // a client that is gone is not told
	return nil
}
