package storage

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/storetest"
)

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
	addr := storetest.Address(t)
	host, port, _ := net.SplitHostPort(addr)
	endpoint := "http://" + addr
	storetest.Serve(t, addr, exec.Command(binary, "-scheme", "http", "-host", host, "-port", port, "-backend", "memory", "-public-host", addr, "-external-url", endpoint, "-log-level", "warn"))
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
