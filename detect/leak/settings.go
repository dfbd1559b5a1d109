package leak

import "lostbeat/detect"

// Settings are the thresholds of port-leak; docs/DETECTORS.md explains each.
type Settings struct {
	MinPorts           uint64
	MinPortsFast       uint64
	BoundedShare       float64
	MinPortsBounded    uint64
	MinConnections     uint64
	MinConnectionsFast uint64
	SlowNote           uint64
	SlowPorts          uint64
	Evenness           float64
	GivenBack          float64
	ProofAfter         detect.Duration
	EarlyChurn         uint64
	KeepFor            detect.Duration
	CriticalWithin     detect.Duration
	VanishedPorts      uint64
	VanishedFactor     float64
	RestLinux          detect.Duration
	RestWindows        detect.Duration
}

// Fields lists the settings with their defaults, meanings and reasons.
func (s *Settings) Fields() []detect.Field {
	return []detect.Field{
		{
			Key:     "min_ports",
			Default: "24",
			Doc:     "growth that counts as a leak over 20 s and more",
			Reason:  "above what one request of a healthy program opens",
			Value:   &s.MinPorts,
		},
		{
			Key:     "min_ports_fast",
			Default: "40",
			Doc:     "growth that counts as a leak within 5 s",
			Reason:  "clear cases only: ports every second and none back",
			Value:   &s.MinPortsFast,
		},
		{
			Key:     "bounded_share",
			Default: "0.2",
			Doc: "part of a bounded pool (configured, RPC, reserved) whose growth counts as a leak where that is " +
				"fewer ports",
			Reason: "most of a pool of 100 would be gone before 40 ports stand out",
			Value:  &s.BoundedShare,
		},
		{
			Key:     "min_ports_bounded",
			Default: "8",
			Doc:     "growth that counts as a leak in the smallest of bounded pools",
			Reason:  "a handful of sockets is how programs begin",
			Value:   &s.MinPortsBounded,
		},
		{
			Key:     "min_connections",
			Default: "40",
			Doc:     "growth of TCP connections over a minute and more",
			Reason:  "connection pools of a few dozen are common",
			Value:   &s.MinConnections,
		},
		{
			Key:     "min_connections_fast",
			Default: "200",
			Doc:     "growth of TCP connections within 5 s",
			Reason:  "connection pools of 100 are common, of 200 rare",
			Value:   &s.MinConnectionsFast,
		},
		{
			Key:     "slow_note",
			Default: "12",
			Doc: "ports taken evenly, at most 2.5 a second, and all kept, that are a note of severity info; of connections " +
				"twice as many",
			Reason: "a dozen even steps without one back are not an accident",
			Value:  &s.SlowNote,
		},
		{
			Key:     "slow_ports",
			Default: "50",
			Doc:     "the same that is called a leak",
			Reason:  "pools that warm up have reached their size by then",
			Value:   &s.SlowPorts,
		},
		{
			Key:     "evenness",
			Default: "0.4",
			Doc:     "smallest step, as part of the mean step, of growth that is called steady",
			Reason:  "what levels off is a pool that settles",
			Value:   &s.Evenness,
		},
		{
			Key:     "given_back",
			Default: "0.05",
			Doc:     "part of the ports taken that may be released meanwhile",
			Reason:  "a process that gives back is not leaking, unless it churns",
			Value:   &s.GivenBack,
		},
		{
			Key:     "proof_after",
			Default: "7s",
			Doc:     "how long growth must last to be called a leak; before, the finding is of severity info",
			Reason:  "clients that wait 5 s for an answer hold their ports as long",
			Value:   &s.ProofAfter,
		},
		{
			Key:     "early_churn",
			Default: "20",
			Doc:     "ports released within moments for each one kept, from which keeping one a second is reported early",
			Reason:  "what is kept stands out against 95 % and more that is not",
			Value:   &s.EarlyChurn,
		},
		{
			Key:     "keep_for",
			Default: "15s",
			Doc:     "how long a leak may pause",
			Reason:  "hysteresis",
			Value:   &s.KeepFor,
		},
		{
			Key:     "critical_within",
			Default: "10m0s",
			Doc:     "forecast at which a leak is critical",
			Reason:  "time for a person to act",
			Value:   &s.CriticalWithin,
		},
		{
			Key:     "vanished_ports",
			Default: "16",
			Doc:     "ports of a bounded pool that must be missing",
			Reason:  "chance alone leaves a few",
			Value:   &s.VanishedPorts,
		},
		{
			Key:     "vanished_factor",
			Default: "4",
			Doc:     "how much longer than the usual time (p95) a port must lie unused to be missing",
			Reason:  "with a random choice, four times the p95 happens once in 160,000 ports",
			Value:   &s.VanishedFactor,
		},
		{
			Key:     "rest_linux",
			Default: "1m0s",
			Doc:     "rest of a closed TCP port on Linux where its event does not say",
			Reason:  "TCP_TIMEWAIT_LEN, 60 s",
			Value:   &s.RestLinux,
		},
		{
			Key:     "rest_windows",
			Default: "4m0s",
			Doc:     "rest of a closed port on Windows where its event does not say",
			Reason:  "TcpTimedWaitDelay, 240 s",
			Value:   &s.RestWindows,
		},
	}
}
