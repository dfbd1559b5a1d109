package heartbeatloss

import "lostbeat/detect"

// Settings are the thresholds of heartbeat-loss; docs/DETECTORS.md explains each.
type Settings struct {
	LatePeriods   uint64
	LeastLate     detect.Duration
	TimeoutShare  float64
	SilentPeriods uint64
	LeastSilent   detect.Duration
	LostShare     float64
	HeldShare     float64
	BusyShare     float64
}

// Fields lists the settings with their defaults, meanings and reasons.
func (s *Settings) Fields() []detect.Field {
	return []detect.Field{
		{
			Key:     "late_periods",
			Default: "3",
			Doc:     "usual gaps of a followed flow after which a gap is too long",
			Reason:  "protocols give a peer up after three to five heartbeats; one that is missing means little",
			Value:   &s.LatePeriods,
		},
		{
			Key:     "least_late",
			Default: "200ms",
			Doc:     "and the least length of such a gap",
			Reason:  "below the shortest timeouts in use; a busy host is late by tens of milliseconds now and then",
			Value:   &s.LeastLate,
		},
		{
			Key:     "timeout_share",
			Default: "0.4",
			Doc: "share of the protocol's timeout, where that is known, from which a gap of fewer usual gaps is too long " +
				"as well",
			Reason: "WSFC notes two fifths of the heartbeats that it allows to be missed, Oracle CSS half of its timeout: " +
				"early enough to act",
			Value: &s.TimeoutShare,
		},
		{
			Key:     "silent_periods",
			Default: "5",
			Doc:     "usual gaps after which nothing that comes is a loss while it lasts, rather than a new period",
			Reason:  "a gap that has ended is judged by what comes after it; one that lasts has no such proof",
			Value:   &s.SilentPeriods,
		},
		{
			Key:     "least_silent",
			Default: "1s",
			Doc:     "and the least length of such a silence; the protocol's own timeout counts where it is shorter",
			Reason:  "a peer that is restarted is back within a second or so",
			Value:   &s.LeastSilent,
		},
		{
			Key:     "lost_share",
			Default: "0.5",
			Doc:     "share of the missing packets that the host must have dropped for the loss to be its own",
			Reason:  "fewer cannot be why most of them are missing",
			Value:   &s.LostShare,
		},
		{
			Key:     "held_share",
			Default: "0.5",
			Doc:     "share of the delay that the reader or sender must have been held up for that to be the reason",
			Reason:  "the rest is on the way to the hold-up and back",
			Value:   &s.HeldShare,
		},
		{
			Key:     "busy_share",
			Default: "0.8",
			Doc:     "share of the delay that the reader must have been on the CPU to be busy with other work",
			Reason:  "as for socket-drop",
			Value:   &s.BusyShare,
		},
	}
}
