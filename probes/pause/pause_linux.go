package pause

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"lostbeat/ebpf"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

const (
	name = "pause"
	// rtcFile is the real-time clock, rtcEvery how often it is read: that takes up to a millisecond.
	rtcFile  = "/sys/class/rtc/rtc0/since_epoch"
	rtcEvery = 5 * time.Second
	partRTC  = "real-time clock"
)

// Probe compares clocks.
type Probe struct{}

// New returns the Linux half of the probe.
func New() *Probe { return &Probe{} }

// Name implements ebpf.Probe.
func (*Probe) Name() string { return name }

// Kinds implements ebpf.Probe.
func (*Probe) Kinds() []model.Kind { return []model.Kind{model.KindHostPause} }

type attached struct {
	clocks clocks
	rtc    model.Probe
	due    time.Duration
}

// Attach implements ebpf.Probe.
func (*Probe) Attach(*ebpf.Env) (ebpf.Attached, error) {
	a := &attached{rtc: ebpf.StatusOf(name, partRTC, nil)}
	r, err := read(true)
	if !r.hasRTC {
		a.rtc.State, a.rtc.Reason = model.ProbeDegraded,
			"cannot detect that the VM was paused: there is no real-time clock"
	}
	a.clocks.next(r)
	return a, err
}

// Status implements ebpf.Attached.
func (a *attached) Status() []model.Probe { return []model.Probe{a.rtc} }

// Collect implements ebpf.Attached.
func (a *attached) Collect(now model.Time, _ time.Duration, b *model.Builder) error {
	due := a.clocks.last.boot >= a.due
	r, err := read(due && a.rtc.State == model.ProbeOn)
	if err != nil {
		return err
	}
	if due {
		a.due = r.boot + rtcEvery - time.Second/2
	}
	for _, p := range a.clocks.next(r) {
		p.Time = now
		b.AddHostPause(p)
	}
	return nil
}

// Close implements ebpf.Attached.
func (*attached) Close() error { return nil }

// read reads the clocks, the real-time clock as well where that is due.
func read(rtc bool) (r reading, err error) {
	if rtc {
		if text, err := os.ReadFile(rtcFile); err == nil {
			seconds, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			r.rtc, r.hasRTC = time.Duration(seconds)*time.Second, err == nil
		}
	}
	for _, c := range []struct {
		clock int32
		to    *time.Duration
	}{{unix.CLOCK_MONOTONIC, &r.mono}, {unix.CLOCK_BOOTTIME, &r.boot}, {unix.CLOCK_REALTIME, &r.wall}} {
		var ts unix.Timespec
		if err := unix.ClockGettime(c.clock, &ts); err != nil {
			return r, fmt.Errorf("read a clock: %w", err)
		}
		*c.to = time.Duration(ts.Nano())
	}
	return r, nil
}
