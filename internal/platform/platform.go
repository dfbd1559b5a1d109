// Package platform says what the operating system allows: privileges, BTF,
// mounts, versions. Every answer has three values, because "no" and "could not
// tell" lead to different advice.
package platform

import (
	"strings"
)

// State is the answer to a question about the system.
type State uint8

// States. StateUnknown is the zero value: nothing was found out.
const (
	StateUnknown State = iota
	StateYes
	StateNo
)

// String returns "yes", "no" or "unknown".
func (s State) String() string {
	switch s {
	case StateYes:
		return "yes"
	case StateNo:
		return "no"
	}
	return "unknown"
}

// Check is the answer to one question, as lostbeat doctor shows it.
type Check struct {
	// Name is what was looked for, in a few words: "privileges", "kernel BTF".
	Name string `json:"name"`
	// State says whether it is there.
	State State `json:"state"`
	// Detail is what was found, or what was missing.
	Detail string `json:"detail"`
	// Hint is what to do about it; empty when there is nothing to do or nothing known.
	Hint string `json:"hint,omitempty"`
	// Required says that live tracing does not work without it.
	Required bool `json:"required"`
}

// Host describes the machine.
type Host struct {
	// Name is the host name, empty unknown.
	Name string
	// OS and Arch are Go's names of the system (runtime.GOOS, runtime.GOARCH).
	OS, Arch string
	// Kernel is the kernel's release (uname -r), empty unknown.
	Kernel string
	// BootID tells one boot of a machine from another, empty unknown.
	BootID string
	// CPUs is the number of processors that can ever be online, 0 unknown.
	CPUs int
	// Emulated says that software emulates its processors, which stand still at times and report no stolen time.
	Emulated bool
}

// PrivilegeError says which privileges live tracing lacks.
type PrivilegeError struct {
	// Missing are the names of the missing privileges, as the system calls them.
	Missing []string
	// Advice is how to get them.
	Advice string
}

func (e *PrivilegeError) Error() string {
	return "missing privileges: " + strings.Join(e.Missing, ", ")
}

// Hint says how to get the privileges and what works without them.
func (e *PrivilegeError) Hint() string {
	return e.Advice + "; replaying recordings and captures needs no privileges"
}

// UnsupportedError says that something does not exist on this operating system.
type UnsupportedError struct {
	// What does not exist, e.g. "live tracing".
	What string
	// OS is runtime.GOOS.
	OS string
}

func (e *UnsupportedError) Error() string { return e.What + " is not supported on " + e.OS }

// Hint says what works instead.
func (e *UnsupportedError) Hint() string {
	return "open a recording or a Windows capture instead: lostbeat replay FILE"
}

// MissingError says that something which the system should offer is not there.
type MissingError struct {
	// What is missing, e.g. "cgroup2 mount".
	What string
	// Advice is how to provide it.
	Advice string
	// Err is the cause, nil when it is simply absent.
	Err error
}

func (e *MissingError) Error() string {
	if e.Err != nil {
		return e.What + ": " + e.Err.Error()
	}
	return "no " + e.What
}

func (e *MissingError) Unwrap() error { return e.Err }

// Hint says how to provide it.
func (e *MissingError) Hint() string { return e.Advice }
