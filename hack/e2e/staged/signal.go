package main

import (
	"syscall"
	"unsafe"
)

// sigaction is the kernel's struct on amd64 and arm64, all zero: SIG_DFL.
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

// resetHandler gives a signal back its default effect behind the Go runtime's
// back: signal.Reset leaves the runtime's own handler for SIGSEGV in place.
func resetHandler(s syscall.Signal) {
	var dfl sigaction
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&dfl)), 0, 8, 0, 0)
}
