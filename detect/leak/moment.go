package leak

import (
	"cmp"
	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"slices"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// moment is what a leak looked like when most was kept.
type moment struct {
	// growth and held are the ports kept and held then.
	growth, held int
	// pool is the pool then, nil without one: it goes with its network namespace.
	pool *state.Pool
	// acquired and released are the ports taken and given back until then.
	acquired, released uint64
	// usual and longest are how long the ports that were given back had been held (median, p95).
	usual, longest time.Duration
	// how are the ways in which the ports were taken.
	how string
	// members are the processes of a family that kept ports, with most first.
	members []member
}

// member is one process of a family.
type member struct {
	process string
	pid     int32
	kept    int
}

// fate is what became of the ports that were kept.
type fate uint8

const (
	// kept: they are held still.
	kept fate = iota
	// returned: the process has given most of them back.
	returned
	// leftAtOnce: the process gave them all back at once, as its end does.
	leftAtOnce
	// ended: the process was seen to have ended.
	ended
)

// past says that the ports are no longer held.
func (f fate) past() bool { return f != kept }

// gone says that the process has ended, or seems to have.
func (f fate) gone() bool { return f == leftAtOnce || f == ended }

// end says how a process gave back what it had.
func (f fate) end() string {
	if f == ended {
		return "it exited"
	}
	return "it released all at once"
}

// endSeen is how long after a process gave back everything its end may be seen.
const endSeen = 3 * time.Second

// fateOf says what has become of the ports of a leak. Connections are closed by
// the end of a process one after the other, as their peers answer.
func fateOf(h *fold.Holder, data *leak) fate {
	const moments = 3 // seconds
	nearly := uint64(max(4, data.peak*4/5))
	switch {
	case h.Growth()*2 >= data.peak && h.Growth() > 0:
		return kept
	case h.Ended():
		return ended
	case h.SumOver(&h.AcquiredIn, moments) > 0:
		return returned
	case data.fate == leftAtOnce, h.GoneAtOnce(int(nearly)),
		h.Growth()*10 <= data.peak && h.SumOver(&h.ReleasedIn, moments) >= nearly:
		return leftAtOnce
	}
	return returned
}

// remember takes up what the leak looks like, as long as it is held and where
// more is kept than ever before.
func (d *portLeak) remember(w *detect.Tick, h *fold.Holder, data *leak) {
	if data.held = h.Held; h.Growth()*2 < data.peak {
		return
	}
	if use := useOf(w, h); data.use.held == 0 || use.held*2 >= data.peak {
		data.use = use
	}
	at := &data.at
	if h.Growth() < at.growth {
		return
	}
	at.growth, at.held = h.Growth(), h.Held
	// The number of a namespace that has gone is given to the next.
	if pool := w.State.Pools[h.Key.Pool]; pool != nil && (at.pool == nil || at.pool.NetnsName == pool.NetnsName) {
		known := *pool
		at.pool = &known
	}
	at.acquired, at.released, at.members = h.Acquired, h.Released, at.members[:0]
	at.usual, at.longest = time.Duration(h.Holds.Quantile(0.5)), time.Duration(h.Holds.Quantile(0.95))
	at.how = hows(h)
	if !h.IsFamily() {
		return
	}
	at.acquired, at.released = 0, 0
	for _, m := range h.Family.Members {
		if m.Growth() > 0 {
			at.acquired, at.released = at.acquired+m.Acquired, at.released+m.Released
			at.members = append(at.members, member{m.Process, m.Key.PID, m.Growth()})
		}
	}
	slices.SortFunc(at.members, func(a, b member) int {
		return cmp.Or(cmp.Compare(b.kept, a.kept), cmp.Compare(a.pid, b.pid))
	})
	// A process holds ports in several pools.
	all := at.members
	at.members = all[:0]
	for _, m := range all {
		if i := slices.IndexFunc(at.members, func(o member) bool { return o.pid == m.pid }); i >= 0 {
			at.members[i].kept += m.kept
		} else {
			at.members = append(at.members, m)
		}
	}
}

// threaten notes that the pool was about to be exhausted.
func (d *portLeak) threaten(w *detect.Tick, h *fold.Holder, data *leak) {
	data.filling, data.forecast = w.Forecast(h.Key.Pool)
	if data.forecast && data.proven && data.filling.Left <= d.settings.CriticalWithin.Std() {
		data.soon = true
	}
}

// poolIn returns the pool's numbers as evidence.
func (m *moment) poolIn() []model.Evidence {
	if m.pool == nil {
		return nil
	}
	rests := words.Tense(m.pool.Protocol == model.ProtocolTCP, "in TIME_WAIT", "at rest")
	return []model.Evidence{
		detect.Evidence("ports of the pool in use", float64(m.pool.Used), "ports"),
		detect.Evidence("ports of the pool "+rests, float64(m.pool.Resting), "ports"),
		detect.Evidence("size of the pool", float64(m.pool.Size), "ports"),
	}
}
