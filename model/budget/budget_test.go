package budget

import "testing"

func TestTake(t *testing.T) {
	b := New(100)
	if !b.Take("ports", 100) {
		t.Error("no room for what just fits")
	}
	if b.Take("ports", 1) || b.Room("CPUs", 1) {
		t.Error("room for a byte too many")
	}
	if n, what := b.Report(); n != 2 || what != "CPUs, ports" {
		t.Errorf("left out %d of %q", n, what)
	}
	if n, _ := b.Report(); n != 0 || b.LeftOut() != 2 {
		t.Errorf("%d reported twice, %d in all", n, b.LeftOut())
	}
	b.Give(1)
	if !b.Room("ports", 1) || b.Used() != 99 {
		t.Errorf("%d bytes are taken", b.Used())
	}
}

func TestWork(t *testing.T) {
	b := New(1)
	b.Charge(firstWork - 1)
	if !b.CanWork() || b.Spend("names", 2) {
		t.Error("one step is left")
	}
	if !b.Spend("names", 1) || b.CanWork() {
		t.Error("no step is left")
	}
	b.Earn(10)
	if !b.CanWork() || !b.Spend("names", 10) || b.LeftOut() != 1 {
		t.Errorf("ten steps were earned, %d left out", b.LeftOut())
	}
	b.Earn(1 << 40)
	if !b.Spend("names", mostWork) || b.CanWork() {
		t.Error("more is saved than may be")
	}
}

// Without a limit nothing is left out.
func TestNoLimit(t *testing.T) {
	for name, b := range map[string]*Budget{"nil": nil, "zero": {}} {
		b.Charge(1 << 50)
		if !b.Take("ports", 1<<50) || !b.CanWork() || !b.Spend("ports", 1<<50) || b.LeftOut() != 0 {
			t.Errorf("%s: something is left out", name)
		}
	}
}
