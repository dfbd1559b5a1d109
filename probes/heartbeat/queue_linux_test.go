package heartbeat

import (
	"slices"
	"testing"
	"time"

	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// seqs returns the sequence numbers of arrivals.
func seqs(list []arrival) []uint32 {
	var out []uint32
	for _, p := range list {
		out = append(out, p.endSeq)
	}
	return out
}

func TestQueueOfDatagrams(t *testing.T) {
	var q queue
	at := func(d time.Duration) model.Time { return model.Time(time.Hour + d) }
	read := func(when time.Duration, left uint32) []uint32 {
		return seqs(q.read(at(when), &heartbeatLbRead{Protocol: unix.IPPROTO_UDP, Left: left}))
	}
	for i := range 3 {
		q.arrived(arrival{at: at(time.Duration(i) * time.Millisecond), endSeq: uint32(i)})
	}
	q.refused() // the queue was full: the third never got there
	q.arrived(arrival{at: at(3 * time.Millisecond), endSeq: 3})
	if got := read(10*time.Millisecond, 2); !slices.Equal(got, []uint32{0}) {
		t.Errorf("first read: %v", got)
	}
	if got := read(11*time.Millisecond, 1); !slices.Equal(got, []uint32{1}) {
		t.Errorf("second read: %v", got)
	}
	// Nothing is left although one is known to wait: it was lost, and one that comes now is not taken for it.
	q.arrived(arrival{at: at(11 * time.Millisecond), endSeq: 4})
	q.arrived(arrival{at: at(20*time.Millisecond - inFlight/2), endSeq: 5})
	if got := read(20*time.Millisecond, 0); !slices.Equal(got, []uint32{3}) {
		t.Errorf("third read: %v", got)
	}
	if got := read(30*time.Millisecond, unknownLeft); !slices.Equal(got, []uint32{5}) {
		t.Errorf("read after a loss: %v", got)
	}
	if got := read(31*time.Millisecond, 0); len(got) != 0 {
		t.Errorf("read of what was not seen to arrive: %v", got)
	}
}

func TestQueueOfSegments(t *testing.T) {
	var q queue
	read := func(seq uint32) []uint32 {
		return seqs(q.read(model.Time(time.Hour), &heartbeatLbRead{Protocol: protocolTCP, ReadSeq: seq}))
	}
	// The numbers wrap.
	for _, end := range []uint32{^uint32(0) - 50, 49, 149} {
		q.arrived(arrival{endSeq: end})
	}
	for seq, want := range map[uint32][]uint32{^uint32(0) - 51: nil} {
		if got := read(seq); !slices.Equal(got, want) {
			t.Errorf("up to %d: %v", seq, got)
		}
	}
	if got := read(100); !slices.Equal(got, []uint32{^uint32(0) - 50, 49}) {
		t.Errorf("a segment and a half: %v", got)
	}
	if got := read(149); !slices.Equal(got, []uint32{149}) {
		t.Errorf("the rest: %v", got)
	}
}

func TestQueueIsBounded(t *testing.T) {
	var q queue
	for i := range maxQueued + 10 {
		q.arrived(arrival{endSeq: uint32(i)})
	}
	if len(q.waiting) != maxQueued || q.waiting[0].endSeq != 10 {
		t.Errorf("%d wait, from %d on", len(q.waiting), q.waiting[0].endSeq)
	}
}
