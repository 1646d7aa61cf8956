package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// DemoStore is the folder of the S3 server that `make demo` leaves running.
func DemoStore() (string, error) {
	root, err := repoRoot()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, ".demo", "store"), nil
}

// kept is what is remembered of a server that outlives its starter. It holds
// the keys, so it is for its owner's eyes alone.
type kept struct {
	PID       int      `json:"pid"`
	Argv      []string `json:"argv"`
	Endpoint  string   `json:"endpoint"`
	AccessKey string   `json:"accessKey"`
	SecretKey string   `json:"secretKey"`
}

func keptFile(dir string) string { return filepath.Clean(dir) + ".json" }

// KeepStore is StartStore for a server that outlives this process, for an
// installed operator and its Secret go on to name it. One that still answers at
// the host address is used again. EndStore ends it.
func (e *Env) KeepStore(ctx context.Context, dir string) (*Store, error) {
	k, err := readKept(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil && k.alive() && k.host() == Host() {
		s := &Store{Endpoint: k.Endpoint, AccessKey: k.AccessKey, SecretKey: k.SecretKey, Dir: dir, PID: k.PID}
		s.connect()
		if s.answers(ctx) == nil {
			return s, nil
		}
	}
	if _, err := EndStore(dir); err != nil {
		return nil, err
	}
	// A session of its own: what ends this process at its terminal leaves it alone.
	s, err := e.launch(ctx, dir, &syscall.SysProcAttr{Setsid: true})
	if err != nil {
		return nil, err
	}
	// Collected while this process lives; later the server is init's.
	go func() { _ = s.cmd.Wait() }()
	k = kept{PID: s.PID, Argv: s.cmd.Args, Endpoint: s.Endpoint, AccessKey: s.AccessKey, SecretKey: s.SecretKey}
	if err := k.write(dir); err != nil {
		_ = s.cmd.Process.Kill()
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		_, ended := EndStore(dir)
		return nil, errors.Join(err, ended)
	}
	return s, nil
}

// EndStore ends the server that KeepStore left running over a folder, and says
// which it was; 0 if there was none.
func EndStore(dir string) (int, error) {
	k, err := readKept(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	// Held before it is looked at, so that a pid which is given to another process
	// meanwhile is not meant.
	process, err := os.FindProcess(k.PID)
	if err != nil {
		return 0, fmt.Errorf("find the S3 server: %w", err)
	}
	defer func() { _ = process.Release() }()
	ended := 0
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if !k.alive() {
			break
		}
		ended = k.PID
		if err := process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return 0, fmt.Errorf("end the S3 server (pid %d): %w", k.PID, err)
		}
		for end := time.Now().Add(5 * time.Second); k.alive() && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
	}
	if k.alive() {
		return 0, fmt.Errorf("the S3 server (pid %d) does not end, not even killed", k.PID)
	}
	if err := os.Remove(keptFile(dir)); err != nil {
		return 0, fmt.Errorf("forget the S3 server: %w", err)
	}
	return ended, nil
}

func readKept(dir string) (kept, error) {
	raw, err := os.ReadFile(keptFile(dir))
	if err != nil {
		return kept{}, fmt.Errorf("find the S3 server: %w", err)
	}
	var k kept
	if err := json.Unmarshal(raw, &k); err != nil {
		return kept{}, fmt.Errorf("%s is damaged: %w. End versitygw yourself, and delete the file", keptFile(dir), err)
	}
	return k, nil
}

// write whole or not at all.
func (k kept) write(dir string) error {
	raw, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return fmt.Errorf("remember the S3 server: %w", err)
	}
	part, err := os.CreateTemp(filepath.Dir(keptFile(dir)), "store-*.part") // of mode 0600
	if err != nil {
		return fmt.Errorf("remember the S3 server: %w", err)
	}
	_, err = part.Write(append(raw, '\n'))
	if err = errors.Join(err, part.Close()); err == nil {
		err = os.Rename(part.Name(), keptFile(dir))
	}
	if err != nil {
		_ = os.Remove(part.Name())
		return fmt.Errorf("remember the S3 server: %w", err)
	}
	return nil
}

// alive says whether the process is there and is that server: its command line
// names this clone and the port.
func (k kept) alive() bool {
	if k.PID <= 0 || len(k.Argv) == 0 {
		return false
	}
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(k.PID), "cmdline"))
	return err == nil && slices.Equal(strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00"), k.Argv)
}

func (k kept) host() string {
	u, err := url.Parse(k.Endpoint)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
