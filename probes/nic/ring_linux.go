package nic

import (
	"slices"
	"strings"

	"lostbeat/internal/driverstat"
)

// Statistics of the link that stand in where a driver is not known.
const (
	linkMissed  = "rx_missed_errors"
	linkDropped = "rx_dropped"
)

// driverState says how far the statistics of a device's driver are known.
type driverState uint8

const (
	// driverKnown counts its losses itself, or has no ring that could lose packets.
	driverKnown driverState = iota
	// driverUnlisted is in the table, but lists none of the statistics in it.
	driverUnlisted
	// driverUnknown is not in the table.
	driverUnknown
)

// useful are the statistics that lostbeat reads: of losses, and signs of their causes.
func useful(driver string, names []string) []driverstat.Found {
	d := driverstat.Lookup(driver)
	if d == nil {
		return nil
	}
	return slices.DeleteFunc(d.Find(names), func(f driverstat.Found) bool {
		return !f.Class.Lost() && !f.Class.Sign()
	})
}

// inRing selects the statistics that count what the ring lost.
func inRing(found []driverstat.Found) (names []string) {
	for _, f := range found {
		if f.Class.InRing() {
			names = append(names, f.Name)
		}
	}
	return names
}

// stateOf says how far the statistics of a device are known.
func stateOf(driver string, physical bool, found []driverstat.Found) driverState {
	d := driverstat.Lookup(driver)
	switch {
	case !physical && d == nil:
		return driverKnown // a virtual device without a ring
	case d == nil:
		return driverUnknown
	case d.NoRing == "" && len(inRing(found)) == 0:
		return driverUnlisted
	}
	return driverKnown
}

// usesLink says that the link's counters stand in for the losses of the ring.
func usesLink(driver string, physical bool, found []driverstat.Found) bool {
	d := driverstat.Lookup(driver)
	return physical && len(inRing(found)) == 0 && (d == nil || d.NoRing == "" || d.Link)
}

// ringSource says in words what is known about a device's ring losses.
func ringSource(driver string, physical bool, found []driverstat.Found) string {
	d := driverstat.Lookup(driver)
	if names := inRing(found); len(names) > 0 {
		source := strings.Join(names[:min(len(names), 3)], ", ")
		if len(names) > 3 {
			source += ", ..., " + names[len(names)-1]
		}
		if d.Note != "" {
			source += "; " + d.Note
		}
		return source
	}
	const link = "the link's rx_missed_errors if it is in use, otherwise rx_dropped, which includes packets that the " +
		"kernel dropped"
	switch {
	case d != nil && d.Link:
		return "the link's rx_dropped: " + d.NoRing
	case d != nil && d.NoRing != "":
		return "none: " + d.NoRing
	case !physical:
		return "none: a virtual device without a ring"
	case d != nil:
		return "driver without the expected statistics; instead " + link
	}
	return "unknown driver; instead " + link
}
