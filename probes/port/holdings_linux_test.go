package port

import (
	"maps"
	"math/rand/v2"
	"testing"

	"lostbeat/model"
)

// Holdings are what a map of holdings would be, whatever comes and goes.
func TestHoldingsAreAMap(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	var table holdings
	want := map[uint64]holding{}
	for step := range 20000 {
		cookie := uint64(random.IntN(3000))<<8 + 3
		h := holding{
			local: [16]byte{byte(random.IntN(3))}, remote: [16]byte{byte(random.IntN(200)), 1}, since: model.Time(step),
			used: model.Time(random.IntN(2)), idleSince: model.Time(random.IntN(2)),
			comm: []string{"", "a", "b"}[random.IntN(3)],
			pid:  int32(random.IntN(9) - 1), netns: uint32(random.IntN(3)),
			localPort: uint16(step), remotePort: uint16(step / 2),
			flags: model.Flags(random.IntN(4)), protocol: model.ProtocolUDP, how: model.HowBindAny,
			activity: model.Activity(random.IntN(3)), announced: random.IntN(2) == 0,
		}
		if grows := step < 12000 || random.IntN(4) == 0; grows {
			table.put(cookie, &h)
			want[cookie] = h
		} else {
			table.remove(cookie)
			delete(want, cookie)
		}
		if step%500 != 0 {
			continue
		}
		if table.n != len(want) {
			t.Fatalf("step %d: %d holdings, want %d", step, table.n, len(want))
		}
		got := map[uint64]holding{}
		for cookie, h := range table.all() {
			got[cookie] = *h
		}
		if !maps.Equal(want, got) {
			t.Fatalf("step %d: all are not those that were put:\n%v\nwant\n%v", step, got, want)
		}
		for cookie := range want {
			if h, ok := table.get(cookie); !ok || h != want[cookie] {
				t.Fatalf("step %d: got %+v of %d, want %+v", step, h, cookie, want[cookie])
			}
		}
	}
	for cookie := range want {
		table.remove(cookie)
	}
	if _, ok := table.get(3); ok || table.n+len(table.addrs.ids)+len(table.comms.ids) != 0 || len(table.chunks) > 1 {
		t.Errorf("something is left: %d holdings, %d addresses, %d names, %d chunks",
			table.n, len(table.addrs.ids), len(table.comms.ids), len(table.chunks))
	}
}
