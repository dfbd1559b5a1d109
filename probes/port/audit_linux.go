package port

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"lostbeat/model"
)

// auditor is the part of the tracker that remembers between audits.
//
// A listing is not taken at one moment, and records are under way while it is
// taken. So sockets that were released meanwhile are noted, and any other
// difference counts only when the next audit finds it again.
type auditor struct {
	// auditSoon asks for an audit ahead of its time.
	auditSoon bool
	last      model.Time
	// meanwhile are the sockets released since the listing was asked for; nil
	// when none is under way.
	meanwhile map[uint64]bool
	// suspects and restSuspects differed in the last audit.
	suspects     map[uint64]bool
	restSuspects map[tuple]bool
}

// auditBegins is called when a listing is asked for.
func (a *auditor) auditBegins() { a.meanwhile = make(map[uint64]bool) }

// released notes a release for the audit that is under way.
func (a *auditor) released(cookie uint64) {
	if a.meanwhile != nil {
		a.meanwhile[cookie] = true
	}
}

// tally is an audit's result for one namespace.
type tally struct{ tracked, kernel, missed, stale, resting uint64 }

// reconcile corrects what is tracked by a listing and reports the drift. It
// returns whether something differs that the next audit has to confirm.
func (t *tracker) reconcile(l *listing, now model.Time, b *model.Builder) bool {
	tallies := make(map[uint32]*tally)
	complete := make(map[uint32]bool)
	for _, n := range l.namespaces {
		tallies[n.inode] = &tally{}
		complete[n.inode] = n.complete
	}
	of := func(netns uint32) *tally {
		if tallies[netns] == nil {
			tallies[netns] = &tally{}
		}
		return tallies[netns]
	}
	suspects, restSuspects := make(map[uint64]bool), make(map[tuple]bool)
	t.jiffy.sample(l.jiffies, l.jiffiesAt)
	t.findMissed(l, now, of, suspects, b)
	t.findStale(l, now, of, complete, suspects, b)
	t.compareRests(l, now, of, complete, restSuspects, b)
	var interval time.Duration
	if t.last != 0 {
		interval = now.Sub(t.last)
	}
	for _, netns := range slices.Sorted(maps.Keys(tallies)) {
		n := tallies[netns]
		b.AddPortAudit(model.PortAudit{
			Time: now, Dur: interval, Netns: int64(netns),
			Tracked: n.tracked, Kernel: n.kernel, Missed: n.missed, Stale: n.stale, Resting: n.resting,
		})
	}
	t.last, t.meanwhile, t.suspects, t.restSuspects = now, nil, suspects, restSuspects
	return len(suspects)+len(restSuspects) > 0
}

// findMissed adds what is in the tables and not tracked, and tells which of what
// is tracked is in use.
func (t *tracker) findMissed(
	l *listing,
	now model.Time,
	of func(uint32) *tally,
	suspects map[uint64]bool,
	b *model.Builder,
) {
	changes := maxChanges
	for s := range l.sockets.inOrder() {
		of(s.netns).kernel++
		if h, ok := t.held.get(s.cookie); ok {
			t.correctOwner(s, &h, now, b)
			t.tellUse(s, &h, l, now, &changes, b)
			continue
		}
		if t.meanwhile[s.cookie] {
			continue
		}
		if !t.suspects[s.cookie] {
			suspects[s.cookie] = true
			continue
		}
		of(s.netns).missed++
		h := s.holding()
		h.how, h.since = model.HowAudit, now
		t.hold(s.cookie, h)
		t.emitAcquire(s.cookie, h, now, -1, nil, b)
	}
}

// correctOwner hands a port over to a process that has it open, or to the kernel
// that keeps it, when its creator has ended, and names the owner of one that had
// none. The owner of an accepted connection was only supposed.
func (t *tracker) correctOwner(s *openSocket, h *holding, now model.Time, b *model.Builder) {
	if s.pid < 0 || s.heldBy(h.pid) || h.pid == 0 {
		return
	}
	if h.how != model.HowAccept && h.pid > 0 && !ended(h.pid) {
		return // its creator lives, and may have passed it on
	}
	h.pid, h.comm = s.pid, s.comm
	t.hold(s.cookie, h)
	t.emitActive(s.cookie, h, now, b)
}

// findStale releases what is tracked and no longer in the tables. Namespaces
// whose tables could not be read completely are left out; sockets of one that
// has vanished went with it.
func (t *tracker) findStale(
	l *listing,
	now model.Time,
	of func(uint32) *tally,
	complete map[uint32]bool,
	suspects map[uint64]bool,
	b *model.Builder,
) {
	var stale []uint64
	for cookie, h := range t.held.all() {
		of(h.netns).tracked++
		if l.sockets.hasPort(cookie) || h.since > l.begin {
			continue
		}
		if whole, listed := complete[h.netns]; listed && !whole || l.filesErr != nil || l.diagErr != nil {
			continue
		}
		if !t.suspects[cookie] {
			suspects[cookie] = true
			continue
		}
		of(h.netns).stale++
		stale = append(stale, cookie)
	}
	slices.Sort(stale)
	for _, cookie := range stale {
		h, _ := t.held.get(cookie)
		t.release(cookie, &h, now, model.HowAudit, b)
		t.forget(cookie)
	}
}

// compareRests corrects the ends of rests, and finds those that were missed or
// have ended early.
func (t *tracker) compareRests(
	l *listing,
	now model.Time,
	of func(uint32) *tally,
	complete map[uint32]bool,
	suspects map[tuple]bool,
	b *model.Builder,
) {
	listed := make(map[tuple]bool, len(l.resting))
	for _, w := range l.resting {
		of(w.netns).resting++
		listed[w.tuple] = true
		until := l.end.Add(w.left)
		r := t.rests.known[w.tuple]
		switch {
		case r != nil:
			t.rests.prolong(r, until)
		case until <= now || t.rests.len() >= maxResting:
		case !t.restSuspects[w.tuple]:
			suspects[w.tuple] = true
		default:
			h := &holding{
				local: w.local, remote: w.remote, netns: w.netns, localPort: w.localPort, remotePort: w.remotePort,
				protocol: model.ProtocolTCP, pid: -1,
			}
			t.rest(w.cookie, h, now, until.Sub(now), b)
		}
	}
	var ended []*resting
	for key, r := range t.rests.known {
		if listed[key] || r.since > l.begin || !complete[key.netns] {
			continue
		}
		if t.restSuspects[key] {
			ended = append(ended, r)
		} else {
			suspects[key] = true
		}
	}
	slices.SortFunc(ended, func(a, b *resting) int { return cmp.Compare(a.cookie, b.cookie) })
	for _, r := range ended {
		t.endRest(r.tuple, now, b)
	}
}
