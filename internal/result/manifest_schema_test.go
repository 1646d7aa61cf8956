package result_test

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/result"
)

// schema is the part of JSON Schema that the manifest's uses.
type schema struct {
	Ref        string            `json:"$ref"`
	Type       string            `json:"type"`
	Required   []string          `json:"required"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	Defs       map[string]schema `json:"$defs"`
}

// TestManifestSchema: the schema has every member of the types, and requires those
// that are always there.
func TestManifestSchema(t *testing.T) {
	raw, err := os.ReadFile("../../docs/schema/manifest-v1.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var root schema
	if err := json.Unmarshal(raw, &root); err != nil {
		t.Fatal(err)
	}
	compareSchema(t, root, "manifest", root.Defs["manifest"], reflect.TypeFor[result.Manifest]())
	compareSchema(t, root, "pointer", root.Defs["pointer"], reflect.TypeFor[result.Pointer]())
}

func compareSchema(t *testing.T, root schema, place string, s schema, typ reflect.Type) {
	t.Helper()
	if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
		s = root.Defs[name]
	}
	switch typ.Kind() {
	case reflect.Pointer:
		compareSchema(t, root, place, s, typ.Elem())
		return
	case reflect.Slice:
		if s.Items == nil {
			t.Errorf("%s: a list is expected", place)
			return
		}
		compareSchema(t, root, place+"[]", *s.Items, typ.Elem())
		return
	}
	if typ.Kind() != reflect.Struct || typ.PkgPath() == "time" {
		return
	}
	var all, required []string
	for f := range typ.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		all = append(all, name)
		if !strings.Contains(options, "omitempty") {
			required = append(required, name)
		}
		compareSchema(t, root, place+"."+name, s.Properties[name], f.Type)
	}
	slices.Sort(all)
	slices.Sort(required)
	if has := slices.Sorted(maps.Keys(s.Properties)); !slices.Equal(has, all) {
		t.Errorf("%s: the schema has %v, the type %v", place, has, all)
	}
	slices.Sort(s.Required)
	if !slices.Equal(s.Required, required) {
		t.Errorf("%s: the schema requires %v, always there are %v", place, s.Required, required)
	}
}
