package platform

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Files that the checks read.
const (
	procMounts  = "/proc/self/mounts"
	procStatus  = "/proc/self/status"
	vmlinuxBTF  = "/sys/kernel/btf/vmlinux"
	tracingPath = "/sys/kernel/tracing"
)

// ThisHost describes the machine that this process runs on.
func ThisHost() Host {
	h := Host{OS: runtime.GOOS, Arch: runtime.GOARCH}
	h.Name, _ = os.Hostname()
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		h.Kernel = unix.ByteSliceToString(uts.Release[:])
	}
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		h.BootID = strings.TrimSpace(string(id))
	}
	if cpus, err := PossibleCPUs(); err == nil {
		h.CPUs = len(cpus)
	}
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		h.Emulated = emulated(f)
		f.Close()
	}
	return h
}

// emulated says whether software emulates the processors that cpuinfo (/proc/cpuinfo) describes: QEMU, without
// acceleration, says so in the processor's name, and for Arm's in its number, which no real one has.
func emulated(cpuinfo io.Reader) bool {
	first, _ := io.ReadAll(io.LimitReader(cpuinfo, 8192)) // of the first processor
	about := make(map[string]string)
	for line := range strings.Lines(string(first)) {
		name, value, _ := strings.Cut(line, ":")
		about[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return strings.Contains(about["model name"], "QEMU TCG") ||
		about["CPU implementer"] == "0x00" && about["CPU part"] == "0x051"
}

// PossibleCPUs returns the numbers of the processors that can ever be online,
// from /sys/devices/system/cpu/possible.
func PossibleCPUs() ([]int, error) { return cpuListFile("/sys/devices/system/cpu/possible") }

// OnlineCPUs returns the numbers of the processors that are online now.
func OnlineCPUs() ([]int, error) { return cpuListFile("/sys/devices/system/cpu/online") }

func cpuListFile(path string) ([]int, error) {
	list, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("list processors: %w", err)
	}
	cpus, err := ParseCPUList[int](string(list))
	if err != nil {
		return nil, fmt.Errorf("list processors in %s: %w", path, err)
	}
	return cpus, nil
}

// Capabilities that live tracing needs, by number; CAP_SYS_ADMIN stands for
// CAP_BPF and CAP_PERFMON, as it did before Linux 5.8.
var neededCapabilities = []struct {
	bit  uint
	name string
	// admin says that CAP_SYS_ADMIN includes it.
	admin bool
}{
	{unix.CAP_BPF, "CAP_BPF", true},
	{unix.CAP_PERFMON, "CAP_PERFMON", true},
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", false},
}

const privilegeAdvice = "run as root (sudo lostbeat), or give the program the capabilities: " +
	"setcap cap_bpf,cap_perfmon,cap_net_admin,cap_sys_ptrace,cap_dac_read_search+ep lostbeat"

// CheckPrivileges returns a *PrivilegeError when this process lacks what live
// tracing needs, and another error when that could not be found out.
func CheckPrivileges() error {
	f, err := os.Open(procStatus)
	if err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	defer f.Close()
	effective, err := effectiveCapabilities(f)
	if err != nil {
		return fmt.Errorf("read capabilities from %s: %w", procStatus, err)
	}
	if missing := missingCapabilities(effective); len(missing) > 0 {
		return &PrivilegeError{Missing: missing, Advice: privilegeAdvice}
	}
	return nil
}

// effectiveCapabilities reads the CapEff line of a /proc/PID/status file.
func effectiveCapabilities(r io.Reader) (uint64, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if hex, ok := strings.CutPrefix(lines.Text(), "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		}
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	return 0, errors.New("no CapEff line")
}

func missingCapabilities(effective uint64) []string {
	admin := effective&(1<<unix.CAP_SYS_ADMIN) != 0
	var missing []string
	for _, c := range neededCapabilities {
		if effective&(1<<c.bit) == 0 && (!admin || !c.admin) {
			missing = append(missing, c.name)
		}
	}
	return missing
}

// CgroupRoot returns the mount point of the unified (v2) control group
// hierarchy, also where it is mounted beside v1 (/sys/fs/cgroup/unified). The
// error is a *MissingError.
func CgroupRoot() (string, error) {
	roots, err := mountsOf("cgroup2")
	if err != nil {
		return "", &MissingError{What: "cgroup2 mount", Err: err, Advice: "mount it: " + mountCgroup}
	}
	return visibleCgroup(roots)
}

const mountCgroup = "mkdir -p /run/cgroup2 && mount -t cgroup2 none /run/cgroup2"

// visibleCgroup returns the first of the given mount points at which there is
// a cgroup2 hierarchy.
func visibleCgroup(roots []string) (string, error) {
	if len(roots) == 0 {
		return "", &MissingError{What: "cgroup2 mount", Advice: "mount it: " + mountCgroup}
	}
	var err error
	for _, root := range roots {
		// What was mounted over it hides it, though it stays in the table.
		var fs unix.Statfs_t
		if err = unix.Statfs(root, &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return root, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("%s is hidden by another mount", roots[0])
	}
	return "", &MissingError{
		What:   "cgroup2 mount",
		Err:    err,
		Advice: "unmount what lies over it, or mount it once more: " + mountCgroup,
	}
}

// Tracefs returns the mount point of tracefs. The error is a *MissingError.
func Tracefs() (string, error) {
	root := ""
	roots, err := mountsOf("tracefs")
	if err == nil && len(roots) > 0 {
		root = roots[0]
		_, err = os.Stat(filepath.Join(root, "events"))
	}
	if err != nil || root == "" {
		return "", &MissingError{What: "tracefs mount", Err: err,
			Advice: "mount it: mount -t tracefs nodev " + tracingPath}
	}
	return root, nil
}

// mountsOf returns the mount points of a file system type.
func mountsOf(fstype string) ([]string, error) {
	f, err := os.Open(procMounts)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return findMounts(f, fstype)
}

// findMounts reads lines of the form of /proc/self/mounts.
func findMounts(r io.Reader, fstype string) (points []string, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 3 && fields[2] == fstype {
			points = append(points, unescapeMount(fields[1]))
		}
	}
	return points, lines.Err()
}

// unescapeMount undoes the octal escapes of /proc/self/mounts: space, tab,
// newline and backslash.
func unescapeMount(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// CheckBTF returns a *MissingError when the kernel does not describe its own
// types, which programs that follow kernel structures need.
func CheckBTF() error {
	_, err := os.Stat(vmlinuxBTF)
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return &MissingError{What: "kernel BTF (" + vmlinuxBTF + ")", Err: err,
		Advice: "use a kernel that was built with CONFIG_DEBUG_INFO_BTF=y, as distribution kernels since 2020 are"}
}

// PreemptRT says that the kernel is PREEMPT_RT: threads run softirqs and most interrupt handlers, and can be preempted
// meanwhile.
func PreemptRT() bool {
	var uts unix.Utsname
	return unix.Uname(&uts) == nil && isPreemptRT(unix.ByteSliceToString(uts.Version[:]))
}

// isPreemptRT reads the version as uname -v prints it: "#1 SMP PREEMPT_RT Debian 6.12.117-1~deb12u1".
func isPreemptRT(version string) bool { return slices.Contains(strings.Fields(version), "PREEMPT_RT") }
