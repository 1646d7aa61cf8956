package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/enginecheck"
)

// cleanUp bounds the deletion of the pod at the end.
const cleanUp = 15 * time.Second

type checkFlags struct {
	variant, output, runner string
	timeout                 time.Duration
	digests, keep           bool
}

func checkCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
	var f checkFlags
	c := &cobra.Command{
		Use:   "check ENGINE",
		Short: "Run a pod that looks at an engine's image and weights, and say what to mend",
		Long: `Run a pod that looks at an engine's image and weights, and say what to mend.

The pod is made as a job's would be: with the engine's image, its adapter, user,
volumes, memory limit, node selector and tolerations, in the namespace of your
jobs, because claims with weights lie there. It is deleted at the end, also on
Ctrl-C. Of an engine whose adapter has no check, as mediapipe, it can only be said
that its image is pulled and its program starts.

The exit code is 1 if there is an error among the findings.`,
		Example: `  # The preferred variant of phalp, in the namespace of your jobs
  kubectl pose engines check phalp -n team-a

  # Another variant; read all weights and compare their digests
  kubectl pose engines check phalp -n team-a --variant cpu --digests

  # For a script
  kubectl pose engines check phalp -n team-a -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM)
			defer stop()
			return runCheck(ctx, streams, flags, f, args[0])
		},
	}
	p := c.Flags()
	p.StringVar(&f.variant, "variant", "", "variant to check; the engine's first if unset")
	p.DurationVar(&f.timeout, "timeout", 20*time.Minute, "how long to wait for a node, the image and the findings")
	p.BoolVar(&f.digests, "digests", false, "read every file of weights whole and compare its digest; takes minutes")
	p.StringVar(&f.runner, "runner-image", "", "image of pose-runner; read from the operator's ConfigMap if unset")
	p.BoolVar(&f.keep, "keep", false, "leave the pod, to look at it")
	p.StringVarP(&f.output, "output", "o", "", "json; for people if unset")
	flags.AddFlags(p)
	return c
}

func runCheck(ctx context.Context, streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags, f checkFlags, name string) error {
	if f.output != "" && f.output != "json" {
		return fmt.Errorf("--output %q is unknown: use json, or leave it out", f.output)
	}
	if f.timeout < time.Second {
		return fmt.Errorf("--timeout %s is too short", f.timeout)
	}
	c, err := connectChecker(flags)
	if err != nil {
		return err
	}
	c.notes = &safe{streams.ErrOut}
	r, err := c.check(ctx, f, name)
	if err != nil {
		return err
	}
	return r.print(streams.Out, f.output)
}

// checker runs one check. logs is apart because only a kubelet has them.
type checker struct {
	client    client.WithWatch
	namespace string
	logs      func(ctx context.Context, pod *corev1.Pod) (string, error)
	notes     io.Writer
}

func connectChecker(flags *genericclioptions.ConfigFlags) (*checker, error) {
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	rest, err := flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register types: %w", err)
		}
	}
	c, err := client.NewWithWatch(rest, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", rest.Host, err)
	}
	set, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", rest.Host, err)
	}
	return &checker{client: c, namespace: namespace, logs: func(ctx context.Context, pod *corev1.Pod) (string, error) {
		o := &corev1.PodLogOptions{Container: enginecheck.Container, LimitBytes: new(int64(maxLog))}
		b, err := set.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, o).DoRaw(ctx)
		return string(b), err
	}}, nil
}

// checked is what became of a check.
type checked struct {
	Engine   string                `json:"engine"`
	Variant  string                `json:"variant"`
	Image    string                `json:"image"`
	ImageID  string                `json:"imageID,omitempty"`
	Node     string                `json:"node,omitempty"`
	Errors   int                   `json:"errors"`
	Findings []enginecheck.Finding `json:"findings"`
}

func (c *checker) note(format string, args ...any) { fmt.Fprintf(c.notes, format+"\n", args...) }

func (c *checker) check(ctx context.Context, f checkFlags, name string) (*checked, error) {
	r, err := c.request(ctx, f, name)
	if err != nil {
		return nil, err
	}
	pod, err := r.Pod()
	if err != nil {
		return nil, fmt.Errorf("%w: say it with --runner-image", err)
	}
	if err := c.client.Create(ctx, pod); err != nil {
		return nil, refused(err, pod)
	}
	c.note("pod %s/%s: variant %s, image %s", pod.Namespace, pod.Name, r.Variant.Name, r.Variant.Image)
	if !f.keep {
		defer c.remove(ctx, pod)
	}
	waiting, stop := context.WithTimeout(ctx, f.timeout)
	defer stop()
	pod, err = c.wait(waiting, pod)
	if err != nil {
		return nil, err
	}
	log, err := c.logs(waiting, pod)
	if err != nil {
		return nil, fmt.Errorf("read the log of pod %s/%s, which holds the findings: %w", pod.Namespace, pod.Name, err)
	}
	return results(r, pod, log), nil
}

func (c *checker) request(ctx context.Context, f checkFlags, name string) (enginecheck.Request, error) {
	var r enginecheck.Request
	engines, err := listEngines(ctx, c.client)
	if err != nil {
		return r, err
	}
	if r.Engine, err = findEngineIn(engines, name); err != nil {
		return r, err
	}
	if r.Variant, err = enginecheck.Choose(r.Engine, f.variant); err != nil {
		return r, err
	}
	r.Namespace, r.Digests = c.namespace, f.digests
	r.DeadlineSeconds = int64(f.timeout/time.Second) + 60
	if r.NeedsRunner() {
		if r.Settings, err = c.settings(ctx, f.runner); err != nil {
			return r, err
		}
	}
	if r.Variant.Device == v1alpha1.GPU {
		r.Capabilities = c.capabilities(ctx, r.Variant)
	}
	return r, nil
}

// capabilities of the cluster's GPUs, where the nodes say them and may be read.
func (c *checker) capabilities(ctx context.Context, v *v1alpha1.Variant) []string {
	var nodes corev1.NodeList
	if err := c.client.List(ctx, &nodes); err != nil {
		c.note("nodes cannot be listed, so only the GPU of the pod's own node is looked at: %v", err)
		return nil
	}
	gpus := enginecheck.GPUs(v, nodes.Items)
	if len(gpus) == 0 {
		c.note("no node says by labels of NVIDIA's feature discovery which GPUs it has; the pod's own node shows its GPU")
	}
	for _, capability := range slices.Sorted(maps.Keys(gpus)) {
		c.note("GPUs of compute capability %s: %s", capability, gpus[capability])
	}
	return slices.Sorted(maps.Keys(gpus))
}

// settings are those of the operator's own pods: a ConfigMap of the chart has them.
func (c *checker) settings(ctx context.Context, runner string) (enginecheck.Settings, error) {
	s := enginecheck.Settings{RunnerImage: runner, PullPolicy: corev1.PullIfNotPresent}
	var maps corev1.ConfigMapList
	err := c.client.List(ctx, &maps, client.HasLabels{"helm.sh/chart"})
	for i := range maps.Items {
		m := &maps.Items[i]
		var config struct {
			Images struct {
				Runner      string            `json:"runner"`
				PullPolicy  corev1.PullPolicy `json:"pullPolicy"`
				PullSecrets []string          `json:"pullSecrets"`
			} `json:"images"`
		}
		if !strings.HasPrefix(m.Labels["helm.sh/chart"], "pose-operator-") || yaml.Unmarshal([]byte(m.Data["config.yaml"]), &config) != nil || config.Images.Runner == "" {
			continue
		}
		if s.RunnerImage == "" {
			s.RunnerImage = config.Images.Runner
		}
		s.PullPolicy, s.PullSecrets = config.Images.PullPolicy, config.Images.PullSecrets
		return s, nil
	}
	if s.RunnerImage != "" {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("find the image of pose-runner in the operator's ConfigMap: %w; say it with --runner-image, as the chart's image.runner has it", err)
	}
	return s, errors.New("no ConfigMap of the pose-operator chart is in this cluster, so the image of pose-runner is not known: say it with --runner-image")
}

func refused(err error, pod *corev1.Pod) error {
	switch {
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "PodSecurity"):
		return fmt.Errorf("namespace %s does not admit the pod, and would not admit a job's: %w", pod.Namespace, err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("you may not create pods in namespace %s, or a quota is used up: %w", pod.Namespace, err)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("there is no namespace %q: name that of your jobs with -n: %w", pod.Namespace, err)
	}
	return fmt.Errorf("create the pod of the check in namespace %s: %w", pod.Namespace, err)
}

// remove the pod, also when the person gave up.
func (c *checker) remove(ctx context.Context, pod *corev1.Pod) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer stop()
	if err := c.client.Delete(ctx, pod, client.GracePeriodSeconds(1)); err != nil && !apierrors.IsNotFound(err) {
		c.note("pod %s/%s could not be deleted, do it by hand: %v", pod.Namespace, pod.Name, err)
	}
}

// wait until the engine's container has ended.
func (c *checker) wait(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	last := ""
	gone := fmt.Errorf("pod %s/%s was deleted by somebody else before it could say anything", pod.Namespace, pod.Name)
	for {
		if err := c.client.Get(ctx, client.ObjectKeyFromObject(pod), &corev1.Pod{}); apierrors.IsNotFound(err) {
			return nil, gone
		}
		w, err := c.client.Watch(ctx, &corev1.PodList{}, client.InNamespace(pod.Namespace), client.MatchingFields{"metadata.name": pod.Name})
		if err != nil {
			return nil, c.gaveUp(ctx, pod, last, err)
		}
		for event := range w.ResultChan() {
			p, ok := event.Object.(*corev1.Pod)
			if !ok {
				continue // an error event; the watch is closed and begins anew
			}
			if event.Type == watch.Deleted || p.DeletionTimestamp != nil {
				w.Stop()
				return nil, gone
			}
			state := enginecheck.Look(p)
			if state.Step != last {
				last = state.Step
				c.note("pod %s: %s", p.Name, last)
			}
			if state.Ended || state.Stuck != "" {
				w.Stop()
			}
			switch {
			case state.Ended:
				return p, nil
			case state.Stuck != "":
				return nil, errors.New(state.Stuck)
			}
		}
		select {
		case <-ctx.Done():
			return nil, c.gaveUp(ctx, pod, last, ctx.Err())
		case <-time.After(time.Second): // a server that closes watches at once is not asked in a rush
		}
	}
}

// gaveUp says where a pod stood when the wait ended.
func (c *checker) gaveUp(ctx context.Context, pod *corev1.Pod, last string, err error) error {
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return errors.New("ended before the findings were there; the pod is deleted")
	}
	if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return fmt.Errorf("watch pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	why := ""
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer stop()
	var events corev1.EventList
	if c.client.List(ctx, &events, client.InNamespace(pod.Namespace), client.MatchingFields{"involvedObject.name": pod.Name}) == nil {
		for _, e := range events.Items {
			if e.Type == corev1.EventTypeWarning {
				why = fmt.Sprintf("; last warning: %s: %s", e.Reason, e.Message)
			}
		}
	}
	return fmt.Errorf("the time-out ended while pod %s/%s was: %s%s. Give it more time with --timeout, or mend what it waits for", pod.Namespace, pod.Name, last, why)
}

func results(r enginecheck.Request, pod *corev1.Pod, log string) *checked {
	out := &checked{Engine: r.Engine.Name, Variant: r.Variant.Name, Image: r.Variant.Image, Node: pod.Spec.NodeName}
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == enginecheck.Container {
			out.ImageID = s.ImageID
		}
	}
	if doc, ok := enginecheck.Read(log); ok {
		out.Findings = doc.Findings
	} else if r.Whole() {
		out.Findings = []enginecheck.Finding{enginecheck.Silent(pod, log)}
	} else {
		out.Findings = []enginecheck.Finding{enginecheck.Started(pod, log)}
	}
	if c := meta.FindStatusCondition(r.Engine.Status.Conditions, v1alpha1.ConditionReady); c != nil && c.Status != "True" {
		out.Findings = append(out.Findings, enginecheck.Finding{
			Level: enginecheck.LevelError, Name: "engine", What: fmt.Sprintf("PoseEngine %s is not ready: %s: %s", r.Engine.Name, c.Reason, c.Message),
			Remedy: "no job starts with it until it is",
		})
	}
	for _, f := range out.Findings {
		if f.Level == enginecheck.LevelError {
			out.Errors++
		}
	}
	return out
}

// print gives an error, and so exit code 1, if there is one among the findings.
func (r *checked) print(w io.Writer, format string) error {
	if format == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(r); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	} else {
		r.table(&safe{w})
	}
	if r.Errors > 0 {
		return fmt.Errorf("engine %s, variant %s: %d errors", r.Engine, r.Variant, r.Errors)
	}
	return nil
}

// table puts what is wrong last, where the eye is.
func (r *checked) table(w io.Writer) {
	order := []string{enginecheck.LevelOK, enginecheck.LevelWarning, enginecheck.LevelError}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LEVEL\tWHAT\tFOUND")
	for _, level := range order {
		for _, f := range r.Findings {
			if f.Level != level {
				continue
			}
			fmt.Fprintf(t, "%s\t%s\t%s\n", f.Level, oneLine(f.Name), oneLine(f.What))
			if f.Remedy != "" && level != enginecheck.LevelOK {
				fmt.Fprintf(t, "\t\t-> %s\n", oneLine(f.Remedy))
			}
		}
	}
	_ = t.Flush()
	if r.Errors == 0 {
		fmt.Fprintf(w, "Nothing stands in the way of jobs with engine %s, variant %s.\n", r.Engine, r.Variant)
	}
}

// oneLine keeps what a pod said within its cell.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
