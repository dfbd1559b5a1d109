package sched

import (
	"lostbeat/etw"
	"lostbeat/model"
)

// opSwitch is the opcode of a context switch in the Thread class.
const opSwitch = 36

// etwProbe decodes context switches of Windows. They are emitted only when
// asked for; which thread a DPC interrupted is taken from them always.
type etwProbe struct{ d *etw.Decoder }

// NewETW returns the Windows half of the probe.
func NewETW() etw.Probe { return &etwProbe{} }

// Name implements etw.Probe.
func (p *etwProbe) Name() string { return "sched" }

// Kinds implements etw.Probe.
func (p *etwProbe) Kinds() []model.Kind { return []model.Kind{model.KindSchedSwitch} }

// Status implements etw.Probe.
func (p *etwProbe) Status(c etw.Census) []model.Probe {
	if c.Has(etw.Opcode(etw.ClassThread, opSwitch)) {
		return []model.Probe{{Name: p.Name(), State: model.ProbeOn}}
	}
	return []model.Probe{
		{
			Name:   p.Name(),
			State:  model.ProbeOff,
			Reason: "no context switches in the capture: cannot tell what a DPC interrupted",
			Hint:   "record with: xperf -on PROC_THREAD+LOADER+DPC+INTERRUPT+CSWITCH (see docs/WINDOWS.md)",
		},
	}
}

// Register implements etw.Probe.
func (p *etwProbe) Register(d *etw.Decoder) {
	p.d = d
	d.HandlePassing(p.cswitch, etw.Opcode(etw.ClassThread, opSwitch))
}

// cswitch decodes new and old thread, and the old thread's state. The new
// thread's wait is left out: its unit is not documented.
func (p *etwProbe) cswitch(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	next, old := f.PID(), f.PID()
	f.Skip(6)
	state := f.U8()
	if f.Short() {
		return false
	}
	p.d.Switched(r.CPU, next)
	if p.d.Options.Switches {
		pid := p.d.ProcessOf(next)
		if next == 0 {
			pid = 0
		}
		p.d.Out.AddSchedSwitch(
			model.SchedSwitch{
				Time:     t,
				CPU:      r.CPU,
				PID:      pid,
				TID:      next,
				OldTID:   int64(old),
				OldState: int64(state),
				Process:  p.d.Process(pid, t),
			},
		)
	}
	return true
}
