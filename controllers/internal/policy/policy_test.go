package policy_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/controllers/internal/policy"
)

func TestDenied(t *testing.T) {
	template := func(t v1alpha1.PodTemplate) *gen.JobBuilder { return gen.Job("j").Template(t) }
	output := func(uri string) *gen.JobBuilder {
		return gen.Job("j").Spec(func(s *v1alpha1.PoseJobSpec) { s.Output.URI = uri })
	}
	video := func(uri string) *gen.JobBuilder {
		return gen.Job("j").Spec(func(s *v1alpha1.PoseJobSpec) { s.Video.URI = uri })
	}
	for name, c := range map[string]struct {
		policy policy.Policy
		job    *gen.JobBuilder
		says   []string // one for each denial
	}{
		"an ordinary job":             {job: gen.Job("j")},
		"a template within its means": {job: template(v1alpha1.PodTemplate{Labels: map[string]string{"a": "b"}, NodeSelector: map[string]string{"zone": "b"}})},

		"a service account":                    {job: template(v1alpha1.PodTemplate{ServiceAccountName: "admin"}), says: []string{`spec.podTemplate.serviceAccountName "admin"`}},
		"a service account that is allowed":    {policy: policy.Policy{ServiceAccountNames: []string{"x", "admin"}}, job: template(v1alpha1.PodTemplate{ServiceAccountName: "admin"})},
		"any service account":                  {policy: policy.Policy{ServiceAccountNames: []string{"*"}}, job: template(v1alpha1.PodTemplate{ServiceAccountName: "admin"})},
		"another one than the allowed":         {policy: policy.Policy{ServiceAccountNames: []string{"adm"}}, job: template(v1alpha1.PodTemplate{ServiceAccountName: "admin"}), says: []string{"serviceAccountName"}},
		"what is allowed elsewhere":            {policy: policy.Policy{PriorityClassNames: []string{"*"}, RuntimeClassNames: []string{"*"}, TolerationKeys: []string{"*"}}, job: template(v1alpha1.PodTemplate{ServiceAccountName: "admin"}), says: []string{"serviceAccountName"}},
		"a priority class":                     {job: template(v1alpha1.PodTemplate{PriorityClassName: "system-node-critical"}), says: []string{"priorityClassName"}},
		"a priority class that is allowed":     {policy: policy.Policy{PriorityClassNames: []string{"low"}}, job: template(v1alpha1.PodTemplate{PriorityClassName: "low"})},
		"a runtime class":                      {job: template(v1alpha1.PodTemplate{RuntimeClassName: "runc"}), says: []string{"runtimeClassName"}},
		"a runtime class that is allowed":      {policy: policy.Policy{RuntimeClassNames: []string{"runc"}}, job: template(v1alpha1.PodTemplate{RuntimeClassName: "runc"})},
		"a toleration":                         {job: template(v1alpha1.PodTemplate{Tolerations: []corev1.Toleration{{Key: "node-role.kubernetes.io/control-plane"}}}), says: []string{`key "node-role.kubernetes.io/control-plane"`}},
		"a toleration that is allowed":         {policy: policy.Policy{TolerationKeys: []string{"gpu"}}, job: template(v1alpha1.PodTemplate{Tolerations: []corev1.Toleration{{Key: "gpu"}}})},
		"a toleration of everything":           {policy: policy.Policy{TolerationKeys: []string{"gpu"}}, job: template(v1alpha1.PodTemplate{Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}}), says: []string{`key ""`}},
		"each thing that is denied is said":    {job: template(v1alpha1.PodTemplate{ServiceAccountName: "a", PriorityClassName: "b", RuntimeClassName: "c", Tolerations: []corev1.Toleration{{Key: "d"}, {Key: "e"}}}), says: []string{"serviceAccountName", "priorityClassName", "runtimeClassName", `"d"`, `"e"`}},
		"an output in the namespace's prefix":  {job: output("s3://b/team-a/x")},
		"an output that is the prefix itself":  {job: output("s3://b/team-a")},
		"an output with a slash too many":      {job: output("s3://b//team-a/x"), says: []string{"must be plain"}},
		"an encoded way out of the prefix":     {job: output("s3://b/team-a/%2e%2e/team-b/x"), says: []string{"must be plain"}},
		"an encoded slash in the way out":      {job: output("s3://b/team-a%2f..%2fteam-b/x"), says: []string{"must be plain"}},
		"a way out behind the prefix":          {job: output("s3://b/team-a/.."), says: []string{"must be plain"}},
		"a broken percent-encoding":            {job: output("s3://b/team-a/%zz"), says: []string{"must be plain"}},
		"an encoded prefix is the prefix":      {job: output("s3://b/%74eam-a/x")},
		"an encoded space in the path":         {job: output("s3://b/team-a/my%20video/")},
		"an output in another's prefix":        {job: output("s3://b/team-b/x"), says: []string{`the path "team-b/x" must begin with "team-a/"`}},
		"an output in a prefix that is longer": {job: output("s3://b/team-attack/x"), says: []string{"must begin with"}},
		"an output elsewhere in the bucket":    {job: output("s3://b/x/team-a/y"), says: []string{"must begin with"}},
		"an output in a claim":                 {job: output("pvc://claim/anywhere")},
		"prefixes of the admin's":              {policy: policy.Policy{OutputPrefixes: []string{"shared/", "poses/{namespace}/"}}, job: output("s3://b/poses/team-a/x")},
		"a video in an image":                  {job: video("oci://registry.example/clips@sha256:ab//a.mp4"), says: []string{"spec.video.uri: images of registry.example/clips are not allowed"}},
		"a video in an image that is allowed":  {policy: policy.Policy{ImageRepositories: []string{"registry.example/"}}, job: video("oci://registry.example/clips@sha256:ab//a.mp4")},
		"a video in an image of a namesake":    {policy: policy.Policy{ImageRepositories: []string{"registry.example/"}}, job: video("oci://registry.example.evil/clips@sha256:ab//a.mp4"), says: []string{"spec.video.uri"}},
		"a video in any image":                 {policy: policy.Policy{ImageRepositories: []string{"*"}}, job: video("oci://registry.example/clips@sha256:ab//a.mp4")},
		"an empty prefix allows no image":      {policy: policy.Policy{ImageRepositories: []string{""}}, job: video("oci://registry.example/clips@sha256:ab//a.mp4"), says: []string{"spec.video.uri"}},
		"outside of the admin's prefixes":      {policy: policy.Policy{OutputPrefixes: []string{"shared/", "poses/{namespace}/"}}, job: output("s3://b/team-a/x"), says: []string{`must begin with "shared/" or "poses/team-a/"`}},
		"an empty prefix allows everything":    {policy: policy.Policy{OutputPrefixes: []string{""}}, job: output("s3://b/team-b/x")},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.policy.Denied(c.job.Build())
			if len(got) != len(c.says) {
				t.Fatalf("Denied = %q, want %d denials", got, len(c.says))
			}
			for i := range got {
				if !strings.Contains(got[i], c.says[i]) {
					t.Errorf("denial %q does not say %q", got[i], c.says[i])
				}
			}
		})
	}
}

func TestDeniedVariant(t *testing.T) {
	for name, c := range map[string]struct {
		policy policy.Policy
		runner v1alpha1.RunnerMode
		says   []string // nothing: allowed
	}{
		"pose-runner starts it":                {runner: v1alpha1.RunnerInject},
		"an engine from before there was None": {runner: ""},
		"without pose-runner":                  {runner: v1alpha1.RunnerNone, says: []string{`variant "plain"`, "runner None", "config.policy.enginesWithoutRunner"}},
		"without pose-runner, allowed":         {policy: policy.Policy{EnginesWithoutRunner: true}, runner: v1alpha1.RunnerNone},
		"what else is allowed does not matter": {policy: policy.Policy{ServiceAccountNames: []string{"*"}, RuntimeClassNames: []string{"*"}}, runner: v1alpha1.RunnerNone, says: []string{"does not allow"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := gen.Variant("plain", v1alpha1.GPU, func(v *v1alpha1.Variant) { v.Runner = c.runner })
			got := c.policy.DeniedVariant(&v)
			if (got != "") != (len(c.says) > 0) {
				t.Fatalf("DeniedVariant = %q, want a denial: %t", got, len(c.says) > 0)
			}
			for _, words := range c.says {
				if !strings.Contains(got, words) {
					t.Errorf("denial %q does not say %q", got, words)
				}
			}
		})
	}
}
