package fold

import (
	"math"

	"lostbeat/model"
)

// Snapshot is a History at one moment, immutable. Successive ones share what has
// not changed.
type Snapshot struct {
	// Seq tells snapshots apart.
	Seq uint64
	// Now is the time of the latest event, Started that of the first since the start or the last seek; 0 before any.
	Now, Started model.Time
	// Events and Lost are totals; Losses says where the latter were lost.
	Events, Lost uint64
	Losses       []LossTotal
	// Late is how many intervals came after their frame was closed.
	Late uint64
	// Meta are the facts about host and capture.
	Meta    map[string]string
	Probes  []model.Probe
	Devices []model.DeviceConfig
	Queues  []model.DeviceQueue
	// Endpoints are what is registered with the endpoint mapper, by namespace, interface, version and endpoint.
	Endpoints []model.RPCEndpoint
	// DeviceEvents are the latest ones, oldest first.
	DeviceEvents []model.DeviceEvent
	// Findings are all that are known, in their latest version, by their start; with a recording those ahead of Now too,
	// once Scanned.
	Findings []*model.Finding
	Scanned  bool
	Progress Progress
	// Fault says why the stream ended, empty when it did not.
	Fault string
	// Incomplete says what of a file is damaged or missing, in one line; empty when nothing is.
	Incomplete string
	// Outputs are those beside the screen that have failed, in the form of a probe's parts: Part is the name, and State is
	// on for one that works again.
	Outputs []model.Probe
	// SelfCPU is the share of one CPU and SelfRSS the bytes of memory that lostbeat itself takes, when SelfSeen.
	SelfCPU, SelfRSS float64
	SelfSeen         bool
	// SelfKernel is the share of one CPU that its programs take in the kernel, estimated; 0 unknown.
	SelfKernel float64
	// Refusals is how often a port was refused, Places how many packets were lost by place.
	Refusals uint64
	Places   [model.PlaceSocket + 1]uint64
	// Totals since the start or the last seek, the largest first, a bounded number of each.
	Work      []WorkTotal
	Drops     []DropTotal
	RefusedBy []RefusedTotal
	// Notes are what readers wrote, by the moment that they are about.
	Notes []model.Note
	Flows []FlowTotal
	// Beats are the followed flows, by owner and port.
	Beats []BeatTotal
	// Logs are those that are followed.
	Logs []FollowedLog
	// Proposals are flows that look like heartbeats and are not followed, by port.
	Proposals []model.Flow
	RPC       []RPCTotal
	Counters  []CounterTotal
	Audits    []model.PortAudit

	versions [][]*model.Finding // of each of Findings, oldest first

	frames []*Frame // closed
	open   []*Frame // as they are now
}

// Len returns the number of frames.
func (s *Snapshot) Len() int { return len(s.frames) + len(s.open) }

// Frame returns frame i, 0 being the oldest; nil when there is none.
func (s *Snapshot) Frame(i int) *Frame {
	switch {
	case i < 0 || i >= s.Len():
		return nil
	case i < len(s.frames):
		return s.frames[i]
	}
	return s.open[i-len(s.frames)]
}

// Oldest returns the start of the history, 0 when there is none.
func (s *Snapshot) Oldest() model.Time {
	if f := s.Frame(0); f != nil {
		return f.Start
	}
	return 0
}

// At returns the number of the frame that holds time t, the nearest one when t
// is outside the history, and -1 when there is no history.
func (s *Snapshot) At(t model.Time) int {
	if s.Len() == 0 {
		return -1
	}
	return min(max(0, int((t-s.Oldest())/FrameStep)), s.Len()-1)
}

// Latest returns the number of the newest frame whose intervals have all
// arrived, or the newest of all when none has; -1 when there is no history.
func (s *Snapshot) Latest() int {
	i := s.Len() - 1
	for i > 0 && s.Frame(i).End() > s.Now-FrameStep {
		i--
	}
	return i
}

// FindingAt returns finding i as it was known at time t: its last version that
// had seen no more than that, or its first.
func (s *Snapshot) FindingAt(i int, t model.Time) *model.Finding {
	versions := s.versions[i]
	for n := len(versions) - 1; n > 0; n-- {
		if versions[n].End <= t {
			return versions[n]
		}
	}
	return versions[0]
}

// Values returns n values that end with frame last, oldest first: not a number
// where a frame has none, or is older than the history.
func (s *Snapshot) Values(last, n int, value func(*Frame) (v float32, ok bool)) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(math.NaN())
		if f := s.Frame(last - n + 1 + i); f != nil {
			if v, ok := value(f); ok {
				out[i] = v
			}
		}
	}
	return out
}
