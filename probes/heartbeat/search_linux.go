package heartbeat

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lostbeat/ebpf"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// partSearch is the part of the probe that looks for flows.
const partSearch = "search"

// When packets of all flows are looked at: it costs each of them.
const (
	firstLook = 10 * time.Second
	laterLook = 5 * time.Second
	lookEvery = time.Minute
	// maxWantedOwners bounds the sockets whose owners are looked up at a time, as the size of hb_wanted does, and
	// maxProposals the flows that are proposed.
	maxWantedOwners = 256
	maxProposals    = 64
	// maxCandidates bounds the flows that need another look.
	maxCandidates = 1024
)

// search looks for flows that nobody has named.
type search struct {
	// others are the sockets that the last listing had and that are not followed.
	others    map[uint64]bool
	proposals map[proposalKey]*proposal

	object *ebpf.Loader
	owners *link.Iter
	slots  *cebpf.Memory
	wanted *cebpf.Map
	links  []link.Link
	// began is when a look began, or the last one did; next is when the next one begins.
	began, next     model.Time
	looking, looked bool
	// candidates are flows of which too little was seen so far, by slot.
	candidates map[int]gaps
}

func newSearch() search {
	return search{
		others: make(map[uint64]bool), proposals: make(map[proposalKey]*proposal), candidates: make(map[int]gaps),
	}
}

// proposalKey identifies a flow that is proposed: one for each port and process.
type proposalKey struct {
	protocol model.Protocol
	port     uint16
	pid      int32
}

// proposal is a flow that somebody may want to follow.
type proposal struct {
	flow model.Flow
	// periodic says that it was seen to have packets at regular intervals; others have a known port.
	periodic, present bool
	written           model.Time
}

// want follows a flow from now on.
func (a *attached) want(f ebpf.Heartbeat) {
	if f.Auto {
		a.auto = true
	} else if !slices.Contains(a.flows, f) {
		a.flows = append(a.flows, f)
	}
}

// Answers implements ebpf.Responder.
func (a *attached) Answers() []model.RequestKind {
	return []model.RequestKind{model.RequestFollow, model.RequestZoom}
}

// Begin implements ebpf.Responder: it follows a flow, or looks closer at all of them.
func (a *attached) Begin(r model.Request) error {
	if r.Kind == model.RequestZoom {
		return a.zoomIn()
	}
	flows, err := ParseFlow(r.Name)
	if err != nil {
		return err
	}
	before := len(a.flows)
	for _, f := range flows {
		a.want(f)
	}
	if err := a.followNow(); err != nil {
		a.flows = a.flows[:before]
		return err
	}
	a.startSearch()
	a.env.StatusChanged()
	return nil
}

// End implements ebpf.Responder: flows are followed until the probe is closed.
func (a *attached) End(r model.Request) {
	if r.Kind == model.RequestZoom {
		a.zoomOut()
	}
}

// followNow makes the kernel look at the ports that are followed now.
func (a *attached) followNow() error {
	if a.loader == nil {
		return a.start()
	}
	if err := a.followPorts(); err != nil {
		return err
	}
	return a.listSockets()
}

// commandLine returns what reads the command line of a process.
func commandLine(pid int32) func() string {
	return func() string { return strings.Join(programOf("/proc", pid).args, " ") }
}

// startSearch loads what finds flows, once that was asked for.
func (a *attached) startSearch() {
	if !a.auto || a.object != nil {
		return
	}
	err := a.loadSearch()
	a.status[partSearch] = ebpf.StatusOf(name, partSearch, err)
	if err != nil {
		a.env.Log.Warn("search for flows", "error", err)
	}
}

func (a *attached) loadSearch() error {
	if a.env.CgroupError != nil {
		return a.env.CgroupError
	}
	spec, err := loadDiscover()
	if err != nil {
		return fmt.Errorf("read the BPF object: %w", err)
	}
	object, err := a.env.NewLoader(spec)
	if err != nil {
		return err
	}
	fail := func(err error) error { return errors.Join(err, object.Close()) }
	lk, err := object.Attach(discoverProgHbOwners)
	if err != nil {
		return fail(err)
	}
	for _, program := range []string{discoverProgHbLookIn, discoverProgHbLookOut} {
		if _, err := object.Program(program); err != nil {
			return fail(err)
		}
	}
	if a.slots, err = object.Map(discoverMapHbSlots).Memory(); err != nil {
		return fail(fmt.Errorf("map the slots of ports: %w", err))
	}
	a.object, a.owners, a.wanted = object, lk.(*link.Iter), object.Map(discoverMapHbWanted)
	return nil
}

func (s *search) close() error {
	if s.object == nil {
		return nil
	}
	return errors.Join(s.detach(), s.object.Close())
}

func (s *search) detach() error {
	var errs []error
	for _, lk := range s.links {
		errs = append(errs, lk.Close())
	}
	s.links, s.looking = nil, false
	return errors.Join(errs...)
}

// look begins a look at all packets, or ends it, when it is time.
func (a *attached) look(now model.Time) error {
	if a.object == nil {
		return nil
	}
	length := laterLook
	if !a.looked {
		length = firstLook
	}
	switch {
	case !a.looking && now >= a.next:
		a.began, a.next, a.looking = now, now.Add(lookEvery), true
		for _, program := range []string{discoverProgHbLookIn, discoverProgHbLookOut} {
			lk, err := a.object.AttachGroup(program, a.env.CgroupRoot)
			if err != nil {
				return errors.Join(fmt.Errorf("look for flows: %w", err), a.detach())
			}
			a.links = append(a.links, lk)
		}
	case a.looking && now.Sub(a.began) >= length:
		a.looked = true
		return errors.Join(a.detach(), a.found())
	}
	return nil
}

// found takes up what a look has seen.
func (a *attached) found() error {
	const ports = 1 << 16
	slots := make([]discoverHbSlot, 2*ports)
	if err := ebpf.ReadMapped(a.slots, slots); err != nil {
		return err
	}
	regular := make(map[int]gaps)
	sockets := make(map[uint64]bool)
	for key := range slots {
		s := &slots[key]
		if s.LastNs == 0 {
			continue
		}
		if s.N == busySlot {
			delete(a.candidates, key)
			continue
		}
		g := gaps{
			cookie: s.Cookie, protocol: s.Protocol, n: uint64(s.N), sum: uint64(s.SumUs), square: s.SquareUs,
			longest: uint64(s.MaxUs),
		}
		if old, ok := a.candidates[key]; ok && old.cookie == g.cookie && old.protocol == g.protocol {
			g.add(old)
		}
		delete(a.candidates, key)
		switch {
		case g.regular():
			if len(sockets) < maxWantedOwners {
				regular[key] = g
				sockets[g.cookie] = true
			}
		case g.n > 0 && g.n < leastGaps && len(a.candidates) < maxCandidates:
			a.candidates[key] = g
		}
	}
	if err := ebpf.ClearMapped(a.slots); err != nil {
		return err
	}
	if len(sockets) == 0 {
		return nil
	}
	owners, err := a.ownersOf(sockets)
	for _, key := range slices.Sorted(maps.Keys(regular)) {
		g := regular[key]
		if owner := owners[g.cookie]; owner != nil {
			a.takeRegular(owner, g, uint16(key%ports), key >= ports)
		}
	}
	return err
}

// ownersOf returns the sockets of certain cookies with the first process that holds each.
func (a *attached) ownersOf(sockets map[uint64]bool) (map[uint64]*heartbeatSocketEntry, error) {
	defer func() {
		for cookie := range sockets {
			_ = a.wanted.Delete(cookie) // it may not be there
		}
	}()
	for cookie := range sockets {
		if err := a.wanted.Put(cookie, uint8(1)); err != nil {
			return nil, fmt.Errorf("look up the owner of a socket: %w", err)
		}
	}
	entries, err := ebpf.ReadIter[heartbeatSocketEntry](a.owners)
	if err != nil {
		return nil, fmt.Errorf("look up the owners of sockets: %w", err)
	}
	owners := make(map[uint64]*heartbeatSocketEntry)
	for i := range entries {
		if e := &entries[i]; owners[e.Cookie] == nil {
			owners[e.Cookie] = e
		}
	}
	return owners, nil
}

// takeRegular follows or proposes a flow with regular gaps. The port is the peer's where the host sends.
func (a *attached) takeRegular(e *heartbeatSocketEntry, g gaps, port uint16, sends bool) {
	if a.sockets[e.Cookie] != nil {
		return
	}
	process, protocol := a.env.Process(int32(e.Tgid)), protocolOf(e.Protocol)
	f := model.Flow{
		PID: int32(e.Tgid), TID: -1, NetnsInode: e.Netns, Cookie: e.Cookie, Protocol: protocol, LocalPort: e.LocalPort,
		RemotePort: e.RemotePort, State: model.FlowProposed, Period: g.mean(),
		LocalAddr: ebpf.Addr(e.Local, e.Family).Unmap().String(), Process: process,
	}
	if e.RemotePort != 0 {
		f.RemoteAddr = ebpf.Addr(e.Remote, e.Family).Unmap().String()
	} else if sends {
		f.RemotePort = port
	}
	if row := byOwner(protocol, process); row != nil {
		a.want(ebpf.Heartbeat{Protocol: protocol, Port: port})
		if err := a.followNow(); err != nil {
			a.env.Log.Warn("follow a flow", "error", err)
		}
		return
	}
	if row := byPort(protocol, f.LocalPort, f.RemotePort); row != nil {
		f.KnownAs = row.name
	}
	a.propose(f, true)
}

// proposeByPort proposes a socket with a port that is known, of an owner that is not.
func (a *attached) proposeByPort(s *socket) {
	row := byPort(s.protocol, s.local, s.remotePort)
	if !a.auto || row == nil || row.protocol == vrrp {
		return
	}
	a.propose(model.Flow{
		PID: s.pid, TID: -1, NetnsInode: s.netns, Cookie: s.cookie, Protocol: s.protocol, LocalPort: s.local,
		RemotePort: s.remotePort, State: model.FlowProposed, LocalAddr: s.localAddr, RemoteAddr: s.remoteAddr,
		Process: s.process, KnownAs: row.name,
	}, false)
}

// propose says that a flow may be worth to be followed.
func (a *attached) propose(f model.Flow, periodic bool) {
	key := proposalKey{f.Protocol, f.ServicePort(), f.PID}
	p := a.proposals[key]
	if p == nil {
		if f.Process == "lostbeat" || len(a.proposals) >= maxProposals {
			return
		}
		p = &proposal{flow: f}
		a.proposals[key] = p
	}
	p.present = true
	if periodic && p.flow.Period == 0 {
		p.written = 0
	}
	p.flow.Period = cmp.Or(f.Period, p.flow.Period)
	p.periodic = p.periodic || periodic
}

// emitProposals writes the flows that are proposed, and takes back those that are followed now or have gone.
func (a *attached) emitProposals(now model.Time, b *model.Builder) {
	keys := slices.SortedFunc(maps.Keys(a.proposals), func(x, y proposalKey) int {
		return cmp.Or(cmp.Compare(x.port, y.port), cmp.Compare(x.protocol, y.protocol), cmp.Compare(x.pid, y.pid))
	})
	for _, key := range keys {
		p := a.proposals[key]
		f := p.flow
		f.Time = now
		followed := a.sockets[f.Cookie] != nil
		switch {
		case followed, !p.present || p.periodic && !alive(f.PID):
			delete(a.proposals, key)
			if !followed {
				f.State = model.FlowEnded
				b.AddFlow(f)
			}
		case p.written == 0 || now.Sub(p.written) >= flowEvery:
			p.written = now
			b.AddFlow(f)
		}
	}
}
