// Package config renders the configuration of every component. It is pure:
// paths and the machine's memory in, file contents out.
package config

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"path/filepath"
	"text/template"

	"github.com/pose-dev/pose-operator/hack/cluster/internal/layout"
)

//go:embed files
var files embed.FS

const (
	gib = int64(1) << 30
	// nodeMemory is what a node offers to pods where the machine has it.
	nodeMemory = 10 * gib
	volumes    = 5
)

// Files renders all configuration files by their paths.
func Files(p layout.Paths, machineMemory int64) (map[string][]byte, error) {
	out := map[string][]byte{}
	audit, err := files.ReadFile("files/audit-policy.yaml")
	if err != nil {
		return nil, err
	}
	out[p.Config("audit-policy.yaml")] = audit
	if out[p.Config("addons.yaml")], err = addons(p); err != nil {
		return nil, err
	}
	for _, n := range layout.Nodes() {
		// The kubelet copies its own resolv.conf to pods with dnsPolicy Default.
		out[p.Config("resolv-"+n.Name+".conf")] = []byte("nameserver " + layout.DNSService + "\n")
		if out[p.Config("containerd-"+n.Name+".toml")], err = containerd(p, n); err != nil {
			return nil, err
		}
		objects := map[string]any{
			p.Config("kubelet-" + n.Name + ".json"):    kubelet(p, n, machineMemory),
			p.Config("kube-proxy-" + n.Name + ".json"): kubeProxy(p, n),
			p.Node(n, "cni", "10-pose.conflist"):       cni(p, n),
		}
		for file, object := range objects {
			if out[file], err = json.MarshalIndent(object, "", "  "); err != nil {
				return nil, fmt.Errorf("render %s: %w", file, err)
			}
		}
	}
	return out, nil
}

// Volumes are the folders of the persistent volumes.
func Volumes(p layout.Paths) []string {
	var dirs []string
	for i := range volumes {
		dirs = append(dirs, filepath.Join(p.Volumes(), fmt.Sprintf("pose-pv-%d", i)))
	}
	return dirs
}

func render(file string, data any) ([]byte, error) {
	t, err := template.New(file).Option("missingkey=error").ParseFS(files, "files/"+file)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.ExecuteTemplate(&out, file, data)
	return out.Bytes(), err
}

func addons(p layout.Paths) ([]byte, error) {
	type volume struct{ Name, Path string }
	data := map[string]any{
		"Domain": layout.Domain, "HostIP": layout.HostIP, "DNSImage": layout.DNSImage, "DNSService": layout.DNSService,
	}
	for _, n := range layout.Nodes() {
		if !n.GPU {
			data["DNSNode"] = n.Name
		}
	}
	var pvs []volume
	for _, dir := range Volumes(p) {
		pvs = append(pvs, volume{filepath.Base(dir), dir})
	}
	data["Volumes"] = pvs
	return render("addons.yaml", data)
}

func containerd(p layout.Paths, n layout.Node) ([]byte, error) {
	return render("containerd.toml", map[string]string{
		"Root": p.Node(n, "containerd"), "State": n.RunDir() + "/state", "Socket": n.Socket(),
		"Runc": n.RunDir() + "/runc", "CNI": p.Node(n, "cni"), "Pause": layout.PauseImage,
	})
}

// cni uses ptp, not bridge: packets between pods of one node are then routed,
// so Services work without the kernel's br_netfilter.
func cni(p layout.Paths, n layout.Node) any {
	return map[string]any{
		"cniVersion": "0.4.0", "name": n.CNINetwork(),
		"plugins": []any{
			map[string]any{
				"type": "ptp", "ipMasq": false,
				"ipam": map[string]any{
					"type": "host-local", "dataDir": p.Node(n, "ipam"),
					"ranges": []any{[]any{map[string]any{"subnet": n.PodCIDR()}}},
					"routes": []any{map[string]any{"dst": "0.0.0.0/0"}},
				},
			},
			map[string]any{"type": "portmap", "capabilities": map[string]any{"portMappings": true}},
		},
	}
}

func kubelet(p layout.Paths, n layout.Node, machineMemory int64) any {
	c := map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address": n.IP(), "healthzBindAddress": "127.0.0.1",
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": p.PKI("ca.crt")},
		},
		"authorization":            map[string]any{"mode": "Webhook"},
		"tlsCertFile":              p.PKI("kubelet-server-" + n.Name + ".crt"),
		"tlsPrivateKeyFile":        p.PKI("kubelet-server-" + n.Name + ".key"),
		"clusterDNS":               []string{layout.DNSService},
		"clusterDomain":            layout.Domain,
		"resolvConf":               p.Config("resolv-" + n.Name + ".conf"),
		"containerRuntimeEndpoint": "unix://" + n.Socket(),
		"podLogsDir":               p.Node(n, "pod-logs"),
		"volumePluginDir":          p.Node(n, "volume-plugins"),
		"cgroupDriver":             "cgroupfs", "cgroupRoot": n.Cgroup(),
		"failCgroupV1": false, "failSwapOn": false, "enforceNodeAllocatable": []string{},
		"maxPods": 60, "serializeImagePulls": false, "containerLogMaxSize": "20Mi",
		// Absolute and small: a disk that is 90% full is normal on a developer's
		// machine. Images come from files, so collecting them would break pods.
		"evictionHard": map[string]string{
			"memory.available": "100Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi",
			"nodefs.inodesFree": "1%", "imagefs.inodesFree": "1%",
		},
		"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
		"systemReserved": map[string]string{"memory": fmt.Sprintf("%dMi", reserved(machineMemory)>>20)},
	}
	if n.GPU {
		c["registerWithTaints"] = []any{
			map[string]any{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},
		}
	}
	return c
}

// reserved is what a node keeps back, so that the nodes together do not offer
// more memory than the machine has.
func reserved(machineMemory int64) int64 {
	const eviction = 100 << 20
	offer := min(nodeMemory, machineMemory/int64(len(layout.Nodes())))
	return max(machineMemory-offer-eviction, 0)
}

func kubeProxy(p layout.Paths, n layout.Node) any {
	return map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"clientConnection": map[string]any{"kubeconfig": p.PKI("kube-proxy.kubeconfig")},
		"mode":             "nftables", "clusterCIDR": layout.PodCIDR, "hostnameOverride": n.Name,
		// The kernel's table belongs to the whole machine; leave its size alone.
		"conntrack": map[string]any{"maxPerCore": 0, "min": 0},
	}
}
