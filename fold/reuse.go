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
	// Expected is how many reuses a random choice among the free ports would have
	// given; drawn are the acquisitions since it was last added to.
	Expected float64
	drawn    int
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
	r.drawn++
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

// endRestOf takes up the end of one socket's rest: the port is free when no other keeps it at rest.
func (p *Ports) endRestOf(st *state.State, port *state.Port, at model.Time) {
	pool, ok := poolOf(st, port.Protocol, port.Netns, port.LocalPort)
	if r := p.Reuse[pool]; ok && r != nil && st.Rests(port.Protocol, port.Netns, port.LocalPort) == 0 {
		r.endRest(port.LocalPort, at)
	}
}

// endRest frees a port whose rest has ended, unless it has been taken meanwhile.
func (r *Reuse) endRest(port uint16, at model.Time) {
	if u := r.ports[port]; u != nil && u.resting {
		r.free(port, at)
	}
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

// restOf takes up that a port which was bound, and is free, is at rest after all: the tables of Windows say so later.
func (p *Ports) restOf(w *Fold, port *state.Port) {
	pool, ok := w.poolOf(port.Protocol, port.Netns, port.LocalPort)
	if r := p.Reuse[pool]; ok && r != nil {
		if u := r.ports[port.LocalPort]; u != nil && !u.held {
			r.rest(port.LocalPort)
		}
	}
}

// expect adds to the number of reuses that a random choice would have given: the
// share of the free ports that had been used, and have not just been given back.
func (r *Reuse) expect(now model.Time, size uint64, rest time.Duration) {
	if r.drawn == 0 {
		return
	}
	used := r.FreeUsed
	if rest > 0 {
		used = 0
		for _, u := range r.ports {
			if u.freeSince != 0 && u.freeSince <= now.Add(-rest) {
				used++
			}
		}
	}
	if free := int(size) - r.Held - r.Resting; free > 0 {
		r.Expected += float64(r.drawn) * min(1, float64(used)/float64(free))
	}
	r.drawn = 0
}

// FreePort is a port that has been used, is neither held nor at rest, and who had it last.
type FreePort struct {
	Port  uint16
	Since model.Time
	By    ProcessKey
}

// Vanished returns the ports that are neither held nor at rest and have been
// passed over for longer than factor times what is usual, and than rest.
func (r *Reuse) Vanished(now model.Time, factor float64, rest time.Duration) []FreePort {
	usual := r.UsualIdle()
	if usual == 0 {
		return nil
	}
	limit := max(rest, time.Duration(factor*float64(max(usual, time.Second))))
	var highest uint16
	for _, a := range r.recent[:min(r.Draws, reuseSamples)] {
		if now.Sub(a.at) < limit/2 {
			highest = max(highest, a.port)
		}
	}
	// An allocator that takes the lowest free port never passes one over:
	// its idle ports lie above everything that it takes.
	return slices.DeleteFunc(r.FreeSince(now.Add(-limit)-1), func(f FreePort) bool { return f.Port >= highest })
}

// FreeSince returns the ports that had been used and were free at a time, as they still are.
func (r *Reuse) FreeSince(at model.Time) (list []FreePort) {
	for port, u := range r.ports {
		if u.freeSince != 0 && u.freeSince <= at {
			list = append(list, FreePort{port, u.freeSince, u.by})
		}
	}
	slices.SortFunc(list, func(a, b FreePort) int { return cmp.Compare(a.Port, b.Port) })
	return list
}

// StillFree says that a port has not been taken since, or was never seen to be.
func (r *Reuse) StillFree(f FreePort) bool {
	u := r.ports[f.Port]
	return u != nil && u.freeSince == f.Since || u == nil && f.By.PID < 0
}

// PIDCount is a number of ports of a process, whose name may be empty.
type PIDCount struct {
	ProcessKey
	Count int
	// named is when the port was given back from which the name is.
	named model.Time
}

// CountByPID counts ports by who had them last, the largest count first. The name
// is that of the process which had one last: numbers of processes are used again.
func CountByPID(ports []FreePort) []PIDCount {
	counts := make(map[int32]PIDCount)
	for _, f := range ports {
		c := counts[f.By.PID]
		c.PID = f.By.PID
		c.Count++
		if f.By.Name != "" && (f.Since > c.named || f.Since == c.named && f.By.Name > c.Name) {
			c.Name, c.named = f.By.Name, f.Since
		}
		counts[f.By.PID] = c
	}
	return slices.SortedFunc(maps.Values(counts), func(a, b PIDCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.PID, b.PID))
	})
}

// UnseenRest is how long a port of a protocol may rest after its close without an event that says so: captures of
// Windows report no rest. It is 0 where the stream reports rests, or has read the tables in which Windows lists
// those of TCP.
func (w *Fold) UnseenRest(protocol model.Protocol) time.Duration {
	if !w.Windows() || w.Ports.restsSeen[protocol] || protocol == model.ProtocolTCP && w.Ports.TablesAt != 0 {
		return 0
	}
	return w.limits.RestWindows
}

// FreeBy is the latest time at which a port of a protocol must have been closed to be at rest no more, as far as is
// known at a time: before its rest would have ended, and before the tables of sockets were read, if they were.
func (w *Fold) FreeBy(protocol model.Protocol, at model.Time) model.Time {
	by := at.Add(-w.UnseenRest(protocol))
	if w.Ports.TablesAt != 0 && protocol == model.ProtocolTCP {
		by = min(by, w.Ports.TablesAt)
	}
	return by
}

// Lives says that a process holds ports, or has lately shown that it has not
// ended: what it last held has not simply ended with it.
func (w *Fold) Lives(pid int32) bool {
	p := w.Ports
	if w.SeenToEnd(pid) {
		return false
	}
	// Where the stream reports the ends of processes, it would report this one's.
	// Captures of Windows that name processes do.
	_, told := w.State.Processes[pid]
	told = told && (p.endsSeen || w.Windows())
	var gone model.Time // when it gave back all it had at once, as the end of a process does
	for _, h := range p.holders {
		if h.Key.PID != pid {
			continue
		}
		if h.GoneAtOnce(endsWith) && !h.goesOn {
			if told && w.Now.Sub(h.empty) >= endsWithin {
				return true
			}
			gone = max(gone, h.empty)
			continue
		}
		usual := time.Duration(0) // between two of its ports
		if h.Acquired > 0 {
			usual = h.last.Sub(h.First) / time.Duration(h.Acquired)
		}
		if h.Held > 0 || h.last != 0 && w.Now.Sub(h.last) < max(livesFor, 4*usual) {
			return true
		}
	}
	refused := p.lastRefused(pid)
	return told && w.Windows() && gone == 0 || refused > gone && w.Now.Sub(refused) < livesFor
}

// SeenToEnd says that the stream has told of the end of a process within the last minute.
func (w *Fold) SeenToEnd(pid int32) bool { return w.Ports.ends[pid] != 0 }

// lastRefused returns when a process was last refused a port, 0 not lately.
func (p *Ports) lastRefused(pid int32) (at model.Time) {
	for _, f := range p.Fails {
		if f.Last <= at {
			continue
		}
		for who, n := range f.ByProcess {
			if who.PID == pid {
				at = max(at, n.Last)
			}
		}
	}
	return at
}

// endsWithin is how long after a process gave back its ports its end is told of, where it is.
const endsWithin = 5 * time.Second

// endsWith is how many ports a process gives back at once that is taken to have ended.
const endsWith = 16

// livesFor is how long, at least, after it took its last port a process that
// holds none may be alive.
const livesFor = 5 * time.Second
