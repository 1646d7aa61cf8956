package jobs

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
)

// containers of an attempt's pod, in the order in which they run.
var containers = []string{"copy", "adapter", "fetch", "prepare", "engine", "deliver"}

type logFlags struct {
	attempt                 int32
	container, color, stage string
	all, follow, timestamps bool
	tail                    int64
	since                   time.Duration
}

// LogsCommand shows what an attempt said.
func LogsCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
	var f logFlags
	c := &cobra.Command{
		Use:   "logs NAME",
		Short: "Show the log of an attempt, by its engine's stages",
		Long: `Show the log of an attempt: of the last one, and of its engine, if nothing else is
said. With -f the attempts that follow are shown, too.

On a terminal each line begins with the stage that the engine was in, by the stage
rules of its PoseEngine. A log is an engine's own words, which may be anybody's:
terminal sequences and control characters are left out, and lines longer than 16 KiB
are cut. For the very bytes use "kubectl logs".`,
		Example: `  kubectl pose logs run-42 -f
  kubectl pose logs run-42 --attempt 1 --stage DetectorLoad
  kubectl pose logs run-42 --all-containers --tail 20`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := parseRef(args[0])
			if err != nil {
				return err
			}
			if err := f.check(r); err != nil {
				return err
			}
			c, err := cluster.Connect(flags)
			if err != nil {
				return err
			}
			return (&logger{flags: f, c: c, streams: streams, color: f.colored(streams.Out)}).run(cmd.Context(), r.name)
		},
	}
	p := c.Flags()
	p.Int32Var(&f.attempt, "attempt", 0, "number of the attempt; the last if unset")
	p.StringVarP(&f.container, "container", "c", "engine", "copy, adapter, fetch, prepare, engine or deliver")
	p.BoolVar(&f.all, "all-containers", false, "of all of them, one after the other")
	p.BoolVarP(&f.follow, "follow", "f", false, "go on until the job has ended")
	p.StringVar(&f.stage, "stage", "", "only the lines of this stage of the engine")
	p.Int64Var(&f.tail, "tail", -1, "only so many of the last lines; all if less than 0")
	p.DurationVar(&f.since, "since", 0, "only what is newer than so long ago")
	p.BoolVar(&f.timestamps, "timestamps", false, "begin each line with its time")
	p.StringVar(&f.color, "color", "auto", "auto, always or never; NO_COLOR counts for auto")
	return c
}

func (f *logFlags) check(r ref) error {
	switch {
	case r.batch:
		return exit.Usagef("%s is a batch: name one of its PoseJobs, which `kubectl pose list -l pose.dev/batch=%s` lists", r, r.name)
	case !slices.Contains([]string{"auto", "always", "never"}, f.color):
		return exit.Usagef("--color %q is unknown: use auto, always or never", f.color)
	case f.all && f.follow:
		return exit.Usagef("--follow goes with one container: leave --all-containers out")
	case f.attempt < 0:
		return exit.Usagef("--attempt %d: attempts count from 1", f.attempt)
	case f.stage != "" && (f.all || f.container != "engine"):
		return exit.Usagef("--stage is of the engine's log: leave --container and --all-containers out")
	}
	return nil
}

type logger struct {
	flags   logFlags
	c       *cluster.Cluster
	streams genericiooptions.IOStreams
	color   bool
}

func (l *logger) note(format string, args ...any) {
	fmt.Fprintf(term.Safe(l.streams.ErrOut), format+"\n", args...)
}

func (l *logger) run(ctx context.Context, name string) error {
	shown := int32(0)
	for {
		job, err := l.c.Job(ctx, name)
		if err != nil {
			return err
		}
		a, err := l.choose(job, shown)
		if err != nil {
			return err
		}
		if a != nil {
			if shown > 0 {
				l.note("Attempt %d: variant %s on %s", a.Number, a.Variant, a.Device)
			}
			shown = a.Number
			if err := l.attempt(ctx, job, a); err != nil {
				return err
			}
		}
		if over := standingOf(job).over(); !l.flags.follow || l.flags.attempt > 0 && a != nil || over && (a == nil || a.Number == job.Status.AttemptCount) {
			return nil
		}
		select {
		case <-ctx.Done():
			return exit.With(exit.Interrupted, fmt.Errorf("interrupted: %w", ctx.Err()))
		case <-time.After(time.Second):
		}
	}
}

// choose an attempt after the one that was shown; nil if there is none yet, and one
// may come.
func (l *logger) choose(job *v1alpha1.PoseJob, shown int32) (*v1alpha1.Attempt, error) {
	attempts := job.Status.Attempts
	for i := range attempts {
		a := &attempts[i]
		switch {
		case a.State == v1alpha1.AttemptIntended:
		case l.flags.attempt > 0 && a.Number == l.flags.attempt,
			l.flags.attempt == 0 && shown > 0 && a.Number > shown,
			l.flags.attempt == 0 && shown == 0 && i == len(attempts)-1,
			l.flags.attempt == 0 && shown == 0 && i == len(attempts)-2 && attempts[i+1].State == v1alpha1.AttemptIntended && !l.flags.follow:
			return a, nil
		}
	}
	over := standingOf(job).over()
	switch {
	case l.flags.follow && !over, shown > 0:
		return nil, nil //nolint:nilnil // one may come
	case len(attempts) == 0:
		why := ""
		if s := standingOf(job); s.message != "" {
			why = ": " + term.OneLine(s.message)
		}
		return nil, exit.With(exit.NotFound, fmt.Errorf("PoseJob %s/%s has made no attempt%s", job.Namespace, job.Name, why))
	case l.flags.attempt > 0:
		return nil, exit.With(exit.NotFound, fmt.Errorf("PoseJob %s/%s has no attempt %d that was begun; it has made %d", job.Namespace, job.Name, l.flags.attempt, len(attempts)))
	}
	return nil, exit.With(exit.NotFound, fmt.Errorf("the pod of attempt %d of PoseJob %s/%s was not made yet: use -f to wait for it", len(attempts), job.Namespace, job.Name))
}

// attempt shows the log of one.
func (l *logger) attempt(ctx context.Context, job *v1alpha1.PoseJob, a *v1alpha1.Attempt) error {
	if !l.flags.all {
		return l.container(ctx, job, a, l.flags.container)
	}
	pod, err := l.c.Set.CoreV1().Pods(job.Namespace).Get(ctx, a.PodName, podGet)
	if err != nil {
		kept, err := l.podGone(job, a, err)
		if err != nil {
			return err
		}
		return (&stageWriter{out: l.streams.Out}).copy(kept)
	}
	for _, name := range containersOf(pod) {
		l.note("== %s", name)
		if err := l.container(ctx, job, a, name); err != nil && exit.Code(err) != exit.Usage {
			return err
		}
	}
	return nil
}

// containersOf a pod that are an attempt's, in order.
func containersOf(pod *corev1.Pod) (out []string) {
	all := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
	for _, name := range containers {
		if slices.ContainsFunc(all, func(c corev1.Container) bool { return c.Name == name }) {
			out = append(out, name)
		}
	}
	return out
}

// container shows the log of one container.
func (l *logger) container(ctx context.Context, job *v1alpha1.PoseJob, a *v1alpha1.Attempt, name string) error {
	o := &corev1.PodLogOptions{Container: name, Follow: l.flags.follow, Timestamps: l.flags.timestamps}
	if l.flags.tail >= 0 {
		o.TailLines = &l.flags.tail
	}
	if l.flags.since > 0 {
		o.SinceSeconds = new(max(1, int64(l.flags.since/time.Second)))
	}
	body, err := l.stream(ctx, job, a, o)
	if err != nil {
		return err
	}
	defer body.Close()
	w := &stageWriter{out: l.streams.Out, color: l.color, only: l.flags.stage, timestamps: l.flags.timestamps}
	if name == "engine" {
		if w.stages, err = l.stages(ctx, job, a); err != nil {
			return err
		}
	}
	if err := w.copy(body); err != nil {
		if ctx.Err() != nil {
			return exit.With(exit.Interrupted, fmt.Errorf("interrupted: %w", ctx.Err()))
		}
		return fmt.Errorf("read the log of pod %s/%s, container %s: %w", job.Namespace, a.PodName, name, err)
	}
	return nil
}

// stream of a container's log; with -f it waits until the container was started.
func (l *logger) stream(ctx context.Context, job *v1alpha1.PoseJob, a *v1alpha1.Attempt, o *corev1.PodLogOptions) (io.ReadCloser, error) {
	for told := false; ; {
		body, err := l.c.Set.CoreV1().Pods(job.Namespace).GetLogs(a.PodName, o).Stream(ctx)
		waits := apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "waiting to start")
		switch {
		case err == nil:
			return body, nil
		case waits && l.flags.follow && a.State == v1alpha1.AttemptRunning:
			if !told {
				told = true
				l.note("container %s of pod %s was not started yet; waiting", o.Container, a.PodName)
			}
		case waits && a.Container != "" && a.Container != o.Container:
			return nil, exit.Usagef("container %s of attempt %d was never started: the attempt failed in container %s (%s), whose log -c %s gives", o.Container, a.Number, a.Container, a.Reason, a.Container)
		case waits:
			return nil, exit.Usagef("container %s of pod %s/%s was not started: %w", o.Container, job.Namespace, a.PodName, err)
		case apierrors.IsBadRequest(err):
			return nil, exit.Usagef("pod %s/%s has no such log: %w; the containers are %s", job.Namespace, a.PodName, err, strings.Join(containers, ", "))
		default:
			return l.podGone(job, a, err)
		}
		select {
		case <-ctx.Done():
			return nil, exit.With(exit.Interrupted, fmt.Errorf("interrupted: %w", ctx.Err()))
		case <-time.After(time.Second):
		}
	}
}

// podGone gives what is left of the log of a pod that is no more.
func (l *logger) podGone(job *v1alpha1.PoseJob, a *v1alpha1.Attempt, err error) (io.ReadCloser, error) {
	if !apierrors.IsNotFound(err) {
		return nil, l.c.Explain(err, "read the log of", "pod "+job.Namespace+"/"+a.PodName)
	}
	if a.Evidence != nil && len(a.Evidence.LastLines) > 0 {
		l.note("The pod of attempt %d is gone. The job's status has its last lines:", a.Number)
		return io.NopCloser(strings.NewReader(strings.Join(a.Evidence.LastLines, "\n") + "\n")), nil
	}
	where := ""
	if a.State == v1alpha1.AttemptFailed {
		where = fmt.Sprintf("; the log of an engine that failed is kept as engine.log in its folder below %s/attempts", strings.TrimRight(job.Spec.Output.URI, "/"))
	}
	return nil, exit.With(exit.NotFound, fmt.Errorf("pod %s of attempt %d is gone, %s after its end, and its log with it%s", cmp.Or(a.PodName, "(unnamed)"), a.Number, kept(job), where))
}

func kept(job *v1alpha1.PoseJob) string {
	if s := job.Spec.PodTTLSecondsAfterFinished; s != nil {
		return (time.Duration(*s) * time.Second).String()
	}
	return "some time"
}
