package snapshot_test

import (
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// tables is a stream of tables of a protocol, with a range of 1,000 ports, ten minutes apart.
type tables struct {
	b        model.Builder
	at       model.Time
	protocol model.Protocol
	held     uint64
	rest     uint64
	flags    model.Flags
}

func newTables(p model.Protocol) *tables {
	t := &tables{at: detecttest.Start, protocol: p}
	t.b.AddMeta(model.Meta{Time: t.at, Key: "os", Value: "windows"})
	t.b.AddPortPool(model.PortPool{
		Time: t.at, Protocol: p, Low: 50000, High: 50999, Size: 1000, Source: model.PoolEphemeral, Name: "dynamic",
	})
	return t
}

// holder adds what a process has.
func (t *tables) holder(h model.PortHolder) *tables {
	h.Time, h.Protocol, h.TID = t.at, t.protocol, -1
	if h.PID == 0 {
		h.PID = 7
	}
	if h.PID > 0 {
		h.Process = "app"
	}
	t.b.AddPortHolder(h)
	t.held += h.Ports
	return t
}

// to adds what one destination has.
func (t *tables) to(held, resting uint64) *tables {
	t.b.AddPortDestination(model.PortDestination{
		Time: t.at, Protocol: t.protocol, PID: 7, TID: -1, Process: "app", Held: held, Resting: resting,
		LocalAddr: "192.0.2.1", RemoteAddr: "198.51.100.1", RemotePort: 443,
	})
	t.held, t.rest = t.held+held, t.rest+resting
	return t
}

// end ends a table.
func (t *tables) end() *tables {
	t.b.AddPortTable(model.PortTable{
		Time: t.at, Flags: t.flags, Protocol: t.protocol, Held: t.held, Resting: t.rest, OwnersSeen: true, Table: "netstat",
		TimeFrom: "the file's name",
	})
	t.at, t.held, t.rest = t.at.Add(10*time.Minute), 0, 0
	return t
}

func (t *tables) batch() *model.Batch { return t.b.Take() }

// series is a process whose ports are these, of which it keeps all but given at each step.
func series(p model.Protocol, flags model.Flags, given uint64, ports ...uint64) *model.Batch {
	t := newTables(p)
	t.flags = flags
	before := uint64(0)
	for _, n := range ports {
		t.holder(model.PortHolder{Ports: n, Kept: before - min(before, given)}).end()
		before = n
	}
	return t.batch()
}

// every is a stream of tables, which are ten minutes apart, with another time between them.
func every(interval time.Duration, b *model.Batch) *model.Batch {
	for i := range b.Events {
		n := int(b.Events[i].Time.Sub(detecttest.Start) / (10 * time.Minute))
		b.Events[i].Time = detecttest.Start.Add(time.Duration(n) * interval)
	}
	return b
}

// waiting is a process that has so many connections in CLOSE_WAIT.
func waiting(connections ...uint64) *model.Batch {
	t := newTables(model.ProtocolTCP)
	for _, n := range connections {
		t.holder(model.PortHolder{CloseWait: n, Connections: n}).end()
	}
	return t.batch()
}

// says judges a stream and returns its findings in one text, those of INFO marked.
func says(t *testing.T, b *model.Batch) string {
	t.Helper()
	var out strings.Builder
	for _, f := range detecttest.Latest(detecttest.Run(b, 100)) {
		out.WriteString(f.Severity.String() + " " + f.Detector + ": " + f.Title + "\n")
		for _, list := range [][]string{f.Causes, f.RuledOut, f.Advice} {
			out.WriteString("  " + strings.Join(list, "\n  ") + "\n")
		}
	}
	return out.String()
}

// TestVerdicts has what tables look like, and what must not be said of them.
func TestVerdicts(t *testing.T) {
	many := func(n uint64) []uint64 {
		var out []uint64
		for i := range n {
			out = append(out, 100+100*i)
		}
		return out
	}
	for _, tt := range []struct {
		name  string
		batch *model.Batch
		// want are in what is said, never are not.
		want, never []string
	}{
		{"one table", newTables(model.ProtocolUDP).holder(model.PortHolder{Ports: 950}).end().batch(),
			[]string{"app[7] holds 950 of the 1,000 dynamic UDP ports; 50 are left", "cannot show growth",
				"assumed to be 50000 to 50999"}, []string{"gained", "more than", "port-exhaustion", "port-leak"}},
		{"growing", series(model.ProtocolUDP, 0, 0, many(5)...), []string{
			"warning port-snapshot: app[7] holds 500 of the 1,000", "400 more than 40 min earlier, and has released none",
			"exhausted in about 50 min", "it does not close its sockets"}, []string{"three tables"}},
		{"growing, for moments", every(time.Minute, series(model.ProtocolUDP, 0, 0, many(4)...)),
			[]string{"info", "three tables over 10 min or more would show which"}, []string{"warning"}},
		{"growing, in a second", every(time.Second, series(model.ProtocolUDP, 0, 0, 200, 500)),
			[]string{"300 more than 1 s earlier"}, nil},
		{"growing, in less than a second", every(time.Second-1, series(model.ProtocolUDP, 0, 0, 200, 500)),
			[]string{"app[7] holds 500"}, []string{"more than", "It gained"}},
		{"CLOSE_WAIT, in a second", every(time.Second, waiting(400, 600)), []string{"the number is growing"}, nil},
		{"CLOSE_WAIT, in less than a second", every(time.Second-1, waiting(400, 600)),
			[]string{"600 connections in CLOSE_WAIT"}, []string{"growing"}},
		{"two tables", series(model.ProtocolUDP, 0, 0, 400, 700),
			[]string{"300 more than 10 min earlier", "three tables over 10 min or more would show which"},
			[]string{": it does not close its sockets"}},
		{"a load that comes and goes", series(model.ProtocolUDP, 0, 90, many(5)...), []string{"No leak is shown"},
			[]string{"does not close its sockets", "gone in"}},
		{"tables without times", series(model.ProtocolUDP, model.FlagSecondary, 0, many(5)...), nil,
			[]string{"more than", "gained"}},
		{"growth that has ended", series(model.ProtocolUDP, 0, 0, 100, 200, 300, 400, 400), nil,
			[]string{"gained", "warning"}},
		{"growth in steps", series(model.ProtocolUDP, 0, 0, 100, 100, 200, 200, 200, 300, 300, 400, 400), []string{
			"warning port-snapshot: app[7] holds 400 of the 1,000", "300 more than 70 min earlier, and has released none",
			"It gained ports 3 times in 8 tables", "it does not close its sockets"}, []string{"three tables"}},
		{"steps that have ended", series(model.ProtocolUDP, 0, 0, 100, 200, 200, 300, 300, 400, 400, 400, 400, 400, 400),
			[]string{"info"}, []string{"gained", "warning"}},
		{"two steps", series(model.ProtocolUDP, 0, 0, 100, 100, 100, 250, 250, 250, 400), nil, []string{"warning"}},
		{"steps with other sockets", series(model.ProtocolUDP, 0, 90, 100, 100, 200, 200, 300, 300, 400, 400), nil,
			[]string{"warning", "does not close"}},
		{"many, and no more", series(model.ProtocolUDP, 0, 0, 600, 600, 600),
			[]string{"warning port-snapshot: app[7] holds 600", "growth: it had 600 ports 20 min earlier"}, []string{"gained"}},
		{"a pool of source ports",
			newTables(model.ProtocolUDP).holder(model.PortHolder{Ports: 600, Outside: 2000}).end().batch(),
			[]string{"info"}, []string{"warning", "critical"}},
		{"connections, not bound",
			newTables(model.ProtocolTCP).holder(model.PortHolder{Ports: 600, Connections: 600}).end().batch(),
			[]string{"info"}, []string{"warning"}},
		{"few of many in CLOSE_WAIT",
			newTables(model.ProtocolTCP).holder(model.PortHolder{CloseWait: 250, Connections: 9000}).end().batch(), nil,
			[]string{"CLOSE_WAIT"}},
		{"many small holders", newTables(model.ProtocolUDP).holder(model.PortHolder{Ports: 300}).
			holder(model.PortHolder{PID: 8, Ports: 300}).holder(model.PortHolder{PID: 9, Ports: 300}).end().batch(),
			[]string{"900 of the 1,000 dynamic UDP ports are in use; 100 are left", "No single process"}, nil},
		{"resting", newTables(model.ProtocolTCP).to(9, 950).end().batch(),
			[]string{"959 of the 1,000 dynamic TCP ports of 192.0.2.1 are used for 198.51.100.1:443",
				"950 of them in TIME_WAIT; 41 are left",
				"app[7] is the only process", "likely but not certain", "other destinations: not affected"},
			[]string{"leak", "are in use", "fail"}},
		{"resting, and next to none left", newTables(model.ProtocolTCP).to(9, 985).end().batch(),
			[]string{"critical", "new connections to it fail or wait"}, []string{"are left"}},
		{"no owners", newTables(model.ProtocolTCP).holder(model.PortHolder{PID: -1, Ports: 700, Bound: 600}).end().batch(),
			[]string{"warning port-snapshot: processes not named in the table hold 700",
				"600 of them bound", "table with owners"},
			[]string{"app", "restart"}},
		{"over",
			newTables(model.ProtocolUDP).holder(model.PortHolder{Ports: 950}).end().
				holder(model.PortHolder{Ports: 20}).end().batch(),
			[]string{"app[7] held 950 of the 1,000 dynamic UDP ports; 50 were left"}, []string{"are left"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := says(t, tt.batch)
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("it lacks %q", want)
				}
			}
			for _, never := range tt.never {
				if strings.Contains(text, never) {
					t.Errorf("it says %q", never)
				}
			}
			if t.Failed() {
				t.Log(text)
			}
		})
	}
}
