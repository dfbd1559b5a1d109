package tui

import (
	"lostbeat/model"
)

// Names of the counters with which lostbeat reports on itself.
const (
	counterSelfCPU = "self.cpu"
	counterSelfRSS = "self.rss_bytes"
)

// apply adds one event of b.
func (s *State) apply(b *model.Batch, e *model.Event) {
	if e.Flags&model.FlagKeyframe != 0 && s.now != 0 {
		if d := e.Time.Sub(s.now); d < -jump { // a seek backwards
			s.clear()
		}
	}
	if s.started == 0 {
		s.started = e.Time
	}
	s.fold.ApplyEvent(b, e)
	s.now = max(s.now, e.Time)
	s.totals.events++
	if e.Flags&model.FlagKeyframe != 0 {
		s.applyHeld(b, e)
		return
	}
	f := s.frame(e.Time - 1)
	if f != nil {
		f.events++
	}
	switch e.Kind {
	case model.KindDeferredHist, model.KindInterruptHist:
		s.applyHist(b, e)
	case model.KindDeferredRun, model.KindInterruptRun:
		s.applyRun(b, e, f)
	case model.KindSoftnet, model.KindCPUTime:
		s.applyCPU(b, e)
	case model.KindNAPI, model.KindDeviceStats:
		s.applyDevice(b, e)
	case model.KindDrop:
		s.applyDrop(b, e)
	case model.KindSocketQueue:
		s.applySocket(b, e)
	case model.KindSchedHist:
		s.applyTask(b, e)
	case model.KindCounter:
		s.applyCounter(b, e)
	case model.KindPacket:
		s.applyPacket(b, e, f)
	case model.KindPortAcquire, model.KindPortRelease, model.KindPortFail:
		s.applyPort(b, e, f)
	case model.KindLoss:
		v, _ := b.Loss(e)
		s.totals.addLoss(v)
		if f != nil {
			f.lost += v.Lost
		}
	case model.KindDeviceEvent:
		v, _ := b.DeviceEvent(e)
		s.totals.addDeviceEvent(v)
	case model.KindPortAudit:
		v, _ := b.PortAudit(e)
		s.totals.audits[v.Netns] = v
	case model.KindRPCCall:
		v, _ := b.RPCCall(e)
		s.totals.addRPC(v)
	case model.KindRPCActive:
		v, _ := b.RPCActive(e)
		s.totals.addOpenRPC(v)
	default:
		s.applyHeld(b, e)
	}
}

// applyHeld adds an event that tells what holds, whether it is new or repeated
// by a keyframe.
func (s *State) applyHeld(b *model.Batch, e *model.Event) {
	switch e.Kind {
	case model.KindFinding:
		if v, ok := b.Finding(e); ok {
			s.putFinding(v)
		}
	case model.KindRPCEndpoint:
		v, _ := b.RPCEndpoint(e)
		s.totals.addEndpoint(v)
	}
}

func (s *State) applyHist(b *model.Batch, e *model.Event) {
	var k WorkKey
	var w Work
	var count, busy float32
	var wait, run *model.Histogram
	keys := &s.series.work
	if v, ok := b.DeferredHist(e); ok {
		k = WorkKey{CPU: v.CPU, Class: v.Class, Name: v.Name, Driver: v.Driver}
		w.MaxWait, w.MaxRun = float32(v.MaxWait), float32(v.MaxRun)
		count, busy, wait, run = float32(v.Count), float32(v.Busy)/float32(frameStep), v.WaitHist, v.RunHist
	} else if v, ok := b.InterruptHist(e); ok {
		keys = &s.series.interrupts
		k = WorkKey{CPU: v.CPU, Class: v.Class, Name: v.Name, Driver: v.Driver, IRQ: v.IRQ}
		w.MaxRun = float32(v.MaxRun)
		count, busy, run = float32(v.Count), float32(v.Busy)/float32(frameStep), v.RunHist
	}
	s.totals.addWork(k, uint64(count), uint64(float64(busy)*float64(frameStep)), uint64(w.MaxWait), uint64(w.MaxRun), run)
	series := keys.get(k, s.now, s.oldest())
	s.spread(e, func(f *frameBuilder, part float32) {
		t := &f.deferred
		if keys == &s.series.interrupts {
			t = &f.interrupts
		}
		sum := t.at(series)
		if sum == nil {
			return
		}
		sum.Count += count * part
		sum.Busy += busy * part
		sum.MaxWait, sum.MaxRun = max(sum.MaxWait, w.MaxWait), max(sum.MaxRun, w.MaxRun)
		sum.wait.Merge(wait)
		sum.run.Merge(run)
	})
}

func (s *State) applyRun(b *model.Batch, e *model.Event, f *frameBuilder) {
	if f == nil {
		return
	}
	if n := len(f.runs); n == maxRunsPerFrame && e.Dur <= f.runs[n-1].worst() {
		// With every run traced this is the usual case, so it comes before the
		// decoding; a run's wait counts as well and is argument 1.
		if e.Kind != model.KindDeferredRun || e.Args[model.ArgDeferredRunWait] <= uint64(f.runs[n-1].worst()) {
			return
		}
	}
	if v, ok := b.DeferredRun(e); ok {
		f.addRun(
			LongRun{
				Time:        v.Time,
				Wait:        v.Wait,
				Length:      v.Dur,
				CPU:         v.CPU,
				Class:       v.Class,
				WaitUnknown: v.Flags&model.FlagWaitUnknown != 0,
				Name:        v.Name,
				Driver:      v.Driver,
				Task:        v.Task,
				Before:      v.Before,
			},
		)
	} else if v, ok := b.InterruptRun(e); ok {
		f.addRun(LongRun{
			Time: v.Time, Length: v.Dur, CPU: v.CPU, Class: v.Class, WaitUnknown: true, Name: v.Name, Driver: v.Driver,
			Task: s.fold.ProcessName(v.PID),
		})
	}
}

func (s *State) applyCPU(b *model.Batch, e *model.Event) {
	if v, ok := b.Softnet(e); ok {
		series := s.series.softnet.get(CPUKey{v.CPU}, s.now, s.oldest())
		s.spread(e, func(f *frameBuilder, part float32) {
			if r := f.softnet.at(series); r != nil {
				*r = Softnet{
					r.Processed + part*float32(v.Processed),
					r.Dropped + part*float32(v.Dropped),
					r.Squeezed + part*float32(v.TimeSqueeze),
					r.RPS + part*float32(v.ReceivedRPS),
					r.FlowLimit + part*float32(v.FlowLimit),
					float32(v.BacklogPackets),
				}
			}
		})
		return
	}
	v, _ := b.CPUTime(e)
	series := s.series.cpus.get(CPUKey{v.CPU}, s.now, s.oldest())
	s.spread(e, func(f *frameBuilder, part float32) {
		if r := f.cpus.at(series); r != nil {
			*r = CPUTime{r.User + part*float32(v.User), r.System + part*float32(v.System), r.Softirq + part*float32(v.Softirq),
				r.IRQ + part*float32(v.IRQ), r.Idle + part*float32(v.Idle), r.Steal + part*float32(v.Steal)}
		}
	})
}

func (s *State) applyDevice(b *model.Batch, e *model.Event) {
	if v, ok := b.NAPI(e); ok {
		series := s.series.napi.get(NAPIKey{v.Device, v.Ifindex, v.CPU}, s.now, s.oldest())
		s.spread(e, func(f *frameBuilder, part float32) {
			if r := f.napi.at(series); r != nil {
				*r = NAPI{r.Polls + part*float32(v.Polls), r.Packets + part*float32(v.Packets), r.Full + part*float32(v.FullPolls),
					r.Threaded + part*float32(v.ThreadedPolls), max(r.Most, float32(v.MaxPackets))}
			}
		})
		return
	}
	v, _ := b.DeviceStats(e)
	series := s.series.devices.get(DeviceKey{v.Device, v.Ifindex}, s.now, s.oldest())
	s.spread(e, func(f *frameBuilder, part float32) {
		if r := f.devices.at(series); r != nil {
			*r = Device{
				r.RxPackets + part*float32(v.RXPackets),
				r.TxPackets + part*float32(v.TXPackets),
				r.RxDropped + part*float32(v.RXDropped),
				r.TxDropped + part*float32(
					v.TXDropped,
				),
				r.RxErrors + part*float32(v.RXErrors),
				r.RxBytes + part*float32(v.RXBytes),
			}
		}
	})
}

func (s *State) applyDrop(b *model.Batch, e *model.Event) {
	v, _ := b.Drop(e)
	k := DropKey{
		Place:    v.Place,
		Reason:   v.Reason,
		Device:   v.Device,
		Queue:    v.Queue,
		CPU:      -1,
		Protocol: v.Protocol,
		Port:     v.LocalPort,
		PID:      v.PID,
		Process:  v.Process,
		Location: v.Location,
	}
	if v.Place == model.PlaceRing || v.Place == model.PlaceBacklog {
		k.CPU = v.CPU
	}
	if k.Process == "" && k.PID > 0 {
		k.Process = s.fold.ProcessName(k.PID)
	}
	series := s.series.drops.get(k, s.now, s.oldest())
	s.totals.addDrop(series, v.Count)
	s.spread(e, func(f *frameBuilder, part float32) {
		if r := f.drops.at(series); r != nil {
			r.Rate += part * float32(v.Count)
		}
	})
}

func (s *State) applySocket(b *model.Batch, e *model.Event) {
	v, _ := b.SocketQueue(e)
	k := SocketKey{
		Cookie:   v.Cookie,
		Protocol: v.Protocol,
		Port:     v.LocalPort,
		Local:    v.LocalAddr,
		PID:      v.PID,
		Process:  v.Process,
	}
	if k.Process == "" {
		k.Process = s.fold.ProcessName(k.PID)
	}
	series := s.series.sockets.get(k, s.now, s.oldest())
	s.spread(e, func(f *frameBuilder, part float32) {
		if r := f.sockets.at(series); r != nil {
			*r = Socket{
				float32(v.QueuedBytes),
				float32(v.LimitBytes),
				r.Dropped + part*float32(v.Dropped),
				max(r.Idle, float32(v.Idle)),
			}
		}
	})
}

func (s *State) applyTask(b *model.Batch, e *model.Event) {
	v, _ := b.SchedHist(e)
	series := s.series.tasks.get(TaskKey{PID: v.PID, TID: v.TID, CPU: v.CPU, Name: v.Task}, s.now, s.oldest())
	s.spread(e, func(f *frameBuilder, part float32) {
		r := f.tasks.at(series)
		if r == nil {
			return
		}
		r.Wakeups += part * float32(v.Count)
		r.Run += part * float32(v.Run) / float32(frameStep)
		if float32(v.MaxWait) >= r.MaxWait {
			r.MaxWait, r.Blocker = float32(v.MaxWait), v.Blocker
		}
		r.wait.Merge(v.WaitHist)
	})
}

func (s *State) applyCounter(b *model.Batch, e *model.Event) {
	v, _ := b.Counter(e)
	switch v.Name {
	case counterSelfCPU:
		s.totals.selfCPU, s.totals.selfSeen = v.Value, true
		return
	case counterSelfRSS:
		s.totals.selfRSS, s.totals.selfSeen = v.Value, true
		return
	}
	k := CounterKey{Name: v.Name, Instance: v.Instance, Unit: v.Unit, CPU: v.CPU, Mode: v.Mode}
	value, known := s.totals.counter(k, v)
	if !known {
		return
	}
	series := s.series.counters.get(k, s.now, s.oldest())
	s.spread(e, func(f *frameBuilder, _ float32) {
		if len(f.counters.rows) >= maxCounterSeries && f.counters.index[series.ID] == 0 {
			return
		}
		if r := f.counters.at(series); r != nil {
			r.Value = value
		}
	})
}

func (s *State) applyPacket(b *model.Batch, e *model.Event, f *frameBuilder) {
	v, _ := b.Packet(e)
	k := FlowKey{
		Protocol:  v.Protocol,
		Local:     v.LocalAddr,
		Peer:      v.RemoteAddr,
		LPort:     v.LocalPort,
		Port:      v.RemotePort,
		Direction: v.Direction,
		PID:       v.PID,
		Process:   v.Process,
	}
	if k.Process == "" {
		k.Process = s.fold.ProcessName(k.PID)
	}
	s.totals.addPacket(k, v)
	if f == nil {
		return
	}
	if r := f.flows.at(s.series.flows.get(k, s.now, s.oldest())); r != nil {
		r.Packets++
		r.Bytes += float32(v.SizeBytes)
	}
}

// applyPort counts what happened to the pools; what is held stands in s.fold.
func (s *State) applyPort(b *model.Batch, e *model.Event, f *frameBuilder) {
	var protocol model.Protocol
	var netns int64
	var port uint16
	if v, ok := b.PortFail(e); ok {
		protocol, netns, port = v.Protocol, v.Netns, v.LocalPort
		s.totals.addRefused(v, s.fold.ProcessName(v.PID))
	} else if v, ok := b.PortAcquire(e); ok {
		if v.How == model.HowAccept {
			return
		}
		protocol, netns, port = v.Protocol, v.Netns, v.LocalPort
	} else if v, ok := b.PortRelease(e); ok {
		protocol, netns, port = v.Protocol, v.Netns, v.LocalPort
	}
	if f == nil {
		return
	}
	for key, p := range s.fold.Pools {
		anyPort := port == 0 && p.Source == model.PoolEphemeral && p.Protocol == protocol &&
			(p.Netns == 0 || p.Netns == netns)
		if !anyPort && !p.Contains(protocol, netns, port) {
			continue
		}
		r := f.pools.at(s.series.pools.get(PoolKey(key), s.now, s.oldest()))
		if r == nil {
			continue
		}
		switch e.Kind {
		case model.KindPortFail:
			r.Refused++
		case model.KindPortAcquire:
			r.Taken++
		case model.KindPortRelease:
			r.Released++
		}
	}
}
