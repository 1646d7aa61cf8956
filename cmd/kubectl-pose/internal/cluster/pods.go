package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
	"github.com/pose-dev/pose-operator/controllers/errand"
	"github.com/pose-dev/pose-operator/internal/report"
)

// cleanUp bounds the deletion of the pod at the end.
const cleanUp = 15 * time.Second

// PodRunner makes pods for a person, waits for their end and deletes them. Logs and
// Exec are apart because only a kubelet has them.
type PodRunner struct {
	*Cluster
	Logs  func(ctx context.Context, pod *corev1.Pod, container string) (string, error)
	Exec  func(ctx context.Context, pod *corev1.Pod, container string, command []string, stdout io.Writer) error
	Notes io.Writer
	Now   func() time.Time
}

func newPodRunner(c *Cluster, notes io.Writer) *PodRunner {
	return &PodRunner{Cluster: c, Logs: c.Logs, Exec: c.Exec, Notes: term.Safe(notes), Now: time.Now}
}

// Note tells the person what happens meanwhile.
func (c *PodRunner) Note(format string, args ...any) { fmt.Fprintf(c.Notes, format+"\n", args...) }

// operatorConfig is what is read of the operator's configuration file.
type operatorConfig struct {
	Images struct {
		Runner      string            `json:"runner"`
		PullPolicy  corev1.PullPolicy `json:"pullPolicy"`
		PullSecrets []string          `json:"pullSecrets"`
	} `json:"images"`
	Store struct {
		S3Endpoint       string   `json:"s3Endpoint"`
		S3Region         string   `json:"s3Region"`
		S3PathStyle      bool     `json:"s3PathStyle"`
		GCSEndpoint      string   `json:"gcsEndpoint"`
		AzureAccount     string   `json:"azureAccount"`
		AzureEndpoint    string   `json:"azureEndpoint"`
		WorkloadIdentity bool     `json:"workloadIdentity"`
		CABundle         string   `json:"caBundle"`
		HTTPAllowedHosts []string `json:"httpAllowedHosts"`
	} `json:"store"`
}

func (o *operatorConfig) settings() errand.Settings {
	s := o.Store
	return errand.Settings{
		RunnerImage: o.Images.Runner, PullPolicy: o.Images.PullPolicy, PullSecrets: o.Images.PullSecrets,
		Store: report.StoreConfig{
			S3Endpoint: s.S3Endpoint, S3Region: s.S3Region, S3PathStyle: s.S3PathStyle, GCSEndpoint: s.GCSEndpoint,
			AzureAccount: s.AzureAccount, AzureEndpoint: s.AzureEndpoint, WorkloadIdentity: s.WorkloadIdentity,
			CAPEM: s.CABundle, HTTPAllowedHosts: s.HTTPAllowedHosts,
		},
	}
}

// Settings are those of the operator's own pods: the chart's ConfigMap in the
// operator's namespace has them. One of another namespace counts for nothing, for
// who may make it is no admin of the operator, and the image that it names would
// run beside the weights. Several that differ are nobody's.
func (c *PodRunner) Settings(ctx context.Context, namespace, runner string) (errand.Settings, error) {
	s := errand.Settings{RunnerImage: runner, PullPolicy: corev1.PullIfNotPresent}
	var configs corev1.ConfigMapList
	err := c.Client.List(ctx, &configs, client.InNamespace(namespace), client.HasLabels{"helm.sh/chart"})
	found := map[string]errand.Settings{}
	for i := range configs.Items {
		m := &configs.Items[i]
		var config operatorConfig
		if !strings.HasPrefix(m.Labels["helm.sh/chart"], "pose-operator-") || yaml.Unmarshal([]byte(m.Data["config.yaml"]), &config) != nil || config.Images.Runner == "" {
			continue
		}
		found[config.Images.Runner] = config.settings()
	}
	images := slices.Sorted(maps.Keys(found))
	switch {
	case len(images) == 1:
		s = found[images[0]]
		if runner != "" {
			s.RunnerImage = runner
		}
		return s, nil
	case runner != "":
		if err != nil {
			c.Note("the endpoints of stores are not known, so s3:// means AWS unless you say otherwise: the operator's ConfigMap in namespace %s cannot be read (%v); rbac.configReaders of the chart lets groups read it", namespace, err)
		}
		return s, nil
	case err != nil:
		return s, fmt.Errorf("find the image of pose-runner in the operator's ConfigMap in namespace %s: %w; rbac.configReaders of the chart lets groups read it. Or say the image with --runner-image, as the chart's image.runner has it", namespace, err)
	case len(images) > 1:
		return s, fmt.Errorf("the ConfigMaps of the pose-operator chart in namespace %s name several images of pose-runner (%s): say with --runner-image which to run", namespace, strings.Join(images, ", "))
	}
	return s, fmt.Errorf("no ConfigMap of the pose-operator chart is in namespace %s, so the image of pose-runner is not known: name the operator's namespace with --operator-namespace, or the image with --runner-image", namespace)
}

// Sweep deletes the pods of killed runs with these labels.
func (c *PodRunner) Sweep(ctx context.Context, namespace string, labels map[string]string) {
	var pods corev1.PodList
	if err := c.Client.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels(labels)); err != nil {
		c.Note("pods in namespace %s cannot be listed, so those of earlier runs stay: %v", namespace, err)
		return
	}
	for i := range pods.Items {
		if pod := &pods.Items[i]; errand.Abandoned(pod, c.Now()) {
			c.Note("pod %s/%s of an earlier run is deleted", pod.Namespace, pod.Name)
			c.Remove(ctx, pod)
		}
	}
}

// Remove the pod, also when the person gave up.
func (c *PodRunner) Remove(ctx context.Context, pod *corev1.Pod) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer stop()
	if err := c.Client.Delete(ctx, pod, client.GracePeriodSeconds(1)); err != nil && !apierrors.IsNotFound(err) {
		c.Note("pod %s/%s could not be deleted, do it by hand: %v", pod.Namespace, pod.Name, err)
	}
}

// Create the pod; what stands in the way of it is said in words.
func (c *PodRunner) Create(ctx context.Context, pod *corev1.Pod) error {
	err := c.Client.Create(ctx, pod)
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "PodSecurity"):
		return fmt.Errorf("namespace %s does not admit the pod, and would not admit a job's: %w", pod.Namespace, err)
	case apierrors.IsForbidden(err):
		return exit.With(exit.Forbidden, fmt.Errorf("you may not create pods in namespace %s, or a quota is used up: ask for a role with the verbs create, get, list, watch and delete of pods, as the ClusterRole edit has: %w", pod.Namespace, err))
	case apierrors.IsNotFound(err):
		return fmt.Errorf("there is no namespace %q: name that of your jobs with -n: %w", pod.Namespace, err)
	}
	return fmt.Errorf("create a pod in namespace %s: %w", pod.Namespace, err)
}

// Stuck says why a pod did not come to its end, and what to do where that does not
// depend on what the pod is for.
type Stuck struct{ What, Remedy string }

// Wait until a pod has ended by what look says, or cannot start, which is said.
func (c *PodRunner) Wait(ctx context.Context, pod *corev1.Pod, look func(*corev1.Pod) errand.Progress) (*corev1.Pod, *Stuck, error) {
	last := ""
	gone := fmt.Errorf("pod %s/%s was deleted by somebody else before it could say anything", pod.Namespace, pod.Name)
	for {
		if err := c.Client.Get(ctx, client.ObjectKeyFromObject(pod), &corev1.Pod{}); apierrors.IsNotFound(err) {
			return nil, nil, gone
		}
		w, err := c.Client.Watch(ctx, &corev1.PodList{}, client.InNamespace(pod.Namespace), client.MatchingFields{"metadata.name": pod.Name})
		if err != nil {
			return c.gaveUp(ctx, pod, last, err)
		}
		for event := range w.ResultChan() {
			p, ok := event.Object.(*corev1.Pod)
			if !ok {
				continue // an error event; the watch is closed and begins anew
			}
			pod = p
			if event.Type == watch.Deleted || p.DeletionTimestamp != nil {
				w.Stop()
				return nil, nil, gone
			}
			state := look(p)
			if state.Step != last {
				last = state.Step
				c.Note("pod %s: %s", p.Name, last)
			}
			if state.Ended || state.Stuck != "" {
				w.Stop()
			}
			switch {
			case state.Ended:
				return p, nil, nil
			case state.Stuck != "":
				return p, &Stuck{What: state.Stuck}, nil
			}
		}
		select {
		case <-ctx.Done():
			return c.gaveUp(ctx, pod, last, ctx.Err())
		case <-time.After(time.Second): // a server that closes watches at once is not asked in a rush
		}
	}
}

// gaveUp says where a pod stood when the wait ended.
func (c *PodRunner) gaveUp(ctx context.Context, pod *corev1.Pod, last string, err error) (*corev1.Pod, *Stuck, error) {
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return nil, nil, errors.New("ended before the pod did; the pod is deleted")
	}
	if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return nil, nil, fmt.Errorf("watch pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	why := ""
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer stop()
	var events corev1.EventList
	if c.Client.List(ctx, &events, client.InNamespace(pod.Namespace), client.MatchingFields{"involvedObject.name": pod.Name}) == nil {
		for _, e := range events.Items {
			if e.Type == corev1.EventTypeWarning {
				why = fmt.Sprintf("; last warning: %s: %s", e.Reason, e.Message)
			}
		}
	}
	return pod, &Stuck{
		What:   fmt.Sprintf("the time-out ended while pod %s/%s was: %s%s", pod.Namespace, pod.Name, last, why),
		Remedy: "give it more time with --timeout, or mend what it waits for",
	}, nil
}

// Said is what became of an errand.
type Said struct {
	report.Termination
	Log string
}

// Errand runs one role in a pod and gives what it said. The error names what kept
// the pod from its end.
func (c *PodRunner) Errand(ctx context.Context, r errand.Request, timeout time.Duration) (*Said, error) {
	r.DeadlineSeconds = int64(timeout/time.Second) + 60
	pod, err := c.start(ctx, r)
	if err != nil {
		return nil, err
	}
	defer c.Remove(ctx, pod)
	role := string(r.Config.Role)
	waiting, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	ended, err := c.until(waiting, pod, func(p *corev1.Pod) errand.Progress { return errand.Look(p, role) })
	if err != nil {
		return nil, err
	}
	out := &Said{}
	if out.Log, err = c.Logs(waiting, ended, role); err != nil {
		c.Note("the log of pod %s/%s cannot be read: %v", pod.Namespace, pod.Name, err)
	}
	end := errand.Ended(ended, role)
	t, err := report.ParseTermination(end.Message)
	if err != nil || t.Role != r.Config.Role {
		return nil, fmt.Errorf("pod %s/%s ended with exit code %d and did not say what became of it: %s", pod.Namespace, pod.Name, end.ExitCode, errand.Said(end))
	}
	out.Termination = *t
	return out, nil
}

// Hold starts the pod of a role that waits to be asked, and gives it once it runs. It
// goes with its owner, and by Remove, which is the caller's to call.
func (c *PodRunner) Hold(ctx context.Context, r errand.Request, owner metav1.OwnerReference, timeout time.Duration) (*corev1.Pod, error) {
	r.DeadlineSeconds = int64(timeout / time.Second)
	pod, err := c.start(ctx, r, owner)
	if err != nil {
		return nil, err
	}
	role := string(r.Config.Role)
	waiting, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	held, err := c.until(waiting, pod, func(p *corev1.Pod) errand.Progress {
		state := errand.Look(p, role)
		state.Ended = state.Ended || runs(p, role)
		return state
	})
	switch {
	case err != nil:
	case errand.Ended(held, role) != nil:
		err = fmt.Errorf("pod %s/%s ended before it was asked: %s", pod.Namespace, pod.Name, errand.Said(errand.Ended(held, role)))
	default:
		return held, nil
	}
	c.Remove(ctx, pod)
	return nil, err
}

// start makes the pod of a role, after those that killed commands left of it.
func (c *PodRunner) start(ctx context.Context, r errand.Request, owners ...metav1.OwnerReference) (*corev1.Pod, error) {
	pod, err := r.Pod()
	if err != nil {
		return nil, fmt.Errorf("%w: say it with --runner-image", err)
	}
	pod.OwnerReferences = owners
	c.Sweep(ctx, pod.Namespace, errand.Labels(r.Config.Role, r.Config.Job.Name))
	if err := c.Create(ctx, pod); err != nil {
		return nil, err
	}
	c.Note("pod %s/%s: %s", pod.Namespace, pod.Name, r.Config.Role)
	return pod, nil
}

// until waits as Wait does; a pod that is stuck is an error.
func (c *PodRunner) until(ctx context.Context, pod *corev1.Pod, look func(*corev1.Pod) errand.Progress) (*corev1.Pod, error) {
	ended, stuck, err := c.Wait(ctx, pod, look)
	if stuck != nil {
		err = errors.New(strings.TrimRight(stuck.What+": "+stuck.Remedy, ": "))
	}
	return ended, err
}

func runs(pod *corev1.Pod, container string) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.Name == container && s.State.Running != nil
	})
}
