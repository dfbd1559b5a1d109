package tui

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
	"lostbeat/tui/tuitest"
)

// pods are the namespaces of two pods whose eth0 have the same index, and the host's.
var pods = map[uint32]string{4026532001: "pod-a", 4026532002: "pod-b", 4026531840: ""}

// TestDevicesOfNamespaces wants devices of one name and index in several
// namespaces to be several on the screen, with their counters, polls and losses.
func TestDevicesOfNamespaces(t *testing.T) {
	at := tuitest.Start + second
	s := fold.NewHistory()
	snap := apply(s, func(b *model.Builder) {
		for inode, name := range pods {
			b.AddDeviceConfig(model.DeviceConfig{
				Time: at, NetnsInode: inode, Netns: name, Ifindex: 2, Device: "eth0", RXQueues: 1,
			})
			b.AddDeviceQueue(model.DeviceQueue{Time: at, NetnsInode: inode, Ifindex: 2, Device: "eth0", IRQ: 1})
			b.AddDeviceStats(model.DeviceStats{
				Time: at, Dur: time.Second, NetnsInode: inode, Ifindex: 2, Device: "eth0", RXPackets: uint64(inode % 100),
			})
			b.AddNAPI(model.NAPI{
				Time: at, Dur: time.Second, NetnsInode: inode, Ifindex: 2, Device: "eth0", Polls: 10, Packets: 10,
			})
			for _, place := range []model.Place{model.PlaceDevice, model.PlaceSocket} {
				d := model.Drop{
					Time: at, Dur: time.Second, NetnsInode: inode, PID: -1, TID: -1, CPU: -1, Queue: -1, Place: place,
					Count: uint64(inode % 100), Reason: "NOT_SPECIFIED",
				}
				if place == model.PlaceDevice {
					d.Device, d.Ifindex = "eth0", 2
				}
				b.AddDrop(d)
			}
			b.AddDeviceEvent(model.DeviceEvent{
				Time: at, NetnsInode: inode, Ifindex: 2, Device: "eth0", What: model.DeviceLinkUp,
			})
		}
	})
	u := screen(s, 200, 60).ui
	v := u.newView()
	check := func(what string, got []string, want ...string) {
		t.Helper()
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	var devices, polls, lost, queues, events []string
	for _, d := range u.deviceGrid(&v, "devices").rows {
		devices = append(devices, fmt.Sprintf("%s %.0f", inNamespace(d.Device, d.Netns), d.now.RxPackets))
	}
	check("devices", devices, "eth0 40", "eth0 in pod-a 1", "eth0 in pod-b 2")
	for _, r := range u.napiGrid(&v).rows {
		polls = append(polls, inNamespace(r.Key.Device, v.namespace(r.Key.Netns)))
	}
	check("polls", polls, "eth0", "eth0 in pod-a", "eth0 in pod-b")
	drops := u.dropGrid(&v)
	for _, r := range drops.rows {
		lost = append(lost, fmt.Sprintf("%s %d", drops.find(r), r.total))
	}
	check("losses", lost,
		"device NOT_SPECIFIED eth0  40", "device NOT_SPECIFIED eth0 in pod-a  1", "device NOT_SPECIFIED eth0 in pod-b  2",
		"socket NOT_SPECIFIED   40", "socket NOT_SPECIFIED in pod-a  1", "socket NOT_SPECIFIED in pod-b  2")
	for _, q := range snap.Queues {
		queues = append(queues, inNamespace(q.Device, v.namespace(q.NetnsInode)))
	}
	check("queues", queues, "eth0", "eth0 in pod-a", "eth0 in pod-b")
	for _, e := range snap.DeviceEvents {
		events = append(events, inNamespace(e.Device, v.namespace(e.NetnsInode)))
	}
	check("events", events, "eth0", "eth0 in pod-a", "eth0 in pod-b")
	m := screen(s, 200, 60)
	press(m, "3")
	for _, g := range []string{"eth0 in pod-a", "eth0 in pod-b"} {
		if n := strings.Count(text(m.View().Content), g); n < 3 {
			t.Errorf("%q is shown %d times:\n%s", g, n, text(m.View().Content))
		}
	}
}

// TestDevicesWithoutNamespaces has a stream of a format that carries no namespaces.
func TestDevicesWithoutNamespaces(t *testing.T) {
	at := tuitest.Start + second
	s := fold.NewHistory()
	apply(s, func(b *model.Builder) {
		b.AddDeviceConfig(model.DeviceConfig{Time: at, Ifindex: 2, Device: "eth0", RXQueues: 1})
		b.AddDeviceStats(model.DeviceStats{Time: at, Dur: time.Second, Ifindex: 2, Device: "eth0", RXPackets: 7})
	})
	u := screen(s, 120, 40).ui
	v := u.newView()
	rows := u.deviceGrid(&v, "devices").rows
	if len(rows) != 1 || rows[0].now.RxPackets != 7 || rows[0].Netns != "" {
		t.Errorf("%+v", rows)
	}
}
