// Package copy is the role that puts pose-runner into the shared volume, from
// where the engine's container, an image of the user's, runs it.
package copy

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Run copies the running executable to target, which appears whole or not at all.
func Run(target string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find pose-runner's own file: %w", err)
	}
	in, err := os.Open(self)
	if err != nil {
		return fmt.Errorf("open pose-runner's own file: %w", err)
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return fmt.Errorf("make the folder of %s: %w", target, err)
	}
	temp := target + ".tmp"
	_ = os.Remove(temp)
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o555)
	if err != nil {
		return fmt.Errorf("make %s: %w (is the shared volume writable for the runner's user?)", temp, err)
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Chmod(0o555) // whatever the umask said
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp, target)
	}
	if err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("copy pose-runner to %s: %w", target, err)
	}
	return nil
}
