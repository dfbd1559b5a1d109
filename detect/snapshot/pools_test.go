package snapshot_test

import (
	"strings"
	"testing"
	"time"

	"lostbeat/model"
)

// rpcTables are tables of a host whose RPC has 100 ports, of which a process has so many in each.
func rpcTables(size uint16, counts ...int) *model.Batch {
	t := newTables(model.ProtocolTCP)
	t.b.AddPortPool(model.PortPool{
		Time: t.at, Protocol: model.ProtocolTCP, Low: 5000, High: 5000 + size - 1, Size: uint64(size),
		Source: model.PoolRPC, Name: "RPC",
	})
	had := 0
	for _, n := range counts {
		for ; had < n; had++ {
			t.b.AddPortActive(model.PortActive{
				Time: t.at, PID: 7, TID: -1, Protocol: model.ProtocolTCP, LocalPort: uint16(5000 + had), How: model.HowListen,
				LocalAddr: "0.0.0.0", Process: "rpcd", Cookie: uint64(1 + had),
			})
		}
		t.holder(model.PortHolder{Ports: 3, Outside: uint64(n)}).end()
	}
	return t.batch()
}

// changed changes the first tables of a stream.
func changed(b *model.Batch, tables int, change func(*model.Event)) *model.Batch {
	for i := range b.Events {
		if e := &b.Events[i]; e.Kind == model.KindPortTable && tables > 0 {
			change(e)
			tables--
		}
	}
	return b
}

func undated(e *model.Event) { e.Flags |= model.FlagSecondary }

// TestPools has what tables show of a pool that is not the system's range.
func TestPools(t *testing.T) {
	for name, tt := range map[string]struct {
		batch       *model.Batch
		want, never []string
	}{
		"nearly full": {rpcTables(100, 85), []string{
			"warning port-snapshot: 85 of the 100 TCP ports of RPC (5000 to 5099) are taken, 85 of them by rpcd[7]", "1721",
			"netstat -q does", "Restarting rpcd[7]",
		}, []string{"earlier", "dynamic"}},
		"full":     {rpcTables(100, 98), []string{"critical"}, nil},
		"not full": {rpcTables(100, 84), nil, []string{"of RPC"}},
		"growing": {rpcTables(100, 30, 60, 90), []string{
			"90 of the 100", "by rpcd[7], 60 more than 20 min earlier",
		}, nil},
		"level":                            {rpcTables(100, 90, 90), []string{"90 of the 100"}, []string{"earlier"}},
		"a few ports are meant to be full": {rpcTables(15, 15), nil, []string{"of RPC"}},
		"with times that are not known": {
			changed(rpcTables(100, 30, 60, 90), 3, undated), []string{"90 of the 100"}, []string{"earlier"},
		},
		"with a first time that is not known": {
			changed(rpcTables(100, 30, 60, 90), 1, undated), []string{"by rpcd[7], 30 more than 10 min earlier"}, nil,
		},
		"the first table lists more": {
			changed(rpcTables(100, 30, 60, 90), 1, func(e *model.Event) { e.Args[3] = 1 }), // BoundSeen
			[]string{"by rpcd[7], 30 more than 10 min earlier"}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			text := says(t, every(10*time.Minute, tt.batch))
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
