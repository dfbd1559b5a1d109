package port

import (
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// unknownError is the name of the error of an attempt that failed without a
// hook that saw why.
const unknownError = "unknown"

// decodeFail is the decoder of struct port_record: a port could not be taken.
func (t *tracker) decodeFail(raw []byte, b *model.Builder) error {
	r, err := portRecord(raw)
	if err != nil {
		return err
	}
	at := t.time(r.Head.TimeNs)
	pid, comm := int32(r.Owner), t.comm(r.Comm)
	tid := int32(-1)
	if r.Head.Pid == r.Owner {
		tid = int32(r.Tid)
	}
	name := unknownError
	if r.Error != 0 {
		name = unix.ErrnoName(unix.Errno(r.Error))
	}
	t.meet(r.Netns, at, b, int32(r.Tid), pid)
	b.AddPortFail(model.PortFail{
		Time: at, Flags: modelFlags(r.Flags), PID: pid, TID: tid, Cookie: r.Cookie,
		Protocol: model.Protocol(r.Protocol), LocalPort: r.LocalPort, RemotePort: r.RemotePort,
		How: model.How(r.How), Netns: int64(r.Netns), Error: int64(r.Error),
		LocalAddr: t.text(r.LocalAddr), RemoteAddr: t.remoteText(r.RemoteAddr, r.RemotePort),
		Process: t.process(pid, comm), ErrorName: name,
		Stack: t.stack(r.Stack, int32(r.Head.Pid)),
	})
	return nil
}
