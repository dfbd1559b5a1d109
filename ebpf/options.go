package ebpf

import (
	"log/slog"
	"time"

	"lostbeat/model"
)

// Options configure the engine and its probes; the zero value is the always-on
// configuration.
type Options struct {
	// Trace emits every single run of deferred work and interrupts.
	Trace bool
	// RunThreshold is the shortest run, and WaitThreshold the shortest wait,
	// that is emitted singly without Trace; 0 means 1 ms.
	RunThreshold, WaitThreshold time.Duration
	// Pools are the port pools given by the user.
	Pools []Pool
	// Stacks asks for the user stacks of port allocations.
	Stacks bool
	// AuditInterval is how often the port probe compares itself with the
	// kernel's tables; 0 means 10 s.
	AuditInterval time.Duration
	// RingBytes is the size of the ringbuf, a power of two; 0 means 8 MiB.
	RingBytes int
	// Only names the probes to run; empty means all.
	Only []string
	// Log takes diagnostics; nil discards them.
	Log *slog.Logger
}

// Pool is a range of ports that the user has named: "rpc=udp:5000-5100".
type Pool struct {
	Name      string
	Protocol  model.Protocol
	Low, High uint16
}

// Clock converts boot-clock readings to event times by a fixed offset that was
// sampled at the start.
type Clock struct {
	// Offset is what is added to CLOCK_BOOTTIME nanoseconds.
	Offset int64
}

// Time converts a reading of CLOCK_BOOTTIME (bpf_ktime_get_boot_ns).
func (c Clock) Time(bootNS uint64) model.Time { return model.Time(int64(bootNS) + c.Offset) }
