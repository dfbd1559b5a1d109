package packetdrop

import "lostbeat/detect"

// Settings are the thresholds of packet-drop; docs/DETECTORS.md explains each.
type Settings struct {
	MinDrops         uint64
	MinRefused       uint64
	MinHealthy       uint64
	MinUnknown       uint64
	MinRest          uint64
	SustainedSeconds uint64
	FilterShare      float64
	CriticalLoss     float64
	TableFull        float64
}

// Fields lists the settings with their defaults, meanings and reasons.
func (s *Settings) Fields() []detect.Field {
	return []detect.Field{
		{
			Key:     "min_drops",
			Default: "50",
			Doc:     "packets lost within the window for a reason that healthy hosts do not show",
			Reason:  "netdata warns at 10 a second; a device that comes up loses a few",
			Value:   &s.MinDrops,
		},
		{
			Key:     "min_refused",
			Default: "10",
			Doc: "connections that a full accept queue refused within the window, in two seconds of it or more, from which " +
				"it is reported",
			Reason: "netdata warns at one in a minute; each waits for a second or more until it is tried again",
			Value:  &s.MinRefused,
		},
		{
			Key:     "min_healthy",
			Default: "150",
			Doc:     "packets lost within the window for a reason that healthy hosts show in small numbers",
			Reason:  "50 a second, sustained; late answers to closed sockets and IPv6 multicast stay below 10",
			Value:   &s.MinHealthy,
		},
		{
			Key:     "min_unknown",
			Default: "600",
			Doc:     "packets freed within the window in a function about which nothing is known",
			Reason:  "some functions free packets that they have used (vsock: 30 a second on a virtual machine)",
			Value:   &s.MinUnknown,
		},
		{
			Key:     "min_rest",
			Default: "1000",
			Doc: "packets lost within a minute below another detector's thresholds, or within the window at many " +
				"ports, from which they are noted",
			Reason: "17 a second, sustained; one burst that overflows a backlog of the default size",
			Value:  &s.MinRest,
		},
		{
			Key:     "sustained_seconds",
			Default: "30",
			Doc:     "seconds of a minute with a loss below another detector's thresholds from which it is noted",
			Reason:  "half of them; a host in order loses single packets in bursts, minutes apart",
			Value:   &s.SustainedSeconds,
		},
		{
			Key:     "filter_share",
			Default: "0.05",
			Doc:     "share of a device's packets that a filter must drop",
			Reason:  "a firewall drops scans all day: far below 1 % of the traffic",
			Value:   &s.FilterShare,
		},
		{
			Key:     "critical_share",
			Default: "0.25",
			Doc:     "share of a device's packets lost from which the finding is critical",
			Reason:  "as for rings and backlogs",
			Value:   &s.CriticalLoss,
		},
		{
			Key:     "table_full",
			Default: "0.95",
			Doc:     "fill of a table of the kernel from which it is called full",
			Reason:  "entries come and go between the drop and the reading",
			Value:   &s.TableFull,
		},
	}
}
