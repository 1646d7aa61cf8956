//go:build !windows

package storage

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// describe a file. Its version has the time of its last change of any kind: that of
// its content alone can be set to anything by whoever writes it.
func describe(f *os.File) (Info, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return Info{}, err
	}
	return Info{Size: st.Size, Version: fmt.Sprintf("%d-%d.%d-%d", st.Ino, st.Ctim.Sec, st.Ctim.Nsec, st.Size)}, nil
}
