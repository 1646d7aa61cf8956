package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// MountsBelow lists the mount points below the folders, the latest first,
// which is the order to unmount them in.
func MountsBelow(folders ...string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	return mountsBelow(data, folders), nil
}

func mountsBelow(mounts []byte, folders []string) []string {
	var found []string
	for line := range bytes.Lines(mounts) {
		f := strings.Fields(string(line))
		if len(f) < 2 {
			continue
		}
		point := unescape(f[1])
		for _, folder := range folders {
			if strings.HasPrefix(point, strings.TrimSuffix(folder, "/")+"/") {
				found = append(found, point)
				break
			}
		}
	}
	slices.Reverse(found)
	return found
}

// unescape undoes the kernel's octal escapes.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// Unmount unmounts everything below the folders.
func Unmount(folders ...string) error {
	points, err := MountsBelow(folders...)
	if err != nil {
		return err
	}
	var failed []error
	for _, point := range points {
		if err := syscall.Unmount(point, 0); err == nil {
			continue
		}
		// Busy: take it out of the tree now; the kernel frees it with its last user.
		if err := syscall.Unmount(point, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) {
			failed = append(failed, fmt.Errorf("unmount %s: %w", point, err))
		}
	}
	return errors.Join(failed...)
}

// RemoveAll deletes folders, but never through a mount: below one may lie
// somebody's data.
func RemoveAll(folders ...string) error {
	points, err := MountsBelow(folders...)
	if err != nil {
		return err
	}
	if len(points) > 0 {
		return fmt.Errorf("not deleting %s: still mounted: %s", strings.Join(folders, ", "), strings.Join(points, ", "))
	}
	var failed []error
	for _, folder := range folders {
		failed = append(failed, os.RemoveAll(folder))
	}
	return errors.Join(failed...)
}

// LinksInto finds the links in dir that point below target.
func LinksInto(dir, target string) []string {
	entries, _ := os.ReadDir(dir)
	var found []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if to, err := os.Readlink(path); err == nil && strings.HasPrefix(to, target+"/") {
			found = append(found, path)
		}
	}
	return found
}
