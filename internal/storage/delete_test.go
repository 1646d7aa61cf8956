package storage

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// deleteVersion removes what was looked at, and nothing that came later.
func (c *conformance) deleteVersion(t *testing.T) {
	const key = "versions/a"
	c.put(t, key, []byte("first"))
	listed := ""
	if err := c.sink.List(t.Context(), "versions", func(e Entry) error { listed = e.Version; return nil }); err != nil {
		t.Fatal(err)
	}
	first, err := c.sink.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c.digests && listed != first.Version { // a claim's listing tells none
		t.Errorf("listed with version %q, looked at with %q", listed, first.Version)
	}
	c.put(t, key, []byte("another"))
	if err := DeleteVersion(t.Context(), c.sink, key, first.Version); KindOf(err) != Changed {
		t.Errorf("delete of an earlier version: %v", err)
	}
	second, err := c.sink.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := c.sink.(*objectSink); ok && !strings.HasPrefix(c.uri, "gs:") { // see TestGCSGenerations
		// As when it changes after the look.
		if err := s.remove(t.Context(), key, first.Version); KindOf(err) != Changed {
			t.Errorf("delete of an earlier version, without a look: %v", err)
		}
	}
	for range 2 { // what is gone is no error
		if err := DeleteVersion(t.Context(), c.sink, key, second.Version); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	if _, err := c.sink.Stat(t.Context(), key); KindOf(err) != NotFound {
		t.Errorf("stat of what was deleted: %v", err)
	}
}

// TestDeleteVersionWithoutConditions is for servers that say that they know no
// conditions on deletes.
func TestDeleteVersionWithoutConditions(t *testing.T) {
	deletes := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		if r.Method != http.MethodDelete {
			return
		}
		if r.Header.Get("If-Match") != "" {
			w.WriteHeader(http.StatusNotImplemented)
			return
		}
		deletes++
		w.WriteHeader(http.StatusNoContent)
	}))
	defer srv.Close()
	sink, err := OpenSink("s3://bucket/x", s3Options(t, srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	if err := DeleteVersion(t.Context(), sink, "a", `"v1"`); err != nil || deletes != 1 {
		t.Errorf("%v after %d deletes", err, deletes)
	}
	if err := DeleteVersion(t.Context(), sink, "a", `"v0"`); KindOf(err) != Changed || deletes != 1 {
		t.Errorf("%v after %d deletes, where another version is asked for", err, deletes)
	}
}
