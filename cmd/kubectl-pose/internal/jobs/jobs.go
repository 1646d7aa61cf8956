// Package jobs has the commands for PoseJobs and PoseBatches themselves.
package jobs

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
)

// Commands for jobs and batches.
func Commands(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) []*cobra.Command {
	return []*cobra.Command{
		RunCommand(streams, flags), ListCommand(streams, flags), WatchCommand(streams, flags), DescribeCommand(streams, flags), LogsCommand(streams, flags),
		RetryCommand(streams, flags), suspendCommand(streams, flags), resumeCommand(streams, flags), cancelCommand(streams, flags),
	}
}

const (
	// AnnotationCancelled marks a job that a person gave up: it is suspended, and not
	// to be resumed by accident.
	AnnotationCancelled = "pose.dev/cancelled"
	// AnnotationRetryOf names the job whose spec another took over.
	AnnotationRetryOf = "pose.dev/retry-of"
)

// ref names a PoseJob or a PoseBatch.
type ref struct {
	batch bool
	name  string
}

func (r ref) kind() string {
	if r.batch {
		return "PoseBatch"
	}
	return "PoseJob"
}

func (r ref) String() string {
	if r.batch {
		return "pb/" + r.name
	}
	return "pj/" + r.name
}

// parseRef of NAME, pj/NAME or pb/NAME, with the longer names that kubectl knows.
func parseRef(arg string) (ref, error) {
	kind, name, ok := strings.Cut(arg, "/")
	if !ok {
		kind, name = "pj", arg
	}
	r := ref{name: name}
	switch strings.TrimSuffix(kind, ".pose.dev") {
	case "pj", "job", "posejob", "posejobs":
	case "pb", "batch", "posebatch", "posebatches":
		r.batch = true
	default:
		return r, exit.Usagef("%q is no kind of the pose operator: write NAME or pj/NAME for a job, pb/NAME for a batch", kind)
	}
	if name == "" || strings.ContainsAny(name, "/ ") {
		return r, exit.Usagef("%q names no job", arg)
	}
	return r, nil
}

func parseRefs(args []string) ([]ref, error) {
	out := make([]ref, 0, len(args))
	for _, a := range args {
		r, err := parseRef(a)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// get the object of a ref.
func get(ctx context.Context, c *cluster.Cluster, r ref) (client.Object, error) {
	if r.batch {
		return c.Batch(ctx, r.name)
	}
	return c.Job(ctx, r.name)
}

// standing is what is shown of a job or a batch, whichever it is.
type standing struct {
	ref
	namespace string
	phase     string
	finished  bool
	ok        bool // when finished
	message   string
	deleted   bool
}

func standingOf(o client.Object) standing {
	s := standing{namespace: o.GetNamespace()}
	s.name = o.GetName()
	var conditions []metav1.Condition
	switch o := o.(type) {
	case *v1alpha1.PoseJob:
		s.phase, conditions = string(o.Status.Phase), o.Status.Conditions
	case *v1alpha1.PoseBatch:
		s.batch, s.phase, conditions = true, string(o.Status.Phase), o.Status.Conditions
	}
	s.finished = meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionFinished)
	s.ok = meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionComplete)
	if c := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); c != nil {
		s.message = c.Message
	}
	s.phase = cmp.Or(s.phase, string(v1alpha1.PhasePending))
	if o.GetAnnotations()[AnnotationCancelled] == "true" && !s.finished {
		s.phase = phaseCancelled
	}
	return s
}

// phaseCancelled is shown of a job that was given up.
const phaseCancelled = "Cancelled"

// over says whether nothing will come of waiting any longer.
func (s standing) over() bool { return s.finished || s.deleted || s.phase == phaseCancelled }

// failures are the error of several commands in one.
type failures struct {
	done, failed int
	code         int
	first        error
}

func (f *failures) add(err error) {
	f.done++
	if err == nil {
		return
	}
	f.failed++
	if f.first == nil {
		f.first, f.code = err, exit.Code(err)
	} else if f.code != exit.Code(err) {
		f.code = exit.Failed
	}
}

func (f *failures) err() error {
	switch {
	case f.failed == 0:
		return nil
	case f.done == 1:
		return f.first
	}
	return exit.With(f.code, fmt.Errorf("%d of %d failed; the first: %w", f.failed, f.done, f.first))
}
