package layout

import (
	"strings"
	"testing"
)

func TestNamesFitTheKernelsLimits(t *testing.T) {
	for _, n := range Nodes() {
		if len(n.Veth()) > 15 {
			t.Errorf("interface %s is longer than 15 characters", n.Veth())
		}
		if len(n.Socket()) > 107 {
			t.Errorf("socket %s is longer than 107 characters", n.Socket())
		}
	}
}

func TestNewRefusesTooDeepAFolder(t *testing.T) {
	if _, err := New("/"+strings.Repeat("x", maxDir), "/t"); err == nil || !strings.Contains(err.Error(), "--dir") {
		t.Errorf("got %v", err)
	}
	p, err := New("/"+strings.Repeat("x", maxDir-1), "/t")
	if err != nil {
		t.Fatal(err)
	}
	if socket := p.Node(Nodes()[0], "kubelet", "pod-resources", "kubelet.sock"); len(socket) > 107 {
		t.Errorf("%s has %d characters", socket, len(socket))
	}
}

func TestDownKeepsLogsAndImages(t *testing.T) {
	p := Paths{Dir: "/c"}
	for _, gone := range p.Volatile() {
		for _, kept := range []string{p.Logs(), p.Images(), p.Dir} {
			if kept == gone || strings.HasPrefix(kept, gone+"/") {
				t.Errorf("down would delete %s with %s", kept, gone)
			}
		}
	}
}
