package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// helmPath is HELM where it is an absolute path, or the repository's own.
func helmPath(t *testing.T) string {
	t.Helper()
	helm := os.Getenv("HELM")
	if !filepath.IsAbs(helm) {
		helm = filepath.Join("..", "..", ".tools", "bin", "helm")
	}
	if _, err := os.Stat(helm); err != nil {
		t.Skipf("needs helm: %v; `make verify` fetches it", err)
	}
	return helm
}

// fillJob renders the chart's Job of the first namespace, and the name of its list.
func fillJob(t *testing.T, helm, chart, release string, set ...string) (*batchv1.Job, string) {
	t.Helper()
	args := []string{"template", release, chart, "--namespace", "pose-system", "--values", filepath.Join(chart, "ci", "weights-values.yaml"), "--set", "fullnameOverride=p"}
	for _, s := range set {
		args = append(args, "--set", s)
	}
	out, err := exec.Command(helm, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("helm: %v\n%s", err, out)
	}
	var job *batchv1.Job
	list := ""
	for doc := range strings.SplitSeq(string(out), "\n---\n") {
		switch {
		case job == nil && strings.Contains(doc, "\nkind: Job\n"):
			job = &batchv1.Job{}
			if err := yaml.UnmarshalStrict([]byte(doc), job); err != nil {
				t.Fatalf("%v\n%s", err, doc)
			}
		case list == "" && strings.Contains(doc, "weights.json: |"):
			var m corev1.ConfigMap
			if err := yaml.UnmarshalStrict([]byte(doc), &m); err != nil {
				t.Fatalf("%v\n%s", err, doc)
			}
			list = m.Name
		}
	}
	if job == nil {
		t.Fatal("the chart makes no Job")
	}
	return job, list
}

// TestTheChartsJobIsNeverChanged: an API server refuses another pod template for a
// Job that is there, and the upgrade with it.
func TestTheChartsJobIsNeverChanged(t *testing.T) {
	helm := helmPath(t)
	// The test opens the chart's files itself, so that go's cache of results knows of them.
	chart := t.TempDir()
	if err := os.CopyFS(chart, os.DirFS(filepath.Join("..", "..", "charts", "pose-operator"))); err != nil {
		t.Fatal(err)
	}
	before, _ := fillJob(t, helm, chart, "release")
	if again, _ := fillJob(t, helm, chart, "release"); again.Name != before.Name {
		t.Errorf("the same values make %s and %s", before.Name, again.Name)
	}
	for name, c := range map[string]struct {
		release string
		set     []string
		same    bool // whether it is the same Job
	}{
		"pull policy":       {set: []string{"image.pullPolicy=Always"}},
		"pull secrets":      {set: []string{"config.imagePullSecrets={other}"}},
		"no pull secrets":   {set: []string{"config.imagePullSecrets=null"}},
		"release":           {release: "another"},
		"claim":             {set: []string{"engines.phalp.weights.claimName=c", "engines.phalp.models[0].name=m", "engines.phalp.models[0].mountPath=/m", "engines.phalp.models[0].persistentVolumeClaim=c"}},
		"credentials":       {set: []string{"engines.phalp.weights.fill.credentialsSecretName=other"}},
		"no credentials":    {set: []string{"engines.phalp.weights.fill.credentialsSecretName="}},
		"image":             {set: []string{"image.runner.repository=registry.example/other"}},
		"list":              {set: []string{"engines.phalp.weights.fill.sources[0].uri=s3://b/k"}},
		"place":             {set: []string{"config.store.s3Region=here"}},
		"time":              {set: []string{"engines.phalp.weights.fill.timeoutSeconds=7777"}, same: true},
		"the manager's own": {set: []string{"image.manager.tag=v2"}, same: true},
	} {
		t.Run(name, func(t *testing.T) {
			release := "release"
			if c.release != "" {
				release = c.release
			}
			after, list := fillJob(t, helm, chart, release, c.set...)
			if (after.Name == before.Name) != c.same {
				t.Errorf("the Job is %s after %s, want the same: %v", after.Name, before.Name, c.same)
			}
			if after.Name == before.Name {
				if diff := cmp.Diff(before.Spec.Template, after.Spec.Template); diff != "" {
					t.Errorf("the upgrade would be refused:\n%s", diff)
				}
			}
			volumes := after.Spec.Template.Spec.Volumes
			if volumes[1].ConfigMap.Name != list || list != after.Name {
				t.Errorf("Job %s mounts list %s, the list is %s", after.Name, volumes[1].ConfigMap.Name, list)
			}
		})
	}
}
