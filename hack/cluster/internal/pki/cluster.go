package pki

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pose-dev/pose-operator/hack/cluster/internal/layout"
)

// Ensure makes whatever is missing of the cluster's certificates, keys and
// kubeconfigs.
func Ensure(p layout.Paths) error {
	dir := filepath.Dir(p.PKI("x"))
	ca, err := LoadAuthority(dir, "ca", "pose-cluster")
	if err != nil {
		return err
	}
	// Requests that the API server passes on (aggregated APIs) are signed by
	// an authority of their own: a client of the one must not pass as the other.
	front, err := LoadAuthority(dir, "front-proxy-ca", "pose-cluster-front-proxy")
	if err != nil {
		return err
	}
	if err := front.Issue(Identity{File: "front-proxy-client", User: "front-proxy-client"}); err != nil {
		return err
	}
	if err := EnsureKey(dir, "service-account"); err != nil {
		return err
	}
	// Data behind the API server's back is for the API server alone. It also
	// keeps the API server from taking another program's etcd for its own.
	etcd, err := LoadAuthority(dir, "etcd-ca", "pose-cluster-etcd")
	if err != nil {
		return err
	}
	if err := etcd.Issue(Identity{File: "etcd", User: "etcd", Hosts: []string{layout.HostIP}}); err != nil {
		return err
	}
	if err := etcd.Issue(Identity{File: "apiserver-etcd-client", User: "kube-apiserver"}); err != nil {
		return err
	}
	for _, id := range identities() {
		if err := ca.Issue(id); err != nil {
			return err
		}
	}
	return writeKubeconfigs(p)
}

func identities() []Identity {
	ids := []Identity{
		{File: "apiserver", User: "kube-apiserver", Hosts: []string{
			layout.HostIP, layout.APIService, "127.0.0.1", "localhost", "kubernetes", "kubernetes.default",
			"kubernetes.default.svc", "kubernetes.default.svc." + layout.Domain,
		}},
		{File: "apiserver-kubelet-client", User: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}},
		{File: "admin", User: "pose-admin", Groups: []string{"system:masters"}},
		{File: "kube-controller-manager", User: "system:kube-controller-manager"},
		{File: "kube-scheduler", User: "system:kube-scheduler"},
		{File: "kube-proxy", User: "system:kube-proxy"},
	}
	for _, n := range layout.Nodes() {
		ids = append(ids,
			Identity{File: "kubelet-" + n.Name, User: "system:node:" + n.Name, Groups: []string{"system:nodes"}},
			Identity{File: "kubelet-server-" + n.Name, User: "system:node:" + n.Name, Groups: []string{"system:nodes"},
				Hosts: []string{n.IP(), n.Name}},
		)
	}
	return ids
}

func writeKubeconfigs(p layout.Paths) error {
	files := map[string]string{
		"admin":                   p.Kubeconfig(),
		"kube-controller-manager": p.PKI("kube-controller-manager.kubeconfig"),
		"kube-scheduler":          p.PKI("kube-scheduler.kubeconfig"),
		"kube-proxy":              p.PKI("kube-proxy.kubeconfig"),
	}
	for _, n := range layout.Nodes() {
		files["kubelet-"+n.Name] = p.PKI("kubelet-" + n.Name + ".kubeconfig")
	}
	for id, file := range files {
		data, err := kubeconfig(p, id)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// kubeconfig embeds certificate and key, so that the file works wherever it
// is copied to. JSON is YAML.
func kubeconfig(p layout.Paths, id string) ([]byte, error) {
	embed := map[string]string{}
	for _, file := range []string{"ca.crt", id + ".crt", id + ".key"} {
		data, err := os.ReadFile(p.PKI(file))
		if err != nil {
			return nil, fmt.Errorf("kubeconfig of %s: %w", id, err)
		}
		embed[file] = base64.StdEncoding.EncodeToString(data)
	}
	const name = "pose-cluster"
	return json.MarshalIndent(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": name,
		"clusters": []any{map[string]any{"name": name, "cluster": map[string]any{
			"server": layout.APIServer, "certificate-authority-data": embed["ca.crt"],
		}}},
		"users": []any{map[string]any{"name": id, "user": map[string]any{
			"client-certificate-data": embed[id+".crt"], "client-key-data": embed[id+".key"],
		}}},
		"contexts": []any{map[string]any{"name": name, "context": map[string]any{"cluster": name, "user": id}}},
	}, "", "  ")
}
