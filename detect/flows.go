package detect

import (
	"cmp"
	"slices"
	"time"

	"lostbeat/model"
)

// Bounds of what is remembered of flows.
const (
	maxFlows   = 4096
	recentGaps = 16
	// forgetFlow is after how long a flow that has ended is forgotten.
	forgetFlow = 2 * time.Minute
)

// regularSpread is how many times the usual gap the longest of the recent gaps
// of a regular flow may be.
const regularSpread = 3

// flowKey identifies the datagrams or segments that a process receives from one peer.
type flowKey struct {
	protocol              model.Protocol
	localPort, remotePort uint16
	pid                   int32
	remote                string
}

// flowFacts is one flow and its cadence.
type flowFacts struct {
	key     flowKey
	process string
	// cpu is where its last packet was handled, at last.
	cpu  int32
	last model.Time
	gaps [recentGaps]time.Duration
	n    int
	// silence is the last one that has ended.
	silence silence
}

// silence is a stretch in which nothing of a regular flow came, between two packets.
type silence struct{ from, to model.Time }

// usual returns the flow's usual gap, 0 when it has none: it is too young, or not regular.
func (f *flowFacts) usual() time.Duration {
	if f.n < recentGaps {
		return 0
	}
	gaps := f.gaps
	slices.Sort(gaps[:])
	usual := gaps[recentGaps/2]
	if gaps[recentGaps-1] > regularSpread*usual {
		return 0
	}
	return usual
}

// silentAt reports whether nothing of the flow has come for long at time t.
func (f *flowFacts) silentAt(t model.Time, s *StarvationSettings) bool {
	gap := t.Sub(f.last)
	if gap < s.LeastSilence.Std() {
		return false
	}
	usual := f.usual()
	return usual > 0 && gap >= time.Duration(s.SilentGaps)*usual
}

// applyPacket takes a received packet.
func (w *world) applyPacket(b *model.Batch, e *model.Event) {
	v, _ := b.Packet(e)
	if v.Direction != model.DirectionRX || v.CPU < 0 {
		return
	}
	k := flowKey{v.Protocol, v.LocalPort, v.RemotePort, v.PID, v.RemoteAddr}
	f := w.flows[k]
	if f == nil {
		if len(w.flows) >= maxFlows {
			return
		}
		f = &flowFacts{key: k, process: v.Process, last: v.Time, cpu: v.CPU}
		w.flows[k] = f
		return
	}
	switch gap := v.Time.Sub(f.last); {
	case gap <= 0: // what came together is one
	case f.silentAt(v.Time, &w.settings.Starvation):
		f.silence = silence{f.last, v.Time}
	default:
		f.gaps[f.n%recentGaps] = gap
		f.n++
	}
	f.last, f.cpu = max(f.last, v.Time), v.CPU
}

// flowsOn returns the regular flows of which something came from start on and
// that a CPU handled: how many there are, and those that are silent now.
func (w *world) flowsOn(cpu int32, start model.Time) (regular int, list []*flowFacts) {
	for _, f := range w.flows {
		if f.cpu != cpu || f.last < start || f.usual() == 0 {
			continue
		}
		if regular++; f.silentAt(w.now, &w.settings.Starvation) {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b *flowFacts) int {
		return cmp.Or(
			cmp.Compare(a.last, b.last),
			cmp.Compare(a.key.pid, b.key.pid),
			cmp.Compare(a.key.localPort, b.key.localPort),
			cmp.Compare(a.key.remote, b.key.remote),
			cmp.Compare(a.key.remotePort, b.key.remotePort),
			cmp.Compare(a.key.protocol, b.key.protocol),
		)
	})
	return regular, list
}

// forgetFlows drops the flows that have ended.
func (w *world) forgetFlows() {
	for k, f := range w.flows {
		if w.now.Sub(f.last) > forgetFlow {
			delete(w.flows, k)
		}
	}
}

// hush is a silence as a victim of starvation.
type hush struct {
	flow  *flowFacts
	usual time.Duration
	from  model.Time
}

// length returns how long the silence was, or has been at time now.
func (h *hush) length(now model.Time) time.Duration {
	if s := h.flow.silence; s.from == h.from {
		now = s.to
	}
	return now.Sub(h.from)
}

// name says which flow it was.
func (h *hush) name() string {
	k := &h.flow.key
	return task(
		h.flow.process,
		k.pid,
	) + " (" + k.protocol.String() + "/" + itoa(
		k.localPort,
	) + " from " + clean(
		k.remote,
	) + ")"
}

// longestHush returns the longest of the silences, nil when there is none.
func longestHush(list []hush, now model.Time) *hush {
	var longest *hush
	for i := range list {
		if longest == nil || list[i].length(now) > longest.length(now) {
			longest = &list[i]
		}
	}
	return longest
}

// addHushes adds the flows that have fallen silent, each silence once.
func addHushes(list []hush, flows []*flowFacts) []hush {
	for _, f := range flows {
		if len(list) < 16 && !slices.ContainsFunc(list, func(h hush) bool { return h.flow == f && h.from == f.last }) {
			list = append(list, hush{f, f.usual(), f.last})
		}
	}
	return list
}
