package nic

import (
	"slices"
	"strconv"
	"strings"
)

// ringTable says which of a driver's statistics (ethtool -S) count packets that
// were lost because the receive ring, or the buffer in front of it, was full.
type ringTable struct {
	// perQueue are names with % for the queue's number; the first that the
	// driver has is used, as names have changed between versions.
	perQueue []string
	// device are names for the device as a whole, of losses that are not in
	// perQueue; all that the driver has are used.
	device []string
	// note is what to know about them, empty when nothing.
	note string
}

// ringTables are by driver name as ETHTOOL_GDRVINFO gives it. The names come
// from the drivers' sources.
var ringTables = map[string]ringTable{
	"virtio_net": {
		perQueue: []string{"rx%_drops", "rx_queue_%_drops"},
		note:     "only the hypervisor counts frames that it could not put into a full ring",
	},
	"e1000":   {device: []string{"rx_missed_errors"}},
	"e1000e":  {device: []string{"rx_missed_errors"}},
	"igb":     {perQueue: []string{"rx_queue_%_drops"}, device: []string{"rx_missed_errors"}},
	"igc":     {perQueue: []string{"rx_queue_%_drops"}, device: []string{"rx_missed_errors"}},
	"ixgbe":   {device: []string{"rx_missed_errors", "rx_no_dma_resources"}},
	"i40e":    {device: []string{"port.rx_dropped"}},
	"ice":     {device: []string{"rx_dropped.nic"}},
	"mlx4_en": {perQueue: []string{"rx%_dropped"}},
	"mlx5_core": {
		device: []string{"rx_out_of_buffer", "rx_discards_phy"},
		note:   "rx_discards_phy counts losses in the port's buffer, before the rings",
	},
	"bnxt_en": {perQueue: []string{"[%]: rx_discards", "[%]: rx_discard_pkts"}},
	"bnx2x":   {perQueue: []string{"[%]: rx_discards"}},
	"bnx2":    {device: []string{"rx_fw_discards"}},
	"tg3":     {device: []string{"rx_discards"}},
	"r8169":   {device: []string{"rx_missed"}},
	"vmxnet3": {perQueue: []string{"pkts rx OOB"}},
	"gve": {
		perQueue: []string{"rx_no_buffers_posted[%]"},
		note:     "counted only while the private flag report-stats is on",
	},
	"ena": {device: []string{"rx_drops", "rx_overruns"}},
}

// ringless are drivers of devices without a hardware ring, or whose ring
// losses are counted elsewhere, with what to say about them.
var ringless = map[string]string{
	"veth":      "a full ring is counted as the peer's tx_dropped, and at veth_xmit by the drop probe",
	"hv_netvsc": "the driver does not count ring losses; the hypervisor does",
	"vif":       "the driver does not count ring losses; the hypervisor does",
	"tun":       "a full queue is counted as tx_dropped, and at tun_net_xmit by the drop probe",
}

// ringStatistic is one statistic that counts ring losses.
type ringStatistic struct {
	name  string
	index int   // in the driver's list
	queue int64 // -1 for the device as a whole
}

// findRingStatistics selects the ring statistics among the names that a driver
// lists. Nothing is returned for a driver that is not in the table, or whose
// list has none of them.
func findRingStatistics(driver string, names []string) []ringStatistic {
	table, ok := ringTables[driver]
	if !ok {
		return nil
	}
	var found []ringStatistic
	for _, pattern := range table.perQueue {
		if found = matchQueues(pattern, names); len(found) > 0 {
			break
		}
	}
	for i, name := range names {
		if slices.Contains(table.device, strings.TrimSpace(name)) {
			found = append(found, ringStatistic{strings.TrimSpace(name), i, -1})
		}
	}
	return found
}

// matchQueues finds the statistics of the queues. A pattern without % is a name
// that the driver repeats for each queue, after a line "Rx Queue#".
func matchQueues(pattern string, names []string) (found []ringStatistic) {
	prefix, suffix, numbered := strings.Cut(pattern, "%")
	queue := int64(-1)
	for i, name := range names {
		name = strings.TrimSpace(name)
		if !numbered {
			switch name {
			case "Rx Queue#":
				queue++
			case pattern:
				found = append(found, ringStatistic{name, i, queue})
			}
			continue
		}
		middle, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		if middle, ok = strings.CutSuffix(middle, suffix); !ok {
			continue
		}
		number, err := strconv.ParseUint(middle, 10, 16)
		if err != nil {
			continue
		}
		found = append(found, ringStatistic{name, i, int64(number)})
	}
	return found
}

// Statistics of the link that stand in where a driver is not known.
const (
	linkMissed  = "rx_missed_errors"
	linkDropped = "rx_dropped"
)

// ringSource says in words what is known about a device's ring losses.
func ringSource(driver string, physical bool, found []ringStatistic) string {
	if len(found) > 0 {
		names := make([]string, 0, len(found))
		for _, s := range found {
			names = append(names, s.name)
		}
		source := strings.Join(names[:min(len(names), 3)], ", ")
		if len(names) > 3 {
			source += ", ..., " + names[len(names)-1]
		}
		if note := ringTables[driver].note; note != "" {
			source += "; " + note
		}
		return source
	}
	if note, ok := ringless[driver]; ok {
		return "none: " + note
	}
	if !physical {
		return "none: a virtual device without a ring"
	}
	return "the link's rx_missed_errors if the driver uses it, otherwise rx_dropped, which includes packets that the " +
		"kernel dropped: this driver's own statistics are not known"
}
