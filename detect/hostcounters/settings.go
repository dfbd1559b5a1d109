package hostcounters

import "lostbeat/detect"

// Settings are the thresholds of host-counters; docs/DETECTORS.md explains each.
type Settings struct {
	MinSamples   uint64
	BusyShare    float64
	RobustZ      float64
	Significance float64
	LeastLost    uint64
}

// Fields lists the settings with their defaults, meanings and reasons.
func (s *Settings) Fields() []detect.Field {
	return []detect.Field{
		{
			Key:     "min_samples",
			Default: "30",
			Doc:     "samples of sar before a CPU's softirq time is judged",
			Reason:  "as counters.min_samples",
			Value:   &s.MinSamples,
		},
		{
			Key:     "busy_share",
			Default: "0.25",
			Doc:     "softirq share of one CPU, in the samples with a loss, that can be called unusual at all",
			Reason:  "as counters.busy_share",
			Value:   &s.BusyShare,
		},
		{
			Key:     "robust_z",
			Default: "6",
			Doc:     "distance from the CPU's median, in robust standard deviations, that is unusual",
			Reason:  "as counters.robust_z",
			Value:   &s.RobustZ,
		},
		{
			Key:     "significance",
			Default: "0.01",
			Doc:     "largest probability of the coincidence of softirq time and loss under shifts of the samples",
			Reason:  "1 in 100",
			Value:   &s.Significance,
		},
		{
			Key:     "least_lost",
			Default: "100",
			Doc:     "packets lost at one place, at a backlog within an hour, before it is a warning",
			Reason:  "single packets are dropped on most hosts now and then: at a restart, for an unknown protocol",
			Value:   &s.LeastLost,
		},
	}
}
