package packetdrop

import (
	"fmt"
	"strings"
)

// unproven marks a row that no test has produced.
const unproven = "unproven"

// Documentation returns the table of reasons as a page: for each row what it means, and the test that has produced it.
func Documentation() string {
	var out strings.Builder
	rows, proven := 0, 0
	section := func(title string, table []Reason) {
		fmt.Fprintf(&out, "\n## %s\n\n", title)
		for i := range table {
			r := &table[i]
			rows++
			mark := unproven
			if r.Proven != "" {
				proven++
				mark = "produced by " + r.Proven
			}
			healthy := ""
			if r.Healthy {
				healthy = "healthy hosts too; "
			}
			fmt.Fprintf(&out, "- `%s` (%s; %s%s): %s\n", strings.TrimSpace(r.Name), r.Cause, healthy, mark, r.Meaning)
		}
	}
	for i, title := range []string{
		"Sockets and their memory", "Filters", "IP, routes and neighbours", "TCP and checksums", "Queueing disciplines",
		"Devices, backlogs and memory", "Open vSwitch",
	} {
		section(title, tables[i])
	}
	section("Families: reasons that are in none of the tables, by the beginning of their name", families)
	section("Functions that give no reason (NOT_SPECIFIED), by the beginning of their name", functions)
	return fmt.Sprintf("# Drop reasons\n\nWhat `packet-drop` knows of each reason for which Linux 6.1, 6.12 and 6.18 "+
		"drop packets, and of the functions that drop them without one: the kind of cause, whether healthy hosts show it, "+
		"and the "+
		"test that has produced it and has compared the number of packets with an independent count "+
		"(`go test ./detect/packetdrop -run TestReasons`, as root). %d of %d rows are produced; the others are %s: their "+
		"meaning is concluded from the kernel's source. This page is generated from `detect/packetdrop/reasons_*.go` and "+
		"`functions_*.go`.\n", proven, rows, unproven) + out.String()
}
