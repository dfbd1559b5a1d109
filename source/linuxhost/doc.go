// Package linuxhost reads what Linux hosts count: the time series of sar, and
// the counters since boot in sosreport and supportconfig bundles.
//
// # sar
//
// The output of sadf -x (XML), sadf -j (JSON) and sar -A (text in any locale,
// with 12 or 24 hours). A time stamp is the end of its interval. The length of an
// interval is in whole seconds in XML and JSON, while rates are over the exact
// time: a rate times its interval is the count within about 0.1 %. The binary
// file changes between versions: it is given to sadf where that is installed.
// XML and JSON say their zone; text has that of whoever ran sar, and no name.
// XML and JSON are preferred to text of the same days, and the same sample in
// several files counts once.
//
// # Counters since boot
//
// Files of /proc and outputs of commands are known by their paths as sos writes
// them. They say how much, never since when: two bundles of one host give a
// difference. The files of each folder in a bundle are those of one host at one
// time, see RootOf. Two machines of one name (machine-id), and hosts that are
// called localhost, are different hosts. Each value is a total at the time of its bundle, which is that of
// the output of date in it, else that of its files.
//
// # Events
//
// Everything is a counter event. Rates and shares have the interval that they
// are of as duration; totals and levels have none. Of losses in sar, a value of 0
// comes once at most: one that is missing later is 0. Names, with CPU or instance:
//
//	cpu/softirq, cpu/steal, cpu/irq     share of a CPU's time, or its total in seconds
//	softnet/dropped, softnet/squeezed   packets, runs of a CPU
//	softnet/processed                   packets
//	softirq/NET_RX                      runs of a CPU
//	device/rx_packets, rx_dropped, rx_fifo  packets of an interface
//	device/NAME                         a drop counter of a driver
//	udp/errors, udp/buffer_errors       datagrams of a network namespace
//	socket/dropped, socket/queued_bytes of one socket
//	sockets/udp, sockets/tcp            sockets in use
//	host/restart                        the host was started
//	host/boot_time                      when it was started, in seconds since 1970
package linuxhost
