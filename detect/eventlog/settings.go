package eventlog

import "lostbeat/detect"

// Settings are the thresholds of event-log; docs/DETECTORS.md explains each.
type Settings struct {
	PortsBefore detect.Duration
	LinkBefore  detect.Duration
}

// Fields lists the settings with their defaults, meanings and reasons.
func (s *Settings) Fields() []detect.Field {
	return []detect.Field{
		{
			Key:     "ports_before",
			Default: "10m",
			Doc:     "how long before a cluster's event a want of ports is named with it",
			Reason:  "Windows writes such an entry rarely, however long it lasts",
			Value:   &s.PortsBefore,
		},
		{
			Key:     "link_before",
			Default: "1m",
			Doc:     "how long before a cluster's event an adapter, a disk or a step of the clock is named with it",
			Reason:  "a cluster removes a node after 5 to 20 s without heartbeats; its entry may wait for the quorum",
			Value:   &s.LinkBefore,
		},
	}
}
