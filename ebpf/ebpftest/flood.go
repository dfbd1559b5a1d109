//go:build linux

package ebpftest

import (
	"fmt"
	"time"

	"lostbeat/ebpf"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
)

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -target bpfel -tags linux -cc clang -strip llvm-strip -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../include -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" -type record flood flood.bpf.c

// FloodBurst is the number of records that one call of Flood.Burst writes.
const FloodBurst = 4096

// Flood is a probe that writes as many records as it is asked to, each of the
// size of a run of deferred work. Its events are deferred.run with a sequence
// number, by processor, in Routine.
type Flood struct {
	loader  *ebpf.Loader
	program *cebpf.Program
	clock   ebpf.Clock
}

// Name implements ebpf.Probe.
func (*Flood) Name() string { return "flood" }

// Kinds implements ebpf.Probe.
func (*Flood) Kinds() []model.Kind { return []model.Kind{model.KindDeferredRun} }

// Attach implements ebpf.Probe.
func (f *Flood) Attach(env *ebpf.Env) (ebpf.Attached, error) {
	spec, err := loadFlood()
	if err != nil {
		return nil, err
	}
	if f.loader, err = env.NewLoader(spec); err != nil {
		return nil, err
	}
	if f.program, err = f.loader.Program("flood"); err != nil {
		return nil, err
	}
	f.clock = env.Clock
	env.Handle(model.KindDeferredRun, f.decode)
	return f, nil
}

// Status implements ebpf.Attached.
func (f *Flood) Status() []model.Probe { return []model.Probe{ebpf.StatusOf("flood", "", nil)} }

// Collect implements ebpf.Attached.
func (f *Flood) Collect(model.Time, time.Duration, *model.Builder) error { return nil }

// Close implements ebpf.Attached.
func (f *Flood) Close() error { return f.loader.Close() }

func (f *Flood) decode(raw []byte, b *model.Builder) error {
	r, ok := ebpf.Record[floodRecord](raw)
	if !ok {
		return fmt.Errorf("flood: %d bytes are not a record", len(raw))
	}
	b.AddDeferredRun(model.DeferredRun{
		Time: f.clock.Time(r.Head.TimeNs), CPU: int32(r.Head.Cpu), PID: int32(r.Head.Pid), TID: int32(r.Head.Pid),
		Class: model.ClassSoftirq, Routine: r.Sequence, Vector: 3, Name: "NET_RX", Task: "flood",
	})
	return nil
}

// Burst writes FloodBurst records on the processor that it runs on.
func (f *Flood) Burst() error {
	_, err := f.program.Run(&cebpf.RunOptions{})
	return err
}
