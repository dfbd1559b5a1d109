package state

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"lostbeat/model"

	"github.com/google/go-cmp/cmp"
)

// Ports are what a map of ports would be, whatever comes and goes.
func TestPortsAreAMap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	ports, want := newPorts(), make(map[PortKey]Port)
	for step := range 20000 {
		p := Port{
			Cookie: uint64(
				random.IntN(400),
			), Netns: int64(random.IntN(2)), LocalAddr: []string{"", "0.0.0.0", "::1"}[random.IntN(3)],
			LocalPort: uint16(random.IntN(40)),
			Protocol:  model.ProtocolUDP, Resting: random.IntN(4) == 0, PID: int32(step),
			Process: fmt.Sprintf("p%d", random.IntN(50)),
		}
		if random.IntN(3) == 0 {
			p.Cookie = 0
			p.RemoteAddr, p.RemotePort = fmt.Sprintf("10.0.0.%d", random.IntN(20)), uint16(random.IntN(3))
		}
		if random.IntN(10) == 0 {
			p.Stack = model.Stack{{Addr: uint64(step)}}
		}
		key := p.Key()
		if i, ok := ports.find(key); ok {
			ports.remove(i)
			delete(want, key)
		}
		if random.IntN(3) > 0 || step < 2000 { // it grows, and then it shrinks
			ports.put(&p)
			p.Mark = uint32(step + 1)
			ports.Mark(key, p.Mark)
			want[key] = p
		}
		if step == 15000 {
			for key := range maps.Clone(want) {
				i, ok := ports.find(key)
				if !ok {
					t.Fatalf("%+v is not found", want[key])
				}
				ports.remove(i)
				delete(want, key)
			}
		}
		if _, ok := ports.Get(Key(0, Place{LocalAddr: "never"}, false)); ok {
			t.Fatal("a port that was never put is found")
		}
	}
	if ports.Len() != len(want) || len(want) < 100 {
		t.Fatalf("%d ports, want %d", ports.Len(), len(want))
	}
	for key, p := range want {
		if got, ok := ports.Get(key); !ok || !cmp.Equal(got, p) {
			t.Fatalf("got %+v, %v, want %+v", got, ok, p)
		}
	}
	n, used := 0, map[string]bool{"": true}
	for p := range ports.All() {
		n++
		used[p.LocalAddr+fmt.Sprint(p.Netns)], used[p.RemoteAddr], used[p.Process] = true, true, true
	}
	if n != len(want) {
		t.Errorf("%d ports in all, want %d", n, len(want))
	}
	if len(ports.texts.ids) > len(used) || len(ports.stacks) > len(want) {
		t.Errorf("%d texts are kept of %d in use", len(ports.texts.ids), len(used))
	}
	sorted := slices.Collect(byKey(&ports))
	if !slices.IsSortedFunc(sorted, func(a, b Port) int { return int(a.Cookie>>1) - int(b.Cookie>>1) }) {
		t.Error("not sorted by cookie")
	}
}

// A port takes little: three tables of them stand in a process that watches a
// host with tens of thousands.
func TestPortsAreSmall(t *testing.T) {
	const n = 60000
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	s := New()
	var b model.Builder
	for i := range n {
		b.AddPortAcquire(udp(second, uint64(i+1), uint16(i+1)))
		if b.Len() == 4096 {
			s.Apply(b.Take())
		}
	}
	s.Apply(b.Take())
	b = model.Builder{}
	perPort := float64(heap()-before) / n
	t.Logf("%.0f bytes a port", perPort)
	if perPort > 100 {
		t.Errorf("a port takes %.0f bytes", perPort)
	}
	runtime.KeepAlive(s)
}

func BenchmarkApplyPort(b *testing.B) {
	var build model.Builder
	for i := range 4096 {
		build.AddPortAcquire(udp(second, uint64(i+1), uint16(i+1)))
	}
	batch := build.Take()
	s := New()
	for b.Loop() {
		s.Apply(batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch.Events)), "ns/event")
}

// A port that very many sockets hold is counted like any other, up and down again.
func TestManySocketsOnOnePort(t *testing.T) {
	const sockets = 70_000
	s := New()
	var b model.Builder
	b.AddPortPool(pool(1, 5000, 5999))
	for i := range uint64(sockets) {
		b.AddPortAcquire(udp(1, i+1, 5000))
	}
	b.AddPortAcquire(udp(1, sockets+1, 5001))
	s.Apply(b.Take())
	key := PoolKey{Name: "rpc", Protocol: model.ProtocolUDP}
	if n, used := s.Holders(model.ProtocolUDP, 1, 5000), s.Pools[key].Used; n != sockets || used != 2 {
		t.Errorf("%d sockets hold the port, %d ports are used; want %d and 2", n, used, sockets)
	}
	for i := range uint64(sockets) {
		b.AddPortRelease(
			model.PortRelease{Time: 2, Cookie: i + 1, Protocol: model.ProtocolUDP, LocalPort: 5000, Netns: 1},
		)
		if left := sockets - i - 1; left <= 256 && left >= 253 || left == 0 {
			s.Apply(b.Take())
			used := 2
			if left == 0 {
				used = 1
			}
			if n := s.Holders(model.ProtocolUDP, 1, 5000); n != int(left) || s.Pools[key].Used != used {
				t.Errorf("%d sockets hold the port, %d ports are used; want %d and %d", n, s.Pools[key].Used, left, used)
			}
		}
	}
	if len(s.slots.many) != 0 {
		t.Errorf("%d counts are left", len(s.slots.many))
	}
}
