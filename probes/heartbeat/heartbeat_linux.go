package heartbeat

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"lostbeat/ebpf"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// name is the probe's name.
const name = "heartbeat"

// Parts of the probe, as in its status.
const (
	partFlows    = "flows"
	partArrivals = "arrivals"
	partReads    = "reads"
	partRefused  = "full queues"
	partQdiscs   = "queueing disciplines"
)

// What a record is about: enum hb_what of heartbeat.bpf.c.
const (
	whatArrived = iota
	whatSent
	whatRefused
	whatClosed
	whatWindow
	whatReset
)

// Probe follows the packets of chosen flows.
type Probe struct {
	// reads are the programs that see reads, readSets unless a test sets them.
	reads []ebpf.Set
}

// New returns the Linux half of the probe.
func New() *Probe { return &Probe{} }

// Name implements ebpf.Probe.
func (*Probe) Name() string { return name }

// Kinds implements ebpf.Probe.
func (*Probe) Kinds() []model.Kind {
	return Definition().Kinds
}

// attached is the running probe; without flows to follow it has no loader.
type attached struct {
	env    *ebpf.Env
	loader *ebpf.Loader
	status map[string]model.Probe
	// flows are those that are followed; auto says that others are looked for.
	flows []ebpf.Heartbeat
	auto  bool
	search

	// stamps is a socket that makes the kernel stamp received packets, -1 none; unstamped says what its stamps do not
	// show, empty nothing.
	stamps    int
	unstamped string
	list      *link.Iter
	known     *cebpf.Map
	groups    groups
	zoom      zoom
	// reads are the programs that see reads, readsSeen says that one of the sets is attached.
	reads     []ebpf.Set
	readsSeen bool
	sockets   map[uint64]*socket
	// devices are those of the sockets' network namespaces.
	devices linkLists
	// names say to all programs which flows are followed.
	names flowNames
	// exits are processes whose end has closed a followed socket.
	exits exits
	// listed is when sockets were last listed, took how long it took; unlisted says that packets came of one that is not.
	listed   time.Time
	took     time.Duration
	unlisted bool
}

// Attach implements ebpf.Probe.
func (p *Probe) Attach(env *ebpf.Env) (ebpf.Attached, error) {
	a := &attached{
		env: env, stamps: -1, reads: p.readSets(), sockets: make(map[uint64]*socket),
		devices: make(linkLists),
		status:  make(map[string]model.Probe), search: newSearch(),
	}
	env.Handle(model.KindPacket, a.packet)
	env.Handle(model.KindPacketRead, a.read)
	env.Handle(model.KindPacketQdisc, a.queued)
	env.Handle(model.KindPacketReturn, a.returned)
	for _, f := range env.Options.Heartbeats {
		a.want(f)
	}
	if len(a.flows) == 0 && !a.auto {
		a.status[partFlows] = model.Probe{
			Name: name, Part: partFlows, State: model.ProbeOn,
			Reason: "no flow was given",
			Hint:   "--heartbeat udp:5405 follows a flow, --heartbeat auto finds the flows of known programs",
		}
		return a, nil
	}
	if err := a.start(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	a.startSearch()
	return a, nil
}

// start loads the programs and attaches those that need no control group.
func (a *attached) start() error {
	a.names.table = a.env.Maps[heartbeatMapLbFlows]
	if err := a.followPorts(); err != nil {
		return err
	}
	err := a.load(true)
	if errors.Is(err, errRefused) {
		err = a.load(false)
	}
	if err != nil {
		return err
	}
	lk, err := a.loader.Attach(heartbeatProgHbSockets)
	if err != nil {
		return err
	}
	a.list, a.known = lk.(*link.Iter), a.loader.Map(heartbeatMapHbKnown)
	a.status[partFlows] = ebpf.StatusOf(name, partFlows, nil)
	reads := a.attachReads()
	if a.readsSeen = reads.State != model.ProbeOff; !a.readsSeen {
		reads.Reason = "cannot see when a program reads its packets: " + reads.Reason
	}
	refused := a.loader.Try(name, partRefused, heartbeatProgHbRefused)
	a.status[partReads], a.status[partRefused] = reads, refused
	// In this order: what is put in before its end is watched would seem to stay.
	qdiscs := a.loader.Try(name, partQdiscs, heartbeatProgHbDequeue, heartbeatProgHbEnqueue)
	if qdiscs.State != model.ProbeOn {
		qdiscs.Reason = "cannot see how long an outgoing packet waits in a qdisc: " + qdiscs.Reason
	}
	a.status[partQdiscs] = qdiscs
	a.groups = groups{env: a.env, loader: a.loader, links: make(map[uint64]*group)}
	switch a.stamps, err = stampPackets(); {
	case err != nil:
		a.unstamped = "cannot see how long a packet takes from the NIC to its socket: " + err.Error()
	case stampedLate():
		a.unstamped = "the time from the NIC to the socket excludes the CPU's backlog: net.core.netdev_tstamp_prequeue is 0"
	}
	return a.listSockets()
}

// readSets are the programs that see reads.
func (p *Probe) readSets() []ebpf.Set {
	if p.reads != nil {
		return p.reads
	}
	return ebpf.SocketSets([]string{heartbeatProgHbRead}, []string{heartbeatProgHbRead4}, []string{heartbeatProgHbRead6})
}

// attachReads attaches the program that sees reads, unless that of another probe records them already.
func (a *attached) attachReads() model.Probe {
	if a.env.Following.ReadsBy != "" {
		return ebpf.StatusOf(name, partReads, nil)
	}
	reads := a.loader.TryInTurn(name, partReads, a.reads)
	if reads.State != model.ProbeOff {
		a.env.Following.ReadsBy = name
	}
	return reads
}

// errRefused is a program that may not read the kernel's memory.
var errRefused = errors.New("the kernel refuses to let programs read its memory")

// load creates the maps and loads the program that reads memory, to see whether it may.
func (a *attached) load(canRead bool) error {
	spec, err := loadHeartbeat()
	if err != nil {
		return fmt.Errorf("read the BPF object: %w", err)
	}
	for variable, value := range map[string]any{
		heartbeatVarHbNamesSender: features.HaveProgramHelper(cebpf.CGroupSKB, asm.FnGetCurrentPidTgid) == nil,
		heartbeatVarHbCanRead:     canRead, heartbeatVarHbTaiAheadNs: taiAhead(),
	} {
		if err := spec.Variables[variable].Set(value); err != nil {
			return fmt.Errorf("set %s: %w", variable, err)
		}
	}
	loader, err := a.env.NewLoader(spec)
	if err != nil {
		return err
	}
	if a.env.Following.ReadsBy != "" {
		a.loader = loader // the program that reads memory is not needed
		return nil
	}
	for _, set := range a.reads {
		_, err := loader.Program(set.Programs[0])
		if err == nil {
			break
		}
		if canRead && !errors.Is(err, cebpf.ErrNotSupported) {
			return errors.Join(errRefused, loader.Close())
		}
	}
	a.loader = loader
	return nil
}

// followPorts says to all programs which ports are followed.
func (a *attached) followPorts() error {
	ports := ports(a.flows, a.auto)
	if a.names.missing {
		ports.Unnamed = 1
	}
	if err := a.env.Maps[heartbeatMapLbFollow].Put(uint32(0), ports); err != nil {
		return fmt.Errorf("say which ports are followed: %w", err)
	}
	return nil
}

// ports returns the ports that are followed, or are to be looked at.
func ports(flows []ebpf.Heartbeat, auto bool) *heartbeatLbFollowed {
	f := &heartbeatLbFollowed{Any: 1}
	if auto {
		for i := range known {
			flows = append(slices.Clip(flows), known[i].flows()...)
		}
	}
	for _, flow := range flows {
		switch flow.Protocol {
		case model.ProtocolUDP:
			f.Udp[flow.Port>>3] |= 1 << (flow.Port & 7)
		case model.ProtocolTCP:
			f.Tcp[flow.Port>>3] |= 1 << (flow.Port & 7)
		default:
			f.Vrrp = 1
		}
	}
	return f
}

// taiAhead returns by how much the kernel's TAI clock is ahead of the wall clock, in nanoseconds.
func taiAhead() int64 {
	var timex unix.Timex
	if _, err := unix.Adjtimex(&timex); err != nil {
		return 0 // as on a host that was never told
	}
	return int64(timex.Tai) * int64(time.Second)
}

// stampPackets makes the kernel stamp every packet that it receives for as long
// as the socket is open.
func stampPackets() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open a socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return -1, errors.Join(fmt.Errorf("ask for the time of packets: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// stampedLate says that packets are stamped when they leave the backlog, rather than when they enter it.
func stampedLate() bool {
	text, err := os.ReadFile("/proc/sys/net/core/netdev_tstamp_prequeue")
	return err == nil && strings.TrimSpace(string(text)) == "0"
}

// Status implements ebpf.Attached.
func (a *attached) Status() []model.Probe {
	var all []model.Probe
	for _, part := range []string{partFlows, partArrivals, partReads, partRefused, partQdiscs, partSearch} {
		if s, ok := a.status[part]; ok {
			all = append(all, s)
		}
	}
	return all
}

// Close implements ebpf.Attached.
func (a *attached) Close() error {
	var errs []error
	if a.stamps >= 0 {
		errs = append(errs, unix.Close(a.stamps))
	}
	if a.loader != nil {
		errs = append(errs, a.groups.close(), a.loader.Close())
	}
	errs = append(errs, a.names.close())
	if follow := a.env.Maps[heartbeatMapLbFollow]; follow != nil {
		errs = append(errs, follow.Put(uint32(0), &heartbeatLbFollowed{})) // the program of another probe looks there, too
	}
	errs = append(errs, a.search.close())
	return errors.Join(errs...)
}

// packet decodes a packet.
func (a *attached) packet(raw []byte, b *model.Builder) error {
	p, ok := ebpf.Record[heartbeatPacket](raw)
	if !ok {
		return fmt.Errorf("a packet of %d bytes", len(raw))
	}
	s := a.sockets[p.Cookie]
	if s == nil {
		a.unlisted = a.unlisted || !a.others[p.Cookie]
		return nil
	}
	at := a.env.Clock.Time(p.Head.TimeNs)
	switch p.What {
	case whatRefused:
		s.queue.refused()
		return nil
	case whatClosed:
		s.present = false
		a.emitFlow(s, at, b)
		a.exits.note(s, p, at)
		a.forget(s)
		return nil
	}
	remote := ebpf.Addr(p.Remote, p.Family).Unmap()
	if !s.follows(remote) {
		return nil
	}
	if s.protocol == model.ProtocolTCP {
		said := a.tcp(s, p, at, b)
		if !said || p.What == whatWindow {
			return nil
		}
	}
	v := model.Packet{
		Time: at, CPU: int32(p.Head.Cpu), PID: s.pid, TID: -1, NetnsInode: s.netns, Cookie: p.Cookie,
		Protocol: s.protocol, LocalPort: p.LocalPort, RemotePort: p.RemotePort, SizeBytes: uint64(p.Size),
		LocalAddr: ebpf.Addr(p.Local, p.Family).Unmap().String(), RemoteAddr: remote.String(), Process: s.process,
		Mark: mark(p),
	}
	if p.What == whatSent {
		v.Direction = model.DirectionTX
		// Deferred work sends in the name of whoever it interrupts: acknowledgements, what is sent once more.
		if p.Tid != 0 && int32(p.Head.Pid) == s.pid {
			v.TID = int32(p.Tid)
		}
	} else {
		v.Direction, v.Dur = model.DirectionRX, duration(p.AgeNs)
		if p.EarlyNs > 0 {
			b.AddPacketEarly(model.PacketEarly{
				Time: at, Dur: v.Dur, CPU: v.CPU, NetnsInode: s.netns, Cookie: p.Cookie, LocalPort: p.LocalPort,
				RemotePort: p.RemotePort, Backlog: min(duration(p.EarlyNs), v.Dur), RemoteAddr: v.RemoteAddr,
			})
		}
		if a.readsSeen {
			s.queue.arrived(arrival{at, v.Dur, v.RemoteAddr, p.RemotePort, p.Size, p.EndSeq})
			if s.protocol == model.ProtocolTCP {
				s.queue.ordered()
			}
		}
	}
	s.came(way{remote, p.RemotePort, v.Direction}, p.Ifindex)
	a.names.name(s, p)
	b.AddPacket(v)
	return nil
}

// duration is a time that the kernel took: one of centuries is still a duration.
func duration(ns uint64) time.Duration { return time.Duration(min(ns, math.MaxInt64)) }

// mark is what a packet is recognised by on another host. That of a segment is its place in the stream: a
// retransmission has another identification of IPv4.
func mark(p *heartbeatPacket) uint64 {
	which := p.IpId
	if p.Protocol == protocolTCP {
		which = p.EndSeq
	}
	return uint64(which)<<32 | uint64(p.Hash)
}

// read decodes what a program has read.
func (a *attached) read(raw []byte, b *model.Builder) error {
	r, ok := ebpf.Record[heartbeatLbRead](raw)
	if !ok {
		return fmt.Errorf("a read of %d bytes", len(raw))
	}
	s := a.sockets[r.Cookie]
	if s == nil {
		a.unlisted = a.unlisted || !a.others[r.Cookie]
		return nil
	}
	at := a.env.Clock.Time(r.Head.TimeNs)
	v := model.PacketRead{
		Time: at, CPU: int32(r.Head.Cpu), PID: int32(r.Head.Pid), TID: int32(r.Tid), NetnsInode: s.netns,
		Cookie: r.Cookie, Protocol: s.protocol, LocalPort: s.local, RemotePort: s.remotePort, SizeBytes: uint64(r.Size),
		LocalAddr: s.localAddr, RemoteAddr: s.remoteAddr, Process: a.env.Process(int32(r.Head.Pid)),
	}
	if r.Left != unknownLeft {
		v.Left = uint64(r.Left)
	}
	if !s.arrivals {
		b.AddPacketRead(v)
		return nil
	}
	if s.protocol == model.ProtocolTCP {
		s.tcp.read(r.ReadSeq)
	}
	for _, p := range s.queue.read(at, r) {
		v.Dur, v.Host = max(at.Sub(p.at), 1), p.stack
		v.RemoteAddr, v.RemotePort = p.remote, p.port
		if s.protocol == model.ProtocolTCP {
			v.SizeBytes = uint64(p.size)
		}
		b.AddPacketRead(v)
	}
	return nil
}

// returned decodes that a thread goes on that lost the CPU on its way out of a read.
func (a *attached) returned(raw []byte, b *model.Builder) error {
	r, ok := ebpf.Record[heartbeatLbReturn](raw)
	if !ok || int(r.State) >= len(model.SchedStateEnum.Names) {
		return fmt.Errorf("a return of %d bytes", len(raw))
	}
	s := a.sockets[r.Cookie]
	if s == nil {
		return nil
	}
	at := a.env.Clock.Time(r.Head.TimeNs)
	b.AddPacketReturn(model.PacketReturn{
		Time: at, Dur: max(at.Sub(a.env.Clock.Time(r.SinceNs)), 1), CPU: int32(r.Head.Cpu), PID: int32(r.Head.Pid),
		TID: int32(r.Tid), NetnsInode: s.netns, Cookie: r.Cookie, Protocol: s.protocol, LocalPort: s.local,
		State: model.SchedState(r.State), Process: a.env.Process(int32(r.Head.Pid)),
	})
	return nil
}

// Collect implements ebpf.Attached.
func (a *attached) Collect(now model.Time, _ time.Duration, b *model.Builder) error {
	if a.loader == nil {
		return nil
	}
	var err error
	if pause := max(listPause, a.took*listCost); a.unlisted || time.Since(a.listed) >= pause {
		err = a.listSockets()
	}
	err = errors.Join(err, a.look(now))
	a.emitFlows(now, b)
	a.emitDevices(now, b)
	a.exits.emit(now, b)
	a.emitProposals(now, b)
	return err
}

// limitsOf returns what is known of a flow's timeout and period: what was said when it was named comes first.
func limitsOf(flows []ebpf.Heartbeat, k *knownProtocol, pid int32) (l limits) {
	if k != nil && k.limits != nil {
		l = k.limits(programOf("/proc", pid))
	}
	if i := slices.IndexFunc(flows, func(f ebpf.Heartbeat) bool { return f.Timeout > 0 }); i >= 0 {
		l.timeout = flows[i].Timeout
	}
	return l
}
