package deferred

import (
	"time"

	"lostbeat/etw"
	"lostbeat/model"
)

// Opcodes of the PerfInfo class that this probe decodes.
const (
	opSample      = 46
	opThreadedDPC = 66
	opDPC         = 68
	opTimerDPC    = 69
	opIOTimer     = 70
)

// etwClass is the class of deferred work with an opcode.
func etwClass(opcode uint16) model.Class {
	switch opcode {
	case opThreadedDPC:
		return model.ClassThreadedDPC
	case opTimerDPC, opIOTimer:
		return model.ClassTimerDPC
	}
	return model.ClassDPC
}

// etwInterrupts are the records of ISRs: with them, what was nested in a DPC is known.
var etwInterrupts = []etw.Key{
	etw.Opcode(etw.ClassPerfInfo, 50),
	etw.Opcode(etw.ClassPerfInfo, 67),
	etw.Opcode(etw.ClassPerfInfo, 95),
}

// etwProbe decodes DPCs of Windows and, as secondary evidence, the profile
// samples that fell into one.
type etwProbe struct {
	d       *etw.Decoder
	runs    *etw.Runs
	samples []model.Profile
	// weak says that the capture has samples but no DPCs.
	weak bool
}

// NewETW returns the Windows half of the probe.
func NewETW() etw.Probe { return &etwProbe{} }

// Name implements etw.Probe.
func (p *etwProbe) Name() string { return "deferred" }

// Kinds implements etw.Probe.
func (p *etwProbe) Kinds() []model.Kind {
	return []model.Kind{model.KindDeferredHist, model.KindDeferredRun, model.KindProfile}
}

func etwDPCs() []etw.Key {
	return []etw.Key{
		etw.Opcode(etw.ClassPerfInfo, opThreadedDPC),
		etw.Opcode(etw.ClassPerfInfo, opDPC),
		etw.Opcode(etw.ClassPerfInfo, opTimerDPC),
		etw.Opcode(etw.ClassPerfInfo, opIOTimer),
	}
}

// Status implements etw.Probe.
func (p *etwProbe) Status(c etw.Census) []model.Probe {
	status := model.Probe{Name: p.Name(), State: model.ProbeOn}
	sampled := c.Has(etw.Opcode(etw.ClassPerfInfo, opSample))
	switch {
	case c.Has(etwDPCs()...):
	case sampled:
		status.State = model.ProbeDegraded
		status.Reason = "no DPC events in the capture: profile samples show how much time DPCs take, not which driver"
		status.Hint = "record with: xperf -on PROC_THREAD+LOADER+DPC+INTERRUPT (see docs/WINDOWS.md)"
	default:
		status.State = model.ProbeOff
		status.Reason = "no DPC events in the capture"
		status.Hint = "record with: xperf -on PROC_THREAD+LOADER+DPC+INTERRUPT (see docs/WINDOWS.md)"
	}
	return []model.Probe{status}
}

// Register implements etw.Probe.
func (p *etwProbe) Register(d *etw.Decoder) {
	p.d = d
	p.weak = !d.State.Census.Has(etwDPCs()...)
	p.runs = etw.NewRuns(d, d.State.Census.Has(etwInterrupts...), p.hist)
	d.HandlePassing(p.dpc, etwDPCs()...)
	d.HandlePassing(p.sample, etw.Opcode(etw.ClassPerfInfo, opSample))
	d.EveryInterval(p.profile)
}

// dpc decodes InitialTime, which is 8 bytes in the session's clock with any
// pointer size, and Routine. The record is written when the DPC completes.
func (p *etwProbe) dpc(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	initial, routine := f.U64(), f.Pointer()
	if f.Short() {
		return false
	}
	run, flags, ok := p.runs.Add(etw.RunKey{Class: etwClass(r.ID), Routine: routine}, initial, r, t)
	if !ok {
		return false
	}
	if whole := run.Whole; whole >= p.d.Threshold() {
		pid, tid := p.d.Running(r.CPU)
		p.d.Out.AddDeferredRun(
			model.DeferredRun{
				Time:      t,
				Dur:       whole,
				Flags:     flags | model.FlagWaitUnknown,
				CPU:       r.CPU,
				PID:       pid,
				TID:       tid,
				Class:     run.Class,
				Exclusive: run.Exclusive,
				Routine:   routine,
				Name:      run.Name,
				Driver:    run.Driver,
				Task:      p.d.Process(pid, t),
			},
		)
	}
	return true
}

func (p *etwProbe) hist(end model.Time, t *etw.Tally) {
	p.d.Out.AddDeferredHist(
		model.DeferredHist{
			Time:    end,
			Dur:     t.Dur,
			Flags:   t.Flags | model.FlagWaitUnknown,
			CPU:     t.CPU,
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

// Bits of a sample's flags.
const (
	sampleInDPC = 0x01
	sampleInISR = 0x02
)

// sample counts a profile sample: instruction pointer, thread, count, flags.
func (p *etwProbe) sample(r *etw.Record, _ model.Time) bool {
	f := r.Fields()
	f.Pointer()
	f.Skip(4 + 2)
	flags := f.U16()
	if f.Short() || r.CPU < 0 {
		return false
	}
	for int(r.CPU) >= len(p.samples) {
		p.samples = append(p.samples, model.Profile{CPU: int32(len(p.samples))})
	}
	s := &p.samples[r.CPU]
	s.Samples++
	if flags&sampleInDPC != 0 {
		s.DPCSamples++
	}
	if flags&sampleInISR != 0 {
		s.ISRSamples++
	}
	return true
}

// profile emits the samples of the interval.
func (p *etwProbe) profile(begin, end model.Time) {
	for i := range p.samples {
		s := &p.samples[i]
		if s.Samples == 0 {
			continue
		}
		s.Time, s.Dur = end, end.Sub(begin)
		if p.weak {
			s.Flags = model.FlagSecondary
		}
		p.d.Out.AddProfile(*s)
		*s = model.Profile{CPU: s.CPU}
	}
}
