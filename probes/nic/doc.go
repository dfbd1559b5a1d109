// Package nic observes network devices: how their packets are polled, what
// their rings lose, and which CPUs serve them.
//
// On Linux it has four sources. The tracepoint napi:napi_poll is counted in
// the kernel per device and CPU: a poll that uses its whole budget is the sign
// of more work than the CPU takes, and polls by NAPI threads do not show up as
// NET_RX. /proc/net/softnet_stat and the SNMP counters are read once a second.
// rtnetlink gives the links and their counters; the drivers' own statistics
// (ethtool -S) are searched for what the ring has lost, see [RingStatistics].
// Rings, queues, and the affinity of interrupts, RPS and XPS come from ethtool
// and sysfs.
//
// Devices are watched in every network namespace that has a name under
// /run/netns or a process; the loopback device only in the host's. A change is
// found by comparing once a second (links) or every ten seconds (layout), so
// that a link which goes down and up within a second is not seen to.
//
// Packets that a driver drops after it has taken them from the ring are the
// business of package drop.
package nic
