package port

import (
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"lostbeat/ebpf"
	"lostbeat/model"
)

const (
	// timeWaitLength is the kernel's TCP_TIMEWAIT_LEN, which cannot be set.
	timeWaitLength = 60 * time.Second
	// maxResting bounds the connections at rest that are followed; the kernel
	// bounds them by tcp_max_tw_buckets, usually at fewer.
	maxResting = 1 << 18
	// maxTexts bounds the cache of addresses in text.
	maxTexts = 1 << 12
)

// Bits of the flags of records (PORT_* in port.h).
const (
	flagReuse  = 1
	flagV6Only = 2
	flagRests  = 4
	flagKnown  = 8
	flagKernel = 16
)

// holding is a port that a socket holds.
type holding struct {
	local, remote [16]byte
	since         model.Time // 0 it was there at the start
	used          model.Time // of a listener: when it last accepted a connection, 0 never
	idleSince     model.Time // what was told of it, 0 it was not idle
	comm          string
	pid           int32 // owner, 0 the kernel, -1 unknown
	netns         uint32
	localPort     uint16
	remotePort    uint16
	flags         model.Flags
	protocol      model.Protocol
	how           model.How
	activity      model.Activity // what was told of it
	// announced says that the stream knows of it: what a listing found at the
	// start waits for the first interval.
	announced bool
}

func (h *holding) tuple() tuple {
	return tuple{h.local, h.remote, h.netns, h.localPort, h.remotePort}
}

// listener is a socket that accepted connections belong to.
type listener struct {
	cookie uint64
	pid    int32
	comm   string
}

type listenerKey struct {
	netns uint32
	port  uint16
}

// tracker turns records and listings into events. It knows every port that is
// held or rests, by socket cookie.
type tracker struct {
	clock ebpf.Clock
	name  func(pid int32, comm string) string
	// forget drops what the programs remember of a socket that has gone unseen.
	forget func(cookie uint64)
	// meet is told of the namespace and tasks of each record before its event.
	meet   func(inode uint32, at model.Time, b *model.Builder, tasks ...int32)
	stacks *symbolizer // nil unless asked for

	held      holdings
	listeners map[listenerKey]listener
	waiting   []uint64 // cookies that are to be announced
	rests     restQueue
	texts     map[[16]byte]string
	comms     map[[16]int8]string
	// told is the end of the last interval: what was there at the start, and
	// what an audit found, was told with that time.
	told model.Time

	auditor
	activity
	exits
}

func newTracker(env *ebpf.Env) *tracker {
	return &tracker{
		clock: env.Clock, name: env.NamedProcess, forget: func(uint64) {}, meet: func(
			uint32, model.Time, *model.Builder, ...int32,
		) {
		},
		listeners: make(map[listenerKey]listener),
		rests:     newRestQueue(),
		texts:     make(map[[16]byte]string),
		comms:     make(map[[16]int8]string),
		auditor:   auditor{suspects: make(map[uint64]bool), restSuspects: make(map[tuple]bool)},
		exits:     newExits("/proc"),
	}
}

// text returns an address in text; "" for none given, which all zeroes mean
// only for a remote one.
func (t *tracker) text(addr [16]byte) string {
	if s, ok := t.texts[addr]; ok {
		return s
	}
	if len(t.texts) >= maxTexts {
		clear(t.texts)
	}
	s := netip.AddrFrom16(addr).Unmap().String()
	t.texts[addr] = s
	return s
}

func (t *tracker) remoteText(addr [16]byte, port uint16) string {
	if port == 0 {
		return ""
	}
	return t.text(addr)
}

func (t *tracker) comm(comm [16]int8) string {
	if s, ok := t.comms[comm]; ok {
		return s
	}
	if len(t.comms) >= maxTexts {
		clear(t.comms)
	}
	s := commString(comm)
	t.comms[comm] = s
	return s
}

func (t *tracker) process(pid int32, comm string) string {
	if pid <= 0 {
		return ""
	}
	if name := t.name(pid, comm); name != "" && comm == "" {
		return name
	}
	return comm
}

func modelFlags(flags uint8) (out model.Flags) {
	if flags&flagReuse != 0 {
		out |= model.FlagReuse
	}
	if flags&flagV6Only != 0 {
		out |= model.FlagV6Only
	}
	return out
}

// record returns raw as a *T.
func record[T any](raw []byte) (*T, error) {
	r, ok := ebpf.Record[T](raw)
	if !ok {
		return nil, fmt.Errorf("port record of %d bytes, want %d", len(raw), unsafe.Sizeof(*r))
	}
	return r, nil
}

// portRecord returns raw as a struct port_record.
func portRecord(raw []byte) (*bpfPortRecord, error) {
	r, err := record[bpfPortRecord](raw)
	if err == nil && (int(r.Protocol) >= len(model.ProtocolEnum.Names) || int(r.How) >= len(model.HowEnum.Names)) {
		err = fmt.Errorf("port record of protocol %d, taken in way %d", r.Protocol, r.How)
	}
	return r, err
}

// time returns the time of a record. One from before the end of an interval may
// be read after it: what it says has to come after what was told then.
func (t *tracker) time(ns uint64) model.Time { return max(t.clock.Time(ns), t.told) }

// decodeAcquire is the decoder of struct port_record: a port was taken.
func (t *tracker) decodeAcquire(raw []byte, b *model.Builder) error {
	r, err := portRecord(raw)
	if err != nil {
		return err
	}
	at := t.time(r.Head.TimeNs)
	t.meet(r.Netns, at, b, int32(r.Tid), int32(r.Owner))
	if r.Cookie == 0 {
		// A socket from before the start that no listing could reach: the audit
		// gives it its identity.
		t.auditSoon = true
		return nil
	}
	old, held := t.held.get(r.Cookie)
	if held && old.announced {
		if old.localPort == r.LocalPort {
			connects := old.protocol == model.ProtocolTCP && old.remotePort == 0 && r.RemotePort != 0
			old.local, old.remote, old.remotePort = r.LocalAddr, r.RemoteAddr, r.RemotePort
			t.held.put(r.Cookie, &old)
			t.endRest(old.tuple(), at, b)
			if connects {
				t.emitConnected(r.Cookie, &old, at, b)
			}
			return nil
		}
		// Its release was lost on the way.
		t.release(r.Cookie, &old, at, model.HowAudit, b)
	}
	h := &holding{
		local: r.LocalAddr, remote: r.RemoteAddr, since: at, netns: r.Netns,
		localPort: r.LocalPort, remotePort: r.RemotePort,
		protocol: model.Protocol(r.Protocol), how: model.How(r.How), flags: modelFlags(r.Flags),
		pid: int32(r.Owner), comm: t.comm(r.Comm),
	}
	tid := int32(-1)
	if r.Head.Pid == r.Owner && r.Owner != 0 {
		tid = int32(r.Tid)
	}
	if h.how == model.HowAccept {
		// It ran in whatever the interrupt met: the listener's owner is the best guess.
		l, ok := t.listeners[listenerKey{h.netns, h.localPort}]
		if !ok {
			l.pid = -1
		}
		h.pid, h.comm, tid = l.pid, l.comm, -1
		if listening, ok := t.held.get(l.cookie); ok {
			listening.used = at
			t.held.put(l.cookie, &listening)
		}
	}
	t.hold(r.Cookie, h)
	t.endRest(h.tuple(), at, b)
	t.emitAcquire(r.Cookie, h, at, tid, t.stack(r.Stack, int32(r.Head.Pid)), b)
	return nil
}

func (t *tracker) stack(id int32, pid int32) model.Stack {
	if t.stacks == nil || id < 0 {
		return nil
	}
	return t.stacks.stack(id, pid)
}

// hold adds a holding; a listening socket is kept for the connections that it
// will accept.
func (t *tracker) hold(cookie uint64, h *holding) {
	t.held.put(cookie, h)
	if h.protocol == model.ProtocolTCP && h.remotePort == 0 && h.how != model.HowAccept {
		t.listeners[listenerKey{h.netns, h.localPort}] = listener{cookie, h.pid, h.comm}
	}
}

func (t *tracker) emitAcquire(
	cookie uint64,
	h *holding,
	at model.Time,
	tid int32,
	stack model.Stack,
	b *model.Builder,
) {
	h.announced = true
	t.held.put(cookie, h)
	b.AddPortAcquire(model.PortAcquire{
		Time: at, Flags: h.flags, PID: h.pid, TID: tid, Cookie: cookie, Protocol: h.protocol,
		LocalPort: h.localPort, RemotePort: h.remotePort, How: h.how, Netns: int64(h.netns),
		LocalAddr: t.text(h.local), RemoteAddr: t.remoteText(h.remote, h.remotePort),
		Process: t.process(h.pid, h.comm), Stack: stack,
	})
}

// emitActive reports a holding that was not seen to begin, or whose owner has
// changed.
func (t *tracker) emitActive(cookie uint64, h *holding, at model.Time, b *model.Builder) {
	h.announced = true
	h.activity, h.idleSince = model.ActivityUnknown, 0 // to be told again
	t.held.put(cookie, h)
	var age time.Duration
	if h.since != 0 {
		age = max(0, at.Sub(h.since))
	}
	b.AddPortActive(model.PortActive{
		Time: at, Dur: age, Flags: h.flags, PID: h.pid, TID: -1, Cookie: cookie, Protocol: h.protocol,
		LocalPort: h.localPort, RemotePort: h.remotePort, How: h.how, Netns: int64(h.netns),
		LocalAddr: t.text(h.local), RemoteAddr: t.remoteText(h.remote, h.remotePort),
		Process: t.process(h.pid, h.comm),
	})
}

// decodeRelease is the decoder of struct port_release_record. Sockets that
// held no port are closed too: they are not known here.
func (t *tracker) decodeRelease(raw []byte, b *model.Builder) error {
	r, err := record[bpfPortReleaseRecord](raw)
	if err != nil {
		return err
	}
	if int(r.How) >= len(model.HowEnum.Names) {
		return fmt.Errorf("port record of a release in way %d", r.How)
	}
	at := t.time(r.Head.TimeNs)
	t.released(r.Cookie)
	h, ok := t.held.get(r.Cookie)
	if !ok {
		return nil
	}
	if !h.announced {
		t.emitActive(r.Cookie, &h, at, b)
	}
	if h.how != model.HowAccept {
		t.gave(h.pid, h.comm)
	}
	if r.Flags&flagRests != 0 && t.rests.len() < maxResting {
		t.rest(r.Cookie, &h, at, timeWaitLength, b)
		return nil
	}
	t.release(r.Cookie, &h, at, model.How(r.How), b)
	return nil
}

// drop removes a holding without a word.
func (t *tracker) drop(cookie uint64, h *holding) {
	t.held.remove(cookie)
	key := listenerKey{h.netns, h.localPort}
	if l, ok := t.listeners[key]; ok && l.cookie == cookie {
		delete(t.listeners, key)
	}
}

func (t *tracker) release(cookie uint64, h *holding, at model.Time, how model.How, b *model.Builder) {
	t.drop(cookie, h)
	var age time.Duration
	if h.since != 0 {
		age = max(0, at.Sub(h.since))
	}
	b.AddPortRelease(model.PortRelease{
		Time: at, Dur: age, Flags: h.flags, PID: h.pid, TID: -1, Cookie: cookie, Protocol: h.protocol,
		LocalPort: h.localPort, RemotePort: h.remotePort, How: how, Netns: int64(h.netns),
		LocalAddr: t.text(h.local), RemoteAddr: t.remoteText(h.remote, h.remotePort),
		Process: t.process(h.pid, h.comm),
	})
}

// rest turns a holding into a connection at rest.
func (t *tracker) rest(cookie uint64, h *holding, at model.Time, length time.Duration, b *model.Builder) {
	t.drop(cookie, h)
	t.endRest(h.tuple(), at, b)
	t.rests.add(
		&resting{
			tuple:     h.tuple(),
			cookie:    cookie,
			since:     at,
			until:     at.Add(length),
			pid:       h.pid,
			comm:      h.comm,
			announced: true,
		},
	)
	b.AddPortRest(model.PortRest{
		Time: at, Flags: h.flags, PID: h.pid, TID: -1, Cookie: cookie, Protocol: h.protocol,
		LocalPort: h.localPort, RemotePort: h.remotePort, Rest: length, Netns: int64(h.netns),
		LocalAddr: t.text(h.local), RemoteAddr: t.remoteText(h.remote, h.remotePort),
		Process: t.process(h.pid, h.comm),
	})
}

// endRest ends the rest of a connection, if it rests: its addresses are in use
// again (tcp_tw_reuse). A rest that the first listing found later than that is
// the one that the connection is about to come to.
func (t *tracker) endRest(key tuple, at model.Time, b *model.Builder) {
	if r := t.rests.remove(key); r != nil && (r.announced || r.since <= at) {
		t.emitRestEnd(r, at, b)
	}
}

func (t *tracker) emitRestEnd(r *resting, at model.Time, b *model.Builder) {
	if !r.announced {
		t.emitResting(r, at, b)
	}
	b.AddPortRelease(model.PortRelease{
		Time: at, Dur: max(0, at.Sub(r.since)), PID: r.pid, TID: -1, Cookie: r.cookie, Protocol: model.ProtocolTCP,
		LocalPort: r.localPort, RemotePort: r.remotePort, How: model.HowRestEnd, Netns: int64(r.netns),
		LocalAddr: t.text(r.local), RemoteAddr: t.remoteText(r.remote, r.remotePort),
		Process: t.process(r.pid, r.comm),
	})
}

// expire ends the rests whose time is over.
func (t *tracker) expire(now model.Time, b *model.Builder) {
	for r := t.rests.next(now); r != nil; r = t.rests.next(now) {
		t.emitRestEnd(r, now, b)
	}
}

// begin takes over what a listing found at the start.
func (t *tracker) begin(l *listing) {
	t.began = l.end
	t.jiffy.sample(l.jiffies, l.jiffiesAt)
	listening := make(map[listenerKey]bool)
	for s := range l.sockets.inOrder() {
		if s.state == tcpListen && s.protocol == model.ProtocolTCP {
			listening[listenerKey{s.netns, s.localPort}] = true
		}
	}
	for s := range l.sockets.inOrder() {
		h := s.holding()
		h.how = model.HowPresent
		if h.remotePort != 0 && h.protocol == model.ProtocolTCP && listening[listenerKey{s.netns, s.localPort}] {
			h.how = model.HowAccept
		}
		t.hold(s.cookie, h)
		t.waiting = append(t.waiting, s.cookie)
	}
	for _, w := range l.resting {
		t.rests.add(&resting{tuple: w.tuple, cookie: w.cookie, since: l.end, until: l.end.Add(w.left), pid: -1})
	}
}

// announce emits what was there at the start and still is.
func (t *tracker) announce(now model.Time, b *model.Builder) {
	if t.waiting == nil {
		return
	}
	for _, cookie := range t.waiting {
		if h, ok := t.held.get(cookie); ok && !h.announced {
			t.emitActive(cookie, &h, now, b)
		}
	}
	t.waiting = nil
	for _, r := range t.rests.queue {
		if !r.announced {
			t.emitResting(r, now, b)
		}
	}
}

// emitResting reports a rest that was not seen to begin.
func (t *tracker) emitResting(r *resting, at model.Time, b *model.Builder) {
	r.announced = true
	b.AddPortActive(model.PortActive{
		Time: at, PID: r.pid, TID: -1, Cookie: r.cookie, Protocol: model.ProtocolTCP,
		LocalPort: r.localPort, RemotePort: r.remotePort, How: model.HowPresent, Netns: int64(r.netns), Resting: true,
		LocalAddr: t.text(r.local), RemoteAddr: t.remoteText(r.remote, r.remotePort),
	})
}

// holding returns the tracked form of a listed socket.
func (s *openSocket) holding() *holding {
	return &holding{
		local: s.local, remote: s.remote, netns: s.netns, localPort: s.localPort, remotePort: s.remotePort,
		protocol: s.protocol, flags: modelFlags(s.flags), pid: s.pid, comm: s.comm,
	}
}
