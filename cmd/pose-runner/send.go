package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/send"
)

// sendCommand is what kubectl pose runs in the pod by which it reads a claim.
func sendCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "send FILE",
		Short: "Write one file of the result on a claim to the standard output",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := report.ParseConfig(os.Getenv(report.ConfigEnv))
			if err != nil {
				return err
			}
			if cfg.Send == nil {
				return errors.New("this pod is not one that sends files: kubectl pose makes one for `results` and `export`")
			}
			return untilTold(c.Context(), func(ctx context.Context) error { return send.File(ctx, *cfg.Send, args[0], c.OutOrStdout()) })
		},
	}
}
