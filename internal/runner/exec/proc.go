package exec

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxProcesses bounds one look at the processes of the container.
const maxProcesses = 65_536

// stat is one process as /proc/PID/stat shows it.
type stat struct {
	pid, parent, group int
	pages              int64 // resident
}

// processes lists all that proc (/proc) shows.
func processes(proc string) []stat {
	d, err := os.Open(proc)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxProcesses)
	var all []stat
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		b, err := readFile(filepath.Join(proc, name, "stat"), 4096)
		if err != nil {
			continue
		}
		if s, ok := parseStat(string(b)); ok {
			s.pid = pid
			all = append(all, s)
		}
	}
	return all
}

// parseStat reads /proc/PID/stat, whose second field may hold blanks and
// parentheses.
func parseStat(s string) (stat, bool) {
	i := strings.LastIndexByte(s, ')')
	if i < 0 {
		return stat{}, false
	}
	fields := strings.Fields(s[i+1:])
	if len(fields) < 22 {
		return stat{}, false
	}
	parent, err1 := strconv.Atoi(fields[1])
	group, err2 := strconv.Atoi(fields[2])
	pages, err3 := strconv.ParseInt(fields[21], 10, 64)
	return stat{parent: parent, group: group, pages: pages}, err1 == nil && err2 == nil && err3 == nil
}

// family gives the processes of the group leader, and their descendants: one
// that made a session of its own is the engine too.
func family(all []stat, leader int) []int {
	parents := make(map[int]stat, len(all))
	for _, s := range all {
		parents[s.pid] = s
	}
	var out []int
	for _, s := range all {
		// Bounded: what is read one by one can be a circle.
		for p, depth := s, 0; depth < 64; depth++ {
			if p.group == leader || p.pid == leader {
				out = append(out, s.pid)
				break
			}
			next, ok := parents[p.parent]
			if !ok {
				break
			}
			p = next
		}
	}
	return out
}

// readFile reads at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}
