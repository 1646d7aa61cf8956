package exec

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pose-dev/pose-operator/internal/report"
)

const (
	// maxLooks bounds how often the mapped files are looked at.
	maxLooks = 40
	// maxMaps bounds what is read of one process's map, in bytes.
	maxMaps = 4 << 20
	// maxSites bounds the folders of packages, maxPackages the names in one.
	maxSites    = 4
	maxPackages = 10_000
	// maxMapped bounds the processes whose maps are read.
	maxMapped = 16
)

// siteDirs are the folders that hold installed packages.
var siteDirs = []string{"/site-packages/", "/dist-packages/"}

// told are the versions that a report tells, the more telling first.
var told = []string{"python", "torch", "cuda", "cudnn", "detectron2", "phalp", "numpy"}

var (
	libPython = regexp.MustCompile(`^libpython(3\.[0-9]{1,2})[a-z]?\.so`)
	libCUDA   = regexp.MustCompile(`^libcudart(?:-[0-9a-f]+)?\.so\.([0-9]+(?:\.[0-9]+)*)`)
	libCUDNN  = regexp.MustCompile(`^libcudnn(?:_[a-z_]+)?(?:-[0-9a-f]+)?\.so\.([0-9]+(?:\.[0-9]+)*)`)
	inPython  = regexp.MustCompile(`/python(3\.[0-9]{1,2})t?/`)
	cudaBuild = regexp.MustCompile(`\+cu([0-9]{1,3})([0-9])(?:[^0-9]|$)`)
	version   = regexp.MustCompile(`^[0-9][0-9A-Za-z.+!_]{0,31}$`)
)

// due says whether a look is due after age: soon, as an engine may die early,
// then every half minute.
func due(looks int, age time.Duration) bool {
	switch looks {
	case 0:
		return age >= time.Second
	case 1:
		return age >= 5*time.Second
	}
	return age >= time.Duration(looks-1)*30*time.Second
}

// lookVersions reads the versions of what pids have mapped, once.
func (o *observer) lookVersions(leader int, pids []int) {
	found := map[string]string{}
	for _, pid := range pids[:min(len(pids), maxMapped)] {
		b, err := readFile(filepath.Join(o.root, "proc", strconv.Itoa(pid), "maps"), maxMaps)
		if err == nil {
			o.read(string(b), found)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.pid != leader {
		return
	}
	o.looks++
	for k, v := range found {
		o.versions[k] = v
	}
}

// read finds versions by the files of one map.
func (o *observer) read(maps string, found map[string]string) {
	m := parseMaps(maps)
	for k, v := range m.versions {
		found[k] = v
	}
	for _, dir := range m.sites {
		for k, v := range installed(listDir(filepath.Join(o.root, dir))) {
			found[k] = v
		}
	}
	// The library that is mapped says more than what torch was built for.
	if c := cudaBuild.FindStringSubmatch(found["torch"]); c != nil && m.versions["cuda"] == "" {
		found["cuda"] = c[1] + "." + c[2]
	}
}

// mapped is what a process's map tells.
type mapped struct {
	versions map[string]string
	sites    []string
}

// parseMaps reads /proc/PID/maps: the path is what follows the fifth blank.
func parseMaps(maps string) mapped {
	m := mapped{versions: map[string]string{}}
	last := ""
	for line := range strings.Lines(maps) {
		i := strings.IndexByte(line, '/')
		if i < 0 {
			continue
		}
		file := strings.TrimSpace(line[i:])
		if file == last { // a file is mapped in several parts
			continue
		}
		last = file
		m.file(file)
	}
	return m
}

func (m *mapped) file(file string) {
	base := path.Base(file)
	for _, l := range []struct {
		name string
		re   *regexp.Regexp
	}{{"python", libPython}, {"cuda", libCUDA}, {"cudnn", libCUDNN}} {
		// Of two, as libcudnn.so.9 and libcudnn_ops.so.9.1.0, the longer says more.
		if v := l.re.FindStringSubmatch(base); v != nil && len(v[1]) > len(m.versions[l.name]) {
			m.versions[l.name] = v[1]
		}
	}
	for _, dir := range siteDirs {
		i := strings.Index(file, dir)
		if i < 0 {
			continue
		}
		site := file[:i+len(dir)]
		if v := inPython.FindStringSubmatch(site); v != nil && m.versions["python"] == "" {
			m.versions["python"] = v[1]
		}
		if len(m.sites) < maxSites && !slices.Contains(m.sites, site) {
			m.sites = append(m.sites, site)
		}
	}
}

// listDir names what a folder holds. Only a folder is opened: the path is the
// engine's, and to open a pipe would wait for its writer.
func listDir(dir string) []string {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	d := os.NewFile(uintptr(fd), dir)
	defer d.Close()
	names, _ := d.Readdirnames(maxPackages)
	return names
}

// installed reads the versions out of names as torch-2.1.2+cu121.dist-info.
func installed(names []string) map[string]string {
	found := map[string]string{}
	for _, name := range names {
		rest, ok := strings.CutSuffix(name, ".dist-info")
		if !ok {
			if rest, ok = strings.CutSuffix(name, ".egg-info"); !ok {
				continue
			}
		}
		parts := strings.Split(rest, "-")
		if len(parts) < 2 || !version.MatchString(parts[1]) {
			continue
		}
		if p := strings.ToLower(parts[0]); p != "python" && p != "cuda" && p != "cudnn" && slices.Contains(told, p) {
			found[p] = parts[1]
		}
	}
	return found
}

// chosen gives the most telling versions.
func chosen(all map[string]string) map[string]string {
	out := map[string]string{}
	for _, name := range told {
		if v := all[name]; v != "" && len(out) < report.MaxVersions {
			out[name] = v
		}
	}
	return out
}
