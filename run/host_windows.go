package run

import (
	"slices"

	"lostbeat/etw"
	"lostbeat/etw/etl"
	"lostbeat/internal/hint"
	"lostbeat/probes"
	"lostbeat/source"
)

// counters is the probe that reads what Windows counts, beside whatever else runs.
const counters = "counters"

// hostProbes are those that stand beside the catalogue.
var hostProbes = []string{counters}

// openHost returns this Windows. What only Linux can do is refused, not left out in silence.
func openHost(o HostOptions) (source.Source, error) {
	if len(o.Heartbeats) > 0 {
		return nil, hint.New("--heartbeat follows flows on Linux only",
			"datagrams and their times are traced without it, where the provider Kernel-Network shows them")
	}
	if o.Stacks {
		return nil, hint.New("--stacks is available on Linux only", "leave it out")
	}
	live := etw.LiveOptions{
		Options:         etw.Options{Trace: o.Trace, Threshold: o.RunThreshold, Switches: o.Trace},
		Tool:            o.Tool,
		ContextSwitches: slices.Contains(o.Only, "sched"),
		CountersOnly:    slices.Equal(o.Only, []string{counters}),
		Probes: func() (chosen []etw.Probe) {
			for _, p := range probes.ETW() {
				if len(o.Only) == 0 || slices.Contains(o.Only, p.Name()) {
					chosen = append(chosen, p)
				}
			}
			return chosen
		},
	}
	if o.RawBuffers {
		live.Buffers = func() etw.BufferReader { return etl.NewBufferReader() }
	}
	src, err := etw.NewLive(live)
	if err != nil {
		return nil, err
	}
	return &followed{src, o.Pools, nil}, nil
}
