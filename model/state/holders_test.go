package state

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"lostbeat/model"

	"github.com/google/go-cmp/cmp"
)

// held are the holders and ports of t, counted one by one.
func held(t *Ports) (holders []Holder, ports map[int32][]Port) {
	ports = map[int32][]Port{}
	for p := range t.All() {
		if p.Shared() {
			continue
		}
		ports[p.PID] = append(ports[p.PID], *p)
	}
	for pid, list := range ports {
		slices.SortFunc(list, func(a, b Port) int {
			return int(a.Since-b.Since)*1000 + int(a.Cookie) - int(b.Cookie)
		})
		h := Holder{PID: pid, Process: list[0].Process}
		for _, p := range list {
			if p.Resting {
				h.Resting++
				continue
			}
			if h.Held++; h.Held == 1 {
				h.Oldest = p.Since
			}
			if p.Activity != model.ActivityUnknown {
				h.Watched++
			}
			if p.Activity == model.ActivityIdle {
				h.Idle++
			}
		}
		holders = append(holders, h)
	}
	slices.SortFunc(holders, func(a, b Holder) int {
		if n := b.Held + b.Resting - a.Held - a.Resting; n != 0 {
			return n
		}
		return int(a.PID - b.PID)
	})
	return holders, ports
}

// What is kept of holders is what counting all ports gives, whatever comes and
// goes, and whether it was asked for early or late.
func TestHoldersAreCounted(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	early, late := newPorts(), newPorts()
	early.IndexHolders()
	for step := range 6000 {
		p := Port{
			Cookie: uint64(1 + random.IntN(900)), PID: int32(random.IntN(9)), Resting: random.IntN(5) == 0,
			Protocol: model.ProtocolUDP, LocalPort: uint16(step), Since: model.Time(step/3 + 1),
		}
		p.Process = fmt.Sprintf("p%d", p.PID)
		switch random.IntN(20) {
		case 0:
			p.How = model.HowAccept
		case 1, 2:
			p.Since = model.Time(1 + random.IntN(step+1)) // one that was found late
		}
		grows := random.IntN(10) < 6
		if step > 4000 {
			grows = random.IntN(10) < 2 // at the end there are none
		}
		for _, ports := range []*Ports{&early, &late} {
			if i, ok := ports.find(p.Key()); ok {
				ports.remove(i)
			}
			if grows {
				ports.put(&p)
			}
		}
		if use := model.Activity(random.IntN(3)); random.IntN(3) == 0 {
			v := model.PortActivity{Time: model.Time(step + 1), Activity: use}
			k := PortKey{Cookie: uint64(1 + random.IntN(900))}
			early.use(k, v)
			late.use(k, v)
		}
		if step == 2000 {
			late.IndexHolders()
		}
		if step%50 != 0 || step < 2000 {
			continue
		}
		for name, ports := range map[string]*Ports{"early": &early, "late": &late} {
			want, lists := held(ports)
			if diff := cmp.Diff(want, ports.TopHolders(100)); diff != "" {
				t.Fatalf("step %d, %s: holders (-want +got):\n%s", step, name, diff)
			}
			if diff := cmp.Diff(want[:min(3, len(want))], ports.TopHolders(3)); diff != "" {
				t.Fatalf("step %d, %s: the first three (-want +got):\n%s", step, name, diff)
			}
			for pid := range int32(10) {
				got, total := ports.OfProcess(pid, 5)
				if total != len(lists[pid]) || len(got) != min(5, total) {
					t.Fatalf("step %d, %s: %d of %d ports, want %d", step, name, len(got), total, len(lists[pid]))
				}
				for i, p := range got {
					if p.Since != lists[pid][i].Since || p.PID != pid {
						t.Fatalf("step %d, %s: port %d is since %d, want %d", step, name, i, p.Since, lists[pid][i].Since)
					}
				}
			}
		}
	}
	if holders, _ := held(&early); early.Len() > 700 || len(holders) == 0 {
		t.Errorf("%d ports are left: the test shows little", early.Len())
	}
}

// A keyframe starts anew, and who holds what is known still.
func TestHoldersAfterAKeyframe(t *testing.T) {
	s := New()
	s.Ports.IndexHolders()
	var b model.Builder
	for cookie := range uint64(10) {
		b.AddPortAcquire(udp(model.Time(20-cookie)*second, cookie+1, uint16(5000+cookie)))
	}
	s.Apply(b.Take())
	before := s.Ports.TopHolders(5)
	for part := range s.Keyframe(30 * second) {
		s.Apply(part)
	}
	if diff := cmp.Diff(before, s.Ports.TopHolders(5)); diff != "" || len(before) != 1 || before[0].Held != 10 {
		t.Errorf("holders %v, after a keyframe (-before +after):\n%s", before, diff)
	}
}
