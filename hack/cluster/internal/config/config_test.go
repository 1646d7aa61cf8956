package config

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/hack/cluster/internal/layout"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/proc"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func paths() layout.Paths { return layout.Paths{Dir: "/clone/.cluster", Tools: "/clone/.tools/bin"} }

func TestFilesMatchGolden(t *testing.T) {
	files, err := Files(paths(), 24*gib)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		golden := filepath.Join("testdata", strings.ReplaceAll(strings.TrimPrefix(name, paths().Dir+"/"), "/", "_"))
		if strings.HasSuffix(name, "audit-policy.yaml") {
			continue // copied as it is
		}
		if *update {
			if err := os.WriteFile(golden, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != string(data) {
			t.Errorf("%s differs from %s (go test -update writes it):\n%s", name, golden, data)
		}
	}
}

func TestReserved(t *testing.T) {
	for name, c := range map[string]struct{ machine, offer int64 }{
		"a machine with enough memory offers the usual": {24 * gib, nodeMemory},
		"a large one too":                        {256 * gib, nodeMemory},
		"a small one shares what it has":         {8 * gib, 4 * gib},
		"a tiny one does not reserve below 0":    {64 << 20, 64 << 20},
		"the border of the usual is no surprise": {20 * gib, nodeMemory},
	} {
		offered := c.machine - reserved(c.machine) - 100<<20
		if offered > c.offer || offered < c.offer-100<<20 {
			t.Errorf("%s: offers %d of %d, want about %d", name, offered, c.machine, c.offer)
		}
	}
}

func TestOnlyTheGPUNodeIsTainted(t *testing.T) {
	for _, n := range layout.Nodes() {
		data, err := json.Marshal(kubelet(paths(), n, 24*gib))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(data), "registerWithTaints"); got != n.GPU {
			t.Errorf("node %s: tainted %t, want %t", n.Name, got, n.GPU)
		}
	}
}

func TestSpecsAreDistinctAndBelowTheFolder(t *testing.T) {
	specs := append(ControlPlane(paths()), Guard(paths(), "/clone/.tools/bin/cluster"))
	for _, n := range layout.Nodes() {
		specs = append(specs, Runtime(paths(), n))
		specs = append(specs, Agents(paths(), n)...)
	}
	seen := map[string]bool{}
	for _, s := range specs {
		if seen[s.Name] {
			t.Errorf("two processes are named %s", s.Name)
		}
		seen[s.Name] = true
		if !strings.HasPrefix(s.Log, paths().Logs()) {
			t.Errorf("%s logs to %s", s.Name, s.Log)
		}
		// What finds a process without its record is its command line.
		if !proc.Belongs(s.Argv, []string{paths().Dir}) {
			t.Errorf("%s would not be found by `down` without its record: %v", s.Name, s.Argv)
		}
	}
}
