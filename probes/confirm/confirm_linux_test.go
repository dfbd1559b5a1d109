package confirm

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// asker asks a running engine.
type asker struct {
	t *testing.T
	s *ebpftest.Session
	// events is how many events of the session were seen.
	asked int
}

func newAsker(t *testing.T) *asker { return &asker{t: t, s: ebpftest.Start(t, ebpf.Options{}, New())} }

// ask returns the readings, or why the request was refused, and how long it took.
func (a *asker) ask(r model.Request) (readings []model.Reading, refused string) {
	a.t.Helper()
	r.Kind, r.CPU, r.PID, r.TID = model.RequestReading, -1, -1, -1
	a.asked++
	r.Finding = fmt.Sprint("case ", a.asked) // tells its request events from the others
	began := time.Now()
	a.s.Request(r)
	on := false
	a.s.WaitFor(15*time.Second, "answer to "+r.Name, func(b *model.Batch, e *model.Event) bool {
		if v, ok := b.Reading(e); ok && on {
			readings = append(readings, v)
		}
		v, ok := b.RequestEvent(e)
		if !ok || v.Finding != r.Finding {
			return false
		}
		on = on || v.State == model.RequestOn
		refused = v.Reason
		return v.State == model.RequestOff || v.State == model.RequestRefused
	})
	a.t.Logf("%s: %d readings after %v %s", r.Name, len(readings), time.Since(began).Round(time.Millisecond), refused)
	for i, v := range readings {
		if v.Netns != r.Netns {
			a.t.Errorf("%s in namespace %d, want %d", v.Name, v.Netns, r.Netns)
		}
		if i < 12 {
			a.t.Logf("  %s %q %v of %v %s: %s", v.Name, v.Instance, v.Value, v.Limit, v.Unit, v.Detail)
		}
	}
	return readings, refused
}

// find returns the reading of an instance.
func find(t *testing.T, list []model.Reading, name, instance string) model.Reading {
	t.Helper()
	for _, v := range list {
		if v.Name == name && v.Instance == instance {
			return v
		}
	}
	t.Errorf("no reading %s of %q", name, instance)
	return model.Reading{}
}

func run(t *testing.T, n *testutil.Netns, args ...string) {
	t.Helper()
	if n != nil {
		args = append([]string{"ip", "netns", "exec", n.Name}, args...)
	}
	if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// dial opens a socket in a namespace.
func dial(t *testing.T, n *testutil.Netns, network, address string) net.Conn {
	t.Helper()
	var c net.Conn
	n.Do(t, func() (err error) {
		c, err = net.DialTimeout(network, address, 5*time.Second)
		return err
	})
	t.Cleanup(func() { c.Close() })
	return c
}

func send(t *testing.T, c io.Writer, packets int) {
	t.Helper()
	for range packets {
		_, _ = c.Write(make([]byte, 100)) // refusals come back
	}
}

func in(n *testutil.Netns, name string, ifindex int64) model.Request {
	return model.Request{Name: name, Netns: int64(n.Inode), Ifindex: ifindex}
}

func index(t *testing.T, n *testutil.Netns) (ifindex int64) {
	n.Do(t, func() error {
		device, err := netlink.LinkByName(testutil.VethDevice)
		if err == nil {
			ifindex = int64(device.Attrs().Index)
		}
		return err
	})
	return ifindex
}

func TestRefusals(t *testing.T) {
	n := testutil.NewNetns(t)
	a := newAsker(t)
	for name, c := range map[string]struct {
		request model.Request
		want    string
	}{
		"no such reading":    {in(n, "nosuch", 0), `there is no reading named "nosuch"`},
		"no such argument":   {in(n, "mtu:5", 0), "takes no argument"},
		"no such device":     {in(n, "mtu", 4711), errNoDevice.Error()},
		"no such namespace":  {model.Request{Name: "mtu", Netns: 4711}, "gone"},
		"nobody listens":     {in(n, "listen_queue", 0), "nobody listens"},
		"a port is a number": {in(n, "listen_queue:http", 0), "is a port"},
	} {
		if readings, refused := a.ask(c.request); !strings.Contains(refused, c.want) || len(readings) > 0 {
			t.Errorf("%s: refused %q, want %q; %d readings", name, refused, c.want, len(readings))
		}
	}
}

func TestTables(t *testing.T) {
	tx, rx := testutil.VethPair(t)
	a := newAsker(t)
	run(t, rx, "iptables", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")
	for port := range 10 {
		send(t, dial(t, tx, "udp4", fmt.Sprintf("%s:%d", testutil.VethAddr2, 3000+port)), 1)
	}
	list, _ := a.ask(in(rx, "conntrack", 0))
	v := find(t, list, "conntrack", "")
	if v.Value < 10 || v.Limit < v.Value || !strings.Contains(v.Detail, "insert_failed") {
		t.Errorf("conntrack %+v, want 10 connections at least", v)
	}
	list, _ = a.ask(model.Request{Name: "neighbours"})
	before := find(t, list, "neighbours", "ipv4")
	for i := range 20 {
		run(t, rx, "ip", "neigh", "add", fmt.Sprintf("192.0.2.%d", 100+i), "lladdr", "02:00:00:00:00:01",
			"dev", testutil.VethDevice)
	}
	list, _ = a.ask(in(rx, "neighbours", 0))
	after := find(t, list, "neighbours", "ipv4")
	var here int
	if _, counts, ok := strings.Cut(after.Detail, "in this namespace "); ok {
		_, _ = fmt.Sscan(counts, &here)
	}
	if after.Value < before.Value+15 || here < 20 || here > 25 || after.Limit < 128 {
		t.Errorf("20 neighbours more: %+v, before %+v", after, before)
	}
}

func TestMemory(t *testing.T) {
	n := testutil.NewNetns(t)
	a := newAsker(t)
	var udp net.PacketConn
	var tcp net.Listener
	n.Do(t, func() (err error) {
		if udp, err = net.ListenPacket("udp4", "127.0.0.1:0"); err == nil {
			tcp, err = net.Listen("tcp4", "127.0.0.1:0")
		}
		return err
	})
	defer udp.Close()
	defer tcp.Close()
	list, _ := a.ask(in(n, "udp_mem", 0))
	udpBefore := find(t, list, "udp_mem", "")
	list, _ = a.ask(in(n, "tcp_mem", 0))
	tcpBefore := find(t, list, "tcp_mem", "")
	// Nobody reads what is sent. The kernel accounts UDP's memory in steps of
	// up to a megabyte for each CPU.
	raw, err := udp.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	}); err != nil {
		t.Fatal(err)
	}
	sender := dial(t, n, "udp4", udp.LocalAddr().String())
	for range 1000 {
		_, _ = sender.Write(make([]byte, 40000))
	}
	c := dial(t, n, "tcp4", tcp.Addr().String())
	if err := c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write(make([]byte, 16<<20)) // as much as fits
	time.Sleep(time.Second)              // the answers before stand for a second
	for name, before := range map[string]model.Reading{"udp_mem": udpBefore, "tcp_mem": tcpBefore} {
		list, _ := a.ask(in(n, name, 0))
		if v := find(t, list, name, ""); v.Value < before.Value+20 || v.Limit < 1000 || v.Unit != "pages" {
			t.Errorf("%s %+v, before %v", name, v, before.Value)
		}
	}
}

func TestListenQueue(t *testing.T) {
	n := testutil.NewNetns(t)
	var fd int
	n.Do(t, func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err = unix.Bind(fd, &unix.SockaddrInet4{Port: 8080, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return err
		}
		idle, err := net.Listen("tcp6", "[::1]:8081")
		if err != nil {
			return err
		}
		t.Cleanup(func() { idle.Close() })
		return unix.Listen(fd, 2)
	})
	defer unix.Close(fd)
	for range 3 {
		dial(t, n, "tcp4", "127.0.0.1:8080")
	}
	a := newAsker(t)
	list, _ := a.ask(in(n, "listen_queue", 0))
	if len(list) != 2 || list[0].Instance != "127.0.0.1:8080" || list[0].Value != 3 || list[0].Limit != 2 ||
		!strings.Contains(list[0].Detail, "somaxconn") || list[1].Instance != "[::1]:8081" || list[1].Value != 0 {
		t.Errorf("got %+v", list)
	}
	if list, _ := a.ask(in(n, "listen_queue:8081", 0)); len(list) != 1 || list[0].Instance != "[::1]:8081" {
		t.Errorf("of one port: %+v", list)
	}
}

// shot loads a program that returns a value.
func shot(t *testing.T, kind cebpf.ProgramType, value int32) *cebpf.Program {
	t.Helper()
	program, err := cebpf.NewProgram(&cebpf.ProgramSpec{
		Name: "lb_test_drop", Type: kind, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, value), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return program
}

func TestDevices(t *testing.T) {
	tx, rx := testutil.VethPair(t)
	a := newAsker(t)
	run(t, tx, "ip", "link", "set", testutil.VethDevice, "mtu", "9000")
	run(t, rx, "sysctl", "-qw", "net.ipv4.conf."+testutil.VethDevice+".rp_filter=2", "net.ipv4.conf.all.rp_filter=1")
	ifindex := index(t, rx)
	list, _ := a.ask(in(rx, "mtu", ifindex))
	if v := find(t, list, "mtu", testutil.VethDevice); v.Value != 1500 || v.Limit != 9000 || v.Ifindex != ifindex ||
		!strings.Contains(v.Detail, fmt.Sprintf("peer lb0 in namespace %d", tx.Inode)) {
		t.Errorf("mtu %+v", v)
	}
	list, _ = a.ask(in(rx, "rp_filter", ifindex))
	all, one := find(t, list, "rp_filter", "all"), find(t, list, "rp_filter", "lb0")
	if all.Value != 1 || one.Value != 2 ||
		one.Detail != "loose, in effect loose" || len(list) != 2 {
		t.Errorf("rp_filter %+v", list)
	}
	list, _ = a.ask(in(rx, "xdp", 0))
	if v := find(t, list, "xdp", "lb0"); v.Value != 0 || v.Detail != "no program" || len(list) != 2 {
		t.Errorf("xdp %+v", list)
	}
	program := shot(t, cebpf.XDP, 1)
	rx.Do(t, func() error {
		lk, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: int(ifindex), Flags: link.XDPGenericMode})
		if err == nil {
			t.Cleanup(func() { lk.Close() })
		}
		return err
	})
	list, _ = a.ask(in(rx, "xdp", ifindex))
	if v := find(t, list, "xdp", "lb0"); v.Value == 0 || !strings.HasPrefix(v.Detail, "generic, program lb_test_drop (") {
		t.Errorf("xdp %+v", v)
	}
}

func TestTC(t *testing.T) {
	tx, rx := testutil.VethPair(t)
	a := newAsker(t)
	ifindex := index(t, rx)
	list, _ := a.ask(in(rx, "tc", ifindex))
	none := find(t, list, "tc", "lb0 ingress")
	if none.Value != 0 || none.Detail != "no clsact or ingress qdisc" || len(list) != 2 {
		t.Errorf("without filters: %+v", list)
	}
	run(t, rx, "tc", "qdisc", "add", "dev", "lb0", "clsact")
	program := shot(t, cebpf.SchedCLS, 2)
	rx.Do(t, func() error {
		err := netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{
				LinkIndex: int(ifindex), Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1,
				Protocol: unix.ETH_P_ALL, Priority: 7,
			},
			Fd: program.FD(), Name: "lb_test_drop", DirectAction: true,
		})
		if err != nil {
			return fmt.Errorf("add a filter: %w", err)
		}
		lk, err := link.AttachTCX(link.TCXOptions{Program: program, Attach: cebpf.AttachTCXEgress, Interface: int(ifindex)})
		if err == nil {
			t.Cleanup(func() { lk.Close() })
		}
		return err
	})
	send(t, dial(t, tx, "udp4", testutil.VethAddr2+":9"), 10) // their ARP requests are dropped
	time.Sleep(time.Second)
	list, _ = a.ask(in(rx, "tc", ifindex))
	hook := find(t, list, "tc", "lb0 ingress")
	var dropped int
	if n, err := fmt.Sscanf(hook.Detail, "clsact: %d dropped", &dropped); n != 1 || dropped == 0 || hook.Value != 1 {
		t.Errorf("ingress %+v, %v", hook, err)
	}
	if v := find(t, list, "tc", "lb0 ingress pref 7 bpf"); !strings.Contains(v.Detail, "lb_test_drop") ||
		!strings.Contains(v.Detail, "direct-action") {
		t.Errorf("filter %+v", v)
	}
	find(t, list, "tc", "lb0 egress tcx")
}

func TestQdisc(t *testing.T) {
	tx, rx := testutil.VethPair(t)
	_ = rx
	a := newAsker(t)
	run(t, tx, "tc", "qdisc", "add", "dev", "lb0", "root", "tbf", "rate", "8kbit", "burst", "1600", "limit", "3000")
	send(t, dial(t, tx, "udp4", testutil.VethAddr2+":9"), 200)
	list, _ := a.ask(in(tx, "qdisc", index(t, tx)))
	drops, backlog := find(t, list, "qdisc", "lb0 tbf root"), find(t, list, "qdisc_backlog", "lb0 tbf root")
	if drops.Value < 100 || drops.Value > 200 || backlog.Value < 5 ||
		!strings.Contains(backlog.Detail, "limit 3000 bytes") {
		t.Errorf("drops %+v, backlog %+v", drops, backlog)
	}
}

func TestFilterRules(t *testing.T) {
	tx, rx := testutil.VethPair(t)
	a := newAsker(t)
	list, _ := a.ask(in(rx, "nft", 0))
	if v := find(t, list, "nft", ""); v.Value != 0 || len(list) != 1 {
		t.Errorf("without rules: %+v", list)
	}
	list, _ = a.ask(in(rx, "iptables", 0))
	find(t, list, "iptables", "")
	rule := []string{"-A", "INPUT", "-i", "lb0", "-s", testutil.VethAddr1, "-p", "udp", "--dport", "4000", "-j", "DROP"}
	run(t, rx, append([]string{"iptables-nft"}, rule...)...)
	run(t, rx, "iptables-nft", "-A", "INPUT", "-p", "tcp", "-j", "ACCEPT")
	run(t, rx, "iptables-nft", "-P", "FORWARD", "DROP")
	send(t, dial(t, tx, "udp4", testutil.VethAddr2+":4000"), 30)
	time.Sleep(time.Second) // the answers before stand for a second
	list, _ = a.ask(in(rx, "nft", 0))
	if v := find(t, list, "nft", ""); v.Value != 2 || v.Limit != 2 || len(list) != 3 {
		t.Errorf("got %+v", list)
	}
	if v := list[1]; v.Value != 30 || !strings.HasPrefix(v.Instance, "ip filter INPUT handle ") ||
		!strings.Contains(v.Detail, "dport 4000") || !strings.Contains(v.Detail, "saddr 192.0.2.1") ||
		!strings.Contains(v.Detail, "lb0") || !strings.HasSuffix(v.Detail, "drop") {
		t.Errorf("rule %+v", v)
	}
	find(t, list, "nft", "ip filter FORWARD policy")
}

func TestLegacyFilterRules(t *testing.T) {
	if _, err := exec.LookPath("iptables-legacy"); err != nil {
		testutil.Unavailable(t, "iptables-legacy: %v", err)
	}
	tx, rx := testutil.VethPair(t)
	run(t, rx, "iptables-legacy", "-A", "INPUT", "-s", "192.0.2.0/24", "-p", "udp", "--dport", "4000", "-j", "DROP")
	run(t, rx, "iptables-legacy", "-A", "INPUT", "-p", "tcp", "-j", "ACCEPT")
	run(t, rx, "ip6tables-legacy", "-A", "INPUT", "!", "-i", "lo", "-p", "tcp", "--dport", "1:5", "-j", "REJECT")
	run(t, rx, "iptables-legacy", "-P", "FORWARD", "DROP")
	send(t, dial(t, tx, "udp4", testutil.VethAddr2+":4000"), 30)
	a := newAsker(t)
	list, _ := a.ask(in(rx, "iptables", 0))
	if v := find(t, list, "iptables", ""); v.Value != 3 || v.Limit != 3 {
		t.Errorf("got %+v", v)
	}
	v := find(t, list, "iptables", "ip filter INPUT rule 1")
	if v.Value != 30 || v.Detail != "saddr 192.0.2.0/24 udp dport 4000 drop" {
		t.Errorf("got %+v", v)
	}
	if v := find(t, list, "iptables", "ip6 filter INPUT rule 1"); v.Detail != "! iifname lo tcp dport 1-5 reject" {
		t.Errorf("got %+v", v)
	}
	find(t, list, "iptables", "ip filter FORWARD policy")
}

func TestSNMP(t *testing.T) {
	n := testutil.NewNetns(t)
	a := newAsker(t)
	c := dial(t, n, "udp4", "127.0.0.1:9")
	stop := time.AfterFunc(500*time.Millisecond, func() { send(t, c, 200) }) // between the two readings
	defer stop.Stop()
	list, _ := a.ask(in(n, "snmp", 0))
	length := find(t, list, "snmp", "")
	v := find(t, list, "snmp", "Udp.NoPorts")
	// Sends that meet the refusal of the one before send nothing.
	if rose := v.Value * length.Value; rose < 50 || rose > 200.5 || v.Unit != "per second" {
		t.Errorf("%+v within %v s", v, length.Value)
	}
}

func TestHostSettings(t *testing.T) {
	n := testutil.NewNetns(t)
	a := newAsker(t)
	for name, instances := range map[string][]string{
		"netdev":  {"netdev_max_backlog", "netdev_budget", "netdev_budget_usecs", "dev_weight"},
		"sockbuf": {"rmem_default", "rmem_max", "wmem_default", "wmem_max"},
	} {
		list, _ := a.ask(in(n, name, 0))
		for _, instance := range instances {
			content, err := os.ReadFile("/proc/sys/net/core/" + instance)
			if err != nil {
				t.Fatal(err)
			}
			if v := find(t, list, name, instance); fmt.Sprint(int(v.Value)) != strings.TrimSpace(string(content)) {
				t.Errorf("%s is %v, want %s", instance, v.Value, content)
			}
		}
	}
}
