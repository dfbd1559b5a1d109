package confine

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// childVariable makes the test binary a confined process, which tries what it must not do and prints what happened.
const childVariable = "LOSTBEAT_CONFINED"

// task is what a confined process is told.
type task struct {
	Kind   string
	Files  Files
	Keep   []string
	Loads  bool
	Serves bool
	Secret string
	Folder string
	Target int
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		confined(text)
		return
	}
	os.Exit(m.Run())
}

// attempts are what a confined process tries, by name.
func attempts(k task) map[string]func() error {
	write := func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }
	return map[string]func() error{
		"read an input":          func() error { _, err := os.ReadFile(filepath.Join(k.Folder, "input")); return err },
		"list the inputs":        func() error { _, err := os.ReadDir(k.Folder); return err },
		"write the output":       func() error { return write(filepath.Join(k.Folder, "out", "file")) },
		"replace the output":     func() error { return replace(filepath.Join(k.Folder, "out")) },
		"write an input":         func() error { return write(filepath.Join(k.Folder, "input")) },
		"write elsewhere":        func() error { return write(filepath.Join(k.Folder, "elsewhere", "file")) },
		"read elsewhere":         func() error { _, err := os.ReadFile(k.Secret); return err },
		"read the passwords":     func() error { _, err := os.ReadFile("/etc/shadow"); return err },
		"read through /proc":     func() error { _, err := os.ReadFile("/proc/self/root" + k.Secret); return err },
		"link out":               func() error { return os.Symlink("/etc", filepath.Join(k.Folder, "out", "link")) },
		"run a program":          func() error { return exec.Command("/bin/true").Run() },
		"become a program":       func() error { return syscall.Exec("/bin/true", []string{"true"}, nil) },
		"accept a connection":    func() error { _, _, err := unix.Accept4(-1, 0); return reached(err) },
		"change a file's mode":   func() error { return reached(unix.Fchmod(-1, 0o644)) },
		"connect":                func() error { _, err := net.Dial("tcp", "127.0.0.1:9"); return err },
		"open a UDP socket":      func() error { _, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); return err },
		"open a packet socket":   func() error { _, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); return err },
		"open a netlink socket":  func() error { _, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, 0); return err },
		"trace a process":        func() error { return unix.PtraceAttach(k.Target) },
		"signal a process":       func() error { return unix.Kill(k.Target, unix.SIGTERM) },
		"read memory of another": func() error { return readMemory(k.Target) },
		"mount":                  func() error { return unix.Mount("none", "/mnt", "tmpfs", 0, "") },
		"change namespaces":      func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
		"load a module":          func() error { return unix.FinitModule(0, "", 0) },
		"make a BPF map":         func() error { return bpf(0) },
		"use a BPF map":          func() error { return bpf(1) },
		"pin a BPF object":       func() error { return bpf(6) },
		"use io_uring":           func() error { _, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, 0, 0); return of(e) },
		"use a 32-bit call":      oldCall,
		"start a thread":         startThread,
		"get privileges back":    func() error { return unix.Setuid(1) },
	}
}

// of makes errno nil where it is 0.
func of(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// reached makes the error of a call that has reached the kernel nil.
func reached(err error) error {
	if errors.Is(err, unix.EBADF) {
		return nil
	}
	return err
}

func replace(folder string) error {
	if err := os.WriteFile(filepath.Join(folder, "next"), nil, 0o600); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(folder, "next"), filepath.Join(folder, "last")); err != nil {
		return err
	}
	return os.Remove(filepath.Join(folder, "last"))
}

func readMemory(pid int) error {
	buffer := make([]byte, 8)
	local := []unix.Iovec{{Base: &buffer[0], Len: 8}}
	_, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: 4096, Len: 8}}, 0)
	return err
}

// bpf calls bpf(2) with a command and nothing else: what reaches the kernel is refused as invalid.
func bpf(command uintptr) error {
	_, _, e := unix.Syscall(unix.SYS_BPF, command, 0, 0)
	return of(e)
}

func startThread() error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and let it end
		_, err := os.ReadFile("/etc/shadow")
		done <- err
	}()
	if err := <-done; err == nil {
		return errors.New("a new thread reads what the others may not")
	}
	return nil
}

// confined is the confined process.
func confined(text string) {
	var k task
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		panic(err)
	}
	ready := make(chan struct{})
	old := make(chan func())
	go func() { // a thread that was there before
		runtime.LockOSThread()
		close(ready)
		for f := range old {
			f()
		}
	}()
	<-ready
	var r Result
	switch k.Kind {
	case "reader":
		r = Reader(k.Files)
	case "client":
		r = Client(k.Files, []uint16{111})
	case "tracer":
		r = Tracer(Tracing{Keep: k.Keep, Loads: k.Loads, Accepts: k.Serves, SetsModes: k.Serves})
	case "strict":
		r = Tracer(Tracing{Keep: k.Keep, Loads: k.Loads, Files: &k.Files, Ports: []uint16{111}})
	}
	results := map[string]string{"result": fmt.Sprint(r)}
	for name, f := range attempts(k) {
		if k.Kind != "reader" && name == "become a program" && !slices.Contains(r.On, LayerSeccomp) {
			continue
		}
		for thread, do := range map[string]func(func()){
			"": func(f func()) { f() },
			" (old thread)": func(f func()) {
				done := make(chan struct{})
				old <- func() { f(); close(done) }
				<-done
			},
		} {
			do(func() {
				results[name+thread] = "done"
				if err := f(); err != nil {
					results[name+thread] = err.Error()
				}
			})
		}
	}
	status, err := os.ReadFile("/proc/thread-self/status")
	if err == nil {
		for line := range strings.Lines(string(status)) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":\t"); ok {
				results["status "+name] = value
			}
		}
	}
	out, err := json.Marshal(results)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(out))
}

// try runs a confined process and returns what it could do.
func try(t *testing.T, k task) map[string]string {
	t.Helper()
	k.Folder = t.TempDir()
	for _, folder := range []string{"out", "elsewhere"} {
		if err := os.Mkdir(filepath.Join(k.Folder, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	k.Secret = filepath.Join(k.Folder, "elsewhere", "secret")
	for _, path := range []string{k.Secret, filepath.Join(k.Folder, "input")} {
		if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k.Files = Files{
		Read: []string{filepath.Join(k.Folder, "input"), "/proc/self"}, Write: []string{filepath.Join(k.Folder, "out")},
	}
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.Process.Kill(); err != nil {
			t.Error(err)
		}
		if err := other.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("the process beside it was ended by the confined one: %v", err)
		}
	})
	k.Target = other.Process.Pid
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	results := map[string]string{}
	if err := json.Unmarshal(out, &results); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Log(results["result"])
	if strings.Contains(results["result"], LayerSeccomp+":") {
		t.Skip("this kernel has no seccomp filters: ", results["result"])
	}
	if LandlockVersion() == 0 && k.Kind != "tracer" {
		t.Skip("this kernel has no Landlock: ", results["result"])
	}
	return results
}

// check compares what could be done with what may be done.
func check(t *testing.T, results map[string]string, may ...string) {
	t.Helper()
	allowed := map[string]bool{}
	for _, name := range may {
		allowed[name] = true
	}
	for name := range attempts(task{}) {
		for _, thread := range []string{"", " (old thread)"} {
			switch got := results[name+thread]; {
			case allowed[name] && got != "done":
				t.Errorf("%s%s: %s", name, thread, got)
			case !allowed[name] && !strings.Contains(got, "not permitted") && !strings.Contains(got, "permission denied"):
				t.Errorf("%s%s is not refused: %q", name, thread, got)
			}
		}
	}
	if results["status NoNewPrivs"] != "1" || results["status Seccomp"] != "2" {
		t.Errorf("no_new_privs %s, seccomp %s", results["status NoNewPrivs"], results["status Seccomp"])
	}
}

func TestReader(t *testing.T) {
	t.Parallel()
	results := try(t, task{Kind: "reader"})
	check(t, results, "read an input", "write the output", "replace the output", "start a thread")
	if os.Getuid() == 0 {
		if got := results["status CapEff"]; got != "0000000000000006" { // DAC_OVERRIDE, DAC_READ_SEARCH
			t.Errorf("capabilities %s", got)
		}
	}
}

func TestClient(t *testing.T) {
	t.Parallel()
	results := try(t, task{Kind: "client"})
	check(t, results, "read an input", "write the output", "replace the output", "start a thread", "open a UDP socket")
	if got := results["status CapEff"]; got != "0000000000000000" {
		t.Errorf("capabilities %s", got)
	}
}

func TestStrictTracer(t *testing.T) {
	t.Parallel()
	results := try(t, task{Kind: "strict", Loads: true})
	invalid(t, results, "make a BPF map", "use a BPF map")
	check(t, results, "read an input", "write the output", "replace the output", "start a thread", "open a UDP socket",
		"open a netlink socket", "make a BPF map", "use a BPF map")
	if got := results["status CapEff"]; got != "0000000000000000" {
		t.Errorf("capabilities %s", got)
	}
}

func TestTracer(t *testing.T) {
	t.Parallel()
	for name, loads := range map[string]bool{"that loads programs and serves metrics": true, "that does not": false} {
		t.Run(name, func(t *testing.T) {
			results := try(t, task{
				Kind: "tracer", Loads: loads, Serves: loads, Keep: []string{"CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE"},
			})
			may := []string{
				"read an input", "list the inputs", "write the output", "replace the output", "write an input",
				"write elsewhere", "read elsewhere", "read through /proc", "open a netlink socket", "use a BPF map",
				"link out",
			}
			invalid(t, results, "use a BPF map")
			if loads {
				invalid(t, results, "make a BPF map")
				may = append(may, "make a BPF map", "accept a connection", "change a file's mode")
			}
			for _, name := range []string{"connect", "open a UDP socket", "read the passwords", "start a thread"} {
				for _, thread := range []string{"", " (old thread)"} { // the network decides, and the file's owner
					results[name+thread] = "done"
				}
				may = append(may, name)
			}
			for _, thread := range []string{"", " (old thread)"} {
				results["link out"+thread] = "done" // the second one finds the first
			}
			check(t, results, may...)
		})
	}
}

// invalid checks that calls have reached the kernel, which refuses them as invalid, and counts them as done.
func invalid(t *testing.T, results map[string]string, names ...string) {
	t.Helper()
	for _, name := range names {
		for _, thread := range []string{"", " (old thread)"} {
			if got := results[name+thread]; !strings.Contains(got, "invalid argument") && !strings.Contains(got, "bad ") &&
				(os.Getuid() == 0 || got == "done") {
				t.Errorf("%s%s: %q", name, thread, got)
			}
			results[name+thread] = "done"
		}
	}
}

func TestKept(t *testing.T) {
	t.Parallel()
	if names, loads := Kept(nil); !loads || len(names) != 7 {
		t.Errorf("for all probes %v, %v", names, loads)
	}
	if names, loads := Kept([]string{"interrupt", "pause"}); loads || fmt.Sprint(names) != "[CAP_DAC_READ_SEARCH]" {
		t.Errorf("for interrupts %v, %v", names, loads)
	}
}
