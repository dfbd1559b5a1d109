// Package packetmonitor is the detector packet-monitor: what Packet Monitor of
// Windows reports as dropped, by what somebody misses and what nobody does.
package packetmonitor

import (
	"cmp"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

//go:embed doc.md
var doc string

// Name is the detector's name in findings.
const Name = "packet-monitor"

// Definition describes the detector.
func Definition() detect.Definition { return detect.Define("packetmonitor", doc, New, nil) }

// New returns the detector. It judges at the end: captures are files.
func New(s Settings, _ detect.Lifecycle) detect.Detector {
	return &detector{settings: s, beats: map[fold.FlowPort]bool{}}
}

type detector struct {
	settings Settings
	// beats are the local ports of flows that are followed as heartbeats.
	beats map[fold.FlowPort]bool
}

// Judge implements detect.Detector.
func (d *detector) Judge(t *detect.Tick) {
	for _, b := range t.SortedBeats() {
		if k := (fold.FlowPort{Protocol: b.Socket.Protocol, Port: b.Socket.Port}); len(d.beats) < maxBeats {
			d.beats[k] = true
		}
	}
}

// maxBeats bounds the ports that are remembered.
const maxBeats = 1 << 10

// Report implements detect.Detector.
func (d *detector) Report(*detect.Tick, func(model.Finding)) {}

// Bounds of what is said.
const (
	maxFindings = 20
	maxListed   = 6
)

// Finish implements detect.Detector.
func (d *detector) Finish(t *detect.Tick, emit func(model.Finding)) {
	list := t.CaptureDrops.List()
	if len(list) == 0 {
		return
	}
	var groups []*group
	byKey := map[groupKey]*group{}
	noise := &group{}
	for _, c := range list {
		if c.Key.Verdict == model.CaptureNoise {
			noise.add(c)
			continue
		}
		k := groupKey{verdict: c.Key.Verdict, reason: c.Key.Reason, ifindex: c.Key.Ifindex, transmit: c.Key.Transmit}
		if k.verdict == model.CaptureUnwanted {
			k.protocol, k.service = c.Key.Protocol, c.Key.Service
		}
		g := byKey[k]
		if g == nil {
			g = &group{groupKey: k}
			byKey[k] = g
			groups = append(groups, g)
		}
		g.add(c)
	}
	groups = slices.DeleteFunc(groups, func(g *group) bool {
		few := g.verdict == model.CaptureUnwanted && (g.packets < d.settings.Unwanted || !g.list[0].Key.Local)
		if few { // an answer that came late
			for _, c := range g.list {
				noise.add(c)
			}
		}
		return few
	})
	slices.SortStableFunc(groups, func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.verdict, a.verdict), cmp.Compare(b.packets, a.packets))
	})
	say := func(f model.Finding) {
		f.Detector, f.Loss = Name, t.Loss.Total
		f.ID = Name + "/" + f.ID
		emit(f)
	}
	for _, g := range groups[:min(len(groups), maxFindings)] {
		say(d.finding(g))
	}
	if rest := groups[min(len(groups), maxFindings):]; len(rest) > 0 {
		say(more(rest))
	}
	if noise.packets > 0 {
		say(noise.noise(t.CaptureDrops.Packets))
	}
}

// groupKey is what the packets of one finding have in common.
type groupKey struct {
	verdict  model.CaptureVerdict
	reason   string
	ifindex  int64
	transmit bool
	protocol model.Protocol
	service  uint16
}

// group is the packets of one finding.
type group struct {
	groupKey
	list             []*fold.CaptureDrop
	packets, reports uint64
	first, last      model.Time
}

func (g *group) add(c *fold.CaptureDrop) {
	g.list = append(g.list, c)
	g.packets += c.Packets
	g.reports += c.Reports
	if g.first == 0 || c.First < g.first {
		g.first = c.First
	}
	g.last = max(g.last, c.Last)
}

// counted is a text and how many packets it is said of.
type counted struct {
	text string
	n    uint64
}

// count adds n packets to those of a text.
func count(list []counted, text string, n uint64) []counted {
	i := slices.IndexFunc(list, func(o counted) bool { return o.text == text })
	if i < 0 {
		return append(list, counted{text, n})
	}
	list[i].n += n
	return list
}

// by adds the packets up by a text, the most first; empty texts are left out.
func (g *group) by(text func(*fold.CaptureDrop) string) (list []counted) {
	for _, c := range g.list {
		if s := text(c); s != "" {
			list = count(list, s, c.Packets)
		}
	}
	slices.SortStableFunc(list, func(a, b counted) int { return cmp.Compare(b.n, a.n) })
	return list
}

// peers adds the packets up by remote address.
func (g *group) peers() (list []counted) {
	for _, c := range g.list {
		for _, p := range c.Peers {
			list = count(list, p.Addr, p.Packets)
		}
	}
	slices.SortStableFunc(list, func(a, b counted) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.text, b.text))
	})
	return list
}

// mostly is the share of packets from which one of several names all of them.
const mostly = 0.9

// finding says what was lost for one reason.
func (d *detector) finding(g *group) model.Finding {
	f := model.Finding{
		ID: fmt.Sprintf("%s/%s/%d/%t", g.verdict, fold.Printable(g.reason), g.ifindex, g.transmit), Start: g.first,
		End: g.last, Subject: model.Subject{Kind: "host", CPU: -1, PID: -1},
	}
	if g.service != 0 {
		f.ID += fmt.Sprintf("/%s/%d", g.protocol, g.service)
	}
	services := g.by(serviceText)
	peers := g.peers()
	what := words.Plural(g.packets, "packet")
	if len(services) > 0 && float64(services[0].n) >= mostly*float64(g.packets) {
		what = words.Number(g.packets) + " " + services[0].text + words.Tense(g.packets == 1, " packet", " packets")
		k := g.list[0].Key
		for _, c := range g.list {
			if serviceText(c) == services[0].text {
				k = c.Key
			}
		}
		if k.Service == dns && k.Transmit && !k.Local {
			what = words.Plural(g.packets, "DNS query", "DNS queries")
		}
		f.Subject.Protocol, f.Subject.Port = k.Protocol.String(), k.Service
	}
	if len(peers) > 0 && float64(peers[0].n) >= mostly*float64(g.packets) {
		what += words.Tense(g.transmit, " to ", " from ") + fold.Printable(peers[0].text)
	}
	about := explain(g.reason)
	reason := fold.Printable(g.reason)
	was := words.Tense(g.packets == 1, "was", "were")
	switch g.verdict {
	case model.CaptureLost:
		f.Severity = model.SeverityWarning
		if g.packets < d.settings.WarnLost {
			f.Severity = model.SeverityInfo
		}
		f.Title = fmt.Sprintf("%s %s lost inside this host: %s", what, was, reason)
	case model.CaptureFiltered:
		f.Title = fmt.Sprintf("A filter or policy dropped %s: %s", what, reason)
		about.advice = append(about.advice, "See whether a rule is meant to drop them (Get-NetFirewallRule, "+
			"netsh wfp show netevents); nothing if it is")
	case model.CaptureUnwanted:
		f.Title = fmt.Sprintf("Nothing listened for %s: %s", what, reason)
		about.advice = append(about.advice, "Start the program that should listen, or tell the sender; nothing if the port "+
			"is closed on purpose")
	default:
		f.Title = fmt.Sprintf("%s %s dropped for a reason unknown to lostbeat: %s", what, was, reason)
		about.advice = append(about.advice, "Look the reason up in the documentation of Packet Monitor; whether somebody "+
			"misses the packets is not known")
	}
	port := fold.FlowPort{Protocol: g.list[0].Key.Protocol, Port: f.Subject.Port}
	if port.Port != 0 && d.beats[port] && g.verdict != model.CaptureLost {
		f.Severity = model.SeverityWarning
		about.causes = append(about.causes, "they are those of a heartbeat")
	}
	if components := g.by(componentText); len(components) > 0 {
		f.Title += " (" + components[0].text + ")"
	}
	f.Evidence = append(f.Evidence,
		detect.Evidence("packets", float64(g.packets), "packets"),
		detect.Evidence("reports of Packet Monitor about them", float64(g.reports), "events"),
	)
	for _, l := range []struct {
		prefix string
		list   []counted
	}{{"", services}, {words.Tense(g.transmit, "to ", "from "), peers}, {"at ", g.by(placeText)}} {
		for _, c := range l.list[:min(len(l.list), maxListed)] {
			f.Evidence = append(f.Evidence, detect.Evidence(l.prefix+fold.Printable(c.text), float64(c.n), "packets"))
		}
	}
	f.Causes = append(f.Causes, about.causes...)
	f.Advice = append(f.Advice, about.advice...)
	return f
}

// more counts what there is no room to say one by one.
func more(rest []*group) model.Finding {
	var all group
	for _, g := range rest {
		for _, c := range g.list {
			all.add(c)
		}
	}
	return model.Finding{
		ID: "more", Start: all.first, End: all.last, Subject: model.Subject{Kind: "host", CPU: -1, PID: -1},
		Title: fmt.Sprintf("%s were dropped for %s more, with ports and interfaces told apart",
			words.Plural(all.packets, "packet"), words.Plural(len(rest), "reason")),
	}
}

// noise is what was dropped that nobody on the host wanted.
func (g *group) noise(captured uint64) model.Finding {
	f := model.Finding{
		ID: "noise", Start: g.first, End: g.last, Subject: model.Subject{Kind: "host", CPU: -1, PID: -1},
		Title: fmt.Sprintf("No fault: Packet Monitor reports %s as dropped that nobody on this host wanted",
			words.Plural(g.packets, "packet")),
	}
	f.Evidence = append(f.Evidence,
		detect.Evidence("packets", float64(g.packets), "packets"),
		detect.Evidence("reports of Packet Monitor about them", float64(g.reports), "events"),
	)
	if captured > 0 {
		f.Evidence = append(f.Evidence, detect.Evidence("packets captured in all", float64(captured), "packets"))
	}
	list := g.by(func(c *fold.CaptureDrop) string {
		if s := serviceText(c); s != "" {
			return fold.Printable(c.Key.Reason) + ", " + s
		}
		return fold.Printable(c.Key.Reason)
	})
	for _, c := range list[:min(len(list), 2*maxListed)] {
		f.Evidence = append(f.Evidence, detect.Evidence(c.text, float64(c.n), "packets"))
	}
	f.Causes = []string{
		"every host drops these: packets of a group that no socket has joined, packets for other hosts, segments that " +
			"came twice or after a connection was closed, a few for ports on which nothing listens",
	}
	return f
}

// names of services by their ports.
var names = map[uint16]string{
	dns: "DNS", 67: "DHCP", 68: "DHCP", 88: "Kerberos", 123: "NTP", 135: "RPC endpoint mapper", 137: "NetBIOS",
	138: "NetBIOS", 389: "LDAP", 443: "HTTPS", 445: "SMB", 546: "DHCPv6", 547: "DHCPv6", 1900: "SSDP", 1985: "HSRP",
	3343: "cluster heartbeat", 3389: "RDP", 3702: "WS-Discovery", 5353: "mDNS", 5355: "LLMNR",
}

const dns = 53

// serviceText names the service of packets, empty unknown.
func serviceText(c *fold.CaptureDrop) string {
	k := &c.Key
	if k.Service == 0 {
		if k.Protocol == model.ProtocolUnknown || k.Protocol == model.ProtocolOther {
			return ""
		}
		return strings.ToUpper(k.Protocol.String())
	}
	text := strings.ToUpper(k.Protocol.String()) + " " + words.Itoa(k.Service)
	if name := names[k.Service]; name != "" {
		return name + " (" + text + ")"
	}
	return text
}

func componentText(c *fold.CaptureDrop) string {
	text := fold.Printable(c.Key.Component)
	if c.Key.Ifindex != 0 {
		text = strings.TrimSpace(text + " on interface " + words.Itoa(c.Key.Ifindex))
	}
	return text
}

func placeText(c *fold.CaptureDrop) string { return c.Key.Location }

// about is what is said of a reason.
type about struct{ causes, advice []string }

// explain says what a reason means and what to do, as far as that is known.
func explain(reason string) about {
	for _, e := range explanations {
		if strings.EqualFold(e.reason, reason) {
			return about{[]string{e.cause}, []string{e.advice}}
		}
	}
	return about{}
}

var explanations = []struct{ reason, cause, advice string }{
	{
		"Address resolution timeout",
		"The next hop, or the peer itself on the same link, did not answer ARP or neighbour discovery: the packets waited " +
			"for its hardware address and were dropped",
		"Check that the address is in use and reachable on that link (Get-NetNeighbor, arp -a); if the server no longer " +
			"exists, remove it from the settings (Get-DnsClientServerAddress)",
	},
	{
		"Address resolution failure",
		"The next hop, or the peer itself on the same link, did not answer ARP or neighbour discovery",
		"Check that the address is in use and reachable on that link (Get-NetNeighbor, arp -a), unless it was down for a " +
			"known reason",
	},
	{
		"Receive queue full",
		"The receive ring of the adapter was full: the host did not empty it in time",
		"Enlarge the receive buffers and spread the load (Get-NetAdapterAdvancedProperty, Get-NetAdapterRss); first see " +
			"whether one CPU was busy with DPCs then, which larger buffers only hide",
	},
	{
		"Insufficient resources",
		"A driver or the network stack had no memory or buffers for the packet",
		"Check which component it was and the host's memory at that time, unless the host was shutting down",
	},
	{
		"Host out of memory",
		"The host had no memory for the packet",
		"Find out what used the memory at that time (nonpaged pool)",
	},
	{
		"Device busy",
		"The adapter or its driver was busy",
		"Update the driver, and look at the adapter's statistics (Get-NetAdapterStatistics)",
	},
	{
		"Frame check sequence (FCS) error",
		"Frames arrived damaged: check the cable, the transceiver and the switch port",
		"Replace the cable, and look at the errors that the switch counts on the port",
	},
	{
		"Cyclic Redundancy Check (CRC) error",
		"Frames arrived damaged: check the cable, the transceiver and the switch port",
		"Replace the cable, and look at the errors that the switch counts on the port",
	},
	{
		"No route available",
		"The host has no route to the destination",
		"Compare the routes (Get-NetRoute, route print), unless the interface was down for a known reason",
	},
	{
		"Full queue",
		"A queue of the IP layer was full",
		"Find out what fills it: the component and the destination show which queue",
	},
	{
		"INET: closed window",
		"The program did not read: its receive window was closed, and packets that arrived were dropped",
		"Check the program that has the port open; the sender is not at fault",
	},
	{
		"INET: listener dropped SYN because SO_PAUSE_ACCEPT was set",
		"The program has paused accepting connections",
		"Look at the program that listens on the port",
	},
	{
		"INET: listener dropped SYN to reduce memory pressure",
		"the queue of connections that wait to be accepted was full, or the host was short of memory",
		"See whether the program accepts its connections in time; not for a flood of connections from outside",
	},
	{
		"INET: receive inspection",
		"the firewall, or another program that uses the Windows Filtering Platform, refused the packets",
		"Name the rule: netsh wfp show netevents, or auditing of dropped packets (event 5152)",
	},
	{
		"NETCX: Queue is being stopped or destroyed",
		"a queue of the adapter was being stopped: its settings changed, or it was reset",
		"See what reset the adapter then (System log, event 10400)",
	},
	{
		"Media Disconnected",
		"the link of the adapter was down",
		"Look at the cable and the port of the switch, unless it was unplugged on purpose",
	},
	{
		"Adapter paused",
		"the adapter was paused: its settings changed, or it was reset",
		"See what changed it then, unless it was intended",
	},
	{
		"IPSEC: IPsec dropped a clear text packet",
		"a policy demands IPsec, and the packet was not protected",
		"Compare the IPsec policies of both hosts (Get-NetIPsecRule)",
	},
}
