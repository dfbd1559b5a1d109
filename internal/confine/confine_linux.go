package confine

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// Reader confines a process that reads files which others have made. It keeps, of the capabilities that it has, those
// that open files whoever owns them; Landlock decides which files.
func Reader(files Files) Result {
	return apply([]string{"CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE"}, &files, nil, base())
}

// Client confines a process that asks servers on the given TCP ports, and name servers.
func Client(files Files, ports []uint16) (r Result) {
	r.add(LayerCapabilities, keepCapabilities(nil))
	r.add(LayerPrivileges, noNewPrivileges())
	r.add(LayerLandlock, restrict(files, ports))
	r.add(LayerSeccomp, loadFilter(clientCalls()))
	return r
}

// Converter confines a process that runs programs which read files that others have made.
func Converter(files Files) Result {
	return apply([]string{"CAP_DAC_READ_SEARCH"}, &files, nil, converterCalls())
}

// Tracer confines a process that traces this host, after its programs were attached.
func Tracer(t Tracing) Result { return apply(t.Keep, t.Files, t.Ports, tracerCalls(t)) }

// apply puts all layers in force, Landlock only where there are files to confine the process to.
func apply(keep []string, files *Files, ports []uint16, calls callSet) (r Result) {
	r.add(LayerCapabilities, keepCapabilities(keep))
	r.add(LayerPrivileges, noNewPrivileges())
	if files != nil {
		r.add(LayerLandlock, restrict(*files, ports))
	}
	r.add(LayerSeccomp, loadFilter(calls))
	return r
}

// LandlockVersion is the version of the kernel's Landlock interface, 0 without one.
func LandlockVersion() int {
	version, err := ll.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	return version
}

// keepCapabilities drops all capabilities but those named, from all threads.
func keepCapabilities(names []string) error {
	now, kept := cap.GetProc(), cap.NewSet()
	for v := range cap.MaxBits() {
		keep := slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, v.String()) })
		for _, flag := range []cap.Flag{cap.Effective, cap.Permitted, cap.Inheritable} {
			has, err := now.GetFlag(flag, v)
			if err != nil {
				return err
			}
			if err := kept.SetFlag(flag, has && keep, v); err != nil {
				return err
			}
		}
	}
	return kept.SetProc()
}

func noNewPrivileges() error { return ll.AllThreadsPrctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }

// Access rights, see landlock(7).
const (
	readFile   = ll.AccessFSReadFile
	readRights = readFile | ll.AccessFSReadDir
	// writeFile is what a file may be used for that is written, writeRights what a folder may.
	writeFile   = readFile | ll.AccessFSWriteFile | ll.AccessFSTruncate
	writeRights = readRights | writeFile | ll.AccessFSMakeReg | ll.AccessFSMakeDir | ll.AccessFSRemoveFile |
		ll.AccessFSRemoveDir | ll.AccessFSRefer
	deviceRights = writeFile | ll.AccessFSIoctlDev
)

// terminals are the devices that a program with a screen opens.
var terminals = []string{"/dev/tty", "/dev/null", "/dev/urandom"}

// always may be read: zones, and what terminals can do.
var always = []string{
	"/etc/localtime", "/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo",
	"/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo", "/usr/lib/terminfo",
}

// errNoLandlock is the error where the kernel has no Landlock.
var errNoLandlock = errors.New("this kernel has none, or it is switched off (CONFIG_SECURITY_LANDLOCK, lsm=)")

// restrict confines all threads to files, and to no TCP port but the given ones.
func restrict(files Files, ports []uint16) error {
	if LandlockVersion() == 0 {
		return errNoLandlock
	}
	config := landlock.V11
	if ports != nil {
		config = landlock.V8 // sockets of the host's services, and UDP, are used
	}
	config.Scoped = 0 // signals to this process itself would depend on the thread
	var rules []landlock.Rule
	add := func(paths []string, file, folder landlock.AccessFSSet) error {
		for _, path := range paths {
			info, err := os.Stat(path)
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
				continue
			}
			if err != nil {
				return err
			}
			rights := file
			if info.IsDir() {
				rights = folder
			}
			rules = append(rules, landlock.PathAccess(rights, path).IgnoreIfMissing())
		}
		return nil
	}
	const execute = ll.AccessFSExecute
	err := errors.Join(
		add(always, readFile, readRights),
		add(terminals, deviceRights, deviceRights),
		add(files.Read, readFile, readRights),
		add(files.List, readFile, ll.AccessFSReadDir),
		add(files.Write, writeFile, writeRights),
		add(files.Empty, readFile, ll.AccessFSRemoveDir|ll.AccessFSReadDir),
		add(files.Execute, readFile|execute, readRights|execute),
	)
	if err != nil {
		return fmt.Errorf("look at the files: %w", err)
	}
	for _, port := range ports {
		rules = append(rules, landlock.ConnectTCP(port))
	}
	return config.BestEffort().Restrict(rules...)
}

// SeccompSupported reports whether the kernel has filters of system calls.
func SeccompSupported() bool { return seccomp.Supported() }

// Has reports whether this process has a capability.
func Has(capability string) bool {
	v, err := cap.FromName(strings.ToLower(capability))
	if err != nil {
		return false
	}
	has, err := cap.GetProc().GetFlag(cap.Effective, v)
	return err == nil && has
}
