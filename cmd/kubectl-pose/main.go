// Command kubectl-pose is a kubectl plugin for people who run PoseJobs: put it
// into the PATH and say `kubectl pose`.
package main

import (
	"os"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
