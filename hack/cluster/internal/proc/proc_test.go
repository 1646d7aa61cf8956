package proc

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const tail = " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	for name, c := range map[string]struct {
		stat   string
		start  uint64
		zombie bool
		fails  bool
	}{
		"plain":                        {"12 (sleep) S" + tail, 4711, false, false},
		"a command with brackets":      {"12 (a) b) S (x) S" + tail, 4711, false, false},
		"ended but not yet collected":  {"12 (sleep) Z" + tail, 4711, true, false},
		"cut short":                    {"12 (sleep) S 1 2", 0, false, true},
		"empty":                        {"", 0, false, true},
		"start time that is no number": {"12 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x", 0, false, true},
	} {
		start, zombie, err := parseStat([]byte(c.stat))
		if (err != nil) != c.fails || start != c.start && !c.fails || zombie != c.zombie {
			t.Errorf("%s: got %d, %t, %v", name, start, zombie, err)
		}
	}
}

func TestBelongs(t *testing.T) {
	folders := []string{"/run/pose-cluster", "/clone/.cluster"}
	for name, c := range map[string]struct {
		argv []string
		want bool
	}{
		"kubelet of this clone":      {[]string{"/x/kubelet", "--root-dir=/clone/.cluster/nodes/gpu-0"}, true},
		"kubelet of another":         {[]string{"/x/kubelet", "--root-dir=/other/.cluster/nodes/gpu-0"}, false},
		"a folder that begins alike": {[]string{"/x/etcd", "--data-dir=/clone/.cluster2/etcd"}, false},
		"the folder itself":          {[]string{"/x/cluster", "guard", "--dir", "/clone/.cluster"}, true},
		"shim":                       {[]string{"/usr/bin/containerd-shim-runc-v2", "-address", "/run/pose-cluster/gpu-0/containerd.sock"}, true},
		"somebody reading a log":     {[]string{"tail", "-f", "/clone/.cluster/logs/etcd.log"}, false},
		"a run of down":              {[]string{"/x/cluster", "down", "--dir", "/clone/.cluster"}, false},
		"kernel thread":              {nil, false},
	} {
		if got := Belongs(c.argv, folders); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestLifeOfAProcess(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("no sleep program")
	}
	dir := t.TempDir()
	input := filepath.Join(dir, "input")
	spec := Spec{Name: "s", Urgent: os.Getuid() == 0, Argv: []string{sleep, "60"}, Log: filepath.Join(dir, "log"), Inputs: []string{input}}

	expect := func(when string, want State, s Spec) Record {
		t.Helper()
		state, r := Check(dir, s)
		if state != want {
			t.Fatalf("%s: state %d, want %d", when, state, want)
		}
		return r
	}
	expect("before the start", Dead, spec)
	if err := Start(dir, spec); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if state, _ := Check(dir, spec); state == Running {
			break
		}
	}
	record := expect("after the start", Running, spec)

	other := spec
	other.Argv = []string{sleep, "61"}
	expect("with another command line", Outdated, other)
	if err := os.WriteFile(input, []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	expect("with a changed input", Outdated, spec)

	reused := record
	reused.Start++
	if reused.Alive() {
		t.Error("a process with our pid but another start time is taken for ours")
	}
	if err := Stop(dir, record, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	expect("after the end", Dead, spec)
	if len(Records(dir)) != 0 {
		t.Error("the record is still there")
	}
}
