package exhaustion

import "lostbeat/detect"

// Settings are the thresholds of port-exhaustion; docs/DETECTORS.md explains each.
type Settings struct {
	WarnShare   float64
	ClearShare  float64
	FullShare   float64
	MinPorts    uint64
	FailuresFor detect.Duration
}

// Fields lists the settings with their defaults, meanings and reasons.
func (s *Settings) Fields() []detect.Field {
	return []detect.Field{
		{
			Key:     "warn_share",
			Default: "0.85",
			Doc:     "share of a pool in use or at rest that is reported",
			Reason:  "netdata warns of file and process tables at 90 %; ports are refused without warning",
			Value:   &s.WarnShare,
		},
		{
			Key:     "clear_share",
			Default: "0.75",
			Doc:     "share below which the finding may close",
			Reason:  "hysteresis",
			Value:   &s.ClearShare,
		},
		{
			Key:     "full_share",
			Default: "0.98",
			Doc:     "share at which a refused allocation is the pool's fault",
			Reason:  "the last ports are hard to find",
			Value:   &s.FullShare,
		},
		{
			Key:     "min_ports",
			Default: "16",
			Doc:     "smallest pool that is judged",
			Reason:  "a pool of a few ports is meant to be full",
			Value:   &s.MinPorts,
		},
		{
			Key:     "failures_for",
			Default: "10s",
			Doc:     "how long a refused allocation counts",
			Reason:  "hysteresis",
			Value:   &s.FailuresFor,
		},
	}
}
