package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/clitest"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/place"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/stand"
	"github.com/pose-dev/pose-operator/internal/storetest"
)

// childURL makes the test's own binary a process that sends one file and can be killed.
const childURL = "POSE_TEST_SEND_TO"

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		os.Exit(child(url, os.Getenv("POSE_TEST_SEND_FILE"), os.Getenv("POSE_TEST_SEND_NOTES")))
	}
	os.Exit(m.Run())
}

func child(url, path, notes string) int {
	c, err := Open(url, "", "", "")
	if err == nil {
		hurried(c, notes)
		var u *place.Upload
		if u, err = place.Measure(context.Background(), path, func(int64) {}); err == nil {
			_, err = c.Send(context.Background(), u, nil, true, deaf)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// realGateway builds the gateway and starts it with a real API server and a real store
// around it.
func realGateway(t *testing.T) (address, token string, store *stand.Store) {
	t.Helper()
	server := clitest.APIServer(t)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	binary := os.Getenv("POSE_TEST_VERSITYGW")
	if binary == "" {
		t.Fatal("POSE_TEST_VERSITYGW is not set: this test needs a real S3 server; run `make test-unit`, or set it to the absolute path of .tools/bin/versitygw after `make tools`")
	}
	store, err := stand.StartStore(ctx, binary, dir)
	if err != nil {
		t.Fatal(err)
	}
	user := &stand.User{Name: "alice", Verbs: []string{"create", "get"}}
	if err := stand.Users(ctx, server.Config, []string{stand.Namespace}, user); err != nil {
		t.Fatal(err)
	}
	account, err := stand.Account(ctx, server.Config, []string{stand.Namespace})
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "pose-gateway")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/pose-dev/pose-operator/cmd/pose-gateway").CombinedOutput(); err != nil {
		t.Fatalf("build the gateway: %v\n%s", err, out)
	}
	config, err := stand.WriteConfig(dir, store, nil)
	if err != nil {
		t.Fatal(err)
	}
	address, ops := storetest.Address(t), storetest.Address(t)
	cmd := exec.CommandContext(ctx, program, "--config", config, "--bind-address", address, "--health-bind-address", ops, "--shutdown-delay", "0s")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig(t, server.Config, account, dir))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	storetest.Serve(t, address, cmd)
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if resp, err := http.Get("http://" + ops + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return address, user.Token, store
			}
		}
		if time.Now().After(end) {
			t.Fatal("the gateway is not ready")
		}
	}
}

func kubeconfig(t *testing.T, server, account *rest.Config, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:  map[string]*clientcmdapi.Cluster{"x": {Server: server.Host, CertificateAuthorityData: server.CAData}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{"x": {Token: account.BearerToken}},
		Contexts:  map[string]*clientcmdapi.Context{"x": {Cluster: "x", AuthInfo: "x"}}, CurrentContext: "x",
	}, path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// cutter passes connections on, and cuts those that it is told to.
type cutter struct {
	net.Listener
	to string
	// left is how many bytes more go up before the connection that sends them is cut;
	// what is below zero cuts nothing.
	left atomic.Int64
	// mute cuts in the moment in which the gateway begins to answer.
	mute atomic.Bool
	up   atomic.Int64
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l, to: to}
	c.left.Store(-1)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go c.pass(conn)
		}
	}()
	return c
}

func (c *cutter) pass(client net.Conn) {
	server, err := net.Dial("tcp", c.to)
	if err != nil {
		client.Close()
		return
	}
	end := func() { client.Close(); server.Close() }
	go func() {
		defer end()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if n > 0 && c.mute.CompareAndSwap(true, false) {
				return
			}
			if _, werr := client.Write(buf[:n]); err != nil || werr != nil {
				return
			}
		}
	}()
	defer end()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		c.up.Add(int64(n))
		if _, werr := server.Write(buf[:n]); err != nil || werr != nil {
			return
		}
		if left := c.left.Load(); left >= 0 && left < int64(n) {
			c.left.Store(-1)
			return
		} else if left >= 0 {
			c.left.Add(-int64(n))
		}
	}
}

// stored video of a job, by the only folder of the store that has one.
func stored(t *testing.T, s *stand.Store) (sums []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.Dir, stand.Bucket, stand.Namespace, "uploads", "*", "video.*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			t.Fatal(err)
		}
		f.Close()
		sums = append(sums, hex.EncodeToString(h.Sum(nil)))
	}
	return sums
}

// TestRealGateway: connections are cut at several points, processes are killed, and the
// real gateway has each video once and whole.
func TestRealGateway(t *testing.T) {
	address, token, store := realGateway(t)
	through := newCutter(t, address)
	url := "http://" + through.Addr().String()
	t.Setenv("POSE_TOKEN", token)
	open := func(t *testing.T, notes string) *Client {
		t.Helper()
		c, err := Open(url, "", "", "")
		if err != nil {
			t.Fatal(err)
		}
		hurried(c, notes)
		c.part = 8 << 20
		return c
	}
	whole := func(t *testing.T, u *place.Upload) {
		t.Helper()
		if n := strings.Count(strings.Join(stored(t, store), " "), u.SHA256); n != 1 {
			t.Errorf("the video lies there %d times", n)
		}
	}
	for i, after := range []int64{100 << 10, 300 << 10, 5 << 20, 12 << 20, 20 << 20} {
		t.Run(fmt.Sprintf("cut after %d bytes", after), func(t *testing.T) {
			u := video(t, 21<<20+i)
			c := open(t, t.TempDir())
			var h heard
			w := h.watch()
			say := w.Say
			w.Say = func(format string, args ...any) {
				say(format, args...)
				if len(h.said) < 3 {
					through.left.Store(1 << 20) // and again
				}
			}
			through.left.Store(after)
			job, err := c.Send(t.Context(), u, map[string]string{"sha256": u.SHA256, "device": "CPU"}, true, w)
			through.left.Store(-1)
			if err != nil || job.Namespace != stand.Namespace || h.went+h.had != u.Size || len(h.said) < 2 {
				t.Fatalf("%+v %v; told of %d and %d bytes, said %q", job, err, h.went, h.had, h.said)
			}
			whole(t, u)
		})
	}
	t.Run("the last answer is lost", func(t *testing.T) {
		u := video(t, 9<<20)
		c := open(t, t.TempDir())
		w := deaf
		sent := int64(0)
		w.Went = func(n int64) {
			if sent += n; sent == u.Size {
				through.mute.Store(true)
			}
		}
		if _, err := c.Send(t.Context(), u, nil, true, w); err != nil {
			t.Fatal(err)
		}
		whole(t, u)
	})
	t.Run("killed", func(t *testing.T) { testKilled(t, url, through, whole) })
}

// testKilled kills a process that sends, twice; the third goes on to the end.
func testKilled(t *testing.T, url string, through *cutter, whole func(*testing.T, *place.Upload)) {
	u, notes := video(t, 40<<20), t.TempDir()
	start := func() (*exec.Cmd, *strings.Builder) {
		var said strings.Builder
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childURL+"="+url, "POSE_TEST_SEND_FILE="+u.Path, "POSE_TEST_SEND_NOTES="+notes)
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, &said
	}
	through.up.Store(0)
	for _, at := range []int64{15 << 20, 28 << 20} {
		cmd, said := start()
		for end := time.Now().Add(time.Minute); through.up.Load() < at; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("it does not send: %s", said)
			}
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	cmd, said := start()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	// What a kill costs is what was on its way.
	if up := through.up.Load(); up > u.Size+10<<20 {
		t.Errorf("%d bytes were sent for a video of %d", up, u.Size)
	}
	whole(t, u)
	if left, err := os.ReadDir(notes); err != nil || len(left) > 0 {
		t.Errorf("notes: %v %v", left, err)
	}
}
