package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/clitest"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/send"
)

// claims plays pods with a claim: commands in them do what pose-runner does, below a
// folder of this machine.
type claims struct {
	*clitest.Errands
	mount string
	// cfg is that of the pod that runs, said what a new one says of itself.
	cfg  report.SendConfig
	said report.Termination
	// cuts connections after so many bytes, as often as it says.
	cuts  atomic.Int32
	after int64
	asked atomic.Int32
	// meanwhile is done while a file is on its way.
	meanwhile func()
}

// exec is a command in the pod.
func (c *claims) exec(container string, command []string, stdout, stderr io.Writer) int {
	c.asked.Add(1)
	if container != "send" || len(command) != 4 || command[0] != "/pose-runner" || command[1] != "send" || command[2] != "--" {
		fmt.Fprintf(stderr, "exec %q in %s", command, container)
		return 127
	}
	if c.meanwhile != nil {
		c.meanwhile()
	}
	if c.cuts.Load() > 0 && strings.HasSuffix(command[3], ".json") {
		c.cuts.Add(-1)
		var some strings.Builder
		_ = send.File(context.Background(), c.cfg, command[3], &some)
		_, _ = io.WriteString(stdout, some.String()[:min(int64(some.Len()), c.after)])
		return -1
	}
	if err := send.File(context.Background(), c.cfg, command[3], stdout); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// TestClaim downloads and exports results that lie on a claim, by a pod that a real API
// server has and a played node runs.
func TestClaim(t *testing.T) {
	server := clitest.APIServer(t)
	clitest.OperatorIn(t, server.Client, "pose-system")
	clitest.Restricted(t, server.Client, "default")
	c := &claims{mount: t.TempDir(), said: report.Termination{Result: report.ResultRunning}}
	c.Errands = &clitest.Errands{T: t, Client: server.Client, Node: "node-0", Answer: func(cfg report.Config) (report.Termination, string) {
		c.cfg = *cfg.Send
		c.cfg.PVCMount = c.mount // where this machine has it
		return c.said, ""
	}}
	server.Kubelet(t, "node-0", nil, c.exec)
	c.Start()
	folder := filepath.Join(c.mount, "default", "run", "attempts", "abcde-2")
	digest := delivered(t, folder)
	w := &world{t, server.Client}
	j := w.job("run", func(j *v1alpha1.PoseJob) {
		succeeded(j)
		j.Status.Output.URI, j.Status.Output.ManifestSHA256 = "pvc://results/default/run/attempts/abcde-2", digest
	})
	sh := shell{t, server.Kubeconfig}
	t.Run("download", func(t *testing.T) {
		out := filepath.Join(t.TempDir(), "run")
		shell{t, sh.kubeconfig}.want(0, []string{"smpl.npz", "manifest.json", "on node node-0"}, "results", "run", "--download", out)
		shell{t, sh.kubeconfig}.want(0, []string{"The result is whole."}, "verify", out, "--manifest-sha256", digest)
		checkPod(t, c.Made(), j)
	})
	t.Run("export", func(t *testing.T) {
		shell{t, sh.kubeconfig}.want(0, []string{"person-1.bvh"}, "export", "job/run", "--format", "bvh", "--out", t.TempDir())
		c.Made()
	})
	t.Run("a connection that breaks", func(t *testing.T) {
		for _, after := range []int64{0, 5, 2000} {
			c.after = after
			c.cuts.Store(2)
			shell{t, sh.kubeconfig}.want(0, []string{"pose.json"}, "results", "run", "--download", t.TempDir())
			if c.cuts.Load() != 0 {
				t.Error("nothing was cut")
			}
		}
		c.Made()
	})
	t.Run("damage", func(t *testing.T) { testClaimDamage(t, sh, c, folder) })
	t.Run("interrupted", func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		c.meanwhile = stop
		code := run(ctx, genericiooptions.IOStreams{Out: io.Discard, ErrOut: io.Discard}, []string{"results", "run", "--download", t.TempDir(), "--kubeconfig", sh.kubeconfig})
		if c.meanwhile = nil; code == 0 {
			t.Error("it went on")
		}
		c.Made() // and none is left
	})
	t.Run("an image of another release", func(t *testing.T) {
		c.said = report.Termination{Result: report.ResultFailed, Message: "role \"send\" is unknown"}
		shell{t, sh.kubeconfig}.want(1, []string{"ended before it was asked", "is unknown"}, "results", "run", "--download", t.TempDir())
		c.said = report.Termination{Result: report.ResultRunning}
		c.Made()
		shell{t, sh.kubeconfig}.want(2, []string{"too short"}, "results", "run", "--download", t.TempDir(), "--timeout", "0s")
	})
	t.Run("rights", func(t *testing.T) { testClaimRights(t, server, c) })
}

// checkPod: it may do nothing but read the claim, and goes with its job.
func checkPod(t *testing.T, pods []corev1.Pod, j *v1alpha1.PoseJob) {
	t.Helper()
	if len(pods) != 1 {
		t.Fatalf("%d pods", len(pods))
	}
	p := pods[0]
	claim, mounts := p.Spec.Volumes, p.Spec.Containers[0].VolumeMounts
	if len(claim) != 1 || claim[0].PersistentVolumeClaim.ClaimName != "results" || !claim[0].PersistentVolumeClaim.ReadOnly || len(mounts) != 1 || !mounts[0].ReadOnly {
		t.Errorf("volumes %+v, mounts %+v", claim, mounts)
	}
	if o := p.OwnerReferences; len(o) != 1 || o[0].UID != j.UID || o[0].Controller != nil || o[0].BlockOwnerDeletion != nil {
		t.Errorf("owners %+v", o)
	}
	if d := p.Spec.ActiveDeadlineSeconds; d == nil || *d != 3600 || p.Spec.Containers[0].Image != "registry.example/runner@sha256:1" || *p.Spec.AutomountServiceAccountToken {
		t.Errorf("%+v", p.Spec)
	}
}

// testClaimDamage: whoever can write to the claim leads nobody astray.
func testClaimDamage(t *testing.T, sh shell, c *claims, folder string) {
	sh.t = t
	file := filepath.Join(folder, "smpl.npz")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(c.mount, "default", "secret.npz")
	if err := os.WriteFile(secret, b, 0o600); err != nil {
		t.Fatal(err)
	}
	changed := append([]byte{}, b...)
	changed[100] ^= 1
	for name, change := range map[string]struct {
		make func() error
		want string
	}{
		"another size":    {func() error { return os.WriteFile(file, b[:10], 0o600) }, "smpl.npz: it has 10 bytes, the manifest says"},
		"another content": {func() error { return os.WriteFile(file, changed, 0o600) }, "smpl.npz: its sha256 is"},
		"a link":          {func() error { return os.Symlink(secret, file) }, "symbolic link"},
		"no file":         {func() error { return nil }, "smpl.npz: it is missing"},
		"a folder":        {func() error { return os.Mkdir(file, 0o700) }, "not a regular file"},
	} {
		if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := change.make(); err != nil {
			t.Fatal(err)
		}
		out := t.TempDir()
		sh.want(1, []string{change.want}, "results", "run", "--download", out)
		if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v %v", name, left, err)
		}
	}
	if err := os.RemoveAll(file); err != nil { // it may be missing: the order is by chance
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(folder, "manifest.json")
	m, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(manifest, append(m, ' '), 0o600); err != nil {
		t.Fatal(err)
	}
	sh.want(1, []string{"it is another result, or it was changed"}, "export", "job/run", "--format", "csv", "--out", t.TempDir())
	if err := os.WriteFile(manifest, m, 0o600); err != nil {
		t.Fatal(err)
	}
	c.Made()
}

// testClaimRights: what RBAC lacks is said.
func testClaimRights(t *testing.T, server *clitest.Server, c *claims) {
	sh := shell{t, server.User(t, "reader")}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "reader"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"pose.dev"}, Resources: []string{"posejobs"}, Verbs: []string{"get"}}}}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "reader"}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: "reader"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "reader"}}}
	for _, o := range []client.Object{role, binding} {
		if err := server.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"results", "run", "--runner-image", "registry.example/runner@sha256:1", "--download", t.TempDir()}
	until := func(words string) answer {
		var a answer
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if a = sh.say(args...); strings.Contains(a.err, words) {
				return a
			}
		}
		return a
	}
	if a := until("create pods"); a.code != 5 || !strings.Contains(a.err, "the verbs create, get, list, watch and delete of pods") {
		t.Errorf("%s", a)
	}
	grant := func(rule rbacv1.PolicyRule) {
		role.Rules = append(role.Rules, rule)
		if err := server.Client.Update(t.Context(), role); err != nil {
			t.Fatal(err)
		}
	}
	grant(rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"create", "get", "list", "watch", "delete"}})
	if a := until("pods/exec"); a.code != 5 || !strings.Contains(a.err, "create and get of pods/exec") {
		t.Errorf("%s", a)
	}
	grant(rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods/exec"}, Verbs: []string{"create", "get"}})
	if a := until("is there already"); !strings.Contains(a.err, "is there already") {
		t.Errorf("%s", a)
	}
	c.Made()
}
