package detect

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// boundedPool is the largest pool whose ports are followed one by one. The
// system's ephemeral range is larger, and there a port that does not come back
// into use for hours means nothing.
const boundedPool = 8192

// reuseSamples is how many recent acquisitions and reuses are kept of a pool.
const reuseSamples = 256

// reuseFacts follows how the ports of one bounded pool come back into use. A
// port that nobody holds, that does not rest, and that is passed over again and
// again has vanished: the runtime that took it has lost it.
type reuseFacts struct {
	// ports are the ports that have been taken at least once.
	ports map[uint16]*reusePort
	// names are the processes that took them.
	names map[int32]string
	// idle is a ring of how long ports lay free before they were taken again.
	idle  [reuseSamples]time.Duration
	count int
	// recent is a ring of the last acquisitions.
	recent  [reuseSamples]acquisition
	draws   int
	inOrder int
	// expected is how many reuses a random choice among the free ports would have given.
	expected float64
	freeUsed int
	held     int
	resting  int
}

type acquisition struct {
	port uint16
	at   model.Time
}

type reusePort struct {
	// freeSince is when it was last given back, 0 while it is held or rests.
	freeSince model.Time
	held      bool
	resting   bool
	pid       int32
}

// reuseOf calls f with the reuse facts of the port's pool when that is bounded
// and its ports are exclusive.
func (p *portFacts) reuseOf(w *world, port *state.Port, f func(r *reuseFacts, size uint64)) {
	if port.Shared() || isConnection(port) {
		return
	}
	pool, ok := w.poolOf(port.Protocol, port.Netns, port.LocalPort)
	if !ok {
		return
	}
	size := w.poolSize(pool)
	if size == 0 || size > boundedPool {
		return
	}
	r := p.reuse[pool]
	if r == nil {
		r = &reuseFacts{ports: make(map[uint16]*reusePort), names: make(map[int32]string)}
		p.reuse[pool] = r
	}
	f(r, size)
}

func (r *reuseFacts) take(port uint16, pid int32, at model.Time) {
	if r.draws > 0 && port > r.recent[(r.draws-1)%reuseSamples].port {
		r.inOrder++
	}
	r.recent[r.draws%reuseSamples] = acquisition{port, at}
	r.draws++
	u := r.ports[port]
	if u == nil {
		u = &reusePort{}
		r.ports[port] = u
	}
	if u.freeSince != 0 {
		r.idle[r.count%reuseSamples] = at.Sub(u.freeSince)
		r.count++
		r.freeUsed--
	}
	if u.resting {
		u.resting = false
		r.resting--
	}
	if !u.held {
		r.held++
	}
	*u = reusePort{held: true, pid: pid}
}

// expect adds to the number of reuses that a random choice would have given:
// the share of the free ports, just before an acquisition, that had been used.
func (r *reuseFacts) expect(size uint64) {
	if free := int(size) - r.held - r.resting; free > 0 {
		r.expected += float64(r.freeUsed) / float64(free)
	}
}

// neverReuses says that the ports are taken once each and not again, although
// the choice is not simply the next higher port.
func (r *reuseFacts) neverReuses() bool {
	return r.expected >= 20 && float64(r.count) < 0.05*r.expected && r.inOrder < r.draws*9/10
}

func (r *reuseFacts) free(port uint16, at model.Time) {
	u := r.ports[port]
	if u == nil {
		return
	}
	if u.held {
		r.held--
	}
	if u.resting {
		r.resting--
	}
	if u.freeSince == 0 {
		r.freeUsed++
	}
	u.held, u.resting, u.freeSince = false, false, at
}

func (r *reuseFacts) rest(port uint16) {
	u := r.ports[port]
	if u == nil || u.resting {
		return
	}
	if u.held {
		r.held--
	}
	if u.freeSince != 0 {
		r.freeUsed--
	}
	u.held, u.resting, u.freeSince = false, true, 0
	r.resting++
}

// usualIdle returns the 95th percentile of how long a port lies free before it
// is taken again; 0 while too few have been.
func (r *reuseFacts) usualIdle() time.Duration {
	n := min(r.count, reuseSamples)
	if n < 32 {
		return 0
	}
	sorted := slices.Clone(r.idle[:n])
	slices.Sort(sorted)
	return sorted[n*95/100]
}

// vanished returns the ports that are neither held nor at rest and have been
// passed over for longer than factor times what is usual, and who held how
// many of them last.
func (r *reuseFacts) vanished(now model.Time, factor float64) (ports int, byPID []pidCount) {
	usual := r.usualIdle()
	if usual == 0 {
		return 0, nil
	}
	limit := time.Duration(factor * float64(max(usual, time.Second)))
	var highest uint16
	for _, a := range r.recent[:min(r.draws, reuseSamples)] {
		if now.Sub(a.at) < limit/2 {
			highest = max(highest, a.port)
		}
	}
	counts := make(map[int32]int)
	for port, u := range r.ports {
		// An allocator that takes the lowest free port never passes one over:
		// its idle ports lie above everything that it takes.
		if u.freeSince != 0 && now.Sub(u.freeSince) > limit && port < highest {
			ports++
			counts[u.pid]++
		}
	}
	return ports, sortedCounts(counts)
}

// pidCount is a number of ports of a process.
type pidCount struct {
	pid   int32
	count int
}

// sortedCounts returns the counts, largest first.
func sortedCounts(counts map[int32]int) []pidCount {
	list := make([]pidCount, 0, len(counts))
	for _, pid := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, pidCount{pid, counts[pid]})
	}
	slices.SortStableFunc(list, func(a, b pidCount) int { return cmp.Compare(b.count, a.count) })
	return list
}
