package tui

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/fold"
	"lostbeat/internal/service"
	"lostbeat/model"
	"lostbeat/model/state"
)

// portsName is the name of the page.
const portsName = "Ports"

func (u *ui) portBands(v *view) []band {
	bands := []band{{u.poolGrid(v, "pools")}, {u.holderGrid(v, "holders"), u.refusedGrid(v)}}
	var rpc band
	if len(v.snap.RPC) > 0 { // no call is seen on Linux
		rpc = append(rpc, u.rpcGrid(v))
	}
	if len(v.snap.Endpoints) > 0 {
		rpc = append(rpc, u.endpointGrid(v))
	}
	if len(rpc) > 0 {
		bands = append(bands, rpc)
	}
	return bands
}

// poolView is a pool as a row.
type poolView struct{ poolSeries }

// namespace is the network namespace that the pool belongs to; empty for a pool
// that spans all of them.
func (p poolView) namespace() string {
	switch {
	case p.Key.Netns == 0:
		return ""
	case p.Value.Netns == "":
		return "host"
	}
	return p.Value.Netns
}

func (u *ui) poolGrid(v *view, id string) *grid[poolView] {
	var rows []poolView
	for _, r := range v.frame.Pools {
		rows = append(rows, poolView{r})
	}
	slices.SortStableFunc(rows, func(a, b poolView) int { // rows that are alike: the host's first
		return cmp.Or(cmp.Compare(a.Value.Netns, b.Value.Netns), cmp.Compare(a.Key.Netns, b.Key.Netns))
	})
	spaces := slices.ContainsFunc(rows, func(p poolView) bool { return p.Value.Netns != "" })
	dropSize, dropLeft := 0, 2
	if slices.ContainsFunc(rows, func(p poolView) bool { return p.Value.Filling.PerSecond > 0 }) {
		dropLeft = 0
	}
	if spaces { // which pool it is comes before what its numbers say, too; no number is cut
		dropSize, dropLeft = 1, dropLeft+1
	}
	g := &grid[poolView]{
		id:     id,
		title:  "port pools " + u.oneSecond(v),
		empty:  v.nothing("port", "no pool reported yet"),
		note:   auditNote(v.snap.Audits),
		limits: limits(v.snap.Probes, "port"),
		rows:   rows,
		sort:   2,
		desc:   true,
		about: func(p poolView) model.Subject {
			return model.Subject{Pool: p.Key.Name, Protocol: p.Key.Protocol.String(), Netns: p.Value.Netns, CPU: -1, PID: -1}
		},
		ident: func(p poolView) string { return fmt.Sprint(p.Key) },
		find:  func(p poolView) string { return p.Key.Name + " " + p.Key.Protocol.String() + " " + p.namespace() },
		cols: []column[poolView]{
			textColumn("pool", 13, 1, 0, func(p poolView) string { return p.Key.Name + " " + p.Key.Protocol.String() }),
			textColumn("ports", 11, 0, 7, func(p poolView) string { return fmt.Sprintf("%d-%d", p.Value.Low, p.Value.High) }),
			{
				title:  "taken",
				w:      7,
				right:  true,
				number: func(p poolView) float64 { return poolShare(p.Value) },
				draw: func(l *line, w int, p poolView) {
					s := plain
					switch share := poolShare(p.Value); {
					case share > 0.9:
						s = critical
					case share > 0.7:
						s = warning
					}
					l.field(s, formatPercent(poolShare(p.Value)), w, true)
				},
			},
			textColumn("taken / size", 15, 0, dropSize, func(p poolView) string {
				return formatInt(int64(p.Value.Used+p.Value.Resting)) + " / " + formatInt(int64(p.Value.Size))
			}),
			numberColumn("at rest", 7, 6, func(p poolView) float64 { return float64(p.Value.Resting) }, formatCount),
			numberColumn("refused/s", 9, 5, func(p poolView) float64 { return float64(p.Value.Refused) }, formatCount),
			numberColumn("gained/min", 10, 3, func(p poolView) float64 { return p.Value.Filling.PerSecond * 60 }, formatCount),
			{
				title:  "used up in",
				w:      11,
				right:  true,
				drop:   dropLeft,
				number: func(p poolView) float64 { return float64(p.Value.Filling.Left) },
				draw: func(l *line, w int, p poolView) {
					if left := p.Value.Filling.Left; p.Value.Filling.PerSecond > 0 {
						l.field(warning, formatSpan(left), w, true)
						return
					}
					l.field(dim, none, w, true)
				},
			},
			{
				title: "since " + formatClock(v.snap.Oldest(), u.loc),
				w:     14,
				flex:  2,
				drop:  4,
				draw: func(l *line, w int, p poolView) {
					l.spark(accent, u.whole(v, min(w, maxSpark), func(f *fold.Frame) float32 {
						x, _ := fold.Find(f.Pools, p.ID)
						return float32(x.Used + x.Resting)
					}), 0)
				},
			},
		},
	}
	if spaces {
		g.cols = slices.Insert(g.cols, 1, textColumn("namespace", 9, 1, 0, poolView.namespace))
		g.sort++
	}
	return g
}

// whole returns n values over the whole history up to the moment that is looked
// at, each the last one of its part.
func (u *ui) whole(v *view, n int, value func(*fold.Frame) float32) []float32 {
	frames := v.index + 1
	if frames <= 0 || n <= 0 {
		return nil
	}
	n = min(n, frames)
	out := make([]float32, n)
	for i := range out {
		out[i] = value(v.snap.Frame((i+1)*frames/n - 1))
	}
	return out
}

// auditNote says how far what was tracked was from the kernel's own tables.
func auditNote(audits []model.PortAudit) string {
	var missed, stale uint64
	for _, a := range audits {
		missed += a.Missed
		stale += a.Stale
	}
	if missed+stale == 0 {
		return ""
	}
	return fmt.Sprintf("the last audit against the kernel's tables added %d missed and removed %d stale ports",
		missed, stale)
}

// holderView is a process that holds ports, and how that has changed.
type holderView struct {
	holderSeries
	perMinute float64
	// members are the series that a row for a whole unit adds up.
	members []int
}

// name is the process; of a row for a whole unit it is the unit.
func (h holderView) name() string {
	if h.Key.Process == "" && h.Key.PID == manyProcesses {
		return cmp.Or(h.Key.Unit, "no unit")
	}
	return processName(h.Key.Process, h.Key.PID)
}

// manyProcesses is the PID of a row for several processes.
const manyProcesses = -2

// joinUnits adds up the rows of the processes of each unit.
func joinUnits(rows []holderView) []holderView {
	index := map[string]int{}
	var out []holderView
	for _, h := range rows {
		i, ok := index[h.Key.Unit]
		if !ok {
			i = len(out)
			index[h.Key.Unit] = i
			key := fold.HolderSeries{PID: manyProcesses, Unit: h.Key.Unit}
			out = append(out, holderView{holderSeries: holderSeries{Series: &fold.Series[fold.HolderSeries]{Key: key}}})
		}
		sum := &out[i]
		sum.members = append(sum.members, h.ID)
		sum.perMinute += h.perMinute
		sum.Value.Held += h.Value.Held
		sum.Value.Resting += h.Value.Resting
		sum.Value.Watched += h.Value.Watched
		sum.Value.Idle += h.Value.Idle
		if sum.Value.Oldest == 0 || h.Value.Oldest != 0 && h.Value.Oldest < sum.Value.Oldest {
			sum.Value.Oldest = h.Value.Oldest
		}
	}
	return out
}

func (u *ui) holderGrid(v *view, id string) *grid[holderView] {
	var rows []holderView
	back := max(0, v.index-window)
	before := v.snap.Frame(back)
	for _, r := range v.frame.Holders {
		h := holderView{holderSeries: r, members: []int{r.ID}}
		if seconds := v.index - back; seconds > 0 && before != nil {
			if old, ok := fold.Find(before.Holders, r.ID); ok {
				h.perMinute = float64(r.Value.Held-old.Held) * 60 / float64(seconds)
			}
		}
		rows = append(rows, h)
	}
	if u.byUnit {
		rows = joinUnits(rows)
	}
	title, first := "port holders (Enter: their ports)", "process"
	if u.byUnit {
		title, first = "units whose processes hold ports", "unit"
	}
	dropIdle, dropRest := 5, 3
	if slices.ContainsFunc(rows, func(h holderView) bool { return h.Value.Watched > 0 }) {
		dropIdle, dropRest = 3, 5
	}
	g := &grid[holderView]{
		id:    id,
		title: title,
		empty: v.nothing("port", "nobody"),
		rows:  rows,
		sort:  1,
		desc:  true,
		ident: holderView.name,
		about: func(h holderView) model.Subject { return aboutProcess(h.Key.Process, h.Key.PID) },
		enter: func(h holderView) command {
			if u.byUnit { // its processes
				u.byUnit = false
				s := u.list(id)
				s.filter, s.selected, s.index = `unit="`+h.Key.Unit+`"`, "", 0
				return nil
			}
			u.open(drill{kind: "process", pid: h.Key.PID, process: h.Key.Process, unit: h.Key.Unit})
			u.asked = 0
			return u.fetchPorts()
		},
		cols: []column[holderView]{
			textColumn(first, 14, 1, 0, holderView.name),
			numberColumn("held", 7, 0, func(h holderView) float64 { return float64(h.Value.Held) }, formatCount),
			numberColumn("gained/min", 10, 0, func(h holderView) float64 { return h.perMinute }, formatCount),
			{
				title:  "idle",
				w:      12,
				right:  true,
				drop:   dropIdle,
				number: func(h holderView) float64 { return float64(h.Value.Idle) },
				draw: func(l *line, w int, h holderView) {
					if h.Value.Watched == 0 {
						l.field(dim, none, w, true)
						return
					}
					l.field(plain, formatCount(float64(h.Value.Idle))+" of "+formatCount(float64(h.Value.Watched)), w, true)
				},
			},
			numberColumn("rest", 6, dropRest, func(h holderView) float64 { return float64(h.Value.Resting) }, formatCount),
			{
				title:  "oldest held for",
				w:      15,
				right:  true,
				drop:   2,
				number: func(h holderView) float64 { return oldest(v, h) },
				draw: func(l *line, w int, h holderView) {
					if n := oldest(v, h); n > 0 {
						l.field(plain, formatSpan(time.Duration(n).Truncate(time.Second)), w, true)
						return
					}
					l.field(dim, none, w, true)
				},
			},
			{
				title: "since " + formatClock(v.snap.Oldest(), u.loc),
				w:     14,
				flex:  1,
				drop:  4,
				draw: func(l *line, w int, h holderView) {
					l.spark(accent, u.whole(v, min(w, maxSpark), func(f *fold.Frame) float32 {
						var held int32
						for _, id := range h.members {
							x, _ := fold.Find(f.Holders, id)
							held += x.Held
						}
						return float32(held)
					}), 0)
				},
			},
		},
	}
	if !u.byUnit && slices.ContainsFunc(rows, func(h holderView) bool { return h.Key.Unit != "" }) {
		g.cols = slices.Insert(g.cols, 1, textColumn("unit", 10, 1, 1, func(h holderView) string { return h.Key.Unit }))
		g.sort++
	}
	return g
}

func oldest(v *view, h holderView) float64 {
	if h.Value.Oldest == 0 {
		return 0
	}
	return float64(max(0, v.at-h.Value.Oldest))
}

func (u *ui) refusedGrid(v *view) *grid[fold.RefusedTotal] {
	g := &grid[fold.RefusedTotal]{
		id:    "refused",
		title: "refused port requests since " + formatClock(v.snap.Started, u.loc),
		empty: v.nothing("port", "none"),
		rows:  v.snap.RefusedBy,
		sort:  3,
		desc:  true,
		about: func(r fold.RefusedTotal) model.Subject { return aboutProcess(r.Process, r.PID) },
		ident: func(r fold.RefusedTotal) string {
			return fmt.Sprint(r.PID, r.Process, r.Error, r.Protocol, r.How, r.Port)
		},
		cols: []column[fold.RefusedTotal]{
			textColumn("process", 14, 1, 0, func(r fold.RefusedTotal) string { return processName(r.Process, r.PID) }),
			textColumn("asked for", 10, 0, 0, func(r fold.RefusedTotal) string {
				if r.Port == 0 {
					return r.Protocol.String() + " any"
				}
				return socketName(r.Protocol, r.Port)
			}),
			textColumn("error", 14, 1, 0, func(r fold.RefusedTotal) string { return r.Error }),
			numberColumn("times", 7, 0, func(r fold.RefusedTotal) float64 { return float64(r.Count) }, formatCount),
			textColumn("by", 9, 0, 2, func(r fold.RefusedTotal) string { return r.How.String() }),
			textColumn("last", 8, 0, 1, func(r fold.RefusedTotal) string { return formatClock(r.Last, u.loc) }),
		},
	}
	withService(g, 2, func(r fold.RefusedTotal) string { return service.Of(r.Protocol, r.Port) })
	return g
}

func (u *ui) rpcGrid(v *view) *grid[fold.RPCTotal] {
	g := &grid[fold.RPCTotal]{
		id:    "rpc",
		title: "RPC calls since " + formatClock(v.snap.Started, u.loc),
		empty: "none",
		rows:  v.snap.RPC,
		sort:  3,
		desc:  true,
		ident: func(r fold.RPCTotal) string { return fmt.Sprint(r.Interface, r.Endpoint, r.PID, r.Server) },
		cols: []column[fold.RPCTotal]{
			textColumn("interface", 16, 1, 0, func(r fold.RPCTotal) string { return r.Interface }),
			textColumn("process", 12, 1, 1, func(r fold.RPCTotal) string { return processName(r.Process, r.PID) }),
			numberColumn("calls", 7, 0, func(r fold.RPCTotal) float64 { return float64(r.Calls) }, formatCount),
			numberColumn("failed", 7, 0, func(r fold.RPCTotal) float64 { return float64(r.Failed) }, formatCount),
			textColumn("last status", 11, 2, 2, func(r fold.RPCTotal) string {
				if r.Failed == 0 {
					return none
				}
				return strings.TrimSpace(
					strconv.FormatInt(r.LastStatus, 10) + " " + strings.TrimPrefix(model.RPCStatusName(r.LastStatus), "RPC_S_"),
				)
			}),
			numberColumn("longest", 8, 3, func(r fold.RPCTotal) float64 { return float64(r.Longest) }, formatNanos),
			textColumn("endpoint", 12, 1, 4, func(r fold.RPCTotal) string { return r.Endpoint }),
		},
	}
	if slices.ContainsFunc(v.snap.RPC, func(r fold.RPCTotal) bool { return r.Open > 0 }) { // at the capture's end
		g.cols = slices.Insert(
			g.cols,
			4,
			numberColumn("open", 6, 0, func(r fold.RPCTotal) float64 { return float64(r.Open) }, formatCount),
		)
	}
	return g
}

// withService inserts a column with the services of ports, where any has one.
func withService[T any](g *grid[T], at int, name func(T) string) {
	longest := 0
	for _, row := range g.rows {
		longest = max(longest, width(name(row)))
	}
	if longest > 0 {
		text := func(row T) string { return cmp.Or(name(row), none) }
		g.cols = slices.Insert(g.cols, at, textColumn("service", min(max(longest, len("service")), 17), 0, 3, text))
	}
}

// programView is what servers have registered with the endpoint mapper: the
// versions of one program, or interface, at one port.
type programView struct {
	model.RPCEndpoint
	versions  []int64
	endpoints []string
}

// programs puts registrations together that are of one program, port and process.
func programs(endpoints []model.RPCEndpoint) (rows []programView) {
	type key struct {
		netns                      uint32
		program, endpoint, process string
		pid                        int32
		protocol                   model.Protocol
		port                       uint16
	}
	index := map[key]int{}
	for _, e := range endpoints {
		k := key{e.NetnsInode, e.Interface, "", e.Process, e.PID, e.Protocol, e.LocalPort}
		if e.LocalPort == 0 {
			k.endpoint = e.Endpoint
		}
		i, ok := index[k]
		if !ok {
			i = len(rows)
			index[k] = i
			rows = append(rows, programView{RPCEndpoint: e})
		}
		r := &rows[i]
		if !slices.Contains(r.versions, e.Version) {
			r.versions = append(r.versions, e.Version)
		}
		if !slices.Contains(r.endpoints, e.Endpoint) {
			r.endpoints = append(r.endpoints, e.Endpoint)
		}
	}
	for i := range rows {
		slices.Sort(rows[i].versions)
	}
	return rows
}

// versionText is the versions in one word: "3,4"; none where no version is known.
func (p *programView) versionText() string {
	var text []string
	for _, v := range p.versions {
		if v != 0 {
			text = append(text, strconv.FormatInt(v, 10))
		}
	}
	return cmp.Or(strings.Join(text, ","), none)
}

func (u *ui) endpointGrid(v *view) *grid[programView] {
	return &grid[programView]{
		id:    "endpoints",
		title: "RPC endpoints: programs with their ports",
		empty: "none",
		rows:  programs(v.snap.Endpoints),
		sort:  -1,
		ident: func(p programView) string {
			return fmt.Sprint(p.NetnsInode, p.Interface, p.Protocol, p.LocalPort, p.Endpoint, p.PID, p.Process)
		},
		find: func(p programView) string {
			return p.Interface + " " + socketName(p.Protocol, p.LocalPort) + " " + p.Process
		},
		cols: []column[programView]{
			textColumn("program", 17, 1, 0, func(p programView) string { return p.Interface }),
			textColumn("version", 7, 0, 2, func(p programView) string { return p.versionText() }),
			textColumn("port", 9, 0, 0, func(p programView) string {
				if p.LocalPort == 0 && p.Protocol == model.ProtocolOther { // a local socket, a named pipe
					return none
				}
				return socketName(p.Protocol, p.LocalPort)
			}),
			textColumn("process", 12, 1, 1, func(p programView) string { return processName(p.Process, p.PID) }),
			textColumn("endpoint", 12, 2, 3, func(p programView) string { return strings.Join(p.endpoints, ", ") }),
		},
	}
}

// programAt names the programs that are registered at a port.
func programAt(rows []programView, p *state.Port) string {
	var names []string
	for i := range rows {
		r := &rows[i]
		if r.LocalPort == p.LocalPort && r.LocalPort != 0 && r.Protocol == p.Protocol && int64(r.NetnsInode) == p.Netns &&
			!slices.Contains(names, r.Interface) {
			names = append(names, r.Interface)
		}
	}
	return strings.Join(names, ", ")
}

// processBands is what one process holds.
func (u *ui) processBands(v *view, d drill) []band {
	ports := u.ports
	if ports.pid != d.pid {
		ports = portsMsg{pid: d.pid}
	}
	name := processName(d.process, d.pid)
	if d.unit != "" {
		name += " (" + d.unit + ")"
	}
	title := fmt.Sprintf("ports of %s at %s", name, formatClock(ports.at, u.loc))
	if ports.total > len(ports.ports) {
		title += fmt.Sprintf(", the oldest %s of %s", formatInt(int64(len(ports.ports))), formatInt(int64(ports.total)))
	} else {
		title += ": " + formatInt(int64(ports.total))
	}
	note := ""
	if u.cursor != 0 || (u.held() && ports.at > v.at) {
		note = "single ports are listed for the latest moment only; history has only their number"
	}
	rows := make([]*state.Port, len(ports.ports))
	for i := range rows {
		rows[i] = &ports.ports[i]
	}
	address := func(addr string, port uint16) string {
		switch {
		case addr == "" && port == 0:
			return none
		case strings.Contains(addr, ":"):
			return "[" + addr + "]:" + strconv.Itoa(int(port))
		}
		return addr + ":" + strconv.Itoa(int(port))
	}
	dropIdle := 5
	if slices.ContainsFunc(rows, func(p *state.Port) bool { return p.Activity != model.ActivityUnknown }) {
		dropIdle = 0
	}
	g := &grid[*state.Port]{id: "process", title: title, note: note, empty: "none", rows: rows, sort: 3, desc: true,
		ident: func(p *state.Port) string { return fmt.Sprint(p.Key()) },
		cols: []column[*state.Port]{
			textColumn("proto", 5, 0, 0, func(p *state.Port) string { return p.Protocol.String() }),
			textColumn("local", 16, 1, 0, func(p *state.Port) string { return address(p.LocalAddr, p.LocalPort) }),
			textColumn("peer", 16, 1, 1, func(p *state.Port) string { return address(p.RemoteAddr, p.RemotePort) }),
			numberColumn(
				"held for",
				11,
				0,
				func(p *state.Port) float64 { return float64(p.Age(ports.at)) },
				func(n float64) string { return formatSpan(time.Duration(n).Truncate(time.Second)) },
			),
			{
				title:  "idle for",
				w:      11,
				right:  true,
				drop:   dropIdle,
				number: func(p *state.Port) float64 { n, _ := p.Idle(ports.at); return float64(n) },
				draw: func(l *line, w int, p *state.Port) {
					switch idle, known := p.Idle(ports.at); {
					case !known || p.Resting:
						l.field(dim, none, w, true)
					case p.Activity == model.ActivityInUse:
						l.field(plain, "in use", w, true)
					case p.IdleAtLeast:
						l.field(plain, "> "+formatSpan(idle.Truncate(time.Second)), w, true)
					default:
						l.field(plain, formatSpan(idle.Truncate(time.Second)), w, true)
					}
				},
			},
			textColumn("how", 10, 0, 0, func(p *state.Port) string { return strings.ReplaceAll(p.How.String(), "_", " ") }),
			textColumn("state", 12, 0, 2, func(p *state.Port) string {
				switch {
				case p.Resting && p.RestUntil > ports.at:
					return "rests " + formatSpan(p.RestUntil.Sub(ports.at).Truncate(time.Second))
				case p.Resting:
					return "rests"
				}
				return "held"
			}),
			textColumn("taken by", 20, 2, 4, func(p *state.Port) string { return stackLine(p.Stack) }),
		}}
	registered := programs(v.snap.Endpoints)
	withService(g, 6, func(p *state.Port) string {
		return cmp.Or(programAt(registered, p), service.Between(p.Protocol, p.LocalPort, p.RemotePort))
	})
	bands := []band{{g}}
	if len(rows) > 0 && slices.ContainsFunc(rows, func(p *state.Port) bool { return len(p.Stack) > 0 }) {
		bands = append(bands, band{u.stackBlock(g)})
	}
	return bands
}

// stackLine is a stack in one line, innermost frame first.
func stackLine(s model.Stack) string {
	names := make([]string, len(s))
	for i, f := range s {
		names[i] = cmp.Or(f.Name, fmt.Sprintf("0x%x", f.Addr))
	}
	return strings.Join(names, " ← ")
}

// stackBlock shows the stack of the port that is selected.
func (u *ui) stackBlock(g *grid[*state.Port]) section {
	return &block{
		id:     "stack",
		title:  "the call that took the selected port",
		height: 8,
		least:  3,
		draw: func(u *ui, w, h int) []string {
			out := []string{newLine(u.theme, w).space(1).put(heading, "the call that took the selected port").String()}
			s := u.list(g.id)
			g.prepare(s)
			if s.index >= len(g.rows) {
				return out
			}
			stack := g.rows[s.index].Stack
			if len(stack) == 0 {
				return append(out, newLine(u.theme, w).space(1).put(dim, "not known").String())
			}
			for _, f := range stack {
				out = append(out, newLine(u.theme, w).space(3).put(plain, cmp.Or(f.Name, fmt.Sprintf("0x%x", f.Addr))).String())
			}
			return out
		},
	}
}
