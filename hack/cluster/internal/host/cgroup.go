package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pose-dev/pose-operator/hack/cluster/internal/layout"
)

const cgroupMount = "/sys/fs/cgroup"

// mountedHierarchies lists the mount points of the machine's cgroups: used is
// what kubelet and runc work with (one on cgroup v2, one for each controller
// on v1), all includes the v2 tree that a v1 machine may mount beside them,
// where runc leaves folders too.
func mountedHierarchies() (used, all []string, err error) {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, nil, err
	}
	used, all = hierarchies(data)
	return used, all, nil
}

func hierarchies(mounts []byte) (used, all []string) {
	var v1, v2 []string
	for line := range bytes.Lines(mounts) {
		f := strings.Fields(string(line))
		if len(f) < 3 || !strings.HasPrefix(f[1], cgroupMount) {
			continue
		}
		switch f[2] {
		case "cgroup":
			v1 = append(v1, f[1])
		case "cgroup2":
			v2 = append(v2, f[1])
		}
	}
	if len(v1) > 0 {
		return v1, append(slices.Clone(v1), v2...)
	}
	return v2, v2
}

// CgroupsUp makes each node's cgroup in every hierarchy: the kubelet asks for
// its root to exist.
func CgroupsUp() error {
	used, _, err := mountedHierarchies()
	if err != nil {
		return err
	}
	for _, h := range used {
		dirs := []string{filepath.Join(h, layout.CgroupRoot)} // parents first
		for _, n := range layout.Nodes() {
			dirs = append(dirs, filepath.Join(h, n.Cgroup()))
		}
		for _, dir := range dirs {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			if err := inherit(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// inherit gives a cgroup what it does not get by itself: on v1 its CPUs and
// memory nodes, without which nothing may run in it; on v2 the controllers.
func inherit(dir string) error {
	parent := filepath.Dir(dir)
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || len(bytes.TrimSpace(own)) > 0 {
			continue
		}
		value, err := os.ReadFile(filepath.Join(parent, file))
		if err != nil || len(bytes.TrimSpace(value)) == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
			return fmt.Errorf("give %s its %s: %w", dir, file, err)
		}
	}
	controllers, err := os.ReadFile(filepath.Join(parent, "cgroup.controllers"))
	if os.IsNotExist(err) {
		return nil // v1
	}
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(controllers)) {
		if err := os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
			return fmt.Errorf("hand the %s controller down from %s: %w", c, parent, err)
		}
	}
	return nil
}

// KillCgroups ends every process in the cluster's cgroups: these are the
// pods' containers, whoever started them.
func KillCgroups() error {
	_, all, err := mountedHierarchies()
	if err != nil {
		return err
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		pids := map[int]bool{}
		for _, h := range all {
			for _, dir := range below(filepath.Join(h, layout.CgroupRoot)) {
				// A frozen process does not die.
				_ = os.WriteFile(filepath.Join(dir, "freezer.state"), []byte("THAWED"), 0o644)
				data, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
				for _, field := range strings.Fields(string(data)) {
					if pid, err := strconv.Atoi(field); err == nil {
						pids[pid] = true
					}
				}
			}
		}
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d processes in the cgroup %s do not end: %v", len(pids), layout.CgroupRoot, pids)
		}
		for pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// CgroupsDown removes the cluster's cgroups. The kernel lets go of a dead
// process's cgroup a moment late, so it tries for a while.
func CgroupsDown() error {
	var err error
	for range 40 {
		if err = removeCgroups(); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

func removeCgroups() error {
	_, all, err := mountedHierarchies()
	if err != nil {
		return err
	}
	var failed []error
	for _, h := range all {
		dirs := below(filepath.Join(h, layout.CgroupRoot))
		slices.Reverse(dirs) // children first
		for _, dir := range dirs {
			if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(failed...)
}

// CgroupsLeft lists the cluster's cgroups, one a hierarchy.
func CgroupsLeft() []string {
	_, all, _ := mountedHierarchies()
	var left []string
	for _, h := range all {
		if dir := filepath.Join(h, layout.CgroupRoot); exists(dir) {
			left = append(left, "cgroup "+dir)
		}
	}
	return left
}

// below lists dir and the folders under it, parents first.
func below(dir string) []string {
	var dirs []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	return dirs
}
