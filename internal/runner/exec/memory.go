package exec

import (
	"bufio"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memory is one look at the container's memory, in bytes.
type memory struct {
	Used     int64 // without page cache that can be dropped
	Limit    int64 // 0 without one
	Peak     int64 // the kernel's own high-water mark, page cache included
	OOMKills int64 // since the cgroup was made
}

// files of one cgroup version.
type cgroupFiles struct {
	usage, limit, peak, events, inactive string
}

var (
	cgroup2 = cgroupFiles{"memory.current", "memory.max", "memory.peak", "memory.events", "inactive_file"}
	cgroup1 = cgroupFiles{"memory.usage_in_bytes", "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control", "total_inactive_file"}
)

// cgroup reads the memory of this container.
type cgroup struct {
	dir   string
	files cgroupFiles
}

// findCgroup looks below sys (/sys/fs/cgroup) for the group of the file self
// (/proc/self/cgroup). Inside a container the group is usually mounted as the
// root, whatever its path outside is.
func findCgroup(sys, self string) (cgroup, bool) {
	v1, v2 := groupPaths(self)
	for _, c := range []cgroup{
		{filepath.Join(sys, "memory", v1), cgroup1},
		{filepath.Join(sys, "memory"), cgroup1},
		{filepath.Join(sys, v2), cgroup2},
		{sys, cgroup2},
	} {
		if _, err := os.Stat(filepath.Join(c.dir, c.files.usage)); err == nil {
			return c, true
		}
	}
	return cgroup{}, false
}

// groupPaths reads "4:memory:/path" (version 1) and "0::/path" (version 2).
func groupPaths(self string) (v1, v2 string) {
	b, err := os.ReadFile(self)
	if err != nil {
		return "", ""
	}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if parts[0] == "0" && parts[1] == "" {
			v2 = parts[2]
		}
		for _, controller := range strings.Split(parts[1], ",") {
			if controller == "memory" {
				v1 = parts[2]
			}
		}
	}
	return v1, v2
}

// read looks at the memory now; false when the files cannot be read.
func (c cgroup) read() (memory, bool) {
	used, ok := c.number(c.files.usage)
	if !ok {
		return memory{}, false
	}
	m := memory{Used: max(0, used-c.field("memory.stat", c.files.inactive))}
	m.Limit, _ = c.number(c.files.limit)
	if m.Limit >= math.MaxInt64&^0xffff { // version 1's way to say "none"
		m.Limit = 0
	}
	m.Peak, _ = c.number(c.files.peak)
	m.OOMKills = c.field(c.files.events, "oom_kill")
	return m, true
}

func (c cgroup) number(name string) (int64, bool) {
	b, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil // "max" is no number: no limit
}

// field reads "key value" lines.
func (c cgroup) field(name, key string) int64 {
	f, err := os.Open(filepath.Join(c.dir, name))
	if err != nil {
		return 0
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if k, v, ok := strings.Cut(lines.Text(), " "); ok && k == key {
			n, _ := strconv.ParseInt(v, 10, 64)
			return n
		}
	}
	return 0
}

// treeRSS sums the resident memory of a process group's members, for where the
// cgroup cannot be read.
func treeRSS(proc string, pgid int) int64 {
	var pages int64
	for _, s := range processes(proc) {
		if s.group == pgid {
			pages += s.pages
		}
	}
	return pages * int64(os.Getpagesize())
}

// meter keeps the highest memory seen.
type meter struct {
	group    cgroup
	found    bool
	pgid     int
	kills0   int64 // before the engine started
	peak     int64
	limit    int64
	kills    int64
	lastPeak int64
}

func newMeter() *meter {
	m := &meter{}
	m.group, m.found = findCgroup("/sys/fs/cgroup", "/proc/self/cgroup")
	if m.found {
		if now, ok := m.group.read(); ok {
			m.kills0, m.limit = now.OOMKills, now.Limit
		}
	}
	return m
}

// sample looks once.
func (m *meter) sample() {
	now, ok := memory{}, false
	if m.found {
		now, ok = m.group.read()
	}
	if !ok {
		m.peak = max(m.peak, treeRSS("/proc", m.pgid))
		return
	}
	m.peak, m.limit = max(m.peak, now.Used), now.Limit
	m.kills = max(0, now.OOMKills-m.kills0)
	if m.kills > 0 {
		m.peak = max(m.peak, now.Peak)
	}
}

// grown says that the peak rose by more than a twentieth since it was last asked.
func (m *meter) grown() bool {
	if m.peak <= m.lastPeak+m.lastPeak/20 {
		return false
	}
	m.lastPeak = m.peak
	return true
}
