package v1alpha1_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/apitest"
)

// The real API server of this package's tests.
var (
	config *rest.Config
	api    client.Client
)

func TestMain(m *testing.M) { os.Exit(apitest.Main(m, connect)) }

func connect(c *rest.Config) (err error) {
	config = c
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	api, err = client.New(config, client.Options{Scheme: scheme})
	return err
}

// object is a manifest to which a case makes its changes.
type object map[string]any

func parse(t *testing.T, manifest string) object {
	t.Helper()
	var o object
	if err := yaml.Unmarshal([]byte(manifest), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// set a field to a value in YAML, or drop it when the value is empty. A path is
// as spec.variants.0.name.
func (o object) set(t *testing.T, path, value string) object {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(value), &v); err != nil {
		t.Fatalf("value of %s: %v", path, err)
	}
	parts := strings.Split(path, ".")
	var at any = map[string]any(o)
	for i, p := range parts {
		last := i == len(parts)-1
		switch here := at.(type) {
		case map[string]any:
			switch {
			case last && value == "":
				delete(here, p)
			case last:
				here[p] = v
			case here[p] == nil:
				here[p] = map[string]any{}
			}
			at = here[p]
		case []any:
			var n int
			if _, err := fmt.Sscan(p, &n); err != nil {
				t.Fatalf("path %s: %v", path, err)
			}
			if last {
				here[n] = v
			}
			at = here[n]
		default:
			t.Fatalf("path %s: nothing at %s", path, p)
		}
	}
	return o
}

func (o object) unstructured() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: o}
}

// create the object under a name of its own, and delete it after the test.
func create(t *testing.T, o object) (*unstructured.Unstructured, error) {
	t.Helper()
	u := o.unstructured()
	u.SetName("")
	u.SetGenerateName("case-")
	if u.GetKind() == "PoseJob" {
		u.SetNamespace("default")
	}
	err := api.Create(context.Background(), u, client.FieldValidation("Strict"))
	if err == nil {
		t.Cleanup(func() { _ = api.Delete(context.Background(), u) })
	}
	return u, err
}

// expect says that a request passed, or was refused with the words.
func expect(t *testing.T, err error, refusal string) {
	t.Helper()
	switch {
	case refusal == "" && err != nil:
		t.Errorf("refused: %v", err)
	case refusal != "" && err == nil:
		t.Errorf("accepted, want a refusal that says %q", refusal)
	case refusal != "" && !strings.Contains(err.Error(), refusal):
		t.Errorf("refused with %q, want %q", err, refusal)
	}
}

func TestTheAPIServerIsNamed(t *testing.T) { apitest.Named(t) }
