package nic

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
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
		protocolUDP6,
		[]string{"InDatagrams", "NoPorts", "InErrors", "RcvbufErrors", "SndbufErrors", "InCsumErrors", "MemErrors"},
	},
}

const protocolUDP6 = "Udp6"

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

// maxLine bounds a line of /proc/net/netstat, whose longest is about 4 KiB.
const maxLine = 64 << 10

// parseSNMP reads /proc/net/snmp or /proc/net/netstat: pairs of lines, the
// first with the names and the second with the values. It returns the counters
// that are passed on.
func parseSNMP(r io.Reader) (counters []counter, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for number := 1; lines.Scan(); number += 2 {
		protocol, names, ok := strings.Cut(lines.Text(), ":")
		if !ok {
			return counters, fmt.Errorf("snmp line %d: no protocol", number)
		}
		if !lines.Scan() {
			break
		}
		values, ok := strings.CutPrefix(lines.Text(), protocol+":")
		if !ok {
			return counters, fmt.Errorf("snmp line %d: names of %s without values", number+1, protocol)
		}
		wanted := snmpNames(protocol)
		if wanted == nil {
			continue
		}
		nameFields, valueFields := strings.Fields(names), strings.Fields(values)
		if len(nameFields) != len(valueFields) {
			return counters, fmt.Errorf("snmp line %d: %d names, %d values", number+1, len(nameFields), len(valueFields))
		}
		for i, name := range nameFields {
			if !slices.Contains(wanted, name) {
				continue
			}
			v, err := strconv.ParseUint(valueFields[i], 10, 64)
			if err != nil {
				return counters, fmt.Errorf("snmp line %d: %s.%s: %w", number+1, protocol, name, err)
			}
			counters = append(counters, counter{protocol, name, v})
		}
	}
	return counters, lines.Err()
}

// parseSNMP6 reads /proc/net/snmp6: a name and a value a line. It returns the
// counters of UDP that are passed on, named like those of IPv4: "InErrors".
func parseSNMP6(r io.Reader) (counters []counter, err error) {
	wanted := snmpNames(protocolUDP6)
	lines := bufio.NewScanner(r)
	for number := 1; lines.Scan(); number++ {
		name, value, _ := strings.Cut(lines.Text(), "\t")
		name, ok := strings.CutPrefix(strings.TrimSpace(name), protocolUDP6)
		if !ok || !slices.Contains(wanted, name) {
			continue
		}
		v, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
		if err != nil {
			return counters, fmt.Errorf("snmp6 line %d: %w", number, err)
		}
		counters = append(counters, counter{protocolUDP6, name, v})
	}
	return counters, lines.Err()
}
