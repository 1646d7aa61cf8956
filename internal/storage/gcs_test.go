package storage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

// serve starts a server that listens at addr, and waits until it answers.
func serve(t *testing.T, addr string, cmd *exec.Cmd) {
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
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not listen at %s: %s", cmd.Path, addr, log.String())
		}
	}
}

// nextPort is given out once each, from below those that the kernel gives to whoever
// asks for any: what listens there for a moment would be taken for the server.
var nextPort atomic.Int32

func init() { nextPort.Store(20_000 + rand.Int32N(10_000)) }

func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", nextPort.Add(1))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

// gcsOptions starts an emulator of Google Cloud Storage (fake-gcs-server, BSD-2).
// It checks no credentials and signs nothing: what of them is wrong shows in
// gcs_credentials_test.go alone. It keeps preconditions, ranges, checksums and
// sessions of uploads.
func gcsOptions(t *testing.T, bucket string) Options {
	t.Helper()
	binary := os.Getenv("POSE_TEST_FAKE_GCS")
	if binary == "" {
		t.Skip("SKIPPED: POSE_TEST_FAKE_GCS names no fake-gcs-server (make .tools/bin/fake-gcs-server)")
	}
	addr := freeAddress(t)
	host, port, _ := net.SplitHostPort(addr)
	endpoint := "http://" + addr
	serve(t, addr, exec.Command(binary, "-scheme", "http", "-host", host, "-port", port, "-backend", "memory", "-public-host", addr, "-external-url", endpoint, "-log-level", "warn"))
	resp, err := http.Post(endpoint+"/storage/v1/b?project=test", "application/json", bytes.NewReader([]byte(`{"name":"`+bucket+`"}`)))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the bucket is not made: %s", resp.Status)
	}
	return Options{Store: report.StoreConfig{GCSEndpoint: endpoint}}
}
