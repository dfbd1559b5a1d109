package fold

import (
	"cmp"
	"slices"
	"time"

	"lostbeat/model"
)

// Bounds of what is remembered of flows.
const (
	maxRegularFlows = 4096
	recentGaps      = 16
)

// regularSpread is how many times the usual gap the longest of the recent gaps
// of a regular flow may be.
const regularSpread = 3

// flowKey identifies the datagrams or segments that a process receives from one peer.
type flowKey struct {
	Protocol              model.Protocol
	LocalPort, remotePort uint16
	PID                   int32
	Remote                string
}

// Flow is one flow and its cadence.
type Flow struct {
	Key     flowKey
	Process string
	// cpu is where its last packet was handled, at last.
	cpu  int32
	Last model.Time
	gaps [recentGaps]time.Duration
	n    int
	// Silence is the last one that has ended.
	Silence Silence
}

// Silence is a stretch in which nothing of a regular flow came, between two packets.
type Silence struct{ From, To model.Time }

// Usual returns the flow's usual gap, 0 when it has none: it is too young, or not regular.
func (f *Flow) Usual() time.Duration {
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
func (f *Flow) silentAt(t model.Time, l *Limits) bool {
	gap := t.Sub(f.Last)
	if gap < l.LeastSilence {
		return false
	}
	usual := f.Usual()
	return usual > 0 && gap >= time.Duration(l.SilentGaps)*usual
}

// applyPacket takes a received packet.
func (w *Fold) applyPacket(v *model.Packet) {
	if v.Direction != model.DirectionRX || v.CPU < 0 || v.Protocol == model.ProtocolUnknown {
		return
	}
	k := flowKey{v.Protocol, v.LocalPort, v.RemotePort, v.PID, v.RemoteAddr}
	f := w.flows[k]
	if f == nil {
		if len(w.flows) >= maxRegularFlows {
			w.room.LeaveOut("flows")
			return
		}
		if !w.room.Take("flows", flowBytes+len(k.Remote)+len(v.Process)) {
			return
		}
		f = &Flow{Key: k, Process: v.Process, Last: v.Time, cpu: v.CPU}
		w.flows[k] = f
		return
	}
	switch gap := v.Time.Sub(f.Last); {
	case gap <= 0: // what came together is one
	case f.silentAt(v.Time, &w.limits):
		f.Silence = Silence{f.Last, v.Time}
	default:
		f.gaps[f.n%recentGaps] = gap
		f.n++
	}
	f.Last, f.cpu = max(f.Last, v.Time), v.CPU
}

// FlowsOn returns the regular flows of which something came from start on and
// that a CPU handled: how many there are, and those that are silent now.
func (w *Fold) FlowsOn(cpu int32, start model.Time) (regular int, list []*Flow) {
	for _, f := range w.flows {
		if f.cpu != cpu || f.Last < start || f.Usual() == 0 {
			continue
		}
		if regular++; f.silentAt(w.Now, &w.limits) {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b *Flow) int {
		return cmp.Or(
			cmp.Compare(a.Last, b.Last),
			cmp.Compare(a.Key.PID, b.Key.PID),
			cmp.Compare(a.Key.LocalPort, b.Key.LocalPort),
			cmp.Compare(a.Key.Remote, b.Key.Remote),
			cmp.Compare(a.Key.remotePort, b.Key.remotePort),
			cmp.Compare(a.Key.Protocol, b.Key.Protocol),
		)
	})
	return regular, list
}

// forgetFlows drops the flows that have ended.
func (w *Fold) forgetFlows() {
	for k, f := range w.flows {
		if w.Now.Sub(f.Last) > forgetFlow {
			delete(w.flows, k)
			w.room.Give(flowBytes + len(k.Remote) + len(f.Process))
		}
	}
}

// FlowPort is the local port of a flow.
type FlowPort struct {
	Protocol model.Protocol
	Port     uint16
}

// RegularPorts returns the local ports at which packets arrive regularly, or did so before they failed to come.
func (w *Fold) RegularPorts() map[FlowPort]bool {
	ports := make(map[FlowPort]bool)
	for k, f := range w.flows {
		if f.Usual() > 0 {
			ports[FlowPort{k.Protocol, k.LocalPort}] = true
		}
	}
	return ports
}
