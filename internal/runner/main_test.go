package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner"
	"github.com/pose-dev/pose-operator/internal/runner/child"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
)

// The test binary plays three more parts: the hidden entry point, a container of
// the pod (rootEnv) and the engine (its first argument begins with "engine=").
const rootEnv = "POSE_TEST_ROOT"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == child.Entry {
		os.Exit(child.Main())
	}
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "engine=") {
		os.Exit(engine(strings.TrimPrefix(os.Args[1], "engine="), os.Args[2:]))
	}
	if root := os.Getenv(rootEnv); root != "" {
		ctx, cancel := context.WithCancelCause(context.Background())
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		go func() { <-c; cancel(runner.ErrTerminated) }()
		raw := os.Getenv(report.ConfigEnv)
		os.Exit(runner.Main(ctx, raw, layout.Under(root), os.Stdout))
	}
	os.Exit(m.Run())
}

// engine is the engine's part; args are its output folder and facts file.
func engine(how string, args []string) int {
	fmt.Println("pose-engine: stage=load")
	fmt.Fprintln(os.Stderr, "a line on stderr")
	switch how {
	case "clips":
		return clipsEngine(args)
	case "good", "short", "nothing", "link", "nobody":
		return write(how, args[0], args[1])
	case "exit3":
		fmt.Println("pose-engine: stage=track")
		return 3
	case "segv":
		die(syscall.SIGSEGV)
	case "kill":
		die(syscall.SIGKILL)
	case "hang":
		time.Sleep(time.Hour)
	case "detector-hang":
		fmt.Println("pose-engine: stage=detector")
		time.Sleep(time.Hour)
	case "jumps":
		for range 20_000 {
			fmt.Println("pose-engine: stage=track\npose-engine: stage=load")
		}
		fmt.Println("pose-engine: stage=detector")
		time.Sleep(time.Hour)
	case "deaf":
		signal.Ignore(syscall.SIGABRT)
		time.Sleep(time.Hour)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("pose-engine: stage=track")
		time.Sleep(time.Hour)
	case "polite":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("pose-engine: stage=track")
		<-c
		return 7
	case "polite-pass":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		<-c
	case "memory":
		b := make([]byte, 96<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		time.Sleep(2 * time.Second)
		return int(b[0]) - 1
	case "orphan":
		// A child that keeps the log open after its parent is gone.
		p, err := os.StartProcess("/bin/sleep", []string{"sleep", "3600"}, &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}})
		if err != nil {
			return 99
		}
		fmt.Printf("orphan=%d\n", p.Pid)
		return 5
	case "reaped":
		return awaitReaped()
	case "env":
		for _, kv := range os.Environ() {
			fmt.Println("env:", kv)
		}
	case "inet":
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		fmt.Printf("try inet: %v\n", err)
		unix.Close(fd)
	case "sockets":
		return sockets()
	case "go":
		// Runs until a file tells it to end, printing frames.
		for i := 1; ; i++ {
			fmt.Printf("pose-engine: frame=%d total=100000 people=1\n", i)
			if _, err := os.Stat(args[0]); err == nil {
				return 0
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return 0
}

// awaitReaped leaves an orphan that ends soon to PID 1, and waits until nothing
// of it is left, not even a zombie.
func awaitReaped() int {
	out, err := exec.Command("/bin/sh", "-c", "sleep 0.2 >/dev/null & echo $!").Output()
	if err != nil {
		return 93
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		return 92
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return 0
		}
	}
	return 91
}

// die gives the signal its default effect: Go's runtime has its own for SIGSEGV.
func die(s syscall.Signal) {
	fmt.Println("pose-engine: stage=detector")
	var dfl struct {
		handler, flags, restorer uintptr
		mask                     uint64
	}
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s), uintptr(pointer(&dfl)), 0, 8, 0, 0)
	_ = syscall.Kill(os.Getpid(), s)
	time.Sleep(10 * time.Second)
}

// sockets tries what the filter denies, and what it must not.
func sockets() int {
	try := func(name string, err error) { fmt.Printf("try %s: %v\n", name, err) }
	for _, f := range []struct {
		name   string
		family int
	}{{"inet", unix.AF_INET}, {"inet6", unix.AF_INET6}, {"netlink", unix.AF_NETLINK}, {"packet", unix.AF_PACKET}, {"vsock", unix.AF_VSOCK}, {"alg", unix.AF_ALG}, {"unix", unix.AF_UNIX}} {
		fd, err := unix.Socket(f.family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
		}
		try(f.name, err)
	}
	// The kernel takes the family as an int: rubbish above must not help.
	_, _, errno := unix.RawSyscall(unix.SYS_SOCKET, unix.AF_INET|1<<32, unix.SOCK_STREAM, 0)
	try("inet-high-bits", errno)
	_, _, errno = unix.RawSyscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
	try("io_uring", errno)
	_, _, errno = unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(os.Getppid()), 0, 0, 0, 0)
	try("ptrace", errno)
	_, err := net.DialTimeout("tcp", "127.0.0.1:1", time.Second)
	try("dial", err)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.Close(pair[0])
		unix.Close(pair[1])
	}
	try("unix-pair", err)
	return 0
}

// write makes outputs.
func write(how, out, factsFile string) int {
	var facts report.VideoFacts
	b, err := os.ReadFile(factsFile)
	if err != nil || json.Unmarshal(b, &facts) != nil {
		fmt.Println("no facts:", err)
		return 98
	}
	n := facts.Frames
	fmt.Println("pose-engine: stage=track")
	for i := int64(1); i <= n; i++ {
		fmt.Printf("pose-engine: frame=%d total=%d people=1\n", i, n)
	}
	if how == "nothing" {
		return 0
	}
	if how == "short" {
		n--
	}
	doc := document(facts, n, how != "nobody")
	b, err = json.Marshal(doc)
	if err != nil {
		return 97
	}
	path := filepath.Join(out, "pose.json")
	if how == "link" {
		if os.WriteFile(filepath.Join(out, "other.json"), b, 0o600) != nil || os.Symlink("other.json", path) != nil {
			return 96
		}
		return 0
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		fmt.Println(err)
		return 95
	}
	return 0
}

// document is a valid pose.json with one person, or nobody, in n frames.
func document(facts report.VideoFacts, n int64, somebody bool) result.Document {
	doc := result.Document{
		APIVersion: result.APIVersion, Kind: result.KindResult,
		Video:       result.Video{Width: facts.Width, Height: facts.Height, FPS: facts.FPS, Frames: n, DurationSeconds: float64(n) / facts.FPS},
		Engine:      result.Engine{Name: "test", Version: "1", Device: "CPU", Models: []result.Model{}},
		Skeleton:    result.Skeleton{Name: "one", Joints: []string{"nose"}, Edges: [][2]int{}},
		Units:       result.Units{BBox: "pixels", Joints2D: "pixels"},
		Coordinates: result.Coordinates{Image: "x-right-y-down"},
		People:      []result.Track{},
	}
	if somebody {
		doc.People = append(doc.People, result.Track{ID: 1, FirstFrame: 0, LastFrame: n - 1, FramesSeen: n})
	}
	for i := range n {
		f := result.Frame{Index: i, People: []result.Person{}}
		if somebody {
			f.People = append(f.People, result.Person{ID: 1, BBox: [4]float64{1, 1, 5, 5}, Score: 1, Joints2D: [][3]float64{{2, 2, 1}}})
		}
		doc.Frames = append(doc.Frames, f)
	}
	return doc
}
