package nic

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// snmpCounters are the counters that are passed on, by the file that has them:
// /proc/net/snmp and /proc/net/netstat ("Udp: names", "Udp: values"), and
// /proc/net/snmp6 ("Udp6InErrors value").
var snmpCounters = []string{
	"Udp.InDatagrams", "Udp.NoPorts", "Udp.InErrors", "Udp.RcvbufErrors", "Udp.SndbufErrors", "Udp.InCsumErrors", "Udp.MemErrors",
	"Tcp.InSegs", "Tcp.OutSegs", "Tcp.RetransSegs", "Tcp.InErrs", "Tcp.AttemptFails",
	"TcpExt.ListenOverflows", "TcpExt.ListenDrops", "TcpExt.TCPBacklogDrop", "TcpExt.TCPRcvQDrop", "TcpExt.PruneCalled", "TcpExt.TCPTimeouts",
	"Udp6.InDatagrams", "Udp6.NoPorts", "Udp6.InErrors", "Udp6.RcvbufErrors", "Udp6.SndbufErrors", "Udp6.InCsumErrors", "Udp6.MemErrors",
}

// maxLine bounds a line of /proc/net/netstat, whose longest is about 4 KiB.
const maxLine = 64 << 10

// parseSNMP reads /proc/net/snmp or /proc/net/netstat: pairs of lines, the
// first with the names and the second with the values, and adds "Udp.InErrors"
// and so on to counters.
func parseSNMP(r io.Reader, counters map[string]uint64) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for number := 1; lines.Scan(); number += 2 {
		protocol, names, ok := strings.Cut(lines.Text(), ":")
		if !ok {
			return fmt.Errorf("snmp line %d: no protocol", number)
		}
		if !lines.Scan() {
			break
		}
		values, ok := strings.CutPrefix(lines.Text(), protocol+":")
		if !ok {
			return fmt.Errorf("snmp line %d: names of %s without values", number+1, protocol)
		}
		nameFields, valueFields := strings.Fields(names), strings.Fields(values)
		if len(nameFields) != len(valueFields) {
			return fmt.Errorf("snmp line %d: %d names, %d values", number+1, len(nameFields), len(valueFields))
		}
		for i, name := range nameFields {
			v, err := strconv.ParseInt(valueFields[i], 10, 64) // Tcp MaxConn is -1
			if err != nil {
				// Counters of 64 bits use all of them.
				u, err := strconv.ParseUint(valueFields[i], 10, 64)
				if err != nil {
					return fmt.Errorf("snmp line %d: %s.%s: %w", number+1, protocol, name, err)
				}
				v = int64(u)
			}
			counters[protocol+"."+name] = uint64(v)
		}
	}
	return lines.Err()
}

// parseSNMP6 reads /proc/net/snmp6: a name and a value a line. The names are
// written like those of the other files: "Udp6.InErrors".
func parseSNMP6(r io.Reader, counters map[string]uint64) error {
	lines := bufio.NewScanner(r)
	for number := 1; lines.Scan(); number++ {
		fields := strings.Fields(lines.Text())
		if len(fields) != 2 {
			return fmt.Errorf("snmp6 line %d: %d fields", number, len(fields))
		}
		v, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			return fmt.Errorf("snmp6 line %d: %w", number, err)
		}
		if name, ok := strings.CutPrefix(fields[0], "Udp6"); ok {
			counters["Udp6."+name] = v
		}
	}
	return lines.Err()
}
