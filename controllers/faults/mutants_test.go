//go:build mutants

package faults

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mutant is a manager with one fault built in, and where the oracle must see it.
type mutant struct {
	name string
	// file below the repository's root, and what stands there once.
	file, old, new string
	// run is the test and scenario, says what it must say of it.
	run, says string
}

var mutants = []mutant{
	{
		"a pod that is being deleted counts as gone",
		"controllers/internal/attempt/pod.go", `return !p.Terminal() && (!p.Deleting || p.Node != "")`, `return !p.Terminal() && !p.Deleting`,
		"TestCrashAtEveryWrite/^suspend_and_resume$", "two live pods of a job",
	},
	{
		"pods have another name each time",
		"controllers/internal/render/render.go", `return fmt.Sprintf("%s-%s-%d", name, shortUID(job), number)`, `return fmt.Sprintf("%s-%s-%d-%p", name, shortUID(job), number, new([64]int))`,
		"TestStaleCaches/^success$", "knows nothing of the pod of attempt",
	},
	{
		"a pod that is there already is another's",
		"controllers/posejob/act.go", `return r.adopt(ctx, o.job, pod)`, `return r.abandon(ctx, o, a, "it exists")`,
		"TestStaleCaches/^success$", "differs from the undisturbed one",
	},
	{
		"what ended well is success, proof or none",
		"controllers/internal/failure/failure.go", `if a.Pod.Phase != "Succeeded" || d == nil {`, "if d == nil && a.Pod.Engine() != nil && a.Pod.Container(attempt.ContainerEngine).ExitCode == 0 {\n\t\treturn Verdict{Succeeded: true}, true\n\t}\n\tif a.Pod.Phase != \"Succeeded\" || d == nil {",
		"TestCrashAtEveryWrite/^no_result_and_fallback$", "Complete without a pod that proved a result",
	},
	{
		"after the end nobody lets pods go",
		"controllers/posejob/act.go", "if err := removal.Release(ctx, r.Client, &pods[i]); err != nil {\n\t\t\t\treturn ctrl.Result{}, err\n\t\t\t}\n\t\t\tcontinue", "continue",
		"TestCrashAtEveryWrite/^success$", "did not come to its end",
	},
	{
		"pods are let go before their end is written",
		"controllers/posejob/controller.go", "decision := plan.Next(input)\n", "decision := plan.Next(input)\n\tif err := r.release(ctx, o.pods); err != nil {\n\t\treturn ctrl.Result{}, err\n\t}\n",
		"TestCrashAtEveryWrite/^eviction$", "",
	},
	{
		"ends get the time of each look",
		"controllers/internal/status/status.go", "s.Attempts = records(in)\n", "s.Attempts = records(in)\n\tfor i := range s.Attempts {\n\t\tif s.Attempts[i].FinishTime != nil {\n\t\t\ts.Attempts[i].FinishTime = &now\n\t\t}\n\t}\n",
		"TestCrashAtEveryWrite/^suspend_and_resume$", "changed the verdict of attempt",
	},
	{
		"a finished job is looked at as any other",
		"controllers/posejob/controller.go", "if finished(job) {\n\t\treturn r.afterEnd", "if false && finished(job) {\n\t\treturn r.afterEnd",
		"TestCrashAtEveryWrite/^time_to_live$", "did not come to its end",
	},
	{
		"the status forgets all attempts but the last",
		"controllers/internal/status/status.go", "s.Attempts = records(in)\n", "s.Attempts = records(in)\n\ts.Attempts = s.Attempts[max(0, len(s.Attempts)-1):]\n",
		"TestCrashAtEveryWrite/^crash_and_fallback$", "attempt 1",
	},
	{
		"the status is written at every look",
		"controllers/posejob/controller.go", "if status.Equal(o.job.Status, next) {", "if next.Phase == \"\" {",
		"TestCrashAtEveryWrite/^success$", "did not come to its end",
	},
	{
		"a deletion that failed is forgotten",
		"controllers/removal/removal.go", "if err := c.Delete(ctx, pod, client.Preconditions{UID: &id}); client.IgnoreNotFound(err) != nil {", "if err := c.Delete(ctx, pod, client.Preconditions{UID: &id}); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {",
		"TestEveryWriteFailsOnce/^no_capacity_and_fallback$/conflict", "did not come to its end",
	},
	{
		"reads wait for writes that no event will show",
		"controllers/cached/client.go", "return err != nil && ctx.Err() == nil", "return false && err != nil && ctx.Err() == nil",
		"TestStaleCaches/^delete_midway$/gone", "did not come to its end",
	},
	{
		"results are left where they are",
		"controllers/internal/purge/purge.go", "case o.Policy != v1alpha1.DeletionDelete:", `case o.Policy != "":`,
		"TestCrashAtEveryWrite/^delete_with_its_results$", "went and left its results",
	},
	{
		"jobs of a batch are deleted before their end is written",
		"controllers/posebatch/steps.go", "	for _, s := range steps {\n\t\terr := error(nil)", "	for _, s := range steps {\n\t\tif s.Kind == batch.StepDelete {\n\t\t\t_ = r.deleteJob(ctx, o, s.Child)\n\t\t}\n\t}\n\tfor _, s := range steps {\n\t\terr := error(nil)",
		"TestCrashAtEveryWrite/^batch_of_three$", "two PoseJobs for the clip",
	},
}

// Every broken manager is caught, by the oracle that is there for it.
func TestMutants(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			out := m.play(t, root)
			if m.says != "" && !strings.Contains(out, m.says) {
				t.Errorf("it was caught for something else than %q:\n%s", m.says, tail(out))
			}
		})
	}
}

// play a mutant's scenario and give what the tests say.
func (m mutant) play(t *testing.T, root string) string {
	t.Helper()
	path := filepath.Join(root, m.file)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(raw), m.old); n != 1 {
		t.Fatalf("%s has %d places of %q: bring the mutant up to date", m.file, n, m.old)
	}
	dir := t.TempDir()
	mutated, overlay := filepath.Join(dir, "mutated.go"), filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{path: mutated}})
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{mutated: strings.Replace(string(raw), m.old, m.new, 1), overlay: string(text)} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	limited, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(limited, "go", "test", "-count=1", "-overlay", overlay, "-run", m.run, ".")
	c.Env = append(os.Environ(), "POSE_FAULTS_CONVERGE=20s")
	out, err := c.CombinedOutput()
	switch {
	case strings.Contains(string(out), "[build failed]"), strings.Contains(string(out), "[setup failed]"):
		t.Fatalf("the mutant does not build:\n%s", tail(string(out)))
	case strings.Contains(string(out), "no tests to run"):
		t.Fatalf("-run %s matches nothing", m.run)
	case err == nil:
		t.Fatalf("nobody noticed")
	}
	return string(out)
}

func tail(out string) string { return out[max(0, len(out)-3000):] }
