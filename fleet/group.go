package fleet

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"lostbeat/internal/lazyregexp"
	"lostbeat/model"
)

// Group is findings that say the same about several hosts at about the same time, or one that nobody else has.
type Group struct {
	Detector string `json:"detector"`
	// Severity is the worst, and Title and Cause are those of the first finding with it.
	Severity string `json:"severity"`
	Title    string `json:"title"`
	Cause    string `json:"cause,omitempty"`
	// Common is an address that stands in all titles, empty for none: a peer that the hosts share.
	Common string `json:"common,omitempty"`
	// Hosts are the names, sorted.
	Hosts []string `json:"hosts"`
	// Active is how many of the findings had not ended when they were last sent.
	Active int `json:"active"`
	// First and Last are when the first fault and the last one began.
	First model.Time `json:"first"`
	Last  model.Time `json:"last"`
	// Findings are all of them, by start.
	Findings []Finding `json:"findings"`
}

// together is the longest time between the starts of two findings of a group that follow one another.
const together = time.Minute

// sameFor is how much of a title decides whether two say the same.
const sameFor = 80

var (
	// spans are numbers with units of which the same quantity may have others.
	spans = lazyregexp.New(`\d[\d,.]*(?:[ \x{a0}](?:ns|µs|ms|s|min|h|days|K|M|G|T)\b)?`)
	// counted are words that stand in the singular or the plural after a number.
	counted = lazyregexp.New(`(#[ \x{a0}][a-z]{2,})s\b`)
	// addresses may be addresses: what is none is no peer.
	addresses = lazyregexp.New(`[0-9A-Fa-f:.]*[0-9A-Fa-f][.:][0-9A-Fa-f:.]*[0-9A-Fa-f]`)
)

// pattern is a title without what differs between hosts.
func pattern(f *Finding) string {
	title := f.Title
	if f.Host != "" {
		title = strings.ReplaceAll(title, f.Host, "HOST")
	}
	title = addresses.ReplaceAllStringFunc(title, func(s string) string {
		if _, ok := address(s); ok {
			return "ADDRESS"
		}
		return s
	})
	title = counted.ReplaceAllString(spans.ReplaceAllString(title, "#"), "$1")
	if r := []rune(title); len(r) > sameFor {
		title = string(r[:sameFor])
	}
	return title
}

// address reads an address, with or without a port.
func address(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a, true
	}
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr(), true
	}
	return netip.Addr{}, false
}

// Groups joins findings of the same detector, kind of subject and title, numbers and names aside, that began within a
// minute of one another; those that name the same address are a group of their own. The worst come first, then those
// of the most hosts.
func Groups(all []Finding) (groups []Group) {
	type key struct{ detector, subject, pattern string }
	same := map[key][]Finding{}
	for _, f := range all {
		k := key{f.Detector, f.Subject, pattern(&f)}
		same[k] = append(same[k], f)
	}
	for _, list := range same {
		slices.SortFunc(list, byStart)
		from := 0
		for i := range list {
			if i+1 == len(list) || list[i+1].Start.Sub(list[i].Start) > together {
				groups = append(groups, byPeer(list[from:i+1])...)
				from = i + 1
			}
		}
	}
	slices.SortFunc(groups, func(a, b Group) int {
		return cmp.Or(
			-cmp.Compare(rank(a.Severity), rank(b.Severity)), -cmp.Compare(len(a.Hosts), len(b.Hosts)),
			cmp.Compare(a.First, b.First), cmp.Compare(a.Detector, b.Detector), cmp.Compare(a.Title, b.Title),
			byStart(a.Findings[0], b.Findings[0]),
		)
	})
	return groups
}

func byStart(a, b Finding) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Host, b.Host), cmp.Compare(a.BootID, b.BootID),
		cmp.Compare(a.ID, b.ID))
}

// byPeer takes the findings with the address that most of them name as a group, and so on; several hosts have to.
func byPeer(list []Finding) (groups []Group) {
	for len(list) > 0 {
		hosts := map[netip.Addr]map[string]bool{}
		for i := range list {
			for _, a := range peers(&list[i]) {
				if hosts[a] == nil {
					hosts[a] = map[string]bool{}
				}
				hosts[a][list[i].Host] = true
			}
		}
		var most netip.Addr
		for a, of := range hosts {
			if n := len(of) - len(hosts[most]); len(of) > 1 && (n > 0 || n == 0 && a.Less(most)) {
				most = a
			}
		}
		if !most.IsValid() {
			return append(groups, newGroup(list, ""))
		}
		var named, rest []Finding
		for _, f := range list {
			if slices.Contains(peers(&f), most) {
				named = append(named, f)
			} else {
				rest = append(rest, f)
			}
		}
		groups = append(groups, newGroup(named, most.String()))
		list = rest
	}
	return groups
}

// peers are the addresses in a title.
func peers(f *Finding) (list []netip.Addr) {
	for _, s := range addresses.FindAllString(f.Title, -1) {
		if a, ok := address(s); ok && !a.IsLoopback() && !a.IsUnspecified() && !a.IsMulticast() {
			list = append(list, a)
		}
	}
	return list
}

// newGroup makes a group of findings that are sorted by start.
func newGroup(list []Finding, common string) Group {
	g := Group{
		Detector: list[0].Detector, Common: common, First: list[0].Start, Last: list[len(list)-1].Start,
		Findings: slices.Clone(list),
	}
	for i, f := range list {
		if i == 0 || rank(f.Severity) > rank(g.Severity) {
			g.Severity, g.Title, g.Cause = f.Severity, f.Title, f.Cause
		}
		g.Hosts = append(g.Hosts, f.Host)
		if f.State == "active" {
			g.Active++
		}
	}
	slices.Sort(g.Hosts)
	g.Hosts = slices.Compact(g.Hosts)
	return g
}

// Worst returns the worst finding of a host that names a recording, of equal ones the first group's; nil for none.
func Worst(groups []Group, host string) (worst *Finding) {
	for _, g := range groups {
		for i := range g.Findings {
			f := &g.Findings[i]
			if f.Host == host && f.Recording != "" && (worst == nil || rank(f.Severity) > rank(worst.Severity)) {
				worst = f
			}
		}
	}
	return worst
}

// rank orders severities by their names.
func rank(severity string) model.Severity {
	var s model.Severity
	_ = s.UnmarshalText([]byte(severity)) // what is no name is info
	return s
}
