package fold

import (
	"cmp"
	"maps"
	"slices"

	"lostbeat/model"
)

// totalSet names tables of historyTotals.
type totalSet uint16

const (
	totalLosses totalSet = 1 << iota
	totalWork
	totalDrops
	totalRefused
	totalFlows
	totalRPC
	totalCounters
	totalDevices
	totalAudits
	totalBeats
	totalLogs
)

// shownTables are the tables of totals as the latest snapshot has them.
type shownTables struct {
	losses   []LossTotal
	work     []WorkTotal
	drops    []DropTotal
	refused  []RefusedTotal
	flows    []FlowTotal
	beats    []BeatTotal
	proposed []model.Flow
	logs     []FollowedLog
	rpc      []RPCTotal
	counters []CounterTotal
	devices  []model.DeviceEvent
	audits   []model.PortAudit
}

// snapshot gives s what is shown of the totals. It copies the tables that have
// changed since the last time; f knows the followed flows.
func (t *historyTotals) snapshot(s *Snapshot, f *Fold) {
	for _, table := range []struct {
		set  totalSet
		copy func()
	}{
		{totalLosses, func() { t.shown.losses = t.sortedLosses() }},
		{totalWork, func() { t.shown.work = t.sortedWork() }},
		{totalDrops, func() { t.shown.drops = t.sortedDrops() }},
		{totalRefused, func() { t.shown.refused = t.sortedRefused() }},
		{totalFlows, func() { t.shown.flows = t.sortedFlows() }},
		{totalRPC, func() { t.shown.rpc = t.sortedRPC() }},
		{totalCounters, func() { t.shown.counters = t.sortedCounters() }},
		{totalDevices, func() { t.shown.devices = slices.Clone(t.devices) }},
		{totalAudits, func() { t.shown.audits = t.sortedAudits() }},
	} {
		if t.changed&table.set != 0 {
			table.copy()
		}
	}
	if t.changed&totalBeats != 0 {
		t.shown.proposed = f.proposed()
	}
	if t.changed&totalBeats != 0 || len(f.beats) > 0 { // a gap grows while nothing comes
		t.shown.beats = f.beatTotals(s.Now)
	}
	if t.changed&totalLogs != 0 {
		t.shown.logs = f.Logs.shown()
	}
	t.changed = 0
	s.Events, s.Lost, s.Refusals, s.Places = t.events, t.lost, t.refusals, t.places
	s.SelfCPU, s.SelfRSS, s.SelfSeen = t.selfCPU, t.selfRSS, t.selfSeen
	s.SelfKernel = t.selfKernel
	s.Losses, s.Work, s.Drops, s.RefusedBy = t.shown.losses, t.shown.work, t.shown.drops, t.shown.refused
	s.Flows, s.RPC, s.Counters = t.shown.flows, t.shown.rpc, t.shown.counters
	s.Proposals = t.shown.proposed
	s.DeviceEvents, s.Audits, s.Beats = t.shown.devices, t.shown.audits, t.shown.beats
	s.Logs = t.shown.logs
}

func (t *historyTotals) sortedLosses() []LossTotal {
	out := make([]LossTotal, 0, len(t.losses))
	for k, n := range t.losses {
		out = append(out, LossTotal{k[0], k[1], n})
	}
	slices.SortFunc(out, func(a, b LossTotal) int {
		return cmp.Or(cmp.Compare(b.Lost, a.Lost), cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Detail, b.Detail))
	})
	return out
}

func (t *historyTotals) sortedWork() []WorkTotal {
	return largest(maps.Values(t.work), func(a, b *WorkTotal) int {
		return cmp.Or(
			cmp.Compare(b.BusyNanos, a.BusyNanos),
			cmp.Compare(a.Class, b.Class),
			cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Driver, b.Driver),
		)
	})
}

func (t *historyTotals) sortedRefused() []RefusedTotal {
	return largest(maps.Values(t.refused), func(a, b *RefusedTotal) int {
		return cmp.Or(
			cmp.Compare(b.Count, a.Count),
			cmp.Compare(a.Process, b.Process),
			cmp.Compare(a.PID, b.PID),
			cmp.Compare(a.Port, b.Port),
			cmp.Compare(a.Error, b.Error),
			cmp.Compare(a.How, b.How),
		)
	})
}

func (t *historyTotals) sortedFlows() []FlowTotal {
	out := largest(maps.Values(t.flows), func(a, b *FlowTotal) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), compareFlowSeries(a.Key, b.Key))
	})
	for i := range out {
		out[i].Gap = out[i].Gap.Clone()
	}
	return out
}

func (t *historyTotals) sortedRPC() []RPCTotal {
	return largest(maps.Values(t.rpc), func(a, b *RPCTotal) int {
		return cmp.Or(
			cmp.Compare(b.Failed, a.Failed),
			cmp.Compare(b.Open, a.Open),
			cmp.Compare(b.Calls, a.Calls),
			cmp.Compare(a.Interface, b.Interface),
			cmp.Compare(a.Endpoint, b.Endpoint),
			cmp.Compare(a.PID, b.PID),
		)
	})
}

func (t *historyTotals) sortedAudits() []model.PortAudit {
	return slices.SortedFunc(
		maps.Values(t.audits),
		func(a, b model.PortAudit) int { return cmp.Compare(a.Netns, b.Netns) },
	)
}

func (t *historyTotals) sortedDrops() []DropTotal {
	out := make([]DropTotal, 0, len(t.drops))
	for k, n := range t.drops {
		out = append(out, DropTotal{&k.Key, n})
	}
	slices.SortFunc(out, func(a, b DropTotal) int {
		return cmp.Or(
			cmp.Compare(b.Count, a.Count),
			cmp.Compare(a.Key.Place, b.Key.Place),
			cmp.Compare(a.Key.Reason, b.Key.Reason),
			cmp.Compare(a.Key.Port, b.Key.Port),
			cmp.Compare(a.Key.PID, b.Key.PID),
			cmp.Compare(a.Key.CPU, b.Key.CPU),
			cmp.Compare(a.Key.Device, b.Key.Device),
			cmp.Compare(a.Key.Queue, b.Key.Queue),
			cmp.Compare(a.Key.Location, b.Key.Location),
		)
	})
	return slices.Clone(out[:min(len(out), shownTotals)])
}

func (t *historyTotals) sortedCounters() []CounterTotal {
	out := make([]CounterTotal, 0, len(t.counters))
	for k, c := range t.counters {
		if c.known {
			out = append(out, CounterTotal{k, c.value, c.last})
		}
	}
	slices.SortFunc(out, func(a, b CounterTotal) int {
		return cmp.Or(
			cmp.Compare(a.Key.Name, b.Key.Name),
			cmp.Compare(a.Key.Instance, b.Key.Instance),
			cmp.Compare(a.Key.CPU, b.Key.CPU),
			cmp.Compare(a.Key.Mode, b.Key.Mode),
		)
	})
	return out
}

func compareFlowSeries(a, b FlowSeries) int {
	return cmp.Or(
		cmp.Compare(a.Process, b.Process),
		cmp.Compare(a.PID, b.PID),
		cmp.Compare(a.Protocol, b.Protocol),
		cmp.Compare(a.LPort, b.LPort),
		cmp.Compare(a.Peer, b.Peer),
		cmp.Compare(a.Port, b.Port),
		cmp.Compare(a.Direction, b.Direction),
		cmp.Compare(a.Local, b.Local),
	)
}

// largest returns copies of the first shownTotals values in the given order.
func largest[V any](values func(yield func(*V) bool), compare func(a, b *V) int) []V {
	sorted := slices.SortedFunc(values, compare)
	out := make([]V, min(len(sorted), shownTotals))
	for i := range out {
		out[i] = *sorted[i]
	}
	return out
}
