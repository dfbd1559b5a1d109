package heartbeat

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
	"lostbeat/model"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Addresses over the VLAN: this host's, a group that it listens to, and the peer's.
var (
	hereAddr  = netip.MustParsePrefix("10.66.0.1/24")
	groupAddr = netip.MustParsePrefix("239.66.0.1/8")
	peerAddr  = netip.MustParsePrefix("10.66.0.2/24")
)

// A VLAN over a bond over an Ethernet device hides no stage, for a packet to this host and for one to a multicast
// group.
func TestStacked(t *testing.T) {
	testutil.Privileged(t)
	if !vmtest.Guest() {
		t.Skip("runs in the guest of TestLongGuestKernels, which has VLANs and bonds")
	}
	dial := overVLAN(t)
	for name, to := range map[string]netip.Addr{"to an address": hereAddr.Addr(), "to a group": groupAddr.Addr()} {
		t.Run(name, func(t *testing.T) {
			c := reader(t, true, "udp4", "10", "300ms", to.String())
			s := follow(t, model.ProtocolUDP, c.Port)
			conn := dial(t, net.JoinHostPort(to.String(), strconv.Itoa(c.Port)))
			own := c.sendOver(t, s, conn, 30, 50*time.Millisecond)
			s.Intervals(2)
			got := collect(t, s.Stop(), c.Cookie)
			check(t, c, own, got, "udp4")
			for _, a := range got.arrivals {
				if a.RemoteAddr != peerAddr.Addr().String() || a.LocalAddr != to.String() {
					t.Fatalf("arrived: %+v", a)
				}
			}
		})
	}
}

// overVLAN joins this namespace and a new one by a VLAN over a bond, and returns a way to send from there.
func overVLAN(t *testing.T) func(t *testing.T, to string) net.Conn {
	t.Helper()
	type answer struct {
		conn net.Conn
		err  error
	}
	calls, answers, made := make(chan string), make(chan answer), make(chan *os.File)
	go func() { // its thread, which is in the other namespace, ends with it
		runtime.LockOSThread()
		must(0, unix.Unshare(unix.CLONE_NEWNET))
		made <- must(os.Open("/proc/thread-self/ns/net"))
		for to := range calls {
			conn, err := net.Dial("udp4", to)
			answers <- answer{conn, err}
		}
	}()
	peer := <-made
	t.Cleanup(func() { close(calls); peer.Close() })
	here, there := must(netlink.NewHandle(unix.NETLINK_ROUTE)), must(netlink.NewHandleAt(netns.NsHandle(peer.Fd()),
		unix.NETLINK_ROUTE))
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lbve0"}, PeerName: "lbve1"}
	check := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	check(here.LinkAdd(veth))
	t.Cleanup(func() { check(here.LinkDel(veth)) })
	check(here.LinkSetNsFd(must(here.LinkByName("lbve1")), int(peer.Fd())))
	for h, side := range map[*netlink.Handle]struct {
		device  string
		address netip.Prefix
	}{here: {"lbve0", hereAddr}, there: {"lbve1", peerAddr}} {
		bond := netlink.NewLinkBond(netlink.LinkAttrs{Name: "lbbond"})
		bond.Mode = netlink.BOND_MODE_ACTIVE_BACKUP
		check(h.LinkAdd(bond))
		t.Cleanup(func() { check(h.LinkDel(bond)) })
		device := must(h.LinkByName(side.device))
		check(h.LinkSetMaster(device, bond))
		vlan := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "lbvlan", ParentIndex: bond.Index}, VlanId: 10}
		check(h.LinkAdd(vlan))
		for _, link := range []netlink.Link{bond, device, vlan} {
			check(h.LinkSetUp(link))
		}
		check(h.AddrAdd(vlan, must(netlink.ParseAddr(side.address.String()))))
		_, group, _ := net.ParseCIDR(groupAddr.Masked().String())
		check(h.RouteAdd(&netlink.Route{LinkIndex: vlan.Index, Dst: group}))
	}
	return func(t *testing.T, to string) net.Conn {
		t.Helper()
		calls <- to
		a := <-answers
		if a.err != nil {
			t.Fatal(a.err)
		}
		t.Cleanup(func() { a.conn.Close() })
		return a.conn
	}
}
