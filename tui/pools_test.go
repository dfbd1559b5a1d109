package tui

import (
	"slices"
	"testing"

	"lostbeat/fold"
	"lostbeat/model"
	"lostbeat/tui/tuitest"
)

func TestPoolsOfNamespaces(t *testing.T) {
	at := tuitest.Start + second
	s := fold.NewHistory()
	apply(s, func(b *model.Builder) {
		for i, name := range []string{"", "blue", "4026532001"} {
			b.AddPortPool(
				model.PortPool{
					Time:      at,
					Protocol:  model.ProtocolTCP,
					Low:       32768,
					High:      60999,
					Size:      28232,
					Source:    model.PoolEphemeral,
					Netns:     int64(9 - i),
					NetnsName: name,
					Name:      "ephemeral",
				},
			)
		}
		b.AddPortPool(
			model.PortPool{
				Time:     at,
				Protocol: model.ProtocolUDP,
				Low:      5000,
				High:     5009,
				Size:     10,
				Source:   model.PoolConfigured,
				Name:     "rpc",
			},
		)
		for i := range uint16(4) { // a port at rest is taken as well
			b.AddPortRest(
				model.PortRest{
					Time:      at,
					PID:       1,
					TID:       1,
					Cookie:    uint64(i + 1),
					Protocol:  model.ProtocolTCP,
					LocalPort: 40000 + i,
					Netns:     8,
				},
			)
		}
		b.AddDrop(drop(at, second.Sub(0), 1))
	})
	m := screen(s, 120, 40)
	press(m, "4")
	shows(t, m, "namespace")
	u := m.ui
	v := u.newView()
	grid := u.poolGrid(&v, "pools")
	grid.prepare(&listState{})
	var order []string
	for _, p := range grid.rows {
		order = append(order, p.Key.Name+" "+p.namespace())
	}
	if want := []string{"ephemeral blue", "rpc ", "ephemeral host", "ephemeral 4026532001"}; !slices.Equal(order, want) {
		t.Errorf("pools in the order %q, want %q: the fullest, then that of all namespaces, then the host's", order, want)
	}
	finding := &model.Finding{Subject: model.Subject{Pool: "ephemeral", Protocol: "tcp", Netns: "blue"}}
	if p := poolOf(&v, finding); p == nil || p.Netns != "blue" || p.Resting != 4 {
		t.Errorf("the pool of a finding about blue: %+v", p)
	}
	shows(t, m, "4 / 28,232")
}

func TestProbesOn(t *testing.T) {
	on, all, limits := probesOn([]model.Probe{
		{Name: "port", Part: "sockets", State: model.ProbeOn},
		{Name: "port", Part: "functions", State: model.ProbeOff},
		{Name: "interrupt", Part: "lines", State: model.ProbeOn, Reason: "what no kernel shows"},
		{Name: "drop", State: model.ProbeOff},
		{Name: "nic", State: model.ProbeDegraded},
	})
	if on != 3 || all != 4 || limits != 3 {
		t.Errorf("%d of %d probes on with %d limits; want 3 of 4 with 3", on, all, limits)
	}
}
