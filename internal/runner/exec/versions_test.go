package exec

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/internal/report"
)

const maps = `55d0c0a00000-55d0c0a01000 r--p 00000000 08:01 123  /opt/conda/bin/python3.10
7f0000000000-7f0000001000 r-xp 00000000 08:01 124  /opt/conda/lib/libpython3.10.so.1.0
7f0000001000-7f0000002000 r-xp 00000000 08:01 124  /opt/conda/lib/libpython3.10.so.1.0
7f0000002000-7f0000003000 rw-p 00000000 00:00 0
7f0000003000-7f0000004000 r-xp 00000000 08:01 125  /opt/conda/lib/python3.10/site-packages/torch/lib/libtorch_cpu.so
7f0000004000-7f0000005000 r-xp 00000000 08:01 126  /opt/conda/lib/python3.10/site-packages/nvidia/cudnn/lib/libcudnn.so.8
7f0000005000-7f0000006000 r-xp 00000000 08:01 127  /usr/lib/x86_64-linux-gnu/libcudnn_ops_infer.so.8.9.2
7f0000006000-7f0000007000 r-xp 00000000 08:01 128  /usr/lib/python3/dist-packages/yaml/_yaml.so (deleted)
7ffc00000000-7ffc00001000 rw-p 00000000 00:00 0  [stack]
`

func TestParseMaps(t *testing.T) {
	m := parseMaps(maps)
	want := mapped{
		versions: map[string]string{"python": "3.10", "cudnn": "8.9.2"},
		sites:    []string{"/opt/conda/lib/python3.10/site-packages/", "/usr/lib/python3/dist-packages/"},
	}
	if d := cmp.Diff(want, m, cmp.AllowUnexported(mapped{})); d != "" {
		t.Error(d)
	}
	for file, want := range map[string]map[string]string{
		"/x/libcudart.so.12":                              {"cuda": "12"},
		"/x/libcudart-8774224f.so.11.8.89":                {"cuda": "11.8.89"},
		"/x/libcudart.so":                                 {},
		"/x/libpython3.13t.so.1.0":                        {"python": "3.13"},
		"/usr/local/lib/python3.9/site-packages/a/b.so":   {"python": "3.9"},
		"/usr/local/lib/python3.9/site-packages/\x1b[31m": {"python": "3.9"},
		"/x/libcudnn_cnn.so.9.1.0":                        {"cudnn": "9.1.0"},
	} {
		m := parseMaps("7f00-7f01 r-xp 00000000 08:01 127 " + file + "\n")
		if d := cmp.Diff(want, m.versions); d != "" {
			t.Errorf("%s: %s", file, d)
		}
	}
	many := strings.Builder{}
	for i := range 1000 {
		many.WriteString("7f00-7f01 r-xp 00000000 08:01 127 /" + strings.Repeat("d/", i) + "site-packages/x.so\n")
	}
	if n := len(parseMaps(many.String()).sites); n != maxSites {
		t.Errorf("%d folders", n)
	}
}

func TestInstalled(t *testing.T) {
	got := installed([]string{
		"torch-2.1.2+cu121.dist-info", "torch", "torchvision-0.16.2.dist-info", "detectron2-0.6-py3.10.egg-info", "PHALP-0.1.3.dist-info",
		"numpy-1.26.4.dist-info", "cuda-9.9.dist-info", "numpy-\x1b[31m1.dist-info", "torch-.dist-info", ".dist-info", "phalp.egg-info",
	})
	if d := cmp.Diff(map[string]string{"torch": "2.1.2+cu121", "detectron2": "0.6", "phalp": "0.1.3", "numpy": "1.26.4"}, got); d != "" {
		t.Error(d)
	}
}

func TestVersions(t *testing.T) {
	site := "opt/conda/lib/python3.10/site-packages/"
	for name, tc := range map[string]struct {
		files map[string]string
		want  map[string]string
	}{
		"all but numpy, which is one too many": {map[string]string{
			"proc/7/maps": maps, site + "torch-2.1.2+cu121.dist-info/x": "", site + "detectron2-0.6.dist-info/x": "",
			site + "phalp-0.1.3.dist-info/x": "", site + "numpy-1.26.4.dist-info/x": "",
		}, map[string]string{"python": "3.10", "torch": "2.1.2+cu121", "cuda": "12.1", "cudnn": "8.9.2", "detectron2": "0.6", "phalp": "0.1.3"}},
		"the mapped CUDA stands before torch's": {map[string]string{
			"proc/7/maps": maps + "7f00-7f01 r-xp 00000000 08:01 127 /x/libcudart.so.11.8.89\n", site + "torch-2.1.2+cu121.dist-info/x": "",
		}, map[string]string{"python": "3.10", "torch": "2.1.2+cu121", "cuda": "11.8.89", "cudnn": "8.9.2"}},
		"an engine without Python": {map[string]string{"proc/7/maps": "7f00-7f01 r-xp 00000000 08:01 127 /usr/bin/openpose\n"}, nil},
		"nothing can be read":      {map[string]string{"proc/8/maps": maps}, nil},
	} {
		o := newObserver(tree(t, tc.files), nil)
		o.watch(7)
		o.lookVersions(7, []int{7})
		var r report.EngineReport
		o.fill(&r)
		if d := cmp.Diff(tc.want, r.Versions); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestListDirDoesNotWait: a pipe in a folder's place would wait for its writer.
func TestListDirDoesNotWait(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "site-packages")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan []string)
	go func() { done <- listDir(pipe) }()
	select {
	case names := <-done:
		if names != nil {
			t.Errorf("%q", names)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it waits")
	}
	if names := listDir(filepath.Dir(pipe)); len(names) != 1 {
		t.Errorf("%q", names)
	}
	if names := listDir(os.DevNull); names != nil {
		t.Errorf("%q", names)
	}
}

func TestDue(t *testing.T) {
	var at []time.Duration
	looks := 0
	for age := time.Duration(0); age < 2*time.Minute; age += sampleEvery {
		if due(looks, age) {
			at = append(at, age)
			looks++
		}
	}
	want := []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, time.Minute, 90 * time.Second}
	if d := cmp.Diff(want, at); d != "" {
		t.Error(d)
	}
}
