package detect

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
	"lostbeat/model/state"
)

// rpcLately is for how long a refusal by RPC counts.
const rpcLately = 10 * time.Second

// RefusedByRPC counts the ports of a pool that the RPC runtime refused within the last 10 s because none was left, and
// says when it did last. Where the configuration of its ports is not valid, that is why, and none counts.
func RefusedByRPC(w *Tick, pool state.PoolKey) (n uint64, last model.Time) {
	if w.RPCPorts().State == model.RPCPortsInvalid {
		return 0, 0 // the configuration is the reason
	}
	for k, f := range w.Ports.Fails {
		if k.Pool == pool && k.NoneLeft && f.How == model.HowRPC {
			last = max(last, f.Last)
			if w.Now.Sub(f.Last) <= rpcLately {
				n += f.Count
			}
		}
	}
	return n, last
}

// ErrorsOfRPC are the names of the errors of those refusals.
func ErrorsOfRPC(w *Tick, pool state.PoolKey) []string {
	names := make(map[string]bool)
	for k, f := range w.Ports.Fails {
		if k.Pool == pool && k.NoneLeft && f.How == model.HowRPC {
			for name := range f.Errors {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// HeldInsideRPC says that RPC has no port left although ports of its range are idle. That the runtime holds them is
// inferred: no source shows a port that is allocated without a socket.
func HeldInsideRPC(pool *state.Pool, idle int, errors []string, ongoing bool) string {
	held := "probably held inside the RPC runtime (inferred)"
	if !ongoing {
		held = "they were " + held
	}
	return fmt.Sprintf("RPC %s no free port (%s) while %s of %s ports of the range %s %s no open or resting socket: %s",
		words.Tense(ongoing, "reports", "reported"), fold.Printable(strings.Join(errors, ", ")), words.Number(idle),
		words.Number(pool.Size), words.Pool(pool), words.Tense(ongoing, "have", "had"), held)
}

// mostRanges is how many ranges of ports a fact names.
const mostRanges = 6

// CensusEvidence are the numbers of a census.
func CensusEvidence(c *fold.Census) (list []model.Evidence) {
	for _, of := range []struct {
		use  fold.PortUse
		name string
	}{
		{fold.PortOpen, "with an open socket"},
		{fold.PortResting, "with a resting socket"},
		{fold.PortMayRest, "closed so lately that they may rest"},
		{fold.PortClosed, "closed and not taken again"},
		{fold.PortUnseen, "never seen with a socket"},
	} {
		name := of.name
		if ranges := c.Ranges(of.use, mostRanges); ranges != "" {
			name += " (" + ranges + ")"
		}
		list = append(list, Evidence(name, float64(c.Counts[of.use]), "ports"))
	}
	return list
}

// CensusFacts are what a census says, a sentence each; rest is for how long a closed port may rest unseen.
func CensusFacts(c *fold.Census, rest time.Duration) (facts []string) {
	count := func(use fold.PortUse) string { return words.Plural(c.Counts[use], "port") }
	if c.Counts[fold.PortOpen] > 0 {
		facts = append(facts, fmt.Sprintf("open: %s, %s", count(fold.PortOpen), owners(c.By(fold.PortOpen))))
	}
	if c.Counts[fold.PortResting] > 0 {
		facts = append(facts, fmt.Sprintf("at rest: %s, last held by %s", count(fold.PortResting),
			owners(c.By(fold.PortResting))))
	}
	if rest > 0 {
		fact := "rests are not reported here; no port was closed within the last " + words.Span(rest)
		if c.Counts[fold.PortMayRest] > 0 {
			fact = fmt.Sprintf("closed within the last %s: %s, which may be at rest; that is not reported here, and they "+
				"are not counted as idle", words.Span(rest), count(fold.PortMayRest))
		}
		facts = append(facts, fact)
	}
	if n := c.Counts[fold.PortClosed]; n > 0 {
		first, last := model.Time(0), model.Time(0)
		for _, p := range c.Places {
			if p.Use != fold.PortClosed {
				continue
			}
			if first == 0 {
				first = p.Since
			}
			first, last = min(first, p.Since), max(last, p.Since)
		}
		facts = append(facts, fmt.Sprintf("closed and not taken again: %s, from %s to %s, last held by %s",
			count(fold.PortClosed), first.Std().Format(time.TimeOnly), last.Std().Format(time.TimeOnly),
			owners(c.By(fold.PortClosed))))
	}
	if n := c.Counts[fold.PortUnseen]; n > 0 && c.Whole {
		facts = append(facts, fmt.Sprintf("never seen with a socket: %s; none had one when the tables of sockets were "+
			"read first", count(fold.PortUnseen)))
	} else if n > 0 {
		facts = append(facts, fmt.Sprintf("never seen with a socket: %s; who held them before the recording began is "+
			"unknown, so they are not counted as idle", count(fold.PortUnseen)))
	}
	return facts
}

// owners lists processes and how many ports each has, three at most.
func owners(list []fold.PIDCount) (text string) {
	for i, p := range list {
		if i == 3 {
			return fmt.Sprintf("%s and %d more", text, len(list)-3)
		}
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%s (%s)", words.Task(p.Name, p.PID), words.Number(p.Count))
	}
	return text
}

// RPCFacts are what is known when RPC has no port left, a sentence each: what the error says, the configuration, the
// ports of the range, and what Winsock refused.
func RPCFacts(w *Tick, pool *state.Pool, c *fold.Census) (facts []string) {
	const outOfResources = "RPC_S_OUT_OF_RESOURCES"
	var key state.PoolKey // none, where the range is not known
	if pool != nil {
		key = pool.Key()
	}
	if w.RPCPorts().State != model.RPCPortsInvalid && slices.Contains(ErrorsOfRPC(w, key), outOfResources) {
		facts = append(facts, outOfResources+" (1721) says that a resource was used up, not which one: that it was the "+
			"range of ports is inferred")
	}
	facts = append(facts, RPCConfigFact(w.RPCPorts()))
	if c != nil {
		facts = append(facts, CensusFacts(c, w.UnseenRest(pool.Protocol))...)
	}
	facts = append(facts, WinsockRefusals(w))
	return slices.DeleteFunc(facts, func(fact string) bool { return fact == "" })
}

// Living leaves out the ports of processes that have ended: those came back.
func Living(w *Tick, ports []fold.FreePort) []fold.FreePort {
	lives := make(map[int32]bool)
	return slices.DeleteFunc(ports, func(f fold.FreePort) bool {
		is, known := lives[f.By.PID]
		if !known {
			is = f.By.PID <= 0 || w.Lives(f.By.PID)
			lives[f.By.PID] = is
		}
		return !is
	})
}

// RPCConfigFact says how the ports of RPC are configured, empty where it is not known.
func RPCConfigFact(c fold.RPCPorts) string {
	switch c.State {
	case model.RPCPortsValid:
		return "the range is configured in the registry, and is valid: " + fold.Printable(c.Detail)
	case model.RPCPortsOther:
		return "the range in the registry is not for servers that leave the choice to the system: " +
			fold.Printable(c.Detail)
	case model.RPCPortsAbsent:
		return "no range is configured in the registry: RPC takes ports of the dynamic range"
	case model.RPCPortsInvalid:
		return fold.Printable(c.Detail)
	}
	return ""
}

// WinsockRefusals says how many binds Winsock refused for want of ports beside what RPC refused, empty for none.
func WinsockRefusals(w *Tick) string {
	var n uint64
	for _, k := range w.Ports.SortedFails() {
		if f := w.Ports.Fails[k]; w.Now.Sub(f.Last) <= rpcLately {
			n += f.Errors["STATUS_TOO_MANY_ADDRESSES"]
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("Winsock refused %s as well (STATUS_TOO_MANY_ADDRESSES, 0xc0000209)", words.Plural(n, "bind"))
}
