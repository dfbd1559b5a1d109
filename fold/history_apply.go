package fold

import (
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// Names of the counters with which lostbeat reports on itself.
const (
	CounterSelfCPU = "self.cpu"
	CounterSelfRSS = "self.rss_bytes"
	// CounterSelfKernel is an estimate of the time that its programs take in the kernel.
	CounterSelfKernel = "self.kernel_cpu"
)

// historySeries are the interned keys of all series.
type historySeries struct {
	work, interrupts seriesSet[WorkSeries]
	cpus, softnet    seriesSet[CPUSeries]
	napi             seriesSet[NAPISeries]
	devices          seriesSet[DeviceSeries]
	drops            seriesSet[DropSeries]
	sockets          seriesSet[SocketSeries]
	tasks            seriesSet[TaskSeries]
	counters         seriesSet[CounterSeries]
	flows            seriesSet[FlowSeries]
	pools            seriesSet[PoolSeries]
	holders          seriesSet[HolderSeries]
}

// seek says that only a seek backwards can have brought e.
func (h *History) seek(e *model.Event) bool {
	return e.Flags&model.FlagKeyframe != 0 && h.now != 0 && e.Time.Sub(h.now) < -seekGap
}

// note takes up that there is an event, whatever its kind. It returns whether
// the event says what happened, rather than what holds at a keyframe.
func (h *History) note(e *model.Event) (happened bool) {
	if h.seek(e) {
		h.clear()
	}
	if h.started == 0 || e.Time/FrameStep > h.now/FrameStep {
		h.dirty.Store(true) // a second is over, and its frame is shown
	}
	if h.started == 0 {
		h.started = e.Time
	}
	h.changed.Store(true)
	h.now = max(h.now, e.Time)
	h.totals.events++
	if t := heldBy(e.Kind); t != 0 {
		h.held.known &^= t
		if t&heldProbes != 0 && e.Kind == model.KindProbe {
			h.dirty.Store(true)
		}
	}
	if e.Flags&model.FlagKeyframe != 0 {
		h.at = nil
		return false
	}
	if h.at = h.frame(e.Time - 1); h.at != nil {
		h.at.events++
	}
	return true
}

// hold adds an event that says what holds, whether it is new or repeated by a
// keyframe.
func (h *History) hold(b *model.Batch, e *model.Event) {
	if v, ok := b.Finding(e); ok {
		h.finding(v)
	}
}

// historyWork is what deferred work and interrupts have in common.
type historyWork struct {
	end                     model.Time
	span                    time.Duration
	count                   uint64
	busy                    time.Duration
	measured                Measured
	wait, run               *model.Histogram
	longestWait, longestRun time.Duration
}

func (h *History) deferredHist(v *model.DeferredHist) {
	w := historyWork{
		end: v.Time, span: v.Dur, count: v.Count, busy: v.Busy, wait: v.WaitHist, run: v.RunHist,
		longestWait: v.MaxWait, longestRun: v.MaxRun, measured: Seen,
	}
	if v.MaxWait > 0 || v.WaitHist != nil {
		w.measured |= MeasuredWait
	}
	k := WorkSeries{CPU: v.CPU, Class: v.Class, Name: v.Name, Driver: v.Driver}
	h.addWork(k, &h.series.work, w, func(f *frameBuilder) *frameTable[WorkSeries, workSum] {
		return &f.deferred
	})
}

func (h *History) interruptHist(v *model.InterruptHist) {
	w := historyWork{
		end: v.Time, span: v.Dur, count: v.Count, busy: v.Busy, run: v.RunHist, longestRun: v.MaxRun, measured: Seen,
	}
	k := WorkSeries{CPU: v.CPU, Class: v.Class, Name: v.Name, Driver: v.Driver, IRQ: v.IRQ}
	h.addWork(k, &h.series.interrupts, w, func(f *frameBuilder) *frameTable[WorkSeries, workSum] {
		return &f.interrupts
	})
}

func (h *History) addWork(
	k WorkSeries,
	keys *seriesSet[WorkSeries],
	w historyWork,
	table func(*frameBuilder) *frameTable[WorkSeries, workSum],
) {
	if w.run != nil {
		w.measured |= MeasuredRunTimes
	}
	if w.wait != nil {
		w.measured |= MeasuredWaitTimes
	}
	h.totals.addWork(k, w)
	series, busy := keys.get(k, h.now, h.oldest()), float32(w.busy)/float32(FrameStep)
	h.spread(w.end, w.span, func(f *frameBuilder, part float32) {
		sum := table(f).at(series)
		if sum == nil {
			return
		}
		sum.Measured |= w.measured
		sum.Count += float32(w.count) * part
		sum.Busy += busy * part
		sum.MaxWait, sum.MaxRun = max(sum.MaxWait, float32(w.longestWait)), max(sum.MaxRun, float32(w.longestRun))
		sum.wait.Merge(w.wait)
		sum.run.Merge(w.run)
	})
}

// keepsRun says that a single run is among the worst of its second so far. With
// every run traced it usually is not, so this comes before the decoding.
func (h *History) keepsRun(length time.Duration, wait uint64) bool {
	if h.at == nil {
		return false
	}
	n := len(h.at.runs)
	return n < maxRunsPerFrame || length > h.at.runs[n-1].Worst() || wait > uint64(h.at.runs[n-1].Worst())
}

func (h *History) deferredRun(v *model.DeferredRun) {
	if h.at == nil {
		return
	}
	h.at.addRun(
		FrameRun{
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
}

func (h *History) interruptRun(v *model.InterruptRun) {
	if h.at == nil {
		return
	}
	h.at.addRun(FrameRun{
		Time: v.Time, Length: v.Dur, CPU: v.CPU, Class: v.Class, WaitUnknown: true, Name: v.Name, Driver: v.Driver,
		Task: h.state.ProcessName(v.PID),
	})
}

func (h *History) softnet(v *model.Softnet) {
	series := h.series.softnet.get(CPUSeries{v.CPU}, h.now, h.oldest())
	h.spread(v.Time, v.Dur, func(f *frameBuilder, part float32) {
		if r := f.softnet.at(series); r != nil {
			*r = FrameSoftnet{
				Processed: r.Processed + part*float32(v.Processed),
				Dropped:   r.Dropped + part*float32(v.Dropped),
				Squeezed:  r.Squeezed + part*float32(v.TimeSqueeze),
				RPS:       r.RPS + part*float32(v.ReceivedRPS),
				FlowLimit: r.FlowLimit + part*float32(v.FlowLimit),
				Backlog:   float32(v.BacklogPackets),
				Measured:  Seen,
			}
		}
	})
}

func (h *History) cpuTime(v *model.CPUTime) {
	series := h.series.cpus.get(CPUSeries{v.CPU}, h.now, h.oldest())
	h.spread(v.Time, v.Dur, func(f *frameBuilder, part float32) {
		if r := f.cpus.at(series); r != nil {
			*r = FrameCPU{
				User:     r.User + part*float32(v.User),
				System:   r.System + part*float32(v.System),
				Softirq:  r.Softirq + part*float32(v.Softirq),
				IRQ:      r.IRQ + part*float32(v.IRQ),
				Idle:     r.Idle + part*float32(v.Idle),
				Steal:    r.Steal + part*float32(v.Steal),
				Measured: Seen,
			}
		}
	})
}

func (h *History) napi(v *model.NAPI) {
	series := h.series.napi.get(NAPISeries{v.NetnsInode, v.Device, v.Ifindex, v.CPU}, h.now, h.oldest())
	h.spread(v.Time, v.Dur, func(f *frameBuilder, part float32) {
		if r := f.napi.at(series); r != nil {
			*r = FrameNAPI{
				Polls:    r.Polls + part*float32(v.Polls),
				Packets:  r.Packets + part*float32(v.Packets),
				Full:     r.Full + part*float32(v.FullPolls),
				Threaded: r.Threaded + part*float32(v.ThreadedPolls),
				Most:     max(r.Most, float32(v.MaxPackets)),
				Measured: Seen,
			}
		}
	})
}

func (h *History) deviceStats(v *model.DeviceStats) {
	series := h.series.devices.get(DeviceSeries{v.NetnsInode, v.Device, v.Ifindex}, h.now, h.oldest())
	h.spread(v.Time, v.Dur, func(f *frameBuilder, part float32) {
		if r := f.devices.at(series); r != nil {
			*r = FrameDevice{
				RxPackets: r.RxPackets + part*float32(v.RXPackets),
				TxPackets: r.TxPackets + part*float32(v.TXPackets),
				RxDropped: r.RxDropped + part*float32(v.RXDropped),
				TxDropped: r.TxDropped + part*float32(v.TXDropped),
				RxErrors:  r.RxErrors + part*float32(v.RXErrors),
				RxBytes:   r.RxBytes + part*float32(v.RXBytes),
				Measured:  Seen,
			}
		}
	})
}

func (h *History) drop(v *model.Drop) {
	k := DropSeries{
		Netns:    v.NetnsInode,
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
		k.Process = h.state.ProcessName(k.PID)
	}
	series := h.series.drops.get(k, h.now, h.oldest())
	h.totals.addDrop(v.Place, series, v.Count)
	h.spread(v.Time, v.Dur, func(f *frameBuilder, part float32) {
		if r := f.drops.at(series); r != nil {
			r.Rate += part * float32(v.Count)
			r.Measured = Seen
		}
	})
}

func (h *History) socketQueue(v *model.SocketQueue) {
	k := SocketSeries{
		Cookie:   v.Cookie,
		Protocol: v.Protocol,
		Port:     v.LocalPort,
		Local:    v.LocalAddr,
		PID:      v.PID,
		Process:  v.Process,
	}
	if k.Process == "" {
		k.Process = h.state.ProcessName(k.PID)
	}
	measured := Seen
	if v.Idle > 0 {
		measured |= MeasuredWait
	}
	series := h.series.sockets.get(k, h.now, h.oldest())
	h.spread(v.Time, v.Dur, func(f *frameBuilder, part float32) {
		if r := f.sockets.at(series); r != nil {
			*r = FrameSocket{
				Queued:   float32(v.QueuedBytes),
				Limit:    float32(v.LimitBytes),
				Dropped:  r.Dropped + part*float32(v.Dropped),
				Idle:     max(r.Idle, float32(v.Idle)),
				Measured: r.Measured | measured,
			}
		}
	})
}

func (h *History) schedHist(v *model.SchedHist) {
	measured := Seen
	if v.WaitHist != nil {
		measured |= MeasuredWait | MeasuredWaitTimes
	}
	if v.Run > 0 {
		measured |= MeasuredRunTimes
	}
	k := TaskSeries{PID: v.PID, TID: v.TID, CPU: v.CPU, Name: v.Task}
	series := h.series.tasks.get(k, h.now, h.oldest())
	h.spread(v.Time, v.Dur, func(f *frameBuilder, part float32) {
		r := f.tasks.at(series)
		if r == nil {
			return
		}
		r.Measured |= measured
		r.Wakeups += part * float32(v.Count)
		r.Run += part * float32(v.Run) / float32(FrameStep)
		if float32(v.MaxWait) >= r.MaxWait {
			r.MaxWait, r.Blocker = float32(v.MaxWait), v.Blocker
		}
		r.wait.Merge(v.WaitHist)
	})
}

func (h *History) counter(v *model.Counter) {
	switch v.Name {
	case CounterSelfCPU:
		h.totals.selfCPU, h.totals.selfSeen = v.Value, true
		return
	case CounterSelfKernel:
		h.totals.selfKernel = v.Value
		return
	case CounterSelfRSS:
		h.totals.selfRSS, h.totals.selfSeen = v.Value, true
		return
	}
	k := CounterSeries{Name: v.Name, Instance: v.Instance, Unit: v.Unit, CPU: v.CPU, Mode: v.Mode}
	value, known := h.totals.counter(k, *v)
	if !known {
		return
	}
	series := h.series.counters.get(k, h.now, h.oldest())
	h.spread(v.Time, v.Dur, func(f *frameBuilder, _ float32) {
		if len(f.counters.rows) >= maxCounterSeries && !f.counters.has(series) {
			return
		}
		if r := f.counters.at(series); r != nil {
			*r = FrameCounter{value, Seen}
		}
	})
}

// beat counts what was read or sent of a followed flow; packets 0 is a read of what has been counted.
func (h *History) beat(b *Beat, packets float32, bytes uint64) {
	h.totals.changed |= totalBeats
	if h.at == nil {
		return
	}
	if r := h.at.flows.at(h.series.flows.get(b.series(h.state), h.now, h.oldest())); r != nil {
		r.Packets += packets
		r.Bytes += float32(bytes)
		r.Gap = max(r.Gap, float32(b.gap))
		r.Measured = Seen
	}
}

func (h *History) packetRead(v *model.PacketRead, b *Beat) {
	if b.Packets == 0 {
		h.beat(b, 1, v.SizeBytes) // it was not seen to arrive
		return
	}
	h.beat(b, 0, 0)
}

// packet takes up a packet; b is the followed flow that it is of, nil for none.
func (h *History) packet(v *model.Packet, b *Beat) {
	if b != nil {
		h.beat(b, 1, v.SizeBytes)
		return
	}
	k := FlowSeries{
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
		k.Process = h.state.ProcessName(k.PID)
	}
	h.totals.addPacket(k, *v)
	if h.at == nil {
		return
	}
	if r := h.at.flows.at(h.series.flows.get(k, h.now, h.oldest())); r != nil {
		r.Packets++
		r.Bytes += float32(v.SizeBytes)
		r.Measured = Seen
	}
}

// port counts a port that was taken or given back.
func (h *History) port(kind model.Kind, p *state.Port) {
	switch {
	case kind == model.KindPortAcquire && p.How != model.HowAccept:
		h.countPort(p.Protocol, p.Netns, p.LocalPort, func(p *FramePool) { p.Taken++ })
	case kind == model.KindPortRelease:
		h.countPort(p.Protocol, p.Netns, p.LocalPort, func(p *FramePool) { p.Released++ })
	}
}

func (h *History) portFail(v model.PortFail) {
	h.totals.addRefused(v, h.state.ProcessName(v.PID))
	h.countPort(v.Protocol, v.Netns, v.LocalPort, func(p *FramePool) { p.Refused++ })
}

// countPort counts what happened to a port in the pools that it belongs to; what
// is held stands in the state.
func (h *History) countPort(protocol model.Protocol, netns int64, port uint16, count func(*FramePool)) {
	if h.at == nil {
		return
	}
	for _, p := range h.sortedPools() {
		anyPort := port == 0 && p.Source == model.PoolEphemeral && p.Protocol == protocol &&
			(p.Netns == 0 || p.Netns == netns)
		if !anyPort && !p.Contains(protocol, netns, port) {
			continue
		}
		if r := h.at.pools.at(h.poolSeries(p)); r != nil {
			r.Measured |= Seen
			count(r)
		}
	}
}

func (h *History) loss(v model.Loss) {
	h.totals.addLoss(v)
	if h.at != nil {
		h.at.lost += v.Lost
	}
}
