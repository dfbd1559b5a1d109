package fold

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"lostbeat/model"
	"lostbeat/model/budget"
	"lostbeat/model/state"
)

// rpcOutOfResources is RPC_S_OUT_OF_RESOURCES: the port range is used up.
const rpcOutOfResources = 1721

func (p *Ports) fail(w *Fold, v *model.PortFail) {
	if portTaken(v.ErrorName) {
		p.search(w, v)
	}
	k := FailKey{
		Netns:    v.Netns,
		port:     v.LocalPort,
		Taken:    v.LocalPort != 0,
		NoneLeft: v.LocalPort == 0 && (noPortLeft(v.ErrorName) || v.How == model.HowBindAny && v.ErrorName == "EADDRINUSE"),
	}
	switch {
	case v.LocalPort != 0:
		if pool, ok := w.poolOf(v.Protocol, v.Netns, v.LocalPort); ok {
			k.Pool, k.port = pool, 0 // one group to a pool: its ports are tried one after the other
		}
	case v.How == model.HowRPC:
		k.Pool = w.rpcPool(v.Protocol)
	default:
		k.Pool, _ = w.EphemeralPool(v.Protocol, v.Netns)
	}
	if v.Protocol == model.ProtocolTCP && v.How == model.HowConnect {
		k.Connect, k.Remote, k.RemotePort = true, v.RemoteAddr, v.RemotePort
	}
	name := v.ErrorName
	if name == "" {
		name = "error " + strconv.FormatInt(v.Error, 10)
	}
	p.addFailure(w, k, v.Protocol, v.How, v.Time, ProcessKey{v.PID, v.Process}, name)
}

func (p *Ports) rpcFail(w *Fold, v *model.RPCCall) {
	k := FailKey{Pool: w.rpcPool(model.ProtocolUnknown), NoneLeft: true}
	p.addFailure(w, k, k.Pool.Protocol, model.HowRPC, v.Time, ProcessKey{v.PID, v.Process}, "RPC_S_OUT_OF_RESOURCES")
}

// SortedFails returns the keys of Fails in a fixed order.
func (p *Ports) SortedFails() []FailKey {
	if p.failed == nil && len(p.Fails) > 0 {
		p.failed = slices.SortedFunc(maps.Keys(p.Fails), compareFails)
	}
	return p.failed
}

func (p *Ports) addFailure(
	w *Fold,
	k FailKey,
	protocol model.Protocol,
	how model.How,
	at model.Time,
	who ProcessKey,
	errorName string,
) {
	if who.Name == "" {
		who.Name = w.State.ProcessName(who.PID)
	}
	f := p.Fails[k]
	if f == nil {
		if !p.room.Take("refused allocations", failBytes+len(k.Remote)) {
			return
		}
		f = &Failures{
			bytes:     failBytes + len(k.Remote),
			Protocol:  protocol,
			How:       how,
			First:     at,
			ByProcess: make(map[ProcessKey]Refused),
			Errors:    make(map[string]uint64),
		}
		p.Fails[k] = f
		p.failed = nil
	}
	f.Count++
	f.Second++
	f.Last = at
	f.count(p.room, who, errorName)
}

// count counts a failure by process and error.
func (f *Failures) count(room *budget.Budget, who ProcessKey, errorName string) {
	take := func(known bool, name string) bool {
		n := failedBytes + len(name)
		if !known && !room.Take("refused processes", n) {
			return false
		}
		if !known {
			f.bytes += n
		}
		return true
	}
	if n, known := f.ByProcess[who]; take(known, who.Name) {
		f.ByProcess[who] = Refused{n.Count + 1, f.Last}
	}
	if _, known := f.Errors[errorName]; take(known, errorName) {
		f.Errors[errorName]++
	}
}

// RefusedWithin returns the failed allocations in a pool since a time; taken says
// that those of a certain port count, which is taken.
func (p *Ports) RefusedWithin(pool state.PoolKey, since model.Time, taken bool) uint64 {
	var n uint64
	for k, f := range p.Fails {
		if k.Pool == pool && f.Last >= since && !k.Connect && (taken || !k.Taken) {
			n += f.Count
		}
	}
	return n
}

// noPortLeft says that an error means a lack of ports and nothing else.
func noPortLeft(errorName string) bool {
	return errorName == "STATUS_TOO_MANY_ADDRESSES" || errorName == "RPC_S_OUT_OF_RESOURCES"
}

// portTaken says that an error may mean that the port asked for is taken. Its
// name is not known where the kernel tells that an attempt failed, and not why.
func portTaken(errorName string) bool {
	switch errorName {
	case "", "unknown", "EADDRINUSE", "STATUS_ADDRESS_ALREADY_EXISTS", "STATUS_SHARING_VIOLATION":
		return true
	}
	return false
}

// holderID identifies a holder in findings.
func holderID(k holderKey) string {
	who := "pid" + strconv.Itoa(int(k.PID))
	if k.PID <= 0 && k.process != "" {
		who = Printable(k.process)
	}
	key := fmt.Sprintf("%s/%s/%s", who, k.Protocol, Printable(k.Pool.Name))
	if k.Netns != 0 {
		key += "/netns" + strconv.FormatInt(k.Netns, 10)
	}
	if k.Connections {
		key += "/connect"
	}
	return key
}
