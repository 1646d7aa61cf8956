package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strings"
)

// programs maps what must be on the machine to the Debian package it is in.
var programs = map[string]string{
	"/usr/bin/containerd":              "containerd",
	"/usr/bin/containerd-shim-runc-v2": "containerd",
	"ctr":                              "containerd",
	"runc":                             "runc",
	"/usr/lib/cni/ptp":                 "containernetworking-plugins",
	"/usr/lib/cni/portmap":             "containernetworking-plugins",
	"ip":                               "iproute2",
	"nft":                              "nftables",
	"iptables":                         "iptables",
	"conntrack":                        "conntrack",
	"nsenter":                          "util-linux",
}

// prerequisites says in one line what is missing and what to do about it.
func (c *Cluster) prerequisites() error {
	if os.Getuid() != 0 {
		return errors.New("not root: namespaces, mounts and cgroups need it; run this as root")
	}
	if packages := missing(programs, found); len(packages) > 0 {
		return fmt.Errorf("missing Debian packages: run `apt-get install --no-install-recommends %s` (or `make debian-packages`)",
			strings.Join(packages, " "))
	}
	tools := map[string]string{c.Tool("coredns"): "coredns", c.Tool("pause"): "pause"}
	for _, component := range []string{
		"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl",
	} {
		tools[c.Kube(component)] = component
	}
	if names := missing(tools, found); len(names) > 0 {
		return fmt.Errorf("not built in %s: %s: run `make cluster`", c.Tools, strings.Join(names, ", "))
	}
	return nil
}

// missing returns the values whose keys are not found, each once, sorted.
func missing(want map[string]string, found func(string) bool) []string {
	set := map[string]bool{}
	for program, from := range want {
		if !found(program) {
			set[from] = true
		}
	}
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func found(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}
