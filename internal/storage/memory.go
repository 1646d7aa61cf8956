//go:build !windows

package storage

import "golang.org/x/sys/unix"

// offHeap gives memory that lies outside of Go's heap, where the collector would let as
// much garbage lie beside it. Nobody may hold any of it when free is called.
func offHeap(size int64) (memory []byte, free func()) {
	memory, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return make([]byte, size), func() {}
	}
	return memory, func() { _ = unix.Munmap(memory) }
}
