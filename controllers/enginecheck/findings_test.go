package enginecheck_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/pose-dev/pose-operator/controllers/enginecheck"
)

// document of a check with findings of these levels.
func document(levels ...string) string {
	var findings []string
	for i, l := range levels {
		findings = append(findings, fmt.Sprintf(`{"level": %q, "name": "f%d", "what": "b", "remedy": "c"}`, l, i))
	}
	return `{"apiVersion": "pose.dev/v1alpha1", "kind": "PoseEngineCheck", "findings": [` + strings.Join(findings, ", ") + `]}`
}

func TestRead(t *testing.T) {
	doc := document("error")
	for name, c := range map[string]struct {
		log  string
		want string // of the error
	}{
		"alone":              {doc, ""},
		"among other lines":  {"warming up\n{\"kind\": 1}\npose-runner: x\n" + doc + "\nbye\n", ""},
		"after a bad one":    {document() + "\n" + doc, ""},
		"cut off":            {doc[:60], "holds no findings"},
		"another kind":       {strings.ReplaceAll(doc, "PoseEngineCheck", "Pose"), "holds no findings"},
		"its name alone":     {"PoseEngineCheck {", "holds no findings"},
		"nothing":            {"", "holds no findings"},
		"no finding":         {document(), "it has no findings"},
		"no list":            {`{"apiVersion": "pose.dev/v1alpha1", "kind": "PoseEngineCheck"}`, "it has no findings"},
		"an unknown level":   {document("ok", "fatal"), `"f1" has the unknown level "fatal"`},
		"no level":           {document("ok", ""), `unknown level ""`},
		"another apiVersion": {strings.ReplaceAll(doc, "v1alpha1", "v2"), `"pose.dev/v2"`},
		"no apiVersion":      {strings.ReplaceAll(doc, "apiVersion", "version"), "not pose.dev/v1alpha1"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := enginecheck.Read(c.log)
			switch {
			case c.want == "" && (err != nil || len(d.Findings) != 1):
				t.Errorf("%+v %v", d, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
		})
	}
	many := make([]string, 5000)
	for i := range many {
		many[i] = "ok"
	}
	many[4999] = "error"
	if d, err := enginecheck.Read(document(many...)); err != nil || len(d.Findings) > 500 || d.Findings[0].Name != "f4999" {
		t.Errorf("findings have no bound, or the error is left out: %v", err)
	}
}

func TestFindings(t *testing.T) {
	ended := func(code int32, reason string) []corev1.ContainerStatus {
		return []corev1.ContainerStatus{{Name: "engine", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}}}
	}
	for name, c := range map[string]struct {
		status []corev1.ContainerStatus
		log    string
		whole  bool
		errors string // names and words of those among the findings
	}{
		"all is well":               {ended(0, ""), document("ok", "warning"), true, ""},
		"an error, and its code":    {ended(8, ""), document("ok", "error"), true, "f1: b"},
		"an error without its code": {ended(0, ""), document("error"), true, "f0: b"},
		"died after its findings":   {ended(139, ""), document("ok"), true, "check: it ended with exit code 139"},
		"memory ran out after it":   {ended(137, "OOMKilled"), document("ok"), true, "check: it ran out of memory"},
		"no end":                    {nil, document("ok"), true, "check: it is not known how it ended"},
		"an empty document":         {ended(0, ""), document(), true, "check: the check's document cannot be used: it has no findings"},
		"a level of tomorrow":       {ended(0, ""), document("fatal"), true, `unknown level "fatal"`},
		"silence":                   {ended(0, ""), "bye", true, "check: it ended with exit code 0 and said nothing"},
		"help alone":                {ended(0, ""), "usage", false, ""},
		"no help":                   {ended(127, ""), "not found", false, "start: its program ended"},
	} {
		t.Run(name, func(t *testing.T) {
			found := enginecheck.Findings(&corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: c.status}}, c.log, c.whole)
			var errors []string
			for _, f := range found {
				if f.Level == enginecheck.LevelError {
					errors = append(errors, f.Name+": "+f.What)
				}
			}
			got := strings.Join(errors, "; ")
			if len(found) == 0 || len(errors) > 1 || (got == "") != (c.errors == "") || !strings.Contains(got, c.errors) {
				t.Errorf("%+v, want the error %q", found, c.errors)
			}
		})
	}
}
