// Command pose-runner is what runs in every container of an attempt's pod.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner"
	"github.com/pose-dev/pose-operator/internal/runner/child"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/version"
)

func main() {
	// Before all else: this process becomes another program.
	if len(os.Args) == 2 && os.Args[1] == child.Entry {
		os.Exit(child.Main())
	}
	code := 0
	root := &cobra.Command{
		Use:   "pose-runner",
		Short: "Runs one container of a pose job's pod",
		Long: "pose-runner fetches, prepares, watches and delivers inside the pods of the pose operator.\n" +
			"The operator starts it; there is nothing to run by hand. `fill` is what the chart's Job for weights runs, `sweep` its CronJob for uploads;\n`send` is what kubectl pose runs where it reads a claim.",
		SilenceUsage: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(runCommand(&code), fillCommand(), sweepCommand(), sendCommand(), &cobra.Command{
		Use:   "version",
		Short: "Print version and platform",
		Args:  cobra.NoArgs,
		Run: func(c *cobra.Command, _ []string) {
			fmt.Fprintf(c.OutOrStdout(), "pose-runner %s (contract %d, %s, %s/%s)\n", version.Version, report.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	})
	if err := root.Execute(); err != nil {
		os.Exit(1)
	}
	os.Exit(code)
}

func runCommand(code *int) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the role that " + report.ConfigEnv + " names",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			raw, ok := os.LookupEnv(report.ConfigEnv)
			if !ok {
				return fmt.Errorf("%s is not set: the operator sets it in the containers that it makes; pose-runner is not meant to be run by hand, create a PoseJob instead", report.ConfigEnv)
			}
			ctx, cancel := context.WithCancelCause(c.Context())
			signals := make(chan os.Signal, 1)
			signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
			go func() {
				<-signals
				cancel(runner.ErrTerminated)
			}()
			*code = runner.Main(ctx, raw, layout.Pod(), os.Stdout)
			return nil
		},
	}
}
