//go:build linux

package ebpftest

import (
	"errors"
	"fmt"
	"time"

	"lostbeat/ebpf"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
)

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -target bpfel -tags linux -cc clang -strip llvm-strip -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../include -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" -type record flood flood.bpf.c

// NewFlood returns a flood that needs no engine, with a ringbuf of the given
// size that it writes to.
func NewFlood(ringBytes int) (*Flood, *cebpf.Map, error) {
	spec, err := loadFlood()
	if err != nil {
		return nil, nil, err
	}
	spec.Maps[floodMapLbRingbuf].MaxEntries = uint32(ringBytes)
	objects, err := cebpf.NewCollection(spec)
	if err != nil {
		return nil, nil, fmt.Errorf("flood: %w", err)
	}
	return &Flood{
		program: objects.Programs[floodProgFlood],
		close:   func() error { objects.Close(); return nil },
	}, objects.Maps[floodMapLbRingbuf], nil
}

// FloodBurst is the number of records that one call of Flood.Burst writes.
const FloodBurst = 4096

// Flood is a probe that writes as many records as it is asked to, each of the
// size of a run of deferred work. Its events are deferred.run with a sequence
// number, by processor, in Routine.
type Flood struct {
	close   func() error
	program *cebpf.Program
	clock   ebpf.Clock
	// vector and task are the same in all events.
	vector, task model.Interned
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
	loader, err := env.NewLoader(spec)
	if err != nil {
		return nil, err
	}
	f.close = loader.Close
	if f.program, err = loader.Program(floodProgFlood); err != nil {
		return nil, errors.Join(err, loader.Close())
	}
	f.clock = env.Clock
	f.vector, f.task = model.NewInterned("NET_RX"), model.NewInterned("flood")
	env.Handle(model.KindDeferredRun, f.decode)
	return f, nil
}

// Status implements ebpf.Attached.
func (f *Flood) Status() []model.Probe { return []model.Probe{ebpf.StatusOf("flood", "", nil)} }

// Collect implements ebpf.Attached.
func (f *Flood) Collect(model.Time, time.Duration, *model.Builder) error { return nil }

// Close implements ebpf.Attached.
func (f *Flood) Close() error { return f.close() }

func (f *Flood) decode(raw []byte, b *model.Builder) error {
	r, ok := ebpf.Record[floodRecord](raw)
	if !ok {
		return fmt.Errorf("flood: %d bytes are not a record", len(raw))
	}
	e := b.Append(model.KindDeferredRun)
	e.Time, e.CPU, e.PID, e.TID = f.clock.Time(r.Head.TimeNs), int32(r.Head.Cpu), int32(r.Head.Pid), int32(r.Head.Pid)
	e.Args[model.ArgDeferredRunClass] = uint64(model.ClassSoftirq)
	e.Args[model.ArgDeferredRunRoutine] = r.Sequence
	e.Args[model.ArgDeferredRunVector] = 3
	e.Str[model.StrDeferredRunName], e.Str[model.StrDeferredRunTask] = b.ID(&f.vector), b.ID(&f.task)
	return nil
}

// Burst writes FloodBurst records on the processor that it runs on.
func (f *Flood) Burst() error {
	_, err := f.program.Run(&cebpf.RunOptions{})
	return err
}
