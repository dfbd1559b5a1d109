package packetdrop

import (
	"fmt"
	"slices"
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
			name := "`" + strings.TrimSpace(r.Name) + "`"
			if r.In != "" {
				name += " in `" + r.In + "`"
			}
			fmt.Fprintf(&out, "- %s (%s; %s%s): %s\n", name, r.Cause, healthy, mark, r.Meaning)
		}
	}
	for i, title := range []string{
		"Sockets and their memory", "Filters", "IP, routes and neighbours", "TCP and checksums", "Queueing disciplines",
		"Devices, backlogs and memory", "Open vSwitch",
	} {
		section(title, tables[i])
	}
	section("Reasons that mean something more exact in one function", exactReasons)
	section("Families: reasons that are in none of the tables, by the beginning of their name", families)
	section("Functions that give no reason (NOT_SPECIFIED), by the beginning of their name", functions)
	return fmt.Sprintf("# Drop reasons\n\nWhat `packet-drop` knows of each reason for which Linux 6.1, 6.12 and 6.18 "+
		"drop packets, and of the functions that drop them without one: the kind of cause, whether healthy hosts show it, "+
		"and the test that has produced it and has compared the number of packets with an independent count (`go test "+
		"./detect/packetdrop -run TestReasons`, as root). %d of %d rows are produced; the others are %s: their meaning is "+
		"concluded from the kernel's source. This page is generated from `detect/packetdrop/reasons_*.go` and "+
		"`functions_*.go`.\n", proven, rows, unproven) + out.String()
}

// Explain returns what is known of a drop reason, or of a kernel function that
// frees packets without one, as paragraphs; false where there is no entry.
func Explain(name string) (string, bool) {
	r, match := Lookup(name, "")
	if match == MatchNone && name != reasonNotSpecified {
		if r, match = Lookup(reasonNotSpecified, name); match == MatchNone {
			return "", false
		}
	}
	paragraphs := []string{name + ": " + r.Meaning}
	add := func(format string, args ...any) { paragraphs = append(paragraphs, fmt.Sprintf(format, args...)) }
	if known := strings.TrimSpace(r.Name); known != name {
		add("This holds for all functions whose names begin with %s.", known)
	}
	add("Kind of cause: %s.", r.Cause)
	if r.Healthy {
		add("Healthy hosts also show it, in small numbers.")
	}
	if r.Noise {
		add("Usually nobody was meant to receive these packets: it is a fault only if it hits a regular flow.")
	}
	if len(r.Confirm) > 0 {
		add("Readings during the fault that confirm it or rule it out: %s.", strings.Join(r.Confirm, ", "))
	}
	if len(r.Counters) > 0 {
		add("The kernel counts it as %s.", strings.Join(r.Counters, ", "))
	}
	if r.Advice != "" {
		add("What to do: %s", r.Advice)
	}
	addExact(r, add)
	if r.Proven != "" {
		add("Proof: a test makes the kernel drop packets for this reason and compares the counts (%s).", r.Proven)
	} else {
		add("Proof: none; the meaning is inferred from the kernel's source.")
	}
	return strings.Join(paragraphs, "\n\n"), true
}

// addExact adds what a reason means in functions in which it means something more exact.
func addExact(r *Reason, add func(format string, args ...any)) {
	var in []string
	var exact *Reason
	for i := range exactReasons {
		if e := &exactReasons[i]; e.Name == r.Name {
			in, exact = append(in, e.In), e
		}
	}
	if exact != nil {
		add("In the functions %s, it means something else: %s Kind of cause: %s. What to do: %s",
			strings.Join(in, " and "), exact.Meaning, exact.Cause, exact.Advice)
	}
}

// Names lists the reasons and functions that Explain knows by their whole name.
func Names() []string {
	var names []string
	for _, table := range append(slices.Clone(tables), functions) {
		for i := range table {
			names = append(names, strings.TrimSpace(table[i].Name))
		}
	}
	return names
}
