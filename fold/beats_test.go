package fold

import (
	"testing"
	"time"

	"lostbeat/model"
)

// flowing gives a fold the gaps of one flow, in milliseconds, and returns the flow.
func flowing(gaps ...int) (*Fold, *Beat) {
	w := New(Options{Judged: true})
	at := model.Time(1e18)
	for _, gap := range append([]int{0}, gaps...) {
		at = at.Add(time.Duration(gap) * time.Millisecond)
		w.beatPacket(&model.Packet{
			Time: at, Cookie: 7, PID: 812, Direction: model.DirectionTX, Protocol: model.ProtocolUDP, LocalPort: 5405,
			RemoteAddr: "10.0.0.2", RemotePort: 5405,
		})
	}
	return w, w.SortedBeats()[0]
}

func repeat(n int, gaps ...int) (list []int) {
	for range n {
		list = append(list, gaps...)
	}
	return list
}

func TestPeriod(t *testing.T) {
	for _, tt := range []struct {
		name string
		gaps []int
		want time.Duration
	}{
		{"too young", repeat(15, 100), 0},
		{"regular", repeat(16, 100), 100 * time.Millisecond},
		{"jitter", repeat(20, 80, 100, 120), 100 * time.Millisecond},
		{"packets that come together", repeat(20, 1, 1, 250), 250 * time.Millisecond},
		{"no period", repeat(2, 100, 150, 250, 400, 700, 1100, 1900, 3000), 0},
		{"one stray", append(repeat(40, 100), append([]int{280}, repeat(20, 100)...)...), 100 * time.Millisecond},
		{"a loss is not learned", append(repeat(20, 100), 2000, 100), 100 * time.Millisecond},
		{"a new period", append(repeat(20, 100), repeat(20, 500)...), 500 * time.Millisecond},
		{"much more often", append(repeat(20, 1000), repeat(100, 10)...), 10 * time.Millisecond},
		{"a burst is not a new period", append(repeat(20, 1000), repeat(40, 1)...), 1000 * time.Millisecond},
	} {
		if _, b := flowing(tt.gaps...); b.Usual() != tt.want {
			t.Errorf("%s: period %v, want %v", tt.name, b.Usual(), tt.want)
		}
	}
}

func TestGaps(t *testing.T) {
	for _, tt := range []struct {
		name       string
		gaps       []int
		late, lost uint64
	}{
		{"none", repeat(40, 100), 0, 0},
		{"one, and then as before", append(repeat(40, 100), 600, 100), 1, 5},
		{"one that may be a new period", append(repeat(40, 100), 600), 0, 0},
		{"one, and all of it together", append(repeat(40, 100), 600, 1, 1, 1, 1, 1, 100), 1, 0},
		{"a new period", append(repeat(40, 100), repeat(20, 600)...), 0, 0},
		{"four that differ", append(repeat(40, 100), 600, 2000, 400, 900), 0, 0},
		{"four that differ, and then as before", append(repeat(40, 100), 600, 2000, 400, 900, 100), 4, 35},
		{"one that is longer than the new period", append(repeat(40, 100), 2600, 1700, 1700, 1700, 1700), 1, 25},
		{"too short", append(repeat(40, 100), 299, 100), 0, 0},
		{"too young", append(repeat(35, 100), 600, 100), 0, 0},
		{"just old enough", append(repeat(36, 100), 600, 100), 1, 5},
		{"just long enough", append(repeat(40, 100), 300, 100), 1, 2},
	} {
		if _, b := flowing(tt.gaps...); b.Late != tt.late || b.Lost != tt.lost {
			t.Errorf("%s: %d late, %d lost, want %d and %d", tt.name, b.Late, b.Lost, tt.late, tt.lost)
		}
	}
}

// Flows are forgotten with their sockets, and what they took is given back; strangers do not push out the flow that
// goes on.
func TestFlowsAreForgotten(t *testing.T) {
	w, b := flowing(repeat(40, 100)...)
	used := w.room.Used()
	at := b.Last
	for i := range 3 * maxPeers {
		w.beatPacket(&model.Packet{
			Time: at, Cookie: 7, PID: 812, Direction: model.DirectionRX, Protocol: model.ProtocolUDP, LocalPort: 5405,
			RemoteAddr: "10.0.9.9", RemotePort: uint16(i + 1),
		})
		at = at.Add(time.Millisecond)
		w.beatPacket(&model.Packet{
			Time: at, Cookie: 7, PID: 812, Direction: model.DirectionTX, Protocol: model.ProtocolUDP, LocalPort: 5405,
			RemoteAddr: "10.0.0.2", RemotePort: 5405,
		})
	}
	if n := len(w.beats); n > maxPeers || w.beats[b.Key] != b {
		t.Errorf("%d flows, the old one is kept: %v", n, w.beats[b.Key] == b)
	}
	w.applyFlow(&model.Flow{Time: at, Cookie: 7, State: model.FlowEnded})
	for _, after := range []time.Duration{forgetFlow, forgetFlow + 1} {
		w.Now = at.Add(after)
		w.endBeats()
		if gone := len(w.beats) == 0 && len(w.follows) == 0; gone != (after > forgetFlow) {
			t.Errorf("after %v: %d flows of %d sockets", after, len(w.beats), len(w.follows))
		}
	}
	if w.room.Used() >= used {
		t.Errorf("%d bytes in use, %d before", w.room.Used(), used)
	}
}

// A packet whose event comes behind that of its read does not wait, and one that is read by another process makes that
// one the owner.
func TestReadBeforeArrival(t *testing.T) {
	w := New(Options{Judged: true})
	at := model.Time(1e18)
	for i := range 40 {
		at = at.Add(100 * time.Millisecond)
		p := model.Packet{
			Time: at, Cookie: 7, PID: 812, Direction: model.DirectionRX, Protocol: model.ProtocolUDP, LocalPort: 5405,
			RemoteAddr: "10.0.0.2", RemotePort: 5405, Dur: 10 * time.Microsecond, Process: "parent",
		}
		r := model.PacketRead{
			Time: at.Add(time.Microsecond), Dur: time.Microsecond, Host: p.Dur, Cookie: 7, PID: 900, TID: 901,
			Protocol: model.ProtocolUDP, LocalPort: 5405, RemoteAddr: "10.0.0.2", RemotePort: 5405, Process: "child",
		}
		if i%2 == 0 {
			w.beatPacket(&p)
			w.beatRead(&r)
		} else {
			w.beatRead(&r)
			w.beatPacket(&p)
		}
	}
	b := w.SortedBeats()[0]
	if len(b.unread) != 0 || b.Socket.PID != 900 || b.Socket.Process != "child" || b.Socket.Reader() != 901 {
		t.Errorf("%d unread of %d %q", len(b.unread), b.Socket.PID, b.Socket.Process)
	}
	w.Now = at.Add(10 * time.Second)
	if g, ok := w.Open(b); !ok || g.Main() != StageAbsent || g.Missed != 99 {
		t.Errorf("open gap %v: %+v", ok, g)
	}
}
