package port

import (
	"cmp"
	"iter"
	"slices"

	"lostbeat/model"
)

// socketTable are the sockets of a listing, by cookie. It is made anew for each
// audit, of tens of thousands of sockets on some hosts: so a socket takes 48
// bytes without pointers, in chunks that need no copy to grow.
type socketTable struct {
	chunks []*[chunkSockets]listedSocket
	n      int
	// index finds sockets by cookie: linear probing, numbers plus one, 0 for
	// none. Its length is a power of two, of which at most 3/4 is used.
	index []uint32
	addrs distinct[[16]byte]
	comms distinct[string]
	// sharers are the further processes of sockets that several have open.
	sharers map[uint64][]int32
}

// chunkSockets is the number of sockets in a chunk.
const chunkSockets = 512

// listedSocket is an openSocket; addresses and names are ids.
type listedSocket struct {
	cookie              uint64
	local, remote, comm uint32
	netns               uint32
	now, used           uint32
	pid                 int32
	localPort           uint16
	remotePort          uint16
	protocol            model.Protocol
	state, flags        uint8
}

// distinct gives values numbers.
type distinct[T comparable] struct {
	ids    map[T]uint32
	values []T
}

func (d *distinct[T]) id(v T) uint32 {
	id, ok := d.ids[v]
	if !ok {
		if d.ids == nil {
			d.ids = make(map[T]uint32)
		}
		id = uint32(len(d.values))
		d.ids[v] = id
		d.values = append(d.values, v)
	}
	return id
}

func (t *socketTable) at(i int) *listedSocket { return &t.chunks[i/chunkSockets][i%chunkSockets] }

// find returns the socket with the given cookie, nil when it is not listed.
func (t *socketTable) find(cookie uint64) *listedSocket {
	if t.n > 0 {
		if i := t.index[t.slot(cookie)]; i != 0 {
			return t.at(int(i) - 1)
		}
	}
	return nil
}

// slot returns the place in the index of a cookie, or where it would be.
func (t *socketTable) slot(cookie uint64) int {
	mask := len(t.index) - 1
	slot := cookieHome(cookie, mask)
	for t.index[slot] != 0 && t.at(int(t.index[slot])-1).cookie != cookie {
		slot = (slot + 1) & mask
	}
	return slot
}

// has says whether a socket is listed, hasPort whether it has a port too.
func (t *socketTable) has(cookie uint64) bool { return t.find(cookie) != nil }

func (t *socketTable) hasPort(cookie uint64) bool {
	s := t.find(cookie)
	return s != nil && s.localPort != 0
}

// share notes that a process has a socket open too; it returns whether the
// socket is listed.
func (t *socketTable) share(cookie uint64, pid int32) bool {
	s := t.find(cookie)
	if s == nil {
		return false
	}
	if sharers := t.sharers[cookie]; s.pid != pid && !slices.Contains(sharers, pid) && len(sharers) < maxSharers {
		if t.sharers == nil {
			t.sharers = make(map[uint64][]int32)
		}
		t.sharers[cookie] = append(sharers, pid)
	}
	return true
}

// add adds a socket that is not listed.
func (t *socketTable) add(s *openSocket) {
	if t.n == len(t.chunks)*chunkSockets {
		t.chunks = append(t.chunks, new([chunkSockets]listedSocket))
	}
	t.n++
	*t.at(t.n - 1) = listedSocket{
		cookie: s.cookie, local: t.addrs.id(s.local), remote: t.addrs.id(s.remote), comm: t.comms.id(s.comm),
		netns: s.netns, now: s.now, used: s.used,
		pid: s.pid, localPort: s.localPort, remotePort: s.remotePort, protocol: s.protocol, state: s.state, flags: s.flags,
	}
	if 4*t.n > 3*len(t.index) {
		t.index = make([]uint32, max(64, 2*len(t.index)))
		for i := range t.n - 1 {
			t.index[t.slot(t.at(i).cookie)] = uint32(i) + 1
		}
	}
	t.index[t.slot(s.cookie)] = uint32(t.n)
	if len(s.sharers) > 0 {
		if t.sharers == nil {
			t.sharers = make(map[uint64][]int32)
		}
		t.sharers[s.cookie] = s.sharers
	}
}

// inOrder yields the sockets that have a port, by cookie. A socket is valid
// until the next is asked for.
func (t *socketTable) inOrder() iter.Seq[*openSocket] {
	return func(yield func(*openSocket) bool) {
		order := make([]uint32, 0, t.n)
		for i := range t.n {
			if t.at(i).localPort != 0 {
				order = append(order, uint32(i))
			}
		}
		slices.SortFunc(order, func(a, b uint32) int { return cmp.Compare(t.at(int(a)).cookie, t.at(int(b)).cookie) })
		var open openSocket
		for _, i := range order {
			s := t.at(int(i))
			open = openSocket{
				cookie: s.cookie, local: t.addrs.values[s.local], remote: t.addrs.values[s.remote], comm: t.comms.values[s.comm],
				netns: s.netns, now: s.now, used: s.used,
				pid: s.pid, localPort: s.localPort, remotePort: s.remotePort,
				protocol: s.protocol, state: s.state, flags: s.flags, sharers: t.sharers[s.cookie],
			}
			if !yield(&open) {
				return
			}
		}
	}
}
