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
	// rested are the ports of the pool that were given back so lately that they may
	// rest, without a word of the stream; rest is for how long a port does.
	rested int
	rest   time.Duration
	// most is the share of the pool from which that explains the refusals.
	most float64
	// windows says whose range it is, used that a port of the pool was ever seen taken.
	windows, used bool
	// config is how the ports of RPC are configured. census are the ports of the pool when RPC was refused one, facts are
	// what is known of them, a sentence each.
	config fold.RPCPorts
	census *fold.Census
	facts  []string
}

// rejected says that Windows rejects the configuration of the ports of RPC.
func (r *refusals) rejected() bool { return r.rpc && r.config.State == model.RPCPortsInvalid }

// minRefusals is the number of refusals from which they are reported.
const minRefusals = 3

// refusalCases are refusals that neither a full pool, nor a full destination,
// nor ports that have vanished explain.
type refusalCases struct {
	settings Settings
	cases    detect.Cases[refusals]
	// explained are how many refusals something else has explained.
	explained map[fold.FailKey]uint64
}

func newRefusals(s Settings, l detect.Lifecycle) refusalCases {
	d := refusalCases{
		settings: s, cases: detect.NewCases[refusals](name, l), explained: make(map[fold.FailKey]uint64),
	}
	d.cases.Instant = true
	return d
}

func (d *refusalCases) report(w *detect.Tick, emit func(model.Finding)) {
	d.judge(w)
	d.cases.Settle(w, 1, emit, describeRefusals)
}

func (d *refusalCases) judge(w *detect.Tick) {
	maps.DeleteFunc(d.explained, func(k fold.FailKey, n uint64) bool {
		return w.Ports.Fails[k] == nil || w.Ports.Fails[k].Count < n
	})
	config := w.RPCPorts()
	for _, k := range w.Ports.SortedFails() {
		f := w.Ports.Fails[k]
		// Whatever RPC answers when it gets no port of its own choice: with a configuration that is not valid, that is why.
		rejected := config.State == model.RPCPortsInvalid && f.How == model.HowRPC && !k.Taken
		if !k.NoneLeft && !rejected {
			continue
		}
		if w.Claimed(detect.PoolRefusals{Pool: k.Pool}) ||
			k.Connect && w.Claimed(detect.TargetRefusals{Netns: k.Netns, Remote: k.Remote, Port: k.RemotePort}) {
			d.explained[k] = f.Count
			continue
		}
		key := "refused/" + f.Protocol.String() + "/" + fold.Printable(k.Pool.Name)
		switch {
		case k.Connect:
			key = fmt.Sprintf("refused/to/%s:%d", fold.Printable(k.Remote), k.RemotePort)
		case rejected:
			key = "refused/rpc/configuration"
		case f.How == model.HowRPC:
			key = "refused/rpc/" + fold.Printable(k.Pool.Name)
		}
		if k.Netns != 0 {
			key += "/netns" + words.Itoa(k.Netns)
		}
		var in *detect.Case[refusals]
		count := f.Count - d.explained[k]
		switch fresh := count > 0 && w.Now.Sub(f.Last) <= d.settings.FailuresFor.Std(); {
		case fresh && (count >= minRefusals || rejected):
			in = d.cases.Raise(w, key, f.First)
		case fresh:
			in = d.cases.Keep(w, key)
		}
		if in == nil {
			continue
		}
		data := &in.Data
		data.protocol, data.rpc, data.windows = f.Protocol, f.How == model.HowRPC, w.Windows()
		data.most = d.settings.WarnShare
		data.remote, data.rport = k.Remote, k.RemotePort
		data.count = max(data.count, count)
		who := make(map[fold.ProcessKey]int)
		for p, n := range f.ByProcess {
			who[p] = int(n.Count)
		}
		data.by, data.errors = rank(who), slices.Sorted(maps.Keys(f.Errors))
		if pool := w.State.Pools[k.Pool]; pool != nil {
			data.pool, data.seen = pool, pool.Used+pool.Resting
			data.holders = holdersOf(w, func(p *state.Port) bool { return pool.Contains(p.Protocol, p.Netns, p.LocalPort) })
			data.mayRest(w, k.Pool, f.Last)
		}
		if data.config = config; data.rpc {
			data.takeCensus(w, f.Last)
		}
	}
}

// mayRest counts the ports of a pool that may have been at rest at a time.
func (r *refusals) mayRest(w *detect.Tick, pool state.PoolKey, at model.Time) {
	reuse := w.Ports.Reuse[pool]
	r.used = r.used || reuse != nil || r.seen > 0
	if r.rest = w.UnseenRest(pool.Protocol); r.rest > 0 && reuse != nil {
		r.rested = len(reuse.FreeSince(at)) - len(reuse.FreeSince(at.Add(-r.rest)))
	}
}

// takeCensus notes what each port of the range was used for when RPC was refused one.
func (r *refusals) takeCensus(w *detect.Tick, at model.Time) {
	if w.Now.Sub(at) > time.Second {
		return // it has changed since
	}
	r.census = w.Census(r.pool, at)
	r.facts = detect.RPCFacts(w, r.pool, r.census)
}

func describeRefusals(in *detect.Case[refusals]) model.Finding {
	data := &in.Data
	ongoing := in.Ongoing()
	f := model.Finding{
		Severity: model.SeverityCritical,
		Subject:  model.Subject{Kind: "pool", CPU: -1, PID: -1, Protocol: data.protocol.String()},
	}
	who, what := "Windows", words.Plural(data.count, "request")+" for a "+strings.ToUpper(data.protocol.String())+" port"
	if !data.windows {
		who = "The kernel"
	}
	if data.rpc {
		who, what = "The RPC runtime", words.Plural(data.count, "request")+" for a port"
		f.Subject.Protocol = ""
	}
	if data.remote != "" {
		f.Subject.Port = data.rport
		what += fmt.Sprintf(" to %s port %d", fold.Printable(data.remote), data.rport)
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
	if data.rejected() {
		f.Title = fmt.Sprintf(
			"RPC servers %s no port: the configured port range is not valid, and Windows rejects all of it; "+
				"%s refused in %s (%s)",
			words.Tense(ongoing, "get", "got"), words.Plural(data.count, "request"),
			words.Span(max(in.Seen.Sub(in.Start), time.Second)), fold.Printable(strings.Join(data.errors, ", ")),
		)
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
	if data.census != nil {
		f.Evidence = append(f.Evidence, detect.CensusEvidence(data.census)...)
	}
	data.explain(&f, ongoing)
	return f
}

// explain says what is known of the reason, and what to do.
func (r *refusals) explain(f *model.Finding, ongoing bool) {
	f.RuledOut = []string{"a conflict over one port: the requests left the choice to the system"}
	if r.rejected() {
		r.explainRejected(f)
		return
	}
	defer func() { f.Causes = append(f.Causes, r.facts...) }()
	pool, taken := r.pool, r.seen+r.rested
	most := pool != nil && float64(taken) >= r.most*float64(pool.Size)
	switch {
	case most && r.rested > 0:
		f.Evidence = append(f.Evidence, detect.Evidence(
			"of these released within "+words.Span(r.rest)+": they may be at rest", float64(r.rested), "ports",
		))
		f.Causes = []string{
			fmt.Sprintf(
				"%s of %s ports of the pool %s released within the last %s, the time for which a closed port rests: the pool "+
					"sustains about %s new bindings per second",
				words.Number(r.rested), words.Number(pool.Size), words.Tense(ongoing, "were", "had been"), words.Span(r.rest),
				words.Rate(float64(pool.Size)/r.rest.Seconds()),
			),
			"ports that a runtime loses look the same until that time has passed (KB 814622): those that are not " +
				"used again by then are reported as held inside the runtime",
		}
		f.Advice = []string{
			"keep bindings open and reuse them, unless the server closes them after each call anyway",
			"widen the range (Ports under HKLM\\Software\\Microsoft\\Rpc\\Internet) and the firewall's rule with it, unless " +
				"ports turn out to be lost: a leak fills any range",
		}
		return
	case most && !r.windows:
		f.Causes = []string{fmt.Sprintf(
			"%s of %s ports of the range are taken, most by connections: connect can share a port between destinations, but "+
				"a bind needs one that is not in use at all",
			words.Number(taken), words.Number(pool.Size),
		)}
	case pool != nil && !r.used:
		f.Causes = []string{fmt.Sprintf(
			"No port of the pool %s was taken while it was observed: the range in use is a different one, is empty, or all "+
				"of its ports had been taken before",
			words.Pool(pool),
		)}
	case pool == nil && r.rpc:
		f.Causes = []string{
			"The port range of the RPC runtime is unknown: set it with --pool rpc=udp:LOW-HIGH",
		}
	}
	if !r.windows {
		f.Causes = append(
			f.Causes, "The error itself says that no port of the range is free for this bind; reserved ports "+
				"(net.ipv4.ip_local_reserved_ports) are never assigned",
		)
		f.Advice = []string{
			"read net.ipv4.ip_local_port_range and net.ipv4.ip_local_reserved_ports in the network namespace of the program, " +
				"and widen what is left between them, unless ss -tuan shows the range in use: then find who holds it",
		}
		return
	}
	status := "The status itself says that the range is exhausted; the capture does not show by whom"
	if r.rpc {
		status = "The capture does not show who holds the range"
	}
	f.Causes = append(f.Causes,
		status+": ports taken before it began are not in it",
		"The real range may be smaller than the one assumed: an administrator can narrow it (netsh, or Ports under "+
			"HKLM\\Software\\Microsoft\\Rpc\\Internet)",
	)
	if r.rpc {
		f.Causes = append(
			f.Causes,
			"Ports of the RPC runtime stay with a process until it exits, and a port that it has lost is not an open socket",
		)
		f.Advice = []string{
			"compare the range (Ports under HKLM\\Software\\Microsoft\\Rpc\\Internet) with the endpoints in use (portqry, " +
				"netstat -ano), unless no range is set there: then the dynamic range is the limit",
			"save netstat -ano and a dump of the process with most endpoints (they show the leak), then restart it to free " +
				"its ports",
		}
		return
	}
	f.Advice = []string{
		fmt.Sprintf("during the fault, count who holds the ports: netstat -ano, or "+
			"Get-NetUDPEndpoint and Get-NetTCPConnection grouped by OwningProcess; netsh int ipv4 show dynamicport %s shows "+
			"the real range", cmp.Or(r.protocol.String(), "tcp")),
		"widen the range (netsh int ipv4 set dynamicport) only if all processes hold about the same number; a leak fills " +
			"any range",
	}
}

// explainRejected says what is wrong with a configuration that Windows rejects.
func (r *refusals) explainRejected(f *model.Finding) {
	f.Causes = append(
		r.facts,
		"if a value is missing or not valid, Windows marks the whole configuration as not valid, and every server that asks "+
			"for a TCP or UDP port of the system's choice fails (documented for RpcServerUseProtseq)",
	)
	f.RuledOut = []string{"a lack of ports: no port of the range was tried"}
	f.Advice = []string{
		"correct the values Ports, PortsInternetAvailable and UseInternetPorts, or delete the key, and restart Windows, " +
			"but not before the range that the firewall lets pass is known: the two must agree",
	}
}
