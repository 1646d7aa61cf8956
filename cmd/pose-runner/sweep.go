package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/pose-dev/pose-operator/internal/runner/sweep"
)

// sweepCommand is what the chart's CronJob for uploads runs.
func sweepCommand() *cobra.Command {
	var config string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "sweep --config FILE",
		Short: "Remove uploads that became too old",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := parsed(config, sweep.Parse)
			if err != nil {
				return err
			}
			return untilTold(c.Context(), func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(ctx, timeout)
				defer cancel()
				_, err := sweep.Run(ctx, list, time.Now(), c.OutOrStdout())
				return err
			})
		},
	}
	c.Flags().StringVar(&config, "config", "", "JSON file that lists what to remove")
	c.Flags().DurationVar(&timeout, "timeout", time.Hour, "how long one run may take; the next goes on")
	if err := c.MarkFlagRequired("config"); err != nil {
		panic(err) // the flag is defined above
	}
	return c
}
