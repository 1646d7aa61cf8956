package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner"
	"github.com/pose-dev/pose-operator/internal/runner/fill"
)

// fillCommand is what the chart's Job for weights runs.
func fillCommand() *cobra.Command {
	var config string
	o := fill.Options{CredentialsDir: report.CredentialsDir}
	c := &cobra.Command{
		Use:   "fill --config FILE --target DIR",
		Short: "Fetch weights onto a volume, checked, once",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			file, err := os.Open(config) //nolint:gosec // the path is an option
			if err != nil {
				return fmt.Errorf("read the list of weights: %w", err)
			}
			defer file.Close()
			list, err := fill.Parse(file)
			if err != nil {
				return fmt.Errorf("%s: %w", config, err)
			}
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			o.Log = c.OutOrStdout()
			err = fill.Run(ctx, list, o)
			if errors.Is(err, context.Canceled) {
				return runner.ErrTerminated
			}
			return err
		},
	}
	c.Flags().StringVar(&config, "config", "", "JSON file that lists what to fetch")
	c.Flags().StringVar(&o.Target, "target", "", "folder to fill")
	for _, name := range []string{"config", "target"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // the flags are defined above
		}
	}
	return c
}
