// Package storetest starts the servers of stores that tests speak to.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// Credentials of the S3 servers.
const (
	AccessKey = "admin"
	SecretKey = "admin-secret"
)

// nextPort is given out once each, from below those that the kernel gives to whoever
// asks for any: what listens there for a moment would be taken for the server.
var nextPort atomic.Int32

func init() { nextPort.Store(20_000 + rand.Int32N(10_000)) } //nolint:gosec // no secret

// FreeAddress on loopback, which this process gives nobody else.
func FreeAddress() (string, error) {
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", nextPort.Add(1))
		if l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr); err == nil {
			l.Close()
			return addr, nil
		}
	}
	return "", errors.New("no port is free")
}

// Address is FreeAddress of a test.
func Address(t *testing.T) string {
	t.Helper()
	addr, err := FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// patience bounds the start of a server.
const patience = time.Minute

// Await that somebody listens.
func Await(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr); err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nobody listens at %s: %w", addr, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Gateway is the command by which versitygw serves the folders in data as buckets of
// S3. What is known of objects lies in the folder sidecar: not every file system has
// extended attributes.
func Gateway(ctx context.Context, binary, addr, data, sidecar string) *exec.Cmd {
	return exec.CommandContext(ctx, binary, "--access", AccessKey, "--secret", SecretKey, "--port", addr, "posix", "--sidecar", sidecar, data) //nolint:gosec // the tests' own program
}

// Serve starts a server, waits until it listens, and ends it with the test.
func Serve(t *testing.T, addr string, cmd *exec.Cmd) {
	t.Helper()
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() && testing.Verbose() {
			t.Logf("%s: %s", cmd.Path, log.String())
		}
	})
	if err := Await(t.Context(), addr); err != nil {
		t.Fatalf("%s: %v", cmd.Path, err)
	}
}

// Server is a real S3 server.
type Server struct {
	Endpoint string
	// Data holds a folder for each bucket.
	Data string

	cmd *exec.Cmd
}

// Stop the server before its test ends.
func (s Server) Stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// S3 starts a real S3 server with the named buckets, or skips the test where
// POSE_TEST_VERSITYGW names none.
func S3(t *testing.T, buckets ...string) Server {
	t.Helper()
	binary := os.Getenv("POSE_TEST_VERSITYGW")
	if binary == "" {
		t.Skip("SKIPPED: POSE_TEST_VERSITYGW names no versitygw binary (go install github.com/versity/versitygw/cmd/versitygw@v1.8.0)")
	}
	data, addr := t.TempDir(), Address(t)
	for _, b := range buckets {
		if err := os.Mkdir(filepath.Join(data, b), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	cmd := Gateway(context.Background(), binary, addr, data, t.TempDir()) // Serve ends it
	Serve(t, addr, cmd)
	return Server{Endpoint: "http://" + addr, Data: data, cmd: cmd}
}
