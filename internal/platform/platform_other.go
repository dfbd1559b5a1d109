//go:build !linux && !windows

package platform

import (
	"os"
	"runtime"
)

// ThisHost describes the machine that this process runs on.
func ThisHost() Host {
	name, _ := os.Hostname()
	return Host{Name: name, OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
}

// CheckPrivileges returns an *UnsupportedError: there is no live tracing here.
func CheckPrivileges() error {
	return &UnsupportedError{What: "live tracing", OS: runtime.GOOS}
}

// Checks says that live tracing does not exist on this system.
func Checks() []Check {
	err := &UnsupportedError{What: "live tracing", OS: runtime.GOOS}
	return []Check{{Name: "live tracing", State: StateNo, Detail: err.Error(), Hint: err.Hint(), Required: true}}
}
