package jobs

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
)

// checkOutput of a -o flag; "" is always possible.
func checkOutput(output string, possible ...string) error {
	if output == "" || slices.Contains(possible, output) {
		return nil
	}
	return exit.Usagef("--output %q is unknown: use one of %s, or leave it out", output, strings.Join(possible, ", "))
}

// printObject as json, yaml or name, or as verb for people.
func printObject(w io.Writer, output, verb string, o client.Object) error {
	named(o)
	var p printers.ResourcePrinter
	switch output {
	case "json":
		p = &printers.JSONPrinter{}
	case "yaml":
		p = &printers.YAMLPrinter{}
	case "name":
		p = &printers.NamePrinter{ShortOutput: true}
	default:
		p = &printers.NamePrinter{Operation: verb}
	}
	if output == "json" || output == "yaml" {
		o = o.DeepCopyObject().(client.Object)
		o.SetManagedFields(nil)
	} else {
		w = term.Safe(w)
	}
	if err := p.PrintObj(o, w); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// named sets the kind, which a typed client leaves out.
func named(o runtime.Object) {
	kind := map[bool]string{true: "PoseBatch", false: "PoseJob"}
	_, batch := o.(*v1alpha1.PoseBatch)
	o.GetObjectKind().SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind[batch]))
}

// printObjects as one List, or as names.
func printObjects(w io.Writer, output string, all []client.Object) error {
	if output == "name" {
		for _, o := range all {
			if err := printObject(w, output, "", o); err != nil {
				return err
			}
		}
		return nil
	}
	var l objects
	l.APIVersion, l.Kind = "v1", "List"
	l.Items = make([]any, 0, len(all))
	for _, o := range all {
		named(o)
		o.SetManagedFields(nil)
		if _, err := meta.Accessor(o); err == nil {
			l.Items = append(l.Items, o)
		}
	}
	if output == "yaml" {
		return yamlOf(w, l)
	}
	return term.JSON(w, l)
}

// objects is a List as kubectl prints it.
type objects struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Items []any `json:"items"`
}
