package sched

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"lostbeat/internal/cgroup"
	"lostbeat/internal/vmtest"

	"golang.org/x/sys/unix"
)

// roleVariable names what a child process of a test does, with its argument.
const roleVariable = "LOSTBEAT_SCHED_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		name, argument, _ := strings.Cut(role, " ")
		play(name, argument)
		return
	}
	vmtest.Main(m)
}

// part is what a child says of itself: first who it is, at the end what it measured.
type part struct {
	TID  int
	Port int
	// CPU is the CPU time of the thread, Wall how long it played, Blocked the time that its own clock saw
	// pass in the calls that block, in nanoseconds.
	CPU, Wall, Blocked int64
	// Threads are those that it started, each of which computed for a while: Blocked in all.
	Threads []int
	// Cookie is that of its socket.
	Cookie uint64
	Error  string
}

func say(p part) {
	line, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

// threadTime is the CPU time of the calling thread.
func threadTime() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		panic(err)
	}
	return now.Nano()
}

// play is the child: one thread that says who it is, waits for a line, plays
// until the input ends, and says what it measured.
func play(role, argument string) {
	runtime.LockOSThread()
	comm := []byte("lb-" + role + "\x00")
	if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&comm[0])), 0, 0, 0); err != nil {
		panic(err)
	}
	self := part{TID: unix.Gettid()}
	stop := make(chan struct{})
	input := bufio.NewReader(os.Stdin)
	step := prepareRole(role, argument, &self)
	say(self)
	_, _ = input.ReadString('\n')
	go func() {
		_, _ = input.ReadString('\n')
		close(stop)
	}()
	began, start := threadTime(), time.Now()
	finish := func() {
		self.CPU, self.Wall = threadTime()-began, int64(time.Since(start))
		say(self)
	}
	for {
		select {
		case <-stop:
			finish()
			return
		default:
		}
		if err := step(); err != nil {
			self.Error = err.Error()
			finish()
			return
		}
	}
}

// blocking measures calls that block.
func (p *part) blocking(f func() error) func() error {
	return func() error {
		began := time.Now()
		err := f()
		p.Blocked += int64(time.Since(began))
		return err
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// prepareRole returns what the thread does again and again.
func prepareRole(role, argument string, self *part) func() error {
	switch role {
	case "spin":
		return func() error {
			for end := time.Now().Add(time.Millisecond); time.Now().Before(end); {
			}
			return nil
		}
	case "late": // reads datagrams, and adds up how late its own clock says that it has them
		return lateRole(self)
	case "read": // datagrams, as a reader of heartbeats does
		fd := must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0))
		timeout := unix.Timeval{Sec: 2}
		for _, err := range []error{
			unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		} {
			if err != nil {
				panic(err)
			}
		}
		self.Port = must(unix.Getsockname(fd)).(*unix.SockaddrInet4).Port
		self.Cookie = must(unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE))
		buffer := make([]byte, 64)
		return func() error {
			_, _, err := unix.Recvfrom(fd, buffer, 0)
			if err == unix.EAGAIN || err == unix.EINTR {
				return nil
			}
			return err
		}
	case "pipe": // reads a pipe into which nobody writes, in place of its socket
		var pair [2]int
		if err := unix.Pipe(pair[:]); err != nil {
			panic(err)
		}
		return self.blocking(func() error {
			var buffer [1]byte
			go func() {
				time.Sleep(700 * time.Millisecond)
				_, _ = unix.Write(pair[1], buffer[:])
			}()
			_, err := unix.Read(pair[0], buffer[:])
			return err
		})
	case "flock":
		f := must(os.Open(argument))
		return self.blocking(func() error {
			if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
				return err
			}
			return unix.Flock(int(f.Fd()), unix.LOCK_UN)
		})
	case "futex":
		return futexRole(self)
	case "direct": // reads past the page cache
		f := must(os.OpenFile(argument, os.O_RDONLY|unix.O_DIRECT, 0))
		page := must(unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE))
		return self.blocking(func() error {
			_, err := unix.Pread(int(f.Fd()), page, 0)
			return err
		})
	case "memory": // touches more memory than its group may have
		size := must(strconv.Atoi(argument))
		memory := must(unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE))
		next := 0
		return self.blocking(func() error {
			for range 64 {
				memory[next]++
				next = (next + 4096) % size
			}
			return nil
		})
	case "threads": // starts a thread for each piece of work
		return func() error {
			type done struct {
				tid int
				cpu int64
			}
			ended := make(chan done)
			go func() {
				runtime.LockOSThread() // and never unlocks: the thread ends with it
				began := threadTime()
				for threadTime()-began < 20e6 {
				}
				ended <- done{unix.Gettid(), threadTime() - began}
			}()
			d := <-ended
			self.Threads = append(self.Threads, d.tid)
			self.Blocked += d.cpu
			return unix.Nanosleep(&unix.Timespec{Nsec: 50e6}, nil)
		}
	case "sleep":
		return self.blocking(func() error {
			return unix.Nanosleep(&unix.Timespec{Nsec: 300e6}, nil)
		})
	}
	panic("no role " + role)
}

// child is a process that plays a role.
type child struct {
	t     testing.TB
	cmd   *exec.Cmd
	input interface{ Close() error }
	write func(string)
	out   *bufio.Reader
	part  part
	ended bool
}

// newChild starts a process in the control group that the folders name.
func newChild(t testing.TB, role string, groups ...string) *child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+role, "GOMAXPROCS=2", "GODEBUG=asyncpreemptoff=1")
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: cmd, input: input, out: bufio.NewReader(output)}
	c.write = func(line string) {
		if _, err := input.Write([]byte(line)); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Process.Signal(unix.SIGCONT)
		_ = cmd.Wait()
	})
	c.read()
	for _, folder := range groups {
		c.move(folder)
	}
	return c
}

func (c *child) read() {
	c.t.Helper()
	line, err := c.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &c.part)
	}
	if err != nil {
		c.t.Fatalf("what the child says: %q, %v", line, err)
	}
	if c.part.Error != "" {
		c.t.Errorf("the child: %s", c.part.Error)
	}
}

// move puts the process into a control group.
func (c *child) move(folder string) {
	c.t.Helper()
	put(c.t, filepath.Join(folder, "cgroup.procs"), strconv.Itoa(c.pid()))
}

// pin keeps the thread on one CPU.
func (c *child) pin(cpu int) {
	c.t.Helper()
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(c.part.TID, &set); err != nil {
		c.t.Fatal(err)
	}
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// begin lets the child play.
func (c *child) begin() { c.write("go\n") }

// end lets the child end and reads what it measured.
func (c *child) end() part {
	c.t.Helper()
	if !c.ended {
		c.ended = true
		_ = c.input.Close()
		c.read()
	}
	return c.part
}

// put writes a file of a control group.
func put(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatalf("write %q: %v", text, err)
	}
}

// send sends a datagram every 10 ms until the returned function is called.
func send(t testing.TB, port int) (stop func()) {
	t.Helper()
	conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-done:
				tick.Stop()
				return
			case <-tick.C:
				_, _ = conn.Write([]byte("beat"))
			}
		}
	}()
	return func() { close(done); <-ended; conn.Close() }
}

// futexRole waits for a lock that another thread holds for 400 of 500 ms.
func futexRole(self *part) func() error {
	var word [1]uint32
	word[0] = 1
	go func() {
		runtime.LockOSThread()
		for {
			time.Sleep(400 * time.Millisecond)
			futexWake(&word[0])
		}
	}()
	return self.blocking(func() error { futexWait(&word[0], 1); return nil })
}

// group makes a control group with a controller, in whichever version of the
// hierarchy has it, and returns its folder and whether it is version 2. It is
// removed with the test.
func group(t testing.TB, controller string) (folder string, unified bool) {
	t.Helper()
	mounts := cgroup.Mounted("/proc")
	old := map[string]cgroup.Tree{"cpu": mounts.CPU, "freezer": mounts.Freezer}[controller]
	if controller == "memory" || controller == "blkio" {
		old.Point = filepath.Join("/sys/fs/cgroup", controller)
		if _, err := os.Stat(old.Point); err != nil {
			old.Point = ""
		}
	}
	if controller == "freezer2" || old.Point == "" {
		unified, old = true, mounts.Unified
		if controller != "freezer2" && controller != "freezer" {
			_ = os.WriteFile(filepath.Join(old.Point, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
		}
	}
	folder = filepath.Join(old.Point, "lostbeat-test-"+strings.ReplaceAll(t.Name(), "/", "-"))
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 50 {
			if err := os.Remove(folder); err == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("%s is still there", folder)
	})
	return folder, unified
}
