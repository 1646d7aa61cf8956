package engines

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
	"github.com/pose-dev/pose-operator/controllers/enginecheck"
)

type checkFlags struct {
	variant, output, runner string
	// operator is the namespace that the operator runs in.
	operator      string
	timeout       time.Duration
	digests, keep bool
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
Ctrl-C; one that a killed check left is deleted by the next after its time-out.
The image of pose-runner is read from the operator's ConfigMap. Of an engine whose
adapter has no check, as mediapipe, it can only be said that its image is pulled and
its program starts.

The exit code is 1 if there is an error among the findings.`,
		Example: `  # The preferred variant of phalp, in the namespace of your jobs
  kubectl pose engines check phalp -n team-a

  # Another variant; read all weights and compare their digests
  kubectl pose engines check phalp -n team-a --variant cpu --digests

  # For a script
  kubectl pose engines check phalp -n team-a -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := term.UntilTold(cmd.Context())
			defer stop()
			return runCheck(ctx, streams, flags, f, args[0])
		},
	}
	p := c.Flags()
	p.StringVar(&f.variant, "variant", "", "variant to check; the engine's first if unset")
	p.DurationVar(&f.timeout, "timeout", 20*time.Minute, "how long to wait for a node, the image and the findings")
	p.BoolVar(&f.digests, "digests", false, "read every file of weights whole and compare its digest; takes minutes")
	p.StringVar(&f.runner, "runner-image", "", "image of pose-runner; read from the operator's ConfigMap if unset")
	p.StringVar(&f.operator, "operator-namespace", "pose-system", "namespace of the operator, whose ConfigMap names the image of pose-runner")
	p.BoolVar(&f.keep, "keep", false, "leave the pod, to look at it; a check after the time-out deletes it")
	p.StringVarP(&f.output, "output", "o", "", "json; for people if unset")
	return c
}

func runCheck(ctx context.Context, streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags, f checkFlags, name string) error {
	if f.output != "" && f.output != "json" {
		return fmt.Errorf("--output %q is unknown: use json, or leave it out", f.output)
	}
	if f.timeout < time.Second {
		return fmt.Errorf("--timeout %s is too short", f.timeout)
	}
	on, err := cluster.Connect(flags)
	if err != nil {
		return err
	}
	r, err := (&checker{on.Pods(streams.ErrOut)}).check(ctx, f, name)
	if err != nil {
		return err
	}
	return r.print(streams.Out, f.output)
}

// checker runs one check.
type checker struct{ *cluster.PodRunner }

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

func (c *checker) check(ctx context.Context, f checkFlags, name string) (*checked, error) {
	r, err := c.request(ctx, f, name)
	if err != nil {
		return nil, err
	}
	pod, err := r.Pod()
	if err != nil {
		return nil, fmt.Errorf("%w: say it with --runner-image", err)
	}
	c.Sweep(ctx, pod.Namespace, enginecheck.Labels(name))
	if err := c.Create(ctx, pod); err != nil {
		return nil, err
	}
	c.Note("pod %s/%s: variant %s, image %s", pod.Namespace, pod.Name, r.Variant.Name, r.Variant.Image)
	if !f.keep {
		defer c.Remove(ctx, pod)
	}
	waiting, stop := context.WithTimeout(ctx, f.timeout)
	defer stop()
	pod, stuck, err := c.Wait(waiting, pod, enginecheck.Look)
	if err != nil {
		return nil, err
	}
	if stuck != nil {
		if stuck.Remedy == "" {
			stuck.Remedy = "no job's pod with this variant could start: mend what it says, in the engine's spec or in namespace " + pod.Namespace
		}
		return results(r, pod, []enginecheck.Finding{{Level: enginecheck.LevelError, Name: "pod", What: stuck.What, Remedy: stuck.Remedy}}), nil
	}
	log, err := c.Logs(waiting, pod, enginecheck.Container)
	if err != nil {
		return nil, fmt.Errorf("read the log of pod %s/%s, which holds the findings: %w", pod.Namespace, pod.Name, err)
	}
	return results(r, pod, enginecheck.Findings(pod, log, r.Whole())), nil
}

func (c *checker) request(ctx context.Context, f checkFlags, name string) (enginecheck.Request, error) {
	var r enginecheck.Request
	engines, err := c.Engines(ctx)
	if err != nil {
		return r, err
	}
	if r.Engine, err = findEngineIn(engines, name); err != nil {
		return r, err
	}
	if r.Variant, err = enginecheck.Choose(r.Engine, f.variant); err != nil {
		return r, err
	}
	r.Namespace, r.Digests = c.Namespace, f.digests
	r.DeadlineSeconds = int64(f.timeout/time.Second) + 60
	if r.NeedsRunner() {
		if r.Settings, err = c.Settings(ctx, f.operator, f.runner); err != nil {
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
	if err := c.Client.List(ctx, &nodes); err != nil {
		c.Note("nodes cannot be listed, so only the GPU of the pod's own node is looked at: %v", err)
		return nil
	}
	gpus := enginecheck.GPUs(v, nodes.Items)
	if len(gpus) == 0 {
		c.Note("no node says by labels of NVIDIA's feature discovery which GPUs it has; the pod's own node shows its GPU")
	}
	for _, capability := range slices.Sorted(maps.Keys(gpus)) {
		c.Note("GPUs of compute capability %s: %s", capability, gpus[capability])
	}
	return slices.Sorted(maps.Keys(gpus))
}

func results(r enginecheck.Request, pod *corev1.Pod, found []enginecheck.Finding) *checked {
	out := &checked{Engine: r.Engine.Name, Variant: r.Variant.Name, Image: r.Variant.Image, Node: pod.Spec.NodeName, Findings: found}
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == enginecheck.Container {
			out.ImageID = s.ImageID
		}
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
		if err := term.JSON(w, r); err != nil {
			return err
		}
	} else {
		r.table(term.Safe(w))
	}
	if r.Errors > 0 {
		return fmt.Errorf("engine %s, variant %s: %d errors", r.Engine, r.Variant, r.Errors)
	}
	return nil
}

// table puts what is wrong last, where the eye is.
func (r *checked) table(w io.Writer) {
	order := []string{enginecheck.LevelOK, enginecheck.LevelWarning, enginecheck.LevelError}
	t := term.Table(w)
	fmt.Fprintln(t, "LEVEL\tWHAT\tFOUND")
	for _, level := range order {
		for _, f := range r.Findings {
			if f.Level != level {
				continue
			}
			fmt.Fprintf(t, "%s\t%s\t%s\n", f.Level, term.OneLine(f.Name), term.OneLine(f.What))
			if f.Remedy != "" && level != enginecheck.LevelOK {
				fmt.Fprintf(t, "\t\t-> %s\n", term.OneLine(f.Remedy))
			}
		}
	}
	_ = t.Flush()
	if r.Errors == 0 {
		fmt.Fprintf(w, "Nothing stands in the way of jobs with engine %s, variant %s.\n", r.Engine, r.Variant)
	}
}
