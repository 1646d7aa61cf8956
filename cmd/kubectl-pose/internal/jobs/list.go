package jobs

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
)

type listFlags struct {
	all, noBatches    bool
	selector, output  string
	phases            []string
	noHeaders, oldest bool
}

// page is how many objects are asked for at once.
const page = 500

// ListCommand shows jobs and batches.
func ListCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
	var f listFlags
	c := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls", "get"},
		Short:   "List PoseJobs and PoseBatches, the newest first",
		Example: `  kubectl pose list
  kubectl pose list -A --phase Failed -o wide

  # For a script
  kubectl pose list --phase Succeeded -o name`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			c, err := cluster.Connect(flags)
			if err != nil {
				return err
			}
			return list(cmd.Context(), c, f, streams, time.Now())
		},
	}
	p := c.Flags()
	p.BoolVarP(&f.all, "all-namespaces", "A", false, "in every namespace")
	p.StringVarP(&f.selector, "selector", "l", "", "only those with these labels, as kubectl writes them")
	p.StringSliceVar(&f.phases, "phase", nil, "only those in one of these phases, separated by commas: Pending, Running, Succeeded, Failed, Suspended, Cancelled, Deleting; of batches Listing, Stopping and Indexing, too")
	p.BoolVar(&f.noBatches, "jobs-only", false, "leave PoseBatches out")
	p.BoolVar(&f.oldest, "oldest-first", false, "the oldest first")
	p.BoolVar(&f.noHeaders, "no-headers", false, "print no line with the names of the columns")
	p.StringVarP(&f.output, "output", "o", "", "json, yaml, name or wide; a table if unset")
	return c
}

func (f *listFlags) check() error {
	if err := checkOutput(f.output, "json", "yaml", "name", "wide"); err != nil {
		return err
	}
	known := []string{"Pending", "Running", "Succeeded", "Failed", "Suspended", phaseCancelled, "Deleting", "Listing", "Stopping", "Indexing"}
	for i, p := range f.phases {
		at := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, p) })
		if at < 0 {
			return exit.Usagef("--phase %q is none of %s", p, strings.Join(known, ", "))
		}
		f.phases[i] = known[at]
	}
	if _, err := labels.Parse(f.selector); err != nil {
		return exit.Usagef("--selector: %w", err)
	}
	return nil
}

func list(ctx context.Context, c *cluster.Cluster, f listFlags, streams genericiooptions.IOStreams, now time.Time) error {
	jobs, err := pages(ctx, c, f, watched{})
	if err != nil {
		return err
	}
	var batches []client.Object
	if !f.noBatches {
		batches, err = pages(ctx, c, f, watched{batch: true})
		// Who may look at jobs only still sees them.
		if err != nil && exit.Code(err) == exit.Forbidden && len(jobs) > 0 {
			fmt.Fprintln(term.Safe(streams.ErrOut), "batches are left out:", err)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	jobs, batches = f.choose(jobs), f.choose(batches)
	switch {
	case f.output == "json" || f.output == "yaml" || f.output == "name":
		return printObjects(streams.Out, f.output, append(batches, jobs...))
	case len(jobs)+len(batches) == 0:
		where := "in namespace " + c.Namespace
		if f.all {
			where = "in any namespace"
		}
		fmt.Fprintf(term.Safe(streams.ErrOut), "There are no such jobs %s.\n", where)
		return nil
	}
	return f.print(streams.Out, jobs, batches, now)
}

// pages lists objects of one kind, some at a time.
func pages(ctx context.Context, c *cluster.Cluster, f listFlags, k watched) ([]client.Object, error) {
	selector, err := labels.Parse(f.selector)
	if err != nil {
		return nil, exit.Usagef("--selector: %w", err)
	}
	o := &client.ListOptions{Limit: page, LabelSelector: selector}
	if !f.all {
		o.Namespace = c.Namespace
	}
	var out []client.Object
	for {
		next, what := k.list()
		if err := c.Client.List(ctx, next, o); err != nil {
			return nil, c.Explain(err, "list", what)
		}
		out = append(out, items(next)...)
		if o.Continue = next.GetContinue(); o.Continue == "" {
			return out, nil
		}
	}
}

// choose those of the phases, in order.
func (f *listFlags) choose(all []client.Object) []client.Object {
	if len(f.phases) > 0 {
		all = slices.DeleteFunc(all, func(o client.Object) bool { return !slices.Contains(f.phases, standingOf(o).phase) })
	}
	slices.SortStableFunc(all, func(a, b client.Object) int {
		n := b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time)
		if f.oldest {
			n = -n
		}
		if n == 0 {
			n = strings.Compare(a.GetNamespace()+"/"+a.GetName(), b.GetNamespace()+"/"+b.GetName())
		}
		return n
	})
	return all
}

// columns of a table; those behind wide are shown with -o wide only.
func columns(names []string, wide int) []metav1.TableColumnDefinition {
	out := make([]metav1.TableColumnDefinition, 0, len(names))
	for i, n := range names {
		c := metav1.TableColumnDefinition{Name: n, Type: "string"}
		if i >= wide {
			c.Priority = 1
		}
		out = append(out, c)
	}
	return out
}

func (f *listFlags) print(w io.Writer, jobs, batches []client.Object, now time.Time) error {
	w = term.Safe(w)
	tables := []struct {
		columns []metav1.TableColumnDefinition
		rows    []client.Object
		cells   func(client.Object) []any
	}{
		{columns([]string{"Batch", "Phase", "Progress", "Running", "Failed", "GPU-Seconds", "Ends-In", "Age", "Output", "Message"}, 8), batches, func(o client.Object) []any { return batchCells(o.(*v1alpha1.PoseBatch), now) }},                   //nolint:forcetypeassert // the list's own
		{columns([]string{"Job", "Phase", "Stage", "Progress", "Ends-In", "Engine", "Variant", "Device", "Attempts", "Age", "People", "Output", "Message"}, 10), jobs, func(o client.Object) []any { return jobCells(o.(*v1alpha1.PoseJob), now) }}, //nolint:forcetypeassert // the list's own
	}
	first := true
	for _, t := range tables {
		if len(t.rows) == 0 {
			continue
		}
		table := &metav1.Table{ColumnDefinitions: t.columns}
		for _, o := range t.rows {
			row := metav1.TableRow{Cells: t.cells(o)}
			for i, c := range row.Cells {
				if s, ok := c.(string); ok {
					row.Cells[i] = term.Dash(term.Clean(s))
				}
			}
			row.Object.Object = o
			table.Rows = append(table.Rows, row)
		}
		if !first {
			fmt.Fprintln(w)
		}
		first = false
		p := printers.NewTablePrinter(printers.PrintOptions{WithNamespace: f.all, Wide: f.output == "wide", NoHeaders: f.noHeaders})
		if err := p.PrintObj(table, w); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

func jobCells(j *v1alpha1.PoseJob, now time.Time) []any {
	s := j.Status
	progress, in := "", ""
	if p := s.Progress; p != nil && !standingOf(j).finished {
		progress, in = p.Summary, until(p.EstimatedCompletionTime, now)
	}
	output, people := j.Spec.Output.URI, ""
	if s.Output != nil {
		output, people = s.Output.URI, fmt.Sprint(s.Output.People)
	}
	engine := s.EngineName
	if engine == "" {
		engine = j.Spec.EngineName
	}
	at := standingOf(j)
	return []any{j.Name, at.phase, s.Stage, progress, in, engine, s.Variant, string(s.Device), fmt.Sprint(s.AttemptCount), age(j.CreationTimestamp, now), people, output, at.message}
}

func batchCells(b *v1alpha1.PoseBatch, now time.Time) []any {
	s := b.Status
	running, failed := "", ""
	if s.Counts != nil {
		running, failed = fmt.Sprint(s.Counts.Running), fmt.Sprint(s.Counts.Failed)
	}
	in, at := "", standingOf(b)
	if !at.finished {
		in = until(s.EstimatedCompletionTime, now)
	}
	return []any{b.Name, at.phase, s.Progress, running, failed, fmt.Sprint(s.GPUSeconds), in, age(b.CreationTimestamp, now), b.Spec.Output.URI, at.message}
}

func age(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

func until(t *metav1.Time, now time.Time) string {
	if t == nil {
		return ""
	}
	return duration.HumanDuration(max(0, t.Sub(now)))
}

func yamlOf(w io.Writer, v any) error {
	b, err := yaml.Marshal(v)
	if err == nil {
		_, err = w.Write(b)
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
