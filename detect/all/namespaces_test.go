package all_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// TestTwoPods gives two pods whose eth0 have the same index the same losses, and
// then removes the pods: each has a finding of its own, with its own number, which
// names its namespace when that is gone, too.
func TestTwoPods(t *testing.T) {
	for name, d := range map[string]model.Drop{
		"ring":     {Place: model.PlaceRing, Reason: "rx_missed_errors"},
		"device":   {Place: model.PlaceDevice, Reason: "NOT_SPECIFIED", Location: "veth_xmit"},
		"qdisc":    {Place: model.PlaceQdisc, Reason: "QDISC_DROP"},
		"filter":   {Place: model.PlaceFilter, Reason: "NETFILTER_DROP"},
		"protocol": {Place: model.PlaceProtocol, Reason: "IP_CSUM"},
	} {
		t.Run(name, func(t *testing.T) {
			s := detecttest.New()
			b := s.Builder()
			pods := []uint32{4026532001, 4026532002}
			for pod, inode := range pods {
				b.AddDeviceConfig(model.DeviceConfig{
					Time: s.Now(), NetnsInode: inode, Netns: fmt.Sprintf("pod-%d", pod), Ifindex: 2, Device: "eth0", Driver: "veth",
					RXQueues: 1,
				})
			}
			s.Seconds(60, func(i int) {
				s.Quiet()
				for pod, inode := range pods {
					switch {
					case i >= 5 && i < 25:
						if d.Place == model.PlaceRing {
							b.AddDeviceStats(model.DeviceStats{
								Time: s.End(), Dur: time.Second, NetnsInode: inode, Ifindex: 2, Device: "eth0", RXPackets: 30_000,
							})
						}
						d := d
						d.Time, d.Dur, d.NetnsInode, d.Ifindex, d.Device = s.End(), time.Second, inode, 2, "eth0"
						d.CPU, d.PID, d.TID, d.Queue, d.Count = -1, -1, -1, -1, 500*uint64(pod+1)
						b.AddDrop(d)
					case i == 26:
						b.AddDeviceEvent(model.DeviceEvent{
							Time: s.Now(), NetnsInode: inode, Ifindex: 2, Device: "eth0", What: model.DeviceRemoved,
						})
					}
				}
			})
			list := detecttest.Latest(detecttest.Run(s.Batch(), 0))
			if len(list) != 2 {
				t.Fatalf("%d findings: %+v", len(list), list)
			}
			slices.SortFunc(list, func(a, b model.Finding) int { return strings.Compare(a.Subject.Netns, b.Subject.Netns) })
			for pod, f := range list {
				name := fmt.Sprintf("pod-%d", pod)
				text := strings.ToLower(f.Title + "\n" + strings.Join(f.Causes, "\n"))
				if f.Subject.Netns != name || !strings.Contains(text, "in network namespace "+name) ||
					!strings.Contains(f.Title, fmt.Sprintf("%d,000 ", 10*(pod+1))) {
					t.Errorf("%+v: %s", f.Subject, text)
				}
			}
		})
	}
}

// TestNumberOfANamespaceGoesOn has a namespace that takes the number of one that
// has gone: neither its ports nor its losses continue those of the former one.
func TestNumberOfANamespaceGoesOn(t *testing.T) {
	const number = 4026532001
	s := detecttest.New()
	b := s.Builder()
	ports := func(name string, size uint64) {
		b.AddPortPool(model.PortPool{
			Time: s.Now(), Protocol: model.ProtocolUDP, Low: 2000, High: 2999, Size: size, Source: model.PoolEphemeral,
			Netns: number, NetnsName: name, Name: "ephemeral",
		})
	}
	pid, cookie := int32(100), uint64(0)
	leak := func(seconds int) (held []model.PortAcquire) {
		pid++
		port := uint16(2000)
		s.Seconds(seconds, func(int) {
			s.Quiet()
			for n := range 20 {
				cookie++
				a := model.PortAcquire{
					Time: s.Now().Add(time.Duration(n+1) * 40 * time.Millisecond), PID: pid, TID: pid, Cookie: cookie,
					Protocol: model.ProtocolUDP, LocalPort: port, How: model.HowBindAny, Netns: number, LocalAddr: "0.0.0.0",
					Process: "leaky",
				}
				port++
				b.AddPortAcquire(a)
				held = append(held, a)
			}
		})
		return held
	}
	for _, name := range []string{"first", "second"} {
		ports(name, 1000)
		for _, a := range leak(12) {
			b.AddPortRelease(model.PortRelease{
				Time: s.Now(), PID: a.PID, TID: a.TID, Cookie: a.Cookie, Protocol: a.Protocol, LocalPort: a.LocalPort,
				How: model.HowClose, Netns: number, LocalAddr: a.LocalAddr, Process: a.Process,
			})
		}
		b.AddProcess(model.Process{Time: s.Now(), PID: pid, TID: pid, State: model.ProcessExited, Name: "leaky"})
		ports(name, 0)
		s.Seconds(3, func(int) { s.Quiet() })
	}
	s.Seconds(20, func(int) { s.Quiet() })
	var said []string
	for _, f := range detecttest.Latest(detecttest.Run(s.Batch(), 0)) {
		said = append(said, f.Subject.Netns+": "+f.Title)
		if strings.Contains(strings.Join(f.Causes, "\n"), "leaked before it") {
			t.Errorf("it continues another's: %v", f.Causes)
		}
	}
	if len(said) != 2 || !strings.HasPrefix(said[0], "first: leaky[101] took 240") ||
		!strings.HasPrefix(said[1], "second: leaky[102] took 240") {
		t.Errorf("%s", strings.Join(said, "\n"))
	}
}
