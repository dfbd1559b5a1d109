package fold

import (
	"strings"
	"time"

	"lostbeat/model"
)

func (w *Fold) applyDeferredHist(v *model.DeferredHist) {
	if v.CPU < 0 || v.Flags&model.FlagSecondary != 0 {
		return // shares of counter logs are judged in perfmon.go, over the whole log
	}
	f := Work{
		Class:            v.Class,
		Name:             v.Name,
		Driver:           v.Driver,
		covered:          v.Dur,
		Busy:             v.Busy,
		Count:            v.Count,
		MaxWait:          v.MaxWait,
		Held:             countAbove(v.WaitHist, w.limits.HeldWait),
		MaxRun:           v.MaxRun,
		WorstRoutine:     v.Name,
		WorstRoutineTime: v.MaxRun,
	}
	if v.WaitHist != nil {
		f.Waited = time.Duration(v.WaitHist.Sum)
	}
	f.OverLimit = countAbove(v.RunHist, w.limits.DPCGuideline)
	second := w.second(v.CPU)
	if second == nil {
		return
	}
	n := len(second.Work)
	mergeWork(&second.Work, &f)
	list(&w.room, "kinds of deferred work", &second.Work, n, listedBytes)
}

func (w *Fold) applyInterruptHist(v *model.InterruptHist) {
	if v.CPU < 0 || v.Flags&model.FlagSecondary != 0 {
		return
	}
	f := Work{
		Class:            v.Class,
		Name:             v.Name,
		Driver:           v.Driver,
		covered:          v.Dur,
		Busy:             v.Busy,
		Count:            v.Count,
		MaxRun:           v.MaxRun,
		WorstRoutine:     v.Name,
		WorstRoutineTime: v.MaxRun,
		OverLimit:        countAbove(v.RunHist, w.limits.ISRGuideline),
	}
	second := w.second(v.CPU)
	if second == nil {
		return
	}
	n := len(second.IRQs)
	mergeWork(&second.IRQs, &f)
	list(&w.room, "interrupts", &second.IRQs, n, listedBytes)
}

func (w *Fold) applyNAPI(v *model.NAPI) {
	if v.CPU < 0 {
		return
	}
	if second := w.second(v.CPU); second != nil {
		k := DeviceKey{Netns: v.NetnsInode, Ifindex: v.Ifindex, Name: v.Device}
		n := len(second.NAPI)
		mergeNAPI(&second.NAPI, NAPI{k, v.Dur, v.Polls, v.Packets, v.FullPolls, v.ThreadedPolls, v.MaxPackets})
		list(&w.room, "devices polled", &second.NAPI, n, listedBytes)
	}
}

func (w *Fold) applySoftnet(v *model.Softnet) {
	if v.CPU < 0 {
		return
	}
	c := w.cpu(v.CPU)
	c.Seconds[w.Slot].Softnet.add(
		Softnet{v.Dur, v.Processed, v.Dropped, v.TimeSqueeze, v.ReceivedRPS, v.BacklogPackets, min(v.FlowLimit, v.Dropped)},
	)
	c.Processed += v.Processed
	c.Dropped += v.Dropped
	c.Squeezed += v.TimeSqueeze
}

func (w *Fold) applySchedHist(v *model.SchedHist) {
	if v.CPU >= 0 && strings.HasPrefix(v.Task, "ksoftirqd/") {
		w.cpu(v.CPU).Seconds[w.Slot].Ksoftirqd.add(Thread{v.MaxWait, v.Run, v.Blocker})
	}
}

func (w *Fold) applyCPUTime(v *model.CPUTime) {
	if v.CPU < 0 {
		return
	}
	t := CPUTimes{v.Dur, v.User, v.System, v.Softirq, v.IRQ, v.Idle, v.Steal}
	for _, part := range []*time.Duration{&t.user, &t.system, &t.softirq, &t.IRQ, &t.idle, &t.Steal} {
		*part = min(*part, v.Dur) // /proc/stat counts in ticks, now and then one more than fits
	}
	w.cpu(v.CPU).Seconds[w.Slot].Time.add(t)
}

func (w *Fold) applyDeviceStats(v *model.DeviceStats) {
	d := w.device(DeviceKey{Netns: v.NetnsInode, Ifindex: v.Ifindex, Name: v.Device}, v.Time)
	if config, ok := w.DeviceConfig(d.Key); ok {
		d.door = config.Driver == "veth" && config.Netns == ""
	}
	s := &d.Seconds[w.Slot]
	s.active = true
	s.Packets += v.RXPackets
	s.TXPackets += v.TXPackets
	s.txDropped += v.TXDropped
	s.rxDropped += v.RXDropped
	s.rxErrs += v.RXErrors
}

// keepsRun says that a run waited or ran for long. With --trace there are
// hundreds of thousands a second that did not, so this comes before the decoding.
func (w *Fold) keepsRun(e *model.Event) bool {
	return e.CPU >= 0 && (e.Dur >= w.limits.LongRun || w.isLate(time.Duration(e.Args[model.ArgDeferredRunWait]), e.Flags))
}

func (w *Fold) isLate(wait time.Duration, flags model.Flags) bool {
	return wait >= w.limits.LateWait && flags&model.FlagWaitUnknown == 0
}

// applyDeferredRun keeps a run that waited or ran for long.
func (w *Fold) applyDeferredRun(v *model.DeferredRun) {
	late := w.isLate(v.Wait, v.Flags)
	run := Run{At: v.Time, Name: v.Name, Driver: v.Driver, Wait: v.Wait, Run: v.Dur, Before: v.Before, task: v.Task}
	second := w.second(v.CPU)
	if second == nil {
		return
	}
	if late && len(second.Late) < maxLateRuns && w.room.Take("single runs", runBytes) {
		second.Late = append(second.Late, run)
	}
	if v.Dur >= w.limits.LongRun && len(second.Long) < maxLateRuns && w.room.Take("single runs", runBytes) {
		second.Long = append(second.Long, run)
	}
}

// applyInterruptRun folds long runs of interrupt handlers in: captures from
// Windows may carry single runs without histograms.
func (w *Fold) applyInterruptRun(v *model.InterruptRun) {
	second := w.second(v.CPU)
	if second == nil {
		return
	}
	if len(second.Long) < maxLateRuns && w.room.Take("single runs", runBytes) {
		second.Long = append(second.Long, Run{At: v.Time, Name: v.Name, Driver: v.Driver, Run: v.Dur})
	}
}

func (w *Fold) applyDrop(v *model.Drop) {
	w.noteDrop(v)
	if Reported(v.Location) {
		return
	}
	k := DeviceKey{Netns: v.NetnsInode, Ifindex: v.Ifindex, Name: v.Device}
	atQueue := v.Place == model.PlaceSocket && FullQueue(v.Reason)
	if !atQueue && v.Cookie != 0 {
		w.socket(v.Cookie, v.Protocol, v.LocalPort, v.PID, v.Process).Seconds[w.Slot].elsewhere += v.Count
	}
	switch v.Place {
	case model.PlaceRing:
		d := w.device(k, v.Time)
		s := &d.Seconds[w.Slot]
		if v.Flags&model.FlagTransmit != 0 {
			d.RingTXTotal += v.Count
			s.RingTX += v.Count
			if d == &w.room.device {
				return
			}
			n := len(s.RingTXReasons)
			s.RingTXReasons = AddReason(s.RingTXReasons, ReasonCount{v.Reason, v.Location, v.Queue, v.Count})
			list(&w.room, "reasons of loss", &s.RingTXReasons, n, listedBytes)
			return
		}
		d.RingTotal += v.Count
		s.Ring += v.Count
		if d == &w.room.device {
			return
		}
		n := len(s.RingReasons)
		s.RingReasons = AddReason(s.RingReasons, ReasonCount{v.Reason, v.Location, v.Queue, v.Count})
		list(&w.room, "reasons of loss", &s.RingReasons, n, listedBytes)
	case model.PlaceDevice:
		d := w.device(k, v.Time)
		d.DeviceTotal += v.Count
		s := &d.Seconds[w.Slot]
		s.Device += v.Count
		if d == &w.room.device {
			return
		}
		n := len(s.DeviceReasons)
		s.DeviceReasons = AddReason(s.DeviceReasons, ReasonCount{v.Reason, v.Location, v.Queue, v.Count})
		list(&w.room, "reasons of loss", &s.DeviceReasons, n, listedBytes)
	case model.PlaceBacklog:
		w.Backlog[w.Slot] = AddDevice(w.Backlog[w.Slot], k, v.Count)
	case model.PlaceSocket:
		if !atQueue {
			return
		}
		s := w.socket(v.Cookie, v.Protocol, v.LocalPort, v.PID, v.Process)
		s.seen = v.Time
		s.Seconds[w.Slot].dropped += v.Count
		if s == &w.room.socket {
			return
		}
		second := &s.Seconds[w.Slot]
		n := len(second.CPUs)
		second.CPUs = addCPU(second.CPUs, v.CPU, v.Count)
		list(&w.room, "CPUs of sockets", &second.CPUs, n, countBytes)
	}
}

// applyDeviceEvent notes what became of a device.
func (w *Fold) applyDeviceEvent(v *model.DeviceEvent) {
	d := w.device(DeviceKey{Netns: v.NetnsInode, Ifindex: v.Ifindex, Name: v.Device}, v.Time)
	switch v.What {
	case "removed":
		d.Removed = v.Time
		d.down(v.Time)
	case "link_down":
		d.LinkDown = v.Time
		d.down(v.Time)
	case "link_up":
		d.Removed, d.LinkDown = 0, 0
		d.Down.To = v.Time
	case "renamed":
		d.FormerName = v.Detail
	}
}

// down notes that the device does not work any more.
func (d *Device) down(at model.Time) {
	if d.Down.From == 0 || d.Down.To != 0 {
		d.Down = Span{From: at}
	}
}

func (w *Fold) applySocketQueue(v *model.SocketQueue) {
	s := w.socket(v.Cookie, v.Protocol, v.LocalPort, v.PID, v.Process)
	s.seen = v.Time
	s.Last = *v
	s.Shared = v.Flags&model.FlagShared != 0
	s.readBy(v.TID)
	second := &s.Seconds[w.Slot]
	second.queueDropped += v.Dropped
	second.MaxIdle = max(second.MaxIdle, v.Idle)
	if v.Flags&model.FlagSecondary != 0 {
		return // the queue as it was at an earlier reading
	}
	second.Readings++
	if Ratio(float64(v.QueuedBytes), float64(v.LimitBytes)) >= w.limits.FullShare {
		second.Full++
	}
}

func (w *Fold) socket(cookie uint64, protocol model.Protocol, port uint16, pid int32, process string) *Socket {
	k := SocketKey{Cookie: cookie}
	if cookie == 0 {
		k = SocketKey{0, protocol, port, pid}
	}
	s := w.sockets[k]
	if s == nil {
		if !w.room.Take("sockets", socketBytes) {
			return w.room.spareSocket(k, protocol, port, pid)
		}
		s = &Socket{Key: k, Protocol: protocol, Port: port, PID: pid}
		w.sockets[k] = s
		w.sortedSockets = nil
	}
	if pid > 0 {
		if pid != s.PID {
			s.readers = threads{}
		}
		s.PID = pid
	}
	if port != 0 {
		s.Port, s.Protocol = port, protocol
	}
	if process != "" {
		s.Process = process
	}
	return s
}

// countAbove returns how many durations of h are certainly at or above d.
func countAbove(h *model.Histogram, d time.Duration) uint64 {
	if h == nil {
		return 0
	}
	var n uint64
	for _, bc := range h.Buckets {
		if model.BucketLow(int(bc.Bucket)) >= uint64(d) {
			n += bc.Count
		}
	}
	return n
}
