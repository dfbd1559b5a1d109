package fold

import (
	"cmp"
	"time"

	"lostbeat/model"
)

// FollowKey identifies a socket whose packets are followed.
type FollowKey struct {
	// Netns is the inode number of its network namespace, 0 unknown.
	Netns  uint32
	Cookie uint64
}

// Followed is a socket whose packets are followed.
type Followed struct {
	Key      FollowKey
	Protocol model.Protocol
	Port     uint16
	Local    string
	PID      int32
	Process  string
	// KnownAs is the protocol that it is known for, empty unknown; Timeout its silence after which a peer is given up, 0
	// unknown.
	KnownAs string
	Timeout time.Duration
	State   model.FlowState
	// Ended is when the socket was closed or its process ended, 0 while it is open.
	Ended model.Time
	// End is how its process ended, unknown where it goes on or that was not seen; EndCode is the exit status or the
	// number of the signal.
	End     model.ProcessEnd
	EndCode int64

	told  bool // there was a flow event
	found model.Time
	seen  model.Time
	peers int
	// readers and senders are the threads that were seen to read it, and to send from it, the last one first.
	readers, senders threads
	// tcp is what TCP does to its data.
	tcp stalls
}

// Reader is the thread that was last seen to read it, 0 none.
func (s *Followed) Reader() int32 { return s.readers[0] }

// Replaced says that the peer of a flow has gone on from another port since the flow's last packet, or that the host
// sends to another one: the peer was restarted.
func (w *Fold) Replaced(b *Beat) bool {
	for k, o := range w.beats {
		if k.FollowKey == b.Key.FollowKey && k.Direction == b.Key.Direction && k.Remote == b.Key.Remote &&
			k.Port != b.Key.Port && o.First > b.Last {
			return true
		}
	}
	return false
}

// followed returns a socket whose packets are followed, nil when there is no room for it.
func (w *Fold) followed(k FollowKey, at model.Time) *Followed {
	s := w.follows[k]
	if s == nil {
		if len(w.follows) >= maxFollowed {
			w.room.LeaveOut("followed sockets")
			return nil
		}
		if !w.room.Take("followed sockets", followedBytes) {
			return nil
		}
		s = &Followed{Key: k, PID: -1, found: at}
		w.follows[k] = s
	}
	s.seen = max(s.seen, at)
	return s
}

// describe takes what an event says of the socket.
func (s *Followed) describe(protocol model.Protocol, port uint16, local, process string, pid int32) {
	if port != 0 {
		s.Port = port
	}
	if protocol != model.ProtocolUnknown {
		s.Protocol = protocol
	}
	s.Local = cmp.Or(local, s.Local)
	if s.PID <= 0 {
		s.PID = pid
	}
	if pid == s.PID {
		s.Process = cmp.Or(process, s.Process)
	}
}

// readBy notes who has read it: of several processes that hold it, that one is meant.
func (s *Followed) readBy(pid, tid int32) {
	if pid > 0 && pid != s.PID {
		s.PID, s.Process, s.readers, s.senders = pid, "", threads{}, threads{}
	}
	s.readers.note(tid)
}

func (w *Fold) applyFlow(v *model.Flow) {
	if w.applyProposal(v) {
		return
	}
	s := w.followed(FollowKey{v.NetnsInode, v.Cookie}, v.Time)
	if s == nil {
		return
	}
	s.describe(v.Protocol, v.LocalPort, v.LocalAddr, v.Process, v.PID)
	s.KnownAs, s.Timeout = cmp.Or(v.KnownAs, s.KnownAs), cmp.Or(v.Timeout, s.Timeout)
	if s.told && v.State != s.State {
		w.restartFlows(s)
	}
	s.told, s.State = true, v.State
	switch {
	case v.State == model.FlowEnded && s.Ended == 0:
		s.Ended = v.Time
	case v.State != model.FlowEnded:
		s.Ended = 0
	}
}

// endFlows ends the flows of certain sockets.
func (w *Fold) endFlows(at model.Time, of func(s *Followed) bool) {
	for _, s := range w.follows {
		if s.Ended == 0 && of(s) {
			s.Ended = at
			w.restartFlows(s)
		}
	}
}

// flowClosed ends the flows of a socket that has given its port back.
func (w *Fold) flowClosed(cookie uint64, at model.Time) {
	if cookie != 0 {
		w.endFlows(at, func(s *Followed) bool { return s.Key.Cookie == cookie })
	}
}

// endTakes is for how long a process may still be ending after it has closed a socket.
const endTakes = 10 * time.Second

// flowsEnded ends the flows of a process.
func (w *Fold) flowsEnded(v *model.Process) {
	w.endFlows(v.Time, func(s *Followed) bool { return s.PID == v.PID })
	if v.Ended == model.ProcessEndUnknown {
		return
	}
	for _, s := range w.follows {
		if s.PID == v.PID && s.Ended != 0 && v.Time.Sub(s.Ended) <= endTakes {
			s.End, s.EndCode = v.Ended, v.EndCode
		}
	}
}

// Succeeded returns when another socket was opened on the port of one that is gone, false while there is none.
func (w *Fold) Succeeded(s *Followed) (at model.Time, ok bool) {
	for _, o := range w.follows {
		if o != s && o.Protocol == s.Protocol && o.Port == s.Port && o.Key.Netns == s.Key.Netns && o.found >= s.Ended &&
			(!ok || o.found < at) {
			at, ok = o.found, true
		}
	}
	return at, ok
}

// Unattended returns the time since the last packet of a flow whose socket was closed while packets came, as far as a
// silence of that length is a loss.
func (w *Fold) Unattended(b *Beat) (g Gap, ok bool) {
	if b.Socket.Ended == 0 || b.usual == 0 || b.final == 0 || b.Key.Direction != model.DirectionRX {
		return g, false
	}
	g = Gap{
		ID: b.final, From: b.final, To: w.Now, Lasts: true, Period: b.usual, CPU: b.cpu,
		Absent: max(w.Now.Sub(b.final)-b.usual, 0),
	}
	g.Missed = g.PacketsIn(g.Absent)
	return g, !b.young(b.final) && b.Socket.Ended.Sub(b.final) < b.absentFor(&w.limits) &&
		g.Length() >= b.silentFor(&w.limits)
}

// Broken returns the time since the last packet of a flow whose connection was reset from its peer while packets came,
// or were sent, as far as a silence of that length is a loss. TCP does not believe every segment that resets: a
// connection that goes on in either direction is not broken.
func (w *Fold) Broken(b *Beat) (g Gap, ok bool) {
	last := b.LatestPacket()
	if b.Reset == 0 || b.usual == 0 || last == 0 || w.goesOn(b) {
		return g, false
	}
	g = Gap{ID: last, From: last, To: w.Now, Lasts: true, Period: b.usual, CPU: b.cpu, Absent: w.Now.Sub(last) - b.usual}
	g.Missed = g.PacketsIn(g.Absent)
	return g, !b.young(last) && b.Reset.Sub(last) < b.absentFor(&w.limits) && g.Length() >= b.silentFor(&w.limits)
}

// goesOn says that packets went over a flow's connection after it was reset.
func (w *Fold) goesOn(b *Beat) bool {
	for _, o := range w.beats {
		if o.sameConnection(b.Socket, b.Key.Remote, b.Key.Port) && o.LatestPacket() > b.Reset {
			return true
		}
	}
	return false
}

// sameConnection says that a flow is one direction of the connection of a socket with a peer. A socket of a running
// host has one connection, whatever address its packets have on the way; in a capture, a socket stands for all
// connections of its port.
func (b *Beat) sameConnection(s *Followed, remote string, port uint16) bool {
	return b.Socket == s && (s.State != model.FlowCaptured || b.Key.Remote == remote && b.Key.Port == port)
}

// LatestPacket is when the last packet came or was sent, also one before what is seen of the socket has changed.
func (b *Beat) LatestPacket() model.Time { return max(b.Last, b.final) }

// Reconnected says what the ends of a flow whose connection was reset have instead: since when a new connection on the
// same port, 0 none; and whether an older one goes on beside it.
func (w *Fold) Reconnected(b *Beat) (since model.Time, beside bool) {
	s, alive := b.Socket, cmp.Or(w.limits.LeastSilent, time.Second) // a packet within that, however regular it is
	for k, o := range w.beats {
		t := o.Socket
		if t.Protocol != s.Protocol || k.Netns != b.Key.Netns || k.Remote != b.Key.Remote ||
			k.Port != b.Key.Port && t.Port != s.Port || o.sameConnection(s, b.Key.Remote, b.Key.Port) ||
			s.Port >= model.FirstEphemeral && t.Process != s.Process && t.PID != s.PID ||
			s.State == model.FlowCaptured && t.Local != s.Local || o.Reset != 0 && o.LatestPacket() <= o.Reset {
			continue
		}
		switch {
		case o.First > b.Reset:
			if since == 0 || o.First < since {
				since = o.First
			}
		case t.Ended == 0 && w.Now.Sub(o.LatestPacket()) <= max(o.absentFor(&w.limits), alive):
			beside = true
		}
	}
	return since, beside
}

func (w *Fold) restartFlows(s *Followed) {
	for _, b := range w.beats {
		if b.Socket == s {
			b.restart()
		}
	}
}

// beat returns a flow of a followed socket, nil when there is no room for it.
func (w *Fold) beat(s *Followed, k BeatKey) *Beat {
	b := w.beats[k]
	if b != nil {
		return b
	}
	if s.peers >= maxPeers {
		w.forgetBeat(w.stalest(s))
	}
	if len(w.beats) >= maxBeats {
		w.room.LeaveOut("followed flows")
		return nil
	}
	if !w.room.Take("followed flows", beatBytes) {
		return nil
	}
	b = &Beat{Key: k, Socket: s, cpu: -1}
	w.beats[k] = b
	w.sortedBeats = nil
	s.peers++
	return b
}

// stalest returns the flow of a socket that has been silent for longest.
func (w *Fold) stalest(s *Followed) (stalest *Beat) {
	for _, b := range w.SortedBeats() {
		if b.Socket == s && (stalest == nil || max(b.Last, b.LastRead) < max(stalest.Last, stalest.LastRead)) {
			stalest = b
		}
	}
	return stalest
}

func (w *Fold) forgetBeat(b *Beat) {
	delete(w.beats, b.Key)
	b.Socket.peers--
	w.sortedBeats = nil
	w.room.Give(beatBytes + len(b.Over.below))
}

// beatPacket takes a packet of a followed flow, and returns the flow; nil when there is none, or no room for it.
func (w *Fold) beatPacket(v *model.Packet) *Beat {
	if v.Cookie == 0 {
		return nil
	}
	key := PacketKey(v)
	s := w.followed(key.FollowKey, v.Time)
	if s == nil {
		return nil
	}
	s.describe(v.Protocol, v.LocalPort, v.LocalAddr, v.Process, v.PID)
	b := w.beat(s, key)
	if b == nil {
		return nil
	}
	if v.Direction == model.DirectionRX {
		b.received(v, &w.limits)
		return b
	}
	if v.PID == s.PID && v.PID > 0 {
		s.senders.note(v.TID)
	}
	b.sent(v, &w.limits)
	return b
}

// beatRead takes a packet of a followed flow that was read, and returns the flow; nil when there is no room for it.
func (w *Fold) beatRead(v *model.PacketRead) *Beat {
	key := ReadKey(v)
	s := w.followed(key.FollowKey, v.Time)
	if s == nil {
		return nil
	}
	s.readBy(v.PID, v.TID)
	s.describe(v.Protocol, v.LocalPort, v.LocalAddr, v.Process, v.PID)
	b := w.beat(s, key)
	if b != nil {
		b.read(v, &w.limits)
	}
	return b
}
