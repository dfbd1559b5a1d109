package ebpf

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
)

// fakeProc is a /proc with processes.
type fakeProc struct {
	t   *testing.T
	dir string
}

func (p fakeProc) set(pid int, name string, start int) {
	p.t.Helper()
	dir := filepath.Join(p.dir, strconv.Itoa(pid))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	for file, content := range map[string]string{
		"stat": fmt.Sprintf("%d (%s) S 7 1 1 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 %d 1000 10 18446744073709551615 1 "+
			"1", pid, name, start),
		"cmdline": name + "\x00--flag\x00",
		"cgroup":  "12:cpu:/\n0::/system.slice/x.service\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p fakeProc) remove(pid int) {
	p.t.Helper()
	if err := os.RemoveAll(filepath.Join(p.dir, strconv.Itoa(pid))); err != nil {
		p.t.Fatal(err)
	}
}

func TestProcesses(t *testing.T) {
	proc := fakeProc{t, t.TempDir()}
	ps := newProcesses(proc.dir, Clock{Offset: 1000})
	var b model.Builder
	second := model.Time(time.Second)
	// expect asks for a name and wants the given events to have been written.
	expect := func(at model.Time, pid int32, comm, want string, events int) []model.Process {
		t.Helper()
		if got := ps.name(pid, comm, at, &b); got != want {
			t.Errorf("at %v: name %q, want %q", at, got, want)
		}
		var written []model.Process
		if batch := b.Take(); batch != nil {
			for i := range batch.Events {
				if p, ok := batch.Process(&batch.Events[i]); ok {
					written = append(written, p)
				}
			}
		}
		if len(written) != events {
			t.Errorf("at %v: %d process events, want %d", at, len(written), events)
		}
		return written
	}

	proc.set(42, "a (weird) name", 300)
	first := expect(second, 42, "", "a (weird) name", 1)[0]
	want := model.Process{
		Time:    second,
		PID:     42,
		TID:     42,
		State:   model.ProcessActive,
		PPID:    7,
		Started: model.Time(3*time.Second) + 1000,
		Name:    "a (weird) name",
		Cmdline: "a (weird) name --flag",
		Cgroup:  "/system.slice/x.service", Unit: "x.service",
	}
	if first != want {
		t.Errorf("process event %+v, want %+v", first, want)
	}
	expect(second+1, 42, "", "a (weird) name", 0)
	expect(10*second, 42, "", "a (weird) name", 0) // asked again: still the same

	proc.set(42, "other", 900) // the PID was used again
	expect(10*second+1, 42, "", "a (weird) name", 0)
	expect(12*second, 42, "", "other", 1)

	proc.set(42, "execed", 900) // the process changed its name
	expect(14*second, 42, "", "execed", 1)

	proc.remove(42) // late events still mean the process that was known
	expect(16*second, 42, "thread", "execed", 0)

	expect(17*second, 99, "gone", "gone", 1) // never seen alive: the record's name counts
	expect(17*second, 100, "", "", 1)
	expect(17*second, 0, "swapper", "", 0)
	expect(17*second, -1, "", "", 0)

	proc.set(7, "alive", 100)
	expect(17*second, 7, "", "alive", 1)
	proc.set(8, "first", 100)
	expect(17*second, 8, "", "first", 1)
	proc.set(8, "second", 101) // another process has its number

	b.Take()
	ps.forget(17*second+model.Time(processForget)+1, &b)
	if len(ps.known) != 0 {
		t.Errorf("%d processes remembered after %v", len(ps.known), processForget)
	}
	var ended []int32
	for batch, i := b.Take(), 0; i < len(batch.Events); i++ {
		if p, ok := batch.Process(&batch.Events[i]); ok && p.State == model.ProcessExited {
			ended = append(ended, p.PID)
		}
	}
	if want := []int32{8, 42, 99, 100}; !slices.Equal(ended, want) {
		t.Errorf("ended are %v, want %v", ended, want)
	}
}

func TestParseStatMalformed(t *testing.T) {
	for _, content := range []string{"", "1", "1 (x", "1 x) S", "1 (x) S 2", "1 (x) S no 1 1 0 -1 4194560 1 0 0 0 1 2 " +
		"0 0 20 0 1 0 5 1"} {
		if got, err := parseStat([]byte(content)); err == nil {
			t.Errorf("parseStat(%q) = %+v, want an error", content, got)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	fuzztest.Quick(f)
	f.Add([]byte("42 (cat) R 41 42 41 34816 42 4194304 92 0 0 0 0 0 0 0 20 0 1 0 8411 5791744 439"))
	f.Add([]byte("1 (a) b (c) S 0 1 1 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 5 1 1"))
	f.Add([]byte(")("))
	f.Fuzz(func(t *testing.T, content []byte) {
		if stat, err := parseStat(content); err != nil && stat != (procStat{}) {
			t.Errorf("%+v with error %v", stat, err)
		}
	})
}

func TestThisProcess(t *testing.T) {
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	r, err := tightestReading(clockGettime)
	if err != nil {
		t.Fatal(err)
	}
	clock := Clock{Offset: r.offset()}
	var b model.Builder
	name := newProcesses("/proc", clock).name(int32(os.Getpid()), "", clock.Now(), &b)
	if name+"\n" != string(comm) {
		t.Errorf("name %q, comm %q", name, comm)
	}
	batch := b.Take()
	p, ok := batch.Process(&batch.Events[0])
	if age := clock.Now().Sub(p.Started); !ok || age < 0 || age > time.Hour {
		t.Errorf("this process started %v ago", age)
	}
}
