package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/pose-dev/pose-operator/hack/cluster/internal/config"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/host"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/kubeapi"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/layout"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/proc"
)

// specs lists every process of the cluster.
func (c *Cluster) specs() ([]proc.Spec, error) {
	program, err := self()
	if err != nil {
		return nil, err
	}
	specs := config.ControlPlane(c.Paths)
	for _, n := range layout.Nodes() {
		specs = append(specs, config.Runtime(c.Paths, n))
		specs = append(specs, config.Agents(c.Paths, n)...)
	}
	return append(specs, config.Guard(c.Paths, program)), nil
}

// healthy returns nil when the whole cluster works: processes, cables, nodes,
// and a name resolved through a Service.
func (c *Cluster) healthy(ctx context.Context) error {
	specs, err := c.specs()
	if err != nil {
		return err
	}
	for _, s := range specs {
		switch state, _ := proc.Check(c.Records(), s); state {
		case proc.Dead:
			return fmt.Errorf("%s does not run; see %s", s.Name, s.Log)
		case proc.Outdated:
			return fmt.Errorf("%s runs with old settings", s.Name)
		}
	}
	if !host.NetworkComplete() {
		return errors.New("a node is cut off: its cable is down or missing")
	}
	api, err := kubeapi.New(c.Paths)
	if err != nil {
		return err
	}
	for _, n := range layout.Nodes() {
		if err := nodeReady(ctx, api, n); err != nil {
			return err
		}
	}
	if err := lookup(ctx, "kubernetes.default.svc."+layout.Domain); err != nil {
		return fmt.Errorf("DNS does not answer at %s: %w", layout.DNSService, err)
	}
	return nil
}

func nodeReady(ctx context.Context, api *kubeapi.Client, n layout.Node) error {
	var o node
	if err := api.Get(ctx, "/api/v1/nodes/"+n.Name, &o); err != nil {
		return err
	}
	for _, condition := range o.Status.Conditions {
		if condition.Type == "Ready" && condition.Status != "True" {
			return fmt.Errorf("node %s is not ready: %s", n.Name, condition.Message)
		}
	}
	// The condition is a minute late; ask the kubelet itself, the way that logs
	// and exec take.
	if err := api.Get(ctx, "/api/v1/nodes/"+n.Name+"/proxy/healthz", nil); err != nil {
		return fmt.Errorf("kubelet of %s: %w", n.Name, err)
	}
	if n.GPU && !staged(o) {
		return fmt.Errorf("node %s does not offer its GPU yet", n.Name)
	}
	return nil
}

// Status prints what runs, and returns an error if the cluster does not work.
// With KUBECONFIG set to another cluster it reports on that one's nodes.
func (c *Cluster) Status(ctx context.Context) error {
	if file := os.Getenv("KUBECONFIG"); file != "" && file != c.Kubeconfig() {
		fmt.Fprintf(c.Out, "cluster of KUBECONFIG=%s\n", file)
		return c.printNodes(ctx, file)
	}
	owner, err := readOwner(layout.RunDir)
	if err != nil {
		return err
	}
	switch {
	case owner == nil:
		return errors.New("no cluster runs on this machine: bring one up with `cluster up`")
	case owner.Dir != c.Dir:
		return ErrForeign{*owner}
	}
	specs, err := c.specs()
	if err != nil {
		return err
	}
	for _, s := range specs {
		state, record := proc.Check(c.Records(), s)
		word := map[proc.State]string{proc.Dead: "dead", proc.Outdated: "outdated", proc.Running: "running"}[state]
		fmt.Fprintf(c.Out, "%-26s %-9s pid %-7d %s\n", s.Name, word, record.PID, s.Log)
	}
	if err := c.healthy(ctx); err != nil {
		return fmt.Errorf("%w (repair with `cluster up`)", err)
	}
	return c.printNodes(ctx, c.Kubeconfig())
}

func (c *Cluster) printNodes(ctx context.Context, kubeconfig string) error {
	return c.kubectl(ctx, "--kubeconfig="+kubeconfig, "get", "nodes", "--output=custom-columns="+
		`NAME:.metadata.name,READY:.status.conditions[?(@.type=="Ready")].status,`+
		`VERSION:.status.nodeInfo.kubeletVersion,RUNTIME:.status.nodeInfo.containerRuntimeVersion,`+
		`GPU:.status.allocatable.nvidia\.com/gpu,MEMORY:.status.allocatable.memory`)
}
