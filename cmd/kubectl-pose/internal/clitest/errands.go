package clitest

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Errands are pods of pose-runner's roles whose end a test plays.
type Errands struct {
	T      *testing.T
	Client client.WithWatch
	// Answer is what a pod says, and its log.
	Answer func(report.Config) (report.Termination, string)
	// Node is where pods go that wait to be asked (report.RoleSend). They run until
	// they are deleted, unless Answer says that they fail; empty: there are none.
	Node string

	mu   sync.Mutex
	pods []corev1.Pod
	logs map[string]string
	// Notes are what the person was told.
	Notes bytes.Buffer
}

// Start plays the kubelet until the test's end.
func (e *Errands) Start() *cluster.PodRunner {
	e.T.Helper()
	e.logs = map[string]string{}
	ctx, cancel := context.WithCancel(e.T.Context())
	var playing sync.WaitGroup
	playing.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
			e.play(ctx)
		}
	})
	e.T.Cleanup(func() {
		cancel()
		playing.Wait()
	})
	on := &cluster.Cluster{Client: e.Client, Namespace: "default", Host: "test"}
	return &cluster.PodRunner{Cluster: on, Notes: &e.Notes, Now: time.Now, Logs: func(_ context.Context, pod *corev1.Pod, _ string) (string, error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.logs[pod.Name], nil
	}}
}

func (e *Errands) play(ctx context.Context) {
	var pods corev1.PodList
	if err := e.Client.List(ctx, &pods, client.MatchingLabels{"app.kubernetes.io/name": "pose-errand"}); err != nil {
		return
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Status.Phase != corev1.PodPending || pod.DeletionTimestamp != nil {
			continue
		}
		var cfg report.Config
		if err := json.Unmarshal([]byte(strings.ReplaceAll(pod.Spec.Containers[0].Env[0].Value, "$$", "$")), &cfg); err != nil {
			e.T.Errorf("the pod's configuration: %v", err)
		}
		said, log := e.Answer(cfg)
		said.Role = cfg.Role
		if cfg.Send != nil && said.Result == report.ResultRunning {
			e.hold(ctx, pod)
			continue
		}
		e.mu.Lock()
		e.pods, e.logs[pod.Name] = append(e.pods, *pod.DeepCopy()), log
		e.mu.Unlock()
		ended := &corev1.ContainerStateTerminated{Message: string(said.Marshal())}
		pod.Status.Phase = corev1.PodSucceeded
		if said.Result != report.ResultOK {
			pod.Status.Phase, ended.ExitCode = corev1.PodFailed, 1
		}
		pod.Status.ContainerStatuses = Container(pod.Spec.Containers[0].Name, corev1.ContainerState{Terminated: ended})
		if err := e.Client.Status().Update(ctx, pod); err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
			e.T.Errorf("play the kubelet: %v", err)
		}
	}
}

// hold puts a pod on the node, and lets it run.
func (e *Errands) hold(ctx context.Context, pod *corev1.Pod) {
	e.mu.Lock()
	e.pods = append(e.pods, *pod.DeepCopy())
	e.mu.Unlock()
	to := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: e.Node}}
	err := e.Client.SubResource("binding").Create(ctx, pod, to)
	if err == nil {
		err = e.Client.Get(ctx, client.ObjectKeyFromObject(pod), pod)
	}
	if err == nil {
		pod.Status.Phase = corev1.PodRunning
		pod.Status.ContainerStatuses = Container(pod.Spec.Containers[0].Name, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
		err = e.Client.Status().Update(ctx, pod)
	}
	if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
		e.T.Errorf("play the kubelet: %v", err)
	}
}

// Made are the pods that there were since the last call; none of them is left.
func (e *Errands) Made() []corev1.Pod {
	e.T.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	var left corev1.PodList
	if err := e.Client.List(e.T.Context(), &left, client.MatchingLabels{"app.kubernetes.io/name": "pose-errand"}); err != nil {
		e.T.Fatal(err)
	}
	for i := range left.Items {
		if p := &left.Items[i]; p.DeletionTimestamp == nil {
			e.T.Errorf("pod %s is left behind", p.Name)
		}
	}
	pods := slices.Clone(e.pods)
	e.pods = nil
	return pods
}

// OperatorIn makes the ConfigMap of an installed operator.
func OperatorIn(t *testing.T, c client.Client, namespace string) {
	t.Helper()
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	config := "images: {runner: registry.example/runner@sha256:1, pullPolicy: Always, pullSecrets: [regcred]}\n" +
		"store: {s3Endpoint: http://store:9000, s3Region: here, s3PathStyle: true, gcsEndpoint: http://gcs, azureAccount: acc, azureEndpoint: http://az, workloadIdentity: true, caBundle: PEM, httpAllowedHosts: [h]}\n" +
		"policy: {something: else}\n"
	m := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "po", Labels: map[string]string{"helm.sh/chart": "pose-operator-1.0.0"}},
		Data:       map[string]string{"config.yaml": config},
	}
	if err := c.Create(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// Restricted lets a namespace admit pods of the strictest standard only.
func Restricted(t *testing.T, c client.Client, namespace string) {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`))
	if err := c.Patch(t.Context(), n, patch); err != nil {
		t.Fatal(err)
	}
}
