package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/internal/export"
)

// patience with a cluster while somebody waits at a prompt.
const patience = 3 * time.Second

// most names that are offered: a shell shows no more.
const most = 500

// script is what kubectl looks for in the PATH, under the name
// kubectl_complete-pose, to complete `kubectl pose`.
const script = `#!/usr/bin/env sh
# kubectl calls this to complete "kubectl pose".
exec kubectl pose __complete "$@"
`

func completionCommand(streams genericiooptions.IOStreams) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell", "kubectl"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell|kubectl",
		Short: "Print a script that completes commands, flags and names of jobs",
		Long: `Print a script that completes commands, flags, and names of jobs and engines,
which are read from the cluster.

kubectl completes plugins by a program of their own. Print it with "completion
kubectl" into a file kubectl_complete-pose in the PATH, and make it executable;
kubectl's own completion must be on. The other scripts complete the program under its
own name, kubectl-pose.`,
		Example: `  kubectl pose completion kubectl > ~/.local/bin/kubectl_complete-pose
  chmod +x ~/.local/bin/kubectl_complete-pose

  # kubectl-pose under its own name
  source <(kubectl pose completion bash)`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			// The scripts call the program by its name in the PATH.
			root := cmd.Root()
			delete(root.Annotations, cobra.CommandDisplayNameAnnotation)
			var err error
			switch args[0] {
			case "bash":
				err = root.GenBashCompletionV2(streams.Out, true)
			case "zsh":
				err = root.GenZshCompletion(streams.Out)
			case "fish":
				err = root.GenFishCompletion(streams.Out, true)
			case "powershell":
				err = root.GenPowerShellCompletionWithDesc(streams.Out)
			case "kubectl":
				_, err = fmt.Fprint(streams.Out, script)
			default:
				err = exit.Usagef("%q is none of %s", args[0], strings.Join(shells, ", "))
			}
			return err
		},
	}
}

// names gives what a person may mean, from the cluster.
type names func(ctx context.Context, c *cluster.Cluster) []string

// completing makes of names a function for cobra. What goes wrong completes nothing: at
// a prompt there is no place for words.
func completing(flags *genericclioptions.ConfigFlags, of names, once bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if once && len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := cluster.Connect(flags)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		ctx, stop := context.WithTimeout(ctx, patience)
		defer stop()
		var out []string
		for _, n := range of(ctx, c) {
			if strings.HasPrefix(n, toComplete) && !slices.Contains(args, n) {
				out = append(out, n)
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

func jobNames(ctx context.Context, c *cluster.Cluster) (out []string) {
	var l v1alpha1.PoseJobList
	if c.Client.List(ctx, &l, client.InNamespace(c.Namespace), client.Limit(most)) != nil {
		return nil
	}
	for i := range l.Items {
		out = append(out, l.Items[i].Name)
	}
	return out
}

func batchNames(ctx context.Context, c *cluster.Cluster) (out []string) {
	var l v1alpha1.PoseBatchList
	if c.Client.List(ctx, &l, client.InNamespace(c.Namespace), client.Limit(most)) != nil {
		return nil
	}
	for i := range l.Items {
		out = append(out, "pb/"+l.Items[i].Name)
	}
	return out
}

func jobsAndBatches(ctx context.Context, c *cluster.Cluster) []string {
	return append(jobNames(ctx, c), batchNames(ctx, c)...)
}

// results are named as job/NAME where a folder or URI may be meant, too.
func resultNames(ctx context.Context, c *cluster.Cluster) (out []string) {
	for _, n := range jobNames(ctx, c) {
		out = append(out, "job/"+n)
	}
	return append(out, batchNames(ctx, c)...)
}

func engineNames(ctx context.Context, c *cluster.Cluster) (out []string) {
	all, err := c.Engines(ctx)
	if err != nil {
		return nil
	}
	for i := range all {
		out = append(out, all[i].Name)
	}
	return out
}

// complete sets what the arguments and flags of all commands can be.
func complete(root *cobra.Command, flags *genericclioptions.ConfigFlags) {
	arguments := map[string]cobra.CompletionFunc{
		"describe": completing(flags, jobsAndBatches, true), "watch": completing(flags, jobsAndBatches, false),
		"logs": completing(flags, jobNames, true), "retry": completing(flags, jobNames, true), "results": completing(flags, jobNames, true),
		"suspend": completing(flags, jobsAndBatches, false), "resume": completing(flags, jobsAndBatches, false), "cancel": completing(flags, jobsAndBatches, false),
		"purge": completing(flags, jobsAndBatches, true), "check": completing(flags, engineNames, true),
		"verify": anyFileToo(completing(flags, resultNames, true)), "export": anyFileToo(completing(flags, resultNames, true)),
	}
	fixed := map[string][]string{
		"device": {"Auto", "GPU", "CPU"}, "overlay": {"None", "Blurred", "Full"}, "reuse": {"IfVerified", "Never"}, "dry-run": {"client", "server"},
		"deletion-policy": {"Retain", "Delete"}, "phase": {"Pending", "Running", "Succeeded", "Failed", "Suspended", "Cancelled", "Deleting"},
	}
	for _, f := range export.Formats() {
		fixed["format"] = append(fixed["format"], f.Name)
	}
	eachCommand(root, func(c *cobra.Command) {
		if f := arguments[c.Name()]; f != nil {
			c.ValidArgsFunction = f
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			switch words := fixed[f.Name]; {
			case words != nil:
				_ = c.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
			case f.Name == "engine" && c.Name() != "diagnose":
				_ = c.RegisterFlagCompletionFunc(f.Name, completing(flags, engineNames, false)) // the flag is there
			}
		})
	})
}

// anyFileToo completes files of this machine beside what f gives.
func anyFileToo(f cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		out, _ := f(cmd, args, toComplete)
		return out, cobra.ShellCompDirectiveDefault
	}
}
