package plan_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/config/engines"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
)

// The example of a cost in docs/failures.md is what a job of PHALP's CPU variant
// says, by the estimate that the engine ships with.
func TestTheDocumentsExampleOfACostIsTrue(t *testing.T) {
	raw, err := os.ReadFile("../../../docs/failures.md")
	if err != nil {
		t.Fatal(err)
	}
	all, err := engines.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(e v1alpha1.PoseEngine) bool { return e.Name == "phalp" })
	if i < 0 {
		t.Fatal("there is no engine phalp")
	}
	in := input(gen.Job("j").Variants("cpu"), nil)
	in.Engine, in.Frames = &all[i], 795
	d := plan.Next(in)
	if want := "`On the CPU " + d.Cost + "`"; d.Cost == "" || !strings.Contains(string(raw), want) {
		t.Errorf("%s %s: docs/failures.md does not hold the example %s", d.Kind, d.Message, want)
	}
}
