package vmtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// guestVariable marks the second start of init, after /proc has been mounted.
const guestVariable = "LOSTBEAT_GUEST"

// Main runs the tests of m and exits, as TestMain does; as the init process of
// a guest it prepares the system first and turns it off afterwards.
//
// It keeps the first thread to itself: a test that enters a namespace lets its
// thread end there, which the first one does not, and the process counts as being
// where that thread is.
func Main(m *testing.M) {
	runtime.LockOSThread()
	if os.Getpid() != 1 {
		os.Exit(m.Run())
	}
	if os.Getenv(systemdVariable) != "" {
		fmt.Println("start systemd:", startSystemd())
		return
	}
	status := 1
	if err := prepare(); err != nil {
		fmt.Println("prepare the guest:", err)
	} else {
		status = m.Run()
	}
	fmt.Printf("%s%d\n", exitMark, status)
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("power off:", err)
	}
}

// Guest says whether this process runs in a guest.
func Guest() bool { return os.Getenv(guestVariable) != "" }

// prepare mounts what probes need. The eBPF library reads /proc when a program
// starts, so init starts itself again once that is mounted.
func prepare() error {
	if !Guest() {
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			return fmt.Errorf("mount /proc: %w", err)
		}
		env := append(os.Environ(), guestVariable+"=1", "LOSTBEAT_REQUIRE_PRIVILEGED=1", "TMPDIR=/tmp")
		return unix.Exec("/proc/self/exe", os.Args, env)
	}
	for _, m := range []struct{ kind, path string }{
		{"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"},
		{"tracefs", "/sys/kernel/tracing"}, {"cgroup2", "/sys/fs/cgroup"}, {"bpf", "/sys/fs/bpf"},
	} {
		if err := unix.Mount(m.kind, m.path, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.path, err)
		}
	}
	if err := loadModules(); err != nil {
		return err
	}
	return LoopbackUp()
}

// loadModules loads Options.Modules and what they need, in order.
func loadModules() error {
	modules, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	for _, path := range modules {
		if err := loadModule(path); err != nil {
			return err
		}
	}
	return nil
}

// loadModule loads a module unless it is loaded.
func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w", path, err)
	}
	return nil
}

// Load loads modules of the guest that Options.Later names, in order.
func Load(modules ...string) error {
	for _, module := range modules {
		if err := loadModule("/modules/later/" + module + ".ko"); err != nil {
			return err
		}
	}
	return nil
}

// LoopbackUp starts the loopback device of the calling thread's network
// namespace.
func LoopbackUp() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("start the loopback device: %w", err)
	}
	return nil
}
