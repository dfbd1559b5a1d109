package fold

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"lostbeat/model"
	"lostbeat/model/budget"
	"lostbeat/model/state"
)

// boundedPool is the largest pool whose ports are followed one by one. The
// system's ephemeral range is larger, and there a port that does not come back
// into use for hours means nothing.
const boundedPool = 8192

// reuseSamples is how many recent acquisitions and reuses are kept of a pool.
const reuseSamples = 256

// Reuse follows how the ports of one bounded pool come back into use. A
// port that nobody holds, that does not rest, and that is passed over again and
// again has vanished: the runtime that took it has lost it.
type Reuse struct {
	// ports are the ports that have been taken at least once.
	ports map[uint16]*ReusePort
	// idle is a ring of how long ports lay free before they were taken again.
	idle  [reuseSamples]time.Duration
	Count int
	// recent is a ring of the last acquisitions.
	recent  [reuseSamples]acquisition
	Draws   int
	inOrder int
	// Expected is how many reuses a random choice among the free ports would have given.
	Expected float64
	FreeUsed int
	Held     int
	Resting  int
	// last is when a port was last taken.
	last model.Time
	room *budget.Budget
}

type acquisition struct {
	port uint16
	at   model.Time
}

// ReusePort is one port of a bounded pool.
type ReusePort struct {
	// freeSince is when it was last given back, 0 while it is held or rests.
	freeSince model.Time
	held      bool
	resting   bool
	// by is who took it last; its name may be empty.
	by ProcessKey
}

// reuseOf calls f with the reuse facts of the port's pool when that is bounded
// and its ports are exclusive.
func (p *Ports) reuseOf(w *Fold, port *state.Port, f func(r *Reuse, size uint64)) {
	if port.Shared() || IsConnection(port) {
		return
	}
	pool, ok := w.poolOf(port.Protocol, port.Netns, port.LocalPort)
	if !ok {
		return
	}
	size := w.PoolSize(pool)
	if size == 0 || size > boundedPool {
		return
	}
	r := p.Reuse[pool]
	if r == nil {
		if !p.room.Take("pools whose ports are followed", reuseBytes) {
			return
		}
		r = &Reuse{room: p.room, ports: make(map[uint16]*ReusePort)}
		p.Reuse[pool] = r
	}
	f(r, size)
}

func (r *Reuse) take(port uint16, by ProcessKey, at model.Time) {
	r.last = max(r.last, at)
	if r.Draws > 0 && port > r.recent[(r.Draws-1)%reuseSamples].port {
		r.inOrder++
	}
	r.recent[r.Draws%reuseSamples] = acquisition{port, at}
	r.Draws++
	u := r.ports[port]
	if u == nil {
		if !r.room.Take("ports that are followed", reusedBytes) {
			return
		}
		u = &ReusePort{}
		r.ports[port] = u
	}
	if u.freeSince != 0 {
		r.idle[r.Count%reuseSamples] = at.Sub(u.freeSince)
		r.Count++
		r.FreeUsed--
	}
	if u.resting {
		u.resting = false
		r.Resting--
	}
	if !u.held {
		r.Held++
	}
	*u = ReusePort{held: true, by: by}
}

// expect adds to the number of reuses that a random choice would have given:
// the share of the free ports, just before an acquisition, that had been used.
func (r *Reuse) expect(size uint64) {
	if free := int(size) - r.Held - r.Resting; free > 0 {
		r.Expected += float64(r.FreeUsed) / float64(free)
	}
}

// NeverReuses says that the ports are taken once each and not again, although
// the choice is not simply the next higher port.
func (r *Reuse) NeverReuses() bool {
	return r.Expected >= 20 && float64(r.Count) < 0.05*r.Expected && r.inOrder < r.Draws*9/10
}

func (r *Reuse) free(port uint16, at model.Time) {
	u := r.ports[port]
	if u == nil {
		return
	}
	if u.held {
		r.Held--
	}
	if u.resting {
		r.Resting--
	}
	if u.freeSince == 0 {
		r.FreeUsed++
	}
	u.held, u.resting, u.freeSince = false, false, at
}

func (r *Reuse) rest(port uint16) {
	u := r.ports[port]
	if u == nil || u.resting {
		return
	}
	if u.held {
		r.Held--
	}
	if u.freeSince != 0 {
		r.FreeUsed--
	}
	u.held, u.resting, u.freeSince = false, true, 0
	r.Resting++
}

// UsualIdle returns the 95th percentile of how long a port lies free before it
// is taken again; 0 while too few have been.
func (r *Reuse) UsualIdle() time.Duration {
	n := min(r.Count, reuseSamples)
	if n < 32 {
		return 0
	}
	sorted := slices.Clone(r.idle[:n])
	slices.Sort(sorted)
	return sorted[n*95/100]
}

// Vanished returns the ports that are neither held nor at rest and have been
// passed over for longer than factor times what is usual, and who held how
// many of them last.
func (r *Reuse) Vanished(now model.Time, factor float64) (ports int, byPID []PIDCount) {
	usual := r.UsualIdle()
	if usual == 0 {
		return 0, nil
	}
	limit := time.Duration(factor * float64(max(usual, time.Second)))
	var highest uint16
	for _, a := range r.recent[:min(r.Draws, reuseSamples)] {
		if now.Sub(a.at) < limit/2 {
			highest = max(highest, a.port)
		}
	}
	counts := make(map[int32]PIDCount)
	for port, u := range r.ports {
		// An allocator that takes the lowest free port never passes one over:
		// its idle ports lie above everything that it takes.
		if u.freeSince != 0 && now.Sub(u.freeSince) > limit && port < highest {
			ports++
			u.countTo(counts)
		}
	}
	return ports, sortedCounts(counts)
}

// PIDCount is a number of ports of a process, whose name may be empty.
type PIDCount struct {
	ProcessKey
	Count int
	// named is when the port was given back from which the name is.
	named model.Time
}

// countTo counts a port for the process that had it last. The name is that of
// the process which had one last: numbers of processes are used again.
func (u *ReusePort) countTo(counts map[int32]PIDCount) {
	c := counts[u.by.PID]
	c.PID = u.by.PID
	c.Count++
	if u.by.Name != "" && (u.freeSince > c.named || u.freeSince == c.named && u.by.Name > c.Name) {
		c.Name, c.named = u.by.Name, u.freeSince
	}
	counts[u.by.PID] = c
}

// sortedCounts returns the counts, largest first.
func sortedCounts(counts map[int32]PIDCount) []PIDCount {
	return slices.SortedFunc(maps.Values(counts), func(a, b PIDCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.PID, b.PID))
	})
}

// FreeHolders returns how many ports had been used and were free at a time, as
// they still are, and who last held them.
func (r *Reuse) FreeHolders(at model.Time) (ports int, byPID []PIDCount) {
	counts := make(map[int32]PIDCount)
	for _, u := range r.ports {
		if u.freeSince != 0 && u.freeSince <= at {
			ports++
			u.countTo(counts)
		}
	}
	return ports, sortedCounts(counts)
}

// Lives says that a process still holds ports, or has taken one lately and not
// ended since: what it last held has not simply ended with it.
func (p *Ports) Lives(pid int32, now model.Time) bool {
	for _, h := range p.holders {
		if h.Key.PID != pid || h.Ended() || h.GoneAtOnce(endsWith) {
			continue
		}
		usual := time.Duration(0) // between two of its ports
		if h.Acquired > 0 {
			usual = h.last.Sub(h.First) / time.Duration(h.Acquired)
		}
		if h.Held > 0 || h.last != 0 && now.Sub(h.last) < max(livesFor, 4*usual) {
			return true
		}
	}
	return false
}

// endsWith is how many ports a process gives back at once that is taken to have ended.
const endsWith = 16

// livesFor is how long, at least, after it took its last port a process that
// holds none may be alive.
const livesFor = 5 * time.Second
