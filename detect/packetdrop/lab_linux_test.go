package packetdrop

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Link-layer addresses of the two ends of a bench.
var (
	txMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	rxMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

// bench is a pair of network namespaces in which one case makes the kernel drop
// packets: tx has testutil.VethAddr1, rx testutil.VethAddr2.
type bench struct {
	*testing.T
	tx, rx *testutil.Netns
	// port is that of the socket that is to lose packets, 0 none.
	port uint16
}

// newBench makes the namespaces of a case. They last until all cases are over:
// the next namespace would take over the inode number of one that is gone.
func newBench(t, all *testing.T) *bench {
	b := &bench{T: t}
	b.tx, b.rx = testutil.VethPair(all)
	for _, end := range []struct {
		n         *testutil.Netns
		own, peer net.HardwareAddr
		peerAddr  string
	}{{b.tx, txMAC, rxMAC, testutil.VethAddr2}, {b.rx, rxMAC, txMAC, testutil.VethAddr1}} {
		for _, device := range []string{"lb0", "default"} {
			b.sysctl(end.n, "net.ipv6.conf."+device+".disable_ipv6", "1") // it speaks unasked
		}
		b.ip(end.n, "link", "set", "lb0", "address", end.own.String())
		b.ip(end.n, "neigh", "replace", end.peerAddr, "lladdr", end.peer.String(), "dev", "lb0", "nud", "permanent")
	}
	return b
}

// ip runs ip(8) on a namespace.
func (b *bench) ip(n *testutil.Netns, args ...string) string {
	b.Helper()
	return b.run("ip", append([]string{"-n", n.Name}, args...)...)
}

// exec runs a command in a namespace.
func (b *bench) exec(n *testutil.Netns, args ...string) string {
	b.Helper()
	return b.run("ip", append([]string{"netns", "exec", n.Name}, args...)...)
}

func (b *bench) run(name string, args ...string) string {
	b.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		b.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// sysctl sets a setting of a namespace.
func (b *bench) sysctl(n *testutil.Netns, name, value string) {
	b.Helper()
	n.Do(b, func() error {
		return os.WriteFile("/proc/sys/"+strings.ReplaceAll(name, ".", "/"), []byte(value), 0o644)
	})
}

// hostSysctl sets a setting of the whole host until the case ends.
func (b *bench) hostSysctl(name, value string) (restore func()) {
	b.Helper()
	path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
	before, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	done := false
	restore = func() {
		if !done {
			done = true
			if err := os.WriteFile(path, before, 0o644); err != nil {
				b.Errorf("restore %s to %s: %v", name, before, err)
			}
		}
	}
	b.Cleanup(restore)
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		b.Fatal(err)
	}
	return restore
}

// mib reads a counter of a namespace, as "Udp.NoPorts", from its snmp, netstat or snmp6.
func (b *bench) mib(n *testutil.Netns, counter string) (value uint64) {
	b.Helper()
	protocol, name, _ := strings.Cut(counter, ".")
	found := false
	n.Do(b, func() error {
		for _, file := range []string{"snmp", "netstat"} {
			text, err := os.ReadFile("/proc/thread-self/net/" + file)
			if err != nil {
				return err
			}
			lines := strings.Split(string(text), "\n")
			for i := 0; i+1 < len(lines); i += 2 {
				names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
				for j := range names {
					if names[0] == protocol+":" && names[j] == name {
						found = true
						value, err = strconv.ParseUint(values[j], 10, 64)
						if err != nil {
							return err
						}
					}
				}
			}
		}
		f, err := os.Open("/proc/thread-self/net/snmp6")
		if err != nil {
			return err
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if fields := strings.Fields(lines.Text()); fields[0] == protocol+name {
				found = true
				if value, err = strconv.ParseUint(fields[1], 10, 64); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if !found {
		b.Fatalf("no counter %s", counter)
	}
	return value
}

// statistic reads a statistic of a device, such as "tx_dropped".
func (b *bench) statistic(n *testutil.Netns, device, name string) uint64 {
	b.Helper()
	text := b.exec(n, "cat", "/sys/class/net/"+device+"/statistics/"+name)
	value, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return value
}

// number returns the number that follows a word in text.
func (b *bench) number(text, word string) uint64 {
	b.Helper()
	_, rest, ok := strings.Cut(text, word)
	digits := strings.TrimLeft(rest, " \t")
	end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
	value, err := strconv.ParseUint(digits[:max(end, 0)], 10, 64)
	if !ok || err != nil {
		b.Fatalf("no number after %q in %s", word, text)
	}
	return value
}

// send sends datagrams to an address from a socket of its own.
func (b *bench) send(n *testutil.Netns, address string, count, size int) {
	b.Helper()
	n.Do(b, func() error {
		c, err := net.ListenUDP("udp", nil)
		if err != nil {
			return err
		}
		defer c.Close()
		to, err := net.ResolveUDPAddr("udp", address)
		if err != nil {
			return err
		}
		for range count {
			_, _ = c.WriteToUDP(make([]byte, size), to) // what is refused is counted by the kernel
		}
		return nil
	})
}

// receive opens a UDP socket that nobody reads, with the given options.
func (b *bench) receive(options func(fd int) error) (port uint16) {
	b.Helper()
	b.rx.Do(b, func() error {
		c, err := net.ListenUDP("udp4", nil)
		if err != nil {
			return err
		}
		b.Cleanup(func() { c.Close() })
		port = uint16(c.LocalAddr().(*net.UDPAddr).Port)
		b.port = port
		raw, err := c.SyscallConn()
		if err != nil || options == nil {
			return err
		}
		var failed error
		if err := raw.Control(func(fd uintptr) { failed = options(int(fd)) }); err != nil {
			return err
		}
		return failed
	})
	return port
}

// listen opens a TCP listener in rx with the given backlog; nobody accepts.
func (b *bench) listen(backlog int, options func(fd int) error) (port int) {
	b.Helper()
	b.rx.Do(b, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		b.Cleanup(func() { unix.Close(fd) })
		if options != nil {
			if err := options(fd); err != nil {
				return err
			}
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{}); err != nil {
			return err
		}
		if err := unix.Listen(fd, backlog); err != nil {
			return err
		}
		addr, err := unix.Getsockname(fd)
		if err != nil {
			return err
		}
		port = addr.(*unix.SockaddrInet4).Port
		b.port = uint16(port)
		return nil
	})
	return port
}

// connect begins connections from tx to a port of rx, with the given options.
func (b *bench) connect(port, count int, options func(fd int) error) {
	b.Helper()
	addr := netip.MustParseAddr(testutil.VethAddr2).As4()
	b.tx.Do(b, func() error {
		for range count {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			b.Cleanup(func() { unix.Close(fd) })
			if options != nil {
				if err := options(fd); err != nil {
					return err
				}
			}
			_ = unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: addr}) // in progress
		}
		return nil
	})
}

// md5Key is an option that sets a TCP MD5 key for an address.
func md5Key(addr, key string) func(fd int) error {
	return func(fd int) error {
		sig := unix.TCPMD5Sig{Keylen: uint16(len(key))}
		copy(sig.Key[:], key)
		sig.Addr.Family = unix.AF_INET
		a4 := netip.MustParseAddr(addr).As4()
		copy(sig.Addr.Data[:], append([]byte{0, 0}, a4[:]...)) // port, address
		return unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig)
	}
}

// frame is a packet as it is put on the wire.
type frame struct {
	to, from net.HardwareAddr // rxMAC and txMAC unless given
	etherTyp uint16           // IPv4 unless given
	src, dst string           // testutil.VethAddr1 and 2 unless given
	protocol uint8            // UDP unless given
	ttl      uint8            // 64 unless given
	fragment uint16           // flags and offset
	id       uint16
	payload  []byte // after the IP header; a UDP datagram to port 9 unless given
	damage   func(ip []byte)
}

// checksum is the Internet checksum of parts, one after the other.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, p := range parts {
		for i := 0; i < len(p); i += 2 {
			if i+1 < len(p) {
				sum += uint32(p[i])<<8 | uint32(p[i+1])
			} else {
				sum += uint32(p[i]) << 8
			}
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// udp is a UDP datagram with the given checksum; 0 is none.
func udp(port, sum uint16) []byte {
	d := make([]byte, 16)
	binary.BigEndian.PutUint16(d, 12345)
	binary.BigEndian.PutUint16(d[2:], port)
	binary.BigEndian.PutUint16(d[4:], uint16(len(d)))
	binary.BigEndian.PutUint16(d[6:], sum)
	return d
}

// tcp is a TCP header without data from tx to a port of rx, with the given flags.
func tcp(port int, flags byte) []byte {
	h := make([]byte, 20)
	binary.BigEndian.PutUint16(h, 12345)
	binary.BigEndian.PutUint16(h[2:], uint16(port))
	binary.BigEndian.PutUint32(h[4:], 1)
	h[12], h[13] = 5<<4, flags
	from, to := netip.MustParseAddr(testutil.VethAddr1).As4(), netip.MustParseAddr(testutil.VethAddr2).As4()
	pseudo := []byte{0, unix.IPPROTO_TCP, 0, byte(len(h))}
	binary.BigEndian.PutUint16(h[16:], checksum(from[:], to[:], pseudo, h))
	return h
}

func (f frame) bytes() []byte {
	to, typ, src, dst := f.to, f.etherTyp, f.src, f.dst
	if to == nil {
		to = rxMAC
	}
	if typ == 0 {
		typ = unix.ETH_P_IP
	}
	if src == "" {
		src = testutil.VethAddr1
	}
	if dst == "" {
		dst = testutil.VethAddr2
	}
	payload := f.payload
	if payload == nil {
		payload = udp(9, 0)
	}
	ip := make([]byte, 20)
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(20+len(payload)))
	binary.BigEndian.PutUint16(ip[4:], f.id)
	binary.BigEndian.PutUint16(ip[6:], f.fragment)
	ip[8], ip[9] = 64, unix.IPPROTO_UDP
	if f.ttl != 0 {
		ip[8] = f.ttl
	}
	if f.protocol != 0 {
		ip[9] = f.protocol
	}
	from, target := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	copy(ip[12:], from[:])
	copy(ip[16:], target[:])
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	if f.damage != nil {
		f.damage(ip)
	}
	source := f.from
	if source == nil {
		source = txMAC
	}
	out := append(append([]byte(nil), to...), source...)
	out = binary.BigEndian.AppendUint16(out, typ)
	return append(append(out, ip...), payload...)
}

// inject puts frames on the wire from tx, and returns how many rx has received.
func (b *bench) inject(count int, f frame) uint64 {
	b.Helper()
	before := b.statistic(b.rx, "lb0", "rx_packets")
	b.tx.Do(b, func() error {
		device, err := net.InterfaceByName("lb0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for range count {
			err := unix.Sendto(fd, f.bytes(), 0, &unix.SockaddrLinklayer{Ifindex: device.Index})
			if err != nil {
				return fmt.Errorf("send a frame: %w", err)
			}
		}
		return nil
	})
	return b.statistic(b.rx, "lb0", "rx_packets") - before
}

// counting is a BPF program that counts its calls and returns a verdict.
func (b *bench) counting(typ ebpf.ProgramType, attach ebpf.AttachType, verdict int32) (*ebpf.Program, func() uint64) {
	b.Helper()
	calls, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		b.Fatal(err)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "lb_counting", Type: typ, AttachType: attach, License: "GPL",
		Instructions: asm.Instructions{
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.LoadMapPtr(asm.R1, calls.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.Mov.Imm(asm.R1, 1),
			asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
			asm.Mov.Imm(asm.R0, verdict).WithSymbol("out"),
			asm.Return(),
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { program.Close(); calls.Close() })
	return program, func() (n uint64) {
		if err := calls.Lookup(uint32(0), &n); err != nil {
			b.Fatal(err)
		}
		return n
	}
}

// settle waits until a number has stopped to grow.
func (b *bench) settle(read func() uint64) uint64 {
	last := read()
	for range 50 {
		time.Sleep(50 * time.Millisecond)
		now := read()
		if now == last {
			return now
		}
		last = now
	}
	return last
}
