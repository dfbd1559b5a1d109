package fold

import (
	"cmp"
	"slices"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// Owner returns the holder that a port was counted to, nil for none, and
// whether it was held when observation began.
func (p *Ports) Owner(port *state.Port) (h *Holder, present bool) {
	return p.numbered[port.Mark>>1], port.Mark&markPresent != 0
}

// holderKey is a process's ports of one kind in one pool.
type holderKey struct {
	PID      int32
	process  string // only for processes without a PID
	Pool     state.PoolKey
	Protocol model.Protocol
	Netns    int64
	// Connections are TCP ports taken by connect: they are shared between
	// destinations and commonly pooled, so they are judged apart.
	Connections bool
}

func compareHolders(a, b holderKey) int {
	conn := func(k holderKey) int {
		if k.Connections {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(a.PID, b.PID),
		cmp.Compare(a.process, b.process),
		ComparePools(a.Pool, b.Pool),
		cmp.Compare(a.Protocol, b.Protocol),
		cmp.Compare(a.Netns, b.Netns),
		cmp.Compare(conn(a), conn(b)),
	)
}

// Holder is what one process holds of one pool. Its floor is the lowest number
// of ports held within a second: churn moves the number, a leak moves the floor.
type Holder struct {
	Key holderKey
	// number is its place in portFacts.numbered.
	number uint32
	// ID is its identity in findings: it stays when its pool becomes known later.
	ID      string
	Process string
	// Program tells it from other programs of the same name.
	Program Program
	// Held is the present number; present of them were held when observation
	// began, and are no evidence of growth.
	Held, present int
	// Level is held-present, second by second.
	Level
	// Acquired and released count since the holder appeared; short counts releases after less than a second.
	Acquired, Released, Short uint64
	// LastLong is when a port was last given back after a second or more, long
	// how many were in each of the last seconds.
	LastLong model.Time
	long     [LongSeconds]uint32
	// AcquiredIn and releasedIn are acquisitions and releases by second.
	AcquiredIn, ReleasedIn turnover
	// How counts the ways of acquisition.
	How [16]uint64
	// First is the first acquisition seen, last the last.
	First, last model.Time
	// Holds is the distribution of how long released ports had been held.
	Holds model.Histogram
	// Family are the processes of its program, nil without one.
	Family *Family
	// empty is since when nothing has been held, 0 while something is; burst is how
	// many ports that were held at once were given back in the second that ended with it.
	empty model.Time
	burst uint64
	// goesOn says that it has gone on after it gave back all at once.
	goesOn bool
	// run is how many were held when they began to be given back and no other was
	// taken since, 0 while none has been given back.
	run uint64
	// ended is when the process was seen to end; 0 not, or it took a port since. Its
	// last ports may be given back afterwards.
	ended model.Time
	// most is the most that it held in the second that was recorded last, top in the one under way.
	most, top int
}

// LongSeconds is the length of holder.long, whose last second is under way.
const LongSeconds = 4

// LongGiven is how many ports were given back after a second or more, within
// the last seconds.
func (h *Holder) LongGiven() (n uint32) {
	for _, c := range h.long {
		n += c
	}
	return n
}

// Growth is the number of ports held beyond those present at the start.
func (h *Holder) Growth() int { return h.Held - h.present }

// SumOver adds up acquisitions or releases over the last n recorded seconds.
func (h *Holder) SumOver(of *turnover, n int) uint64 {
	return of.sum(h.Ticks-min(n, h.Ticks, SecondFloors), h.Ticks-1)
}

// LastTaken is when the last port was taken; 0 never, since observation began.
func (h *Holder) LastTaken() model.Time { return h.last }

// Most is the most that it held beyond what was present at the start, in the
// last second or in the one under way.
func (h *Holder) Most() int { return max(h.most, h.top) }

// Ended says that the process was seen to end; of a family, each of its processes.
func (h *Holder) Ended() bool {
	if h.IsFamily() {
		return !slices.ContainsFunc(h.Family.Members, func(m *Holder) bool { return !m.Ended() })
	}
	return h.ended != 0 && h.Held == 0
}

// GoneAtOnce says that a process holds nothing any more and gave back what it
// had within a second, at least n ports: as the end of a process does, whether it
// was seen or not.
func (h *Holder) GoneAtOnce(n int) bool { return h.empty != 0 && h.burst >= uint64(n) }

// take counts a port that was taken.
func (h *Holder) take(how model.How, present bool, at model.Time) {
	h.goesOn = h.goesOn || h.GoneAtOnce(endsWith)
	h.empty, h.ended, h.run = 0, 0, 0
	h.Held++
	if int(how) < len(h.How) {
		h.How[how]++
	}
	if present {
		h.present++
		return
	}
	h.top = max(h.top, h.Growth())
	if h.First == 0 {
		h.First = at
	}
	h.last = at
	h.Acquired++
	h.AcquiredIn.Add(h.Ticks)
}

// give counts a port that was given back after it had been held for a while.
func (h *Holder) give(held time.Duration, present bool, at model.Time) {
	if h.run == 0 {
		h.run = uint64(max(h.Held, 0))
	}
	h.Held--
	if present {
		h.present--
	}
	h.Low = min(h.Low, h.Growth())
	h.Released++
	h.ReleasedIn.Add(h.Ticks)
	h.Holds.Observe(uint64(max(held, 0)))
	if held < time.Second {
		h.Short++
	} else {
		h.LastLong = at
		h.long[h.Ticks%LongSeconds]++
	}
	if h.Held == 0 {
		h.empty, h.burst = at, min(h.run, h.ReleasedIn.sum(h.Ticks-1, h.Ticks))
	}
}

// EndSecond records the floor of the second that was filled and opens the next.
func (h *Holder) EndSecond() {
	h.Level.endSecond(h.Growth())
	h.long[h.Ticks%LongSeconds] = 0
	h.most, h.top = h.top, h.Growth()
}

func (p *Ports) holder(w *Fold, port *state.Port) *Holder {
	pool, _ := w.poolOf(port.Protocol, port.Netns, port.LocalPort)
	k := holderKey{PID: port.PID, Pool: pool, Protocol: port.Protocol, Netns: port.Netns, Connections: IsConnection(port)}
	if port.PID <= 0 {
		k.process = port.Process
	}
	h := p.holders[k]
	if h != nil && h.Held == 0 && h.ended != 0 {
		p.forget(h) // its number has been given to another process
		h = nil
	}
	if h == nil {
		if !p.room.Take("holders of ports", holderBytes) {
			return nil
		}
		h = &Holder{Key: k, ID: holderID(k)}
		p.holders[k] = h
		p.byPID[k.PID] = append(p.byPID[k.PID], h)
		p.number(h)
	}
	if port.Process != "" {
		h.Process = port.Process
	} else if h.Process == "" {
		h.Process = w.State.ProcessName(port.PID)
	}
	if h.Program.Name == "" {
		p.join(w.State, h)
	}
	return h
}

// forget drops a holder that holds nothing.
func (p *Ports) forget(h *Holder) {
	delete(p.holders, h.Key)
	if rest := slices.DeleteFunc(p.byPID[h.Key.PID], func(o *Holder) bool { return o == h }); len(rest) > 0 {
		p.byPID[h.Key.PID] = rest
	} else {
		delete(p.byPID, h.Key.PID)
	}
	p.room.Give(holderBytes)
	p.leave(h)
	p.numbered[h.number] = nil
	p.spare = append(p.spare, h.number)
}

// number gives a new holder its number.
func (p *Ports) number(h *Holder) {
	if n := len(p.spare); n > 0 {
		h.number, p.spare = p.spare[n-1], p.spare[:n-1]
		p.numbered[h.number] = h
		return
	}
	h.number = uint32(len(p.numbered))
	p.numbered = append(p.numbered, h)
}

// rehome moves holders without a pool into pools that have become known since:
// the limits of another network namespace are read some time after its first port.
func (p *Ports) rehome(w *Fold) {
	if !p.room.Spend("new pools of holders", 16*(len(p.holders)+w.State.Ports.Len())) {
		return
	}
	homeless := p.HolderList(func(h *Holder) bool { return h.Key.Pool == (state.PoolKey{}) })
	if len(homeless) == 0 {
		return
	}
	inside := make(map[*Holder]map[state.PoolKey]int)
	for port := range w.State.Ports.All() {
		h, _ := p.Owner(port)
		if h == nil || h.Key.Pool != (state.PoolKey{}) {
			continue
		}
		if pool, ok := w.poolOf(port.Protocol, port.Netns, port.LocalPort); ok {
			if inside[h] == nil {
				inside[h] = make(map[state.PoolKey]int)
			}
			inside[h][pool]++
		}
	}
	for _, h := range homeless {
		for pool, n := range inside[h] {
			k := h.Key
			k.Pool = pool
			if 2*n > h.Held && p.holders[k] == nil {
				delete(p.holders, h.Key)
				h.Key = k
				p.holders[k] = h
			}
		}
	}
}

// HolderList returns the holders that match in a fixed order.
func (p *Ports) HolderList(match func(*Holder) bool) []*Holder {
	var list []*Holder
	for _, h := range p.holders {
		if match(h) {
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(a, b *Holder) int { return compareHolders(a.Key, b.Key) })
	return list
}
