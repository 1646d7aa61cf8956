package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/pose-dev/pose-operator/internal/runner"
)

// parsed reads the configuration that an option names.
func parsed[T any](path string, parse func(io.Reader) (T, error)) (T, error) {
	var none T
	file, err := os.Open(path) //nolint:gosec // the path is an option
	if err != nil {
		return none, fmt.Errorf("read the configuration: %w", err)
	}
	defer file.Close()
	c, err := parse(file)
	if err != nil {
		return none, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// untilTold runs f until it ends or the pod is told to.
func untilTold(ctx context.Context, f func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := f(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return runner.ErrTerminated
}
