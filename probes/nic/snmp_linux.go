package nic

import (
	"io"
	"slices"
	"strconv"

	"lostbeat/internal/snmp"
)

// snmpCounters are the counters that are passed on, by protocol as in
// /proc/net/snmp and /proc/net/netstat ("Udp: names", "Udp: values"), and in
// /proc/net/snmp6 ("Udp6InErrors value").
var snmpCounters = []struct {
	protocol string
	names    []string
}{
	{"Udp", []string{"InDatagrams", "NoPorts", "InErrors", "RcvbufErrors", "SndbufErrors", "InCsumErrors", "MemErrors"}},
	{"Tcp", []string{"InSegs", "OutSegs", "RetransSegs", "InErrs", "AttemptFails"}},
	{"TcpExt", []string{"ListenOverflows", "ListenDrops", "TCPBacklogDrop", "TCPRcvQDrop", "PruneCalled", "TCPTimeouts"}},
	{
		"Udp6",
		[]string{"InDatagrams", "NoPorts", "InErrors", "RcvbufErrors", "SndbufErrors", "InCsumErrors", "MemErrors"},
	},
}

// snmpNames returns the counters of a protocol that are passed on.
func snmpNames(protocol string) []string {
	for _, c := range snmpCounters {
		if c.protocol == protocol {
			return c.names
		}
	}
	return nil
}

// counter is one SNMP counter and its value.
type counter struct {
	protocol, name string
	value          uint64
}

// parseSNMP reads /proc/net/snmp or /proc/net/netstat. It returns the counters
// that are passed on.
func parseSNMP(r io.Reader) ([]counter, error) { return parseCounters(r, snmp.Read) }

// parseSNMP6 does the same with /proc/net/snmp6.
func parseSNMP6(r io.Reader) ([]counter, error) { return parseCounters(r, snmp.Read6) }

func parseCounters(r io.Reader, read func(io.Reader, snmp.Each) error) (counters []counter, err error) {
	err = read(r, func(protocol, name, value string) error {
		if !slices.Contains(snmpNames(protocol), name) {
			return nil
		}
		v, err := strconv.ParseUint(value, 10, 64)
		if err == nil {
			counters = append(counters, counter{protocol, name, v})
		}
		return err
	})
	return counters, err
}
