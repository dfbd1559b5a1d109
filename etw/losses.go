package etw

import "encoding/binary"

// lossCounters are what the counters of a session say of its losses, each since its start. Each is known to miss losses
// that another one has, so none is believed alone.
type lossCounters struct {
	// events is EventsLost of the session, records how many records in its stream said that events were lost.
	events, records uint64
	// buffers is RealTimeBuffersLost and LogBuffersLost of the session, reports how many records in its stream said that
	// a buffer was lost.
	buffers, reports uint64
	// dropped are the time stamps of the last event that each stream of buffers has lost, 0 for none; nil where Windows
	// does not say.
	dropped []uint64
}

// lossLedger finds what was lost since it was asked last: a loss that several counters have counts once.
type lossLedger struct {
	events, buffers uint64
	// dropped are the time stamps that were seen. waiting are the streams whose time stamp has moved without a counter
	// that did, with how often it was asked since; ahead is how many losses were reported for such a time stamp alone.
	dropped []uint64
	waiting []int
	ahead   uint64
}

// dropPatience is how often a time stamp waits for a counter to show the loss.
const dropPatience = 2

// take returns how many events, and how many buffers of them, were lost since it was called last. At the end of the
// session, final, nothing waits for a counter any more.
func (l *lossLedger) take(c lossCounters, final bool) (events, buffers uint64) {
	now, buffersNow := max(c.events, c.records), max(c.buffers, c.reports)
	events, buffers = now-min(now, l.events), buffersNow-min(buffersNow, l.buffers)
	l.events, l.buffers = max(now, l.events), max(buffersNow, l.buffers)
	if events+buffers > 0 {
		l.waiting = l.waiting[:0] // a counter has what the time stamps showed before
	}
	if known := min(events, l.ahead); known > 0 { // the counter has it after all
		events -= known
		l.ahead -= known
	}
	for i, at := range c.dropped {
		for len(l.dropped) <= i {
			l.dropped = append(l.dropped, 0)
		}
		if at > l.dropped[i] {
			l.dropped[i] = at
			if events+buffers == 0 {
				l.waiting = append(l.waiting, 0)
			}
		}
	}
	still := l.waiting[:0]
	for _, asked := range l.waiting {
		if asked < dropPatience && !final {
			still = append(still, asked+1)
			continue
		}
		events++ // how many there were is not known
		l.ahead++
	}
	l.waiting = still
	return events, buffers
}

// parseDropped reads what QueryTraceProcessingHandle says of the last events that were lost: a count and as many time
// stamps, which may be aligned.
func parseDropped(data []byte) []uint64 {
	if len(data) < 4 {
		return nil
	}
	n := uint64(binary.LittleEndian.Uint32(data))
	rest := data[4:]
	if uint64(len(rest)) >= 8*n+4 {
		rest = rest[4:]
	}
	if n == 0 || uint64(len(rest)) < 8*n {
		return nil
	}
	stamps := make([]uint64, n)
	for i := range stamps {
		stamps[i] = binary.LittleEndian.Uint64(rest[8*i:])
	}
	return stamps
}
