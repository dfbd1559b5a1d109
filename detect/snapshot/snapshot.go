// Package snapshot is the detector port-snapshot: who holds how much of the
// system's ports, from tables of all sockets at single moments.
package snapshot

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/model"
	"lostbeat/model/state"
)

//go:embed doc.md
var doc string

// name is the detector's name in findings.
const name = "port-snapshot"

// Definition describes the detector.
func Definition() detect.Definition { return detect.Define("snapshot", doc, New, nil) }

// New returns the detector.
func New(s Settings, l detect.Lifecycle) detect.Detector {
	d := &detector{settings: s, cases: detect.NewCases[fault](name, l), fills: map[state.PoolKey][]fill{}}
	d.cases.Instant = true // a table is whole, however little of a second has been seen
	return d
}

type detector struct {
	settings Settings
	cases    detect.Cases[fault]
	// fills are what each table showed of pools other than the system's.
	fills map[state.PoolKey][]fill
}

// what is the kind of a fault.
type what uint8

const (
	// ofHolder is a process with many ports.
	ofHolder what = iota
	// ofRange is a range that is used up by no single process.
	ofRange
	// ofDestination is a destination that has taken most of the ports that there are for it.
	ofDestination
	// ofCloseWait is a process that does not close what its peers have closed.
	ofCloseWait
	// ofPool is a pool that was named, or that of RPC.
	ofPool
)

// fault is what a table, or a series of them, shows of one subject.
type fault struct {
	what  what
	pool  state.Pool
	table *fold.Table
	// tables is how many there are, first is the first.
	tables int
	first  *fold.Table
	holder model.PortHolder
	to     model.PortDestination
	growth growth
	// fills are what the tables showed of a pool.
	fills []fill
	// full says that warn_share of the range is in use.
	full bool
	// level is the severity.
	level model.Severity
}

// growth is how a holder's ports grew, up to the last table.
type growth struct {
	// from is the table in which it began; nil without growth.
	from *fold.Table
	// tables is how many show it, that one included.
	tables int
	// rises is how many of them show more than the one before, pause the longest time between two of them in which the
	// number stayed, idle how long it has stayed since the last.
	rises       int
	pause, idle time.Duration
	// grown is by how many ports, given how many it gave back meanwhile.
	grown, given uint64
	span         time.Duration
}

// keeps says that it keeps what it takes: less than a tenth of what it gained was given back.
func (g *growth) keeps() bool { return g.from != nil && g.given*10 < g.grown }

// proven says that the growth is shown by so many tables that it is more than two levels.
func (g *growth) proven() bool { return g.keeps() && g.tables >= provenBy && g.span >= provenIn }

// provenBy is how many tables prove that a process keeps what it takes, provenIn how long they must take together: what
// fills a pool when it starts has done so by then.
const (
	provenBy = 3
	provenIn = 10 * time.Minute
)

// leastSpan is how far apart tables must be for growth between them: files that are copied are dated within moments.
const leastSpan = time.Second

// perSecond is the rate of growth, 0 unknown.
func (g *growth) perSecond() float64 {
	if g.from == nil || g.span <= 0 {
		return 0
	}
	return float64(g.grown) / g.span.Seconds()
}

// Judge implements detect.Detector.
func (d *detector) Judge(w *detect.Tick) {
	d.judgePools(w)
	for _, p := range []model.Protocol{model.ProtocolTCP, model.ProtocolUDP} {
		list := w.Tables.ByProtocol[p]
		key, ok := w.EphemeralPool(p, 0)
		if len(list) == 0 || !ok || w.State.Pools[key].Size == 0 {
			continue
		}
		d.judge(w, *w.State.Pools[key], list)
	}
}

// judge judges the last table of a protocol by those before it.
func (d *detector) judge(w *detect.Tick, pool state.Pool, list []*fold.Table) {
	t := list[len(list)-1]
	size := float64(pool.Size)
	protocol := pool.Protocol.String()
	raise := func(key string, since model.Time, f fault) {
		f.pool, f.table, f.first, f.tables = pool, t, list[0], len(list)
		c := d.cases.Raise(w, protocol+"/"+key, since)
		c.Data, c.Seen = f, t.Time // not later than the table, whatever else is in the stream
	}
	explained := uint64(0)
	for _, to := range t.Destinations {
		taken := to.Held + to.Resting
		if float64(taken) < d.settings.WarnShare*size {
			continue
		}
		explained = max(explained, taken)
		raise(fmt.Sprintf("to/%s:%d/from/%s", fold.Printable(to.RemoteAddr), to.RemotePort, fold.Printable(to.LocalAddr)),
			t.Time, fault{what: ofDestination, to: to, level: d.severity(float64(taken) / size)})
	}
	full := float64(t.Held) >= d.settings.WarnShare*size && explained*2 < t.Held
	told := false
	for _, h := range t.Holders {
		g := growthOf(list, h.PID)
		f := fault{what: ofHolder, holder: h, growth: g, level: model.SeverityInfo}
		named := h.PID >= 0
		f.full = full && named && h.Ports*2 > t.Held
		share := float64(h.Ports) / size
		pooled := h.Outside > h.Ports
		switch {
		case f.full:
			f.level, told = d.severity(float64(t.Held)/size), true
		case pool.Protocol == model.ProtocolUDP && share >= d.settings.HolderShare && named && !pooled,
			pool.Protocol == model.ProtocolTCP && float64(h.Bound) >= d.settings.BoundShare*size,
			g.proven() && g.grown >= d.settings.MinGrowth:
			f.level = model.SeverityWarning
		}
		since := t.Time
		if g.from != nil && g.grown >= d.settings.MinGrowth {
			since = g.from.Time
		}
		if f.level > model.SeverityInfo || named && share >= d.settings.NoteShare {
			raise(fmt.Sprintf("process/%d", h.PID), since, f)
		}
		if h.CloseWait >= d.settings.CloseWait && h.CloseWait*closeWaitShare >= h.Connections {
			raise(fmt.Sprintf("close-wait/%d", h.PID), t.Time, fault{
				what: ofCloseWait, holder: h, growth: g, level: model.SeverityWarning,
			})
		}
	}
	if full && !told {
		f := fault{what: ofRange, full: true, level: d.severity(float64(t.Held) / size), holder: model.PortHolder{PID: -1}}
		if len(t.Holders) > 0 && t.OwnersSeen {
			f.holder = t.Holders[0]
		}
		raise("range", t.Time, f)
	}
	for _, c := range d.cases.All() { // what the table before showed, and this one does not
		if !c.Touched && c.Data.table != t && strings.HasPrefix(c.Key, protocol+"/") {
			d.cases.End(c.Key)
		}
	}
}

// closeWaitShare is the part of a process's connections, one in so many, that must be in CLOSE_WAIT.
const closeWaitShare = 10

func (d *detector) severity(share float64) model.Severity {
	if share >= d.settings.FullShare {
		return model.SeverityCritical
	}
	return model.SeverityWarning
}

// growthOf returns how a process's ports grew up to the last table: in each table, or else in steps.
func growthOf(list []*fold.Table, pid int32) growth {
	g := growthIn(list, pid, false)
	if g.proven() {
		return g
	}
	if steps := growthIn(list, pid, true); steps.rises >= provenBy && steps.proven() && steps.idle <= 2*steps.pause {
		return steps
	}
	return g
}

// canCompare reports whether the ports of two tables can be compared: the times of both are known, and both list ports
// that are bound only, or neither does.
func canCompare(a, b *fold.Table) bool {
	return (a.Flags|b.Flags)&model.FlagSecondary == 0 && a.BoundSeen == b.BoundSeen
}

// growthIn returns since when each table has shown more than the one before or, in steps, as many or more.
func growthIn(list []*fold.Table, pid int32, steps bool) (g growth) {
	last := len(list) - 1
	now := list[last].Holder(pid)
	if now == nil {
		return g
	}
	after, given := now, uint64(0)
	risen, until := list[last], list[last] // the first and the last table with as many ports as after
	for i := last - 1; i >= 0; i-- {
		h := list[i].Holder(pid)
		if h == nil || h.Ports > after.Ports || h.Ports == after.Ports && !steps || h.Process != now.Process ||
			!canCompare(list[i], list[last]) {
			break
		}
		given += h.Ports - min(after.Kept, h.Ports)
		if h.Ports < after.Ports {
			if same := until.Time.Sub(risen.Time); g.rises == 0 {
				g.idle = same
			} else {
				g.pause = max(g.pause, same)
			}
			g.rises++
			until = list[i]
			g.from, g.tables, g.grown, g.given = list[i], last-i+1, now.Ports-h.Ports, given
			g.span = list[last].Time.Sub(list[i].Time)
		}
		risen, after = list[i], h
	}
	if g.span < leastSpan {
		return growth{}
	}
	return g
}

// Report implements detect.Detector.
func (d *detector) Report(w *detect.Tick, emit func(model.Finding)) {
	d.cases.Settle(w, 1, emit, func(c *detect.Case[fault]) model.Finding { return d.describe(w, c) })
}

// Finish implements detect.Detector.
func (d *detector) Finish(w *detect.Tick, emit func(model.Finding)) {
	d.cases.Flush(w, emit, func(c *detect.Case[fault]) model.Finding { return d.describe(w, c) })
}
