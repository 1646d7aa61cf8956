// Package cli puts the commands of kubectl-pose together.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/engines"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/jobs"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/results"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
	"github.com/pose-dev/pose-operator/internal/version"
)

// Main runs the plugin and gives its exit code.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return run(ctx, genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}, args)
}

func run(ctx context.Context, streams genericiooptions.IOStreams, args []string) int {
	started := false
	c := Command(streams)
	eachCommand(c, func(c *cobra.Command) {
		if work := c.RunE; work != nil {
			c.RunE = func(c *cobra.Command, args []string) error {
				started = true
				return work(c, args)
			}
		}
	})
	c.SetArgs(args)
	err := c.ExecuteContext(ctx)
	if err == nil {
		return exit.OK
	}
	code := exit.Code(err)
	if code == exit.Failed && !started {
		// cobra's own words on flags and arguments.
		code = exit.Usage
		err = fmt.Errorf("%w\nSee `kubectl pose %s--help`", err, path(c, args))
	}
	if code == exit.Failed && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		code = exit.Interrupted
	}
	fmt.Fprintln(term.Safe(streams.ErrOut), "error:", err)
	return code
}

// path of the command that was meant, for a hint.
func path(c *cobra.Command, args []string) string {
	found, _, err := c.Find(args)
	if err != nil || found == c {
		return ""
	}
	return strings.TrimPrefix(found.CommandPath(), c.CommandPath()+" ") + " "
}

func eachCommand(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, sub := range c.Commands() {
		eachCommand(sub, do)
	}
}

// Groups of commands, as help shows them.
const (
	groupJobs    = "jobs"
	groupResults = "results"
	groupHelp    = "help"
)

// Command is the plugin.
func Command(streams genericiooptions.IOStreams) *cobra.Command {
	c := &cobra.Command{
		Use:   "kubectl-pose",
		Short: "Run PoseJobs and look after them",
		Long: `Run PoseJobs, which turn videos into tracked human poses, and look after them.

Exit codes: 0 it is as asked for; 1 a job failed, a check found something, or the
command could not be done; 2 the command is wrong, or the API server refuses what it
would make; 3 the cluster cannot be reached or has no pose operator; 4 there is no
such job; 5 you may not do it; 6 --timeout ended first; 130 interrupted. verify and
purge have 2 for all that keeps them from an answer.`,
		Version:       version.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl pose"},

		SuggestionsMinimumDistance: 2,
	}
	c.SetIn(streams.In)
	c.SetOut(streams.Out)
	c.SetErr(streams.ErrOut)
	flags := genericclioptions.NewConfigFlags(true)
	flags.AddFlags(c.PersistentFlags())
	shown := map[string]bool{"namespace": true, "context": true, "kubeconfig": true}
	c.PersistentFlags().VisitAll(func(f *pflag.Flag) { f.Hidden = !shown[f.Name] })
	c.AddGroup(
		&cobra.Group{ID: groupJobs, Title: "Jobs:"},
		&cobra.Group{ID: groupResults, Title: "Results:"},
		&cobra.Group{ID: groupHelp, Title: "Engines and help:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, sub := range commands {
			sub.GroupID = group
			c.AddCommand(sub)
		}
	}
	add(groupJobs, jobs.Commands(streams, flags)...)
	add(groupResults, results.Commands(streams, flags)...)
	add(groupHelp, engines.Command(streams, flags), engines.DiagnoseCommand(streams), versionCommand(streams, flags), completionCommand(streams), optionsCommand(streams))
	c.SetHelpCommandGroupID(groupHelp)
	c.CompletionOptions.DisableDefaultCmd = true
	complete(c, flags)
	eachCommand(c, func(c *cobra.Command) {
		if c.HasSubCommands() {
			c.Args, c.RunE = unknown, func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	})
	return c
}

// unknown says of a command that only has others which it does not have.
func unknown(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	like := ""
	if s := c.SuggestionsFor(args[0]); len(s) > 0 {
		like = ", did you mean " + strings.Join(s, " or ") + "?"
	}
	return exit.Usagef("there is no command %q%s", c.CommandPath()+" "+args[0], like)
}

func optionsCommand(streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use:   "options",
		Short: "Show the flags of every command, which say which cluster is meant and as whom",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all := pflag.NewFlagSet("options", pflag.ContinueOnError)
			cmd.Root().PersistentFlags().VisitAll(func(f *pflag.Flag) {
				shown := *f
				shown.Hidden = false
				all.AddFlag(&shown)
			})
			_, err := fmt.Fprint(streams.Out, all.FlagUsages())
			return err //nolint:wrapcheck // the terminal's own error
		},
	}
}
