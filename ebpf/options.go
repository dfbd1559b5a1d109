package ebpf

import (
	"log/slog"
	"net/netip"
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
	// MaxCPU is the share of one CPU that the process may take; above it, detail is left out (model.ShedParts). 0 is no
	// bound.
	MaxCPU float64
	// Only names the probes to run; empty means all.
	Only []string
	// Heartbeats are the flows whose packets are followed; HeartbeatRoot follows those of sockets in the root control
	// group, too, which costs every packet of the host.
	Heartbeats    []Heartbeat
	HeartbeatRoot bool
	// Attached is called once all probes are attached; it returns the state of a part of the engine. nil for nothing.
	Attached func() model.Probe
	// Tool is the program and its version as it stands in the stream: "lostbeat 1.2".
	Tool string
	// Log takes diagnostics; nil discards them.
	Log *slog.Logger
}

// Heartbeat names flows to follow.
type Heartbeat struct {
	// Protocol is UDP, TCP, or other for VRRP.
	Protocol model.Protocol
	// Port is one of the two ports, 0 for VRRP.
	Port uint16
	// Peer is the other end, the zero address any.
	Peer netip.Addr
	// Timeout is the silence after which the protocol gives its peer up, 0 as far as it can be found out.
	Timeout time.Duration
	// Auto stands for all flows that are known by their owner and port, and for the search for others: the rest is not
	// used.
	Auto bool
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
