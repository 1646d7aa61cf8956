// Package host makes and removes what the cluster needs of the machine
// itself: network namespaces, cables, cgroups, mounts, kernel settings.
package host

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/pose-dev/pose-operator/hack/cluster/internal/layout"
)

// Run runs a program and puts what it printed into the error.
func Run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// ip runs iproute2 with a command written as one line.
func ip(ctx context.Context, line string, args ...any) error {
	return Run(ctx, "ip", strings.Fields(fmt.Sprintf(line, args...))...)
}

// NetworkUp makes the bridge and every node's namespace, or completes them.
// A cable that somebody took down is put up again.
func NetworkUp(ctx context.Context) error {
	if !exists("/sys/class/net/" + layout.Bridge) {
		if err := ip(ctx, "link add %s type bridge", layout.Bridge); err != nil {
			return err
		}
	}
	if err := ip(ctx, "addr replace %s dev %s", layout.HostCIDR, layout.Bridge); err != nil {
		return err
	}
	if err := ip(ctx, "link set %s up", layout.Bridge); err != nil {
		return err
	}
	nodes := layout.Nodes()
	for _, n := range nodes {
		if err := nodeUp(ctx, n, nodes); err != nil {
			return fmt.Errorf("network of node %s: %w", n.Name, err)
		}
	}
	// Services answer the host too, through a node without accelerators.
	return ip(ctx, "route replace %s via %s", layout.ServiceCIDR, nodes[len(nodes)-1].IP())
}

func nodeUp(ctx context.Context, n layout.Node, all []layout.Node) error {
	if !exists(n.NetNS()) {
		if err := ip(ctx, "netns add %s", n.Name); err != nil {
			return err
		}
	}
	if !exists("/sys/class/net/" + n.Veth()) {
		if err := ip(ctx, "link add %s type veth peer name eth0 netns %s", n.Veth(), n.Name); err != nil {
			return err
		}
	}
	steps := []string{
		fmt.Sprintf("link set %s master %s up", n.Veth(), layout.Bridge),
		fmt.Sprintf("-n %s link set lo up", n.Name),
		fmt.Sprintf("-n %s addr replace %s/24 dev eth0", n.Name, n.IP()),
		fmt.Sprintf("-n %s link set eth0 up", n.Name),
		fmt.Sprintf("-n %s route replace default via %s", n.Name, layout.HostIP),
		fmt.Sprintf("route replace %s via %s", n.PodCIDR(), n.IP()),
	}
	for _, other := range all {
		if other.Name != n.Name {
			steps = append(steps, fmt.Sprintf("-n %s route replace %s via %s", n.Name, other.PodCIDR(), other.IP()))
		}
	}
	for _, step := range steps {
		if err := ip(ctx, "%s", step); err != nil {
			return err
		}
	}
	return Run(ctx, "nsenter", "--net="+n.NetNS(), "--", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
}

// NetworkDown removes what NetworkUp made. Routes go with their interfaces.
func NetworkDown(ctx context.Context) error {
	for _, n := range layout.Nodes() {
		if exists("/sys/class/net/" + n.Veth()) {
			if err := ip(ctx, "link del %s", n.Veth()); err != nil {
				return err
			}
		}
		if exists(n.NetNS()) {
			if err := ip(ctx, "netns del %s", n.Name); err != nil {
				return err
			}
		}
	}
	if exists("/sys/class/net/" + layout.Bridge) {
		return ip(ctx, "link del %s", layout.Bridge)
	}
	return nil
}

// NetworkLeft lists what is there of the cluster's network.
func NetworkLeft() []string {
	var left []string
	check := func(what, path string) {
		if exists(path) {
			left = append(left, what)
		}
	}
	check("bridge "+layout.Bridge, "/sys/class/net/"+layout.Bridge)
	for _, n := range layout.Nodes() {
		check("interface "+n.Veth(), "/sys/class/net/"+n.Veth())
		check("network namespace "+n.Name, n.NetNS())
	}
	return left
}

// NetworkComplete says whether every piece is there and switched on.
func NetworkComplete() bool {
	if len(NetworkLeft()) != 1+2*len(layout.Nodes()) {
		return false
	}
	for _, n := range layout.Nodes() {
		state, err := os.ReadFile("/sys/class/net/" + n.Veth() + "/operstate")
		if err != nil || strings.TrimSpace(string(state)) != "up" {
			return false
		}
	}
	return true
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
