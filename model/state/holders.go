package state

import (
	"cmp"
	"slices"

	"lostbeat/model"
)

// Holder is what one process holds, in sockets that take a port of their own.
type Holder struct {
	// PID is the process, 0 for the kernel, -1 where it is not known.
	PID int32
	// Process is the name that its ports carry, empty unknown.
	Process string
	// Held is the number of ports that it holds, Resting of those that it closed and that rest.
	Held, Resting int
	// Watched is the number of ports held of which it is known whether they are
	// used; Idle of them are not.
	Watched, Idle int
	// Oldest is since when it has held its oldest port; 0 when it holds none.
	Oldest model.Time
}

// holderIndex finds the ports of a process, oldest first. It is kept only for
// states that are asked for it: see Ports.IndexHolders.
type holderIndex struct {
	byPID map[int32]uint32
	list  []holder
	// links chain the entries of a holder, in chunks like the entries themselves.
	links []*[chunkEntries]link
	// changes counts what changed any holder.
	changes uint64
	sorting []uint32 // kept for its memory
}

type holder struct {
	pid           int32
	watched, idle int32
	held, resting chain
}

// chain is a list of entries by Port.Since, unless unsorted says otherwise.
// Entries are numbered from 1, 0 being none.
type chain struct {
	first, last uint32
	n           int32
	unsorted    bool
}

type link struct{ prev, next uint32 }

// IndexHolders keeps account of who holds the ports from now on, at 8 bytes to a
// port: for TopHolders and OfProcess.
func (t *Ports) IndexHolders() {
	if t.holders != nil {
		return
	}
	t.holders = &holderIndex{byPID: make(map[int32]uint32)}
	for i := range t.n {
		t.holders.add(t, i)
	}
}

// HolderChanges grows with every change of what TopHolders may return.
func (t *Ports) HolderChanges() uint64 {
	if t.holders == nil {
		return 0
	}
	return t.holders.changes
}

// TopHolders returns the limit processes that hold most ports, those that rest
// included; of equal ones those with the lowest PIDs. It goes through the
// processes, never through their ports. IndexHolders must have been called.
func (t *Ports) TopHolders(limit int) []Holder {
	x := t.holders
	if x == nil || limit <= 0 {
		return nil
	}
	rank := func(a, b uint32) int {
		p, q := &x.list[a], &x.list[b]
		return cmp.Or(cmp.Compare(q.held.n+q.resting.n, p.held.n+p.resting.n), cmp.Compare(p.pid, q.pid))
	}
	top := make([]uint32, 0, min(limit, len(x.list)))
	for i := range x.list {
		n := uint32(i)
		if len(top) == limit {
			if rank(n, top[limit-1]) > 0 {
				continue
			}
			top = top[:limit-1]
		}
		at, _ := slices.BinarySearchFunc(top, n, rank)
		top = slices.Insert(top, at, n)
	}
	out := make([]Holder, len(top))
	for i, n := range top {
		h := &x.list[n]
		x.sort(t, &h.held)
		out[i] = Holder{
			PID:     h.pid,
			Process: x.name(t, h),
			Held:    int(h.held.n),
			Resting: int(h.resting.n),
			Watched: int(h.watched),
			Idle:    int(h.idle),
		}
		if h.held.first != 0 {
			out[i].Oldest = t.at(int(h.held.first) - 1).since
		}
	}
	return out
}

// OfProcess returns the ports of a process, the oldest first, at most limit of
// them, and how many there are; accepted connections, which take no port of
// their own, are left out. IndexHolders must have been called.
func (t *Ports) OfProcess(pid int32, limit int) (ports []Port, total int) {
	x := t.holders
	if x == nil {
		return nil, 0
	}
	n, ok := x.byPID[pid]
	if !ok {
		return nil, 0
	}
	h := &x.list[n]
	x.sort(t, &h.held)
	x.sort(t, &h.resting)
	total = int(h.held.n + h.resting.n)
	held, resting := h.held.first, h.resting.first
	for len(ports) < min(limit, total) {
		from := &held
		if held == 0 || (resting != 0 && t.at(int(resting)-1).since < t.at(int(held)-1).since) {
			from = &resting
		}
		var p Port
		t.port(int(*from)-1, &p)
		ports = append(ports, p)
		*from = x.at(*from).next
	}
	slices.SortFunc(ports, func(a, b Port) int {
		return cmp.Or(
			cmp.Compare(a.Since, b.Since),
			cmp.Compare(a.Protocol, b.Protocol),
			cmp.Compare(a.LocalPort, b.LocalPort),
			cmp.Compare(a.Cookie, b.Cookie),
		)
	})
	return ports, total
}

// at returns the link of the entry with number n, counted from 1.
func (x *holderIndex) at(n uint32) *link {
	return &x.links[(n-1)/chunkEntries][(n-1)%chunkEntries]
}

// name returns the name of a holder: that of its oldest port that has one, of a
// few that are looked at.
func (x *holderIndex) name(t *Ports, h *holder) string {
	const most = 8
	for _, c := range []*chain{&h.held, &h.resting} {
		n := c.first
		for range most {
			if n == 0 {
				break
			}
			if name := t.texts.of(t.at(int(n) - 1).process).value; name != "" {
				return name
			}
			n = x.at(n).next
		}
	}
	return ""
}

// of returns the chain of e, nil for what takes no port of its own.
func (x *holderIndex) of(e *entry) (*holder, *chain) {
	if e.how == model.HowAccept {
		return nil, nil
	}
	h := &x.list[x.byPID[e.pid]]
	if e.resting {
		return h, &h.resting
	}
	return h, &h.held
}

// add takes up entry i, which has just been put.
func (x *holderIndex) add(t *Ports, i int) {
	if i/chunkEntries >= len(x.links) {
		x.links = append(x.links, new([chunkEntries]link))
	}
	e := t.at(i)
	if e.how == model.HowAccept {
		return
	}
	if _, ok := x.byPID[e.pid]; !ok {
		x.byPID[e.pid] = uint32(len(x.list))
		x.list = append(x.list, holder{pid: e.pid})
	}
	h, c := x.of(e)
	x.changes++
	x.count(h, e, 1)
	x.insert(t, c, uint32(i)+1)
}

// count adds n to how many ports of h are watched and idle, of which e is one.
func (x *holderIndex) count(h *holder, e *entry, n int32) {
	if e.resting || e.activity == model.ActivityUnknown {
		return
	}
	h.watched += n
	if e.activity.Idle() {
		h.idle += n
	}
}

// insert puts an entry into c by its age: at the end as a rule, for ports are
// taken one after the other.
func (x *holderIndex) insert(t *Ports, c *chain, n uint32) {
	const most = 32
	since, after := t.at(int(n)-1).since, c.last
	for range most {
		if after == 0 || t.at(int(after)-1).since <= since {
			break
		}
		after = x.at(after).prev
	}
	if after != 0 && t.at(int(after)-1).since > since {
		after, c.unsorted = c.last, true // sorted when somebody asks
	}
	l := x.at(n)
	l.prev, l.next = after, c.first
	if after != 0 {
		l.next = x.at(after).next
		x.at(after).next = n
	} else {
		c.first = n
	}
	if l.next != 0 {
		x.at(l.next).prev = n
	} else {
		c.last = n
	}
	c.n++
}

// drop takes out entry i, which is about to be removed.
func (x *holderIndex) drop(t *Ports, i int) {
	e := t.at(i)
	h, c := x.of(e)
	if c == nil {
		return
	}
	x.changes++
	x.count(h, e, -1)
	l := x.at(uint32(i) + 1)
	if l.prev != 0 {
		x.at(l.prev).next = l.next
	} else {
		c.first = l.next
	}
	if l.next != 0 {
		x.at(l.next).prev = l.prev
	} else {
		c.last = l.prev
	}
	c.n--
	if h.held.n+h.resting.n == 0 { // the last holder takes its place
		at, last := x.byPID[e.pid], len(x.list)-1
		x.list[at] = x.list[last]
		x.byPID[x.list[at].pid] = at
		x.list = x.list[:last]
		delete(x.byPID, e.pid)
	}
}

// move says that entry from now has the place of entry to; the entry's own data
// are at from still.
func (x *holderIndex) move(t *Ports, from, to int) {
	_, c := x.of(t.at(from))
	if c == nil {
		return
	}
	n := uint32(to) + 1
	l := x.at(n)
	*l = *x.at(uint32(from) + 1)
	if l.prev != 0 {
		x.at(l.prev).next = n
	} else {
		c.first = n
	}
	if l.next != 0 {
		x.at(l.next).prev = n
	} else {
		c.last = n
	}
}

// shrink gives back the links of chunks that are gone.
func (x *holderIndex) shrink(chunks int) {
	if len(x.links) > chunks {
		clear(x.links[chunks:])
		x.links = x.links[:chunks]
	}
}

// sort puts the entries of c in the order of their age.
func (x *holderIndex) sort(t *Ports, c *chain) {
	if !c.unsorted {
		return
	}
	order := x.sorting[:0]
	for n := c.first; n != 0; n = x.at(n).next {
		order = append(order, n)
	}
	slices.SortStableFunc(order, func(a, b uint32) int {
		return cmp.Compare(t.at(int(a)-1).since, t.at(int(b)-1).since)
	})
	for i, n := range order {
		l := x.at(n)
		l.prev, l.next = 0, 0
		if i > 0 {
			l.prev = order[i-1]
		}
		if i < len(order)-1 {
			l.next = order[i+1]
		}
	}
	c.first, c.last, c.unsorted = order[0], order[len(order)-1], false
	x.sorting = nil
	if len(order) <= chunkEntries {
		x.sorting = order
	}
}
