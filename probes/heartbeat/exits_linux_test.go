package heartbeat

import (
	"testing"
	"time"

	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// The end of a process is written once, with what ended it, when it is over.
func TestExits(t *testing.T) {
	for _, tt := range []struct {
		name    string
		exiting uint8
		status  uint32
		how     model.ProcessEnd
		code    int64
	}{
		{"closed by its program", 0, 0, model.ProcessEndUnknown, 0},
		{"exit", 1, 0, model.ProcessEndExit, 0},
		{"exit 3", 1, 3 << 8, model.ProcessEndExit, 3},
		{"killed", 1, uint32(unix.SIGKILL), model.ProcessEndSignal, 9},
		{"crashed, with a core dump", 1, uint32(unix.SIGSEGV) | 0x80, model.ProcessEndSignal, 11},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const at = model.Time(1_700_000_000_000_000_000)
			var x exits
			for range 2 { // it had two sockets
				p := &heartbeatPacket{Exiting: tt.exiting, Size: tt.status}
				p.Head.Pid = 812
				x.note(&socket{pid: 812, process: "corosync"}, p, at)
			}
			var b model.Builder
			x.emit(at.Add(exitTakes-1), &b)
			x.emit(at.Add(exitTakes+time.Millisecond), &b)
			x.emit(at.Add(time.Second), &b)
			batch := b.Take()
			if tt.how == model.ProcessEndUnknown {
				if batch != nil {
					t.Error("the process goes on")
				}
				return
			}
			if batch == nil || len(batch.Events) != 1 {
				t.Fatalf("%d events, want one", len(batch.Events))
			}
			v, _ := batch.Process(&batch.Events[0])
			if v.PID != 812 || v.State != model.ProcessExited || v.Ended != tt.how || v.EndCode != tt.code ||
				v.Name != "corosync" {
				t.Errorf("%+v", v)
			}
		})
	}
}
