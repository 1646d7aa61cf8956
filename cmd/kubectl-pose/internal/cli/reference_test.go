package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/clitest"
)

// reference of all commands, as Markdown.
func reference() string {
	var b strings.Builder
	b.WriteString("# kubectl pose: all commands\n\nMade from the program by its tests (`POSE_UPDATE_GOLDEN=1 go test ./cmd/kubectl-pose/internal/cli -run TestReference`); do not edit.\n" +
		"Every command takes the flags of `kubectl` that name a cluster, a namespace and a user, as `-n`, `--context` and `--kubeconfig`:\n`kubectl pose options` lists them.\n")
	eachCommand(Command(genericiooptions.NewTestIOStreamsDiscard()), func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" {
			return
		}
		fmt.Fprintf(&b, "\n## %s\n\n", c.CommandPath())
		text := c.Long
		if text == "" {
			text = c.Short + "."
		}
		// Indented parts are lists that are aligned by hand.
		for i, part := range strings.Split(text, "\n\n") {
			if i > 0 {
				b.WriteString("\n")
			}
			if strings.Contains(part, "\n  ") {
				fmt.Fprintf(&b, "```text\n%s\n```\n", strings.Trim(part, "\n"))
				continue
			}
			fmt.Fprintf(&b, "%s\n", strings.NewReplacer("<", "&lt;", "|", "\\|", "\\wsl", "\\\\wsl").Replace(part))
		}
		if !c.HasSubCommands() {
			fmt.Fprintf(&b, "\n```text\n%s\n```\n", c.UseLine())
		}
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```sh\n%s\n```\n", outdent(c.Example))
		}
		if c.HasParent() && c.HasAvailableLocalFlags() {
			fmt.Fprintf(&b, "\n```text\n%s```\n", c.NonInheritedFlags().FlagUsages())
		}
	})
	return b.String()
}

func outdent(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(l, "  ")
	}
	return strings.Join(lines, "\n")
}

// TestReference: the document is what the program says of itself.
func TestReference(t *testing.T) {
	path := filepath.Join(clitest.Root(t), "docs", "kubectl-pose-reference.md")
	got := reference()
	if os.Getenv("POSE_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("docs/kubectl-pose-reference.md is not what the program says; POSE_UPDATE_GOLDEN=1 writes it anew\n%s", d)
	}
}

// TestEveryCommandSaysWhatItIs, with words and an example, and takes no flag twice.
func TestEveryCommandSaysWhatItIs(t *testing.T) {
	eachCommand(Command(genericiooptions.NewTestIOStreamsDiscard()), func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: %q", c.CommandPath(), c.Short)
		}
		for _, l := range strings.Split(c.Long, "\n") {
			if len(l) > 110 {
				t.Errorf("%s: a line of %d characters: %s", c.CommandPath(), len(l), l)
			}
		}
		c.InheritedFlags() // panics where a flag is defined twice
	})
}
