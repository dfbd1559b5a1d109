package packetdrop

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	lbebpf "lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/probes/drop"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// production makes the kernel drop packets for one reason.
type production struct {
	// name is the case, and what Reason.Proven of the entry says.
	name string
	// reason is the entry that must be found, a function for losses without a reason.
	reason string
	// place, transmit and port are what the events must say; port 0 is not compared.
	place    model.Place
	transmit bool
	port     uint16
	// make makes it happen and returns the namespace in which packets were lost
	// and how many by a count that is not ours.
	make func(b *bench) (n *testutil.Netns, lost uint64)
}

const packets = 20

// TestReasons makes the kernel drop packets for many reasons, each in network
// namespaces of its own, and compares with an independent count.
func TestReasons(t *testing.T) {
	testutil.Privileged(t)
	session := ebpftest.Start(t, lbebpf.Options{}, drop.New())
	all := t
	type outcome struct {
		production
		inode uint32
		lost  uint64
	}
	var outcomes []outcome
	for _, p := range productions {
		t.Run("make/"+p.name, func(t *testing.T) {
			b := newBench(t, all)
			n, lost := p.make(b)
			if b.port != 0 && p.place != model.PlaceProtocol { // TCP's own decisions carry no socket
				p.port = b.port
			}
			if lost == 0 {
				t.Fatal("the kernel counted no loss")
			}
			outcomes = append(outcomes, outcome{p, uint32(n.Inode), lost})
		})
	}
	session.Intervals(1)
	batches := session.Stop()
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	var missed uint64
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if l, ok := b.Loss(e); ok {
			missed += l.Lost
		}
	})
	for _, o := range outcomes {
		t.Run(o.name, func(t *testing.T) {
			var got uint64
			others := map[string]uint64{}
			ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
				d, ok := b.Drop(e)
				if !ok || d.NetnsInode != o.inode {
					return
				}
				found, match := Lookup(d.Reason, d.Location)
				if found.Name != o.reason || match < MatchFunction || (d.Flags&model.FlagTransmit != 0) != o.transmit {
					others[fmt.Sprintf("%s %s %v", d.Reason, d.Location, d.Flags)] += d.Count
					return
				}
				got += d.Count
				if d.Place != o.place || o.port != 0 && d.LocalPort != o.port {
					t.Errorf("unexpected %+v", d)
				}
			})
			// A program is not run for a packet that is lost while it runs on the same
			// CPU; the engine reports those. Single events are missing beyond them, for
			// a reason that is not known (docs/LIMITATIONS.md).
			if got != o.lost {
				t.Logf("dropped %d, the kernel counted %d", got, o.lost)
			}
			if got > o.lost || got+missed+o.lost/10 < o.lost {
				t.Errorf("dropped %d, the kernel counted %d, %d missed in all; other losses there: %v",
					got, o.lost, missed, others)
			}
		})
	}
}

// TestProven wants each entry to name exactly the cases that produce it: no other entry is called proven.
func TestProven(t *testing.T) {
	want := map[*Reason][]string{}
	for reason, name := range map[string]string{
		"CPU_BACKLOG": "probes/drop TestLongBacklog", "veth_xmit": "probes/drop TestLongThreadedRing",
	} {
		entry, _ := Lookup(reason, reason)
		want[entry] = append(want[entry], name)
	}
	for _, p := range productions {
		entry, _ := Lookup(p.reason, p.reason)
		if entry.Name == reasonNotSpecified || entry == &unknownReason {
			entry, _ = Lookup("", p.reason)
		}
		want[entry] = append(want[entry], p.name)
	}
	for _, table := range append(tables, families, functions) {
		for i := range table {
			r := &table[i]
			if got := strings.Join(want[r], ", "); r.Proven != got {
				t.Errorf("%s is said to be proven by %q, want %q", r.Name, r.Proven, got)
			}
		}
	}
}

// counted returns a counter of rx before and after f.
func (b *bench) counted(n *testutil.Netns, counter string, f func()) (*testutil.Netns, uint64) {
	b.Helper()
	before := b.mib(n, counter)
	f()
	return n, b.settle(func() uint64 { return b.mib(n, counter) }) - before
}

var productions = []production{
	{"no_socket", "NO_SOCKET", model.PlaceProtocol, false, 9, func(b *bench) (*testutil.Netns, uint64) {
		return b.counted(b.rx, "Udp.NoPorts", func() { b.send(b.tx, testutil.VethAddr2+":9", packets, 64) })
	}},
	{"receive_buffer", "SOCKET_RCVBUFF", model.PlaceSocket, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		port := b.receive(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) })
		return b.counted(b.rx, "Udp.RcvbufErrors", func() {
			b.send(b.tx, at(port), 10*packets, 64)
		})
	}},
	{"udp_mem", "PROTO_MEM", model.PlaceSocket, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		port := b.receive(func(fd int) error {
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
		})
		restore := b.hostSysctl("net.ipv4.udp_mem", "0 0 0")
		// Each CPU may count 1 MiB on its own before it looks at the limit.
		b.send(b.tx, at(port), 4000, 1000)
		restore()
		// Linux 6.18 leaves Udp.MemErrors at 0; the socket's own count is right.
		return b.rx, b.number(b.exec(b.rx, "ss", "-uamn"), ",d")
	}},
	{"listen_overflow", "TCP_LISTEN_OVERFLOW", model.PlaceSocket, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		var fd int
		port := b.listen(2*packets, func(f int) error {
			fd = f
			return nil
		})
		// The last step of each handshake waits until the queue has shrunk. A first
		// step that finds a full queue is counted, but is no drop for the kernel.
		rule := []string{"OUTPUT", "-p", "tcp", "--tcp-flags", "SYN,ACK", "ACK", "-j", "DROP"}
		b.exec(b.tx, append([]string{"iptables", "-A"}, rule...)...)
		b.connect(port, packets, nil)
		if err := unix.Listen(fd, 1); err != nil {
			b.Fatal(err)
		}
		b.exec(b.tx, append([]string{"iptables", "-D"}, rule...)...)
		defer b.exec(b.tx, "iptables", "-A", "OUTPUT", "-p", "tcp", "-j", "DROP") // the clients try again
		return b.counted(b.rx, "TcpExt.ListenOverflows", func() { time.Sleep(1500 * time.Millisecond) })
	}},
	{"socket_filter", "SOCKET_FILTER", model.PlaceFilter, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		port := b.receive(func(fd int) error {
			nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
			return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
				&unix.SockFprog{Len: 1, Filter: &nothing[0]})
		})
		return b.counted(b.rx, "Udp.InErrors", func() {
			b.send(b.tx, at(port), packets, 64)
		})
	}},
	{"capture", "PACKET_SOCK_ERROR", model.PlaceSocket, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		var fd int
		b.rx.Do(b, func() (err error) {
			if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_IP))); err != nil {
				return err
			}
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 2048)
		})
		defer unix.Close(fd)
		b.send(b.tx, testutil.VethAddr2+":9", 5*packets, 500)
		stats, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err != nil {
			b.Fatal(err)
		}
		return b.rx, uint64(stats.Drops)
	}},

	{"firewall", "NETFILTER_DROP", model.PlaceFilter, false, 777, func(b *bench) (*testutil.Netns, uint64) {
		b.exec(b.rx, "iptables", "-A", "INPUT", "-p", "udp", "--dport", "777", "-j", "DROP")
		b.send(b.tx, testutil.VethAddr2+":777", packets, 64)
		fields := strings.Fields(b.exec(b.rx, "iptables", "-nvxL", "INPUT"))
		for i, f := range fields {
			if f == "DROP" {
				return b.rx, b.number(fields[i-2]+" ", "")
			}
		}
		return b.rx, 0
	}},
	{"conntrack_full", "NETFILTER_DROP", model.PlaceFilter, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.exec(b.rx, "iptables", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "ACCEPT")
		restore := b.hostSysctl("net.netfilter.nf_conntrack_max", "1")
		for port := range packets {
			b.send(b.tx, fmt.Sprintf("%s:%d", testutil.VethAddr2, 2000+port), 1, 64)
		}
		restore()
		return b.rx, b.conntrackDrops(b.rx)
	}},
	{"rp_filter", "IP_RPFILTER", model.PlaceFilter, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.sysctl(b.rx, "net.ipv4.conf.lb0.rp_filter", "1")
		return b.counted(b.rx, "TcpExt.IPReversePathFilter", func() { b.inject(packets, frame{src: "198.51.100.1"}) })
	}},
	{"xdp", "do_xdp_generic", model.PlaceFilter, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		return b.xdp(link.XDPGenericMode)
	}},
	{"xdp_driver", "veth_xdp_rcv", model.PlaceFilter, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		return b.xdp(link.XDPDriverMode)
	}},
	{"tc_ingress", "TC_INGRESS", model.PlaceFilter, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		calls := b.tcx(b.rx, ebpf.AttachTCXIngress)
		b.send(b.tx, testutil.VethAddr2+":9", packets, 64)
		return b.rx, calls()
	}},
	{"tc_egress", "TC_EGRESS", model.PlaceFilter, true, 0, func(b *bench) (*testutil.Netns, uint64) {
		calls := b.tcx(b.tx, ebpf.AttachTCXEgress)
		b.send(b.tx, testutil.VethAddr2+":9", packets, 64)
		return b.tx, calls()
	}},
	{"cgroup_egress", "BPF_CGROUP_EGRESS", model.PlaceFilter, true, 0, produceCgroup},
	{"xfrm_policy", "XFRM_POLICY", model.PlaceFilter, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		port := b.receive(nil)
		b.ip(b.rx, "xfrm", "policy", "add", "dir", "in", "src", testutil.VethAddr1, "dst", testutil.VethAddr2,
			"action", "block")
		b.send(b.tx, at(port), packets, 64)
		return b.rx, b.number(b.exec(b.rx, "cat", "/proc/net/xfrm_stat"), "XfrmInPolBlock")
	}},

	{"other_host", "OTHERHOST", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		return b.rx, b.inject(packets, frame{to: net.HardwareAddr{2, 0, 0, 0, 0, 9}})
	}},
	{"ip_checksum", "IP_CSUM", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		return b.counted(b.rx, "IpExt.InCsumErrors", func() {
			b.inject(packets, frame{damage: func(ip []byte) { ip[10] ^= 0xff }})
		})
	}},
	{"ip_header", "IP_INHDR", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.sysctl(b.rx, "net.ipv4.conf.all.forwarding", "1")
		b.ip(b.rx, "route", "add", "203.0.113.0/24", "via", testutil.VethAddr1)
		return b.counted(b.rx, "Ip.InHdrErrors", func() {
			b.inject(packets, frame{damage: func(ip []byte) { ip[0] = 0x44 }})
			b.inject(packets, frame{dst: "203.0.113.1", ttl: 1})
		})
	}},
	{"too_short", "PKT_TOO_SMALL", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		return b.counted(b.rx, "IpExt.InTruncatedPkts", func() {
			b.inject(packets, frame{damage: func(ip []byte) {
				ip[2], ip[3], ip[10], ip[11] = 1, 0, 0, 0
				sum := checksum(ip)
				ip[10], ip[11] = byte(sum>>8), byte(sum)
			}})
		})
	}},
	{"ip_protocol", "IP_NOPROTO", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		return b.counted(b.rx, "Ip.InUnknownProtos", func() { b.inject(packets, frame{protocol: 253}) })
	}},
	{"wrong_address", "IP_INADDRERRORS", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.ip(b.rx, "route", "add", "203.0.113.0/24", "via", testutil.VethAddr1)
		return b.counted(b.rx, "Ip.InAddrErrors", func() { b.inject(packets, frame{dst: "203.0.113.1"}) })
	}},
	{"no_route", "IP_INNOROUTES", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.sysctl(b.rx, "net.ipv4.conf.all.forwarding", "1")
		return b.counted(b.rx, "IpExt.InNoRoutes", func() { b.inject(packets, frame{dst: "203.0.113.1"}) })
	}},
	{"own_source", "IP_LOCAL_SOURCE", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		return b.rx, b.inject(packets, frame{src: testutil.VethAddr2})
	}},
	{"martian_source", "IP_INVALID_SOURCE", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		return b.rx, b.inject(packets, frame{src: "224.0.0.9"})
	}},
	{"martian_destination", "IP_INVALID_DEST", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		return b.rx, b.inject(packets, frame{dst: "0.0.0.0"})
	}},
	{"loopback_address", "IP_LOCALNET", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		return b.rx, b.inject(packets, frame{dst: "127.0.0.1"})
	}},
	{"flooded", "UNICAST_IN_L2_MULTICAST", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.sysctl(b.rx, "net.ipv4.conf.lb0.drop_unicast_in_l2_multicast", "1")
		return b.rx, b.inject(packets, frame{to: net.HardwareAddr{255, 255, 255, 255, 255, 255}})
	}},
	{"mtu", "PKT_TOO_BIG", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.sysctl(b.rx, "net.ipv4.conf.all.forwarding", "1")
		b.ip(b.rx, "link", "add", "out0", "mtu", "600", "type", "veth", "peer", "name", "out1")
		b.ip(b.rx, "addr", "add", "203.0.113.1/24", "dev", "out0")
		b.ip(b.rx, "link", "set", "out0", "up")
		b.ip(b.rx, "link", "set", "out1", "up")
		return b.counted(b.rx, "Ip.FragFails", func() {
			b.inject(packets, frame{dst: "203.0.113.9", fragment: 0x4000, payload: make([]byte, 1000)})
		})
	}},
	{"reassembly", "FRAG_REASM_TIMEOUT", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.sysctl(b.rx, "net.ipv4.ipfrag_time", "1")
		return b.counted(b.rx, "Ip.ReasmTimeout", func() {
			for id := range packets {
				b.inject(1, frame{id: uint16(id + 1), fragment: 0x2000})
			}
			time.Sleep(1500 * time.Millisecond)
		})
	}},
	{"ipv6_off", "IPV6DISABLED", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.sysctl(b.tx, "net.ipv6.conf.lb0.disable_ipv6", "0")
		b.ip(b.tx, "addr", "add", testutil.VethAddr1v6+"/64", "dev", "lb0", "nodad")
		b.ip(b.tx, "neigh", "replace", testutil.VethAddr2v6, "lladdr", rxMAC.String(), "dev", "lb0", "nud", "permanent")
		b.send(b.tx, "["+testutil.VethAddr2v6+"]:9", packets, 64)
		b.sysctl(b.tx, "net.ipv6.conf.lb0.disable_ipv6", "1") // nothing more comes
		return b.rx, b.mib(b.rx, "Ip6.InDiscards")
	}},
	{"no_neighbour", "NEIGH_FAILED", model.PlaceProtocol, true, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.sysctl(b.tx, "net.ipv4.neigh.lb0.retrans_time_ms", "100")
		b.send(b.tx, "192.0.2.99:9", packets, 64)
		time.Sleep(time.Second)
		return b.tx, packets
	}},
	{"neighbour_table", "NEIGH_CREATEFAIL", model.PlaceProtocol, true, 0, func(b *bench) (*testutil.Netns, uint64) {
		before := b.tableFulls()
		restore := b.hostSysctl("net.ipv4.neigh.default.gc_thresh3", "1")
		for host := range packets {
			b.send(b.tx, fmt.Sprintf("192.0.2.%d:9", 100+host), 1, 64)
		}
		restore()
		return b.tx, b.tableFulls() - before
	}},
	{"neighbour_queue", "NEIGH_QUEUEFULL", model.PlaceProtocol, true, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.sysctl(b.tx, "net.ipv4.neigh.lb0.unres_qlen_bytes", "2000")
		before := b.discards()
		b.send(b.tx, "192.0.2.99:9", packets, 64)
		return b.tx, b.discards() - before
	}},

	{"udp_checksum", "UDP_CSUM", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		port := b.receive(func(fd int) error {
			pass := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff}} // a filter makes the kernel look at once
			return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
				&unix.SockFprog{Len: 1, Filter: &pass[0]})
		})
		return b.counted(b.rx, "Udp.InCsumErrors", func() { b.inject(packets, frame{payload: udp(port, 0xbad)}) })
	}},
	{"tcp_checksum", "TCP_CSUM", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		return b.counted(b.rx, "Tcp.InCsumErrors", func() {
			b.inject(packets, frame{protocol: unix.IPPROTO_TCP, payload: []byte{
				0x30, 0x39, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 4, 0, 0xba, 0xd0, 0, 0}})
		})
	}},
	{"icmp_checksum", "ICMP_CSUM", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		return b.counted(b.rx, "Icmp.InCsumErrors", func() {
			b.inject(packets, frame{protocol: unix.IPPROTO_ICMP, payload: []byte{8, 0, 0xba, 0xd0, 0, 0, 0, 0}})
		})
	}},
	{"md5_missing", "TCP_MD5NOTFOUND", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		port := b.listen(10, md5Key(testutil.VethAddr1, "one"))
		return b.counted(b.rx, "TcpExt.TCPMD5NotFound", func() { b.connect(port, packets, nil) })
	}},
	{"md5_unexpected", "TCP_MD5UNEXPECTED", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		port := b.listen(10, nil)
		return b.counted(b.rx, "TcpExt.TCPMD5Unexpected", func() {
			b.connect(port, packets, md5Key(testutil.VethAddr2, "one"))
		})
	}},
	{"md5_wrong", "TCP_MD5FAILURE", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		port := b.listen(10, md5Key(testutil.VethAddr1, "one"))
		return b.counted(b.rx, "TcpExt.TCPMD5Failure", func() {
			b.connect(port, packets, md5Key(testutil.VethAddr2, "two"))
		})
	}},
	{"min_ttl", "TCP_MINTTL", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		port := b.listen(10, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MINTTL, 255) })
		return b.counted(b.rx, "TcpExt.TCPMinTTLDrop", func() { b.connect(port, packets, nil) })
	}},
	{"reset", "TCP_RESET", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		return b.rx, b.inject(packets, frame{protocol: unix.IPPROTO_TCP, payload: tcp(b.listen(1, nil), 1<<2)})
	}},
	{"tcp_flags", "TCP_FLAGS", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		return b.rx, b.inject(packets, frame{protocol: unix.IPPROTO_TCP, payload: tcp(b.listen(1, nil), 1<<0|1<<1)})
	}},

	{"shaper", "QDISC_DROP", model.PlaceQdisc, true, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.run("tc", "-n", b.tx.Name, "qdisc", "add", "dev", "lb0", "root", "tbf", "rate", "8kbit", "burst", "1600",
			"limit", "3000")
		b.send(b.tx, testutil.VethAddr2+":9", 10*packets, 64)
		return b.tx, b.number(b.run("tc", "-n", b.tx.Name, "-s", "qdisc", "show", "dev", "lb0"), "(dropped")
	}},

	{"device_down", "__rtnl_unlock", model.PlaceQdisc, true, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.run("tc", "-n", b.tx.Name, "qdisc", "add", "dev", "lb0", "root", "tbf", "rate", "8kbit", "burst", "1600",
			"limit", "30000")
		b.send(b.tx, testutil.VethAddr2+":9", packets, 1000)
		text := b.run("tc", "-n", b.tx.Name, "-s", "qdisc", "show", "dev", "lb0")
		b.ip(b.tx, "link", "set", "lb0", "down")
		_, text, _ = strings.Cut(text, "backlog ")
		_, text, _ = strings.Cut(text, "b ")
		return b.tx, b.number(text, "")
	}},
	{"abort_on_data", "TCP_ABORT_ON_DATA", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		var listener net.Listener
		b.rx.Do(b, func() (err error) {
			listener, err = net.Listen("tcp4", testutil.VethAddr2+":0")
			return err
		})
		defer listener.Close()
		return b.counted(b.rx, "TcpExt.TCPAbortOnData", func() {
			for range packets {
				var client net.Conn
				b.tx.Do(b, func() (err error) {
					client, err = net.Dial("tcp4", listener.Addr().String())
					return err
				})
				server, err := listener.Accept()
				if err != nil {
					b.Fatal(err)
				}
				server.Close()
				_, _ = client.Write(make([]byte, 100))
				client.Close()
			}
		})
	}},
	{"unknown_frames", "UNHANDLED_PROTO", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		before := b.statistic(b.rx, "lb0", "rx_dropped")
		b.inject(packets, frame{etherTyp: 0x88b5})
		return b.rx, b.statistic(b.rx, "lb0", "rx_dropped") - before
	}},
	{"tun_queue", "FULL_RING", model.PlaceDevice, true, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.rx.Do(b, func() error {
			fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			b.Cleanup(func() { unix.Close(fd) })
			request, err := unix.NewIfreq("lbtun0")
			if err != nil {
				return err
			}
			request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			return unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		})
		b.ip(b.rx, "link", "set", "lbtun0", "txqueuelen", "10")
		b.ip(b.rx, "addr", "add", "203.0.113.1/24", "dev", "lbtun0")
		b.ip(b.rx, "link", "set", "lbtun0", "up")
		b.run("tc", "-n", b.rx.Name, "qdisc", "replace", "dev", "lbtun0", "root", "pfifo_fast")
		before := b.statistic(b.rx, "lbtun0", "tx_dropped")
		b.send(b.rx, "203.0.113.9:9", 5*packets, 64)
		return b.rx, b.statistic(b.rx, "lbtun0", "tx_dropped") - before
	}},
	{"empty_bridge", "NO_TX_TARGET", model.PlaceDevice, true, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.ip(b.rx, "link", "add", "lbbr0", "type", "bridge", "mcast_snooping", "0")
		b.ip(b.rx, "addr", "add", "203.0.113.1/24", "dev", "lbbr0")
		b.ip(b.rx, "link", "set", "lbbr0", "up")
		before := b.statistic(b.rx, "lbbr0", "tx_packets")
		b.send(b.rx, "203.0.113.255:9", packets, 64)
		return b.rx, b.statistic(b.rx, "lbbr0", "tx_packets") - before
	}},
	{"peer_down", "__dev_forward_skb", model.PlaceDevice, true, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.ip(b.rx, "link", "set", "lb0", "down")
		before := b.statistic(b.tx, "lb0", "tx_dropped")
		b.send(b.tx, testutil.VethAddr2+":9", packets, 64)
		return b.tx, b.statistic(b.tx, "lb0", "tx_dropped") - before
	}},
	{"spanning_tree", "BRIDGE_INGRESS_STP_STATE", model.PlaceFilter, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.bridged(true)
		return b.rx, b.inject(packets, frame{})
	}},
	{"pause_frames", "MAC_IEEE_MAC_CONTROL", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.bridged(false)
		return b.rx, b.inject(packets, frame{to: net.HardwareAddr{1, 0x80, 0xc2, 0, 0, 1}})
	}},
	{"multicast_source", "MAC_INVALID_SOURCE", model.PlaceFilter, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.bridged(false)
		return b.rx, b.inject(packets, frame{from: net.HardwareAddr{3, 0, 0, 0, 0, 1}})
	}},
	{"vxlan", "VXLAN_VNI_NOT_FOUND", model.PlaceProtocol, false, 0, func(b *bench) (*testutil.Netns, uint64) {
		b.ip(b.rx, "link", "add", "lbvx0", "type", "vxlan", "id", "7", "dstport", "4789", "local", testutil.VethAddr2)
		b.ip(b.rx, "link", "set", "lbvx0", "up")
		payload := append(udp(4789, 0), make([]byte, 100)...)
		payload[5] = byte(len(payload))
		payload[8], payload[14] = 8, 9 // the network number is there: 9
		return b.rx, b.inject(packets, frame{payload: payload})
	}},
}

// at is a port of rx.
func at(port uint16) string {
	return netip.AddrPortFrom(netip.MustParseAddr(testutil.VethAddr2), port).String()
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// xdp drops everything that rx receives in a mode of XDP.
func (b *bench) xdp(mode link.XDPAttachFlags) (*testutil.Netns, uint64) {
	program, calls := b.counting(ebpf.XDP, 0, 1) // XDP_DROP
	b.rx.Do(b, func() error {
		device, err := net.InterfaceByName("lb0")
		if err != nil {
			return err
		}
		l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: device.Index, Flags: mode})
		if err == nil {
			b.Cleanup(func() { l.Close() })
		}
		return err
	})
	b.send(b.tx, testutil.VethAddr2+":9", packets, 64)
	return b.rx, calls()
}

// tcx drops everything that passes the device of a namespace in one direction.
func (b *bench) tcx(n *testutil.Netns, attach ebpf.AttachType) (calls func() uint64) {
	program, calls := b.counting(ebpf.SchedCLS, attach, 2) // TC_ACT_SHOT
	n.Do(b, func() error {
		device, err := net.InterfaceByName("lb0")
		if err != nil {
			return err
		}
		l, err := link.AttachTCX(link.TCXOptions{Program: program, Interface: device.Index, Attach: attach})
		if err == nil {
			b.Cleanup(func() { l.Close() })
		}
		return err
	})
	return calls
}

// conntrackDrops reads how many packets the connection table of a namespace has refused.
func (b *bench) conntrackDrops(n *testutil.Netns) (total uint64) {
	b.Helper()
	text := b.exec(n, "cat", "/proc/net/stat/nf_conntrack")
	return b.hexColumn(text, "drop")
}

// discards reads how many packets all neighbour queues have thrown away.
func (b *bench) discards() uint64 {
	return b.hexColumn(b.run("cat", "/proc/net/stat/arp_cache"), "unresolved_discards")
}

// tableFulls reads how often there was no room in the neighbour table.
func (b *bench) tableFulls() uint64 {
	return b.hexColumn(b.run("cat", "/proc/net/stat/arp_cache"), "table_fulls")
}

// bridged makes the device of rx a port of a bridge, with spanning tree or
// without: with it, the port first listens for 30 s.
func (b *bench) bridged(spanningTree bool) {
	stp := "0"
	if spanningTree {
		stp = "1"
	}
	b.ip(b.rx, "link", "add", "lbbr0", "type", "bridge", "mcast_snooping", "0", "stp_state", stp, "forward_delay", "3000")
	b.ip(b.rx, "link", "set", "lbbr0", "up")
	b.ip(b.rx, "link", "set", "lb0", "master", "lbbr0")
}

// hexColumn adds up a column of a table below /proc/net/stat, which has a line for each CPU.
func (b *bench) hexColumn(text, column string) (total uint64) {
	b.Helper()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, name := range strings.Fields(lines[0]) {
		if name != column {
			continue
		}
		for _, line := range lines[1:] {
			var n uint64
			if _, err := fmt.Sscanf(strings.Fields(line)[i], "%x", &n); err != nil {
				b.Fatal(err)
			}
			total += n
		}
	}
	return total
}

// produceCgroup has a process whose control group may not send.
func produceCgroup(b *bench) (*testutil.Netns, uint64) {
	root := "/sys/fs/cgroup/unified"
	if _, err := os.Stat(root + "/cgroup.procs"); err != nil {
		root = "/sys/fs/cgroup"
	}
	group := fmt.Sprintf("%s/lostbeat-test-%d", root, os.Getpid())
	if err := os.Mkdir(group, 0o755); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.Remove(group); err != nil {
			b.Error(err)
		}
	})
	program, calls := b.counting(ebpf.CGroupSKB, ebpf.AttachCGroupInetEgress, 0)
	l, err := link.AttachCgroup(link.CgroupOptions{Path: group, Attach: ebpf.AttachCGroupInetEgress, Program: program})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	dir, err := os.Open(group)
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	script := fmt.Sprintf("for i in $(seq %d); do echo x > /dev/udp/%s/9; done", packets, testutil.VethAddr2)
	command := exec.Command("ip", "netns", "exec", b.tx.Name, "bash", "-c", script)
	command.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	_ = command.Run() // each write is refused
	return b.tx, calls()
}
