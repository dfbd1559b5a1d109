package ringdrop

import "lostbeat/detect"

// Settings are the thresholds of ring-drop; docs/DETECTORS.md explains each.
type Settings struct {
	MinDrops      uint64
	DropShare     float64
	BusyShare     float64
	FullPollShare float64
}

// Fields lists the settings with their defaults, meanings and reasons.
func (s *Settings) Fields() []detect.Field {
	return []detect.Field{
		{
			Key:     "min_drops",
			Default: "50",
			Doc:     "packets lost in a ring within the window",
			Reason:  "well above the few that are lost while a link comes up",
			Value:   &s.MinDrops,
		},
		{
			Key:     "drop_share",
			Default: "0.001",
			Doc:     "and their share of what arrived",
			Reason:  "netdata warns at 2 % over 10 min; a heartbeat is lost long before",
			Value:   &s.DropShare,
		},
		{
			Key:     "busy_share",
			Default: "0.7",
			Doc:     "share of its time from which the CPU that empties the ring is called too busy for it",
			Reason:  "as starvation.busy_share",
			Value:   &s.BusyShare,
		},
		{
			Key:     "full_poll_share",
			Default: "0.5",
			Doc:     "share of polls that left packets behind from which the CPU is called too slow for the ring",
			Reason:  "as starvation.full_poll_share",
			Value:   &s.FullPollShare,
		},
	}
}
