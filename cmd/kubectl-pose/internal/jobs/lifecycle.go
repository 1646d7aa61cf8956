package jobs

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
)

// change is one of the commands that patch a job or a batch.
type change struct {
	use, short, long, verb string
	suspend                bool
	// cancelled is the value of the annotation; nil removes it.
	cancelled any
	// refuses says why a job cannot be changed, "" if it can.
	refuses func(standing) string
}

func suspendCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
	return changeCommand(streams, flags, change{
		use: "suspend NAME|pb/NAME...", short: "Stop jobs or batches for now; their attempts so far are kept", verb: "suspended", suspend: true,
		long: `Stop jobs or batches for now: a live pod is ended, and no new one is made until
"kubectl pose resume". Attempts already made are kept; the one that is ended begins
anew.`,
		refuses: func(s standing) string {
			if s.finished {
				return "it has ended"
			}
			return ""
		},
	})
}

func resumeCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
	return changeCommand(streams, flags, change{
		use: "resume NAME|pb/NAME...", short: "Let suspended or cancelled jobs and batches go on", verb: "resumed", suspend: false,
		long: "Let suspended or cancelled jobs and batches go on, with the attempt that was ended.",
		refuses: func(s standing) string {
			if s.finished {
				return "it has ended: `kubectl pose retry` makes another of its spec"
			}
			return ""
		},
	})
}

func cancelCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
	return changeCommand(streams, flags, change{
		use: "cancel NAME|pb/NAME...", short: "Give jobs or batches up, and keep them to be looked at", verb: "cancelled", suspend: true, cancelled: "true",
		long: `Give jobs or batches up that have not ended: a live pod is ended, and no new one is
made. The object stays, suspended and with the annotation ` + AnnotationCancelled + `, so that
its attempts can be looked at; it costs nothing. "kubectl delete pj NAME" removes it,
"kubectl pose retry" makes another of its spec, "kubectl pose resume" changes your
mind. Nothing that was delivered is removed: "kubectl pose purge" does that.`,
		refuses: func(s standing) string {
			if s.finished {
				return "it has ended already"
			}
			return ""
		},
	})
}

func changeCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags, ch change) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: ch.use, Short: ch.short, Long: ch.long,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(output, "json", "yaml", "name"); err != nil {
				return err
			}
			refs, err := parseRefs(args)
			if err != nil {
				return err
			}
			c, err := cluster.Connect(flags)
			if err != nil {
				return err
			}
			var all failures
			for _, r := range refs {
				o, err := ch.apply(cmd.Context(), c, r)
				if err == nil {
					err = printObject(streams.Out, output, ch.verb, o)
				} else if len(refs) > 1 {
					fmt.Fprintln(term.Safe(streams.ErrOut), "error:", err)
				}
				all.add(err)
			}
			return all.err()
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "json, yaml or name; for people if unset")
	return c
}

func (ch change) apply(ctx context.Context, c *cluster.Cluster, r ref) (client.Object, error) {
	o, err := get(ctx, c, r)
	if err != nil {
		return nil, err
	}
	if why := ch.refuses(standingOf(o)); why != "" {
		return nil, exit.Usagef("%s %s/%s cannot be %s: %s", r.kind(), c.Namespace, r.name, ch.verb, why)
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{AnnotationCancelled: ch.cancelled}},
		"spec":     map[string]any{"suspend": ch.suspend},
	})
	if err != nil {
		return nil, fmt.Errorf("write the change: %w", err)
	}
	if err := c.Client.Patch(ctx, o, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return nil, c.Explain(err, "change", r.kind()+" "+c.Namespace+"/"+r.name)
	}
	return o, nil
}
