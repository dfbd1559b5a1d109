package etw

import (
	"encoding/hex"
	"maps"

	"lostbeat/model"
)

// registerSystem adds the handlers of what every capture has: processes,
// threads, images, the host's configuration and lost events.
func (d *Decoder) registerSystem() {
	d.Handle(
		d.process,
		Opcode(ClassProcess, opStart),
		Opcode(ClassProcess, opEnd),
		Opcode(ClassProcess, opDCStart),
		Opcode(ClassProcess, opDCEnd),
	)
	d.Handle(
		d.thread,
		Opcode(ClassThread, opStart),
		Opcode(ClassThread, opEnd),
		Opcode(ClassThread, opDCStart),
		Opcode(ClassThread, opDCEnd),
	)
	d.Handle(
		d.image,
		Opcode(ClassImage, opLoad),
		Opcode(ClassImage, opEnd),
		Opcode(ClassImage, opDCStart),
		Opcode(ClassImage, opDCEnd),
	)
	d.HandlePassing(d.lost, Opcode(ClassLost, 32), Opcode(ClassLost, 33), Opcode(ClassLost, 34))
	d.HandlePassing(d.schema, Opcode(ClassEventInfo, 32), Opcode(ClassEventInfo, 33))
	if d.State.live {
		d.HandlePassing(d.config,
			Opcode(ClassSystemConfig, 10), Opcode(ClassSystemConfig, 13), Opcode(ClassSystemConfigEx, 32))
	}
}

// config takes what a live session says of the host.
func (d *Decoder) config(r *Record, t model.Time) bool {
	adapters := len(d.State.Host.Adapters)
	if r.Class == ClassSystemConfigEx {
		d.State.systemConfigEx(r)
	} else {
		d.State.systemConfig(r)
	}
	for _, a := range d.State.Host.Adapters[min(adapters, len(d.State.Host.Adapters)):] {
		d.Out.AddDeviceConfig(a.Config(t))
	}
	return true
}

func (d *Decoder) process(r *Record, t model.Time) bool {
	p, ok := parseProcess(r)
	if !ok {
		return false
	}
	state := model.ProcessActive
	started := model.Time(0)
	name, known := d.known[p.PID]
	switch r.ID {
	case opStart:
		state, started = model.ProcessStarted, t
	case opEnd:
		state = model.ProcessExited
		delete(d.known, p.PID)
	default:
		if known && name == p.Name {
			return true // the rundown at the end repeats what is known
		}
	}
	if r.ID != opEnd {
		d.known[p.PID] = p.Name
	}
	d.State.processes.learn(p, r.ID, t, d.State.live)
	d.Out.AddProcess(
		model.Process{
			Time:    t,
			PID:     p.PID,
			TID:     -1,
			State:   state,
			PPID:    int64(p.Parent),
			Started: started,
			Name:    p.Name,
			Cmdline: p.Command,
		},
	)
	return true
}

// learn adds a process that no survey has seen. Live there was none, and what has ended is forgotten when its number
// is used again.
func (m *processes) learn(p process, op uint16, t model.Time, live bool) {
	if m.lives == nil {
		m.lives = make(map[int32][]process)
	}
	if live && op == opStart {
		delete(m.lives, p.PID)
	}
	if live && len(m.lives) >= maxProcesses {
		maps.DeleteFunc(m.lives, func(_ int32, lives []process) bool { return lives[len(lives)-1].to < t })
	}
	if live && op == opEnd {
		if lives := m.lives[p.PID]; len(lives) > 0 {
			lives[len(lives)-1].to = t
			return
		}
	}
	if _, ok := m.lives[p.PID]; !ok && len(m.lives) < maxProcesses {
		m.apply(lifeRecord{p, t, op})
	}
}

func (d *Decoder) thread(r *Record, _ model.Time) bool {
	th, ok := parseThread(r)
	if !ok {
		return false
	}
	if (r.ID == opStart || r.ID == opDCStart) && len(d.State.threads) < maxThreads {
		d.State.threads[th.TID] = th.PID
	}
	if r.ID == opEnd && d.State.live {
		delete(d.State.threads, th.TID)
	}
	return true
}

func (d *Decoder) image(r *Record, t model.Time) bool {
	img, ok := parseImage(r)
	if !ok {
		return false
	}
	if img.PID == 0 && r.ID == opEnd {
		clear(d.symbols)
	}
	if d.State.live {
		d.State.images.learn(img, r.ID, t)
	}
	d.Out.AddImage(
		model.Image{
			Time:      t,
			PID:       img.PID,
			TID:       -1,
			Base:      img.Base,
			SizeBytes: img.Size,
			Unloaded:  r.ID == opEnd,
			File:      img.File,
		},
	)
	return true
}

func (d *Decoder) lost(r *Record, t model.Time) bool {
	detail := map[uint16]string{32: "an event", 33: "a buffer", 34: "a real-time buffer file"}[r.ID]
	d.Out.AddLoss(
		model.Loss{Time: t, CPU: r.CPU, Lost: 1, Origin: "etw", Detail: "the session reports that it lost " + detail},
	)
	return true
}

// schema takes embedded schemas, which the survey has read, out of the stream.
func (d *Decoder) schema(r *Record, _ model.Time) bool {
	if d.State.Census == nil {
		d.State.schemas.survey(r)
	}
	return true
}

// parseImage decodes load, unload and rundown records, versions 0 to 3.
func parseImage(r *Record) (img Image, ok bool) {
	switch r.ID {
	case opLoad, opEnd, opDCStart, opDCEnd:
	default:
		return img, false
	}
	f := r.Fields()
	img.Base = f.Pointer()
	if r.Version == 0 {
		img.Size = uint64(f.U32())
	} else {
		img.Size = f.Pointer()
		img.PID = f.PID()
	}
	if r.Version >= 2 {
		f.Skip(12) // checksum, time stamp, signature level
		f.Pointer()
		f.Skip(16)
	}
	img.File = f.UTF16()
	return img, !f.Short()
}

// parseProcess decodes start, end and rundown records, versions 0 to 5.
func parseProcess(r *Record) (p process, ok bool) {
	switch r.ID {
	case opStart, opEnd, opDCStart, opDCEnd, opDefunct:
	default:
		return p, false
	}
	f := r.Fields()
	if r.Version == 0 {
		p.PID = int32(f.Pointer())
		p.Parent = int32(f.Pointer())
		f.SID()
		p.Name = f.ANSI()
		return p, !f.Short()
	}
	f.Pointer() // unique key, or page directory
	p.PID = f.PID()
	p.Parent = f.PID()
	f.Skip(8) // session, exit status
	if r.Version >= 3 {
		f.Pointer() // page directory
	}
	if r.Version >= 4 {
		f.Skip(4) // flags
	}
	f.SID()
	p.Name = f.ANSI()
	ok = !f.Short()
	if r.Version >= 2 {
		p.Command = f.UTF16()
	}
	return p, ok
}

// thread is a thread and its process.
type thread struct{ PID, TID int32 }

// parseThread decodes the first two fields of start, end and rundown records.
func parseThread(r *Record) (th thread, ok bool) {
	if r.ID < opStart || r.ID > opDCEnd {
		return th, false
	}
	f := r.Fields()
	th.PID, th.TID = f.PID(), f.PID()
	if r.Version == 0 {
		th.PID, th.TID = th.TID, th.PID
	}
	return th, !f.Short()
}

// systemConfig takes the computer's name and its adapters.
func (s *State) systemConfig(r *Record) {
	f := r.Fields()
	switch r.ID {
	case 10: // CPU
		h := Host{
			MHz:        f.U32(),
			Processors: f.U32(),
			MemoryMB:   f.U32(),
			Adapters:   s.Host.Adapters,
			BuildLab:   s.Host.BuildLab,
			Product:    s.Host.Product,
		}
		f.Skip(8)
		h.Computer, _ = decodeUTF16(f.Bytes(512))
		h.Domain, _ = decodeUTF16(f.Bytes(268))
		if !f.Short() {
			s.Host = h
		}
	case 13: // network adapter
		if r.Version < 2 || len(s.Host.Adapters) >= 1024 {
			return
		}
		mac := f.Bytes(8)
		length := f.U32()
		a := Adapter{Index: f.U32()}
		f.Skip(4)
		a.Description, a.Addresses = f.UTF16(), f.UTF16()
		if !f.Short() {
			a.MAC = hex.EncodeToString(mac[:min(length, 8)])
			s.Host.Adapters = append(s.Host.Adapters, a)
		}
	}
}

// Config returns the adapter as an event.
func (a *Adapter) Config(t model.Time) model.DeviceConfig {
	return model.DeviceConfig{Time: t, Ifindex: int64(a.Index), Device: a.Description, RingSource: "not in the capture"}
}

// systemConfigEx takes the version of Windows.
func (s *State) systemConfigEx(r *Record) {
	if r.ID != 32 {
		return
	}
	f := r.Fields()
	f.Skip(8)
	lab, product := f.UTF16(), f.UTF16()
	if !f.Short() {
		s.Host.BuildLab, s.Host.Product = lab, product
	}
}
