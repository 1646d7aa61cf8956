// Command kubectl-pose is a kubectl plugin for people who run PoseJobs: put it
// into the PATH and say `kubectl pose`.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pose-dev/pose-operator/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	if err := command(streams).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(exitCode(err)) //nolint:gocritic // stop only frees a signal handler
	}
}

func command(streams genericiooptions.IOStreams) *cobra.Command {
	c := &cobra.Command{
		Use:           "kubectl-pose",
		Short:         "Look after PoseJobs",
		Version:       version.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl pose"},
	}
	c.SetIn(streams.In)
	c.SetOut(streams.Out)
	c.SetErr(streams.ErrOut)
	flags := genericclioptions.NewConfigFlags(true)
	c.AddCommand(diagnoseCommand(streams), describeCommand(streams, flags))
	c.AddCommand(exportCommand(streams))
	c.AddCommand(enginesCommand(streams, flags))
	c.AddCommand(verifyCommand(streams, flags), purgeCommand(streams, flags))
	return c
}
