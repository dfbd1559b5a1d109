package etw

import (
	"slices"
	"time"

	"lostbeat/model"
)

// LiveOptions configure a live session; the zero value is the usual one.
type LiveOptions struct {
	Options
	// Probes makes the probes that decode the signals, for one session.
	Probes func() []Probe
	// Memory bounds the records that wait for their turn; 0 means DefaultMergeBytes.
	Memory int64
}

// MinimumBuild is the oldest Windows that is traced: Windows 10 1809, Server 2019.
const MinimumBuild = 17763

// provider is one that a session enables.
type provider struct {
	guid GUID
	name string
	// level is the highest level of its events that are used.
	level uint8
	// keywords are what a Windows gets that takes no list of events: as little as shows drops and failures.
	keywords uint64
}

// userProviders are the providers of the user session.
var userProviders = []provider{
	{ProviderAFD, "Microsoft-Windows-Winsock-AFD", 5, 0},
	{ProviderTCPIP, "Microsoft-Windows-TCPIP", 4, 0x10000000000},
	{ProviderRPC, "Microsoft-Windows-RPC", 4, 0},
	{ProviderRPCSS, "Microsoft-Windows-RPCSS", 4, 0},
	{ProviderNDIS, "Microsoft-Windows-NDIS", 3, 0},
	{ProviderKernelNetwork, "Microsoft-Windows-Kernel-Network", 4, 0},
}

// kernelClasses are the classes of the events that the system logger gives.
var kernelClasses = []GUID{ClassPerfInfo, ClassProcess, ClassThread, ClassImage}

// decodedIDs returns the ids of a provider's events that have a handler, in order.
func (d *Decoder) decodedIDs(provider GUID) (ids []uint16) {
	for k := range d.handlers {
		if k.Class == provider && !k.Classic {
			ids = append(ids, k.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// available returns a census of the kinds of events that can come, by the classes that are enabled: what probes say of
// themselves follows from it.
func (d *Decoder) available(enabled func(GUID) bool) Census {
	c := Census{}
	for k := range d.handlers {
		if enabled(k.Class) {
			c[k] = 1
		}
	}
	return c
}

// LearnProcess notes a process that ran when decoding began.
func (s *State) LearnProcess(pid, parent int32, name string) {
	s.processes.learn(process{PID: pid, Parent: parent, Name: name}, opDCStart, 0, s.live)
}

// LearnImage notes an image of the kernel that was loaded when decoding began.
func (s *State) LearnImage(base, size uint64, file string) {
	s.images.learn(Image{Base: base, Size: size, File: file}, opDCStart, 0)
}

// liveStatus returns what probes can say in a live session: of what misses its events, reason and hint say why.
func liveStatus(probes []Probe, c Census, reason, hint string, t model.Time) (out []model.Probe) {
	for _, p := range probes {
		for _, status := range p.Status(c) {
			status.Time = t
			if status.State != model.ProbeOn {
				status.Reason, status.Hint = reason, hint
				if reason == "" {
					status.Reason, status.Hint = "no event that it decodes is enabled", ""
				}
			}
			out = append(out, status)
		}
	}
	return out
}

const (
	// livePoll is how often records that are old enough are decoded.
	livePoll = 50 * time.Millisecond
)
