package snapshot

import (
	"fmt"
	"slices"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
	"lostbeat/model/state"
)

// leastPool is the smallest pool whose fill is judged: one of a few ports is meant to be full.
const leastPool = 16

// mostFills is how many tables of a pool are kept: the first, and the latest.
const mostFills = 128

// fill is what a table shows of a pool that was named, or that RPC has.
type fill struct {
	table *fold.Table
	// open and resting are its ports.
	open, resting int
	// by are the ports of each process.
	by map[fold.ProcessKey]int
	// top has most of them; its PID is -1 where the table does not say it.
	top fold.ProcessKey
}

// taken is how many ports nobody else can have.
func (f *fill) taken() int { return f.open + f.resting }

// fillsOf returns what the tables up to t, the last one, showed of a pool, nil where it is too large to be followed.
func (d *detector) fillsOf(w *detect.Tick, pool *state.Pool, t *fold.Table) []fill {
	fills := d.fills[pool.Key()]
	n := len(fills)
	if n > 0 && fills[n-1].table == t {
		return fills
	}
	c := w.Census(pool, t.Time)
	if c == nil {
		return nil
	}
	f := fill{
		table: t, open: c.Counts[fold.PortOpen], resting: c.Counts[fold.PortResting],
		by: map[fold.ProcessKey]int{}, top: fold.ProcessKey{PID: -1},
	}
	for i, p := range c.By(fold.PortOpen) {
		f.by[p.ProcessKey] = p.Count
		if i == 0 {
			f.top = p.ProcessKey
		}
	}
	if n == mostFills { // copied: findings keep what they were given
		fills = slices.Concat(fills[:1], fills[2:])
	}
	fills = append(fills, f)
	d.fills[pool.Key()] = fills
	return fills
}

// judgePools judges the pools that were named and those of RPC, each by the last table.
func (d *detector) judgePools(w *detect.Tick) {
	for _, pool := range w.State.SortedPools() {
		list := w.Tables.ByProtocol[pool.Protocol]
		if pool.Source == model.PoolEphemeral || pool.Size < leastPool || len(list) == 0 {
			continue
		}
		t := list[len(list)-1]
		fills := d.fillsOf(w, pool, t)
		if len(fills) == 0 {
			continue
		}
		now := &fills[len(fills)-1]
		if share := float64(now.taken()) / float64(pool.Size); share >= d.settings.WarnShare {
			c := d.cases.Raise(w, fmt.Sprintf("%s/pool/%s", pool.Protocol, fold.Printable(pool.Name)), t.Time)
			c.Data = fault{
				what: ofPool, pool: *pool, table: t, first: list[0], tables: len(list), fills: fills,
				level: d.severity(share), holder: model.PortHolder{PID: now.top.PID, Process: now.top.Name},
			}
			c.Seen = t.Time
		}
	}
}

// grownSince is by how much the top holder grew since the first table from which on it had more in each.
func grownSince(fills []fill) (by int, span time.Duration) {
	now := &fills[len(fills)-1]
	least := now.by[now.top]
	for i := len(fills) - 2; i >= 0; i-- {
		f := &fills[i]
		had := f.by[now.top]
		if had >= least || had == 0 || !canCompare(f.table, now.table) {
			break
		}
		least = had
		by, span = now.by[now.top]-had, now.table.Time.Sub(f.table.Time)
	}
	if span < leastSpan {
		return 0, 0
	}
	return by, span
}

func (v *view) ofPool(f *model.Finding) {
	now := &v.fills[len(v.fills)-1]
	name := fold.Printable(v.pool.Name)
	f.Title = fmt.Sprintf("%s of the %s %s ports of %s (%d to %d) %s taken", words.Number(now.taken()),
		words.Number(v.pool.Size), v.transport(), name, v.pool.Low, v.pool.High, v.tense("are", "were"))
	if now.open > 0 && v.named() {
		f.Title += fmt.Sprintf(", %s of them by %s", words.Number(now.by[now.top]), v.process())
		if by, span := grownSince(v.fills); by > 0 {
			f.Title += fmt.Sprintf(", %s more than %s earlier", words.Number(by), words.Span(span))
		}
	}
	if now.resting > 0 {
		f.Causes = append(f.Causes, fmt.Sprintf("%s of them are in TIME_WAIT: they become free by themselves",
			words.Number(now.resting)))
	}
	f.Causes = append(f.Causes, "Once none is left, whoever asks for a port of this range gets none; other ports are "+
		"not affected")
	if v.pool.Source == model.PoolRPC {
		f.Causes = append(f.Causes, "RPC then fails with RPC_S_OUT_OF_RESOURCES (1721). A port that RPC has allocated "+
			"without a socket is in no table: more may be taken than these")
	}
	if !v.table.BoundSeen {
		how := ""
		if v.windows {
			how = " (netstat -q does)"
		}
		f.Causes = append(f.Causes, "The table does not list ports that are bound only"+how+": more may be taken")
	}
	f.Evidence = append(f.Evidence, detect.Evidence("held by sockets", float64(now.open), "ports"),
		detect.Evidence("in TIME_WAIT", float64(now.resting), "ports"),
		detect.Evidence("size of the range", float64(v.pool.Size), "ports"))
	switch {
	case v.named() && now.open > 0:
		f.Advice = append(f.Advice, fmt.Sprintf("Restarting %s gives its ports back. Find out why it holds so many; if it "+
			"needs them, enlarge the range", v.process()))
	case now.open > 0:
		f.Advice = append(f.Advice, ownersAdvice)
	}
}
