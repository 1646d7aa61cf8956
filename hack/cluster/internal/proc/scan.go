package proc

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// programs are the only ones that a scan may call ours.
var programs = []string{
	"cluster", "containerd", "containerd-shim-runc-v2", "etcd", "kube-apiserver", "kube-controller-manager",
	"kube-proxy", "kube-scheduler", "kubelet",
}

// Scan finds the cluster's processes without records: programs of a cluster
// that name a path below one of the folders in their arguments. It also finds
// containerd's shims, which no record holds.
func Scan(folders ...string) []Record {
	entries, _ := os.ReadDir("/proc")
	var found []Record
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		argv := cmdline(pid)
		if !Belongs(argv, folders) {
			continue
		}
		start, zombie, err := stat(pid)
		if err != nil || zombie {
			continue
		}
		found = append(found, Record{Name: filepath.Base(argv[0]), PID: pid, Start: start, Argv: argv})
	}
	return found
}

// Belongs decides by the command line alone. `cluster down --dir X` is not a
// process of the cluster in X; only its guard is.
func Belongs(argv, folders []string) bool {
	if len(argv) < 2 || !slices.Contains(programs, filepath.Base(argv[0])) {
		return false
	}
	if filepath.Base(argv[0]) == "cluster" && argv[1] != "guard" {
		return false
	}
	for _, arg := range argv[1:] {
		for _, folder := range folders {
			if strings.Contains(arg+"/", strings.TrimSuffix(folder, "/")+"/") {
				return true
			}
		}
	}
	return false
}
