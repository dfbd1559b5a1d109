package drop

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"lostbeat/ebpf"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

const (
	// socketTTL is how long a socket is followed after it has dropped or was
	// more than half full.
	socketTTL = 30 * time.Second
	// queueCost and urgentCost say how rarely the open files are walked: each
	// walk is followed by a pause of so many times its length, a shorter one
	// when the process of a socket that drops is not known yet. On most hosts
	// that still allows a walk each second.
	queueCost  = 100
	urgentCost = 20
)

// socket is a socket that dropped or was more than half full.
type socket struct {
	bpfDropSocket
	known   bool       // whether the embedded description is filled in
	seen    model.Time // when it last dropped or was more than half full
	read    bool       // whether its queue was read in this interval
	shared  bool       // whether the last walk found it in several processes, none of them its reader
	dropped uint64     // packets lost at its queue in this interval
	// fresh says that the times of the last read are of this interval, read that
	// its queue is as well.
	fresh bool
	// elsewhere says that its packets were lost at another place in this interval.
	elsewhere bool
}

// sockets follows the sockets that drop and the queues that fill.
type sockets struct {
	env    *ebpf.Env
	table  *cebpf.Map
	memory *cebpf.Map // the BPF object's variables
	// queues walks all open sockets, nil where the kernel has no such iterator.
	queues *link.Iter
	// walked and took are when the last walk began and how long it took.
	walked time.Time
	took   time.Duration
	// seesReads says that last_read_ns is kept.
	seesReads bool
	tracking  bool
	byCookie  map[uint64]*socket
}

func (s *sockets) init(env *ebpf.Env, loader *ebpf.Loader) {
	s.env = env
	s.table = loader.Map(bpfMapDropSockets)
	s.memory = loader.Map(".bss")
	s.byCookie = make(map[uint64]*socket)
}

// dropped notes what a socket has lost.
func (s *sockets) dropped(d *delta, now model.Time) {
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
	if d.place == model.PlaceSocket {
		sock.dropped += d.packets
	} else {
		sock.elsewhere = true
	}
}

// owner returns the process that holds a socket, 0 when unknown.
func (s *sockets) owner(cookie uint64) int32 {
	if sock := s.byCookie[cookie]; sock != nil {
		return int32(sock.Tgid)
	}
	return 0
}

// read walks the open sockets when it is time to: their queues, and who holds
// them.
func (s *sockets) read(now model.Time) error {
	pause := s.took * queueCost
	for _, sock := range s.byCookie {
		if (sock.dropped > 0 || sock.elsewhere) && sock.Tgid == 0 {
			pause = s.took * urgentCost
			break
		}
	}
	if s.queues == nil || time.Since(s.walked) < pause {
		return nil
	}
	s.walked = time.Now()
	queues, err := ebpf.ReadIter[bpfDropSocket](s.queues)
	s.took = time.Since(s.walked)
	for _, q := range queues {
		s.queue(q, now)
	}
	if err != nil {
		return fmt.Errorf("read the socket queues: %w", err)
	}
	return nil
}

func (s *sockets) queue(q bpfDropSocket, now model.Time) {
	sock := s.byCookie[q.Cookie]
	if sock == nil {
		sock = new(socket)
		s.byCookie[q.Cookie] = sock
	}
	if sock.read {
		// Held by more than one process: the one that reads it, otherwise the first.
		sock.shared = sock.shared || q.Tgid != sock.Tgid
		if q.Tgid == q.ReaderTgid {
			sock.Tgid = q.Tgid
		}
		sock.shared = sock.shared && sock.Tgid != sock.ReaderTgid
		return
	}
	sock.bpfDropSocket, sock.known, sock.read, sock.shared = q, true, true, false
	if halfFull(&q) {
		sock.seen = now
	}
}

func halfFull(q *bpfDropSocket) bool { return q.QueuedBytes > q.LimitBytes/2 }

// refresh reads anew when the program last read a socket that the last walk is
// too old for: that is in the table of the sockets that are followed.
func (s *sockets) refresh(cookie uint64, sock *socket) {
	var now bpfDropSocket
	if s.table.Lookup(cookie, &now) == nil {
		sock.LastReadNs, sock.SinceNs, sock.fresh = now.LastReadNs, now.SinceNs, true
		sock.Reader, sock.ReaderTgid = now.Reader, now.ReaderTgid
		if sock.Tgid == 0 {
			sock.Tgid = now.ReaderTgid
		}
	}
}

// emit writes the queues of the sockets that dropped or are more than half full.
func (s *sockets) emit(now model.Time, interval time.Duration, b *model.Builder) {
	for _, cookie := range slices.Sorted(maps.Keys(s.byCookie)) {
		sock := s.byCookie[cookie]
		if sock.known && (sock.dropped > 0 || sock.read && halfFull(&sock.bpfDropSocket)) {
			if sock.fresh = sock.read; !sock.read {
				s.refresh(cookie, sock)
			}
			v := model.SocketQueue{
				Time:       now,
				Dur:        interval,
				PID:        -1,
				TID:        -1,
				NetnsInode: sock.Netns,
				Cookie:     cookie,
				Protocol:   model.Protocol(sock.Protocol),
				LocalPort:  sock.LocalPort,
				QueuedBytes: uint64(
					sock.QueuedBytes,
				),
				LimitBytes: uint64(sock.LimitBytes),
				Dropped:    sock.dropped,
				Idle:       s.idle(sock, now),
				LocalAddr:  ebpf.Addr(sock.Addr, sock.Family).String(),
			}
			if !sock.read {
				v.Flags |= model.FlagSecondary // the queue as it was at an earlier reading
			}
			if pid := int32(sock.Tgid); pid > 0 {
				v.PID, v.Process = pid, s.env.Process(pid)
				switch {
				case sock.ReaderTgid == sock.Tgid:
					v.TID = int32(sock.Reader)
				case sock.shared:
					v.Flags |= model.FlagShared
				}
			}
			b.AddSocketQueue(v)
		}
		sock.dropped, sock.elsewhere, sock.read = 0, false, false
	}
}

// idle returns how long the program has not read: since its last read or, where
// none was seen, since the socket is followed. 0 is unknown.
func (s *sockets) idle(sock *socket, now model.Time) time.Duration {
	if !s.seesReads || !sock.fresh {
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
	if err := s.memory.Update(uint32(0), uint32(0), cebpf.UpdateAny); err != nil {
		return fmt.Errorf("stop following reads: %w", err)
	}
	return nil
}
