package redact

import (
	"strings"

	"lostbeat/internal/lazyregexp"
	"lostbeat/model"
)

// class is what the text of a field is.
type class uint8

const (
	// keep is a text that tells nothing: a name of the kernel, of a device, of a counter.
	keep class = iota + 1
	// text may hold names.
	text
	host
	address
	process
	command
	cgroup
	unit
	netns
	file
	// image is the file of a program or driver.
	image
	// payload is what nobody knows the form of; it is left out.
	payload
	// fact is the value of a meta event, instance that of a counter.
	fact
	instance
	// verdict is part of a finding.
	verdict
)

// fields are the classes of the texts of events, by kind and field, and for those that are the same in all kinds by
// field.
var fields = map[string]class{
	"local_addr": address, "remote_addr": address, "address": address, "process": process, "task": process,
	"victim": process, "blocker": process, "before": process, "cgroup": cgroup, "unit": unit, "netns": netns,
	"netns_name": netns, "host": host, "log": file, "cmdline": command, "file": image, "payload": payload,
	"device": keep, "below": keep, "driver": keep, "part": keep, "function": keep, "entry": keep, "location": keep,
	"error_name": keep,
	"irq_cpus":   keep, "rps_cpus": keep, "reserved": keep, "qdisc": keep, "pattern": keep, "provider": keep,
	"component": keep, "origin": keep, "interface": keep, "what": keep, "key": keep, "ring_source": keep, "name": keep,
	"reason": text, "hint": text, "detail": text, "endpoint": text, "source": text, "text": text, "table": text,
	"time_from": text, "clock": text, "after": text, "known_as": text, "finding": text,
	"process.name": process, "counter.unit": keep, "reading.unit": keep, "counter.instance": instance,
	"reading.instance": text, "request.name": text, "meta.value": fact, "log.gap.before": text, "host.event.about": host,
	"drop.reason": keep, "capture.drop.reason": keep, "deferred.run.before": process, "port.pool.name": text,
	"finding.id": verdict, "finding.detector": verdict, "finding.title": verdict, "finding.body": verdict,
}

// classOf is the class of a field, 0 for one that this package does not know.
func classOf(kind, field string) class {
	if c, ok := fields[kind+"."+field]; ok {
		return c
	}
	return fields[field]
}

// classes are those of each kind's texts.
var classes = func() map[model.Kind][]class {
	out := map[model.Kind][]class{}
	for _, s := range model.Specs {
		for _, f := range s.Strings {
			c := classOf(s.Name, f.Name)
			if c == 0 {
				c = text
			}
			out[s.Kind] = append(out[s.Kind], c)
		}
	}
	return out
}()

// keptFacts are the keys of meta events whose values tell nothing of whose the host is.
var keptFacts = map[string]bool{
	"os": true, "kernel": true, "arch": true, "cpus": true, "tool": true, "clock": true, "start_wall": true,
	"utc_offset": true, "steal": true,
}

// owner finds the process in what a counter or a text is about: flood (4077), app[12].
var owner = lazyregexp.New(`\bof ([^()]+) \(\d+\)|(\S+)\[\d+\]`)

// Learn takes the names that a batch has, without changing it.
func (r *Redactor) Learn(b *model.Batch) {
	for i := range b.Events {
		e := &b.Events[i]
		if p, ok := b.Process(e); ok && (p.PPID == 2 || p.PID == 2) && p.Cmdline == "" {
			r.kernel[lower(p.Name)] = true
		}
		for n, c := range classes[e.Kind] {
			switch c {
			case keep, text, verdict, payload, address:
			default:
				r.field(c, b.String(e.Str[0]), b.String(e.Str[n]))
			}
		}
	}
}

// field replaces the text of a field; first is the first text of its event.
func (r *Redactor) field(c class, first, s string) string {
	if s == "" {
		return ""
	}
	switch c {
	case keep:
		return s
	case host:
		return r.name(kindHost, s)
	case address:
		return r.Address(s)
	case process:
		return r.name(kindProcess, s)
	case command:
		return r.name(kindCommand, s)
	case cgroup:
		return r.name(kindCgroup, s)
	case unit:
		return r.name(kindUnit, s)
	case netns:
		return r.name(kindNetns, s)
	case file:
		return r.name(kindFile, s)
	case image:
		if strings.HasSuffix(lower(s), ".sys") || publicPath.MatchString(s) {
			return s
		}
		return r.name(kindFile, s)
	case payload:
		return "redacted"
	case fact:
		switch {
		case first == "host" || first == model.MetaCapturedOn:
			return r.name(kindHost, s)
		case first == "command":
			return r.name(kindCommand, s)
		case first == "boot_id":
			return r.name(kindBoot, s)
		case keptFacts[first]:
			return s
		}
	case instance:
		if strings.HasPrefix(first, "Process/") || strings.HasPrefix(first, "Thread/") {
			if program, _, _ := strings.Cut(s, "#"); program != "_Total" {
				return r.name(kindProcess, s)
			}
			return s
		}
		for _, m := range owner.FindAllStringSubmatch(s, -1) {
			r.name(kindProcess, m[1]+m[2])
		}
	}
	return r.Text(s)
}

// Batch returns b with pseudonyms. Names that come in later batches are not known yet.
func (r *Redactor) Batch(b *model.Batch) *model.Batch {
	r.Learn(b)
	var out model.Builder
	var findings []int
	for i := range b.Events {
		e := b.Events[i]
		if e.Kind == model.KindFinding {
			if f, ok := b.Finding(&e); ok {
				findings = append(findings, i)
				out.AddFinding(e.Time, r.Finding(f))
			}
			continue
		}
		first := b.String(e.Str[0])
		for n, c := range classes[e.Kind] {
			e.Str[n] = out.Intern(r.field(c, first, b.String(e.Str[n])))
		}
		for n, id := range e.Hist {
			e.Hist[n] = out.InternHist(b.Hist(id))
		}
		e.Stack = out.InternStack(r.stack(b.Stack(e.Stack)))
		out.Add(e)
	}
	done := out.Take()
	if done == nil {
		return &model.Batch{}
	}
	at := 0
	for i := range done.Events {
		if done.Events[i].Kind == model.KindFinding {
			from := &b.Events[findings[at]]
			done.Events[i].Dur, done.Events[i].Flags = from.Dur, from.Flags
			at++
		}
	}
	return done
}

// stack replaces the names of modules; functions of programs are left out, those of the kernel stay.
func (r *Redactor) stack(s model.Stack) model.Stack {
	if s == nil {
		return nil
	}
	out := make(model.Stack, len(s))
	for i, f := range s {
		if f.Addr>>63 == 1 {
			out[i] = f
			continue
		}
		out[i] = model.Frame{Addr: f.Addr}
		if module, offset, ok := strings.Cut(f.Name, "+0x"); ok {
			out[i].Name = r.name(kindFile, module) + "+0x" + offset
		}
	}
	return out
}
