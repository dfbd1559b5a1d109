package drop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"lostbeat/ebpf"
	"lostbeat/internal/netns"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

const (
	// socketTTL is how long a socket is followed after it has dropped or was
	// more than half full.
	socketTTL = 30 * time.Second
	// ownerTTL is how long the process of a socket is believed: a descriptor
	// can be passed on.
	ownerTTL = 10 * time.Second
	// maxNamespaces bounds the namespaces whose queues are read.
	maxNamespaces = 256
	// costRatio is the share of the time that reading the kernel's tables may
	// take: each reading is followed by a pause of 100 times its length.
	costRatio = 100
)

// iterator is a BPF iterator that is read at most so often that it costs a
// hundredth of a CPU.
type iterator struct {
	iter *link.Iter
	next time.Time
}

func (it *iterator) due() bool { return it.iter != nil && !time.Now().Before(it.next) }

func (it *iterator) took(began time.Time) { it.next = began.Add(time.Since(began) * costRatio) }

// output runs the iterator and returns what it wrote.
func (it *iterator) output() ([]byte, error) {
	r, err := it.iter.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// socket is a socket that dropped or was more than half full.
type socket struct {
	bpfDropSocket
	known   bool       // whether the embedded description is filled in
	seen    model.Time // when it last dropped or was more than half full
	read    bool       // whether its queue was read in this interval
	dropped uint64     // packets in this interval
	owner   int32      // process, 0 unknown
	ownerAt model.Time // when the owner was looked up, 0 never
}

// sockets follows the sockets that drop and the queues that fill.
type sockets struct {
	env              *ebpf.Env
	table, wanted    *cebpf.Map
	variables        *cebpf.Map
	udp, tcp, owners iterator
	// seesReads says that last_read_ns is kept.
	seesReads  bool
	tracking   bool
	namespaces namespaces
	byCookie   map[uint64]*socket
}

func (s *sockets) init(env *ebpf.Env, loader *ebpf.Loader) {
	s.env = env
	s.table = loader.Map(bpfMapDropSockets)
	s.wanted = loader.Map(bpfMapDropWanted)
	s.variables = loader.Map(".bss")
	s.byCookie = make(map[uint64]*socket)
}

// dropped notes what a socket has lost.
func (s *sockets) dropped(d *delta, now model.Time) {
	s.namespaces.need(d.key.Netns)
	if d.key.Cookie == 0 {
		return
	}
	sock := s.byCookie[d.key.Cookie]
	if sock == nil {
		sock = new(socket)
		s.byCookie[d.key.Cookie] = sock
	}
	if !sock.known && s.table.Lookup(d.key.Cookie, &sock.bpfDropSocket) == nil {
		sock.known = true
	}
	sock.seen = now
	sock.dropped += d.packets
}

// owner returns the process that holds a socket, 0 when unknown.
func (s *sockets) owner(cookie uint64) int32 {
	if sock := s.byCookie[cookie]; sock != nil {
		return sock.owner
	}
	return 0
}

// read reads the queues and finds the owners.
func (s *sockets) read(now model.Time) error {
	err := s.namespaces.refresh()
	for _, it := range []*iterator{&s.udp, &s.tcp} {
		if !it.due() {
			continue
		}
		began := time.Now()
		for _, ns := range s.namespaces.list {
			var raw []byte
			e := ns.Do(func() (e error) { raw, e = it.output(); return e })
			if e != nil && !errors.Is(e, netns.ErrGone) {
				err = errors.Join(err, fmt.Errorf("read the socket queues: %w", e))
			}
			for _, q := range decodeQueues(raw) {
				s.queue(q, now)
			}
		}
		it.took(began)
	}
	return errors.Join(err, s.findOwners(now))
}

// decodeQueues reads what the queue iterators write: an array of struct
// drop_socket in the byte order of this machine.
func decodeQueues(raw []byte) []bpfDropSocket {
	const size = int(unsafe.Sizeof(bpfDropSocket{}))
	queues := make([]bpfDropSocket, 0, len(raw)/size)
	for ; len(raw) >= size; raw = raw[size:] {
		queues = append(queues, *(*bpfDropSocket)(unsafe.Pointer(&raw[0])))
	}
	return queues
}

func (s *sockets) queue(q bpfDropSocket, now model.Time) {
	sock := s.byCookie[q.Cookie]
	if sock == nil {
		sock = new(socket)
		s.byCookie[q.Cookie] = sock
	}
	sock.bpfDropSocket, sock.known, sock.read = q, true, true
	if halfFull(&q) {
		sock.seen = now
	}
}

func halfFull(q *bpfDropSocket) bool { return q.QueuedBytes > q.LimitBytes/2 }

// findOwners finds the processes of the sockets whose owner is not known or was
// looked up long ago: one walk over all open files for all of them.
func (s *sockets) findOwners(now model.Time) error {
	if !s.owners.due() {
		return nil
	}
	var wanted []*socket
	for _, sock := range s.byCookie {
		if sock.known && sock.Inode != 0 && sock.seen == now && (sock.ownerAt == 0 || now.Sub(sock.ownerAt) > ownerTTL) {
			wanted = append(wanted, sock)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	began := time.Now()
	defer s.owners.took(began)
	wanted = wanted[:min(len(wanted), int(s.wanted.MaxEntries()))]
	for _, sock := range wanted {
		if err := s.wanted.Update(sock.Inode, uint32(0), cebpf.UpdateAny); err != nil {
			return fmt.Errorf("ask for the owner of a socket: %w", err)
		}
	}
	_, err := s.owners.output()
	for _, sock := range wanted {
		var pid uint32
		if e := s.wanted.LookupAndDelete(sock.Inode, &pid); e != nil && !isMissingKey(e) {
			err = errors.Join(err, e)
		}
		sock.ownerAt, sock.owner = now, int32(pid)
	}
	if err != nil {
		return fmt.Errorf("find the owners of sockets: %w", err)
	}
	return nil
}

// emit writes the queues of the sockets that dropped or are more than half full.
func (s *sockets) emit(now model.Time, interval time.Duration, b *model.Builder) {
	for _, cookie := range slices.Sorted(maps.Keys(s.byCookie)) {
		sock := s.byCookie[cookie]
		if sock.known && (sock.dropped > 0 || sock.read && halfFull(&sock.bpfDropSocket)) {
			v := model.SocketQueue{Time: now, Dur: interval, PID: -1, TID: -1, Cookie: cookie, Protocol: model.Protocol(sock.Protocol), LocalPort: sock.LocalPort,
				QueuedBytes: sock.QueuedBytes, LimitBytes: sock.LimitBytes, Dropped: sock.dropped, Idle: s.idle(sock, now), LocalAddr: localAddr(&sock.bpfDropSocket)}
			if !sock.read {
				v.Flags |= model.FlagSecondary // the queue as it was at an earlier reading
			}
			if sock.owner > 0 {
				v.PID, v.Process = sock.owner, s.env.Process(sock.owner)
			}
			b.AddSocketQueue(v)
		}
		sock.dropped, sock.read = 0, false
	}
}

// idle returns how long the program has not read: since its last read or, where
// none was seen, since the socket is followed. 0 is unknown.
func (s *sockets) idle(sock *socket, now model.Time) time.Duration {
	if !s.seesReads || !sock.read {
		return 0
	}
	last := sock.LastReadNs
	if last == 0 {
		last = sock.SinceNs
	}
	return max(now.Sub(s.env.Clock.Time(last)), 0)
}

// forget stops following sockets that are well again, and the reads of all
// programs when none is followed.
func (s *sockets) forget(now model.Time) error {
	for cookie, sock := range s.byCookie {
		if now.Sub(sock.seen) > socketTTL {
			delete(s.byCookie, cookie)
			if err := s.table.Delete(cookie); err != nil && !isMissingKey(err) {
				return fmt.Errorf("forget a socket: %w", err)
			}
		}
	}
	if len(s.byCookie) > 0 {
		s.tracking = true
		return nil
	}
	if !s.tracking {
		return nil
	}
	s.tracking = false
	return s.stopTracking()
}

// stopTracking empties the table of whatever is left, and clears the switch
// that makes every read of every socket look into it.
func (s *sockets) stopTracking() error {
	var key uint64
	var value bpfDropSocket
	var left []uint64
	for entries := s.table.Iterate(); entries.Next(&key, &value); {
		left = append(left, key)
	}
	for _, key := range left {
		if err := s.table.Delete(key); err != nil && !isMissingKey(err) {
			return fmt.Errorf("forget a socket: %w", err)
		}
	}
	if err := s.variables.Update(uint32(0), uint32(0), cebpf.UpdateAny); err != nil {
		return fmt.Errorf("stop following reads: %w", err)
	}
	return nil
}

// localAddr formats the address of a socket.
func localAddr(q *bpfDropSocket) string {
	var raw [16]byte
	for i, word := range q.Addr {
		binary.NativeEndian.PutUint32(raw[4*i:], word)
	}
	if q.Family == unix.AF_INET6 {
		return netip.AddrFrom16(raw).String()
	}
	return netip.AddrFrom4([4]byte(raw[:4])).String()
}
