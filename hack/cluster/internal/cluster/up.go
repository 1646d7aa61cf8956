package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pose-dev/pose-operator/hack/cluster/internal/archive"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/config"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/host"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/kubeapi"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/layout"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/pki"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/proc"
)

// Up brings the cluster up, or repairs it, or finds that all is well. With
// replace it ends another clone's cluster first.
func (c *Cluster) Up(ctx context.Context, replace bool) error {
	if err := c.prerequisites(); err != nil {
		return err
	}
	release, err := lock()
	if err != nil {
		return err
	}
	defer release()
	if err := c.claim(ctx, replace); err != nil {
		return err
	}
	if err := c.writeFiles(); err != nil {
		return err
	}
	switch problem, begun := c.healthy(ctx), len(proc.Records(c.Records())) > 0; {
	case problem == nil:
		c.say("cluster is up: export KUBECONFIG=%s", c.Kubeconfig())
		return nil
	case begun:
		c.say("repairing: %v", problem)
	}
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"network: " + layout.Bridge + ", two nodes", host.NetworkUp},
		{"cgroups", func(context.Context) error { return host.CgroupsUp() }},
		{"control plane and container runtimes", c.startBase},
		{"images that nodes need", c.loadBase},
		{"nodes", c.startNodes},
		{"DNS and volumes", c.applyAddons},
		{"everything ready", c.waitHealthy},
	}
	for _, s := range steps {
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w (logs: %s)", s.what, err, c.Logs())
		}
		c.say("%s", s.what)
	}
	c.say("cluster is up: export KUBECONFIG=%s", c.Kubeconfig())
	return nil
}

// claim notes this clone as the machine's owner.
func (c *Cluster) claim(ctx context.Context, replace bool) error {
	err := checkOwner(layout.RunDir, c.Dir)
	if foreign := (ErrForeign{}); replace && errors.As(err, &foreign) {
		c.say("ending the cluster of %s", foreign.Owner.Dir)
		other := &Cluster{Paths: layout.Paths{Dir: foreign.Owner.Dir, Tools: c.Tools}, Out: c.Out, start: c.start}
		err = other.down(ctx)
		if err == nil {
			err = os.MkdirAll(layout.RunDir, 0o755)
		}
	}
	if err != nil {
		return err
	}
	if o, err := readOwner(layout.RunDir); err != nil || o != nil {
		return err
	}
	program, err := self()
	if err != nil {
		return err
	}
	return writeOwner(layout.RunDir, Owner{Dir: c.Dir, Program: program, Since: time.Now()})
}

// writeFiles makes folders, certificates and configuration. Files that stay
// as they are are not touched.
func (c *Cluster) writeFiles() error {
	for _, dir := range []string{c.Logs(), c.Images(), c.Records()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, dir := range config.Volumes(c.Paths) {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return err
		}
		// fsGroup does not reach hostPath volumes, and pods run as any user.
		if err := os.Chmod(dir, 0o777); err != nil {
			return err
		}
	}
	for _, n := range layout.Nodes() {
		for _, dir := range []string{n.RunDir(), c.Node(n, "cni"), c.Node(n, "containerd"), c.Node(n, "kubelet"),
			c.Node(n, "pod-logs"), c.Node(n, "volume-plugins")} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
	}
	if err := pki.Ensure(c.Paths); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	if err := host.SaveSysctls(c.Sysctls()); err != nil {
		return err
	}
	memory, err := host.Memory()
	if err != nil {
		return err
	}
	files, err := config.Files(c.Paths, memory)
	if err != nil {
		return err
	}
	for file, data := range files {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		// kube-proxy ends itself when its configuration is so much as touched.
		if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, data) {
			continue
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// startBase starts etcd, the control plane and both containerds. Only the
// API server must wait for another; the rest retry by themselves.
func (c *Cluster) startBase(ctx context.Context) error {
	for _, n := range layout.Nodes() {
		if err := c.ensure(config.Runtime(c.Paths, n)); err != nil {
			return err
		}
	}
	control := config.ControlPlane(c.Paths)
	for i, s := range control {
		if err := c.ensure(s); err != nil {
			return err
		}
		if s.Name != "kube-apiserver" {
			continue
		}
		api, err := kubeapi.New(c.Paths)
		if err != nil {
			return err
		}
		if err := c.wait(ctx, time.Minute, "the API server", control[:i+1], api.Ready); err != nil {
			return err
		}
	}
	for _, n := range layout.Nodes() {
		err := c.wait(ctx, 30*time.Second, "containerd of "+n.Name, []proc.Spec{config.Runtime(c.Paths, n)},
			func(ctx context.Context) error { return ctr(ctx, n, "version") })
		if err != nil {
			return err
		}
	}
	return nil
}

// loadBase makes the images of pause and CoreDNS and loads them.
func (c *Cluster) loadBase(ctx context.Context) error {
	var files []string
	for tag, program := range map[string]string{layout.PauseImage: "pause", layout.DNSImage: "coredns"} {
		file := filepath.Join(c.Dir, "config", program+".tar")
		if err := archive.WriteStatic(file, tag, c.Tool(program)); err != nil {
			return fmt.Errorf("image %s: %w", tag, err)
		}
		files = append(files, file)
	}
	return c.load(ctx, files)
}

func (c *Cluster) startNodes(ctx context.Context) error {
	var specs []proc.Spec
	for _, n := range layout.Nodes() {
		specs = append(specs, config.Agents(c.Paths, n)...)
	}
	program, err := self()
	if err != nil {
		return err
	}
	for _, s := range append(specs, config.Guard(c.Paths, program)) {
		if err := c.ensure(s); err != nil {
			return err
		}
	}
	api, err := kubeapi.New(c.Paths)
	if err != nil {
		return err
	}
	return c.wait(ctx, time.Minute, "nodes to register", specs, func(ctx context.Context) error {
		for _, n := range layout.Nodes() {
			if err := api.Get(ctx, "/api/v1/nodes/"+n.Name, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// applyAddons tries for a while: a new API server is ready a moment before
// its Service ranges and system namespaces are.
func (c *Cluster) applyAddons(ctx context.Context) error {
	return c.wait(ctx, time.Minute, "the API server to take the add-ons", nil, func(ctx context.Context) error {
		return host.Run(ctx, c.Kube("kubectl"), "--kubeconfig="+c.Kubeconfig(), "apply", "--server-side",
			"--force-conflicts", "--field-manager=pose-cluster", "--filename="+c.Config("addons.yaml"))
	})
}

func (c *Cluster) waitHealthy(ctx context.Context) error {
	return c.wait(ctx, 3*time.Minute, "the cluster", nil, c.healthy)
}

// ensure starts a process, or restarts one that runs with other settings.
func (c *Cluster) ensure(s proc.Spec) error {
	state, record := proc.Check(c.Records(), s)
	switch state {
	case proc.Running:
		return nil
	case proc.Outdated:
		c.say("restarting %s: its settings have changed", s.Name)
		if err := proc.Stop(c.Records(), record, 10*time.Second); err != nil {
			return err
		}
	}
	return proc.Start(c.Records(), s)
}

// wait polls until check passes. It gives up early when one of the processes
// that it waits for has ended.
func (c *Cluster) wait(ctx context.Context, limit time.Duration, what string, on []proc.Spec,
	check func(context.Context) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		for _, s := range on {
			if state, _ := proc.Check(c.Records(), s); state != proc.Running {
				return fmt.Errorf("%s has ended; see the end of %s", s.Name, s.Log)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s: %w", limit, what, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// lookup asks the cluster's DNS, through its Service, for a name.
func lookup(ctx context.Context, name string) error {
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", net.JoinHostPort(layout.DNSService, "53"))
	}}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	addresses, err := resolver.LookupHost(ctx, name)
	if err == nil && len(addresses) == 0 {
		err = errors.New("no address")
	}
	return err
}

// parallel runs f for every node at the same time and joins the errors.
func parallel(f func(layout.Node) error) error {
	nodes := layout.Nodes()
	errs := make([]error, len(nodes))
	var group sync.WaitGroup
	for i, n := range nodes {
		group.Go(func() {
			if err := f(n); err != nil {
				errs[i] = fmt.Errorf("node %s: %w", n.Name, err)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}
