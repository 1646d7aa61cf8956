package config

import (
	"github.com/pose-dev/pose-operator/hack/cluster/internal/layout"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/proc"
)

// ControlPlane lists the processes that run on the host, in starting order.
// All listen on the bridge's address, where no other program's ports are:
// tests beside the cluster run API servers of their own on loopback.
func ControlPlane(p layout.Paths) []proc.Spec {
	return []proc.Spec{etcd(p), apiServer(p), controllerManager(p), scheduler(p)}
}

// Runtime is the node's containerd.
func Runtime(p layout.Paths, n layout.Node) proc.Spec {
	file := p.Config("containerd-" + n.Name + ".toml")
	return nodeSpec(p, n, "containerd", []string{"/usr/bin/containerd", "--config", file}, file)
}

// Agents are the node's kubelet and kube-proxy.
func Agents(p layout.Paths, n layout.Node) []proc.Spec {
	kubeletFile := p.Config("kubelet-" + n.Name + ".json")
	proxyFile := p.Config("kube-proxy-" + n.Name + ".json")
	agent := nodeSpec(p, n, "kubelet", []string{
		p.Kube("kubelet"),
		"--config=" + kubeletFile,
		"--kubeconfig=" + p.PKI("kubelet-"+n.Name+".kubeconfig"),
		"--hostname-override=" + n.Name,
		"--node-ip=" + n.IP(),
		"--root-dir=" + p.Node(n, "kubelet"),
		"--cert-dir=" + p.Node(n, "kubelet-pki"),
		"--v=1",
	}, kubeletFile)
	agent.Urgent = true
	return []proc.Spec{
		agent,
		nodeSpec(p, n, "kube-proxy", []string{p.Kube("kube-proxy"), "--config=" + proxyFile}, proxyFile),
	}
}

// Guard is the process that keeps staged facts in place; see Cluster.Guard.
func Guard(p layout.Paths, program string) proc.Spec {
	return proc.Spec{
		Name: "guard", Log: p.Log("guard"), Inputs: []string{program},
		Argv: []string{program, "guard", "--dir", p.Dir, "--tools", p.Tools},
	}
}

func nodeSpec(p layout.Paths, n layout.Node, component string, argv []string, inputs ...string) proc.Spec {
	name := component + "-" + n.Name
	return proc.Spec{Name: name, NetNS: n.NetNS(), Argv: argv, Log: p.Log(name), Inputs: inputs}
}

func etcd(p layout.Paths) proc.Spec {
	return proc.Spec{Name: "etcd", Log: p.Log("etcd"), Urgent: true, Argv: []string{
		p.Kube("etcd"),
		"--name=pose",
		"--data-dir=" + p.Etcd(),
		"--listen-client-urls=" + layout.EtcdURL,
		"--advertise-client-urls=" + layout.EtcdURL,
		"--listen-peer-urls=" + layout.EtcdPeerURL,
		"--initial-advertise-peer-urls=" + layout.EtcdPeerURL,
		"--initial-cluster=pose=" + layout.EtcdPeerURL,
		"--client-cert-auth",
		"--trusted-ca-file=" + p.PKI("etcd-ca.crt"),
		"--cert-file=" + p.PKI("etcd.crt"),
		"--key-file=" + p.PKI("etcd.key"),
		"--peer-client-cert-auth",
		"--peer-trusted-ca-file=" + p.PKI("etcd-ca.crt"),
		"--peer-cert-file=" + p.PKI("etcd.crt"),
		"--peer-key-file=" + p.PKI("etcd.key"),
		// Data need not outlive a power cut, and a slow disk would slow every test.
		"--unsafe-no-fsync",
		"--log-level=warn",
	}}
}

func apiServer(p layout.Paths) proc.Spec {
	policy := p.Config("audit-policy.yaml")
	return proc.Spec{
		Name: "kube-apiserver", Log: p.Log("kube-apiserver"), Urgent: true, Inputs: []string{policy, p.PKI("apiserver.crt")},
		Argv: []string{
			p.Kube("kube-apiserver"),
			"--etcd-servers=" + layout.EtcdURL,
			"--etcd-cafile=" + p.PKI("etcd-ca.crt"),
			"--etcd-certfile=" + p.PKI("apiserver-etcd-client.crt"),
			"--etcd-keyfile=" + p.PKI("apiserver-etcd-client.key"),
			// The bridge's address serves host, nodes and pods alike, and is what
			// the "kubernetes" Service gets as its endpoint.
			"--bind-address=" + layout.HostIP,
			"--advertise-address=" + layout.HostIP,
			"--secure-port=6443",
			"--service-cluster-ip-range=" + layout.ServiceCIDR,
			"--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction",
			"--allow-privileged=true",
			"--client-ca-file=" + p.PKI("ca.crt"),
			"--tls-cert-file=" + p.PKI("apiserver.crt"),
			"--tls-private-key-file=" + p.PKI("apiserver.key"),
			"--kubelet-certificate-authority=" + p.PKI("ca.crt"),
			"--kubelet-client-certificate=" + p.PKI("apiserver-kubelet-client.crt"),
			"--kubelet-client-key=" + p.PKI("apiserver-kubelet-client.key"),
			"--kubelet-preferred-address-types=InternalIP",
			"--service-account-issuer=https://kubernetes.default.svc." + layout.Domain,
			"--service-account-key-file=" + p.PKI("service-account.pub"),
			"--service-account-signing-key-file=" + p.PKI("service-account.key"),
			"--requestheader-client-ca-file=" + p.PKI("front-proxy-ca.crt"),
			"--requestheader-allowed-names=front-proxy-client",
			"--requestheader-extra-headers-prefix=X-Remote-Extra-",
			"--requestheader-group-headers=X-Remote-Group",
			"--requestheader-username-headers=X-Remote-User",
			"--proxy-client-cert-file=" + p.PKI("front-proxy-client.crt"),
			"--proxy-client-key-file=" + p.PKI("front-proxy-client.key"),
			"--audit-policy-file=" + policy,
			"--audit-log-path=" + p.Log("audit"),
			"--audit-log-maxsize=50",
			"--audit-log-maxbackup=3",
			"--audit-log-maxage=7",
		},
	}
}

func controllerManager(p layout.Paths) proc.Spec {
	kubeconfig := p.PKI("kube-controller-manager.kubeconfig")
	return proc.Spec{Name: "kube-controller-manager", Log: p.Log("kube-controller-manager"), Argv: []string{
		p.Kube("kube-controller-manager"),
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=" + layout.HostIP,
		"--leader-elect=false",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + p.PKI("service-account.key"),
		"--root-ca-file=" + p.PKI("ca.crt"),
		"--cluster-signing-cert-file=" + p.PKI("ca.crt"),
		"--cluster-signing-key-file=" + p.PKI("ca.key"),
		"--cluster-cidr=" + layout.PodCIDR,
		// Pod ranges are fixed by the nodes' CNI configuration.
		"--allocate-node-cidrs=false",
	}}
}

func scheduler(p layout.Paths) proc.Spec {
	kubeconfig := p.PKI("kube-scheduler.kubeconfig")
	return proc.Spec{Name: "kube-scheduler", Log: p.Log("kube-scheduler"), Argv: []string{
		p.Kube("kube-scheduler"),
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=" + layout.HostIP,
		"--leader-elect=false",
	}}
}
