package storage

import (
	"fmt"
	"os"
)

// describe a file. Claims are read by pods, which do not run on Windows.
func describe(f *os.File) (Info, error) {
	info, err := f.Stat()
	if err != nil {
		return Info{}, err
	}
	return Info{Size: info.Size(), Version: fmt.Sprintf("%d-%d", info.ModTime().UnixNano(), info.Size())}, nil
}
