package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/pose-dev/pose-operator/internal/report"
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
			list, err := parsed(config, fill.Parse)
			if err != nil {
				return err
			}
			o.Log = c.OutOrStdout()
			return untilTold(c.Context(), func(ctx context.Context) error { return fill.Run(ctx, list, o) })
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
