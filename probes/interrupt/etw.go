package interrupt

import (
	"time"

	"lostbeat/etw"
	"lostbeat/model"
)

// Opcodes of the PerfInfo class that this probe decodes.
const (
	opISRMSI     = 50
	opISR        = 67
	opISRPassive = 95
)

// etwProbe decodes interrupt service routines of Windows.
type etwProbe struct {
	d    *etw.Decoder
	runs *etw.Runs
}

// NewETW returns the Windows half of the probe.
func NewETW() etw.Probe { return &etwProbe{} }

// Name implements etw.Probe.
func (p *etwProbe) Name() string { return "interrupt" }

// Kinds implements etw.Probe.
func (p *etwProbe) Kinds() []model.Kind {
	return []model.Kind{model.KindInterruptHist, model.KindInterruptRun}
}

func etwISRs() []etw.Key {
	return []etw.Key{
		etw.Opcode(etw.ClassPerfInfo, opISRMSI),
		etw.Opcode(etw.ClassPerfInfo, opISR),
		etw.Opcode(etw.ClassPerfInfo, opISRPassive),
	}
}

// Status implements etw.Probe.
func (p *etwProbe) Status(c etw.Census) []model.Probe {
	if c.Has(etwISRs()...) {
		return []model.Probe{{Name: p.Name(), State: model.ProbeOn}}
	}
	return []model.Probe{
		{
			Name:   p.Name(),
			State:  model.ProbeOff,
			Reason: "no ISR events in the capture",
			Hint:   "record with: xperf -on PROC_THREAD+LOADER+DPC+INTERRUPT (see docs/WINDOWS.md)",
		},
	}
}

// Register implements etw.Probe.
func (p *etwProbe) Register(d *etw.Decoder) {
	p.d = d
	p.runs = etw.NewRuns(d, true, p.hist)
	d.HandlePassing(p.isr, etwISRs()...)
}

// isr decodes InitialTime (8 bytes in the session's clock), Routine, then
// ReturnValue and Vector; a message number may follow.
func (p *etwProbe) isr(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	initial, routine := f.U64(), f.Pointer()
	var handled bool
	var vector uint16
	if r.Version < 2 {
		handled = f.U32() != 0
	} else {
		handled = f.U8() != 0
		vector = f.U16()
	}
	if f.Short() {
		return false
	}
	class := model.ClassISR
	if r.ID == opISRMSI {
		class = model.ClassISRMSI
	}
	run, flags, ok := p.runs.Add(etw.RunKey{Class: class, Routine: routine, Vector: vector}, initial, r, t)
	if !ok {
		return false
	}
	if whole := run.Whole; whole >= p.d.Threshold() {
		pid, tid := p.d.Running(r.CPU)
		p.d.Out.AddInterruptRun(
			model.InterruptRun{
				Time:      t,
				Dur:       whole,
				Flags:     flags,
				CPU:       r.CPU,
				PID:       pid,
				TID:       tid,
				IRQ:       int64(vector),
				Class:     class,
				Exclusive: run.Exclusive,
				Routine:   routine,
				Handled:   handled,
				Name:      run.Name,
				Driver:    run.Driver,
			},
		)
	}
	return true
}

func (p *etwProbe) hist(end model.Time, t *etw.Tally) {
	p.d.Out.AddInterruptHist(
		model.InterruptHist{
			Time:    end,
			Dur:     t.Dur,
			Flags:   t.Flags,
			CPU:     t.CPU,
			IRQ:     int64(t.Vector),
			Class:   t.Class,
			Count:   t.Histogram.Count,
			Busy:    time.Duration(t.Histogram.Sum),
			MaxRun:  time.Duration(t.Histogram.Max),
			Name:    t.Name,
			Driver:  t.Driver,
			RunHist: &t.Histogram,
		},
	)
}
