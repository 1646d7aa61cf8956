// Package cluster brings the local two-node cluster up and down.
package cluster

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/pose-dev/pose-operator/hack/cluster/internal/layout"
)

// Cluster is the cluster of one clone.
type Cluster struct {
	layout.Paths
	Out   io.Writer // progress, for a person
	start time.Time
}

// New is a cluster that tells its progress to out.
func New(p layout.Paths, out io.Writer) *Cluster {
	return &Cluster{Paths: p, Out: out, start: time.Now()}
}

// say prints one line of progress with the seconds since the start.
func (c *Cluster) say(format string, args ...any) {
	fmt.Fprintf(c.Out, "%5.1fs  %s\n", time.Since(c.start).Seconds(), fmt.Sprintf(format, args...))
}

// self is the running program; the guard is started from it.
func self() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the running program: %w", err)
	}
	return exe, nil
}
