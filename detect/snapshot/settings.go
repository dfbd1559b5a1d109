package snapshot

import "lostbeat/detect"

// Settings are the thresholds of port-snapshot; docs/DETECTORS.md explains each.
type Settings struct {
	WarnShare   float64
	FullShare   float64
	HolderShare float64
	BoundShare  float64
	NoteShare   float64
	MinGrowth   uint64
	CloseWait   uint64
}

// Fields lists the settings with their defaults, meanings and reasons.
func (s *Settings) Fields() []detect.Field {
	return []detect.Field{
		{
			Key:     "warn_share",
			Default: "0.85",
			Doc:     "share of the system's range, or of the ports for one destination, that is reported",
			Reason:  "as exhaustion.warn_share",
			Value:   &s.WarnShare,
		},
		{
			Key:     "full_share",
			Default: "0.98",
			Doc:     "share from which it is critical",
			Reason:  "the last ports are hard to find",
			Value:   &s.FullShare,
		},
		{
			Key:     "holder_share",
			Default: "0.5",
			Doc:     "share of the range in UDP ports of one process that is reported",
			Reason:  "a DNS server's pool of source ports is 15 % (2,500 of 16,384), a third with one for IPv6",
			Value:   &s.HolderShare,
		},
		{
			Key:     "bound_share",
			Default: "0.1",
			Doc:     "share of the range that one process has bound, without listening or a connection, that is reported",
			Reason:  "programs bind a port to use it; a public case had 2,260 (14 %)",
			Value:   &s.BoundShare,
		},
		{
			Key:     "note_share",
			Default: "0.1",
			Doc:     "share of the range in ports of one process that is noted",
			Reason:  "whoever asks for ports next is affected",
			Value:   &s.NoteShare,
		},
		{
			Key:     "min_growth",
			Default: "256",
			Doc:     "ports that a process must have gained over the tables, and kept",
			Reason:  "programs that start, and pools that fill, take tens",
			Value:   &s.MinGrowth,
		},
		{
			Key:     "close_wait",
			Default: "200",
			Doc:     "connections in CLOSE_WAIT of one process that are reported",
			Reason:  "a program that closes what its peer has closed has a few",
			Value:   &s.CloseWait,
		},
	}
}
