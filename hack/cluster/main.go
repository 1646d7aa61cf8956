// Command cluster runs a real Kubernetes cluster of two nodes on this
// machine, without Docker: see README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/pose-dev/pose-operator/hack/cluster/internal/cluster"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/layout"
)

const usage = `usage: cluster COMMAND [--dir DIR] [--tools DIR]

  up [--replace]     bring the cluster up, or repair it; --replace ends another clone's first
  down               end it and leave nothing behind (logs and image archives stay)
  status             say what runs; fails if the cluster does not work
  load IMAGE|TAR...  bring images into both nodes: files, or names in <dir>/images
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// shorten gives a path for the state that sockets can live below.
func shorten(dir string) (string, error) {
	elsewhere := layout.Elsewhere(dir)
	if elsewhere == "" {
		return dir, nil
	}
	if err := os.MkdirAll(elsewhere, 0o755); err != nil {
		return "", fmt.Errorf("make the cluster's folder: %w", err)
	}
	if err := os.Symlink(elsewhere, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("link %s to %s, because the clone's path is too long for sockets: %w", dir, elsewhere, err)
	}
	if target, err := os.Readlink(dir); err != nil || target != elsewhere {
		return "", fmt.Errorf("%s is too long a path for sockets and is no link to %s: move it away, or use --dir", dir, elsewhere)
	}
	return elsewhere, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(out, usage)
		return errors.New("no command given")
	}
	command, args := args[0], args[1:]
	if command == "help" || command == "-h" || command == "--help" {
		fmt.Fprint(out, usage)
		return nil
	}
	dir, tools := layout.Defaults()
	dir, err := shorten(dir)
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet("cluster "+command, flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage) }
	flags.StringVar(&dir, "dir", dir, "state of the cluster")
	flags.StringVar(&tools, "tools", tools, "built programs")
	replace := flags.Bool("replace", false, "up: end another clone's cluster first")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	paths, err := layout.New(dir, tools)
	if err != nil {
		return err
	}
	c := cluster.New(paths, out)
	if command != "load" && flags.NArg() > 0 {
		return fmt.Errorf("%s takes no argument %q; see `cluster --help`", command, flags.Arg(0))
	}
	switch command {
	case "up":
		return c.Up(ctx, *replace)
	case "down":
		return c.Down(ctx)
	case "status":
		return c.Status(ctx)
	case "load":
		if flags.NArg() == 0 {
			return errors.New("load: name at least one image or archive")
		}
		return c.Load(ctx, flags.Args())
	case "guard": // started by up; see Cluster.Guard
		return c.Guard(ctx)
	default:
		return fmt.Errorf("unknown command %q; see `cluster --help`", command)
	}
}
