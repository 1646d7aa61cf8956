package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/hack/cluster/internal/host"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/layout"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/proc"
)

// Down ends the cluster and removes all that it made on the machine but its
// logs and image archives.
func (c *Cluster) Down(ctx context.Context) error {
	if os.Getuid() != 0 {
		return errors.New("not root: run this as root")
	}
	release, err := lock()
	if err != nil {
		return err
	}
	defer release()
	if err := checkOwner(layout.RunDir, c.Dir); err != nil {
		return err
	}
	return c.down(ctx)
}

func (c *Cluster) down(ctx context.Context) error {
	steps := []struct {
		what string
		do   func() error
	}{
		{"kubelets and controllers", func() error { return c.stopRecorded(isAgent) }},
		{"containers", host.KillCgroups},
		{"containers' shims", c.stopShims},
		{"container runtimes and control plane", func() error { return c.stopRecorded(isAny) }},
		{"processes without a record", func() error { return stopAll("", proc.Scan(layout.RunDir, c.Dir)) }},
		{"mounts", func() error { return host.Unmount(layout.RunDir, c.NodesDir()) }},
		{"network", func() error { return host.NetworkDown(ctx) }},
		{"cgroups", host.CgroupsDown},
		{"files", c.removeFiles},
	}
	var failed []error
	for _, s := range steps {
		// Go on after a failure: the less is left, the better.
		if err := s.do(); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.what, err))
			continue
		}
		c.say("ended: %s", s.what)
	}
	if left := c.leftovers(); len(left) > 0 {
		failed = append(failed, fmt.Errorf("left behind:\n  %s", strings.Join(left, "\n  ")))
	}
	return errors.Join(failed...)
}

// isAgent picks what would start containers again while they are ended.
func isAgent(name string) bool {
	for _, prefix := range []string{"guard", "kubelet", "kube-proxy", "kube-scheduler", "kube-controller-manager"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func isAny(string) bool { return true }

func (c *Cluster) stopRecorded(pick func(name string) bool) error {
	var picked []proc.Record
	for _, r := range proc.Records(c.Records()) {
		if pick(r.Name) {
			picked = append(picked, r)
		}
	}
	return stopAll(c.Records(), picked)
}

// stopShims ends containerd's shims: they outlive it by design.
func (c *Cluster) stopShims() error {
	var shims []proc.Record
	for _, r := range proc.Scan(layout.RunDir) {
		if r.Name == "containerd-shim-runc-v2" {
			shims = append(shims, r)
		}
	}
	return stopAll("", shims)
}

// grace is short: what the processes would save is deleted anyway.
const grace = 2 * time.Second

// stopAll ends processes at the same time: each may take its grace.
func stopAll(records string, all []proc.Record) error {
	errs := make(chan error, len(all))
	for _, r := range all {
		go func() { errs <- proc.Stop(records, r, grace) }()
	}
	var failed []error
	for range all {
		failed = append(failed, <-errs)
	}
	return errors.Join(failed...)
}

func (c *Cluster) removeFiles() error {
	failed := []error{host.RestoreSysctls(c.Sysctls())}
	for _, link := range host.LinksInto(layout.ContainerLinks, c.Dir) {
		failed = append(failed, os.Remove(link))
	}
	for _, file := range cniCache() {
		failed = append(failed, os.Remove(file))
	}
	failed = append(failed, host.RemoveAll(append(c.Volatile(), layout.RunDir)...))
	return errors.Join(failed...)
}

// cniCache finds what the CNI library noted of the cluster's pods. Loopback
// networks all have the same name; only the path of the pod's namespace, in
// the file, tells whose they were.
func cniCache() []string {
	files, _ := filepath.Glob(filepath.Join(layout.CNICache, "*"))
	var ours []string
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil && bytes.Contains(data, []byte(layout.RunDir+"/")) {
			ours = append(ours, file)
		}
	}
	return ours
}

// leftovers lists everything of the cluster that is still on the machine.
func (c *Cluster) leftovers() []string {
	var left []string
	for _, r := range proc.Scan(layout.RunDir, c.Dir) {
		left = append(left, fmt.Sprintf("process %d: %s", r.PID, strings.Join(r.Argv, " ")))
	}
	mounts, err := host.MountsBelow(layout.RunDir, c.NodesDir())
	if err != nil {
		left = append(left, "mounts unknown: "+err.Error())
	}
	for _, m := range mounts {
		left = append(left, "mount "+m)
	}
	left = append(left, host.NetworkLeft()...)
	left = append(left, host.CgroupsLeft()...)
	for _, f := range append(c.Volatile(), layout.RunDir) {
		if isThere(f) {
			left = append(left, f)
		}
	}
	left = append(left, host.LinksInto(layout.ContainerLinks, c.Dir)...)
	return append(left, cniCache()...)
}
