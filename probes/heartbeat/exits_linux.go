package heartbeat

import (
	"slices"
	"time"

	"lostbeat/model"

	"golang.org/x/sys/unix"
)

const (
	// maxExits bounds the processes that are ending.
	maxExits = 256
	// exitTakes is for how long a process may still close its other sockets.
	exitTakes = 500 * time.Millisecond
)

// exits are processes whose end has closed a followed socket, until it is over.
type exits []exit

type exit struct {
	pid     int32
	process string
	how     model.ProcessEnd
	code    int64
	since   model.Time
}

// note takes up a record about a socket that was closed.
func (x *exits) note(s *socket, p *heartbeatPacket, at model.Time) {
	pid := int32(p.Head.Pid)
	if p.Exiting == 0 || pid <= 0 || len(*x) >= maxExits ||
		slices.ContainsFunc(*x, func(o exit) bool { return o.pid == pid }) {
		return
	}
	o := exit{pid: pid, how: model.ProcessEndExit, since: at}
	if pid == s.pid {
		o.process = s.process
	}
	status := unix.WaitStatus(p.Size)
	if o.code = int64(status.ExitStatus()); status.Signaled() {
		o.how, o.code = model.ProcessEndSignal, int64(status.Signal())
	}
	*x = append(*x, o)
}

// emit writes the ends that are over.
func (x *exits) emit(now model.Time, b *model.Builder) {
	*x = slices.DeleteFunc(*x, func(o exit) bool {
		if now.Sub(o.since) < exitTakes {
			return false
		}
		b.AddProcess(model.Process{
			Time: now, PID: o.pid, TID: o.pid, State: model.ProcessExited, Ended: o.how, EndCode: o.code, Name: o.process,
		})
		return true
	})
}
