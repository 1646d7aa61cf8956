// Package layout names everything that the cluster makes on a machine: nodes,
// addresses, files and folders. It touches nothing.
package layout

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// Addresses. The Service range is a /16 because the customary 10.96.0.0/12
// would take in the nodes' own network.
const (
	HostIP      = "10.99.0.1"
	HostCIDR    = "10.99.0.1/24"
	PodCIDR     = "10.244.0.0/16"
	ServiceCIDR = "10.96.0.0/16"
	APIService  = "10.96.0.1"
	DNSService  = "10.96.0.10"
	APIPort     = 6443
	APIServer   = "https://10.99.0.1:6443"
	EtcdURL     = "https://10.99.0.1:2379"
	EtcdPeerURL = "https://10.99.0.1:2380"
	Domain      = "cluster.local"
)

// Names that are one for the whole machine, so that a second cluster on it is
// noticed and a cut-off one can be found again.
const (
	Bridge     = "pose0"
	RunDir     = "/run/pose-cluster"
	CgroupRoot = "pose-cluster"
	// ContainerLinks is where every kubelet leaves its log links; the place
	// cannot be configured.
	ContainerLinks = "/var/log/containers"
	// CNICache is where the CNI library notes what it gave to each pod.
	CNICache = "/var/lib/cni/results"
)

// Images that every node needs. Tags, not "latest": the kubelet would try to
// pull "latest" from a registry.
const (
	PauseImage = "localhost/pose-pause:dev"
	DNSImage   = "localhost/pose-coredns:dev"
)

// Node is one of the cluster's nodes.
type Node struct {
	Name  string
	Index int
	GPU   bool
}

// Nodes returns the cluster's nodes in the order of their addresses.
func Nodes() []Node {
	return []Node{
		{Name: "gpu-0", Index: 1, GPU: true},
		{Name: "cpu-0", Index: 2},
	}
}

// IP is the node's address on the bridge.
func (n Node) IP() string { return fmt.Sprintf("10.99.0.%d", 10+n.Index) }

// PodCIDR is the range that the node gives its pods' addresses from.
func (n Node) PodCIDR() string { return fmt.Sprintf("10.244.%d.0/24", n.Index) }

// Veth is the host's end of the node's cable; taking it down cuts the node
// off. An interface's name has at most 15 characters.
func (n Node) Veth() string { return "pose-" + n.Name }

// NetNS is the path of the node's network namespace.
func (n Node) NetNS() string { return "/run/netns/" + n.Name }

// CNINetwork is the name of the node's CNI network.
func (n Node) CNINetwork() string { return "pose-" + n.Name }

// Cgroup is the node's cgroup in every hierarchy.
func (n Node) Cgroup() string { return "/" + CgroupRoot + "/" + n.Name }

// RunDir holds the node's sockets and runtime state. It is short on purpose:
// a socket's path has at most 107 characters, and a clone may lie deep.
func (n Node) RunDir() string { return RunDir + "/" + n.Name }

// Socket is the node's containerd.
func (n Node) Socket() string { return n.RunDir() + "/containerd.sock" }

// Paths are the files of one cluster. Dir is its state, Tools the folder of
// built programs.
type Paths struct{ Dir, Tools string }

// maxDir keeps <Dir>/nodes/<node>/kubelet/pod-resources/kubelet.sock, the
// longest socket path that cannot be moved to RunDir, within 107 characters.
const maxDir = 107 - len("/nodes/gpu-0/kubelet/pod-resources/kubelet.sock.tmp")

// New checks and completes the paths.
func New(dir, tools string) (Paths, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Paths{}, err
	}
	tools, err = filepath.Abs(tools)
	if err != nil {
		return Paths{}, err
	}
	if len(dir) > maxDir {
		return Paths{}, fmt.Errorf("%s is too long a path for the kubelet's sockets (%d characters, at most %d): "+
			"choose a shorter one with --dir", dir, len(dir), maxDir)
	}
	return Paths{Dir: dir, Tools: tools}, nil
}

// Defaults finds the clone that the running program was built in:
// <root>/.tools/bin/cluster. Elsewhere the working folder is taken for it.
func Defaults() (dir, tools string) {
	root := "."
	if exe, err := os.Executable(); err == nil {
		bin := filepath.Dir(exe)
		if filepath.Base(bin) == "bin" && filepath.Base(filepath.Dir(bin)) == ".tools" {
			root = filepath.Dir(filepath.Dir(bin))
		}
	}
	return filepath.Join(root, ".cluster"), filepath.Join(root, ".tools", "bin")
}

// Elsewhere is where the state of a clone lies whose own path is too long for
// sockets; the clone's .cluster is then a link to it. It is empty when the
// clone's path will do.
func Elsewhere(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil || len(dir) <= maxDir {
		return ""
	}
	sum := sha256.Sum256([]byte(dir))
	return "/var/lib/pose-cluster/" + hex.EncodeToString(sum[:4])
}

func (p Paths) join(parts ...string) string {
	return filepath.Join(append([]string{p.Dir}, parts...)...)
}

// Kubeconfig is the administrator's.
func (p Paths) Kubeconfig() string { return p.join("kubeconfig") }

// PKI is a file of the cluster's certificates and keys.
func (p Paths) PKI(name string) string { return p.join("pki", name) }

// Config is a rendered configuration file.
func (p Paths) Config(name string) string { return p.join("config", name) }

// Logs is the folder of all processes' logs.
func (p Paths) Logs() string { return p.join("logs") }

// Log is one process's log.
func (p Paths) Log(name string) string { return p.join("logs", name+".log") }

// Records is the folder that notes which processes were started.
func (p Paths) Records() string { return p.join("processes") }

// Etcd is etcd's data.
func (p Paths) Etcd() string { return p.join("etcd") }

// Volumes holds the persistent volumes' contents.
func (p Paths) Volumes() string { return p.join("volumes") }

// Images holds archives that `load` finds by name.
func (p Paths) Images() string { return p.join("images") }

// Sysctls notes kernel settings as they were before the cluster came up.
func (p Paths) Sysctls() string { return p.join("sysctls.json") }

// NodesDir holds all that the nodes write.
func (p Paths) NodesDir() string { return p.join("nodes") }

// Node is a path of one node.
func (p Paths) Node(n Node, parts ...string) string {
	return filepath.Join(append([]string{p.NodesDir(), n.Name}, parts...)...)
}

// Tool is a built program.
func (p Paths) Tool(name string) string { return filepath.Join(p.Tools, name) }

// Kube is a component of the multi-call Kubernetes binary.
func (p Paths) Kube(component string) string {
	return filepath.Join(p.Tools, "kube-assets", component)
}

// Volatile lists what `down` deletes: everything but logs and images.
func (p Paths) Volatile() []string {
	return []string{
		p.NodesDir(), p.Etcd(), p.Volumes(), p.Records(), p.join("pki"), p.join("config"),
		p.Kubeconfig(), p.Sysctls(),
	}
}
