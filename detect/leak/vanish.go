package leak

import (
	"cmp"
	"fmt"
	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
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
	reuse   *fold.Reuse
	missing int
	byPID   []fold.PIDCount
	grew    model.Time
	refused uint64
	first   model.Time
	base    int
	never   bool
	rate    float64
}

// judgeVanished looks for ports of bounded pools that have gone missing.
func (d *portLeak) judgeVanished(w *detect.Tick) {
	for _, key := range slices.SortedFunc(maps.Keys(w.Ports.Reuse), fold.ComparePools) {
		r := w.Ports.Reuse[key]
		pool := w.State.Pools[key]
		if pool == nil {
			continue
		}
		caseKey := fmt.Sprintf("pool/%s/%s", key.Protocol, fold.Printable(key.Name))
		if key.Netns != 0 {
			caseKey += "/netns" + words.Itoa(key.Netns)
		}
		missing, byPID := r.Vanished(w.Now, d.settings.VanishedFactor)
		refused := w.Ports.RefusedWithin(key, w.Now.Add(-10*time.Second))
		free := int(pool.Size) - r.Held - r.Resting
		in := d.vanish.Get(caseKey)
		plain := uint64(missing) >= d.settings.VanishedPorts && (in == nil || !in.Open || missing > in.Data.missing)
		never := false
		last := lastRefusal(w, key)
		switch {
		case plain:
		case refused > 0 && uint64(r.FreeUsed) >= d.settings.VanishedPorts &&
			float64(free) >= 0.1*float64(pool.Size) &&
			w.Now.Sub(last) < 2*time.Second:
			// Allocations fail although, by the count of open and resting sockets,
			// ports were free by then.
			n, by := r.FreeHolders(last)
			if n >= missing {
				missing, byPID = n, by
			}
			plain = true
		case r.NeverReuses() && uint64(r.FreeUsed) >= d.settings.VanishedPorts:
			missing, byPID = r.FreeHolders(w.Now)
			plain, never = true, true
		}
		if plain {
			// What ends with its process has not vanished.
			var ended int
			byPID, ended = living(w, byPID)
			if missing -= ended; uint64(missing) < d.settings.VanishedPorts {
				plain = false
			}
		}
		if !plain {
			if in != nil && in.Open && w.Now.Sub(in.Data.grew) <= max(d.settings.KeepFor.Std(), 2*r.UsualIdle()) {
				d.vanish.Keep(w, caseKey)
				w.Claim(detect.PoolRefusals{Pool: key})
			}
			continue
		}
		in = d.vanish.Raise(w, caseKey, w.Now-fold.Second)
		w.Claim(detect.PoolRefusals{Pool: key})
		data := &in.Data
		if data.first == 0 {
			data.first, data.base, data.grew = w.Now, missing, w.Now
		}
		data.pool, data.reuse = key, r
		data.never, data.refused = data.never || never, max(data.refused, refused)
		if missing > data.missing {
			data.missing, data.byPID, data.grew = missing, byPID, w.Now
		}
		if t := w.Now.Sub(data.first).Seconds(); t >= 5 {
			data.rate = float64(data.missing-data.base) / t
		}
	}
}

// living leaves out the processes that have ended, and says how many ports they held last.
func living(w *detect.Tick, byPID []fold.PIDCount) (list []fold.PIDCount, ended int) {
	for _, c := range byPID {
		if c.PID <= 0 || w.Ports.Lives(c.PID, w.Now) {
			list = append(list, c)
			continue
		}
		ended += c.Count
	}
	return list, ended
}

func lastRefusal(w *detect.Tick, pool state.PoolKey) model.Time {
	var last model.Time
	for k, f := range w.Ports.Fails {
		if k.Pool == pool && !k.Connect && !k.Taken {
			last = max(last, f.Last)
		}
	}
	return last
}

func (d *portLeak) describeVanished(w *detect.Tick, in *detect.Case[vanishing]) model.Finding {
	data := &in.Data
	ongoing := in.Ongoing()
	r := data.reuse
	pool := w.State.Pools[data.pool]
	f := model.Finding{
		Severity: model.SeverityWarning,
		Subject: model.Subject{
			Kind:     "pool",
			CPU:      -1,
			PID:      -1,
			Pool:     fold.Printable(data.pool.Name),
			Protocol: data.pool.Protocol.String(),
		},
	}
	who := "an unknown process"
	if len(data.byPID) > 0 {
		f.Subject.PID = data.byPID[0].PID
		f.Subject.Process = fold.Printable(cmp.Or(w.State.ProcessName(f.Subject.PID), data.byPID[0].Name))
		who = words.Task(f.Subject.Process, f.Subject.PID)
	}
	var size, free int
	if pool != nil {
		size, free = int(pool.Size), int(pool.Size)-r.Held-r.Resting
	}
	usable := max(free-data.missing, 0)
	f.Title = fmt.Sprintf(
		"%s of pool %s (%s) %s vanished: %s last held them, no socket holds them now, and they are not used again",
		words.Plural(data.missing, "port"),
		fold.Printable(data.pool.Name),
		data.pool.Protocol,
		words.Tense(ongoing, "have", "had"),
		who,
	)
	switch {
	case data.refused > 0:
		f.Severity = model.SeverityCritical
		f.Title += fmt.Sprintf("; allocations fail with %d of %d ports in use", r.Held, size)
	case data.rate > 0:
		f.Title += fmt.Sprintf(
			"; the pool will be exhausted in about %s",
			words.Span(time.Duration(float64(usable)/data.rate*float64(time.Second))),
		)
	}
	f.Evidence = []model.Evidence{
		detect.Evidence("ports that vanished", float64(data.missing), "ports"),
		detect.Evidence("held by open sockets", float64(r.Held), "ports"),
		detect.Evidence("at rest", float64(r.Resting), "ports"),
		detect.Evidence("size of the pool", float64(size), "ports"),
		detect.Evidence("allocations refused", float64(data.refused), "times"),
		detect.Evidence("ports taken again after they were free", float64(r.Count), "times"),
	}
	if usual := r.UsualIdle(); usual > 0 {
		f.Evidence = append(
			f.Evidence, detect.Evidence("a free port is usually taken again within (p95)", usual.Seconds(), "s"),
		)
	}
	if data.never {
		f.Evidence = append(f.Evidence, detect.Evidence("reuses that a random choice would have given", r.Expected, "times"))
		f.Causes = append(
			f.Causes,
			fmt.Sprintf(
				"each of the %s ports taken so far was a new one: the runtime never takes a port again",
				words.Number(r.Draws),
			),
		)
	} else {
		f.Causes = append(f.Causes, "the runtime that allocates from this range has lost these ports: it neither holds a "+
			"socket on them nor gives them out again until the process ends")
	}
	f.RuledOut = []string{
		fmt.Sprintf("not open sockets: %s of %s ports are held", words.Number(r.Held), words.Number(size)),
		fmt.Sprintf(
			"not rest: %s at rest; the missing ones have been free for longer than ports here usually are",
			words.Plural(r.Resting, "port"),
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
