package heartbeat

import (
	"fmt"

	"lostbeat/ebpf"
	"lostbeat/model"
)

// queued decodes a packet that was put into a queueing discipline, or has left it.
func (a *attached) queued(raw []byte, b *model.Builder) error {
	q, ok := ebpf.Record[heartbeatHbQueued](raw)
	if !ok {
		return fmt.Errorf("a packet in a queueing discipline of %d bytes", len(raw))
	}
	s := a.sockets[q.Cookie]
	if s == nil {
		return nil
	}
	remote := ebpf.Addr(q.Remote, q.Family).Unmap()
	if !s.follows(remote) {
		return nil
	}
	at := a.env.Clock.Time(q.Head.TimeNs)
	v := model.PacketQdisc{
		Time: at, CPU: int32(q.Head.Cpu), PID: s.pid, TID: -1, NetnsInode: s.netns, Cookie: q.Cookie, Protocol: s.protocol,
		LocalPort: q.LocalPort, RemotePort: q.RemotePort, Ifindex: int64(q.Ifindex), Left: q.Left != 0,
		Backlog: uint64(q.Backlog), RemoteAddr: remote.String(), Process: s.process, Device: ebpf.Comm(q.Device[:]),
		Qdisc: ebpf.Comm(q.Qdisc[:]),
	}
	if v.Left {
		v.Dur = max(at.Sub(a.env.Clock.Time(q.SinceNs)), 1)
	}
	b.AddPacketQdisc(v)
	return nil
}
