// Package snmp reads the counters of Linux's network protocols, as
// /proc/net/snmp, netstat and snmp6 print them.
package snmp

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// maxLine bounds a line of /proc/net/netstat, whose longest is about 4 KiB.
const maxLine = 64 << 10

// Each takes one counter, its value as it is printed: a few are settings and
// may be negative. An error ends the reading.
type Each func(protocol, name, value string) error

// Read reads /proc/net/snmp or /proc/net/netstat: pairs of lines, the first
// with the names and the second with the values ("Udp: names", "Udp: values").
func Read(r io.Reader, each Each) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for number := 1; lines.Scan(); number += 2 {
		protocol, names, ok := strings.Cut(lines.Text(), ":")
		if !ok {
			return fmt.Errorf("snmp line %d: no protocol", number)
		}
		values, ok := "", lines.Scan()
		if ok {
			values, ok = strings.CutPrefix(lines.Text(), protocol+":")
		}
		if !ok {
			return fmt.Errorf("snmp line %d: names of %s without values", number, protocol)
		}
		nameFields, valueFields := strings.Fields(names), strings.Fields(values)
		if len(nameFields) != len(valueFields) {
			return fmt.Errorf("snmp line %d: %d names, %d values", number+1, len(nameFields), len(valueFields))
		}
		for i, name := range nameFields {
			if err := each(protocol, name, valueFields[i]); err != nil {
				return fmt.Errorf("snmp line %d: %s.%s: %w", number+1, protocol, name, err)
			}
		}
	}
	return lines.Err()
}

// Read6 reads /proc/net/snmp6: a name and a value a line. Its protocols end in
// "6", and their counters have the names of IPv4: "Udp6InErrors 3" is the
// counter InErrors of Udp6. A value that is missing is empty.
func Read6(r io.Reader, each Each) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for number := 1; lines.Scan(); number++ {
		label, value, _ := strings.Cut(strings.ReplaceAll(lines.Text(), "\t", " "), " ")
		protocol, name, ok := strings.Cut(label, "6")
		if !ok {
			continue
		}
		if err := each(protocol+"6", name, strings.TrimSpace(value)); err != nil {
			return fmt.Errorf("snmp6 line %d: %s: %w", number, label, err)
		}
	}
	return lines.Err()
}
