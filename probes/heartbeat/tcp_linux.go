package heartbeat

import (
	"slices"

	"lostbeat/model"
)

// Bounds of what is remembered of a connection.
const (
	// maxSent bounds the segments of which it is known when they were sent, maxAhead those that have come too early.
	maxSent  = 256
	maxAhead = 64
)

// tcpStream is what the sequence numbers of a followed TCP connection say.
type tcpStream struct {
	// sent are the last segments that the host sent, in the order of the stream; last is the end of what it has sent.
	sent   []segment
	last   uint32
	sentAt bool // something was sent
	// next is what has to come next, known says that it is known; ahead are later segments that have come.
	next  uint32
	known bool
	ahead []span
	// missing is since when later segments wait for one, shut since when the peer's receive window is closed; 0 not.
	missing, shut model.Time
}

// segment is one that was sent.
type segment struct {
	end   uint32
	at    model.Time
	times uint64
}

// span is a part of the stream that has come.
type span struct{ from, to uint32 }

// before says whether a sequence number comes before another one.
func before(a, b uint32) bool { return int32(a-b) < 0 }

// send takes up a segment that the host sends, and says whether it was sent before: when, and how often by now.
func (c *tcpStream) send(from, to uint32, at model.Time) (first model.Time, times uint64) {
	if !c.sentAt || before(c.last, to) {
		c.last, c.sentAt = to, true
		if len(c.sent) == maxSent {
			c.sent = slices.Delete(c.sent, 0, 1)
		}
		c.sent = append(c.sent, segment{to, at, 1})
		return 0, 0
	}
	for i := range c.sent {
		if s := &c.sent[i]; before(from, s.end) {
			s.times++
			return s.at, s.times
		}
	}
	return 0, 1 // it was sent before it was followed
}

// fate is what became of a segment that has arrived.
type fate int

const (
	// inOrder can be read; ahead cannot, as an earlier one is missing; filled is one that was missing; repeated has come
	// before.
	inOrder fate = iota
	ahead
	filled
	repeated
)

// receive takes up a segment that has arrived.
func (c *tcpStream) receive(from, to uint32) fate {
	switch {
	case !c.known:
		c.next, c.known = to, true
		return inOrder
	case before(c.next, from):
		if len(c.ahead) < maxAhead {
			c.ahead = append(c.ahead, span{from, to})
		}
		return ahead
	case !before(c.next, to):
		return repeated
	}
	c.next = to
	waited := len(c.ahead)
	c.join()
	if len(c.ahead) < waited {
		return filled
	}
	return inOrder
}

// join moves on over what has come already.
func (c *tcpStream) join() {
	for moved := true; moved; {
		moved = false
		c.ahead = slices.DeleteFunc(c.ahead, func(s span) bool {
			if before(c.next, s.from) {
				return false
			}
			if before(c.next, s.to) {
				c.next = s.to
			}
			moved = true
			return true
		})
	}
}

// read takes up how far a program has read: that much has come, whether it was seen or not.
func (c *tcpStream) read(upTo uint32) {
	if c.known && before(c.next, upTo) {
		c.next = upTo
		c.join()
	}
}

// tcp takes up what a segment of a followed connection says of it, and adds the events for that. It says whether the
// segment is a packet like others: not one that was sent or has come before, nor a reset.
func (a *attached) tcp(s *socket, p *heartbeatPacket, at model.Time, b *model.Builder) bool {
	c := &s.tcp
	stall := func(what model.Stall, since model.Time, ongoing bool, segments uint64) {
		b.AddFlowStall(model.FlowStall{
			Time: at, Dur: max(at.Sub(since), 1), CPU: int32(p.Head.Cpu), NetnsInode: s.netns, Cookie: s.cookie,
			LocalPort: p.LocalPort, RemotePort: p.RemotePort, What: what, Ongoing: ongoing, Segments: segments,
			LocalAddr: s.localAddr, RemoteAddr: s.remoteAddr,
		})
	}
	if p.What == whatReset {
		stall(model.StallReset, at, false, 0)
		return false
	}
	from := p.EndSeq - p.Size
	if p.What == whatSent {
		first, times := c.send(from, p.EndSeq, at)
		if first > 0 {
			stall(model.StallResent, first, false, times)
		}
		return times == 0
	}
	switch {
	case p.Window == 0:
		if c.shut == 0 {
			c.shut = at
		}
		stall(model.StallWindow, c.shut, true, 0)
	case c.shut != 0:
		stall(model.StallWindow, c.shut, false, 0)
		c.shut = 0
	}
	if p.What == whatWindow {
		return true
	}
	what := c.receive(from, p.EndSeq)
	if c.missing != 0 && what != ahead && (what == filled || len(c.ahead) == 0) {
		stall(model.StallMissing, c.missing, false, uint64(len(c.ahead)))
		s.queue.readable(at)
		c.missing = 0
	}
	if len(c.ahead) > 0 && what != repeated {
		if c.missing == 0 {
			c.missing = at
		}
		stall(model.StallMissing, c.missing, true, uint64(len(c.ahead)))
	}
	return what != repeated
}
