// Package eventlog is the detector event-log: what the event logs of Windows
// report around the incidents of a cluster, and when no port was left.
package eventlog

import (
	"cmp"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

//go:embed doc.md
var doc string

// Name is the detector's name in findings.
const Name = "event-log"

// Definition describes the detector.
func Definition() detect.Definition { return detect.Define("eventlog", doc, New, nil) }

// New returns the detector. It judges at the end: the logs are files.
func New(s Settings, _ detect.Lifecycle) detect.Detector { return &detector{settings: s} }

type detector struct{ settings Settings }

// Judge implements detect.Detector.
func (d *detector) Judge(*detect.Tick) {}

// Report implements detect.Detector.
func (d *detector) Report(*detect.Tick, func(model.Finding)) {}

// Bounds of what is said.
const (
	// together is how far apart the entries of one incident of a cluster are.
	together = time.Minute
	// crashAfter is how long after an incident a host reports that it had crashed: it has to start first.
	crashAfter = 15 * time.Minute
	// maxIncidents is how many are findings, the latest; maxListed how many times or entries one lists.
	maxIncidents = 20
	maxListed    = 6
)

// Finish implements detect.Detector.
func (d *detector) Finish(t *detect.Tick, emit func(model.Finding)) {
	all := t.HostEvents.List
	if len(all) == 0 {
		return
	}
	j := &judge{settings: d.settings, all: all, told: make([]bool, len(all))}
	for i := range all {
		if e := &all[i]; e.What == model.HostClockSet && e.StepNS != 0 {
			j.clockSet = append(j.clockSet, e)
		}
	}
	j.several = slices.ContainsFunc(all, func(e model.HostEvent) bool { return e.Host != all[0].Host })
	out := j.incidents()
	out = append(out, j.ports()...)
	out = append(out, j.notes()...)
	for _, f := range out {
		f.Detector, f.Loss = Name, t.Loss.Total
		f.ID = Name + "/" + f.ID
		emit(f)
	}
}

// judge is one look at all entries.
type judge struct {
	settings Settings
	all      []model.HostEvent
	// told are the entries that a finding names already.
	told    []bool
	several bool
	// clockSet are the entries of clocks that were set, with by how much.
	clockSet []*model.HostEvent
}

// identity is what tells a finding from others of its kind: what it is of, and when.
func identity(what string, at model.Time) string {
	return fmt.Sprintf("%s/%d", what, int64(at)/int64(time.Second))
}

// isVictim says that an entry is an incident of a cluster by itself.
func isVictim(w model.HostEventWhat) bool {
	switch w {
	case model.HostNodeRemoved, model.HostQuorumLost, model.HostReplicaTimeout, model.HostLeaseExpired:
		return true
	}
	return false
}

// incidents returns the incidents of clusters.
func (j *judge) incidents() (out []model.Finding) {
	var groups [][]int
	for i := range j.all {
		if !isVictim(j.all[i].What) {
			continue
		}
		if n := len(groups); n > 0 {
			last := groups[n-1][len(groups[n-1])-1]
			if j.all[i].Time.Sub(j.all[last].Time) <= together {
				groups[n-1] = append(groups[n-1], i)
				continue
			}
		}
		groups = append(groups, []int{i})
	}
	left := max(0, len(groups)-maxIncidents)
	for _, g := range groups[left:] {
		out = append(out, j.incident(g))
	}
	for _, g := range groups[:left] {
		for _, i := range g {
			j.told[i] = true
		}
	}
	if left > 0 {
		f := &out[0]
		f.Causes = append(f.Causes, fmt.Sprintf("The logs have %s before it, which are not listed",
			words.Plural(left, "incident")))
	}
	return out
}

// at writes a time.
func at(t model.Time) string { return t.Std().Format("2006-01-02 15:04:05") + " UTC" }

// source names an entry's provider and number.
func source(e *model.HostEvent) string {
	return strings.TrimPrefix(fold.Printable(e.Provider), "Microsoft-Windows-") + " " + words.Itoa(e.ID)
}

// host names the host of an entry where there are several, or where it matters.
func (j *judge) on(e *model.HostEvent) string {
	if !j.several || e.Host == "" {
		return ""
	}
	return " on " + fold.Printable(e.Host)
}

// says is what an entry reports, as a clause.
func (j *judge) says(e *model.HostEvent) string {
	about := fold.Printable(e.About)
	of := func(kind, unknown string) string {
		if about == "" {
			return unknown
		}
		return kind + about
	}
	var text string
	switch e.What {
	case model.HostNodeRemoved:
		text = of("node ", "a node") + " was removed from the cluster"
	case model.HostQuorumLost:
		text = "the cluster lost its quorum"
	case model.HostClusterNetwork:
		text = of("the cluster reported the network of ", "the cluster reported a network")
		text += " as failed"
	case model.HostClusterResource:
		text = "the cluster offlined or isolated " + of("", "a resource")
	case model.HostTCPPortsOut:
		text = "Windows ran out of TCP ports"
	case model.HostUDPPortsOut:
		text = "Windows ran out of UDP ports"
	case model.HostTCPPortReused:
		text = "a connection failed because its TCP port had just been used for the same destination"
	case model.HostLinkDown:
		text = "the link of " + of("", "an adapter") + " was lost"
	case model.HostLinkUp:
		text = "the link of " + of("", "an adapter") + " came back"
	case model.HostAdapterReset:
		text = "adapter " + about + " was reset or failed"
	case model.HostCrashed:
		text = "the host reported an unexpected shutdown"
	case model.HostShutdown:
		text = "the host was shut down"
	case model.HostStarted:
		text = "the host was started"
	case model.HostClockSet:
		text = "the clock was set"
		if e.StepNS != 0 {
			text += " by " + words.Span(time.Duration(e.StepNS))
		}
	case model.HostDisk:
		text = "a disk did not answer in time"
	case model.HostMemory:
		text = "virtual memory was short"
	case model.HostUnreachable:
		text = "a service did not reach another host"
	case model.HostReplicaTimeout:
		text = "the connection to " + of("availability replica ", "an availability replica") + " timed out"
	case model.HostLeaseExpired:
		text = "the lease of " + of("availability group ", "an availability group") + " with the cluster expired"
	}
	return text + j.on(e) + " (" + source(e) + ")"
}

// cause says that an entry may be what an incident came from, and since when it counts.
func (j *judge) cause(w model.HostEventWhat) (within time.Duration, ok bool) {
	switch w {
	case model.HostTCPPortsOut, model.HostUDPPortsOut, model.HostTCPPortReused:
		return j.settings.PortsBefore.Std(), true
	case model.HostLinkDown, model.HostAdapterReset, model.HostClockSet, model.HostDisk, model.HostMemory,
		model.HostCrashed, model.HostShutdown, model.HostClusterNetwork:
		return j.settings.LinkBefore.Std(), true
	}
	return 0, false
}

// weight orders what may be the cause of an incident, the strongest first.
func weight(w model.HostEventWhat) int {
	switch w {
	case model.HostLinkDown, model.HostAdapterReset, model.HostShutdown, model.HostCrashed:
		return 0
	case model.HostTCPPortsOut, model.HostUDPPortsOut, model.HostClockSet:
		return 1
	case model.HostMemory, model.HostDisk:
		return 2
	}
	return 3
}

// after says whether an entry was written after another, by their numbers in one log: 1 for after, -1 for before, 0
// when the numbers do not say.
func after(e, other *model.HostEvent) int {
	if e.Log != other.Log || e.Host != other.Host || e.Numbering != other.Numbering || e.Record == 0 || other.Record == 0 {
		return 0
	}
	return cmp.Compare(e.Record, other.Record)
}

// between returns a step back of a clock because of which the times of an entry and of an incident do not compare, nil
// for none: one of them may have been written before the step, and the other after it.
func (j *judge) between(e, incident *model.HostEvent) *model.HostEvent {
	// known says that the time of an entry is not one of before the step.
	known := func(e, step *model.HostEvent) bool { return e == step || e.Host != step.Host || after(e, step) > 0 }
	for _, step := range j.clockSet {
		twice := func(at model.Time) bool { return at >= step.Time && at <= step.Time.Add(-time.Duration(step.StepNS)) }
		one := e.Host == incident.Host
		switch {
		case step.StepNS > 0, e.Host != step.Host && incident.Host != step.Host,
			!twice(incident.Time) && (one || !twice(e.Time)),
			known(e, step) && known(incident, step),
			one && after(e, step) < 0 && after(incident, step) != 0: // before counts the step
			continue
		}
		return step
	}
	return nil
}

// earlier is an entry from before an incident.
type earlier struct {
	*model.HostEvent
	index int
	// by is how long before it, stepped that the clock was set in between.
	by      time.Duration
	stepped bool
}

// before returns how long before an incident an entry was written, by the numbers in one log whatever the clock said;
// ok is false when it was after it, or when the numbers do not say and the times are in the other order.
func (j *judge) before(e, incident *model.HostEvent) (b earlier, ok bool) {
	order := after(e, incident)
	b = earlier{HostEvent: e, by: incident.Time.Sub(e.Time)}
	if order < 0 {
		for _, step := range j.clockSet {
			if after(e, step) < 0 && after(step, incident) < 0 {
				b.by -= time.Duration(step.StepNS)
				b.stepped = true
			}
		}
	}
	return b, order <= 0 && b.by >= 0
}

// says is how an earlier entry is described.
func (b *earlier) says(j *judge) string {
	clock := ""
	if b.stepped {
		clock = " of a clock that was then set"
	}
	return words.Span(b.by) + " before it (" + b.Time.Std().Format("15:04:05") + clock + ") " + j.says(b.HostEvent)
}

// unordered are entries close to an incident of which the order is not known, because of a step of the clock.
type unordered struct {
	entries int
	step    *model.HostEvent
}

func (j *judge) unordered(u unordered) string {
	return fmt.Sprintf("%s at %s: of %s close to it in time the logs do not say how long before it they were written, if "+
		"at all, so that they are not named as its cause", j.says(u.step), at(u.step.Time),
		words.Plural(u.entries, "entry", "entries"))
}

// incident describes an incident of a cluster.
func (j *judge) incident(group []int) model.Finding {
	first, last := &j.all[group[0]], &j.all[group[len(group)-1]]
	f := model.Finding{
		// By its own time: several incidents may have one cause, and begin with it.
		ID: identity("cluster", first.Time), Severity: model.SeverityCritical, Start: first.Time, End: last.Time,
		Subject: model.Subject{Kind: "host", CPU: -1, PID: -1},
	}
	// A connection to a replica is usually restored by itself; the other incidents interrupt the service.
	if !slices.ContainsFunc(group, func(i int) bool { return j.all[i].What != model.HostReplicaTimeout }) {
		f.Severity = model.SeverityWarning
	}
	f.Title = j.says(first) + " at " + first.Time.Std().Format("15:04:05") + " UTC"
	for n, i := range group {
		j.told[i] = true
		e := &j.all[i]
		if n > 0 && n <= maxListed && (e.What != first.What || e.About != first.About) {
			f.Title += fmt.Sprintf(", %s later %s", words.Span(e.Time.Sub(first.Time)), j.says(e))
		}
	}
	var before []earlier
	var open unordered
	for i := range j.all {
		e := &j.all[i]
		within, ok := j.cause(e.What)
		if !ok {
			continue
		}
		b, ok := j.before(e, first)
		if !ok || b.by > within {
			continue
		}
		if step := j.between(e, first); step != nil {
			open.step = step
			open.entries++
			continue
		}
		b.index = i
		before = append(before, b)
	}
	slices.SortStableFunc(before, func(a, b earlier) int {
		return cmp.Or(cmp.Compare(weight(a.What), weight(b.What)), cmp.Compare(a.by, b.by))
	})
	for n, e := range before {
		j.told[e.index] = true
		text := e.says(j)
		if n == 0 {
			f.Title += "; " + text
			f.Start = min(f.Start, e.Time)
		} else if n < maxListed {
			f.Causes = append(f.Causes, text)
		}
		f.Start = min(f.Start, e.Time)
	}
	if open.entries > 0 {
		f.Causes = append(f.Causes, j.unordered(open))
	}
	if len(before) > 0 {
		f.Causes = append(f.Causes, j.grade(before[0].HostEvent))
	} else if open.entries == 0 {
		f.Causes = append(f.Causes, "The logs report no cause before it that lostbeat knows. That does not prove that there "+
			"was none: packet loss and busy CPUs are not logged, and lostbeat does not know the entries of every driver")
	}
	switch first.What {
	case model.HostNodeRemoved:
		f.Causes = append(f.Causes, "The entry comes last: a node is removed after 5 to 20 missing heartbeats "+
			"(SameSubnetThreshold), 5 to 20 s at the default interval of 1 s")
	case model.HostReplicaTimeout:
		f.Causes = append(f.Causes, "The entry comes last: a replica is disconnected when nothing has arrived from it "+
			"for its session timeout (10 s by default)")
	case model.HostLeaseExpired:
		f.Causes = append(f.Causes, "The entry comes last: the lease expires when SQL Server or the cluster's resource "+
			"host has not renewed it within the lease timeout (20 s by default), for example because either got no CPU time")
	}
	for i := range j.all {
		e := &j.all[i]
		if e.What == model.HostCrashed && e.Time > last.Time && e.Time.Sub(last.Time) <= crashAfter {
			j.told[i] = true
			f.Causes = append(f.Causes, fmt.Sprintf("%s after it %s: it was fenced, or it is what failed",
				words.Span(e.Time.Sub(first.Time)), j.says(e)))
		}
	}
	for i := range j.all { // entries that only add to it
		if e := &j.all[i]; e.Time >= f.Start && e.Time <= last.Time.Add(together) {
			switch e.What {
			case model.HostClusterResource, model.HostClusterNetwork, model.HostUnreachable, model.HostLinkUp:
				j.told[i] = true
			}
		}
	}
	f.Advice = append(f.Advice,
		"Open the event logs of all nodes together, including the removed one's, and Get-ClusterLog -TimeSpan 60 "+
			"-UseLocalTime:$false; not needed if they are here",
		"For the next time, log \\Processor Information(*)\\% DPC Time and \\Network Interface(*)\\Packets Received "+
			"Discarded at 1 s, on both ends")
	if slices.ContainsFunc(before, func(e earlier) bool { return isPorts(e.What) }) {
		f.Advice = append([]string{whoHolds}, f.Advice...)
	}
	f.Evidence = append(f.Evidence, detect.Evidence("entries of the incident", float64(len(group)), "entries"),
		detect.Evidence("entries before it that may explain it", float64(len(before)), "entries"))
	return f
}

func isPorts(w model.HostEventWhat) bool {
	return w == model.HostTCPPortsOut || w == model.HostUDPPortsOut || w == model.HostTCPPortReused
}

const whoHolds = "Find out who holds the ports: save netstat -anoq (or Get-NetTCPConnection, Get-NetUDPEndpoint) " +
	"every few minutes and open the tables with lostbeat, unless the host has been restarted since"

// grade says how far an entry before an incident goes as its cause.
func (j *judge) grade(e *model.HostEvent) string {
	switch e.What {
	case model.HostLinkDown, model.HostAdapterReset:
		return "Likely its cause, if that adapter carries the heartbeats: the log does not say which one does"
	case model.HostTCPPortsOut, model.HostUDPPortsOut:
		return "Possibly its cause: without a free port new connections fail; existing ones continue, and heartbeats of " +
			"the cluster service keep their port. Windows writes this entry rarely, so the shortage may be older; it does " +
			"not say who holds the ports"
	case model.HostTCPPortReused:
		return "Hardly its cause by itself: one connection failed, others may have continued"
	case model.HostClockSet:
		return "A clock step: timeouts that use it end early or late, and times before and after it cannot be compared"
	case model.HostCrashed, model.HostShutdown:
		return "A host that shuts down is removed, as it should be"
	}
	return "Possibly its cause: it is close in time, and the log says no more"
}

// ports reports a want of ports that no incident explains.
func (j *judge) ports() (out []model.Finding) {
	for _, what := range []model.HostEventWhat{model.HostTCPPortsOut, model.HostUDPPortsOut, model.HostTCPPortReused} {
		byHost := map[string][]int{}
		var hosts []string
		for i := range j.all {
			if e := &j.all[i]; e.What == what && !j.told[i] {
				if _, ok := byHost[e.Host]; !ok {
					hosts = append(hosts, e.Host)
				}
				byHost[e.Host] = append(byHost[e.Host], i)
				j.told[i] = true
			}
		}
		slices.Sort(hosts)
		for _, h := range hosts {
			list := byHost[h]
			first, last := &j.all[list[0]], &j.all[list[len(list)-1]]
			f := model.Finding{
				ID:       identity(fold.Printable(h)+"/"+what.String(), first.Time),
				Severity: model.SeverityWarning, Start: first.Time, End: last.Time,
				Subject: model.Subject{Kind: "pool", CPU: -1, PID: -1, Protocol: "tcp"},
				Title:   j.says(last) + " at " + at(last.Time),
				Causes: []string{"Requests for a port failed from then on; the log does not say for how long or who holds the " +
					"ports: the entry is written rarely"},
				Advice:   []string{whoHolds},
				Evidence: []model.Evidence{detect.Evidence("entries", float64(len(list)), "entries")},
			}
			switch what {
			case model.HostUDPPortsOut:
				f.Subject.Protocol = "udp"
			case model.HostTCPPortReused:
				f.Causes = []string{"A program opens connections to one destination faster than closed ones leave TIME_WAIT"}
			}
			if n := len(list) - 1; n > 0 {
				f.Title += fmt.Sprintf(", and %s before since %s", words.Plural(n, "time"), at(first.Time))
			}
			out = append(out, f)
		}
	}
	return out
}

// notes lists what is no fault by itself, by kind: the times to compare others with.
func (j *judge) notes() (out []model.Finding) {
	for what := range model.HostEventWhat(len(model.HostEventEnum.Names)) {
		switch what {
		case model.HostLinkDown, model.HostAdapterReset, model.HostCrashed, model.HostClockSet, model.HostDisk,
			model.HostMemory, model.HostClusterNetwork, model.HostClusterResource:
		default:
			continue
		}
		var list []int
		for i := range j.all {
			if j.all[i].What == what && !j.told[i] {
				list = append(list, i)
			}
		}
		if len(list) == 0 {
			continue
		}
		first, last := &j.all[list[0]], &j.all[list[len(list)-1]]
		f := model.Finding{
			ID: identity("note/"+what.String(), first.Time), Severity: model.SeverityInfo, Start: first.Time, End: last.Time,
			Subject: model.Subject{Kind: "host", CPU: -1, PID: -1},
			Title:   j.says(last) + " at " + at(last.Time),
		}
		if n := len(list) - 1; n > 0 {
			f.Title += fmt.Sprintf(", and %s before since %s", words.Plural(n, "time"), at(first.Time))
			for _, i := range list[max(0, len(list)-maxListed):] {
				f.Causes = append(f.Causes, at(j.all[i].Time)+": "+j.says(&j.all[i]))
			}
		}
		f.Advice = []string{"Compare these times with the times of the losses; alone, this is not a fault of this kind"}
		out = append(out, f)
	}
	return out
}
