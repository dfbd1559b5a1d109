package packetmonitor

import "lostbeat/detect"

// Settings are the thresholds of packet-monitor; docs/DETECTORS.md explains each.
type Settings struct {
	WarnLost uint64
	Unwanted uint64
}

// Fields lists the settings with their defaults, meanings and reasons.
func (s *Settings) Fields() []detect.Field {
	return []detect.Field{
		{
			Key:     "warn_lost",
			Default: "10",
			Doc:     "packets lost for one reason from which it is a warning; fewer are noted",
			Reason:  "single packets are lost on every host; of heartbeats, heartbeat-loss speaks",
			Value:   &s.WarnLost,
		},
		{
			Key:     "unwanted",
			Default: "10",
			Doc:     "packets for one port on which nothing listens that are noted",
			Reason:  "answers that come after a client has closed its socket are single ones",
			Value:   &s.Unwanted,
		},
	}
}
