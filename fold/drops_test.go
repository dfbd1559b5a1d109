package fold

import (
	"fmt"
	"testing"

	"lostbeat/model"
)

// Whose the packets of a drop are is known as far as its flows say, second by second, and of a bounded number of flows.
func TestFlowDrops(t *testing.T) {
	w, b := flowing(repeat(20, 100)...)
	drop := model.Drop{
		CPU: 1, PID: -1, TID: -1, NetnsInode: 7, Place: model.PlaceFilter, Protocol: model.ProtocolUDP, LocalPort: 5405,
		Ifindex: 3, Device: "eth0", Reason: "NETFILTER_DROP", Location: "nft_do_chain", Flags: model.FlagTransmit,
	}
	lose := func(count, cookie uint64, remote string, port uint16) {
		drop.Count = count
		w.noteDrop(&drop)
		w.applyFlowDrop(&model.FlowDrop{
			Flags: drop.Flags, PID: -1, TID: -1, NetnsInode: 7, Cookie: cookie, Place: drop.Place, Count: count,
			Protocol: drop.Protocol, LocalPort: drop.LocalPort, RemotePort: port, Direction: model.DirectionTX,
			RemoteAddr: remote, Reason: drop.Reason, Device: drop.Device, Location: drop.Location,
		})
	}
	of := func(k *BeatKey, samePort bool) Whose { return w.SortedDrops()[0].Of(k, samePort, []int{w.Slot}) }
	lose(7, 7, "10.0.0.2", 5405)
	lose(5, 7, "10.0.0.3", 5405)
	lose(3, 7, "10.0.0.2", 0)
	lose(2, 8, "10.0.0.2", 5405)
	lose(1, 0, "", 0)
	drop.Count = 4
	w.noteDrop(&drop)
	for _, tt := range []struct {
		name     string
		flow     *BeatKey
		samePort bool
		want     Whose
	}{
		{"the flow, or another port of its peer", &b.Key, false, Whose{Its: 10, Others: 7, None: 1, Unknown: 4}},
		{"of any socket with the port", &b.Key, true, Whose{Its: 12, Others: 5, None: 1, Unknown: 4}},
		{"nobody in particular", nil, false, Whose{Unknown: 22}},
	} {
		if got := of(tt.flow, tt.samePort); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
	if b.Dropped != 7 {
		t.Errorf("%d packets of the flow were dropped, want 7", b.Dropped)
	}
	w.endDrops()
	w.Slot++
	if got := of(&b.Key, false); got != (Whose{}) {
		t.Errorf("a second later: %+v", got)
	}
	for i := range 2 * maxFlowDrops {
		lose(1, uint64(100+i), fmt.Sprint("10.1.0.", i), 5405)
	}
	d := w.SortedDrops()[0]
	if got := of(&b.Key, false); len(d.Flows) != maxFlowDrops || got.Others+got.Unknown != 2*maxFlowDrops {
		t.Errorf("%d flows are told apart, of %d at most: %+v", len(d.Flows), maxFlowDrops, got)
	}
	for range MaxWindow {
		w.Slot = (w.Slot + 1) % MaxWindow
		w.endDrops()
	}
	if len(d.Flows) != 0 {
		t.Errorf("%d flows are remembered after the window", len(d.Flows))
	}
}
