package platform

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/windows"
)

// ThisHost describes the machine that this process runs on.
func ThisHost() Host {
	name, _ := os.Hostname()
	v := windows.RtlGetVersion()
	return Host{
		Name: name, OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(),
		Kernel: fmt.Sprintf("%d.%d build %d", v.MajorVersion, v.MinorVersion, v.BuildNumber),
	}
}

// CheckPrivileges says whether this process may start a session for kernel events.
func CheckPrivileges() error {
	if windows.GetCurrentProcessToken().IsElevated() {
		return nil
	}
	return &PrivilegeError{
		Missing: []string{"administrator rights"},
		Advice:  "run it from an elevated prompt (Run as administrator)",
	}
}

// Checks finds out what this system allows, the required things first.
func Checks() []Check {
	host := ThisHost()
	checks := []Check{
		{Name: "system", State: StateYes, Detail: fmt.Sprintf("windows %s %s, %d CPUs", host.Kernel, host.Arch, host.CPUs)},
		{Name: "administrator rights", State: StateYes, Detail: "this process is elevated", Required: true},
		{
			Name: "tested on Windows", State: StateUnknown,
			Detail: "live tracing was run under Wine against an ETW that plays recorded events, never yet on a real Windows",
			Hint:   "compare with what Windows says, and report what differs: docs/WINDOWS.md lists what Wine cannot show",
		},
	}
	if err := CheckPrivileges(); err != nil {
		checks[1].State, checks[1].Detail = StateNo, err.Error()
		checks[1].Hint = "run it from an elevated prompt (Run as administrator)"
	}
	return checks
}
