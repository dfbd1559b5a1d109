package heartbeat

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/platform"
	"lostbeat/internal/vmtest"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// roleVariable names what a child process of a test does.
const roleVariable = "LOSTBEAT_HEARTBEAT_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := play(strings.Fields(role)); err != nil {
			panic(err)
		}
		return
	}
	vmtest.Main(m)
}

// taken is one datagram or piece of a stream as the child's own clocks saw it.
type taken struct {
	// Seq is the number in it, Stamp the kernel's time of its arrival, Read when the call returned, wall clock in
	// nanoseconds.
	Seq         int
	Stamp, Read int64
}

// told is what a child says when it is ready.
type told struct {
	Port, TID int
	Cookie    uint64
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// play is the child: a reader of "udp4", "udp6" or "tcp4" that is slow by a pause before the read of a given number. Of
// IPv4 it may be told the address, or the group.
func play(role []string) error {
	runtime.LockOSThread()
	if role[0] == "shaped" {
		return shaped()
	}
	network, number, pause := role[0], must(strconv.Atoi(role[1])), must(time.ParseDuration(role[2]))
	at := loopback
	if len(role) > 3 {
		at = netip.MustParseAddr(role[3])
	}
	fd, err := listen(network, at)
	if err != nil {
		return err
	}
	buffer, control := make([]byte, 4096), make([]byte, 256)
	out := json.NewEncoder(os.Stdout)
	for n := 0; ; n++ {
		if n == number {
			time.Sleep(pause)
		}
		// Looking at what comes is not reading it.
		if _, _, err := unix.Recvfrom(fd, buffer, unix.MSG_PEEK); errors.Is(err, unix.ECONNRESET) {
			return nil
		} else if err != nil {
			return err
		}
		size, rest, _, _, err := unix.Recvmsg(fd, buffer, control, 0)
		if err != nil {
			return err
		}
		t := taken{Read: time.Now().UnixNano(), Stamp: stampOf(control[:rest])}
		if _, err := fmt.Sscanf(string(buffer[:size]), "heartbeat %d", &t.Seq); err != nil {
			return nil // the last one
		}
		if err := out.Encode(t); err != nil {
			return err
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// bound opens the child's socket, and returns what is to be said of it.
func bound(network string, at netip.Addr) (int, *told, error) {
	family, kind, address := unix.AF_INET, unix.SOCK_DGRAM, unix.Sockaddr(&unix.SockaddrInet4{Addr: at.As4()})
	switch network {
	case "udp6":
		family, address = unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
	case "tcp4":
		kind = unix.SOCK_STREAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, nil, err
	}
	if err := unix.Bind(fd, address); err != nil {
		return -1, nil, err
	}
	if at.IsMulticast() {
		if err := unix.SetsockoptIPMreq(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreq{
			Multiaddr: at.As4(), Interface: hereAddr.Addr().As4(),
		}); err != nil {
			return -1, nil, err
		}
	}
	self := &told{TID: unix.Gettid(), Cookie: must(unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE))}
	switch a := must(unix.Getsockname(fd)).(type) {
	case *unix.SockaddrInet4:
		self.Port = a.Port
	case *unix.SockaddrInet6:
		self.Port = a.Port
	}
	return fd, self, nil
}

// listen opens the child's socket and says where.
func listen(network string, at netip.Addr) (int, error) {
	fd, self, err := bound(network, at)
	if err != nil {
		return -1, err
	}
	if network == "tcp4" {
		if err := unix.Listen(fd, 1); err != nil {
			return -1, err
		}
		if err := json.NewEncoder(os.Stdout).Encode(self); err != nil {
			return -1, err
		}
		if fd, _, err = unix.Accept4(fd, unix.SOCK_CLOEXEC); err != nil {
			return -1, err
		}
	} else if err := json.NewEncoder(os.Stdout).Encode(self); err != nil {
		return -1, err
	}
	return fd, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
}

// stampOf returns the kernel's time of arrival, 0 none.
func stampOf(control []byte) int64 {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
			ts := unix.Timespec{Sec: int64(native(m.Data)), Nsec: int64(native(m.Data[8:]))}
			return ts.Nano()
		}
	}
	return 0
}

// child is a reader in a process of its own.
type child struct {
	told
	cmd   *exec.Cmd
	lines *json.Decoder
}

// reader starts a child, in a control group of its own where grouped is set.
func reader(t *testing.T, grouped bool, role ...string) *child {
	t.Helper()
	c, _ := childWith(t, grouped, role...)
	return c
}

// childWith is reader with the child's standard input.
func childWith(t *testing.T, grouped bool, role ...string) (*child, io.Writer) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+strings.Join(role, " "))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if grouped {
		root, err := platform.CgroupRoot()
		if err != nil {
			t.Skip(err)
		}
		folder := filepath.Join(root, fmt.Sprintf("lostbeat-test-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-")))
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(folder); err != nil {
				t.Error(err)
			}
		})
		group, err := os.Open(folder)
		if err != nil {
			t.Fatal(err)
		}
		defer group.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, lines: json.NewDecoder(bufio.NewReader(out))}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // it was killed
	})
	if err := c.lines.Decode(&c.told); err != nil {
		t.Fatal(err)
	}
	return c, in
}

// dial connects to the child.
func (c *child) dial(t *testing.T, network string) net.Conn {
	t.Helper()
	host := map[bool]string{true: "::1", false: "127.0.0.1"}[network == "udp6"]
	conn, err := net.Dial(network, net.JoinHostPort(host, strconv.Itoa(c.Port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// send sends n heartbeats, each so long after the one before, and then says that they are over.
func (c *child) send(t *testing.T, s *ebpftest.Session, network string, n int, period time.Duration) []taken {
	t.Helper()
	return c.sendOver(t, s, c.dial(t, network), n, period)
}

// sendOver is send over a connection that there is.
func (c *child) sendOver(t *testing.T, s *ebpftest.Session, conn net.Conn, n int, period time.Duration) []taken {
	t.Helper()
	own, isTCP := conn.LocalAddr().(*net.TCPAddr)
	s.WaitFor(time.Minute, "flow", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.Flow(e)
		return ok && int(v.LocalPort) == c.Port && (!isTCP || int(v.RemotePort) == own.Port)
	})
	for i := range n {
		if _, err := fmt.Fprintf(conn, "heartbeat %d", i); err != nil {
			t.Fatal(err)
		}
		time.Sleep(period)
	}
	if _, err := fmt.Fprint(conn, "over"); err != nil {
		t.Fatal(err)
	}
	var all []taken
	for range n {
		var one taken
		if err := c.lines.Decode(&one); err != nil {
			break
		}
		all = append(all, one)
	}
	return all
}
