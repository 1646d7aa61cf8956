//go:build !linux && !windows

package beneath

import "golang.org/x/sys/unix"

// renameNew is Linux's: kubectl-pose runs elsewhere too, pods do not.
func renameNew(int, string, string) error { return unix.ENOSYS }
