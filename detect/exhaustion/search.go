package exhaustion

import (
	"cmp"
	"fmt"
	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"slices"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// search is a range of ports in which processes search for a free one in vain.
// It reveals a pool that nobody has told of.
type search struct {
	protocol  model.Protocol
	netns     int64
	netnsName string
	low, high uint16
	refused   map[fold.ProcessKey]searched
	worst     moment
}

// searched counts what one process was refused.
type searched struct {
	// first is when the search that is counted last began, last when it was
	// refused last, before what was refused until it began.
	first, last    model.Time
	before, ports  uint64
	earlier, whole uint64
}

// add brings the count up to date.
func (c searched) add(s *fold.Search) searched {
	if c.first != s.First {
		c.before, c.earlier = c.before+c.ports, c.earlier+c.whole
	}
	c.first, c.last, c.ports, c.whole = s.First, s.Last, s.Refused, s.Whole()
	return c
}

// overlaps says that a search of one range belongs to the case.
func (s *search) overlaps(k fold.SearchKey, found *fold.Search) bool {
	return s.protocol == k.Protocol && s.netns == k.Netns && found.Low <= s.high && found.High >= s.low
}

// judgeSearches judges the ranges that processes search themselves, as far as
// no pool explains that nothing is free there.
func (d *portExhaustion) judgeSearches(w *detect.Tick, full map[state.PoolKey]bool) {
	for _, k := range w.Ports.SortedSearches() {
		s := w.Ports.Searches[k]
		if !s.InVain(w.Now) || w.Now.Sub(s.Last) > judgedFor || explained(w, full, k, s) {
			continue
		}
		var in *detect.Case[search]
		for _, c := range d.searches.All() {
			if c.Data.overlaps(k, s) {
				in = c
			}
		}
		who := fold.ProcessKey{PID: k.PID, Name: s.Process}
		if in != nil && in.Open && in.Data.refused[who].last == s.Last {
			continue
		}
		at := momentOf(w, k, s)
		if float64(at.taken()) < d.settings.WarnShare*float64(at.size) {
			continue // it may have been refused for another reason
		}
		key := fmt.Sprintf("search/%s/%d-%d", k.Protocol, s.Low, s.High)
		if k.Netns != 0 {
			key += "/netns" + words.Itoa(k.Netns)
		}
		if in != nil {
			key = in.Key
		}
		in = d.searches.Raise(w, key, s.First)
		data := &in.Data
		if data.refused == nil {
			*data = search{
				protocol: k.Protocol, netns: k.Netns, low: s.Low, high: s.High,
				refused: make(map[fold.ProcessKey]searched),
			}
		}
		data.low, data.high = min(data.low, s.Low), max(data.high, s.High)
		if pool, ok := w.EphemeralPool(k.Protocol, k.Netns); ok && data.netnsName == "" {
			data.netnsName = w.State.Pools[pool].NetnsName
		}
		if len(data.refused) < maxSearchers || data.refused[who].first != 0 {
			data.refused[who] = data.refused[who].add(s)
		}
		if in.Worst(float64(s.Second), float64(at.taken())) {
			data.worst = at
		}
	}
	// Who finds a port now and then, and none again, still searches.
	for _, c := range d.searches.All() {
		if w.Now.Sub(c.Data.last()) <= d.settings.FailuresFor.Std() {
			d.searches.Keep(w, c.Key)
		}
	}
}

// last is when a search was last refused a port.
func (s *search) last() (at model.Time) {
	for _, by := range s.refused {
		at = max(at, by.last)
	}
	return at
}

// judgedFor is how long after its last refusal a search is judged: until it is known to be over.
const judgedFor = 3 * time.Second

// maxSearchers bounds the processes that are counted by name.
const maxSearchers = 100

// explained says that a pool which is full explains a search in vain.
func explained(w *detect.Tick, full map[state.PoolKey]bool, k fold.SearchKey, s *fold.Search) bool {
	for pool := range w.State.PoolsOf(k.Protocol, k.Netns) {
		if full[pool.Key()] && pool.Low <= s.Low && pool.High >= s.High {
			return true
		}
	}
	return false
}

// momentOf counts who holds the ports of a range that was searched.
func momentOf(w *detect.Tick, k fold.SearchKey, s *fold.Search) moment {
	held, rests := make(map[uint16]bool), make(map[uint16]bool)
	inRange := func(p *state.Port) bool {
		return p.Protocol == k.Protocol && p.Netns == k.Netns && p.LocalPort >= s.Low && p.LocalPort <= s.High && !p.Shared()
	}
	for p := range w.AllPorts() {
		switch {
		case !inRange(p):
		case p.Resting:
			rests[p.LocalPort] = true
		default:
			held[p.LocalPort] = true
		}
	}
	for port := range held {
		delete(rests, port)
	}
	return moment{
		used: len(held), resting: len(rests), size: int(s.High) - int(s.Low) + 1, holders: holdersOf(w, inRange),
	}
}

func (d *portExhaustion) describeSearch(w *detect.Tick, in *detect.Case[search]) model.Finding {
	data, at := &in.Data, &in.Data.worst
	ongoing := in.Ongoing()
	var refused, whole uint64
	var by []holderCount
	for who, s := range data.refused {
		refused, whole = refused+s.before+s.ports, whole+s.earlier+s.whole
		by = append(by, holderCount{who, int(s.before + s.ports)})
	}
	slices.SortFunc(by, func(a, b holderCount) int {
		return cmp.Or(
			cmp.Compare(b.count, a.count),
			cmp.Compare(a.process.PID, b.process.PID),
			cmp.Compare(a.process.Name, b.process.Name),
		)
	})
	searcher := words.Task(by[0].process.Name, by[0].process.PID)
	name := fmt.Sprintf("%s %d-%d", data.protocol, data.low, data.high)
	if data.netnsName != "" {
		name += " (netns " + fold.Printable(data.netnsName) + ")"
	}
	f := model.Finding{
		Severity: model.SeverityCritical,
		Subject: model.Subject{
			Kind: "pool", CPU: -1, PID: by[0].process.PID, Process: fold.Printable(by[0].process.Name),
			Pool: fmt.Sprintf("%d-%d", data.low, data.high), Protocol: data.protocol.String(),
			Netns: fold.Printable(data.netnsName),
		},
	}
	if len(by) > 1 {
		searcher += fmt.Sprintf(" and %s", words.Plural(len(by)-1, "other process", "other processes"))
	}
	inUse := at.text(data.protocol)
	f.Title = detect.Title(
		fmt.Sprintf("%s %s no free port in %s", searcher, words.Tense(ongoing, "finds", "found"), name),
		": "+inUse,
		"; "+words.Plural(whole, "search", "searches")+" failed",
	)
	f.Evidence = []model.Evidence{
		detect.Evidence("in use or "+atRest(data.protocol), fold.Ratio(float64(at.taken()), float64(at.size)), "ratio"),
		detect.Evidence("in use", float64(at.used), "ports"),
		detect.Evidence(atRest(data.protocol), float64(at.resting), "ports"),
		detect.Evidence("size of the range that was searched", float64(at.size), "ports"),
		detect.Evidence("failed searches", float64(whole), "times"),
		detect.Evidence("ports refused", float64(refused), "times"),
	}
	for _, h := range at.holders {
		f.Evidence = append(
			f.Evidence, detect.Evidence("held by "+words.Task(h.process.Name, h.process.PID), float64(h.count), "ports"),
		)
	}
	for _, h := range by[:min(len(by), 5)] {
		f.Evidence = append(
			f.Evidence, detect.Evidence("refused to "+words.Task(h.process.Name, h.process.PID), float64(h.count), "times"),
		)
	}
	f.Causes = []string{
		fmt.Sprintf(
			"%s tries the ports of this range one by one, as bindresvport and programs with their own port range do",
			searcher,
		),
	}
	if len(at.holders) > 0 {
		top := at.holders[0]
		f.Causes = append(
			f.Causes,
			fmt.Sprintf(
				"%s %s %s of them", words.Task(top.process.Name, top.process.PID), words.Tense(ongoing, "holds", "held"),
				words.Number(top.count),
			),
		)
	}
	f.RuledOut = []string{"a conflict over one port: each port of the range was tried and refused"}
	if at.resting > at.used {
		f.Causes = append(
			f.Causes,
			fmt.Sprintf(
				"Most of them %s %s: a port that was bound before connecting stays taken for %s after the close, so the range "+
					"sustains about %s",
				words.Tense(ongoing, "are", "were"), atRest(data.protocol), words.Span(w.RestTime()),
				words.PerSecond(float64(at.size)/w.RestTime().Seconds(), "connection"),
			),
		)
		f.Advice = []string{
			"keep connections open and reuse them, unless the peer closes them after each request anyway",
			"let the program set SO_REUSEADDR before it binds, which allows ports in TIME_WAIT, unless it must reach the " +
				"same destination from the same port within a minute",
		}
		return f
	}
	f.Advice = []string{
		"stop or fix the process that holds the most; if all hold about the same number, the range is too small",
		"widen the range (the program's setting, the firewall's, or sunrpc.min_resvport and max_resvport), unless a " +
			"process leaks: a leak fills any range",
	}
	return f
}
