package exec

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/child"
)

// tree makes files below a new folder; a value that begins with "->" is where a
// link leads to.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, content := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		err := error(nil)
		if len(content) > 2 && content[:2] == "->" {
			err = os.Symlink(filepath.Join(root, content[2:]), path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// procStat is /proc/PID/stat of a process.
func procStat(pid, parent, group int) string {
	return strconv.Itoa(pid) + " (a) b) S " + strconv.Itoa(parent) + " " + strconv.Itoa(group) + " 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 9 1000 250 18446744073709551615"
}

func TestDeviceUsed(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]string
		want  string // at the end
	}{
		"a GPU": {map[string]string{
			"proc/7/stat": procStat(7, 1, 7), "proc/7/fd/0": "->dev/null", "proc/7/fd/9": "->dev/nvidia3",
		}, report.DeviceGPU},
		"who merely asked for one": {map[string]string{
			"proc/7/stat": procStat(7, 1, 7), "proc/7/fd/8": "->dev/nvidiactl", "proc/7/fd/9": "->dev/nvidia-uvm",
		}, report.DeviceCPU},
		"a GPU of AMD's": {map[string]string{"proc/7/stat": procStat(7, 1, 7), "proc/7/fd/9": "->dev/kfd"}, report.DeviceGPU},
		"a render node":  {map[string]string{"proc/7/stat": procStat(7, 1, 7), "proc/7/fd/9": "->dev/dri/renderD128"}, report.DeviceGPU},
		"a display":      {map[string]string{"proc/7/stat": procStat(7, 1, 7), "proc/7/fd/9": "->dev/dri/card0"}, report.DeviceCPU},
		"a child of its group": {map[string]string{
			"proc/7/stat": procStat(7, 1, 7), "proc/7/fd/0": "->dev/null", "proc/9/stat": procStat(9, 7, 7), "proc/9/fd/4": "->dev/nvidia0",
		}, report.DeviceGPU},
		"a grandchild in a session of its own": {map[string]string{
			"proc/7/stat": procStat(7, 1, 7), "proc/7/fd/0": "->dev/null", "proc/8/stat": procStat(8, 7, 8),
			"proc/9/stat": procStat(9, 8, 9), "proc/9/fd/4": "->dev/nvidia0",
		}, report.DeviceGPU},
		"another process": {map[string]string{
			"proc/7/stat": procStat(7, 1, 7), "proc/7/fd/0": "->dev/null", "proc/9/stat": procStat(9, 1, 9), "proc/9/fd/4": "->dev/nvidia0",
		}, report.DeviceCPU},
		"a file of the same name elsewhere": {map[string]string{
			"proc/7/stat": procStat(7, 1, 7), "proc/7/fd/9": "->tmp/dev/nvidia0",
		}, report.DeviceCPU},
		"nothing can be read": {map[string]string{"proc/7/stat": procStat(7, 1, 7)}, ""},
		"a zombie":            {map[string]string{"proc/7/stat": procStat(7, 1, 7), "proc/7/fd": "no folder"}, ""},
		"a circle of parents": {map[string]string{"proc/8/stat": procStat(8, 9, 8), "proc/9/stat": procStat(9, 8, 9)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t, tc.files)
			o := newObserver(root, nil)
			o.watch(7)
			o.look(7, family(processes(filepath.Join(root, "proc")), 7))
			var r, end report.EngineReport
			o.fill(&r)
			o.fillEnd(&end)
			if end.DeviceUsed != tc.want || r.DeviceUsed == report.DeviceCPU {
				t.Errorf("%q, at the end %q", r.DeviceUsed, end.DeviceUsed)
			}
		})
	}
}

// TestDeviceUsedOfAProcess looks at a real process, in a group of its own, that
// holds a file of a made /dev open.
func TestDeviceUsedOfAProcess(t *testing.T) {
	root := tree(t, map[string]string{"dev/nvidia0": "", "dev/nvidiactl": ""})
	if err := os.Symlink("/proc", filepath.Join(root, "proc")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"nvidia0": report.DeviceGPU, "nvidiactl": report.DeviceCPU} {
		p, err := launch(child.Spec{Path: "/bin/sh", Args: []string{"sh", "-c", "exec 7<" + filepath.Join(root, "dev", name) + "; sleep 60 & echo ready; wait"}}, os.Environ(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if b := make([]byte, 5); func() error { _, err := p.out.Read(b); return err }() != nil {
			t.Fatal("the process says nothing")
		}
		o := newObserver(root, func() ([]gpu, error) { return nil, errNoTool })
		o.watch(p.pid)
		o.start()
		var r report.EngineReport
		for end := time.Now().Add(20 * time.Second); r.DeviceUsed == "" && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			o.fillEnd(&r)
		}
		if r.DeviceUsed != want {
			t.Errorf("%s open: %q", name, r.DeviceUsed)
		}
		o.close()
		p.signal(9)
		<-p.ended
		p.out.Close()
	}
}

func TestObserverForgetsThePreflight(t *testing.T) {
	root := tree(t, map[string]string{"proc/7/stat": procStat(7, 1, 7), "proc/7/fd/9": "->dev/nvidia0"})
	o := newObserver(root, nil)
	o.watch(7)
	o.look(7, []int{7})
	o.watch(8)
	o.look(7, []int{7}) // a look that was under way
	var r report.EngineReport
	if o.fillEnd(&r); r.DeviceUsed != "" {
		t.Errorf("%q", r.DeviceUsed)
	}
}
