package pause

import (
	"testing"
	"time"

	"lostbeat/model"
)

const start = 1_000_000 * time.Second // by the wall clock

// host is a host whose clocks can be told what happens.
type host struct {
	boot, mono, wall, rtc time.Duration
	c                     clocks
	got                   []model.HostPause
}

func (h *host) pass(d time.Duration) {
	for ; d > 0; d -= time.Second {
		h.boot, h.mono, h.wall, h.rtc = h.boot+time.Second, h.mono+time.Second, h.wall+time.Second, h.rtc+time.Second
		h.read(h.boot/time.Second%5 == 0)
	}
}

func (h *host) read(rtc bool) {
	h.got = append(h.got, h.c.next(reading{h.boot, h.mono, h.wall, h.rtc.Truncate(time.Second), rtc})...)
}

func TestPauses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(h *host)
		what   model.Pause // 0 none
		length time.Duration
	}{
		{"nothing", func(*host) {}, 0, 0},
		{"stopped", func(h *host) { h.rtc += 4 * time.Second }, model.PauseStopped, 4 * time.Second},
		{"stopped, and the wall clock was set after it", func(h *host) {
			h.rtc += 4 * time.Second
			h.wall += 4 * time.Second
		}, model.PauseStopped, 4 * time.Second},
		{"stopped for too short to tell", func(h *host) { h.rtc += 900 * time.Millisecond }, 0, 0},
		{"the real-time clock was set from the wall clock", func(h *host) { h.rtc = h.wall }, 0, 0},
		{"and to local time", func(h *host) { h.rtc = h.wall + 2*time.Hour }, 0, 0},
		{"the wall clock was set from the real-time clock", func(h *host) { h.wall = h.rtc }, 0, 0},
		{"the wall clock was set", func(h *host) { h.wall += time.Hour }, 0, 0},
		{"the real-time clock was set back", func(h *host) { h.rtc -= time.Minute }, 0, 0},
		{"suspended", func(h *host) {
			h.boot, h.wall, h.rtc = h.boot+time.Hour, h.wall+time.Hour, h.rtc+time.Hour
		}, model.PauseSuspended, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			// The real-time clock is a minute behind, and between two seconds.
			h := &host{boot: 500 * time.Second, mono: 400 * time.Second, wall: start, rtc: start - 61300*time.Millisecond}
			h.pass(30 * time.Second)
			c.change(h)
			h.pass(30 * time.Second)
			if c.what == 0 {
				if len(h.got) > 0 {
					t.Errorf("got %+v", h.got)
				}
				return
			}
			if len(h.got) != 1 || h.got[0].What != c.what || (h.got[0].Paused-c.length).Abs() > h.got[0].Error {
				t.Errorf("got %+v, want %v for %v", h.got, c.what, c.length)
			}
		})
	}
}

// A real-time clock that drifts is no pause, however far it gets.
func TestDrift(t *testing.T) {
	h := &host{wall: start, rtc: start + 300*time.Millisecond}
	for range 2000 {
		h.pass(5 * time.Second)
		h.rtc += 5 * time.Millisecond // 1000 ppm
	}
	if len(h.got) > 0 {
		t.Errorf("got %+v", h.got)
	}
}
