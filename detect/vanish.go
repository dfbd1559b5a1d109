package detect

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// vanishing is a pool whose ports go missing: nobody holds them, they do not
// rest, and they are not taken again (the class of Microsoft's KB 814622).
type vanishing struct {
	pool    state.PoolKey
	missing int
	byPID   []pidCount
	grew    model.Time
	refused uint64
	first   model.Time
	base    int
	never   bool
	rate    float64
}

// refusedWithin returns the failed allocations in a pool since a time.
func (p *portFacts) refusedWithin(pool state.PoolKey, since model.Time) uint64 {
	var n uint64
	for k, f := range p.fails {
		if k.pool == pool && f.last >= since && !k.connect && !k.taken {
			n += f.count
		}
	}
	return n
}

// judgeVanished looks for ports of bounded pools that have gone missing.
func (d *portLeak) judgeVanished(w *world) {
	for _, key := range slices.SortedFunc(maps.Keys(w.ports.reuse), comparePools) {
		r := w.ports.reuse[key]
		pool := w.state.Pools[key]
		if pool == nil {
			continue
		}
		caseKey := fmt.Sprintf("pool/%s/%s", key.Protocol, clean(key.Name))
		if key.Netns != 0 {
			caseKey += "/netns" + itoa(key.Netns)
		}
		missing, byPID := r.vanished(w.now, d.settings.VanishedFactor)
		refused := w.ports.refusedWithin(key, w.now.Add(-10*time.Second))
		free := int(pool.Size) - r.held - r.resting
		in := d.vanish.incidents[caseKey]
		plain := uint64(missing) >= d.settings.VanishedPorts && (in == nil || !in.open || missing > in.data.missing)
		never := false
		switch {
		case plain:
		case refused > 0 && uint64(r.freeUsed) >= d.settings.VanishedPorts && float64(free) >= 0.1*float64(pool.Size) && w.now.Sub(lastRefusal(w, key)) < 2*time.Second:
			// Allocations fail although, by the count of open and resting sockets, ports are free.
			missing, byPID = max(missing, r.freeUsed), r.freeHolders()
			plain = true
		case r.neverReuses() && uint64(r.freeUsed) >= d.settings.VanishedPorts:
			missing, byPID = r.freeUsed, r.freeHolders()
			plain, never = true, true
		}
		if !plain {
			if in != nil && in.open && w.now.Sub(in.data.grew) <= max(d.settings.KeepFor.Std(), 2*r.usualIdle()) {
				d.vanish.keep(w, caseKey)
				w.explained[key] = true
			}
			continue
		}
		in = d.vanish.raise(w, caseKey, w.now-tickEvery)
		w.explained[key] = true
		data := &in.data
		if data.first == 0 {
			data.first, data.base, data.grew = w.now, missing, w.now
		}
		data.pool, data.never, data.refused = key, data.never || never, max(data.refused, refused)
		if missing > data.missing {
			data.missing, data.byPID, data.grew = missing, byPID, w.now
		}
		if t := w.now.Sub(data.first).Seconds(); t >= 5 {
			data.rate = float64(data.missing-data.base) / t
		}
	}
}

func lastRefusal(w *world, pool state.PoolKey) model.Time {
	var last model.Time
	for k, f := range w.ports.fails {
		if k.pool == pool && !k.connect && !k.taken {
			last = max(last, f.last)
		}
	}
	return last
}

// freeHolders returns who last held the ports that have been used and are free.
func (r *reuseFacts) freeHolders() []pidCount {
	counts := make(map[int32]int)
	for _, u := range r.ports {
		if u.freeSince != 0 {
			counts[u.pid]++
		}
	}
	return sortedCounts(counts)
}

func (d *portLeak) describeVanished(w *world, in *incident[vanishing]) model.Finding {
	data := &in.data
	ongoing := in.touchedOrOpen()
	r := w.ports.reuse[data.pool]
	pool := w.state.Pools[data.pool]
	f := model.Finding{
		Severity: model.SeverityWarning,
		Subject: model.Subject{
			Kind:     "pool",
			CPU:      -1,
			PID:      -1,
			Pool:     clean(data.pool.Name),
			Protocol: data.pool.Protocol.String(),
		},
	}
	who := "an unknown process"
	if len(data.byPID) > 0 {
		f.Subject.PID = data.byPID[0].pid
		f.Subject.Process = clean(cmp.Or(w.state.ProcessName(f.Subject.PID), r.names[f.Subject.PID]))
		who = task(f.Subject.Process, f.Subject.PID)
	}
	var size, free int
	if pool != nil {
		size, free = int(pool.Size), int(pool.Size)-r.held-r.resting
	}
	usable := max(free-data.missing, 0)
	f.Title = fmt.Sprintf(
		"%s of pool %s (%s) %s vanished: %s last held them, no socket holds them now, and they are not used again",
		plural(data.missing, "port"),
		clean(data.pool.Name),
		data.pool.Protocol,
		tense(ongoing, "have", "had"),
		who,
	)
	switch {
	case data.refused > 0:
		f.Severity = model.SeverityCritical
		f.Title += fmt.Sprintf("; allocations fail with %d of %d ports in use", r.held, size)
	case data.rate > 0:
		f.Title += fmt.Sprintf(
			"; the pool is empty in about %s",
			span(time.Duration(float64(usable)/data.rate*float64(time.Second))),
		)
	}
	f.Evidence = []model.Evidence{
		evidence("ports that vanished", float64(data.missing), "ports"),
		evidence("held by open sockets", float64(r.held), "ports"),
		evidence("at rest", float64(r.resting), "ports"),
		evidence("size of the pool", float64(size), "ports"),
		evidence("allocations refused", float64(data.refused), "times"),
		evidence("ports taken again after they were free", float64(r.count), "times"),
	}
	if usual := r.usualIdle(); usual > 0 {
		f.Evidence = append(f.Evidence, evidence("a free port is usually taken again within (p95)", usual.Seconds(), "s"))
	}
	if data.never {
		f.Evidence = append(f.Evidence, evidence("reuses that a random choice would have given", r.expected, "times"))
		f.Causes = append(
			f.Causes,
			fmt.Sprintf(
				"each of the %s ports taken so far was a new one: the runtime never takes a port again",
				number(r.draws),
			),
		)
	} else {
		f.Causes = append(f.Causes, "the runtime that allocates from this range has lost these ports: it neither holds a "+
			"socket on them nor gives them out again until the process ends")
	}
	f.RuledOut = []string{
		fmt.Sprintf("not open sockets: %s of %s ports are held", number(r.held), number(size)),
		fmt.Sprintf(
			"not rest: %s at rest; the missing ones have been free for longer than ports here usually are",
			plural(r.resting, "port"),
		),
	}
	f.Advice = []string{
		fmt.Sprintf(
			"restart %s: its ports come back when it ends; not before the RPC errors that lose them are understood, or it "+
				"will lose them again",
			who,
		),
		"look for failing RPC calls at the times at which ports vanish (KB 814622: ports are lost on failed calls); not " +
			"when the pool is shared with software that was not observed",
	}
	return f
}
