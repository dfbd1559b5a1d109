package heartbeat

import "time"

const (
	// busySlot is a port with too many packets: n of struct hb_slot.
	busySlot = 0xffff
	// leastGaps is from how many gaps on a cadence is told.
	leastGaps = 5
)

// gaps are the times between the packets of a socket, in microseconds.
type gaps struct {
	cookie                  uint64
	protocol                uint8
	n, sum, square, longest uint64
}

// add takes up what was seen earlier.
func (g *gaps) add(o gaps) {
	g.n, g.sum, g.square, g.longest = g.n+o.n, g.sum+o.sum, g.square+o.square, max(g.longest, o.longest)
}

// mean is the mean gap.
func (g *gaps) mean() time.Duration {
	return time.Duration(g.sum/max(g.n, 1)) * time.Microsecond
}

// regular says that the gaps are alike: the longest is below three times the mean, and they vary by less than half of
// it. Packets that come at random vary by all of it.
func (g *gaps) regular() bool {
	if g.n < leastGaps || g.longest*g.n >= 3*g.sum {
		return false
	}
	n, sum := float64(g.n), float64(g.sum)
	return float64(g.square)*n/(sum*sum)-1 < 0.5*0.5
}
