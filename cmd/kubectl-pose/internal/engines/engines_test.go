package engines

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spf13/cobra"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/clitest"
	"github.com/pose-dev/pose-operator/config/engines"
	"github.com/pose-dev/pose-operator/controllers/enginecheck"
)

func build(s genericiooptions.IOStreams, f *genericclioptions.ConfigFlags) []*cobra.Command {
	return []*cobra.Command{Command(s, f), DiagnoseCommand(s)}
}

func say(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	return clitest.Say(t, build, stdin, args...)
}

const findings = `pose-engine: noise
{"apiVersion": "pose.dev/v1alpha1", "kind": "PoseEngineCheck", "findings": [{"level": "ok", "name": "python", "what": "3.11.7", "remedy": ""}, {"level": "error", "name": "weights SMPL_NEUTRAL.pkl", "what": "is missing", "remedy": "bring it"}]}
`

// kubelet sets the status of the one pod of a check, step by step.
type kubelet struct {
	t     *testing.T
	c     client.WithWatch
	steps []corev1.PodStatus
}

func (k kubelet) play(ctx context.Context, seen chan<- *corev1.Pod) {
	for ctx.Err() == nil {
		var pods corev1.PodList
		err := k.c.List(ctx, &pods, client.HasLabels{enginecheck.LabelEngine})
		pods.Items = slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.GenerateName == "" }) // not of a check
		if err == nil && len(pods.Items) == 1 {
			pod := &pods.Items[0]
			seen <- pod.DeepCopy()
			for _, s := range k.steps {
				pod.Status = s
				if err := k.c.Status().Update(ctx, pod); err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
					k.t.Errorf("play the kubelet: %v", err)
				}
			}
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// check runs one check against a kubelet that plays steps.
func check(t *testing.T, c client.WithWatch, f checkFlags, engine string, cancelled bool, steps ...corev1.PodStatus) (*checked, *corev1.Pod, string, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var notes bytes.Buffer
	if f.timeout == 0 {
		f.timeout = time.Minute
	}
	seen := make(chan *corev1.Pod, 1)
	var playing sync.WaitGroup
	playing.Go(func() {
		kubelet{t, c, steps}.play(ctx, seen)
		if cancelled {
			cancel()
		}
	})
	if f.operator == "" {
		f.operator = "pose-system"
	}
	later := func() time.Time { return time.Now().Add(time.Hour) }
	k := &checker{&cluster.PodRunner{Cluster: &cluster.Cluster{Client: c, Namespace: "default"}, Notes: &notes, Now: later, Logs: func(_ context.Context, pod *corev1.Pod, _ string) (string, error) {
		return map[string]string{"phalp": findings}[pod.Labels[enginecheck.LabelEngine]], nil
	}}}
	r, err := k.check(ctx, f, engine)
	cancel()
	playing.Wait()
	var left corev1.PodList
	if lerr := c.List(t.Context(), &left, client.HasLabels{enginecheck.LabelEngine}); lerr != nil {
		t.Fatal(lerr)
	}
	for _, p := range left.Items {
		if p.GenerateName == "" {
			continue // the test's own
		}
		if p.DeletionTimestamp == nil {
			t.Errorf("pod %s is left behind", p.Name)
		}
		_ = c.Delete(t.Context(), &p, client.GracePeriodSeconds(0))
	}
	select {
	case p := <-seen:
		return r, p, notes.String(), err
	default:
		return r, nil, notes.String(), err
	}
}

// podsOf are the names of pods that no check of the test made.
func podsOf(t *testing.T, c client.WithWatch) string {
	t.Helper()
	var pods corev1.PodList
	if err := c.List(t.Context(), &pods, client.HasLabels{enginecheck.LabelEngine}); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range pods.Items {
		if p.GenerateName == "" {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// found wants an error among the findings that a script reads.
func found(t *testing.T, r *checked, err error, want ...string) {
	t.Helper()
	if err != nil {
		t.Error(err)
		return
	}
	var out bytes.Buffer
	err = r.print(&out, "json")
	for _, w := range append(want, `"level": "error"`) {
		if err == nil || !strings.Contains(out.String(), w) {
			t.Errorf("want %s, and exit code 1 (%v), of\n%s", w, err, out.String())
		}
	}
}

func TestEnginesOnACluster(t *testing.T) {
	c := clitest.APIServer(t).Client
	builtin, err := engines.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range builtin {
		if e.Name == "phalp" {
			for i := range e.Spec.Variants {
				e.Spec.Variants[i].Image = "registry.example/phalp"
			}
		}
		if err := c.Create(t.Context(), &e); err != nil {
			t.Fatal(err)
		}
	}
	ended := corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: clitest.Container("engine", corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 8}})}

	config := func(namespace, name, image string) *corev1.ConfigMap {
		m := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"helm.sh/chart": "pose-operator-1.0.0"}},
			Data:       map[string]string{"config.yaml": "images:\n  runner: " + image + "\n  pullPolicy: Always\n  pullSecrets: [regcred]\n"},
		}
		if err := c.Create(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "pose-system"}}); err != nil {
		t.Fatal(err)
	}
	config("default", "planted", "registry.example/evil:1")
	t.Run("a ConfigMap of somebody else", func(t *testing.T) {
		if _, _, _, err := check(t, c, checkFlags{}, "phalp", false); err == nil || !strings.Contains(err.Error(), "--runner-image") || !strings.Contains(err.Error(), "--operator-namespace") {
			t.Errorf("%v", err)
		}
	})
	config("pose-system", "po", "registry.example/runner:1")
	t.Run("ConfigMaps that differ", func(t *testing.T) {
		second := config("pose-system", "po2", "registry.example/runner:2")
		if _, _, _, err := check(t, c, checkFlags{}, "phalp", false); err == nil || !strings.Contains(err.Error(), "registry.example/runner:1, registry.example/runner:2") {
			t.Errorf("%v", err)
		}
		if err := c.Delete(t.Context(), second); err != nil {
			t.Fatal(err)
		}
	})
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gpu-0", Labels: map[string]string{
		"nvidia.com/gpu.compute.major": "12", "nvidia.com/gpu.compute.minor": "0", "nvidia.com/gpu.product": "NVIDIA-B",
	}}}
	if err := c.Create(t.Context(), node); err != nil {
		t.Fatal(err)
	}

	t.Run("findings", func(t *testing.T) {
		r, pod, notes, err := check(t, c, checkFlags{}, "phalp", false,
			corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes"}}},
			corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: clitest.Container("engine", corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})}, ended)
		if err != nil {
			t.Fatal(err)
		}
		if r.Errors != 1 || len(r.Findings) != 2 || r.ImageID == "" {
			t.Errorf("%+v", r)
		}
		if !strings.Contains(notes, "12.0: NVIDIA-B on 1 nodes") || !strings.Contains(notes, ": ended") {
			t.Errorf("notes:\n%s", notes)
		}
		if pod.Spec.InitContainers[0].Image != "registry.example/runner:1" || pod.Spec.ImagePullSecrets[0].Name != "regcred" {
			t.Errorf("the operator's settings are not used: %+v", pod.Spec)
		}
		env := pod.Spec.Containers[0].Env
		if !strings.Contains(env[len(env)-1].Value, "--expect-capability=12.0") {
			t.Error("the nodes' GPUs are not compared")
		}
		var out bytes.Buffer
		if err := r.print(&out, ""); err == nil || !strings.Contains(err.Error(), "1 errors") || !strings.Contains(out.String(), "-> bring it") {
			t.Errorf("%v\n%s", err, out.String())
		}
		out.Reset()
		if err := r.print(&out, "json"); err == nil || !strings.Contains(out.String(), `"remedy": "bring it"`) {
			t.Errorf("%v\n%s", err, out.String())
		}
	})
	t.Run("an engine without a check of its own", func(t *testing.T) {
		r, _, _, err := check(t, c, checkFlags{}, "mediapipe", false, corev1.PodStatus{
			Phase: corev1.PodSucceeded, ContainerStatuses: clitest.Container("engine", corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}),
		})
		if err != nil || r.Errors != 0 {
			t.Errorf("%+v %v", r, err)
		}
	})
	for name, step := range map[string]struct {
		status corev1.PodStatus
		want   string
	}{
		"an image that cannot be pulled": {corev1.PodStatus{ContainerStatuses: clitest.Container("engine", corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such tag"}})}, "no such tag"},
		"a node that is full":            {corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "low on disk"}, "low on disk"},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, _, err := check(t, c, checkFlags{}, "phalp", false, step.status)
			found(t, r, err, step.want)
		})
	}
	t.Run("no node before the time-out", func(t *testing.T) {
		r, _, _, err := check(t, c, checkFlags{timeout: 3 * time.Second}, "phalp", false, corev1.PodStatus{
			Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: `persistentvolumeclaim "w" not found`}},
		})
		found(t, r, err, `\"w\" not found`, "--timeout")
	})
	t.Run("pods of killed checks", func(t *testing.T) {
		deadline := func(name, engine string, seconds int64) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: enginecheck.Labels(engine)}}
			pod.Spec = corev1.PodSpec{ActiveDeadlineSeconds: &seconds, Containers: []corev1.Container{{Name: "engine", Image: "i"}}}
			if err := c.Create(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
		}
		deadline("old", "phalp", 60)
		deadline("at-work", "phalp", 7200)
		deadline("another", "mediapipe", 60)
		(&cluster.PodRunner{Cluster: &cluster.Cluster{Client: c}, Notes: t.Output(), Now: time.Now}).Sweep(t.Context(), "default", enginecheck.Labels("phalp"))
		stay := podsOf(t, c)
		_, _, notes, err := check(t, c, checkFlags{}, "phalp", false, ended)
		if err != nil {
			t.Fatal(err)
		}
		if left := podsOf(t, c); stay != "another at-work old" || left != "another at-work" || !strings.Contains(notes, "default/old of an earlier run") {
			t.Errorf("pods %q stay before the deadline and %q after it\n%s", stay, left, notes)
		}
	})
	t.Run("Ctrl-C", func(t *testing.T) {
		if _, _, _, err := check(t, c, checkFlags{}, "phalp", true); err == nil || !strings.Contains(err.Error(), "the pod is deleted") {
			t.Errorf("%v", err)
		}
	})
	for name, want := range map[string]string{"openpose": "there are: mediapipe, phalp", "phalp": `no variant "tpu"`} {
		if _, _, _, err := check(t, c, checkFlags{variant: "tpu"}, name, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Run("list", func(t *testing.T) {
		all, err := (&cluster.Cluster{Client: c}).Engines(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		printEngines(&out, all)
		for _, want := range []string{"gpu-boxes", "boxes", "on request", "registry.example/phalp", "maskrcnn"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("want %q in\n%s", want, out.String())
			}
		}
	})
}

func TestCheckRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no engine":         {nil, "accepts 1 arg"},
		"an unknown output": {[]string{"phalp", "-o", "xml"}, "use json"},
		"no time":           {[]string{"phalp", "--timeout", "1ms"}, "too short"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := say(t, "", append([]string{"engines", "check"}, c.args...)...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
		})
	}
}
