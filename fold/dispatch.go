package fold

import (
	"strings"

	"lostbeat/model"
	"lostbeat/model/state"
)

// Apply folds one event into the facts: into the state, into what happened
// second by second where detectors read it, and into the history of a screen
// where there is one. It is the one place that says what becomes of a kind, and
// what an event carries is decoded once.
func (w *Fold) Apply(b *model.Batch, e *model.Event) {
	w.busy = true
	w.room.Earn(eventSteps)
	if !e.Possible() {
		w.LeaveOut("events of an impossible time")
		return
	}
	h := w.history
	if h != nil && !h.note(e) {
		h = nil // a keyframe says what holds, not what happened
	}
	switch {
	case e.Flags&model.FlagKeyframe == 0:
		w.warm = w.warm || e.Kind != model.KindMeta
	case w.warm && w.judged:
		w.held(b, e) // it repeats what is known
		return
	}
	switch e.Kind {
	case model.KindProcess:
		w.State.ApplyEvent(b, e)
		switch v, _ := b.Process(e); {
		case v.State == model.ProcessExited:
			if w.judged {
				w.Ports.processEnded(v.PID, e.Time)
			}
			w.flowsEnded(&v)
		case w.judged:
			w.Ports.processNamed(v.PID)
		}
	case model.KindMeta,
		model.KindProbe,
		model.KindDeviceConfig,
		model.KindDeviceQueue,
		model.KindRPCEndpoint:
		w.State.ApplyEvent(b, e)
	case model.KindPortActivity:
		v, _ := b.PortActivity(e)
		before, _ := w.State.Ports.Get(state.ActivityKey(&v))
		w.State.ApplyEvent(b, e)
		if w.judged && v.RemotePort != 0 && before.Cookie != 0 && before.RemotePort == 0 {
			w.Ports.connected(w, &v)
		}
	case model.KindPortPool:
		w.State.ApplyEvent(b, e)
		if w.judged {
			w.Ports.rehome(w)
		}
	case model.KindPortAcquire, model.KindPortRelease, model.KindPortRest, model.KindPortActive:
		c := state.PortOf(b, e)
		if w.judged {
			w.Ports.apply(w, &c, e)
		} else {
			w.State.ApplyPort(e.Time, &c)
		}
		if e.Kind == model.KindPortRelease {
			w.flowClosed(c.Cookie, e.Time)
		}
		if h != nil {
			h.port(e.Kind, &c.Port)
		}
	case model.KindDeferredRun:
		judged, shown := w.judged && w.keepsRun(e), h != nil && h.keepsRun(e.Dur, e.Args[model.ArgDeferredRunWait])
		if !judged && !shown {
			return
		}
		v, _ := b.DeferredRun(e)
		if judged {
			w.applyDeferredRun(&v)
		}
		if shown {
			h.deferredRun(&v)
		}
	case model.KindInterruptRun:
		judged, shown := w.judged && e.CPU >= 0 && e.Dur >= w.limits.LongRun, h != nil && h.keepsRun(e.Dur, 0)
		if !judged && !shown {
			return
		}
		v, _ := b.InterruptRun(e)
		if judged {
			w.applyInterruptRun(&v)
		}
		if shown {
			h.interruptRun(&v)
		}
	case model.KindLoss:
		v, _ := b.Loss(e)
		if w.judged && v.Origin != model.OriginLog {
			w.Loss.add(v.Time, v.Lost)
			if strings.HasSuffix(v.Detail, ": "+model.KindSchedRival.String()) {
				w.RivalLoss.add(v.Time, v.Lost)
			}
			w.Counters.gap = w.Counters.gap || v.Origin == model.OriginFile
		}
		if h != nil {
			h.loss(v)
		}
	case model.KindDeferredHist:
		v, _ := b.DeferredHist(e)
		if w.judged {
			w.applyDeferredHist(&v)
		}
		if h != nil {
			h.deferredHist(&v)
		}
	case model.KindInterruptHist:
		v, _ := b.InterruptHist(e)
		if w.judged {
			w.applyInterruptHist(&v)
		}
		if h != nil {
			h.interruptHist(&v)
		}
	case model.KindNAPI:
		v, _ := b.NAPI(e)
		if w.judged {
			w.applyNAPI(&v)
		}
		if h != nil {
			h.napi(&v)
		}
	case model.KindSoftnet:
		v, _ := b.Softnet(e)
		if w.judged {
			w.applySoftnet(&v)
		}
		if h != nil {
			h.softnet(&v)
		}
	case model.KindCPUTime:
		v, _ := b.CPUTime(e)
		if w.judged {
			w.applyCPUTime(&v)
		}
		if h != nil {
			h.cpuTime(&v)
		}
	case model.KindSchedHist:
		v, _ := b.SchedHist(e)
		if w.judged {
			w.applySchedHist(&v)
		}
		if h != nil {
			h.schedHist(&v)
		}
	case model.KindDeviceStats:
		v, _ := b.DeviceStats(e)
		if w.judged {
			w.applyDeviceStats(&v)
		}
		if h != nil {
			h.deviceStats(&v)
		}
	case model.KindDeviceEvent:
		w.State.ApplyEvent(b, e)
		v, _ := b.DeviceEvent(e)
		if w.judged {
			w.applyDeviceEvent(&v)
		}
		if h != nil {
			h.totals.addDeviceEvent(v)
		}
	case model.KindDrop:
		v, _ := b.Drop(e)
		if w.judged {
			w.applyDrop(&v)
		}
		if h != nil {
			h.drop(&v)
		}
	case model.KindPacket:
		v, _ := b.Packet(e)
		if w.judged {
			w.CaptureDrops.Packets++
			w.applyPacket(&v)
		}
		beat := w.beatPacket(&v)
		if h != nil {
			h.packet(&v, beat)
		}
	case model.KindPacketRead:
		v, _ := b.PacketRead(e)
		if beat := w.beatRead(&v); beat != nil && h != nil {
			h.packetRead(&v, beat)
		}
	case model.KindPacketEarly:
		v, _ := b.PacketEarly(e)
		w.beatEarly(&v)
	case model.KindPacketReturn:
		v, _ := b.PacketReturn(e)
		w.beatReturn(&v)
		if h != nil {
			h.totals.changed |= totalBeats
		}
	case model.KindPacketQdisc:
		v, _ := b.PacketQdisc(e)
		w.beatQdisc(&v)
		if h != nil {
			h.totals.changed |= totalBeats
		}
	case model.KindFlow:
		v, _ := b.Flow(e)
		w.applyFlow(&v)
		if h != nil {
			h.totals.changed |= totalBeats
		}
	case model.KindFlowDevice:
		v, _ := b.FlowDevice(e)
		w.applyFlowDevice(&v)
		if h != nil {
			h.totals.changed |= totalBeats
		}
	case model.KindFlowDrop:
		v, _ := b.FlowDrop(e)
		w.applyFlowDrop(&v)
		if h != nil {
			h.totals.changed |= totalBeats
		}
	case model.KindFlowStall:
		v, _ := b.FlowStall(e)
		w.applyFlowStall(&v)
	case model.KindHostPause:
		v, _ := b.HostPause(e)
		w.applyHostPause(v)
	case model.KindSocketQueue:
		v, _ := b.SocketQueue(e)
		if w.judged {
			w.applySocketQueue(&v)
		}
		if h != nil {
			h.socketQueue(&v)
		}
	case model.KindCounter:
		v, _ := b.Counter(e)
		if w.judged {
			w.Counters.add(&v)
			w.HostCounters.add(&v)
			w.applyProtocolCounter(&v)
			w.applyDriverCounter(&v)
		}
		if h != nil {
			h.counter(&v)
		}
	case model.KindPortFail:
		v, _ := b.PortFail(e)
		if w.judged {
			w.Ports.fail(w, &v)
		}
		if h != nil {
			h.portFail(v)
		}
	case model.KindPortAudit:
		v, _ := b.PortAudit(e)
		if w.judged {
			w.Ports.audit(&v)
		}
		if h != nil {
			h.totals.addAudit(v)
		}
	case model.KindRPCCall:
		v, _ := b.RPCCall(e)
		if w.judged {
			w.Ports.rpcCall(w, &v)
		}
		if h != nil {
			h.totals.addRPC(v)
		}
	case model.KindRPCActive:
		if h != nil {
			v, _ := b.RPCActive(e)
			h.totals.addOpenRPC(v)
		}
	case model.KindSchedState:
		if w.judged {
			v, _ := b.SchedStateEvent(e)
			w.applySchedState(v)
		}
	case model.KindSchedRival:
		if w.judged {
			v, _ := b.SchedRival(e)
			w.applySchedRival(v)
		}
	case model.KindStackSample:
		if w.judged {
			v, _ := b.StackSample(e)
			w.applyStackSample(v)
		}
	case model.KindReading:
		if w.judged {
			v, _ := b.Reading(e)
			w.applyReading(v)
		}
	case model.KindRequest:
		if w.judged {
			v, _ := b.RequestEvent(e)
			w.applyRequest(v)
		}
	case model.KindPortTable:
		if w.judged {
			v, _ := b.PortTable(e)
			w.Tables.add(v)
		}
	case model.KindPortHolder:
		if w.judged {
			v, _ := b.PortHolder(e)
			w.Tables.addHolder(v)
		}
	case model.KindPortDestination:
		if w.judged {
			v, _ := b.PortDestination(e)
			w.Tables.addDestination(v)
		}
	case model.KindCaptureDrop:
		if w.judged {
			v, _ := b.CaptureDrop(e)
			w.CaptureDrops.add(&v)
		}
	case model.KindHostEvent:
		if w.judged {
			v, _ := b.HostEvent(e)
			w.HostEvents.add(v)
		}
	case model.KindLogGap:
		v, _ := b.LogGap(e)
		w.Logs.addGap(v)
		w.logsChanged()
	case model.KindLogLine:
		v, _ := b.LogLine(e)
		w.Logs.addLine(v)
		w.logsChanged()
	case model.KindLogState:
		v, _ := b.LogState(e)
		w.Logs.addState(v)
		w.logsChanged()
	default:
		w.held(b, e)
	}
}

// logsChanged says that the screen has to show the logs anew.
func (w *Fold) logsChanged() {
	if w.history != nil {
		w.history.totals.changed |= totalLogs
	}
}

// held adds an event that says what holds, whether it is new or repeated by a keyframe.
func (w *Fold) held(b *model.Batch, e *model.Event) {
	if w.history != nil {
		w.history.hold(b, e)
	}
}

// Derived takes an event that others have made of the stream, such as a finding:
// the detectors do not judge it.
func (w *Fold) Derived(b *model.Batch, e *model.Event) {
	h := w.history
	if h == nil || !e.Possible() {
		return
	}
	happened := h.note(e)
	if v, ok := b.Loss(e); ok && happened {
		h.loss(v)
	}
	h.hold(b, e)
}
