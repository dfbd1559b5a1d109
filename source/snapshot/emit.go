package snapshot

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"lostbeat/model"
	"lostbeat/source"
)

const (
	// batchEvents is how many events a batch has at most.
	batchEvents = 4096
	// fewPorts is how many ports or connections a process or destination must have for an event of its own, mostListed how
	// many there are of a table at most.
	fewPorts   = 16
	mostListed = 64
)

// RunFrom implements source.Seekable: the tables are the state, so that any of them is a beginning.
func (s *set) RunFrom(ctx context.Context, t model.Time, emit source.Emit) error {
	first := 0
	for i, m := range s.moments {
		if m.at <= t {
			first = i
		}
	}
	e := &emitter{set: s, emit: emit}
	var before []row
	for i := first; i < len(s.moments); i++ {
		if ctx.Err() != nil {
			return nil
		}
		m := s.moments[i]
		flags := model.Flags(0)
		if i == first {
			if first > 0 {
				flags = model.FlagKeyframe
			}
			e.describe(m.at, flags)
		}
		sockets := s.sockets(m)
		e.changes(m, before, sockets, i == first, flags)
		for _, p := range []model.Protocol{model.ProtocolTCP, model.ProtocolUDP} {
			if m.covers(p) && i >= first {
				e.levels(m, p, before, sockets)
			}
		}
		if e.err != nil {
			return e.err
		}
		before = s.after(m, before, sockets)
	}
	if s.left > 0 {
		e.b.AddLoss(model.Loss{
			Time: s.moments[len(s.moments)-1].at, CPU: -1, Lost: s.left, Origin: model.OriginMemory,
			Detail: "rows beyond the memory for tables",
		})
	}
	return e.flush()
}

// sockets returns the sockets of a moment, each once, by compareRows.
func (s *set) sockets(m *moment) []row {
	var list []row
	n := 0
	for _, t := range m.tables {
		n += len(t.rows)
	}
	list = make([]row, 0, n)
	whole := m.wholeTables()
	for _, t := range m.tables {
		for _, r := range t.rows {
			if w := whole[r.protocol]; w == nil || w == t {
				list = append(list, r)
			}
		}
	}
	s.texts.full = false // names of processes are few
	for i := range list {
		if r := &list[i]; r.process == 0 && r.pid > 0 {
			if name := s.names[r.pid]; name != "" {
				r.process = s.texts.add(name)
			}
		}
	}
	slices.SortFunc(list, compareRows)
	// The same socket in several tables: one says the owner, another the age.
	out := list[:0]
	for _, r := range list {
		if n := len(out); n > 0 && sameSocket(&out[n-1], &r) {
			o := &out[n-1]
			if r.pid > 0 && o.pid <= 0 {
				o.pid = r.pid
			}
			o.process, o.created = cmp.Or(o.process, r.process), cmp.Or(o.created, r.created)
			if o.state == stateOther || o.state == stateBound && r.state == stateListen {
				o.state = r.state
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// wholeTables returns of each protocol the table that counts alone, where ss and netstat of a Linux host both list all
// of its sockets: they ran one after the other, and a connection of one that ended before the other ran is not held
// beside that which followed it. It is the one with owners, of several the larger one.
func (m *moment) wholeTables() (whole [256]*table) {
	type score struct {
		tables, rows int
		owners       bool
	}
	var best [256]score
	for _, t := range m.tables {
		if t.kind != kindSS && t.kind != kindLinuxNetstat {
			continue
		}
		var rows [256]int
		for i := range t.rows {
			rows[t.rows[i].protocol]++
		}
		for p, n := range rows {
			b := &best[p]
			if n == 0 {
				continue
			}
			b.tables++
			if whole[p] == nil || t.ownersSeen && !b.owners || t.ownersSeen == b.owners && n > b.rows {
				whole[p], b.rows, b.owners = t, n, t.ownersSeen
			}
		}
	}
	for p := range whole {
		if best[p].tables < 2 {
			whole[p] = nil
		}
	}
	return whole
}

// compareRows orders sockets by what tells them apart. Without a process as its last key the
// order of two rows of one socket is that of the tables.
func compareRows(a, b row) int {
	return cmp.Or(compareKeys(&a, &b), cmp.Compare(b.pid, a.pid), cmp.Compare(a.state, b.state))
}

// sameSocket says that two rows are one socket: the same ends, and not known to be of two processes.
func sameSocket(a, b *row) bool {
	return compareKeys(a, b) == 0 && (a.pid == b.pid || a.pid <= 0 || b.pid <= 0)
}

// after returns the sockets that hold after a moment: those of the protocols that it
// has no table of are as before.
func (s *set) after(m *moment, before, now []row) []row {
	var kept []row
	for _, r := range before {
		if !m.covers(r.protocol) {
			kept = append(kept, r)
		}
	}
	if len(kept) == 0 {
		return now
	}
	kept = append(kept, now...)
	slices.SortFunc(kept, compareRows)
	return kept
}

// emitter writes the stream.
type emitter struct {
	set  *set
	b    model.Builder
	emit source.Emit
	err  error
}

func (e *emitter) full() {
	if e.b.Len() >= batchEvents && e.err == nil {
		e.err = e.flush()
	}
}

func (e *emitter) flush() error {
	if e.b.Len() == 0 {
		return nil
	}
	return e.emit(e.b.Take())
}

// describe says what the tables are of.
func (e *emitter) describe(at model.Time, flags model.Flags) {
	s := e.set
	meta := func(key, value string) {
		e.b.AddMeta(model.Meta{Time: at, Flags: flags, Key: key, Value: value})
	}
	system := "windows"
	if s.linux {
		system = "linux"
	}
	meta("os", system)
	if s.host != "" {
		meta("host", s.host)
	}
	meta("source", "tables of sockets: "+s.label)
	meta("clock", "times of tables")
	if len(s.assumed) > 0 {
		meta("assumed", strings.Join(s.assumed, "; "))
	}
	e.b.AddClock(model.Clock{Time: at, Flags: flags, Wall: at})
	for _, name := range []string{"deferred", "interrupt", "drop"} {
		e.b.AddProbe(model.Probe{
			Time: at, Flags: flags, State: model.ProbeOff, Name: name, Reason: "a table of sockets does not show it",
		})
	}
	e.b.AddProbe(model.Probe{
		Time: at, Flags: flags, State: model.ProbeDegraded, Name: "port",
		Reason: "tables at single moments: what was taken and given back between two is not seen",
	})
	for _, p := range []model.Protocol{model.ProtocolTCP, model.ProtocolUDP} {
		r := s.ranges[p]
		e.b.AddPortPool(model.PortPool{
			Time: at, Flags: flags, Protocol: p, Low: r.low, High: r.high, Size: uint64(r.size()),
			Source: model.PoolEphemeral, Name: "dynamic",
		})
	}
}

// changes emits what is held now, and what has been given back since the table before.
func (e *emitter) changes(m *moment, before, now []row, first bool, flags model.Flags) {
	how := model.HowPresent
	if !first {
		how = model.HowAudit
	}
	listening := map[uint16]bool{}
	connected := map[uint16]bool{}
	for i := range now {
		if r := &now[i]; r.protocol == model.ProtocolTCP {
			switch {
			case r.state == stateListen:
				listening[r.lport] = true
			case r.rport != 0:
				connected[r.lport] = true
			}
		}
	}
	i := 0
	for j := range now {
		r := &now[j]
		for i < len(before) && compareKeys(&before[i], r) < 0 {
			e.release(m, &before[i])
			i++
		}
		old := i < len(before) && compareKeys(&before[i], r) == 0
		if old {
			was := &before[i]
			i++
			if was.state == r.state && was.pid == r.pid && sameAge(was, r) {
				continue
			}
			e.release(m, was)
		}
		if r.state == stateBound && r.protocol == model.ProtocolTCP && connected[r.lport] {
			continue // its connection has the port
		}
		v := model.PortActive{
			Time: m.at, Flags: flags, PID: r.pid, TID: -1, Protocol: r.protocol, LocalPort: r.lport, RemotePort: r.rport,
			How: how, Resting: r.state == stateTimeWait, LocalAddr: e.set.texts.list[r.local],
			RemoteAddr: e.set.texts.list[r.remote], Process: e.set.texts.list[r.process],
		}
		if r.created != 0 {
			v.Dur = max(0, m.at.Sub(r.created))
		}
		if r.rport != 0 && r.protocol == model.ProtocolTCP && listening[r.lport] {
			v.How = model.HowAccept
		}
		e.b.AddPortActive(v)
		e.full()
	}
	for ; i < len(before); i++ {
		e.release(m, &before[i])
	}
}

// compareKeys orders sockets by their ends.
func compareKeys(a, b *row) int {
	return cmp.Or(
		cmp.Compare(a.protocol, b.protocol),
		cmp.Compare(a.lport, b.lport),
		cmp.Compare(a.rport, b.rport),
		cmp.Compare(a.local, b.local),
		cmp.Compare(a.remote, b.remote),
	)
}

// sameAge says that two rows with the same ends are one socket as far as can be told.
func sameAge(a, b *row) bool {
	d := a.created.Sub(b.created)
	return a.created == 0 || b.created == 0 || d < 2*time.Second && d > -2*time.Second
}

// release emits that a socket of the table before is not there any more.
func (e *emitter) release(m *moment, r *row) {
	if !m.covers(r.protocol) {
		return
	}
	how := model.HowAudit
	if r.state == stateTimeWait {
		how = model.HowRestEnd
	}
	e.b.AddPortRelease(model.PortRelease{
		Time: m.at, PID: r.pid, TID: -1, Protocol: r.protocol, LocalPort: r.lport, RemotePort: r.rport, How: how,
		LocalAddr: e.set.texts.list[r.local], RemoteAddr: e.set.texts.list[r.remote], Process: e.set.texts.list[r.process],
	})
	e.full()
}

// What sockets of one port are, as bits.
const (
	isHeld = 1 << iota
	isResting
	isBound
	isConnected
	isKept
)

// levels emits what single processes and destinations have of a protocol's range, and the table.
func (e *emitter) levels(m *moment, p model.Protocol, before, now []row) {
	pool := e.set.ranges[p]
	rows := ofProtocol(now, p)
	v := model.PortTable{
		Time: m.at, Protocol: p, RangeKnown: pool.given, Table: strings.Join(m.commands, ", "), TimeFrom: m.from,
	}
	if m.vague || m.damaged {
		v.Flags = model.FlagSecondary
	}
	for _, t := range m.tables {
		if t.covers[p] {
			v.BoundSeen = v.BoundSeen || t.boundSeen || p == model.ProtocolUDP
			v.OwnersSeen = v.OwnersSeen || t.ownersSeen
		}
	}
	old := map[rowKey]model.Time{}
	for _, r := range ofProtocol(before, p) {
		if pool.has(r.lport) && r.state != stateTimeWait {
			old[keyOf(&r)] = r.created
		}
	}
	var ports [1 << 16]uint8
	owners := make([]row, 0, len(rows))
	for i := range rows {
		r := &rows[i]
		if r.state == stateTimeWait {
			ports[r.lport] |= isResting
		} else {
			ports[r.lport] |= isHeld
			if r.pid > 0 || !v.OwnersSeen { // without owners, all together
				owners = append(owners, *r)
			}
		}
	}
	for port := int(pool.low); port <= int(pool.high); port++ {
		switch {
		case ports[port]&isHeld != 0:
			v.Held++
		case ports[port] != 0:
			v.Resting++
		}
	}
	for _, h := range holdersOf(owners, pool, old, m.at, e.set.texts) {
		h.Time, h.Protocol = m.at, p
		e.b.AddPortHolder(h)
	}
	if p == model.ProtocolTCP {
		for _, d := range destinationsOf(rows, pool, e.set.texts) {
			d.Time, d.Protocol = m.at, p
			e.b.AddPortDestination(d)
		}
	}
	e.b.AddPortTable(v)
	e.full()
}

// ofProtocol returns the rows of a protocol, of a list that is in order.
func ofProtocol(rows []row, p model.Protocol) []row {
	first, _ := slices.BinarySearchFunc(rows, p, func(r row, p model.Protocol) int { return cmp.Compare(r.protocol, p) })
	end, _ := slices.BinarySearchFunc(rows, p+1, func(r row, p model.Protocol) int { return cmp.Compare(r.protocol, p) })
	return rows[first:end]
}

// rowKey is what tells a socket from others in two tables.
type rowKey struct {
	local, remote uint32
	pid           int32
	lport, rport  uint16
}

func keyOf(r *row) rowKey { return rowKey{r.local, r.remote, r.pid, r.lport, r.rport} }

// holdersOf returns what processes have, those with most first.
func holdersOf(owners []row, pool portRange, old map[rowKey]model.Time, at model.Time, t *texts) []model.PortHolder {
	slices.SortStableFunc(owners, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.pid, b.pid), cmp.Compare(a.lport, b.lport))
	})
	var out []model.PortHolder
	for first := 0; first < len(owners); {
		pid := owners[first].pid
		h := model.PortHolder{PID: pid, TID: -1}
		oldest := model.Time(0)
		remotes := map[uint32]int{}
		end := first
		for end < len(owners) && owners[end].pid == pid {
			port, bits := owners[end].lport, 0
			for ; end < len(owners) && owners[end].pid == pid && owners[end].lport == port; end++ {
				r := &owners[end]
				if h.Process == "" {
					h.Process = t.list[r.process]
				}
				switch {
				case r.state == stateBound:
					bits |= isBound
				case r.rport != 0 || r.state == stateListen:
					bits |= isConnected
				}
				if r.rport != 0 && r.protocol == model.ProtocolTCP {
					h.Connections++
				}
				if r.state == stateCloseWait {
					h.CloseWait++
					if len(remotes) < 1024 {
						remotes[r.remote]++
					}
				}
				if created, ok := old[keyOf(r)]; ok && sameAge(r, &row{created: created}) {
					bits |= isKept
				}
				if pool.has(port) && r.created != 0 && (oldest == 0 || r.created < oldest) {
					oldest = r.created
				}
			}
			if !pool.has(port) {
				h.Outside++
				continue
			}
			h.Ports++
			if bits&(isBound|isConnected) == isBound {
				h.Bound++
			}
			if bits&isKept != 0 {
				h.Kept++
			}
		}
		if oldest != 0 {
			h.Dur = max(0, at.Sub(oldest))
		}
		most := 0
		for id, n := range remotes {
			if n > most || n == most && t.list[id] < h.RemoteAddr {
				most, h.RemoteAddr = n, t.list[id]
			}
		}
		if h.Ports >= fewPorts || h.CloseWait >= fewPorts {
			out = append(out, h)
		}
		first = end
	}
	slices.SortStableFunc(out, func(a, b model.PortHolder) int {
		return cmp.Or(cmp.Compare(max(b.Ports, b.CloseWait), max(a.Ports, a.CloseWait)), cmp.Compare(a.PID, b.PID))
	})
	return out[:min(len(out), mostListed)]
}

// destinationsOf returns what destinations of TCP have of the range, those with most first.
func destinationsOf(rows []row, pool portRange, t *texts) []model.PortDestination {
	var list []row
	for i := range rows {
		r := &rows[i]
		if r.rport != 0 && pool.has(r.lport) && r.state != stateBound && r.state != stateListen {
			list = append(list, *r)
		}
	}
	slices.SortStableFunc(list, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.remote, b.remote), cmp.Compare(a.rport, b.rport), cmp.Compare(a.local, b.local),
			cmp.Compare(a.lport, b.lport))
	})
	var out []model.PortDestination
	for first := 0; first < len(list); {
		of := list[first]
		d := model.PortDestination{
			PID: -1, TID: -1, RemotePort: of.rport, LocalAddr: t.list[of.local], RemoteAddr: t.list[of.remote],
		}
		several := false
		end := first
		same := func() bool {
			return end < len(list) && list[end].remote == of.remote && list[end].rport == of.rport && list[end].local == of.local
		}
		for same() {
			port, held := list[end].lport, false
			for ; same() && list[end].lport == port; end++ {
				r := &list[end]
				if r.state == stateTimeWait {
					continue
				}
				held = true
				switch {
				case r.pid <= 0 || d.PID == r.pid:
				case d.PID < 0 && !several:
					d.PID, d.Process = r.pid, t.list[r.process]
				default:
					d.PID, d.Process, several = -1, "", true
				}
			}
			if held {
				d.Held++
			} else {
				d.Resting++
			}
		}
		if d.Held+d.Resting >= fewPorts {
			out = append(out, d)
		}
		first = end
	}
	slices.SortStableFunc(out, func(a, b model.PortDestination) int {
		return cmp.Compare(b.Held+b.Resting, a.Held+a.Resting)
	})
	return out[:min(len(out), mostListed)]
}
