package port

import (
	"iter"
	"net/netip"

	"lostbeat/model"
)

// holdings are the ports that are held, by socket cookie. There may be tens of
// thousands: so an entry is 64 bytes without pointers, in chunks that need no
// copy to grow, and addresses and names are kept once.
type holdings struct {
	chunks []*[chunkHoldings]heldPort
	n      int
	// index finds entries by cookie: linear probing, numbers plus one, 0 for
	// none. Its length is a power of two, of which at most 3/4 is used.
	index []uint32
	addrs counted[[16]byte]
	comms counted[string]
}

// chunkHoldings is the number of entries in a chunk of 32 KiB.
const chunkHoldings = 512

// heldPort is a holding; addresses and names are ids.
type heldPort struct {
	cookie                 uint64
	since, used, idleSince model.Time
	local, remote, comm    uint32
	pid                    int32
	netns                  uint32
	localPort, remotePort  uint16
	flags                  model.Flags
	protocol               model.Protocol
	how                    model.How
	activity               model.Activity
	announced              bool
}

func (t *holdings) at(i int) *heldPort { return &t.chunks[i/chunkHoldings][i%chunkHoldings] }

// get returns a copy of the holding of a socket; ok is false when it holds
// nothing that is known. put takes changes back.
func (t *holdings) get(cookie uint64) (h holding, ok bool) {
	if t.n == 0 {
		return holding{}, false
	}
	i := t.index[t.slot(cookie)]
	if i == 0 {
		return holding{}, false
	}
	return t.holding(t.at(int(i) - 1)), true
}

func (t *holdings) holding(e *heldPort) holding {
	return holding{
		local: t.addrs.of(e.local), remote: t.addrs.of(e.remote), since: e.since, used: e.used, idleSince: e.idleSince,
		comm: t.comms.of(e.comm), pid: e.pid, netns: e.netns, localPort: e.localPort, remotePort: e.remotePort,
		flags: e.flags, protocol: e.protocol, how: e.how, activity: e.activity, announced: e.announced,
	}
}

// put makes h the holding of a socket.
func (t *holdings) put(cookie uint64, h *holding) {
	if 4*(t.n+1) > 3*len(t.index) {
		t.grow()
	}
	slot := t.slot(cookie)
	var e *heldPort
	if i := t.index[slot]; i != 0 {
		e = t.at(int(i) - 1)
	} else {
		if t.n == len(t.chunks)*chunkHoldings {
			t.chunks = append(t.chunks, new([chunkHoldings]heldPort))
		}
		t.n++
		t.index[slot] = uint32(t.n)
		e = t.at(t.n - 1)
		*e = heldPort{}
	}
	old := *e
	*e = heldPort{
		cookie: cookie, since: h.since, used: h.used, idleSince: h.idleSince,
		local: t.addrs.use(h.local), remote: t.addrs.use(h.remote), comm: t.comms.use(h.comm),
		pid: h.pid, netns: h.netns, localPort: h.localPort, remotePort: h.remotePort,
		flags: h.flags, protocol: h.protocol, how: h.how, activity: h.activity, announced: h.announced,
	}
	t.release(&old)
}

// owners returns who holds those ports of a namespace that are wanted, without
// the connections that share them.
func (t *holdings) owners(netns uint32, wanted map[servedPort]bool) map[portOwnerKey]portOwner {
	found := make(map[portOwnerKey]portOwner, len(wanted))
	for i := range t.n {
		e := t.at(i)
		if e.netns != netns || e.remotePort != 0 || !wanted[servedPort{e.protocol, e.localPort}] {
			continue
		}
		local := t.addrs.of(e.local)
		v6 := !netip.AddrFrom16(local).Is4In6()
		found[portOwnerKey{servedPort{e.protocol, e.localPort}, v6}] = portOwner{e.pid, t.comms.of(e.comm)}
	}
	return found
}

// portOwnerKey is a port of the sockets of one address family: of the same number
// there may be two, of two processes.
type portOwnerKey struct {
	servedPort
	v6 bool
}

// portOwner is a process, or the kernel with PID 0.
type portOwner struct {
	pid  int32
	comm string
}

// release counts one use less of what e refers to.
func (t *holdings) release(e *heldPort) {
	t.addrs.drop(e.local)
	t.addrs.drop(e.remote)
	t.comms.drop(e.comm)
}

// remove forgets the holding of a socket; the last entry takes its place.
func (t *holdings) remove(cookie uint64) {
	if t.n == 0 {
		return
	}
	slot := t.slot(cookie)
	i := int(t.index[slot]) - 1
	if i < 0 {
		return
	}
	t.vacate(slot)
	t.release(t.at(i))
	last := t.n - 1
	if i != last {
		t.index[t.slot(t.at(last).cookie)] = uint32(i) + 1
		*t.at(i) = *t.at(last)
	}
	t.n--
	if spare := len(t.chunks) - 1; t.n+chunkHoldings <= spare*chunkHoldings { // keep one that is empty
		t.chunks[spare] = nil
		t.chunks = t.chunks[:spare]
	}
}

// all yields copies of the holdings, each valid until the next. None must be
// removed or put meanwhile.
func (t *holdings) all() iter.Seq2[uint64, *holding] {
	return func(yield func(uint64, *holding) bool) {
		var h holding
		for i := range t.n {
			e := t.at(i)
			if h = t.holding(e); !yield(e.cookie, &h) {
				return
			}
		}
	}
}

// slot returns the place in the index of a cookie, or where it would be.
func (t *holdings) slot(cookie uint64) int {
	mask := len(t.index) - 1
	slot := cookieHome(cookie, mask)
	for t.index[slot] != 0 && t.at(int(t.index[slot])-1).cookie != cookie {
		slot = (slot + 1) & mask
	}
	return slot
}

// vacate empties a place of the index and moves up what was pushed behind it.
func (t *holdings) vacate(slot int) {
	mask := len(t.index) - 1
	for next := (slot + 1) & mask; t.index[next] != 0; next = (next + 1) & mask {
		home := cookieHome(t.at(int(t.index[next])-1).cookie, mask)
		if (next-home)&mask >= (next-slot)&mask {
			t.index[slot], slot = t.index[next], next
		}
	}
	t.index[slot] = 0
}

// grow doubles the index.
func (t *holdings) grow() {
	t.index = make([]uint32, max(64, 2*len(t.index)))
	for i := range t.n {
		t.index[t.slot(t.at(i).cookie)] = uint32(i) + 1
	}
}

// cookieHome is where the search for a cookie begins in an index of mask+1
// places. Cookies are numbers that the kernel gives out one after the other;
// those of one processor have low bits in common.
func cookieHome(cookie uint64, mask int) int { return int(cookie*0x9e3779b97f4a7c15>>32) & mask }

// counted gives values numbers for as long as they are used. Number 0 is the
// zero value, which is not counted.
type counted[T comparable] struct {
	ids  map[T]uint32
	list []countedValue[T]
	free []uint32
}

type countedValue[T comparable] struct {
	value T
	uses  uint32
}

func (c *counted[T]) of(id uint32) (v T) {
	if id != 0 {
		v = c.list[id].value
	}
	return v
}

// use counts one more use of v and returns its number.
func (c *counted[T]) use(v T) uint32 {
	var zero T
	if v == zero {
		return 0
	}
	id, ok := c.ids[v]
	if !ok {
		if c.ids == nil {
			c.ids, c.list = make(map[T]uint32), make([]countedValue[T], 1)
		}
		if n := len(c.free); n > 0 {
			id, c.free = c.free[n-1], c.free[:n-1]
		} else {
			id, c.list = uint32(len(c.list)), append(c.list, countedValue[T]{})
		}
		c.ids[v] = id
		c.list[id].value = v
	}
	c.list[id].uses++
	return id
}

// drop counts one use less.
func (c *counted[T]) drop(id uint32) {
	if id == 0 {
		return
	}
	u := &c.list[id]
	if u.uses--; u.uses == 0 {
		delete(c.ids, u.value)
		*u = countedValue[T]{}
		c.free = append(c.free, id)
	}
}
