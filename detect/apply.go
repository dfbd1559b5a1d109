package detect

import (
	"strings"
	"time"

	"lostbeat/model"
)

// apply folds one event into the facts.
func (w *world) apply(b *model.Batch, e *model.Event) {
	if e.Flags&model.FlagKeyframe != 0 {
		if w.warm {
			return // it repeats what is known
		}
	} else if e.Kind != model.KindMeta {
		w.warm = true
	}
	switch e.Kind {
	case model.KindMeta,
		model.KindProbe,
		model.KindProcess,
		model.KindDeviceConfig,
		model.KindDeviceQueue,
		model.KindDeviceEvent,
		model.KindPortActivity:
		w.state.ApplyEvent(b, e)
	case model.KindPortPool:
		w.state.ApplyEvent(b, e)
		w.ports.rehome(w)
	case model.KindLoss:
		v, _ := b.Loss(e)
		w.loss.add(e.Time, v.Lost)
	case model.KindDeferredHist:
		w.applyDeferredHist(b, e)
	case model.KindDeferredRun:
		w.applyDeferredRun(b, e)
	case model.KindInterruptHist:
		w.applyInterruptHist(b, e)
	case model.KindInterruptRun:
		w.applyInterruptRun(b, e)
	case model.KindNAPI:
		v, _ := b.NAPI(e)
		k := deviceKey{v.Ifindex, v.Device}
		if v.CPU >= 0 {
			c := w.cpu(v.CPU)
			mergeNAPI(
				&c.seconds[w.slot].napi,
				napiFacts{k, v.Dur, v.Polls, v.Packets, v.FullPolls, v.ThreadedPolls, v.MaxPackets},
			)
		}
	case model.KindSoftnet:
		v, _ := b.Softnet(e)
		if v.CPU >= 0 {
			c := w.cpu(v.CPU)
			c.seconds[w.slot].softnet.add(
				softnetFacts{v.Dur, v.Processed, v.Dropped, v.TimeSqueeze, v.ReceivedRPS, v.BacklogPackets},
			)
			c.processed += v.Processed
			c.dropped += v.Dropped
			c.squeezed += v.TimeSqueeze
		}
	case model.KindSchedHist:
		if v, _ := b.SchedHist(e); v.CPU >= 0 && strings.HasPrefix(v.Task, "ksoftirqd/") {
			w.cpu(v.CPU).seconds[w.slot].ksoftirqd.add(threadFacts{v.MaxWait, v.Run, v.Blocker})
		}
	case model.KindCPUTime:
		v, _ := b.CPUTime(e)
		if v.CPU >= 0 {
			w.cpu(v.CPU).seconds[w.slot].time.add(timeFacts{v.Dur, v.User, v.System, v.Softirq, v.IRQ, v.Idle, v.Steal})
		}
	case model.KindDeviceStats:
		v, _ := b.DeviceStats(e)
		s := &w.device(deviceKey{v.Ifindex, v.Device}).seconds[w.slot]
		s.active = true
		s.packets += v.RXPackets
		s.rxDropped += v.RXDropped
		s.rxErrs += v.RXErrors
	case model.KindDrop:
		w.applyDrop(b, e)
	case model.KindPacket:
		w.applyPacket(b, e)
	case model.KindSocketQueue:
		w.applySocketQueue(b, e)
	case model.KindCounter:
		v, _ := b.Counter(e)
		w.series.add(v)
	case model.KindPortAcquire,
		model.KindPortRelease,
		model.KindPortRest,
		model.KindPortActive,
		model.KindPortFail,
		model.KindPortAudit,
		model.KindRPCCall:
		w.ports.apply(w, b, e)
	}
}

func (w *world) applyDeferredHist(b *model.Batch, e *model.Event) {
	v, _ := b.DeferredHist(e)
	if v.CPU < 0 || v.Flags&model.FlagSecondary != 0 {
		return // shares of counter logs are judged in perfmon.go, over the whole log
	}
	f := workFacts{
		class:            v.Class,
		name:             v.Name,
		driver:           v.Driver,
		covered:          v.Dur,
		busy:             v.Busy,
		count:            v.Count,
		maxWait:          v.MaxWait,
		maxRun:           v.MaxRun,
		worstRoutine:     v.Name,
		worstRoutineTime: v.MaxRun,
	}
	f.late = countAbove(v.WaitHist, w.settings.Starvation.LateWait.Std())
	if f.late == 0 && v.MaxWait >= w.settings.Starvation.LateWait.Std() {
		f.late = 1
	}
	f.overLimit = countAbove(v.RunHist, w.settings.Starvation.DPCGuideline.Std())
	mergeWork(&w.cpu(v.CPU).seconds[w.slot].work, &f)
}

func (w *world) applyInterruptHist(b *model.Batch, e *model.Event) {
	v, _ := b.InterruptHist(e)
	if v.CPU < 0 || v.Flags&model.FlagSecondary != 0 {
		return
	}
	f := workFacts{
		class:            v.Class,
		name:             v.Name,
		driver:           v.Driver,
		covered:          v.Dur,
		busy:             v.Busy,
		count:            v.Count,
		maxRun:           v.MaxRun,
		worstRoutine:     v.Name,
		worstRoutineTime: v.MaxRun,
		overLimit:        countAbove(v.RunHist, w.settings.Starvation.ISRGuideline.Std()),
	}
	mergeWork(&w.cpu(v.CPU).seconds[w.slot].irqs, &f)
}

// applyDeferredRun keeps the single runs that waited or ran for long: with
// --trace there are hundreds of thousands a second of the others.
func (w *world) applyDeferredRun(b *model.Batch, e *model.Event) {
	s := &w.settings.Starvation
	wait := time.Duration(e.Args[model.ArgDeferredRunWait])
	late := wait >= s.LateWait.Std() && e.Flags&model.FlagWaitUnknown == 0
	if e.CPU < 0 || !late && e.Dur < s.LongRun.Std() {
		return
	}
	v, _ := b.DeferredRun(e)
	run := singleRun{at: v.Time, name: v.Name, driver: v.Driver, wait: v.Wait, run: v.Dur, before: v.Before, task: v.Task}
	second := &w.cpu(v.CPU).seconds[w.slot]
	if late && len(second.late) < maxLateRuns {
		second.late = append(second.late, run)
	}
	if v.Dur >= s.LongRun.Std() && len(second.long) < maxLateRuns {
		second.long = append(second.long, run)
	}
}

// applyInterruptRun folds long runs of interrupt handlers in: captures from
// Windows may carry single runs without histograms.
func (w *world) applyInterruptRun(b *model.Batch, e *model.Event) {
	if e.CPU < 0 || e.Dur < w.settings.Starvation.LongRun.Std() {
		return
	}
	v, _ := b.InterruptRun(e)
	second := &w.cpu(v.CPU).seconds[w.slot]
	if len(second.long) < maxLateRuns {
		second.long = append(second.long, singleRun{at: v.Time, name: v.Name, driver: v.Driver, run: v.Dur})
	}
}

func (w *world) applyDrop(b *model.Batch, e *model.Event) {
	v, _ := b.Drop(e)
	k := deviceKey{v.Ifindex, v.Device}
	if v.Place != model.PlaceSocket && v.Cookie != 0 {
		w.socket(v.Cookie, v.Protocol, v.LocalPort, v.PID, v.Process).seconds[w.slot].elsewhere += v.Count
	}
	switch v.Place {
	case model.PlaceRing:
		d := w.device(k)
		d.ringTotal += v.Count
		s := &d.seconds[w.slot]
		s.ring += v.Count
		s.ringReasons = addReason(s.ringReasons, reasonCount{v.Reason, v.Location, v.Queue, v.Count})
	case model.PlaceDevice:
		d := w.device(k)
		d.deviceTotal += v.Count
		s := &d.seconds[w.slot]
		s.device += v.Count
		s.deviceReasons = addReason(s.deviceReasons, reasonCount{v.Reason, v.Location, v.Queue, v.Count})
	case model.PlaceBacklog:
		w.backlog[w.slot] = addDevice(w.backlog[w.slot], k, v.Count)
	case model.PlaceSocket:
		s := w.socket(v.Cookie, v.Protocol, v.LocalPort, v.PID, v.Process)
		s.seen = e.Time
		s.seconds[w.slot].dropped += v.Count
		s.seconds[w.slot].cpus = addCPU(s.seconds[w.slot].cpus, v.CPU, v.Count)
	}
}

func (w *world) applySocketQueue(b *model.Batch, e *model.Event) {
	v, _ := b.SocketQueue(e)
	s := w.socket(v.Cookie, v.Protocol, v.LocalPort, v.PID, v.Process)
	s.seen = e.Time
	s.last = v
	second := &s.seconds[w.slot]
	second.queueDropped += v.Dropped
	second.maxIdle = max(second.maxIdle, v.Idle)
	if v.Flags&model.FlagSecondary != 0 {
		return // the queue as it was at an earlier reading
	}
	second.readings++
	if ratio(float64(v.QueuedBytes), float64(v.LimitBytes)) >= w.settings.Socket.SlowShare {
		second.full++
	}
}

func (w *world) socket(cookie uint64, protocol model.Protocol, port uint16, pid int32, process string) *socketFacts {
	k := socketKey{cookie: cookie}
	if cookie == 0 {
		k = socketKey{0, protocol, port, pid}
	}
	s := w.sockets[k]
	if s == nil {
		s = &socketFacts{key: k, protocol: protocol, port: port, pid: pid}
		w.sockets[k] = s
	}
	if pid > 0 {
		s.pid = pid
	}
	if port != 0 {
		s.port, s.protocol = port, protocol
	}
	if process != "" {
		s.process = process
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
