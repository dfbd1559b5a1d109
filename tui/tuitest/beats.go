package tuitest

import (
	"fmt"
	"time"

	"lostbeat/model"
)

// beats makes a second of followed flows: corosync, whose reader is late once; etcd; and one of which only the reads
// are seen.
func (s *stream) beats(n int) {
	if n%10 == 1 {
		for _, f := range []model.Flow{
			{
				PID: 812, Cookie: 0x51, Protocol: model.ProtocolUDP, LocalPort: 5405, Timeout: time.Second,
				State: model.FlowFollowed, Process: "corosync" + s.Name, KnownAs: "knet" + s.Name,
			},
			{
				PID: 1401, Cookie: 0x52, Protocol: model.ProtocolTCP, LocalPort: 2380, RemotePort: 41200,
				State: model.FlowFollowed, Process: "etcd", KnownAs: "raft",
			},
			{
				PID: 640, Cookie: 0x53, Protocol: model.ProtocolUDP, LocalPort: 3784, State: model.FlowReads,
				Process: "bfdd", KnownAs: "BFD",
			},
		} {
			f.Time, f.NetnsInode = s.now.Add(-time.Second+1), Netns
			if f.Cookie != 0x52 || !s.cut(n) {
				s.b.AddFlow(f)
			}
		}
	}
	for i := range 4 {
		at := s.now.Add(-time.Second + time.Duration(i)*250*time.Millisecond)
		read := at.Add(40 * time.Microsecond)
		if n == s.Gap && i > 0 {
			read = s.now.Add(-30*time.Millisecond + time.Duration(i)*10*time.Microsecond)
		}
		s.beat(at, read, 0x51, 812, 5405, 5405, "10.0.0.2", "corosync"+s.Name)
		s.b.AddPacket(model.Packet{
			Time: at.Add(90 * time.Microsecond), CPU: 1, PID: 812, TID: 812, NetnsInode: Netns, Cookie: 0x51,
			Protocol: model.ProtocolUDP, LocalPort: 5405, RemotePort: 5405, Direction: model.DirectionTX, SizeBytes: 80,
			RemoteAddr: "10.0.0.2", Process: "corosync" + s.Name,
		})
	}
	for i := range 10 {
		at := s.now.Add(-time.Second + time.Duration(i)*100*time.Millisecond)
		if !s.cut(n) {
			s.beat(at, at.Add(30*time.Microsecond), 0x52, 1401, 2380, 41200, "10.0.0.3", "etcd")
		}
		s.b.AddPacketRead(model.PacketRead{
			Time: at.Add(50 * time.Microsecond), CPU: 1, PID: 640, TID: 640, NetnsInode: Netns, Cookie: 0x53,
			Protocol: model.ProtocolUDP, LocalPort: 3784, RemotePort: 49152, SizeBytes: 24, RemoteAddr: "10.0.0.9",
			Process: "bfdd",
		})
	}
	if s.cut(n) {
		s.reset(time.Duration(n-s.Cut) * time.Second)
	}
	if n != s.Gap {
		return
	}
	s.finding(model.Finding{
		ID:       "heartbeat-loss/udp/5405/10.0.0.2:5405/rx/51/1",
		Detector: "heartbeat-loss", Severity: model.SeverityWarning, Start: s.now.Add(-750 * time.Millisecond),
		End: s.now.Add(-30 * time.Millisecond),
		Title: "udp/5405 of corosync[812] (knet from 10.0.0.2) was read 720 ms late: its reader had no CPU behind " +
			"rt-batch[900] (SCHED_FIFO 50) on CPU 1",
		Subject:  model.Subject{Kind: "socket", CPU: 1, PID: 812, Process: "corosync", Protocol: "udp", Port: 5405},
		Evidence: []model.Evidence{{Name: "later than usual", Value: 720e6, Unit: "ns"}},
		Causes:   []string{"rt-batch[900] (SCHED_FIFO 50) had CPU 1 meanwhile: 718 ms"},
		RuledOut: []string{"not the peer or the network: the packet reached this host when it was due"},
		Advice:   []string{"Give the reader a CPU of its own or a higher priority (chrt, cpuset, nice)"},
	})
}

// cut says that the connection of etcd is gone in a second.
func (s *stream) cut(n int) bool { return s.Cut != 0 && n >= s.Cut }

// reset makes the finding of a connection that was reset some time ago.
func (s *stream) reset(ago time.Duration) {
	if ago == 0 {
		s.b.AddFlow(model.Flow{
			Time: s.now.Add(-time.Second + 1), PID: 1401, NetnsInode: Netns, Cookie: 0x52, Protocol: model.ProtocolTCP,
			LocalPort: 2380, RemotePort: 41200, State: model.FlowEnded, Process: "etcd", KnownAs: "raft",
		})
		return
	}
	s.finding(model.Finding{
		ID:       "heartbeat-loss/tcp/2380/10.0.0.3:41200/rx/52/1",
		Detector: "heartbeat-loss", Severity: model.SeverityCritical, Start: s.now.Add(-time.Second - ago),
		End: s.now, Ongoing: true,
		Title: fmt.Sprintf("tcp/2380 of etcd[1401] (raft from 10.0.0.3) has received nothing for %d s: its connection was "+
			"reset by 10.0.0.3, and there is no other", int(ago.Seconds())+1),
		Subject: model.Subject{Kind: "socket", CPU: 1, PID: 1401, Process: "etcd", Protocol: "tcp", Port: 2380},
		Causes:  []string{"A reset (RST) came from 10.0.0.3"},
	})
}

// beat makes a packet that reaches its socket and is read.
func (s *stream) beat(
	at, read model.Time, cookie uint64, pid int32, port, remotePort uint16, remote, process string,
) {
	protocol := model.ProtocolUDP
	if port == 2380 {
		protocol = model.ProtocolTCP
	}
	s.b.AddPacket(model.Packet{
		Time: at, Dur: 20 * time.Microsecond, CPU: 1, PID: pid, TID: -1, NetnsInode: Netns, Cookie: cookie,
		Protocol: protocol, LocalPort: port, RemotePort: remotePort, Direction: model.DirectionRX, SizeBytes: 80,
		RemoteAddr: remote, Process: process,
	})
	s.b.AddPacketRead(model.PacketRead{
		Time: read, Dur: read.Sub(at), CPU: 1, PID: pid, TID: pid, NetnsInode: Netns, Cookie: cookie, Protocol: protocol,
		LocalPort: port, RemotePort: remotePort, Host: 20 * time.Microsecond, SizeBytes: 80, RemoteAddr: remote,
		Process: process,
	})
}

// propose makes flows that look like heartbeats and are not followed.
func (s *stream) propose(n int) {
	if n%10 != 1 {
		return
	}
	for _, f := range []model.Flow{
		{PID: 4101, Cookie: 0x61, Protocol: model.ProtocolUDP, LocalPort: 7000, Period: 200 * time.Millisecond,
			Process: "myapp"},
		{PID: 977, Cookie: 0x62, Protocol: model.ProtocolTCP, LocalPort: 5000, Process: "python3", KnownAs: "ged125"},
	} {
		f.Time, f.NetnsInode, f.TID, f.State = s.now.Add(-time.Second+2), Netns, -1, model.FlowProposed
		s.b.AddFlow(f)
	}
}
