//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// marked blocks of a document: files to be written and commands to be run.
var marked = regexp.MustCompile("(?ms)^<!-- (run|file: ([a-z0-9.-]+)) -->\n```[a-z]+\n(.*?)^```")

// TestGettingStarted does what docs/getting-started.md tells a new user to do, as far
// as this cluster has what it speaks of: the blocks that are marked, in their order,
// word for word but for the credentials.
func TestGettingStarted(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(env.Root, "docs", "getting-started.md"))
	if err != nil {
		t.Fatal(err)
	}
	// The buckets that the document names.
	for _, name := range []string{"videos", "results"} {
		if err := store.Bucket(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Put(t.Context(), "videos", "run-1.mp4", cut(t, "run-1.mp4", 0, 6)); err != nil {
		t.Fatal(err)
	}
	clear := func() {
		if _, err := env.Run(context.Background(), env.Tool("kube-assets/kubectl"), "--kubeconfig", env.Kubeconfig, "delete", "namespace", "snow", "--ignore-not-found"); err != nil {
			t.Error(err)
		}
	}
	clear() // of a run before
	t.Cleanup(clear)
	keys := strings.NewReplacer("AWS_ACCESS_KEY_ID=...", "AWS_ACCESS_KEY_ID="+store.AccessKey, "AWS_SECRET_ACCESS_KEY=...", "AWS_SECRET_ACCESS_KEY="+store.SecretKey)
	dir, ran, said := t.TempDir(), 0, ""
	path := strings.Join([]string{filepath.Join(env.Root, "bin"), filepath.Dir(env.Tool("kube-assets/kubectl")), os.Getenv("PATH")}, ":")
	for _, m := range marked.FindAllStringSubmatch(string(raw), -1) {
		if m[2] != "" {
			if err := os.WriteFile(filepath.Join(dir, m[2]), []byte(m[3]), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		c := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", keys.Replace(m[3]))
		c.Dir, c.Env = dir, append(os.Environ(), "PATH="+path, "KUBECONFIG="+env.Kubeconfig)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, m[3], out)
		}
		ran, said = ran+1, said+string(out)
	}
	if ran < 4 {
		t.Fatalf("only %d blocks of commands are marked", ran)
	}
	if !strings.Contains(said, "Succeeded") {
		t.Errorf("the first job did not succeed:\n%s", said)
	}
}
