package state

import (
	"cmp"
	"hash/maphash"
	"iter"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
	"unique"

	"lostbeat/model"
)

// PortKey identifies a held port: the socket cookie where there is one, the
// addresses otherwise.
type PortKey struct {
	// Cookie is the socket's, 0 where it is not known.
	Cookie uint64
	// Place tells ports without a cookie apart; the zero Handle for all others.
	Place unique.Handle[Place]
	// Resting says that the port is closed and rests.
	Resting bool
}

// Place is where a port without a cookie stands.
type Place struct {
	Netns                 int64
	LocalAddr, RemoteAddr string
	LocalPort, RemotePort uint16
	Protocol              model.Protocol
}

// Key returns the key of a port; place matters only when cookie is 0.
func Key(cookie uint64, place Place, resting bool) PortKey {
	if cookie != 0 {
		return PortKey{Cookie: cookie, Resting: resting}
	}
	return PortKey{Place: unique.Make(place), Resting: resting}
}

// place returns the place of a port without a cookie, the zero Place of others.
func (k *PortKey) place() Place {
	if k.Place == (unique.Handle[Place]{}) {
		return Place{}
	}
	return k.Place.Value()
}

// Port is a port that a socket holds, or that rests after its close.
type Port struct {
	Cookie                uint64
	LocalAddr, RemoteAddr string
	Process               string
	Stack                 model.Stack
	Netns                 int64
	// Since is when it was taken as far as is known; for a resting port, when it came to rest.
	Since model.Time
	// RestUntil says until when a resting port rests, 0 unknown.
	RestUntil             model.Time
	PID, TID              int32
	LocalPort, RemotePort uint16
	Flags                 model.Flags
	Protocol              model.Protocol
	How                   model.How
	// Resting says that it is closed and cannot be used again yet.
	Resting bool
	// Activity says whether a held port is used, as far as that is known.
	Activity model.Activity
	// IdleAtLeast says that it has been idle for longer than since IdleSince.
	IdleAtLeast bool
	// IdleSince is when an idle port was last used; 0 for all others.
	IdleSince model.Time
	// Mark is what the state's owner has noted on it by Ports.Mark; 0 on a port
	// that an event has just put.
	Mark uint32
}

// Shared says that the socket takes no port of its own: an accepted connection.
func (p *Port) Shared() bool { return p.How == model.HowAccept }

// Age returns for how long the port has been held at time now, in nanoseconds; never negative.
func (p *Port) Age(now model.Time) int64 { return max(0, int64(now-p.Since)) }

// Idle returns for how long the port has not been used at time now: 0 for one in
// use; ok is false where that is not known.
func (p *Port) Idle(now model.Time) (idle time.Duration, ok bool) {
	if p.Activity.Idle() {
		idle = max(0, now.Sub(p.IdleSince))
	}
	return idle, p.Activity != model.ActivityUnknown
}

// Key returns the key under which the port stands in State.Ports.
func (p *Port) Key() PortKey {
	return Key(p.Cookie, p.place(), p.Resting)
}

func (p *Port) place() Place {
	return Place{p.Netns, p.LocalAddr, p.RemoteAddr, p.LocalPort, p.RemotePort, p.Protocol}
}

// Ports are the ports that are held or rest, one entry to a socket. There may
// be tens of thousands, and each reader of a stream folds its own: so an entry
// is 64 bytes without pointers, in chunks that need no copy to grow, and texts
// are kept once. The order of the entries depends on the events alone.
type Ports struct {
	chunks []*[chunkEntries]entry
	n      int
	// index finds entries by hash: linear probing, numbers of entries plus one,
	// 0 for none. Its length is a power of two, of which at most 3/4 is used.
	index []uint32
	seed  maphash.Seed
	// cookieSeed is for the hashes of cookies.
	cookieSeed [2]uint64
	texts      texts
	// stacks are the stacks of entries, by number; few have one.
	stacks     map[uint32]model.Stack
	stackBytes int
	// holders is nil unless IndexHolders was called.
	holders *holderIndex
}

// chunkEntries is the number of entries in a chunk of 32 KiB.
const chunkEntries = 512

// entry is a Port; texts are ids.
type entry struct {
	cookie uint64
	since  model.Time
	// until is Port.RestUntil of a resting port, Port.IdleSince of a held one.
	until                  model.Time
	pid, tid               int32
	local, remote, process uint32 // local tells the namespace too
	mark                   uint32
	localPort, remotePort  uint16
	flags                  model.Flags
	protocol               model.Protocol
	how                    model.How
	activity               model.Activity
	resting, idleAtLeast   bool
}

// identity is what tells entries apart: a PortKey with ids for texts.
type identity struct {
	cookie                uint64
	local, remote         uint32
	localPort, remotePort uint16
	protocol              model.Protocol
	resting               bool
}

func newPorts() Ports {
	return Ports{seed: maphash.MakeSeed(), cookieSeed: [2]uint64{rand.Uint64(), rand.Uint64()}}
}

// Len returns the number of ports.
func (t *Ports) Len() int { return t.n }

// Get returns the port with key k.
func (t *Ports) Get(k PortKey) (Port, bool) {
	i, ok := t.find(k)
	if !ok {
		return Port{}, false
	}
	var p Port
	t.port(i, &p)
	return p, true
}

// Mark notes a number on the port with key k, for the owner of the state.
func (t *Ports) Mark(k PortKey, mark uint32) {
	if i, ok := t.find(k); ok {
		t.at(i).mark = mark
	}
}

// use notes whether the held port with key k is used.
func (t *Ports) use(k PortKey, v model.PortActivity) {
	i, ok := t.find(k)
	if !ok {
		return
	}
	e := t.at(i)
	var h *holder
	if x := t.holders; x != nil {
		if h, _ = x.of(e); h != nil {
			x.changes++
			x.count(h, e, -1)
		}
	}
	if e.remotePort == 0 && v.RemotePort != 0 && e.cookie != 0 { // it was bound, and is connected now
		t.texts.drop(e.remote)
		e.remote, e.remotePort = t.texts.use(text{value: v.RemoteAddr}), v.RemotePort
	}
	e.activity, e.idleAtLeast, e.until = v.Activity, v.AtLeast, 0
	if v.Activity.Idle() {
		e.until = v.Time.Add(-v.Dur)
	}
	if h != nil {
		t.holders.count(h, e, 1)
	}
}

// All yields the ports in an order that depends on the events alone. The port
// is valid until the next is asked for; ports must not be added or removed
// meanwhile.
func (t *Ports) All() iter.Seq[*Port] {
	return func(yield func(*Port) bool) {
		var p Port
		for i := range t.n {
			t.port(i, &p)
			if !yield(&p) {
				return
			}
		}
	}
}

func (t *Ports) at(i int) *entry { return &t.chunks[i/chunkEntries][i%chunkEntries] }

// port fills p with entry i.
func (t *Ports) port(i int, p *Port) {
	e := t.at(i)
	local := t.texts.of(e.local)
	*p = Port{
		Cookie:     e.cookie,
		LocalAddr:  local.value,
		RemoteAddr: t.texts.of(e.remote).value,
		Process:    t.texts.of(e.process).value,
		Netns:      local.netns,
		Since:      e.since, PID: e.pid, TID: e.tid, LocalPort: e.localPort, RemotePort: e.remotePort,
		Flags: e.flags, Protocol: e.protocol, How: e.how, Resting: e.resting, Mark: e.mark,
		Activity: e.activity, IdleAtLeast: e.idleAtLeast,
	}
	if e.resting {
		p.RestUntil = e.until
	} else {
		p.IdleSince = e.until
	}
	if len(t.stacks) > 0 {
		p.Stack = t.stacks[uint32(i)]
	}
}

func (e *entry) identity() identity {
	if e.cookie != 0 {
		return identity{cookie: e.cookie, resting: e.resting}
	}
	return identity{
		local:      e.local,
		remote:     e.remote,
		localPort:  e.localPort,
		remotePort: e.remotePort,
		protocol:   e.protocol,
		resting:    e.resting,
	}
}

// find returns the entry with key k.
func (t *Ports) find(k PortKey) (i int, ok bool) {
	id := identity{cookie: k.Cookie, resting: k.Resting}
	if k.Cookie == 0 {
		place := k.place()
		var knownLocal, knownRemote bool
		id.local, knownLocal = t.texts.find(text{place.Netns, place.LocalAddr})
		id.remote, knownRemote = t.texts.find(text{value: place.RemoteAddr})
		if !knownLocal || !knownRemote {
			return 0, false
		}
		id.localPort, id.remotePort, id.protocol = place.LocalPort, place.RemotePort, place.Protocol
	}
	if slot, ok := t.slot(id); ok {
		return int(t.index[slot]) - 1, true
	}
	return 0, false
}

// slot returns the place in the index of the entry that id identifies, or where
// it would be; the index must not be empty for the latter to make sense.
func (t *Ports) slot(id identity) (slot int, ok bool) {
	if len(t.index) == 0 {
		return 0, false
	}
	for slot = t.home(id); t.index[slot] != 0; slot = (slot + 1) & (len(t.index) - 1) {
		if t.at(int(t.index[slot])-1).identity() == id {
			return slot, true
		}
	}
	return slot, false
}

// slotOf returns the place in the index of entry i. It compares numbers, so that
// no other entry is read.
func (t *Ports) slotOf(i int) int {
	slot := t.home(t.at(i).identity())
	for t.index[slot] != uint32(i)+1 {
		slot = (slot + 1) & (len(t.index) - 1)
	}
	return slot
}

// home is where the search for id begins.
func (t *Ports) home(id identity) int {
	var hash uint64
	if id.cookie != 0 { // most of all ports: this takes a tenth of the general hash
		key := id.cookie ^ t.cookieSeed[0]
		if id.resting {
			key = ^key
		}
		high, low := bits.Mul64(key, t.cookieSeed[1]|1)
		hash = high ^ low
	} else {
		hash = maphash.Comparable(t.seed, id)
	}
	return int(hash & uint64(len(t.index)-1))
}

// put adds p, whose key is free.
func (t *Ports) put(p *Port) {
	if 4*(t.n+1) > 3*len(t.index) {
		t.grow()
	}
	i := t.n
	if i == len(t.chunks)*chunkEntries {
		t.chunks = append(t.chunks, new([chunkEntries]entry))
	}
	t.n++
	e := t.at(i)
	*e = entry{
		cookie: p.Cookie, since: p.Since, until: p.RestUntil, pid: p.PID, tid: p.TID,
		local: t.texts.use(
			text{p.Netns, p.LocalAddr},
		), remote: t.texts.use(text{value: p.RemoteAddr}), process: t.texts.use(text{value: p.Process}),
		localPort:  p.LocalPort,
		remotePort: p.RemotePort,
		flags:      p.Flags,
		protocol:   p.Protocol,
		how:        p.How,
		resting:    p.Resting,
	}
	if len(p.Stack) > 0 {
		if t.stacks == nil {
			t.stacks = make(map[uint32]model.Stack)
		}
		t.stacks[uint32(i)] = p.Stack
		t.stackBytes += stackBytes(p.Stack)
	}
	slot, _ := t.slot(e.identity())
	t.index[slot] = uint32(i) + 1
	if t.holders != nil {
		t.holders.add(t, i)
	}
}

// grow doubles the index.
func (t *Ports) grow() {
	t.index = make([]uint32, max(64, 2*len(t.index)))
	for i := range t.n {
		slot, _ := t.slot(t.at(i).identity())
		t.index[slot] = uint32(i) + 1
	}
}

// remove takes out entry i; the last entry takes its place.
func (t *Ports) remove(i int) {
	e, last := t.at(i), t.n-1
	if t.holders != nil {
		t.holders.drop(t, i)
	}
	t.vacate(t.slotOf(i))
	t.texts.drop(e.local)
	t.texts.drop(e.remote)
	t.texts.drop(e.process)
	t.stackBytes -= stackBytes(t.stacks[uint32(i)])
	delete(t.stacks, uint32(i))
	if i != last {
		t.index[t.slotOf(last)] = uint32(i) + 1
		if t.holders != nil {
			t.holders.move(t, last, i)
		}
		*e = *t.at(last)
		if s, ok := t.stacks[uint32(last)]; ok {
			t.stacks[uint32(i)] = s
			delete(t.stacks, uint32(last))
		}
	}
	t.n--
	if spare := len(t.chunks) - 1; t.n+chunkEntries <= spare*chunkEntries { // keep one that is empty
		t.chunks[spare] = nil
		t.chunks = t.chunks[:spare]
		if t.holders != nil {
			t.holders.shrink(spare)
		}
	}
}

// vacate empties a place of the index and moves up what was pushed behind it.
func (t *Ports) vacate(slot int) {
	mask := len(t.index) - 1
	for next := (slot + 1) & mask; t.index[next] != 0; next = (next + 1) & mask {
		home := t.home(t.at(int(t.index[next]) - 1).identity())
		if (next-home)&mask >= (next-slot)&mask {
			t.index[slot], slot = t.index[next], next
		}
	}
	t.index[slot] = 0
}

// sorted returns the numbers of the entries by their keys.
func (t *Ports) sorted() []uint32 {
	order := make([]uint32, t.n)
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int { return t.compare(t.at(int(a)), t.at(int(b))) })
	return order
}

func (t *Ports) compare(a, b *entry) int {
	resting := func(e *entry) int {
		if e.resting {
			return 1
		}
		return 0
	}
	if a.cookie != b.cookie || a.cookie != 0 {
		return cmp.Or(cmp.Compare(a.cookie, b.cookie), cmp.Compare(resting(a), resting(b)))
	}
	al, bl := t.texts.of(a.local), t.texts.of(b.local)
	return cmp.Or(
		cmp.Compare(al.netns, bl.netns),
		cmp.Compare(a.protocol, b.protocol),
		cmp.Compare(a.localPort, b.localPort),
		cmp.Compare(a.remotePort, b.remotePort),
		cmp.Compare(
			al.value,
			bl.value,
		),
		cmp.Compare(t.texts.of(a.remote).value, t.texts.of(b.remote).value),
		cmp.Compare(resting(a), resting(b)),
	)
}

// text is a text of an entry; a local address belongs to a namespace.
type text struct {
	netns int64
	value string
}

// texts gives texts numbers for as long as they are used. Number 0 is the zero
// text, which is not counted.
type texts struct {
	ids  map[text]uint32
	list []usedText
	free []uint32
	// bytes is what the texts take.
	bytes int
}

type usedText struct {
	text
	uses uint32
}

func (t *texts) of(id uint32) text {
	if id == 0 {
		return text{}
	}
	return t.list[id].text
}

func (t *texts) find(v text) (id uint32, ok bool) {
	if v == (text{}) {
		return 0, true
	}
	id, ok = t.ids[v]
	return id, ok
}

// use counts one more use of v and returns its number.
func (t *texts) use(v text) uint32 {
	id, ok := t.find(v)
	if !ok {
		v.value = strings.Clone(v.value) // it may be part of a whole batch's
		if t.ids == nil {
			t.ids, t.list = make(map[text]uint32), make([]usedText, 1)
		}
		if n := len(t.free); n > 0 {
			id, t.free = t.free[n-1], t.free[:n-1]
		} else {
			id, t.list = uint32(len(t.list)), append(t.list, usedText{})
		}
		t.ids[v], t.list[id] = id, usedText{text: v}
		t.bytes += portTextBytes + len(v.value)
	}
	if id != 0 {
		t.list[id].uses++
	}
	return id
}

// drop counts one use less.
func (t *texts) drop(id uint32) {
	if id == 0 {
		return
	}
	u := &t.list[id]
	if u.uses--; u.uses == 0 {
		delete(t.ids, u.text)
		t.bytes -= portTextBytes + len(u.value)
		*u = usedText{}
		t.free = append(t.free, id)
	}
}
