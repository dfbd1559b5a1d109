package nic

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"lostbeat/internal/driverstat"
	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
	"lostbeat/model"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { vmtest.Main(m) }

// The guest's device and what is sent to it.
const (
	guestMAC  = "52:54:00:12:34:56" // QEMU's default
	guestAddr = "192.0.2.2"
	guestPort = 7000
	// guestRing is the size that the guest gives to its ring, burst the number of
	// frames that the host sends at once, and burstEvery how often.
	guestRing  = 128
	burst      = 1000
	burstEvery = 500 * time.Millisecond
)

// Lines by which the guest tells the host to begin and to end, and how many
// frames it has counted.
const (
	beginFrames = "guest: begin"
	endFrames   = "guest: end"
	countLine   = "guest: received %d lost %d"
)

// TestLongGuestRingOverflow has a device's own receive ring overflow, for real: an
// emulated vmxnet3, which drops a frame when the guest has left no descriptor
// for it, as hardware does, and counts it. The command itself watches.
func TestLongGuestRingOverflow(t *testing.T) {
	testutil.Privileged(t) // it is slow, and belongs to the tests that are
	if vmtest.Guest() {
		guestRingOverflow(t)
		return
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	wire, far := os.NewFile(uintptr(pair[0]), "wire"), os.NewFile(uintptr(pair[1]), "far end")
	defer far.Close()
	defer wire.Close()
	sender := &frameSender{wire: wire}
	defer sender.stop()
	var received, lost uint64
	out := vmtest.Run(t, vmtest.Options{
		Kernel: "6.1", Package: "lostbeat/probes/nic", Tests: "TestLongGuestRingOverflow", Timeout: 4 * time.Minute,
		Modules: []string{
			"vmxnet3",
		}, Programs: map[string]string{"lostbeat": "lostbeat/cmd/lostbeat"}, Device: "vmxnet3", Wire: far,
		Line: func(line string) {
			switch line {
			case beginFrames:
				sender.start(t.Context())
			case endFrames:
				sender.stop()
			default:
				_, _ = fmt.Sscanf(line, countLine, &received, &lost) // most lines are others
			}
		},
	})
	sender.stop()
	if sender.err != nil {
		t.Error(sender.err)
	}
	// Nothing but the ring can lose a frame between here and the guest's kernel.
	if received+lost != sender.sent || lost == 0 {
		t.Errorf(
			"the host has sent %d frames, the guest has counted %d received and %d lost:\n%s",
			sender.sent,
			received,
			lost,
			out,
		)
	}
	t.Logf("%d frames sent, %d received, %d lost in the ring", sender.sent, received, lost)
}

// frameSender sends bursts of frames to the guest.
type frameSender struct {
	wire   *os.File
	cancel context.CancelFunc
	wg     sync.WaitGroup
	sent   uint64
	err    error
}

func (s *frameSender) start(ctx context.Context) {
	ctx, s.cancel = context.WithCancel(ctx)
	frames := bytes.Repeat(frame(), burst)
	s.wg.Go(func() {
		ticker := time.NewTicker(burstEvery)
		defer ticker.Stop()
		for ctx.Err() == nil {
			if _, s.err = s.wire.Write(frames); s.err != nil {
				return
			}
			s.sent += burst
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
	})
}

// stop ends the bursts, the last of them whole if the guest takes it. It may be
// called again.
func (s *frameSender) stop() {
	if s.cancel != nil {
		s.cancel()
		_ = s.wire.SetWriteDeadline(time.Now().Add(10 * time.Second)) // the socket can
		s.wg.Wait()
	}
}

// frame returns a UDP packet for the guest as it passes over the wire.
func frame() []byte {
	const payload = 32
	mac, _ := net.ParseMAC(guestMAC) // a constant
	b := binary.BigEndian.AppendUint32(nil, 14+20+8+payload)
	b = append(b, mac...)
	b = append(b, 2, 0, 0, 0, 0, 1, 0x08, 0x00)
	ip := []byte{0x45, 0, 0, 20 + 8 + payload, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0, 192, 0, 2, 1}
	ip = append(ip, net.ParseIP(guestAddr).To4()...)
	var sum uint32
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	b = append(b, ip...)
	b = binary.BigEndian.AppendUint16(b, 9)
	b = binary.BigEndian.AppendUint16(b, guestPort)
	b = binary.BigEndian.AppendUint16(b, 8+payload)
	return append(b, make([]byte, 2+payload)...) // no checksum
}

// guestRingOverflow is the guest's side of TestLongGuestRingOverflow.
func guestRingOverflow(t *testing.T) {
	link := guestLink(t)
	reader, err := net.ListenUDP("udp4", &net.UDPAddr{Port: guestPort})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	// The ring is what shall overflow, and not the socket.
	if raw, err := reader.SyscallConn(); err != nil {
		t.Fatal(err)
	} else if cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	}); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }() // until it is closed

	watch, findings := vmtest.Watch(t)
	// Emulated, the probes take seconds to load; the quiet phase begins meanwhile.
	quiet := time.After(15 * time.Second)
	for waiting := true; waiting; {
		select {
		case f, ok := <-findings:
			if !ok {
				t.Fatal("the watch has ended")
			}
			if f.Detector != "dpc-starvation" { // an emulated processor stands still at times
				t.Errorf("on a quiet host: %s: %s", f.Detector, f.Title)
			}
		case <-quiet:
			waiting = false
		}
	}
	fmt.Println(beginFrames)
	began := time.Now()
	f := await(t, findings)
	t.Logf("the finding came %v after the first burst", time.Since(began).Round(100*time.Millisecond))
	fmt.Println(endFrames)
	received, lost := settled(t, link)
	fmt.Printf(countLine+"\n", received, lost)

	text := strings.Join(
		[]string{f.Title, strings.Join(f.Causes, "\n"), strings.Join(f.RuledOut, "\n"), strings.Join(f.Advice, "\n")},
		"\n",
	)
	for _, part := range []string{
		"eth0 loses packets in its ring", "CPU 0", "pkts rx OOB", fmt.Sprintf("(now %d)", guestRing),
	} {
		if !strings.Contains(text, part) {
			t.Errorf("the finding does not say %q:\n%s", part, text)
		}
	}
	if f.Subject.Device != "eth0" || f.Subject.Queue != "rx-0" {
		t.Errorf("the finding is about %+v", f.Subject)
	}
	// The last word of the finding has what the device itself has counted.
	if err := watch.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	for late := range findings {
		if late.ID == f.ID {
			f = late
		}
	}
	if err := watch.Wait(); err != nil {
		t.Error(err)
	}
	if n := evidenceOf(f, "lost in the ring"); n != float64(lost) {
		t.Errorf("lostbeat has counted %v packets lost in the ring, the device %d", n, lost)
	}
}

// guestLink starts the guest's device with a small ring.
func guestLink(t *testing.T) netlink.Link {
	t.Helper()
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	address, err := netlink.ParseAddr(guestAddr + "/24")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(link, address); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	tool, err := openEthtool()
	if err != nil {
		t.Fatal(err)
	}
	defer tool.close()
	sizes := tool.rings("eth0")
	sizes.command, sizes.rx = unix.ETHTOOL_SRINGPARAM, guestRing
	if err := tool.call("eth0", unsafe.Pointer(&sizes)); err != nil {
		t.Fatalf("set the ring's size: %v", err)
	}
	return link
}

// await waits for the finding about the ring.
func await(t *testing.T, findings <-chan model.Finding) model.Finding {
	t.Helper()
	patience := time.After(time.Minute)
	for {
		select {
		case f, ok := <-findings:
			if !ok {
				t.Fatal("the watch has ended")
			}
			if f.Detector == "ring-drop" {
				return f
			}
			t.Logf("meanwhile: %s: %s", f.Detector, f.Title)
		case <-patience:
			t.Fatal("no ring-drop finding within a minute")
		}
	}
}

// settled returns what the device has counted once that has stopped changing,
// for so long that lostbeat has read it as well.
func settled(t *testing.T, link netlink.Link) (received, lost uint64) {
	t.Helper()
	tool, err := openEthtool()
	if err != nil {
		t.Fatal(err)
	}
	defer tool.close()
	names, err := tool.statisticNames("eth0")
	if err != nil {
		t.Fatal(err)
	}
	found := slices.DeleteFunc(useful("vmxnet3", names), func(f driverstat.Found) bool { return !f.Class.InRing() })
	if len(found) != 1 {
		t.Fatalf("ring statistics %v", found)
	}
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for same := 0; same < 7; same++ {
		<-ticker.C
		values, err := tool.statistics("eth0", len(names))
		if err != nil {
			t.Fatal(err)
		}
		now, err := netlink.LinkByIndex(link.Attrs().Index)
		if err != nil {
			t.Fatal(err)
		}
		if r, l := now.Attrs().Statistics.RxPackets, values[found[0].Index]; r != received || l != lost {
			received, lost, same = r, l, 0
		}
	}
	return received, lost
}

func evidenceOf(f model.Finding, name string) float64 {
	for _, e := range f.Evidence {
		if e.Name == name {
			return e.Value
		}
	}
	return -1
}
