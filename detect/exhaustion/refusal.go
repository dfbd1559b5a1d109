package exhaustion

import (
	"cmp"
	"fmt"
	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
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

// refusalCases are refusals that neither a full pool, nor a full destination,
// nor ports that have vanished explain.
type refusalCases struct {
	settings Settings
	cases    detect.Cases[refusals]
}

func newRefusals(s Settings, l detect.Lifecycle) refusalCases {
	d := refusalCases{settings: s, cases: detect.NewCases[refusals](name, l)}
	d.cases.Instant = true
	return d
}

func (d *refusalCases) report(w *detect.Tick, emit func(model.Finding)) {
	d.judge(w)
	d.cases.Settle(w, 1, emit, describeRefusals)
}

func (d *refusalCases) judge(w *detect.Tick) {
	for _, k := range w.Ports.SortedFails() {
		f := w.Ports.Fails[k]
		if !k.NoneLeft || w.Claimed(detect.PoolRefusals{Pool: k.Pool}) ||
			k.Connect && w.Claimed(detect.TargetRefusals{Netns: k.Netns, Remote: k.Remote, Port: k.RemotePort}) {
			continue
		}
		key := "refused/" + f.Protocol.String() + "/" + fold.Printable(k.Pool.Name)
		switch {
		case k.Connect:
			key = fmt.Sprintf("refused/to/%s:%d", fold.Printable(k.Remote), k.RemotePort)
		case f.How == model.HowRPC:
			key = "refused/rpc/" + fold.Printable(k.Pool.Name)
		}
		if k.Netns != 0 {
			key += "/netns" + words.Itoa(k.Netns)
		}
		var in *detect.Case[refusals]
		switch fresh := w.Now.Sub(f.Last) <= d.settings.FailuresFor.Std(); {
		case fresh && f.Count >= minRefusals:
			in = d.cases.Raise(w, key, f.First)
		case fresh:
			in = d.cases.Keep(w, key)
		}
		if in == nil {
			continue
		}
		data := &in.Data
		data.protocol, data.rpc = f.Protocol, f.How == model.HowRPC
		data.remote, data.rport = k.Remote, k.RemotePort
		data.count = max(data.count, f.Count)
		who := make(map[fold.ProcessKey]int)
		for p, n := range f.ByProcess {
			who[p] = int(n)
		}
		data.by, data.errors = rank(who), slices.Sorted(maps.Keys(f.Errors))
		if pool := w.State.Pools[k.Pool]; pool != nil {
			data.pool, data.seen = pool, pool.Used+pool.Resting
			data.holders = holdersOf(w, func(p *state.Port) bool { return pool.Contains(p.Protocol, p.Netns, p.LocalPort) })
		}
	}
}

func describeRefusals(in *detect.Case[refusals]) model.Finding {
	data := &in.Data
	ongoing := in.Ongoing()
	f := model.Finding{
		Severity: model.SeverityCritical,
		Subject:  model.Subject{Kind: "pool", CPU: -1, PID: -1, Protocol: data.protocol.String()},
	}
	who, what := "Windows", words.Plural(data.count, "request")+" for a "+strings.ToUpper(data.protocol.String())+" port"
	if data.rpc {
		who, what = "The RPC runtime", words.Plural(data.count, "request")+" for a port"
		f.Subject.Protocol = ""
	}
	if data.remote != "" {
		f.Subject.Port = data.rport
		what += fmt.Sprintf(" towards %s port %d", fold.Printable(data.remote), data.rport)
	}
	f.Title = fmt.Sprintf(
		"%s %s %s in %s: no port is left (%s)",
		who,
		words.Tense(ongoing, "refuses", "refused"),
		what,
		words.Span(max(in.Seen.Sub(in.Start), time.Second)),
		fold.Printable(strings.Join(data.errors, ", ")),
	)
	if len(data.by) > 0 {
		top := data.by[0].process
		f.Title += ", mostly to " + words.Task(top.Name, top.PID)
		f.Subject.PID, f.Subject.Process = top.PID, fold.Printable(top.Name)
	}
	f.Evidence = []model.Evidence{detect.Evidence("allocations refused", float64(data.count), "times")}
	for _, h := range data.by[:min(len(data.by), 3)] {
		f.Evidence = append(
			f.Evidence,
			detect.Evidence("refused to "+words.Task(h.process.Name, h.process.PID), float64(h.count), "times"),
		)
	}
	if pool := data.pool; pool != nil {
		f.Subject.Pool = fold.Printable(pool.Name)
		f.Evidence = append(
			f.Evidence,
			detect.Evidence("size of the pool "+words.Pool(pool), float64(pool.Size), "ports"),
			detect.Evidence("of these in use as far as the capture shows", float64(data.seen), "ports"),
		)
		for _, h := range data.holders[:min(len(data.holders), 3)] {
			f.Evidence = append(
				f.Evidence,
				detect.Evidence("held by "+words.Task(h.process.Name, h.process.PID), float64(h.count), "ports"),
			)
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
