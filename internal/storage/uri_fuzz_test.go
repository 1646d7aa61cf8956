package storage

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzOpenSource: whatever a URI says, it is refused with an error that shows neither
// userinfo nor query, or it becomes a place whose name is a URI that means the same.
func FuzzOpenSource(f *testing.F) {
	const image = "oci://registry.example/clips@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, uri := range []string{
		"s3://bucket/a.mp4", "gs://bucket/a//b.mp4", "azblob://container/a%20b.mp4", "https://host:8443/v.mp4", "pvc://claim/in/a.mp4", image + "//a.mp4",
		"https://me:sesame@host/a?sig=sesame#sesame", "pvc://claim/../../etc/passwd", "pvc://claim/%2e%2e/x", "s3://b/a%00b", "oci://r/x//..", "s3://[::1/a", "http://h/%zz",
		"s3://me:sesame@b/%zz", "pvc://c//", "file:///etc/passwd",
	} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		if len(uri) > 4096 {
			return
		}
		s, err := OpenSource(uri, Options{PVCMount: "/mnt/claim"})
		if err != nil {
			var known *Error
			if !errors.As(err, &known) || !utf8.ValidString(err.Error()) && utf8.ValidString(uri) {
				t.Fatalf("%q: %v", uri, err)
			}
			checkSecrets(t, uri, err.Error())
			return
		}
		defer s.Close()
		u, err := url.Parse(s.String())
		if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Host == "" {
			t.Fatalf("%q opens %q: %v", uri, s, err)
		}
		if again, err := OpenSource(s.String(), Options{PVCMount: "/mnt/claim"}); err != nil || again.String() != s.String() {
			t.Fatalf("%q is called %q, which is %v, %v", uri, s, again, err)
		}
		if c, ok := s.(claimSource); ok {
			checkBelow(t, c.mount, c.prefix)
		}
	})
}

// ownWords of the error that refuses such a URI.
const ownWords = `a URI must not carry user, password, query string or fragment: put a signed URL under key "url" of the Secret`

// checkSecrets: what stands between :// and @, or behind ?, is in no error. Words that
// an error of ours may hold by itself tell nothing.
func checkSecrets(t *testing.T, uri, said string) {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil || u.User == nil && u.RawQuery == "" {
		return
	}
	secret, _ := u.User.Password()
	for _, s := range []string{secret, u.RawQuery} {
		if len(s) >= 8 && strings.Contains(said, s) && !strings.Contains(u.Host+u.Path+u.Scheme, s) && !strings.Contains(ownWords, s) {
			t.Fatalf("%q is told of: %s", s, said)
		}
	}
}

func checkBelow(t *testing.T, mount, key string) {
	t.Helper()
	if full := filepath.Join(mount, key); full != mount && !strings.HasPrefix(full, mount+"/") {
		t.Fatalf("%q leads to %s", key, full)
	}
}

// FuzzKey: a key that a place takes lies below its folder, and a listing's URI of it
// leads back to it.
func FuzzKey(f *testing.F) {
	for _, k := range []string{"a.mp4", "attempts/abcde-1/pose.json", "../x", "a/./b", "/a", "a//b", "", "100%.mp4", "a?b#c", "a\x00", "映像", "a\\..\\b", "a:b", ";x", "%2e%2e/x"} {
		f.Add("out", k)
	}
	f.Add("", "..")
	f.Fuzz(func(t *testing.T, prefix, key string) {
		if badKey(prefix) != "" || strings.HasPrefix(prefix, "/") {
			return
		}
		whole, err := within(prefix, key)
		if err != nil {
			if len(err.Error()) > 400 {
				t.Fatalf("an error of %d bytes: %s", len(err.Error()), err)
			}
			return
		}
		checkBelow(t, filepath.Join("/mnt", prefix), strings.TrimPrefix(whole, prefix))
		uri := Child("s3://bucket", key)
		u, err := parse(uri)
		if err != nil || strings.TrimPrefix(u.Path, "/") != key {
			t.Fatalf("%q is listed as %s, which is %v, %v", key, uri, u, err)
		}
	})
}

// FuzzClaimSink: nothing that is written or removed by a key lies outside the claim's
// folder. Beside the folder lies a file that must be as it was.
func FuzzClaimSink(f *testing.F) {
	for _, k := range []string{"a", "a/b", "../beside", "a/../../beside", "link/beside", ".", "a/", "\x00"} {
		f.Add(k)
	}
	f.Fuzz(func(t *testing.T, key string) {
		mount := t.TempDir()
		beside := filepath.Join(mount, "beside")
		if os.WriteFile(beside, []byte("own"), 0o600) != nil || os.Mkdir(filepath.Join(mount, "out"), 0o700) != nil ||
			os.Symlink("..", filepath.Join(mount, "out", "link")) != nil {
			t.Fatal("cannot lay out the claim")
		}
		s, err := OpenSink("pvc://claim/out", Options{PVCMount: mount})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		put := s.Put(context.Background(), Object{Key: key, Size: 3}, strings.NewReader("new"))
		if got, _, err := s.Get(context.Background(), key, 10); put == nil && (err != nil || string(got) != "new") {
			t.Fatalf("%q was written, and is %q, %v", key, got, err)
		}
		_ = s.Delete(context.Background(), key)
		if b, err := os.ReadFile(beside); err != nil || string(b) != "own" {
			t.Fatalf("key %q changed a file beside the folder: %q, %v", key, b, err)
		}
		if all, err := os.ReadDir(mount); err != nil || len(all) != 2 {
			t.Fatalf("key %q left %v beside the folder", key, all)
		}
	})
}
