package heartbeat

import (
	"testing"
	"time"

	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// While a request lasts, packets say how long deferred work let them wait, which is a part of the time before their
// socket; before and afterwards they do not.
func TestLongZoom(t *testing.T) {
	testutil.Privileged(t)
	c := reader(t, true, "udp4", "0", "0s")
	s := follow(t, model.ProtocolUDP, c.Port)
	request := model.Request{Kind: model.RequestZoom, CPU: -1, PID: -1, TID: -1, For: time.Second}
	wait := func(state model.RequestState) {
		t.Helper()
		s.WaitFor(20*time.Second, state.String(), func(b *model.Batch, e *model.Event) bool {
			r, ok := b.RequestEvent(e)
			if ok && r.State == model.RequestRefused {
				t.Fatal(r.Reason)
			}
			return ok && r.State == state
		})
	}
	conn := c.dial(t, "udp4")
	send := func() {
		t.Helper()
		for range 5 {
			if _, err := conn.Write([]byte("heartbeat 1")); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Intervals(3) // it is found
	send()
	time.Sleep(100 * time.Millisecond)
	s.Request(request)
	wait(model.RequestOn)
	send()
	wait(model.RequestOff)
	time.Sleep(100 * time.Millisecond)
	send()
	s.Intervals(1)
	packets, early := 0, 0
	var last model.PacketEarly
	batches := s.Stop()
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if v, ok := b.PacketEarly(e); ok && v.Cookie == c.Cookie {
			early++
			last = v
			if v.Backlog <= 0 || v.Backlog > v.Dur || packets < 5 || packets > 10 {
				t.Errorf("after %d packets: %+v", packets, v)
			}
		}
		if v, ok := b.Packet(e); ok && v.Cookie == c.Cookie {
			if packets++; early > 0 && packets <= 10 && (v.Time != last.Time || v.Dur != last.Dur || v.RemotePort !=
				last.RemotePort || v.RemoteAddr != last.RemoteAddr) {
				t.Errorf("%+v before %+v", last, v)
			}
		}
	})
	if packets != 15 || early != 5 {
		t.Errorf("%d packets of 15, %d of 5 looked at", packets, early)
	}
}

// Without a followed flow there is nothing to look at.
func TestZoomRefused(t *testing.T) {
	a := &attached{stamps: -1}
	if err := a.Begin(model.Request{Kind: model.RequestZoom}); err == nil {
		t.Error("it is served")
	}
	a.End(model.Request{Kind: model.RequestZoom})
}
