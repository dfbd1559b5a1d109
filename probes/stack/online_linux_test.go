package stack

import (
	"errors"
	"os"
	"testing"

	"lostbeat/ebpf"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// The events of CPUs that go offline are given up, and opened anew when the CPUs come back; those that requests are
// served on are counted on meanwhile.
func TestFollowCPUs(t *testing.T) {
	opened := make(map[int]int)
	changes := 0
	var refuse error
	a := &attached{
		env:    &ebpf.Env{StatusChanged: func() { changes++ }},
		events: make(map[int32]*event),
		open: func(cpu int) (int, error) {
			if refuse != nil {
				return away, refuse
			}
			opened[cpu]++
			f, err := os.Open(os.DevNull)
			if err != nil {
				return away, err
			}
			defer f.Close()
			return unix.Dup(int(f.Fd()))
		},
	}
	t.Cleanup(func() { a.follow(nil) })
	here := func(cpu int32) bool { e := a.events[cpu]; return e != nil && e.fd != away }
	a.follow([]int{0, 1})
	a.follow([]int{0, 1})
	if !here(0) || !here(1) || opened[0] != 1 || opened[1] != 1 {
		t.Errorf("at the start: %v, opened %v", a.events, opened)
	}
	a.follow([]int{0})
	if here(1) || !here(0) {
		t.Errorf("CPU 1 is offline: %v", a.events)
	}
	if err := a.Begin(model.Request{Kind: model.RequestStacks, CPU: 1}); err == nil {
		t.Error("a request for a CPU that is offline is served")
	}
	a.follow([]int{0, 1, 2})
	if !here(1) || !here(2) || opened[0] != 1 || opened[1] != 2 || opened[2] != 1 || changes != 0 {
		t.Errorf("CPUs 1 and 2 are online: %v, opened %v, %d changes", a.events, opened, changes)
	}
	a.follow([]int{0, 1})
	refuse = unix.ENODEV
	a.follow([]int{0, 1, 2})
	if here(2) || changes != 0 {
		t.Errorf("CPU 2 has gone offline before its event was opened: %v, %d changes", a.events, changes)
	}
	refuse = errors.New("no")
	a.follow([]int{0, 1, 2})
	a.follow([]int{0, 1, 2})
	if here(2) || changes != 1 || len(a.status) != 1 ||
		a.status[0].State != model.ProbeOff || a.status[0].Part != "CPU 2" {
		t.Errorf("CPU 2 is refused: %v, %d changes, %+v", a.events, changes, a.status)
	}
	if err := a.Begin(model.Request{Kind: model.RequestStacks, CPU: 2}); !errors.Is(err, refuse) {
		t.Errorf("a request for a CPU that is refused: %v", err)
	}
}
