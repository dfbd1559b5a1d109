package socketdrop

import "lostbeat/detect"

// Settings are the thresholds of socket-drop; docs/DETECTORS.md explains each.
type Settings struct {
	MinDrops    uint64
	StoppedIdle detect.Duration
	FullShare   float64
	SlowShare   float64
	LateIdle    detect.Duration
	BusyShare   float64
}

// Fields lists the settings with their defaults, meanings and reasons.
func (s *Settings) Fields() []detect.Field {
	return []detect.Field{
		{
			Key:     "min_drops",
			Default: "20",
			Doc:     "packets dropped at a socket's queue within the window",
			Reason:  "netdata warns at 10 a second",
			Value:   &s.MinDrops,
		},
		{
			Key:     "stopped_idle",
			Default: "2s",
			Doc:     "time without a read, with data in the queue, after which a program has stopped reading",
			Reason:  "longer than a garbage collection or a slow disk",
			Value:   &s.StoppedIdle,
		},
		{
			Key:     "full_share",
			Default: "0.9",
			Doc:     "share of readings that found the queue filled at which the program is slow rather than its buffer small",
			Reason:  "a queue that never empties has no bursts",
			Value:   &s.FullShare,
		},
		{
			Key:     "slow_share",
			Default: "0.5",
			Doc:     "part of the limit from which the queue counts as filled",
			Reason:  "the probe reports queues from half full on",
			Value:   &s.SlowShare,
		},
		{
			Key:     "late_idle",
			Default: "50ms",
			Doc:     "time without a read, with data in the queue, or without the CPU, from which a reader is late",
			Reason:  "ten time slices of a busy CPU; a buffer of 208 KiB holds 2,500 small datagrams a second for longer",
			Value:   &s.LateIdle,
		},
		{
			Key:     "busy_share",
			Default: "0.8",
			Doc:     "share of its time on the CPU from which a reader is too slow rather than late",
			Reason:  "the rest goes into system calls that wait for data",
			Value:   &s.BusyShare,
		},
	}
}
