package beneath

import "golang.org/x/sys/unix"

// renameNew renames within one folder and never replaces.
func renameNew(parent int, from, to string) error {
	return unix.Renameat2(parent, from, parent, to, unix.RENAME_NOREPLACE)
}
