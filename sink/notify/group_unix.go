//go:build unix

package notify

import (
	"os/exec"
	"syscall"
)

// ownGroup makes a program and what it starts a process group that is killed as a whole. Ctrl-C is not for it.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
