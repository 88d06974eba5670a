// Oldkernel runs the program of testbed.Plain, and all that it starts, with the system calls
// of Linux 3.10 (RHEL 7): of newer ones the kernel says that there are none (ENOSYS), but for
// getrandom, without which a newer OpenSSH does not run. What a system call of that age has
// learnt since is not hidden.
package main

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"one-clvm/test/testbed"
)

// newest system call of Linux 3.10: they are numbered in the order of their age.
const newest = unix.SYS_FINIT_MODULE

func main() {
	runtime.LockOSThread() // the filter is this thread's, and so exec's
	if err := hideNewer(); err != nil {
		fmt.Fprintln(os.Stderr, "hide newer system calls:", err)
		os.Exit(1)
	}
	program := testbed.Plain.Path()
	err := unix.Exec(program, append([]string{program}, os.Args[1:]...), os.Environ())
	fmt.Fprintln(os.Stderr, program+":", err)
	os.Exit(1)
}

// hideNewer installs a filter (Documentation/userspace-api/seccomp_filter.rst): the number of
// a system call is what its data begin with.
func hideNewer() error {
	if os.Geteuid() != 0 {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_GETRANDOM, Jt: 1},
		{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, K: newest, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}
