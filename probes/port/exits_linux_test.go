package port

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"lostbeat/model"
)

// TestExitsAreTold wants the end of a process that gave back several ports to be
// told once, and no other.
func TestExitsAreTold(t *testing.T) {
	proc := t.TempDir()
	state := func(pid, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(proc, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, pid, "stat"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const fields = " 1 1 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 "
	state("11", "11 (a) Z) S"+fields+"1 0 5")
	state("12", "12 (b) Z"+fields+"1 0 5")
	state("13", "13 (c) Z"+fields+"4 0 5") // its main thread has ended, others go on
	x := newExits(proc)
	told := func(now model.Time) (pids []int32) {
		var b model.Builder
		x.tell(now, &b)
		batch := b.Take()
		if batch == nil {
			return nil
		}
		for i := range batch.Events {
			v, ok := batch.Process(&batch.Events[i])
			if !ok || v.State != model.ProcessExited || v.Time != now {
				t.Errorf("%+v", v)
			}
			pids = append(pids, v.PID)
		}
		return pids
	}
	for pid := range int32(5) {
		for range exitPorts {
			x.gave(10+pid, "p")
		}
	}
	x.gave(20, "few")
	x.gave(0, "the kernel")
	if got := told(1); len(got) != 3 || got[0] != 10 || got[1] != 12 || got[2] != 14 {
		t.Errorf("told of %v", got)
	}
	if err := os.RemoveAll(filepath.Join(proc, "11")); err != nil {
		t.Fatal(err)
	}
	if got := told(model.Time(time.Second)); len(got) != 1 || got[0] != 11 {
		t.Errorf("then told of %v", got)
	}
	for range exitLooks {
		if got := told(model.Time(2 * time.Second)); len(got) != 0 {
			t.Errorf("told again of %v", got)
		}
	}
	if len(x.leaving) != 0 {
		t.Errorf("still looking for %v", x.leaving)
	}
}
