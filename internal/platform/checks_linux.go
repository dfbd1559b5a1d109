package platform

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"lostbeat/internal/hint"

	"golang.org/x/sys/unix"
)

// Checks finds out what this system allows, the required things first.
func Checks() []Check {
	host := ThisHost()
	checks := []Check{
		{
			Name:     "system",
			State:    StateYes,
			Detail:   fmt.Sprintf("%s %s %s, %d CPUs", host.OS, host.Kernel, host.Arch, host.CPUs),
			Required: true,
		},
		checkOf("privileges", "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN are there", true, CheckPrivileges()),
		checkOf("kernel BTF", vmlinuxBTF, true, CheckBTF()),
	}
	root, err := CgroupRoot()
	checks = append(checks, checkOf("cgroup2", root, false, err))
	tracefs, err := Tracefs()
	checks = append(checks, checkOf("tracefs", tracefs, false, err))
	return append(checks, lockdown(), KernelSymbols())
}

// checkOf turns the outcome of a check function into its answer.
func checkOf(name, detail string, required bool, err error) Check {
	c := Check{Name: name, Detail: detail, Required: required, State: StateYes}
	if err == nil {
		return c
	}
	c.Detail = err.Error()
	c.State = StateUnknown
	var privilege *PrivilegeError
	var missing *MissingError
	if errors.As(err, &privilege) || errors.As(err, &missing) && missing.Err == nil {
		c.State = StateNo
	}
	c.Hint = hint.Of(err)
	return c
}

// lockdown reports whether the kernel restricts tracing by itself.
func lockdown() Check {
	c := Check{Name: "no kernel lockdown", State: StateYes, Detail: "none"}
	modes, err := os.ReadFile("/sys/kernel/security/lockdown")
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			c.State, c.Detail = StateUnknown, "the kernel does not say (no /sys/kernel/security/lockdown)"
		} else {
			c.State, c.Detail = StateUnknown, err.Error()
		}
		return c
	}
	return lockdownMode(string(modes))
}

// lockdownMode reads the contents of /sys/kernel/security/lockdown, in which
// the mode in force stands in brackets.
func lockdownMode(modes string) Check {
	c := Check{Name: "no kernel lockdown", State: StateUnknown, Detail: strings.TrimSpace(modes)}
	_, rest, found := strings.Cut(modes, "[")
	mode, _, closed := strings.Cut(rest, "]")
	if !found || !closed {
		return c
	}
	c.Detail = mode
	switch mode {
	case "none":
		c.State = StateYes
	case "confidentiality":
		c.State = StateNo
		c.Hint = "programs that read kernel memory by helper are refused; the probes that are affected say so"
	default:
		c.State = StateNo
	}
	return c
}

// KernelSymbols reports whether kernel addresses can be turned into names.
func KernelSymbols() Check {
	c := Check{Name: "kernel symbols", Detail: "/proc/kallsyms shows addresses"}
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		c.Detail = err.Error()
		return c
	}
	defer f.Close()
	var line [16]byte
	n, err := unix.Read(int(f.Fd()), line[:])
	switch {
	case err != nil:
		c.Detail = err.Error()
	case n < len(line):
		c.Detail = "/proc/kallsyms is empty"
		c.State = StateNo
	case strings.Trim(string(line[:]), "0") == "":
		c.State = StateNo
		c.Detail = "/proc/kallsyms hides addresses"
		c.Hint = "sysctl kernel.kptr_restrict=1 and CAP_SYSLOG show them; without, places in the kernel have no function " +
			"names"
	default:
		c.State = StateYes
	}
	return c
}
