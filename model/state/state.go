// Package state folds a stream of events into what holds at a moment: the
// host, the probes, processes, devices and their queues, port pools, what is
// registered with the endpoint mapper and the ports that are held. It is pure:
// the same events give the same state, live and replayed. It also gives that
// state back as events, which is the keyframe in front of a recording's blocks.
package state

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"lostbeat/model"
	"lostbeat/model/budget"
)

// KeyframeKey is the key of the meta event that opens a keyframe: what was
// known before no longer counts.
const KeyframeKey = "keyframe"

// keyframeBatch is about the number of events in a batch of Keyframe.
const keyframeBatch = 2048

// State is what holds after the events applied so far. Its maps may be read
// between calls of Apply and must not be changed. A State is not safe for
// concurrent use.
type State struct {
	// Now is the time of the last event, Start that of the first; 0 before any.
	Now, Start model.Time
	// Meta are the facts about host, capture and tool.
	Meta map[string]string
	// Clock is the last reading of the clocks.
	Clock model.Clock
	// Probes are the parts of probes and how they do.
	Probes map[ProbeKey]model.Probe
	// Processes are the processes that the stream has named, without those seen to exit.
	Processes map[int32]model.Process
	// Devices are the network devices.
	Devices map[DeviceKey]model.DeviceConfig
	// Queues are the devices' queues.
	Queues map[QueueKey]model.DeviceQueue
	// Pools are the port pools with their occupancy.
	Pools map[PoolKey]*Pool
	// Endpoints are what servers have registered with the endpoint mapper.
	Endpoints map[EndpointKey]model.RPCEndpoint
	// Ports are the ports that are held or at rest.
	Ports Ports

	slots slots
	// budget is the memory of the facts, taken what they have of it.
	budget *budget.Budget
	taken  int
	// portBytes is what the ports have of it.
	portBytes int
	index     deviceIndex
	pools     poolIndex
	sorted    []*Pool // see SortedPools, nil after a change
}

// ProbeKey identifies a part of a probe.
type ProbeKey struct{ Name, Part string }

// DeviceKey identifies a device. Recordings of format 1.0 have no inodes: there
// the name of the namespace alone tells devices of the same index apart.
type DeviceKey struct {
	Netns      string
	NetnsInode uint32
	Ifindex    int64
}

// QueueKey identifies a queue of a device. In recordings of format 1.0, devices
// of the same index in two namespaces are told apart by name alone.
type QueueKey struct {
	NetnsInode uint32
	Device     string
	Ifindex    int64
	Direction  model.Direction
	Queue      int64
}

// PoolKey identifies a pool.
type PoolKey struct {
	Name     string
	Protocol model.Protocol
	Netns    int64
}

// EndpointKey identifies a registration with the endpoint mapper.
type EndpointKey struct {
	NetnsInode uint32
	Interface  string
	Version    int64
	Endpoint   string
}

// Pool is a pool of ports and how much of it is taken.
type Pool struct {
	model.PortPool
	// Used is the number of distinct ports of the pool that are held.
	Used int
	// Resting is the number of distinct ports that nobody holds and that rest.
	Resting int
}

// Contains says whether a port of the given protocol and namespace belongs to the pool.
func (p *Pool) Contains(protocol model.Protocol, netns int64, port uint16) bool {
	return p.Protocol == protocol && (p.Netns == 0 || p.Netns == netns) && port >= p.Low && port <= p.High
}

// New returns the state before any event, with a budget of its own.
func New() *State { return NewWithin(budget.New(budget.Facts(budget.Default))) }

// NewWithin returns the state before any event. What it keeps is taken from b,
// which may serve others as well; nil is no limit. Facts for which there is no
// room are left out: b counts them.
func NewWithin(b *budget.Budget) *State {
	s := &State{budget: b}
	s.reset()
	return s
}

// LeftOut returns how many facts were left out, because there was no room for
// them, since the start.
func (s *State) LeftOut() uint64 { return s.budget.LeftOut() }

func (s *State) reset() {
	indexed := s.Ports.holders != nil
	s.budget.Give(s.taken) // all of it is forgotten
	*s = State{
		budget:    s.budget,
		Now:       s.Now,
		Start:     s.Start,
		Meta:      map[string]string{},
		Probes:    map[ProbeKey]model.Probe{},
		Processes: map[int32]model.Process{},
		Devices:   map[DeviceKey]model.DeviceConfig{},
		Queues:    map[QueueKey]model.DeviceQueue{},
		Pools:     map[PoolKey]*Pool{},
		Endpoints: map[EndpointKey]model.RPCEndpoint{},
		Ports:     newPorts(),
		slots:     newSlots(),
		index:     newDeviceIndex(),
		pools:     poolIndex{},
	}
	if indexed {
		s.Ports.IndexHolders()
	}
}

// Apply folds a batch into the state.
func (s *State) Apply(b *model.Batch) {
	for i := range b.Events {
		s.ApplyEvent(b, &b.Events[i])
	}
}

// ApplyEvent folds one event of b into the state.
func (s *State) ApplyEvent(b *model.Batch, e *model.Event) {
	s.advance(e.Time)
	switch e.Kind {
	case model.KindMeta:
		v, _ := b.Meta(e)
		if v.Key == KeyframeKey {
			s.reset()
			return
		}
		keep(s, s.Meta, v.Key, v.Value, "facts about the host", metaBytes)
	case model.KindClock:
		s.Clock, _ = b.Clock(e)
	case model.KindProbe:
		v, _ := b.Probe(e)
		keep(s, s.Probes, ProbeKey{v.Name, v.Part}, v, "probes", probeBytes)
	case model.KindProcess:
		v, _ := b.Process(e)
		if v.State == model.ProcessExited {
			forget(s, s.Processes, v.PID, processBytes)
		} else {
			keep(s, s.Processes, v.PID, v, "processes", processBytes)
		}
	case model.KindDeviceConfig:
		v, _ := b.DeviceConfig(e)
		s.setDevice(DeviceKey{v.Netns, v.NetnsInode, v.Ifindex}, v)
	case model.KindDeviceQueue:
		v, _ := b.DeviceQueue(e)
		s.setQueue(QueueKey{v.NetnsInode, v.Device, v.Ifindex, v.Direction, v.Queue}, v)
	case model.KindDeviceEvent:
		switch v, _ := b.DeviceEvent(e); v.What {
		case model.DeviceRemoved:
			s.removeDevice(v)
		case model.DeviceRenamed:
			s.renameDevice(v)
		}
	case model.KindPortPool:
		v, _ := b.PortPool(e)
		s.setPool(v)
	case model.KindRPCEndpoint:
		v, _ := b.RPCEndpoint(e)
		k := EndpointKey{v.NetnsInode, v.Interface, v.Version, v.Endpoint}
		if v.Removed {
			forget(s, s.Endpoints, k, endpointBytes)
		} else {
			keep(s, s.Endpoints, k, v, "RPC endpoints", endpointBytes)
		}
	case model.KindPortAcquire, model.KindPortActive, model.KindPortRest, model.KindPortRelease:
		c := PortOf(b, e)
		s.applyPort(&c)
	case model.KindPortActivity:
		v, _ := b.PortActivity(e)
		if !s.budget.Room("ports", portTextBytes+len(v.RemoteAddr)) {
			return
		}
		s.Ports.use(ActivityKey(&v), v)
		s.countPorts()
	}
}

// PortChange is what an event says of a port.
type PortChange struct {
	// Port is the port as it is from then on, or as it was when it was given back.
	Port
	// Released says that it was given back, Closed that it was held until then and rests now.
	Released, Closed bool
}

// PortOf decodes an event of b that acquires, releases or rests a port, or says
// that it is held.
func PortOf(b *model.Batch, e *model.Event) PortChange {
	c := PortChange{Port: Port{
		Cookie: e.Resource, PID: e.PID, TID: e.TID, Flags: e.Flags &^ model.FlagKeyframe, Since: e.Time,
	}}
	p := &c.Port
	switch e.Kind {
	case model.KindPortAcquire:
		v, _ := b.PortAcquire(e)
		p.setAddresses(v.Protocol, v.LocalAddr, v.LocalPort, v.RemoteAddr, v.RemotePort, v.Netns)
		p.Process, p.How, p.Stack = v.Process, v.How, v.Stack
	case model.KindPortActive:
		v, _ := b.PortActive(e)
		p.setAddresses(v.Protocol, v.LocalAddr, v.LocalPort, v.RemoteAddr, v.RemotePort, v.Netns)
		p.Process, p.How, p.Stack, p.Resting, p.Since = v.Process, v.How, v.Stack, v.Resting, e.Start()
	case model.KindPortRest:
		v, _ := b.PortRest(e)
		p.setAddresses(v.Protocol, v.LocalAddr, v.LocalPort, v.RemoteAddr, v.RemotePort, v.Netns)
		p.Process, p.Resting, c.Closed = v.Process, true, true
		if v.Rest > 0 {
			p.RestUntil = e.Time.Add(v.Rest)
		}
	case model.KindPortRelease:
		v, _ := b.PortRelease(e)
		p.setAddresses(v.Protocol, v.LocalAddr, v.LocalPort, v.RemoteAddr, v.RemotePort, v.Netns)
		p.Process, p.How, p.Resting, c.Released = v.Process, v.How, v.How == model.HowRestEnd, true
	}
	return c
}

// ActivityKey is the key of the port that an event says the use of.
func ActivityKey(v *model.PortActivity) PortKey {
	return Key(v.Cookie, Place{v.Netns, v.LocalAddr, v.RemoteAddr, v.LocalPort, v.RemotePort, v.Protocol}, false)
}

// ApplyPort folds what an event at a time says of a port into the state.
func (s *State) ApplyPort(at model.Time, c *PortChange) {
	s.advance(at)
	s.applyPort(c)
}

func (s *State) applyPort(c *PortChange) {
	p := c.Port
	switch {
	case c.Released:
		s.remove(p.Key())
		return
	case c.Closed:
		held := Key(p.Cookie, p.place(), false)
		if before, ok := s.Ports.Get(held); ok {
			p.How = before.How // how it was taken says for whom a resting port is taken
		}
		s.remove(held)
	}
	s.put(&p)
}

// advance takes up that there is an event at a time.
func (s *State) advance(at model.Time) {
	if s.Start == 0 {
		s.Start = at
	}
	s.Now = max(s.Now, at)
	s.budget.Earn(workPerEvent)
}

func (p *Port) setAddresses(
	protocol model.Protocol,
	local string,
	lport uint16,
	remote string,
	rport uint16,
	netns int64,
) {
	p.Protocol, p.Netns = protocol, netns
	p.LocalAddr, p.LocalPort, p.RemoteAddr, p.RemotePort = local, lport, remote, rport
}

func (s *State) put(p *Port) {
	s.remove(p.Key())
	if !s.budget.Room("ports", p.mostBytes()) {
		return
	}
	s.Ports.put(p)
	s.use(p, 1)
	s.countPorts()
}

func (s *State) remove(key PortKey) {
	if i, ok := s.Ports.find(key); ok {
		var p Port
		s.Ports.port(i, &p)
		s.use(&p, -1)
		s.Ports.remove(i)
		s.countPorts()
	}
}

// use changes by n how often p's port is held or rests, and the occupancy of
// the pools where that made a difference.
func (s *State) use(p *Port, n int32) {
	if p.Shared() || p.LocalPort == 0 {
		return
	}
	before, after := s.slots.change(p, n)
	for pool := range s.PoolsOf(p.Protocol, p.Netns) {
		if pool.Contains(p.Protocol, p.Netns, p.LocalPort) {
			pool.count(before, -1)
			pool.count(after, 1)
		}
	}
}

func (p *Pool) count(u slotUse, n int) {
	switch {
	case u.held > 0:
		p.Used += n
	case u.resting > 0:
		p.Resting += n
	}
}

// Snapshot adds the state to b as a keyframe: events at the given time, flagged
// model.FlagKeyframe, in an order that depends on the state alone. Applied to
// any State they give this one back.
func (s *State) Snapshot(at model.Time, b *model.Builder) { s.snapshot(at, b, func() {}) }

// Keyframe returns what Snapshot adds as batches, so that a state with many
// ports need not be in memory twice.
func (s *State) Keyframe(at model.Time) iter.Seq[*model.Batch] {
	return func(yield func(*model.Batch) bool) {
		var b model.Builder
		more := true
		s.snapshot(at, &b, func() {
			if more && b.Len() >= keyframeBatch {
				more = yield(b.Take())
			}
		})
		if last := b.Take(); more && last != nil {
			yield(last)
		}
	}
}

// snapshot adds the state to b and calls added after each process and port.
func (s *State) snapshot(at model.Time, b *model.Builder, added func()) {
	const flags = model.FlagKeyframe
	b.AddMeta(model.Meta{Time: at, Flags: flags, Key: KeyframeKey, Value: "begin"})
	for _, key := range slices.Sorted(maps.Keys(s.Meta)) {
		b.AddMeta(model.Meta{Time: at, Flags: flags, Key: key, Value: s.Meta[key]})
	}
	if s.Clock.Time != 0 {
		v := s.Clock
		v.Time, v.Flags = at, flags
		b.AddClock(v)
	}
	for _, k := range slices.SortedFunc(
		maps.Keys(s.Probes),
		func(a, b ProbeKey) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Part, b.Part)) },
	) {
		v := s.Probes[k]
		v.Time, v.Flags = at, flags
		b.AddProbe(v)
	}
	for _, pid := range slices.Sorted(maps.Keys(s.Processes)) {
		v := s.Processes[pid]
		v.Time, v.Flags, v.State = at, flags, model.ProcessActive
		b.AddProcess(v)
		added()
	}
	for _, k := range slices.SortedFunc(maps.Keys(s.Devices), func(a, b DeviceKey) int {
		return cmp.Or(
			cmp.Compare(a.Netns, b.Netns),
			cmp.Compare(a.NetnsInode, b.NetnsInode),
			cmp.Compare(a.Ifindex, b.Ifindex),
		)
	}) {
		v := s.Devices[k]
		v.Time, v.Flags = at, flags
		b.AddDeviceConfig(v)
	}
	for _, k := range slices.SortedFunc(maps.Keys(s.Queues), compareQueues) {
		v := s.Queues[k]
		v.Time, v.Flags = at, flags
		b.AddDeviceQueue(v)
	}
	for _, p := range s.SortedPools() {
		v := p.PortPool
		v.Time, v.Flags = at, flags
		b.AddPortPool(v)
	}
	for _, v := range s.SortedEndpoints() {
		v.Time, v.Flags = at, flags
		b.AddRPCEndpoint(v)
	}
	var p Port
	for _, i := range s.Ports.sorted() {
		s.Ports.port(int(i), &p)
		p.snapshot(at, b)
		added()
	}
}

func (p *Port) snapshot(at model.Time, b *model.Builder) {
	if p.Resting && p.RestUntil != 0 {
		rest := p.RestUntil.Sub(at)
		b.AddPortRest(
			model.PortRest{
				Time:       at,
				Flags:      p.Flags | model.FlagKeyframe,
				PID:        p.PID,
				TID:        p.TID,
				Cookie:     p.Cookie,
				Protocol:   p.Protocol,
				LocalPort:  p.LocalPort,
				RemotePort: p.RemotePort,
				Rest:       max(rest, 1),
				Netns:      p.Netns,
				LocalAddr:  p.LocalAddr,
				RemoteAddr: p.RemoteAddr,
				Process:    p.Process,
			},
		)
		return
	}
	b.AddPortActive(
		model.PortActive{
			Time:       at,
			Dur:        max(0, at.Sub(p.Since)),
			Flags:      p.Flags | model.FlagKeyframe,
			PID:        p.PID,
			TID:        p.TID,
			Cookie:     p.Cookie,
			Protocol:   p.Protocol,
			LocalPort:  p.LocalPort,
			RemotePort: p.RemotePort,
			How:        p.How,
			Netns:      p.Netns,
			Resting:    p.Resting,
			LocalAddr:  p.LocalAddr,
			RemoteAddr: p.RemoteAddr,
			Process:    p.Process,
			Stack:      p.Stack,
		},
	)
	if p.Activity == model.ActivityUnknown {
		return
	}
	idle, _ := p.Idle(at)
	b.AddPortActivity(
		model.PortActivity{
			Time:       at,
			Dur:        idle,
			Flags:      model.FlagKeyframe,
			PID:        p.PID,
			TID:        p.TID,
			Cookie:     p.Cookie,
			Protocol:   p.Protocol,
			LocalPort:  p.LocalPort,
			RemotePort: p.RemotePort,
			Activity:   p.Activity,
			AtLeast:    p.IdleAtLeast,
			Netns:      p.Netns,
			LocalAddr:  p.LocalAddr,
			RemoteAddr: p.RemoteAddr,
			Process:    p.Process,
		},
	)
}

// SortedPools returns the pools by name, protocol and namespace. The list must
// not be changed; it is valid until the next event.
func (s *State) SortedPools() []*Pool {
	if s.sorted != nil {
		return s.sorted
	}
	s.sorted = slices.SortedFunc(maps.Values(s.Pools), func(a, b *Pool) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Netns, b.Netns))
	})
	return s.sorted
}

// SortedEndpoints returns the registrations by namespace, interface, version and endpoint.
func (s *State) SortedEndpoints() []model.RPCEndpoint {
	return slices.SortedFunc(maps.Values(s.Endpoints), func(a, b model.RPCEndpoint) int {
		return cmp.Or(
			cmp.Compare(a.NetnsInode, b.NetnsInode),
			cmp.Compare(a.Interface, b.Interface),
			cmp.Compare(a.Version, b.Version),
			cmp.Compare(a.Endpoint, b.Endpoint),
		)
	})
}

// ProcessName returns the name of a process, "" when the stream has not named it.
func (s *State) ProcessName(pid int32) string { return s.Processes[pid].Name }

func compareQueues(a, b QueueKey) int {
	return cmp.Or(
		cmp.Compare(a.NetnsInode, b.NetnsInode),
		cmp.Compare(a.Device, b.Device),
		cmp.Compare(a.Ifindex, b.Ifindex),
		cmp.Compare(a.Direction, b.Direction),
		cmp.Compare(a.Queue, b.Queue),
	)
}
