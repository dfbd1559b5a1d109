package port

import (
	"time"

	"lostbeat/ebpf"
	"lostbeat/model"

	"github.com/cilium/ebpf/link"
)

const (
	// watchedPorts is the number of UDP ports, held for watchedAge or longer by
	// one process, from which what they send and receive is watched.
	watchedPorts = 16
	watchedAge   = 5 * time.Second
	// watchFor is how long they are watched after the last such process was seen.
	watchFor = time.Minute
	// maxChanges bounds the activities told of in one audit; the next tells the rest.
	maxChanges = 4096
	// useTick is the precision of a noted use, in jiffies (PORT_TICK in port.h).
	useTick = 1 << 8
	// sameUse is how far two readings of one last use may lie apart, and a 256th
	// of the time since.
	sameUse = 3 * time.Second
	// minJiffies is the shortest time over which the length of a jiffy is measured.
	minJiffies = 2 * time.Second
)

// activity is the part of the tracker that knows which ports are in use.
//
// The kernel itself keeps when a TCP connection last sent and received data. The
// last use of a listener is the last connection that it accepted. Uses of UDP
// ports are noted by programs that cost each datagram something: they are
// attached only while a process holds many.
type activity struct {
	// began is when the ports from before the start were first seen.
	began model.Time
	// watched is since when uses of UDP ports are noted, 0 while they are not.
	watched model.Time
	// crowded is when a process was last seen to hold many UDP ports.
	crowded model.Time
	jiffy   jiffyClock
}

// jiffyClock measures how long a jiffy lasts: the kernel does not say.
type jiffyClock struct {
	first   uint32
	firstAt time.Duration
	length  time.Duration // 0 unknown
}

// sample takes a reading of jiffies and of the monotonic clock, which stand
// still together while the system sleeps.
func (c *jiffyClock) sample(jiffies uint32, at time.Duration) {
	switch passed := jiffies - c.first; {
	case jiffies == 0:
	case c.first == 0:
		c.first, c.firstAt = jiffies, at
	case at-c.firstAt >= minJiffies && passed > 0:
		c.length = (at - c.firstAt) / time.Duration(passed)
		if at-c.firstAt >= time.Hour { // long before the counter wraps
			c.first, c.firstAt = jiffies, at
		}
	}
}

// crowd says whether a process holds so many UDP ports for so long that their
// use is worth watching, by the listing l.
func (t *tracker) crowd(l *listing) bool {
	held := make(map[int32]int)
	for s := range l.sockets.inOrder() {
		if s.protocol != model.ProtocolUDP || s.pid <= 0 {
			continue
		}
		if h, ok := t.held.get(s.cookie); ok && l.begin.Sub(h.since) >= watchedAge {
			if held[s.pid]++; held[s.pid] >= watchedPorts {
				return true
			}
		}
	}
	return false
}

// unused returns for how many jiffies the socket has not been used. A use may
// have come while the socket was listed; the counter wraps.
func (s *openSocket) unused() uint32 {
	if passed := s.now - s.used; passed <= ^uint32(0)-useTick {
		return passed
	}
	return 0
}

// lastUse returns when the port of a listed socket was last used, 0 when no use
// of it is known, and since when its uses would have been seen; ok is false when
// they would not.
func (t *tracker) lastUse(s *openSocket, h *holding, l *listing) (used, since model.Time, ok bool) {
	since = max(h.since, t.began)
	switch {
	case s.now == 0: // no process has it open
		return 0, 0, false
	case s.protocol == model.ProtocolUDP:
		if t.watched == 0 || t.jiffy.length == 0 {
			return 0, 0, false
		}
		since = max(since, t.watched)
		if s.used != 0 {
			used = l.end.Add(-time.Duration(max(s.unused(), useTick)-useTick) * t.jiffy.length)
		}
	case s.used != 0: // a TCP connection
		if t.jiffy.length == 0 {
			return 0, 0, false
		}
		used = l.end.Add(-time.Duration(s.unused()) * t.jiffy.length)
		since = min(since, used)
	default:
		used = h.used
	}
	return used, since, true
}

// tellUse reports of a held port whether it is used, where that has changed.
// changes is how often that may still be told of.
func (t *tracker) tellUse(s *openSocket, h *holding, l *listing, now model.Time, changes *int, b *model.Builder) {
	if h.how == model.HowAccept || !h.announced {
		return
	}
	told := model.PortActivity{Activity: model.ActivityUnknown}
	var idleSince model.Time
	if used, since, ok := t.lastUse(s, h, l); ok {
		told.Activity = model.ActivityInUse
		if last := max(used, since); l.end.Sub(last) >= model.IdleAfter {
			told.Activity, told.Dur, idleSince = model.ActivityIdle, max(0, now.Sub(last)), last
			if s.protocol == model.ProtocolTCP && s.state == tcpCloseWait {
				told.Activity = model.ActivityPeerClosed
			}
			// What was taken within sight was used then.
			told.AtLeast = used < since && since > h.since
		}
	}
	if *changes == 0 || told.Activity == h.activity && idleSince.Sub(h.idleSince) <= sameUse+told.Dur/256 {
		return
	}
	// What has just been taken is in use: few ports live long enough to be told of.
	if h.activity == model.ActivityUnknown && told.Activity == model.ActivityInUse &&
		l.end.Sub(h.since) < model.IdleAfter {
		return
	}
	*changes--
	h.activity, h.idleSince = told.Activity, idleSince
	t.held.put(s.cookie, h)
	t.emitUse(s.cookie, h, now, told, b)
}

// emitConnected reports that a port which was bound is connected now.
func (t *tracker) emitConnected(cookie uint64, h *holding, at model.Time, b *model.Builder) {
	h.activity, h.idleSince = model.ActivityInUse, 0
	t.held.put(cookie, h)
	t.emitUse(cookie, h, at, model.PortActivity{Activity: model.ActivityInUse}, b)
}

// emitUse reports what told says of the use of a held port.
func (t *tracker) emitUse(cookie uint64, h *holding, now model.Time, told model.PortActivity, b *model.Builder) {
	told.Time, told.PID, told.TID, told.Cookie, told.Protocol = now, h.pid, -1, cookie, h.protocol
	told.LocalPort, told.RemotePort, told.Netns = h.localPort, h.remotePort, int64(h.netns)
	told.LocalAddr, told.RemoteAddr = t.text(h.local), t.remoteText(h.remote, h.remotePort)
	told.Process = t.process(h.pid, h.comm)
	b.AddPortActivity(told)
}

// watch notes the uses of UDP ports while that is worth its price.
type watch struct {
	loader *ebpf.Loader
	// programs are those to attach, none where the kernel has no such hook.
	programs []string
	links    []link.Link
}

// load loads the first set of programs that the kernel has, so that it is known whether it has one.
func (w *watch) load(sets []ebpf.Set) model.Probe {
	set, err := ebpf.FirstOf(sets, w.loadAll)
	s := set.Status(probeName, "activity", err)
	if w.programs = set.Programs; err == nil {
		return s
	}
	s.State = model.ProbeDegraded
	s.Reason = "cannot tell whether UDP ports are in use: " + s.Reason
	s.Hint = "Linux 6.3 and later have the tracepoints sock_send_length and sock_recv_length"
	return s
}

func (w *watch) loadAll(programs ...string) error {
	for _, name := range programs {
		if _, err := w.loader.Program(name); err != nil {
			return err
		}
	}
	return nil
}

// start attaches the programs; it returns whether they are attached.
func (w *watch) start() (bool, error) {
	if len(w.programs) == 0 {
		return false, nil
	}
	for _, name := range w.programs {
		p, err := w.loader.Program(name)
		if err != nil {
			return false, err
		}
		lk, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			w.stop()
			return false, err
		}
		w.links = append(w.links, lk)
	}
	return true, nil
}

// stop detaches the programs.
func (w *watch) stop() {
	for _, lk := range w.links {
		_ = lk.Close() // a link that is closed is gone, whatever it says
	}
	w.links = nil
}
