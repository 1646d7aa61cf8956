// Package docs holds what people read; its tests keep that true.
package docs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/controllers/apitest"
)

var api client.Client

func TestMain(m *testing.M) {
	os.Exit(apitest.Main(m, func(c *rest.Config) (err error) {
		api, err = client.New(c, client.Options{})
		return err
	}))
}

func TestTheAPIServerIsNamed(t *testing.T) { apitest.Named(t) }

// pages are all documents of the repository, by their path from its root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (strings.HasPrefix(name, ".") && name != ".." || name == "node_modules" || name == "testdata" || name == "bin") {
			return filepath.SkipDir
		}
		if filepath.Ext(name) == ".md" {
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			out[filepath.ToSlash(strings.TrimPrefix(path, "../"))] = string(raw)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("only %d documents are found", len(out))
	}
	return out
}

var (
	fence   = regexp.MustCompile("(?ms)^```([a-z]*)[^\n]*\n(.*?)^```")
	link    = regexp.MustCompile(`\]\(([^()\s]+(?:\([^()\s]*\))?[^()\s]*)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
)

// anchor of a heading, as GitHub makes it.
func anchor(title string) string {
	title = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(title, "$1")
	var b strings.Builder
	for _, r := range strings.ToLower(title) {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	return b.String()
}

// TestLinks: what a document leads to is there, and so is the place in it.
func TestLinks(t *testing.T) {
	all := pages(t)
	anchors := map[string]map[string]bool{}
	for path, text := range all {
		anchors[path] = map[string]bool{}
		for _, h := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			anchors[path][anchor(h[1])] = true
		}
	}
	n := 0
	for path, text := range all {
		if path == "docs/api-reference.md" {
			continue // made, and full of patterns that look like links
		}
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			u, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: %q is no link: %v", path, m[1], err)
				continue
			}
			if u.Scheme != "" {
				continue
			}
			n++
			to := path
			if u.Path != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(path), u.Path))
			}
			if _, err := os.Stat(filepath.Join("..", to)); err != nil {
				t.Errorf("%s leads to %s, which is not there", path, m[1])
			} else if known, page := anchors[to]; u.Fragment != "" && page && !known[u.Fragment] {
				t.Errorf("%s leads to %s, which has no such heading", path, m[1])
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d links are found", n)
	}
}

// TestManifests: the API server takes every object of ours that a document shows.
func TestManifests(t *testing.T) {
	n := 0
	namespaces := map[string]bool{"default": true}
	for path, text := range pages(t) {
		for _, m := range fence.FindAllStringSubmatch(text, -1) {
			if m[1] != "yaml" {
				continue
			}
			for _, o := range objects(t, path, m[2]) {
				if !strings.HasPrefix(o.GetAPIVersion(), "pose.dev/") || o.GetName() == "" {
					continue // a part of one, or another's
				}
				if ns := o.GetNamespace(); ns != "" && !namespaces[ns] {
					namespaces[ns] = true
					if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}); err != nil {
						t.Fatal(err)
					}
				}
				if o.GetNamespace() == "" && o.GetKind() != "PoseEngine" {
					o.SetNamespace("default")
				}
				n++
				if err := api.Create(t.Context(), o, client.DryRunAll); err != nil {
					t.Errorf("%s: %s %s: %v", path, o.GetKind(), o.GetName(), err)
				}
			}
		}
	}
	if n < 5 {
		t.Errorf("only %d objects are found", n)
	}
}

// objects of one block; what is no object, as a list of fields, is left out.
func objects(t *testing.T, path, block string) []*unstructured.Unstructured {
	t.Helper()
	if !strings.Contains(block, "apiVersion: pose.dev/") || strings.Contains(block, "…") {
		return nil
	}
	var out []*unstructured.Unstructured
	d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(block)), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := d.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Errorf("%s: a block of YAML cannot be read: %v\n%s", path, err, block)
			return out
		}
		if len(o.Object) > 0 {
			out = append(out, o)
		}
	}
}
