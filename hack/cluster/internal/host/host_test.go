package host

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

const mounts = `/dev/vda / ext4 rw 0 0
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
tmpfs /c/.cluster/nodes/gpu-0/kubelet/pods/1/token tmpfs rw 0 0
tmpfs /c/.cluster/nodes/gpu-0/kubelet/pods/1/token/inner tmpfs rw 0 0
overlay /run/pose-cluster/gpu-0/state/with\040space overlay rw 0 0
tmpfs /c/.cluster/nodes2/x tmpfs rw 0 0
`

func TestHierarchies(t *testing.T) {
	used, all := hierarchies([]byte(mounts))
	if want := []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids"}; !reflect.DeepEqual(used, want) {
		t.Errorf("v1: used %v", used)
	}
	if want := []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified"}; !reflect.DeepEqual(all, want) {
		t.Errorf("v1: all %v", all)
	}
	used, all = hierarchies([]byte("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"))
	if want := []string{"/sys/fs/cgroup"}; !reflect.DeepEqual(used, want) || !reflect.DeepEqual(all, want) {
		t.Errorf("v2: used %v, all %v", used, all)
	}
}

func TestMountsBelow(t *testing.T) {
	got := mountsBelow([]byte(mounts), []string{"/run/pose-cluster", "/c/.cluster/nodes/"})
	want := []string{ // children before parents
		"/run/pose-cluster/gpu-0/state/with space",
		"/c/.cluster/nodes/gpu-0/kubelet/pods/1/token/inner",
		"/c/.cluster/nodes/gpu-0/kubelet/pods/1/token",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestLinksInto(t *testing.T) {
	dir := t.TempDir()
	for name, target := range map[string]string{
		"ours.log": "/c/.cluster/nodes/gpu-0/pod-logs/x", "other.log": "/c2/.cluster/x", "alike.log": "/c/.cluster2/x",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if got := LinksInto(dir, "/c/.cluster"); !reflect.DeepEqual(got, []string{filepath.Join(dir, "ours.log")}) {
		t.Errorf("got %v", got)
	}
}
