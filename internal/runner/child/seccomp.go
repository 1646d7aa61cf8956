package child

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data.
const (
	offNumber = 0
	offArch   = 4
	offArg0   = 16
)

// x32Bit marks system calls of the x32 ABI, which would pass by number.
const x32Bit = 0x40000000

// denied are system calls that an engine has no need for and that lead around
// the socket filter or into other processes, and the errno that each gets.
// io_uring opens sockets without socket(2); ENOSYS makes libraries fall back.
var denied = []struct {
	number uint32
	errno  unix.Errno
}{
	{unix.SYS_IO_URING_SETUP, unix.ENOSYS},
	{unix.SYS_IO_URING_ENTER, unix.ENOSYS},
	{unix.SYS_IO_URING_REGISTER, unix.ENOSYS},
	{unix.SYS_PTRACE, unix.EPERM},
	{unix.SYS_PROCESS_VM_READV, unix.EPERM},
	{unix.SYS_PROCESS_VM_WRITEV, unix.EPERM},
	{unix.SYS_PIDFD_GETFD, unix.EPERM},
}

// filter lets sockets of the family AF_UNIX through and refuses every other.
//
// Only the lower half of the family is compared: the kernel takes it as an int,
// so a filter that looked at all 64 bits could be passed with rubbish above.
func filter(arch uint32) []bpf.Instruction {
	p := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: arch, SkipTrue: 1},
		// Another ABI (32 bit on a 64 bit kernel) has other numbers.
		refuse(unix.ENOSYS),
		bpf.LoadAbsolute{Off: offNumber, Size: 4},
	}
	if arch == unix.AUDIT_ARCH_X86_64 {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpLessThan, Val: x32Bit, SkipTrue: 1}, refuse(unix.ENOSYS))
	}
	for _, d := range denied {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: d.number, SkipTrue: 1}, refuse(d.errno))
	}
	return append(p,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_SOCKET, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_SOCKETPAIR, SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
		bpf.LoadAbsolute{Off: offArg0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_UNIX, SkipTrue: 1},
		refuse(unix.EACCES),
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
	)
}

func refuse(e unix.Errno) bpf.Instruction {
	return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(e)} //nolint:gosec // an errno is below 4096
}

// denyNetwork installs the filter for this thread and what it executes.
func denyNetwork() error {
	arch, ok := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("the network cannot be denied on %s: allow it for this variant, or use amd64 or arm64 nodes", runtime.GOARCH)
	}
	raw, err := bpf.Assemble(filter(arch))
	if err != nil {
		return fmt.Errorf("assemble the seccomp filter: %w", err)
	}
	code := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		code[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}                                                                //nolint:gosec // about 30
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 { //nolint:gosec // the kernel reads the filter where it lies
		return fmt.Errorf("install the seccomp filter: %w", errno)
	}
	return nil
}
