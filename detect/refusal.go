package detect

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// refusals are allocations that Windows refused because no port was left,
// where the capture does not show the pool to be full: ports that were held
// before it began, or that the RPC runtime has lost, are in no event.
type refusals struct {
	protocol model.Protocol
	rpc      bool
	pool     *state.Pool
	remote   string
	rport    uint16
	count    uint64
	seen     int
	by       []holderCount
	holders  []holderCount
	errors   []string
}

// minRefusals is the number of refusals from which they are reported.
const minRefusals = 3

// noPortLeft says that an error means a lack of ports and nothing else.
func noPortLeft(errorName string) bool {
	return errorName == "STATUS_TOO_MANY_ADDRESSES" || errorName == "RPC_S_OUT_OF_RESOURCES"
}

// portRefusal finds refusals that neither a full pool, nor a full destination,
// nor ports that have vanished explain.
type portRefusal struct {
	settings ExhaustionSettings
	cases    tracker[refusals]
}

func newPortRefusal(s Settings) detector {
	d := &portRefusal{s.Exhaustion, newTracker[refusals]("port-exhaustion", s.Lifecycle)}
	d.cases.instant = true
	return d
}

func (d *portRefusal) tick(w *world, emit func(model.Finding)) {
	d.judge(w)
	d.cases.settle(w, 1, emit, describeRefusals)
}

func (d *portRefusal) finish(w *world, emit func(model.Finding)) {
	d.cases.flush(w, emit, describeRefusals)
}

func (d *portRefusal) judge(w *world) {
	for _, k := range slices.SortedFunc(maps.Keys(w.ports.fails), compareFails) {
		f := w.ports.fails[k]
		if !k.noneLeft || w.explained[k.pool] || k.connect && w.explained[target{k.netns, k.remote, k.rport}] {
			continue
		}
		key := "refused/" + f.protocol.String() + "/" + clean(k.pool.Name)
		switch {
		case k.connect:
			key = fmt.Sprintf("refused/to/%s:%d", clean(k.remote), k.rport)
		case f.how == model.HowRPC:
			key = "refused/rpc/" + clean(k.pool.Name)
		}
		if k.netns != 0 {
			key += "/netns" + itoa(k.netns)
		}
		var in *incident[refusals]
		switch fresh := w.now.Sub(f.last) <= d.settings.FailuresFor.Std(); {
		case fresh && f.count >= minRefusals:
			in = d.cases.raise(w, key, f.first)
		case fresh:
			in = d.cases.keep(w, key)
		}
		if in == nil {
			continue
		}
		data := &in.data
		data.protocol, data.rpc = f.protocol, f.how == model.HowRPC
		data.remote, data.rport = k.remote, k.rport
		data.count = max(data.count, f.count)
		who := make(map[processKey]int)
		for p, n := range f.byProcess {
			who[p] = int(n)
		}
		data.by, data.errors = rank(who), slices.Sorted(maps.Keys(f.errors))
		if pool := w.state.Pools[k.pool]; pool != nil {
			data.pool, data.seen = pool, pool.Used+pool.Resting
			data.holders = holdersOf(w, func(p *state.Port) bool { return pool.Contains(p.Protocol, p.Netns, p.LocalPort) })
		}
	}
}

// target is a destination of TCP connections from any local address; without
// an address it is one that the probe could not read.
type target struct {
	netns  int64
	remote string
	port   uint16
}

func describeRefusals(in *incident[refusals]) model.Finding {
	data := &in.data
	ongoing := in.touchedOrOpen()
	f := model.Finding{
		Severity: model.SeverityCritical,
		Subject:  model.Subject{Kind: "pool", CPU: -1, PID: -1, Protocol: data.protocol.String()},
	}
	who, what := "Windows", plural(data.count, "request")+" for a "+strings.ToUpper(data.protocol.String())+" port"
	if data.rpc {
		who, what = "The RPC runtime", plural(data.count, "request")+" for a port"
		f.Subject.Protocol = ""
	}
	if data.remote != "" {
		f.Subject.Port = data.rport
		what += fmt.Sprintf(" towards %s port %d", clean(data.remote), data.rport)
	}
	f.Title = fmt.Sprintf(
		"%s %s %s in %s: no port is left (%s)",
		who,
		tense(ongoing, "refuses", "refused"),
		what,
		span(max(in.seen.Sub(in.start), time.Second)),
		clean(strings.Join(data.errors, ", ")),
	)
	if len(data.by) > 0 {
		top := data.by[0].process
		f.Title += ", mostly to " + task(top.name, top.pid)
		f.Subject.PID, f.Subject.Process = top.pid, clean(top.name)
	}
	f.Evidence = []model.Evidence{evidence("allocations refused", float64(data.count), "times")}
	for _, h := range data.by[:min(len(data.by), 3)] {
		f.Evidence = append(
			f.Evidence,
			evidence("refused to "+task(h.process.name, h.process.pid), float64(h.count), "times"),
		)
	}
	if pool := data.pool; pool != nil {
		f.Subject.Pool = clean(pool.Name)
		f.Evidence = append(
			f.Evidence,
			evidence("size of the pool "+poolText(pool), float64(pool.Size), "ports"),
			evidence("of these in use as far as the capture shows", float64(data.seen), "ports"),
		)
		for _, h := range data.holders[:min(len(data.holders), 3)] {
			f.Evidence = append(f.Evidence, evidence("held by "+task(h.process.name, h.process.pid), float64(h.count), "ports"))
		}
	}
	f.Causes = []string{
		"the status itself says that the range is used up; the capture does not show by whom: ports that were taken " +
			"before it began are in no event",
		"the real range may be smaller than the one assumed: an administrator can narrow it (netsh, or Ports under " +
			"HKLM\\Software\\Microsoft\\Rpc\\Internet)",
	}
	f.RuledOut = []string{"not a conflict over one port: the requests left the choice to the system"}
	if data.rpc {
		f.Causes = append(
			f.Causes,
			"ports of the RPC runtime stay with a process until it ends, and a port that it has lost is no open socket",
		)
		f.Advice = []string{
			"compare the range (Ports under HKLM\\Software\\Microsoft\\Rpc\\Internet) with the endpoints in use (portqry, " +
				"netstat -ano); not when no range is set there: then the dynamic range is the limit",
			"restart the process with most endpoints to get its ports back at once; not before netstat -ano and a dump of " +
				"it have been saved: they name the leak",
		}
	} else {
		f.Advice = []string{
			fmt.Sprintf("count who holds the ports while it happens: netstat -ano, or Get-NetUDPEndpoint and "+
				"Get-NetTCPConnection grouped by OwningProcess; netsh int ipv4 show dynamicport %s has the real "+
				"range", cmp.Or(data.protocol.String(), "tcp")),
			"widen the range (netsh int ipv4 set dynamicport) only when all holders hold about the same; not when one " +
				"process leaks: it fills any range",
		}
	}
	return f
}
