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
	pool state.PoolKey
	// limits is the pool as last known.
	limits *state.Pool
	reuse  *fold.Reuse
	// ports are those that are missing, at is what it looked like when most were.
	ports []fold.FreePort
	at    vanished
	// refused counts the refusals within 10 s, at most; never says that no port is ever taken again.
	refused uint64
	never   bool
	// census are the ports as they were when RPC reported no free port and most of them were idle, nil where it never did.
	census *fold.Census
	errors []string
	facts  []string
	// first is when the first were missed, base how many; rate is ports a second since.
	first model.Time
	base  int
	rate  float64
	fate  vanishedFate
	// seen is when the ports were last known to be missing.
	seen model.Time
}

// vanished is a moment of a pool from which ports are missing.
type vanished struct {
	missing, held, resting int
	byPID                  []fold.PIDCount
	usual                  time.Duration
	reused, draws          int
	expected               float64
}

// fewestVanished is the number of missing ports from which a range that has fewer than vanished_ports is judged.
const fewestVanished = 3

// vanishedFate is what has become of ports that were missing.
type vanishedFate uint8

const (
	// missing: they still are.
	missing vanishedFate = iota
	// freed: the processes that had lost them have ended.
	freed
	// found: they have been taken again after all.
	found
)

// judgeVanished looks for ports of bounded pools that are missing.
func (d *portLeak) judgeVanished(w *detect.Tick) {
	keys := slices.Collect(maps.Keys(w.Ports.Reuse))
	for k, f := range w.Ports.Fails { // RPC may have no port left of a range of which none was taken while it was observed
		if f.How == model.HowRPC && k.NoneLeft && w.Ports.Reuse[k.Pool] == nil && !slices.Contains(keys, k.Pool) {
			keys = append(keys, k.Pool)
		}
	}
	slices.SortFunc(keys, fold.ComparePools)
	for _, key := range keys {
		pool, r := w.State.Pools[key], w.Ports.Reuse[key]
		if r == nil {
			r = new(fold.Reuse)
		}
		if pool != nil {
			d.judgePool(w, key, pool, r)
		}
	}
}

func (d *portLeak) judgePool(w *detect.Tick, key state.PoolKey, pool *state.Pool, r *fold.Reuse) {
	caseKey := fmt.Sprintf("pool/%s/%s", key.Protocol, fold.Printable(key.Name))
	if key.Netns != 0 {
		caseKey += "/netns" + words.Itoa(key.Netns)
	}
	in := d.vanish.Get(caseKey)
	refused, last := detect.RefusedByRPC(w, key)
	rest := w.UnseenRest(key.Protocol)
	need := d.settings.VanishedPorts
	if pool.Size < need { // no more can be missing than there are
		need = max(fewestVanished, pool.Size/2)
	}
	enough := func(ports []fold.FreePort) bool { return uint64(len(ports)) >= need }
	ports := detect.Living(w, r.Vanished(w.Now, d.settings.VanishedFactor, rest))
	var census *fold.Census
	if free := int(pool.Size) - r.Held - r.Resting; refused > 0 && float64(free) >= 0.1*float64(pool.Size) &&
		w.Now.Sub(last) < 2*time.Second {
		// The runtime has no port left although, by the count of open and resting
		// sockets, some were free by then.
		if c := w.Census(pool, last); c != nil {
			if list := detect.Living(w, c.Idle()); len(list) >= len(ports) && enough(list) {
				ports, census = list, c
			}
		}
	}
	never := false
	if !enough(ports) && r.NeverReuses() {
		ports = detect.Living(w, r.FreeSince(w.FreeBy(key.Protocol, w.Now)))
		never = enough(ports)
	}
	if !enough(ports) {
		if in != nil && in.Open {
			in.Data.reuse = r
			d.followVanished(w, in)
		}
		return
	}
	in = d.vanish.Raise(w, caseKey, w.Now-fold.Second)
	w.Claim(detect.PoolRefusals{Pool: key})
	data := &in.Data
	if !in.Open && data.fate != missing {
		*data = vanishing{} // it has begun anew
	}
	if data.first == 0 {
		data.first, data.base = w.Now, len(ports)
	}
	data.pool, data.limits, data.reuse, data.ports = key, pool, r, ports
	data.fate, data.seen = missing, w.Now
	data.never, data.refused = data.never || never, max(data.refused, refused)
	if len(ports) >= data.at.missing || census != nil && data.census == nil {
		if census != nil {
			data.census, data.errors, data.facts = census, detect.ErrorsOfRPC(w, key), detect.RPCFacts(w, pool, census)
		}
		data.at = vanished{
			missing: len(ports), held: r.Held, resting: r.Resting, byPID: fold.CountByPID(ports), usual: r.UsualIdle(),
			reused: r.Count, draws: r.Draws, expected: r.Expected,
		}
	}
	if t := w.Now.Sub(data.first).Seconds(); t >= 5 {
		data.rate = float64(data.at.missing-data.base) / t
	}
}

// followVanished keeps an open case for as long as its ports are missing: they
// are until they are taken again, or their process ends.
func (d *portLeak) followVanished(w *detect.Tick, in *detect.Case[vanishing]) {
	data := &in.Data
	free := slices.DeleteFunc(slices.Clone(data.ports), func(f fold.FreePort) bool { return !data.reuse.StillFree(f) })
	still := detect.Living(w, free)
	switch {
	case 2*len(still) >= len(data.ports):
		data.fate, data.seen = missing, w.Now
	case 2*len(free) < len(data.ports):
		data.fate = found
		return
	case w.SeenToEnd(data.at.byPID[0].PID):
		data.fate = freed
		d.vanish.End(in.Key)
		return
	case w.Now.Sub(data.seen) > max(d.settings.KeepFor.Std(), 2*data.at.usual):
		return // nothing is seen of the process any more: it may have ended
	}
	d.vanish.Keep(w, in.Key)
	w.Claim(detect.PoolRefusals{Pool: data.pool})
}

func (d *portLeak) describeVanished(w *detect.Tick, in *detect.Case[vanishing]) model.Finding {
	data, at := &in.Data, &in.Data.at
	ongoing := in.Ongoing()
	f := model.Finding{
		Severity: model.SeverityWarning,
		Subject: model.Subject{
			Kind:     "pool",
			CPU:      -1,
			PID:      -1,
			Pool:     fold.Printable(data.pool.Name),
			Protocol: data.pool.Protocol.String(),
			Netns:    fold.Printable(data.limits.NetnsName),
		},
	}
	who := "an unknown process"
	if len(at.byPID) > 0 && at.byPID[0].PID > 0 {
		f.Subject.PID = at.byPID[0].PID
		f.Subject.Process = fold.Printable(cmp.Or(w.State.ProcessName(f.Subject.PID), at.byPID[0].Name))
		who = words.Task(f.Subject.Process, f.Subject.PID)
	}
	size := int(data.limits.Size)
	f.Title = fmt.Sprintf(
		"%s of pool %s %s vanished: %s last held them, no socket %s them",
		words.Plural(at.missing, "port"),
		words.Pool(data.limits),
		words.Tense(ongoing, "have", "had"),
		who,
		words.Tense(ongoing, "holds", "held"),
	)
	switch data.fate {
	case found:
		f.Severity = model.SeverityInfo
		f.Title = fmt.Sprintf(
			"%s of pool %s were unused for a long time and are used again: they had not vanished; %s last held them",
			words.Plural(at.missing, "port"), words.Pool(data.limits), who,
		)
	case freed:
		f.Title += " before it exited"
	}
	if data.census != nil && data.fate != found {
		f.Severity = model.SeverityCritical
		until := ""
		if data.fate == freed {
			until = "; " + who + " last held them, and has ended"
		}
		f.Title = detect.HeldInsideRPC(data.limits, at.missing, data.errors, ongoing) + until
	} else if data.refused > 0 && data.fate != found {
		f.Severity = model.SeverityCritical
		f.Title += fmt.Sprintf(
			"; allocations %s with %d of %d ports in use", words.Tense(ongoing, "fail", "failed"), at.held, size,
		)
	}
	if data.census != nil {
		f.Evidence = append(
			[]model.Evidence{detect.Evidence("without an open or resting socket", float64(at.missing), "ports")},
			detect.CensusEvidence(data.census)...,
		)
	} else {
		f.Evidence = []model.Evidence{
			detect.Evidence("ports that vanished", float64(at.missing), "ports"),
			detect.Evidence("held by open sockets", float64(at.held), "ports"),
			detect.Evidence("at rest", float64(at.resting), "ports"),
		}
	}
	f.Evidence = append(
		f.Evidence,
		detect.Evidence("size of the pool", float64(size), "ports"),
		detect.Evidence("allocations refused", float64(data.refused), "times"),
		detect.Evidence("ports taken again after they were free", float64(at.reused), "times"),
	)
	if data.rate > 0 {
		f.Evidence = append(f.Evidence, detect.Evidence("rate at which they vanished", data.rate, "ports/s"))
	}
	if at.usual > 0 {
		f.Evidence = append(
			f.Evidence, detect.Evidence("usual time until a free port is taken again (p95)", at.usual.Seconds(), "s"),
		)
	}
	if data.fate == found {
		return f
	}
	f.Causes = append(f.Causes, data.facts...)
	if data.never {
		f.Evidence = append(
			f.Evidence, detect.Evidence("reuses that a random choice would have given", at.expected, "times"),
		)
		f.Causes = append(
			f.Causes,
			fmt.Sprintf(
				"Each of the %s ports taken so far was a new one: the runtime never reuses a port",
				words.Number(at.draws),
			),
		)
	} else {
		probably := ""
		if data.census != nil {
			probably = "probably "
		}
		f.Causes = append(f.Causes, fmt.Sprintf(
			"The runtime that allocates from this range %s %slost track of these ports: it neither %s a socket on them nor "+
				"%s them out again until the process %s",
			words.Tense(ongoing, "has", "had"), probably, words.Tense(ongoing, "holds", "held"),
			words.Tense(ongoing, "gives", "gave"), words.Tense(data.fate != freed, "exits", "exited"),
		))
	}
	f.RuledOut = []string{
		fmt.Sprintf(
			"open sockets: %s of %s ports %s held", words.Number(at.held), words.Number(size),
			words.Tense(ongoing, "are", "were"),
		),
		fmt.Sprintf(
			"ports at rest: %s at rest; the missing ones %s been free for longer than ports here usually are",
			words.Plural(at.resting, "port"), words.Tense(ongoing, "have", "had"),
		),
	}
	switch rest := w.UnseenRest(data.pool.Protocol); {
	case rest > 0:
		f.RuledOut[1] = fmt.Sprintf(
			"ports at rest: the missing ones were released more than %s ago, for which a closed port rests", words.Span(rest),
		)
	case data.refused > 0:
		f.RuledOut[1] = fmt.Sprintf(
			"ports at rest: %s at rest; the missing ones were neither held nor at rest when requests were refused",
			words.Plural(at.resting, "port"),
		)
	}
	look := "look for failing RPC calls at the times when ports vanish (KB 814622: ports are lost on failed calls), " +
		"unless the pool is shared with software that was not observed"
	if data.fate == freed {
		f.Advice = []string{look, "do not enlarge the pool instead: it only moves the day on which it is empty"}
		return f
	}
	f.Advice = []string{
		fmt.Sprintf(
			"find the RPC errors that lose the ports, then restart %s: its ports become free when it exits",
			who,
		),
		look,
	}
	return f
}
