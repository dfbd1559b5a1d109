package testutil

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Addresses of the two ends of VethPair; the prefixes are for documentation
// and unique-local use.
const (
	VethAddr1   = "192.0.2.1"
	VethAddr2   = "192.0.2.2"
	VethAddr1v6 = "fd00:1b::1"
	VethAddr2v6 = "fd00:1b::2"
	// VethDevice is the name of the device in either namespace.
	VethDevice = "lb0"
)

// Netns is a network namespace that lives as long as its test.
type Netns struct {
	// Name is its name under /run/netns.
	Name string
	// Inode identifies it, as in events.
	Inode uint64

	handle netns.NsHandle
}

// NewNetns creates a network namespace called lb-test-PID-N with its loopback
// device up. It skips the test without privileges.
func NewNetns(t testing.TB) *Netns {
	t.Helper()
	Privileged(t)
	n := &Netns{Name: unusedName(t)}
	onThread(t, func() error {
		own, err := netns.Get()
		if err != nil {
			return err
		}
		defer own.Close()
		if n.handle, err = netns.NewNamed(n.Name); err != nil {
			return fmt.Errorf("create network namespace %s: %w", n.Name, err)
		}
		return netns.Set(own)
	})
	t.Cleanup(func() {
		n.handle.Close()
		if err := netns.DeleteNamed(n.Name); err != nil {
			t.Errorf("delete network namespace %s: %v", n.Name, err)
		}
	})
	var stat unix.Stat_t
	if err := unix.Fstat(int(n.handle), &stat); err != nil {
		t.Fatal(err)
	}
	n.Inode = stat.Ino
	n.Do(t, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	return n
}

// unusedName returns a name that no namespace has.
func unusedName(t testing.TB) string {
	t.Helper()
	for i := range 1000 {
		name := fmt.Sprintf("lb-test-%d-%d", os.Getpid(), i)
		if _, err := os.Stat("/run/netns/" + name); errors.Is(err, os.ErrNotExist) {
			return name
		}
	}
	t.Fatal("a thousand network namespaces left over in /run/netns")
	return ""
}

// Do runs f on a thread inside the namespace and fails the test with its
// error. Sockets that f opens stay in the namespace after it has returned;
// threads and processes that it starts do not follow unless f waits for them.
func (n *Netns) Do(t testing.TB, f func() error) {
	t.Helper()
	onThread(t, func() error {
		own, err := netns.Get()
		if err != nil {
			return err
		}
		defer own.Close()
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", n.Name, err)
		}
		err = f()
		if back := netns.Set(own); back != nil {
			return fmt.Errorf("leave network namespace %s: %w", n.Name, back)
		}
		return err
	})
}

// onThread runs f on a thread of its own, which ends when f fails: it may be
// in the wrong namespace then.
func onThread(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := f()
		if err == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// VethPair creates two network namespaces joined by a veth pair: a device lb0
// in each, with VethAddr1 and VethAddr1v6 in the first, the others in the second.
func VethPair(t testing.TB) (first, second *Netns) {
	t.Helper()
	first, second = NewNetns(t), NewNetns(t)
	first.Do(t, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = VethDevice
		return netlink.LinkAdd(
			&netlink.Veth{LinkAttrs: attrs, PeerName: VethDevice, PeerNamespace: netlink.NsFd(second.handle)},
		)
	})
	for n, addresses := range map[*Netns][2]string{first: {VethAddr1, VethAddr1v6}, second: {VethAddr2, VethAddr2v6}} {
		n.Do(t, func() error {
			device, err := netlink.LinkByName(VethDevice)
			if err != nil {
				return err
			}
			for i, prefix := range [2]string{"/24", "/64"} {
				addr, err := netlink.ParseAddr(addresses[i] + prefix)
				if err != nil {
					return err
				}
				addr.Flags = noDAD * i
				if err := netlink.AddrAdd(device, addr); err != nil {
					return fmt.Errorf("add address %s: %w", addresses[i], err)
				}
			}
			return netlink.LinkSetUp(device)
		})
	}
	return first, second
}

// noDAD is IFA_F_NODAD: the address is usable at once.
const noDAD = 2
