package heartbeat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/model"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// shaped is what the child of TestQdisc sends over a loopback device that lets 10,000 bytes a second pass, and 1,600 at
// once: heartbeats behind a packet that takes all that may pass at once.
func shaped() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	const rate, burst = 10_000, 1600
	if err := errors.Join(netlink.LinkSetUp(lo), netlink.QdiscAdd(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: lo.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT,
		},
		Rate: rate, Limit: 100_000, Buffer: netlink.Xmittime(rate, burst),
	})); err != nil {
		return err
	}
	fd, self, err := bound("udp4", loopback)
	if err != nil {
		return err
	}
	out := must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
	if err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.Connect(out, must(unix.Getsockname(fd))), json.NewEncoder(os.Stdout).Encode(self)); err != nil {
		return err
	}
	if _, err := io.ReadFull(os.Stdin, make([]byte, 1)); err != nil {
		return err
	}
	hog := must(net.Dial("udp4", "127.0.0.1:9"))
	if _, err := hog.Write(make([]byte, 1400)); err != nil {
		return err
	}
	lines, buffer, control := json.NewEncoder(os.Stdout), make([]byte, 4096), make([]byte, 256)
	var sent []int64
	for n := range 10 {
		sent = append(sent, time.Now().UnixNano())
		if _, err := unix.Write(out, fmt.Appendf(nil, "heartbeat %d %200s", n, "")); err != nil {
			return err
		}
	}
	for _, at := range sent {
		_, rest, _, _, err := unix.Recvmsg(fd, buffer, control, 0)
		if err != nil {
			return err
		}
		// Of a sender, Read is when it sent.
		if err := lines.Encode(taken{Stamp: stampOf(control[:rest]), Read: at}); err != nil {
			return err
		}
	}
	_, _ = os.Stdin.Read(make([]byte, 1)) // the sockets stay open until the test has seen enough
	return nil
}

// The time in a queueing discipline agrees with the sender's own clock and with the kernel's stamps where the packets
// arrive.
func TestQdisc(t *testing.T) {
	testutil.Privileged(t)
	c, begin := childWith(t, true, "shaped")
	s := follow(t, model.ProtocolUDP, c.Port)
	s.WaitFor(20*time.Second, "flow", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.Flow(e)
		return ok && int(v.RemotePort) == c.Port
	})
	if _, err := begin.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	var own []taken
	for range 10 {
		var one taken
		if err := c.lines.Decode(&one); err != nil {
			t.Fatalf("after %d: %v", len(own), err)
		}
		own = append(own, one)
	}
	s.Intervals(1)
	var in, left []model.PacketQdisc
	over := make(map[model.Direction]int)
	batches := s.Stop()
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if v, ok := b.FlowDevice(e); ok {
			over[v.Direction]++
			if v.Device != "lo" || v.Ifindex != 1 || !v.Complete || v.Below != "" || v.RemoteAddr != "127.0.0.1" {
				t.Errorf("%+v", v)
			}
		}
		if v, ok := b.PacketQdisc(e); ok && int(v.RemotePort) == c.Port {
			if v.Left {
				left = append(left, v)
			} else {
				in = append(in, v)
			}
		}
	})
	if len(in) != 10 || len(left) != 10 {
		t.Fatalf("%d were put in, %d left, of 10", len(in), len(left))
	}
	if over[model.DirectionRX] != 1 || over[model.DirectionTX] != 1 {
		t.Errorf("devices of both directions: %v", over)
	}
	var worst [2]time.Duration
	for i, v := range left {
		worst[0] = max(worst[0], time.Duration(int64(v.Time)-own[i].Stamp).Abs())
		worst[1] = max(worst[1], time.Duration(int64(v.Time.Add(-v.Dur))-own[i].Read).Abs())
		if v.Device != "lo" || v.Qdisc != "tbf" || in[i].Time != v.Time.Add(-v.Dur) || v.RemoteAddr != "127.0.0.1" ||
			!near(int64(v.Time), own[i].Stamp, 5*exact()) || own[i].Read > int64(in[i].Time)+int64(exact()) {
			t.Errorf("%d: %+v, put in %+v; it says %+v", i, v, in[i], own[i])
		}
	}
	t.Logf("at most %v from the kernel's stamp at the receiver, %v from the sender's clock; %v in the queueing discipline",
		worst[0], worst[1], left[9].Dur)
	if left[9].Dur < 100*time.Millisecond {
		t.Errorf("the last one waited for %v", left[9].Dur)
	}
}
