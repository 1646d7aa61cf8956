package main

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/auth"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/httpapi"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/openapi"
)

// document is the part of OpenAPI 3.1 that ours uses.
type document struct {
	Paths      map[string]map[string]json.RawMessage
	Components struct {
		Responses map[string]response
		Schemas   map[string]schema
	}
}

type operation struct {
	OperationID string
	Responses   map[string]response
}

type response struct {
	Ref     string `json:"$ref"`
	Content map[string]struct{ Schema schema }
}

type schema struct {
	Ref        string `json:"$ref"`
	Type       string
	Format     string
	Pattern    string
	Required   []string
	Enum       []any
	Properties map[string]schema
	Items      *schema
}

var theDocument = sync.OnceValues(func() (*document, error) {
	raw, err := openapi.JSON("")
	if err != nil {
		return nil, err
	}
	var d document
	return &d, json.Unmarshal(raw, &d)
})

func (d *document) operations(t *testing.T) map[string]operation {
	out := map[string]operation{}
	for path, item := range d.Paths {
		for method, raw := range item {
			if method == "parameters" {
				continue
			}
			var o operation
			if err := json.Unmarshal(raw, &o); err != nil {
				t.Fatal(err)
			}
			out[strings.ToUpper(method)+" "+path] = o
		}
	}
	return out
}

// TestRoutes: the document has every route, and no other.
func TestRoutes(t *testing.T) {
	d, err := theDocument()
	if err != nil {
		t.Fatal(err)
	}
	ops := d.operations(t)
	ids := map[string]bool{}
	for _, r := range (&httpapi.Server{Auth: &auth.Auth{}}).Routes() {
		name := r.Method + " " + r.Path
		o, ok := ops[name]
		if !ok || o.OperationID == "" || ids[o.OperationID] {
			t.Errorf("%s is not in the document, or has no id of its own", name)
		}
		ids[o.OperationID] = true
		delete(ops, name)
	}
	for name := range ops {
		t.Errorf("%s is in the document and no route", name)
	}
}

var parameter = regexp.MustCompile(`\{[a-z]+\}`)

// conforms: the answer is one that the document has for the request's route.
func conforms(t *testing.T, r *http.Request, resp *http.Response, body []byte) {
	t.Helper()
	d, err := theDocument()
	if err != nil {
		t.Fatal(err)
	}
	var (
		found string
		op    operation
	)
	for name, o := range d.operations(t) {
		method, path, _ := strings.Cut(name, " ")
		pattern := "^" + strings.ReplaceAll(parameter.ReplaceAllString(path, "[^/]+"), ".", `\.`) + "$"
		fits := method == r.Method && regexp.MustCompile(pattern).MatchString(r.URL.Path)
		// As the router has it: a literal before a parameter.
		if fits && (found == "" || strings.Count(path, "{") < strings.Count(found, "{")) {
			found, op = path, o
		}
	}
	if found == "" {
		return // no route of the API
	}
	res, ok := op.Responses[strconv.Itoa(resp.StatusCode)]
	if !ok {
		t.Errorf("%s %s: status %d is not in the document: %s", r.Method, found, resp.StatusCode, body)
		return
	}
	if name, ok := strings.CutPrefix(res.Ref, "#/components/responses/"); ok {
		res = d.Components.Responses[name]
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if len(body) == 0 {
		return
	}
	content, ok := res.Content[kind]
	if !ok {
		t.Errorf("%s %s: %d has the content type %q, which is not in the document", r.Method, found, resp.StatusCode, kind)
		return
	}
	if strings.HasSuffix(kind, "json") && found != "/openapi.json" && !strings.Contains(found, "{file}") {
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Errorf("%s %s: %v", r.Method, found, err)
			return
		}
		if err := d.check(content.Schema, v, ""); err != nil {
			t.Errorf("%s %s: %d: %v in %.300s", r.Method, found, resp.StatusCode, err, body)
		}
	}
}

// check a value against a schema. A member that the schema does not have is an error
// where the schema has any.
func (d *document) check(s schema, v any, at string) error {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		s = d.Components.Schemas[name]
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, v) {
		return fmt.Errorf("%s is %v: not one of %v", at, v, s.Enum)
	}
	switch x := v.(type) {
	case map[string]any:
		if s.Type != "object" && s.Type != "" {
			return fmt.Errorf("%s is an object and no %s", at, s.Type)
		}
		for _, name := range s.Required {
			if _, ok := x[name]; !ok {
				return fmt.Errorf("%s.%s is missing", at, name)
			}
		}
		for name, value := range x {
			p, ok := s.Properties[name]
			if !ok && len(s.Properties) > 0 && !strings.HasPrefix(at, ".status") && !strings.Contains(at, "].status") {
				return fmt.Errorf("%s.%s is not in the document", at, name)
			}
			if err := d.check(p, value, at+"."+name); err != nil {
				return err
			}
		}
	case []any:
		if s.Type != "array" && s.Type != "" {
			return fmt.Errorf("%s is a list and no %s", at, s.Type)
		}
		for i, value := range x {
			if s.Items == nil {
				break
			}
			if err := d.check(*s.Items, value, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	default:
		want := map[string][]string{"string": {"string"}, "float64": {"integer", "number"}, "bool": {"boolean"}}[fmt.Sprintf("%T", v)]
		if s.Type != "" && !slices.Contains(want, s.Type) {
			return fmt.Errorf("%s is %v and no %s", at, v, s.Type)
		}
	}
	return nil
}
