package port

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"lostbeat/internal/rpcbind"
	"lostbeat/model"
)

const (
	// partRPC is the part of the probe that asks rpcbind.
	partRPC = "rpc"
	// rpcEvery is how often rpcbind is asked.
	rpcEvery = 5 * time.Second
	// rpcPatience is how long rpcbind is waited for.
	rpcPatience = 2 * time.Second
	// rpcSocket is where rpcbind listens for the programs of its host.
	rpcSocket = "/run/rpcbind.sock"
	// rpcLoopback is where it is reached when the socket is not there: the older
	// portmap has none, and a container may hide it.
	rpcLoopback = "127.0.0.1:111"
	// rpcNames are the names of programs.
	rpcNames = "/etc/rpc"
)

// programs are the RPC programs that rpcbind of this process's network namespace
// has registered.
//
// rpcbind is asked only while the listing shows that it runs: systemd listens in
// its place until somebody asks, and an observer must not be the one who starts it.
type programs struct {
	names rpcbind.Names
	// dump asks rpcbind, by TCP if there is no other way and tcp allows.
	dump func(ctx context.Context, tcp bool) ([]rpcbind.Registration, error)
	// alive says that a process has not ended.
	alive func(pid int32) bool
	netns uint32
	// known are the registrations that were told, without their owners: rpcbind
	// knows users, and the ports tell processes.
	known map[rpcbind.Registration]model.RPCEndpoint
	// daemon is the process that is asked, 0 none; tcp that it listens by TCP.
	daemon int32
	tcp    bool
	// status is that of the part.
	status model.Probe
	// next is when to ask next, asking that no answer has come yet.
	next   model.Time
	asking bool
	// gone says that rpcbind has ended, and its registrations with it.
	gone bool

	questions chan bool
	answers   chan rpcAnswer
}

type rpcAnswer struct {
	list []rpcbind.Registration
	err  error
}

func newPrograms(netns uint32) programs {
	return programs{
		names: rpcbind.Programs(rpcNames), dump: dumpRPC, alive: func(pid int32) bool { return !ended(pid) },
		netns: netns, known: make(map[rpcbind.Registration]model.RPCEndpoint),
		status:    model.Probe{Name: probeName, Part: partRPC, State: model.ProbeOn},
		questions: make(chan bool, 1), answers: make(chan rpcAnswer, 1),
	}
}

// dumpRPC asks rpcbind over its local socket, or over the loopback device.
func dumpRPC(ctx context.Context, tcp bool) ([]rpcbind.Registration, error) {
	list, err := rpcbind.Dump(ctx, "unix", rpcSocket)
	if tcp && errors.Is(err, fs.ErrNotExist) {
		list, err = rpcbind.Dump(ctx, "tcp", rpcLoopback)
	}
	return list, err
}

// answer asks rpcbind when told to, until ctx is done.
func (p *programs) answer(ctx context.Context) {
	for {
		var tcp bool
		select {
		case <-ctx.Done():
			return
		case tcp = <-p.questions:
		}
		limited, cancel := context.WithTimeout(ctx, rpcPatience)
		list, err := p.dump(limited, tcp)
		cancel()
		select {
		case <-ctx.Done():
			return
		case p.answers <- rpcAnswer{list, err}:
		}
	}
}

// listed takes up from a listing whether rpcbind runs, and returns the state of the part.
func (p *programs) listed(l *listing) model.Probe {
	switch {
	case l.filesErr != nil:
		p.daemon = 0
		p.set(model.ProbeDegraded, "cannot tell whether rpcbind runs, and a query could start it: RPC programs are not shown")
	case l.rpcbind != 0:
		p.daemon, p.tcp, p.gone = l.rpcbind, l.rpcbindTCP, false
	default:
		p.daemon, p.gone = 0, true
		p.set(model.ProbeOn, "")
		// Nothing is amiss, so this is no reason.
		p.status.Hint = "rpcbind is not running in this network namespace: no RPC program is registered"
		if l.rpcbindWaits {
			p.status.Hint = "rpcbind has not started yet (systemd listens on its socket): no RPC program is registered"
		}
	}
	return p.status
}

func (p *programs) set(state model.ProbeState, reason string) {
	p.status.State, p.status.Reason, p.status.Hint = state, reason, ""
}

// collect tells what has changed since the last interval, asks again when it is
// time to, and returns the state of the part.
func (p *programs) collect(now model.Time, t *tracker, b *model.Builder) model.Probe {
	select {
	case a := <-p.answers:
		p.asking = false
		if p.daemon != 0 {
			p.take(a, now, t, b)
		}
	default:
	}
	if p.gone {
		p.gone = false
		p.tell(nil, now, t, b)
	}
	if p.daemon != 0 && !p.asking && now >= p.next && p.alive(p.daemon) {
		p.asking = true
		p.next = now.Add(rpcEvery)
		p.questions <- p.tcp
	}
	return p.status
}

// take takes up an answer.
func (p *programs) take(a rpcAnswer, now model.Time, t *tracker, b *model.Builder) {
	switch {
	case a.err == nil:
		p.set(model.ProbeOn, "")
	case errors.Is(a.err, rpcbind.ErrTooMany):
		p.set(model.ProbeDegraded, "not all RPC programs are shown: "+a.err.Error())
	case errors.Is(a.err, context.DeadlineExceeded):
		p.set(model.ProbeDegraded, fmt.Sprintf(
			"rpcbind[%d] has not answered within %v: RPC programs are shown as of its last answer", p.daemon, rpcPatience,
		))
		return
	default:
		p.set(model.ProbeDegraded, "RPC programs are shown as of the last answer: "+a.err.Error())
		return
	}
	p.tell(a.list, now, t, b)
}

// tell reports how the registrations differ from those that were told.
func (p *programs) tell(list []rpcbind.Registration, now model.Time, t *tracker, b *model.Builder) {
	wanted := make(map[servedPort]bool, len(list))
	for i := range list {
		if protocol, port := registeredPort(&list[i]); port != 0 {
			wanted[servedPort{protocol, port}] = true
		}
	}
	owners := t.held.owners(p.netns, wanted)
	current := make(map[rpcbind.Registration]bool, len(list))
	for _, r := range list {
		r.Owner = ""
		current[r] = true
		v := p.endpoint(&r, owners, t)
		if p.known[r] == v {
			continue
		}
		p.known[r] = v
		v.Time = now
		b.AddRPCEndpoint(v)
	}
	for _, r := range slices.SortedFunc(maps.Keys(p.known), compareRegistrations) {
		if current[r] {
			continue
		}
		v := p.known[r]
		delete(p.known, r)
		v.Time, v.Removed = now, true
		b.AddRPCEndpoint(v)
	}
}

// endpoint is a registration as an event, without its time. Who holds its port is
// read from the ports.
func (p *programs) endpoint(
	r *rpcbind.Registration,
	owners map[portOwnerKey]portOwner,
	t *tracker,
) model.RPCEndpoint {
	v := model.RPCEndpoint{
		PID: -1, TID: -1, NetnsInode: p.netns,
		Version: int64(r.Version), Interface: p.names.Of(r.Program), Endpoint: r.Endpoint(),
	}
	v.Protocol, v.LocalPort = registeredPort(r)
	if v.LocalPort == 0 {
		return v
	}
	key := portOwnerKey{servedPort{v.Protocol, v.LocalPort}, r.Netid == "tcp6" || r.Netid == "udp6"}
	owner, ok := owners[key]
	if !ok { // a socket for both families is registered for one of them
		key.v6 = !key.v6
		owner, ok = owners[key]
	}
	if ok {
		v.PID, v.Process = owner.pid, t.process(owner.pid, owner.comm)
	}
	return v
}

// registeredPort returns protocol and port of a registration; ProtocolOther and 0 for one
// that has none.
func registeredPort(r *rpcbind.Registration) (model.Protocol, uint16) {
	_, port, ok := r.HostPort()
	switch {
	case !ok:
	case r.Netid == "tcp" || r.Netid == "tcp6":
		return model.ProtocolTCP, port
	default:
		return model.ProtocolUDP, port
	}
	return model.ProtocolOther, 0
}

func compareRegistrations(a, b rpcbind.Registration) int {
	return cmp.Or(
		cmp.Compare(a.Program, b.Program),
		cmp.Compare(a.Version, b.Version),
		cmp.Compare(a.Netid, b.Netid),
		cmp.Compare(a.Address, b.Address),
	)
}
