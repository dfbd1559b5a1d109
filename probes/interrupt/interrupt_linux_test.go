package interrupt

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/model"
)

// key is a line on a CPU.
type key struct {
	irq int64
	cpu int32
}

// procInterrupts reads how often each numbered line has fired, from
// /proc/interrupts, and how many handlers it has.
func procInterrupts(t *testing.T) (counts map[key]uint64, handlers map[int64]int) {
	t.Helper()
	content, err := os.ReadFile("/proc/interrupts")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(content), "\n")
	cpus := strings.Fields(lines[0])
	counts, handlers = make(map[key]uint64), make(map[int64]int)
	for _, line := range lines[1:] {
		number, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		irq, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			continue // an interrupt of the architecture's own
		}
		fields := strings.Fields(rest)
		for i, cpu := range cpus {
			id, err := strconv.Atoi(strings.TrimPrefix(cpu, "CPU"))
			if err != nil {
				t.Fatal(err)
			}
			if counts[key{irq, int32(id)}], err = strconv.ParseUint(fields[i], 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		handlers[irq] = len(readActions("/sys/kernel/irq", uint32(irq)))
	}
	return counts, handlers
}

// diskLoad makes a block device interrupt, where this host has one.
func diskLoad(t *testing.T) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "load"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 50 {
		if _, err := f.Write(make([]byte, 1<<16)); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

// The runs that are counted lie between the kernel's own counts from just
// inside and just outside the session. While other programs attach to the same
// tracepoint, the kernel was seen not to report single runs: one of three
// sessions has to agree exactly.
func TestCountsEqualTheKernels(t *testing.T) {
	var wrong []string
	for range 3 {
		if wrong = compareCounts(t); len(wrong) == 0 {
			return
		}
		t.Log(strings.Join(wrong, "; "))
	}
	t.Error("no session agrees with the kernel: ", strings.Join(wrong, "; "))
}

// compareCounts returns what differs from the kernel's counts in one session.
func compareCounts(t *testing.T) (wrong []string) {
	t.Helper()
	before, handlers := procInterrupts(t)
	s := ebpftest.Start(t, ebpf.Options{Trace: true}, New())
	started, _ := procInterrupts(t)
	diskLoad(t)
	s.Intervals(2)
	ending, _ := procInterrupts(t)
	batches := s.Stop()
	after, _ := procInterrupts(t)
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	counted, emitted := make(map[key]uint64), make(map[key]uint64)
	var total uint64
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		// Of two handlers that first run in one moment, the kernel may have no memory for the second one yet.
		if loss, ok := b.Loss(e); ok && (loss.Lost > 1 || loss.Detail != "interrupt: interrupt.hist") {
			t.Errorf("%+v", loss)
		}
		if h, ok := b.InterruptHist(e); ok {
			counted[key{h.IRQ, h.CPU}] += h.Count
			total += h.Count
			if h.RunHist == nil && h.Count > 0 || h.RunHist != nil && h.RunHist.Count != h.Count {
				t.Errorf("irq %d: %d runs, histogram %v", h.IRQ, h.Count, h.RunHist)
			}
			if want := strings.Join(readActions("/sys/kernel/irq", uint32(h.IRQ)), ","); handlers[h.IRQ] == 1 &&
				h.Name != want {
				t.Errorf("irq %d is called %q, want %q", h.IRQ, h.Name, want)
			}
			if h.Busy > h.Dur || h.MaxRun > h.Busy {
				t.Errorf("irq %d: busy for %v of %v, longest run %v", h.IRQ, h.Busy, h.Dur, h.MaxRun)
			}
		}
		if run, ok := b.InterruptRun(e); ok {
			emitted[key{run.IRQ, run.CPU}]++
		}
	})
	for k := range after {
		n := uint64(max(handlers[k.irq], 1))
		low, high := (ending[k]-started[k])*n, (after[k]-before[k])*n
		if counted[k] < low || counted[k] > high {
			wrong = append(
				wrong,
				fmt.Sprintf("irq %d on CPU %d: %d runs counted, the kernel says %d to %d", k.irq, k.cpu, counted[k], low, high),
			)
		}
		if emitted[k] < counted[k] || emitted[k] > high {
			t.Errorf("irq %d on CPU %d: %d runs emitted, %d counted", k.irq, k.cpu, emitted[k], counted[k])
		}
	}
	if total == 0 {
		t.Skip("no device of this host interrupts")
	}
	t.Logf("%d runs", total)
	return wrong
}

func TestStatusSaysWhatIsNotSeen(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{}, New())
	var local bool
	ebpftest.Each(s.Stop(), func(b *model.Batch, e *model.Event) {
		if p, ok := b.Probe(e); ok && p.Part == "lines" {
			local = p.State == model.ProbeOn && p.Reason != ""
		}
	})
	if !local {
		t.Error("nothing is said about the local timer and inter-processor interrupts")
	}
}

func TestNames(t *testing.T) {
	sys := t.TempDir()
	set := func(irq, actions string) {
		t.Helper()
		dir := filepath.Join(sys, irq)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "actions"), []byte(actions), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set("24", "eth0-rx-0\n")
	set("16", "ahci,ehci_hcd:usb1\n")
	set("30", "\n")
	n := names{sys: sys, lines: make(map[uint32]*line)}
	check := func(irq uint32, address, interval uint64, want string) {
		t.Helper()
		if got := n.of(irq, address, interval).String(); got != want {
			t.Errorf("irq %d, handler %#x: %q, want %q", irq, address, got, want)
		}
	}
	n.add(24, 0xa, 100)
	check(24, 0xa, 1, "eth0-rx-0")
	check(30, 0xb, 1, "irq 30")
	check(99, 0xc, 1, "irq 99")

	// A shared line: which handler is which shows once both have run, by the
	// order of their first runs on any CPU.
	n.add(16, 0x200, 510)
	check(16, 0x200, 1, "ahci,ehci_hcd:usb1")
	n.add(16, 0x100, 520)
	n.add(16, 0x100, 500) // the same on another CPU, earlier
	check(16, 0x100, 1, "ahci")
	check(16, 0x200, 1, "ehci_hcd:usb1")

	// The line is taken by another driver: names are believed for some intervals.
	set("24", "eth1-rx-0\n")
	check(24, 0xa, nameIntervals, "eth0-rx-0")
	check(24, 0xa, 1+nameIntervals, "eth1-rx-0")
}

func TestDecode(t *testing.T) {
	a := &attached{
		env:   &ebpf.Env{InternedProcess: func(int32) *model.Interned { return &model.Interned{} }},
		names: names{sys: t.TempDir(), lines: make(map[uint32]*line)},
	}
	var b model.Builder
	for n := range 48 {
		if err := a.decode(make([]byte, n), &b); err == nil {
			t.Errorf("%d bytes are taken for a run", n)
		}
	}
	if b.Len() != 0 {
		t.Errorf("%d events from malformed records", b.Len())
	}
	raw := make([]byte, 56)
	raw[0], raw[16], raw[32], raw[36], raw[40] = 100, 7, 24, 42, 1
	if err := a.decode(raw, &b); err != nil {
		t.Fatal(err)
	}
	batch := b.Take()
	run, ok := batch.InterruptRun(&batch.Events[0])
	want := model.InterruptRun{
		Time:    100,
		Dur:     7 * time.Nanosecond,
		IRQ:     24,
		TID:     42,
		Class:   model.ClassHardIRQ,
		Handled: true,
		Name:    "irq 24",
	}
	if !ok || run != want {
		t.Errorf("got %+v, want %+v", run, want)
	}
}
