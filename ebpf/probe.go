//go:build linux

package ebpf

import (
	"log/slog"
	"time"

	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
)

// Probe is the Linux half of one signal. Implementations live in probes/<name>
// and are listed in probes/probes.go.
type Probe interface {
	// Name is the probe's name: "deferred", "interrupt", "nic", ...
	Name() string
	// Kinds lists the kinds of events that it emits.
	Kinds() []model.Kind
	// Attach loads and attaches what this kernel allows. A part that does not
	// work is reported by Attached.Status, not by an error; an error means that
	// nothing of the probe works, and carries a Hint where the user can fix it.
	Attach(env *Env) (Attached, error)
}

// Attached is a running probe. Its methods are called by one goroutine, the
// engine's, never concurrently. One that answers requests for detail is a
// [Responder], too.
type Attached interface {
	// Status says what works and what does not; called after Attach and
	// whenever Collect has reported a change by setting Env.StatusChanged.
	Status() []model.Probe
	// Collect adds what was counted since the last call; now is the end of the
	// interval, which has the given length. It is called once per
	// source.Interval and once more at the end.
	Collect(now model.Time, interval time.Duration, b *model.Builder) error
	// Close detaches; the engine drains the ringbuf afterwards.
	Close() error
}

// Tracer is an [Attached] probe that emits every single run with Options.Trace.
type Tracer interface {
	// PauseTrace makes it emit those above the thresholds only, or all again.
	PauseTrace(paused bool) error
}

// Decoder turns one ringbuf record into events. raw starts with struct
// lb_record (include/event.h) and is valid only during the call; malformed
// records return an error, which the engine counts.
type Decoder func(raw []byte, b *model.Builder) error

// Env is what the engine gives to a probe.
type Env struct {
	// Options are the engine's.
	Options Options
	// Clock converts bpf_ktime_get_boot_ns readings.
	Clock Clock
	// Maps are the shared maps (include/helpers.h) by name: pass them as
	// CollectionOptions.MapReplacements.
	Maps map[string]*cebpf.Map
	// Following is what the probes of this run share of followed flows; never nil.
	Following *Following
	// Handle registers the decoder of a record kind (enum lb_kind); a kind has
	// one decoder.
	Handle func(kind model.Kind, decode Decoder)
	// Process returns the name of a process and makes the engine emit its
	// process event once; for pid <= 0 it returns "".
	Process func(pid int32) string
	// NamedProcess is Process for a record that carries the name of the task
	// (comm), which is used where the process has already gone.
	NamedProcess func(pid int32, comm string) string
	// InternedProcess is Process for records that come by the million. What it
	// returns is valid until the next call of one of these functions, all of
	// which may add an event: call them before Builder.Append.
	InternedProcess func(pid int32) *model.Interned
	// Symbol returns the kernel function that contains addr, "" when unknown.
	Symbol func(addr uint64) string
	// Function returns the address of a kernel function and how many bytes it has up to the next one, 0 when unknown.
	Function func(name string) (address, size uint64)
	// CgroupRoot is the cgroup2 mount for cgroup programs; empty when there is
	// none, with CgroupError saying why.
	CgroupRoot  string
	CgroupError error
	// Tracefs is the tracefs mount; empty when there is none, with TracefsError
	// saying why.
	Tracefs      string
	TracefsError error
	// StatusChanged makes the engine ask for Status again and emit what changed.
	StatusChanged func()
	// Log takes diagnostics for developers; never nil.
	Log *slog.Logger

	// track makes the engine count the running time of a program as its own; own says that the program runs within this
	// process's system calls.
	track func(name string, program *cebpf.Program, own bool)
	// types are shared by the loads of all probes.
	types *kernelTypes
	// interrupted returns an error where the run ends while probes are attached: nothing is loaded any more.
	interrupted func() error
}
