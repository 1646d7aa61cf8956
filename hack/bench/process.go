package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticksPerSecond is the unit of CPU times in /proc/<pid>/stat: USER_HZ, which Linux
// fixes at 100 for user space.
const ticksPerSecond = 100

// process is a child of this program, with its log in a file.
type process struct {
	name string
	cmd  *exec.Cmd
	gone chan struct{}
	// err that it ended with, once gone is closed.
	err error
}

// startProcess starts a child that ends with this program, however that ends.
func startProcess(dir, name string, env []string, path string, args ...string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{name: name, cmd: exec.Command(path, args...), gone: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.gone)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// dead says with what it ended, nil while it runs.
func (p *process) dead() error {
	select {
	case <-p.gone:
		return fmt.Errorf("%s ended, which it should not: %w", p.name, errors.Join(errors.New("see its log"), p.err))
	default:
		return nil
	}
}

// stop ends it, gently first.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.gone:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.gone
	}
}

// freeze it, until thaw.
func (p *process) freeze() (thaw func() error, err error) {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return nil, fmt.Errorf("stop %s for a while: %w", p.name, err)
	}
	return func() error { return p.cmd.Process.Signal(syscall.SIGCONT) }, nil
}

// kill ends it as a power cut would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.gone
}

// stat is what /proc/<pid>/stat says.
type stat struct {
	name   string
	parent int
	// cpu seconds, user and system, that the process has taken.
	cpu float64
}

// parseStat reads a line of /proc/<pid>/stat; proc_pid_stat(5) counts its fields from 1.
func parseStat(raw []byte) (stat, error) {
	// The name in parentheses may hold anything, blanks and parentheses too.
	from, to := bytes.IndexByte(raw, '('), bytes.LastIndexByte(raw, ')')
	if from < 0 || to < from {
		return stat{}, fmt.Errorf("no name in parentheses in %q", raw)
	}
	const first = 3 // field after the name
	fields := strings.Fields(string(raw[to+1:]))
	if len(fields) <= 15-first {
		return stat{}, fmt.Errorf("%d fields after the name in %q, expected 13 or more", len(fields), raw)
	}
	parent, err0 := strconv.Atoi(fields[4-first])
	user, err1 := strconv.ParseInt(fields[14-first], 10, 64)
	system, err2 := strconv.ParseInt(fields[15-first], 10, 64)
	return stat{
		name: string(raw[from+1 : to]), parent: parent,
		cpu: float64(user+system) / ticksPerSecond,
	}, errors.Join(err0, err1, err2)
}

// cpuOf a process, in seconds.
func cpuOf(pid int) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read the CPU time of a process: %w", err)
	}
	s, err := parseStat(raw)
	return s.cpu, err
}

// children of this process by the names of their programs, the newest of a name.
func children() (map[string]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		s, err := parseStat(raw)
		if err == nil && s.parent == os.Getpid() && pid > out[s.name] {
			out[s.name] = pid
		}
	}
	return out, nil
}

// rssOf a process: its resident memory, in bytes.
func rssOf(pid int) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of a process: %w", err)
	}
	defer f.Close()
	return parseRSS(f)
}

func parseRSS(status io.Reader) (float64, error) {
	lines := bufio.NewScanner(status)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "VmRSS:" && fields[2] == "kB" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			return kib * 1024, err
		}
	}
	return 0, errors.New("no line VmRSS in kB")
}

// profiles asks a Go program for its profiles; its certificate is its own.
var profiles = &http.Client{
	Timeout:   2 * time.Minute,
	Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
}

// liveHeap is what a Go program holds after a collection, in bytes, by its pprof.
func liveHeap(ctx context.Context, c *http.Client, url string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/debug/pprof/heap?gc=1&debug=1", nil)
	if err != nil {
		return 0, err
	}
	answer, err := c.Do(request)
	if err != nil {
		return 0, fmt.Errorf("ask for the heap: %w", err)
	}
	defer answer.Body.Close()
	heap, err := parseHeap(answer.Body)
	if err != nil {
		return 0, fmt.Errorf("ask for the heap: %s answers %s: %w", url, answer.Status, err)
	}
	return heap, nil
}

// parseHeap reads the heap in use from a heap profile as text.
func parseHeap(profile io.Reader) (float64, error) {
	lines := bufio.NewScanner(profile)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "# HeapAlloc = "); ok {
			return strconv.ParseFloat(text, 64)
		}
	}
	return 0, errors.Join(errors.New("no line HeapAlloc"), lines.Err())
}

// saveProfile of a Go program's CPU over some seconds into a file.
func saveProfile(ctx context.Context, c *http.Client, url, file string, seconds int) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", url, seconds), nil)
	if err != nil {
		return err
	}
	answer, err := c.Do(request)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("profile: %s answers %s", url, answer.Status)
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, answer.Body)
	return errors.Join(err, out.Close())
}
