package driverstat

import (
	_ "embed"
	"fmt"
	"strings"

	"lostbeat/internal/plain"
)

// documentationHead introduces the page of drivers.
//
//go:embed head.md
var documentationHead string

// Documentation returns the table of drivers as a page.
func Documentation() string {
	var out strings.Builder
	out.WriteString(documentationHead)
	for i := range Drivers {
		d := &Drivers[i]
		fmt.Fprintf(&out, "\n## %s\n\nSource: %s.\n", d.Name, d.Source)
		if d.NoRing != "" {
			fmt.Fprintf(&out, "\nRing losses: %s.\n", d.NoRing)
		}
		if d.Link {
			fmt.Fprintln(&out, "\nrtnetlink's rx_dropped is used instead.")
		}
		if d.Note != "" {
			fmt.Fprintf(&out, "\nNote: %s.\n", d.Note)
		}
		if len(d.Statistics) > 0 {
			fmt.Fprintln(&out)
		}
		for _, group := range []struct {
			title string
			in    func(Class) bool
		}{
			{"lost", Class.Lost},
			{"sign", Class.Sign},
			{"not counted", func(c Class) bool { return !c.Lost() && !c.Sign() }},
		} {
			for j := range d.Statistics {
				s := &d.Statistics[j]
				if !group.in(s.Class) {
					continue
				}
				names := "`" + strings.Join(s.Names, "`, `") + "`"
				line := fmt.Sprintf("- %s (%s; %s): %s", strings.ReplaceAll(names, "%", "N"), group.title, s.Class, s.Meaning)
				if len(s.Less) > 0 {
					line += " Without `" + strings.ReplaceAll(s.Less[0], "%", "N") + "`."
				}
				if s.Advice != "" {
					line += " " + s.Advice
				}
				fmt.Fprintln(&out, line)
			}
		}
	}
	return plain.Fill(out.String(), 120)
}

// Describe returns what is known of a statistic, for each driver that has it, as paragraphs; false where none has.
func Describe(name string) (string, bool) {
	var paragraphs []string
	for i := range Drivers {
		d := &Drivers[i]
		for j := range d.Statistics {
			s := &d.Statistics[j]
			if !s.isCalled(name) {
				continue
			}
			text := fmt.Sprintf("%s, driver %s (%s): %s", name, d.Name, s.Class, s.Meaning)
			if s.Advice != "" {
				text += " What to do: " + s.AdviceFor("DEVICE")
			}
			paragraphs = append(paragraphs, text+" Source: "+d.Source+".")
		}
	}
	return strings.Join(paragraphs, "\n\n"), len(paragraphs) > 0
}
