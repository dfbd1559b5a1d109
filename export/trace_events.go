package export

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// show shows an event, and reports whether there is a track for its kind.
func (p *process) show(b *model.Batch, e *model.Event) bool {
	switch e.Kind {
	case model.KindDeferredRun:
		v, _ := b.DeferredRun(e)
		p.deferredRun(&v)
	case model.KindInterruptRun:
		v, _ := b.InterruptRun(e)
		p.interruptRun(&v)
	case model.KindDeferredHist:
		v, _ := b.DeferredHist(e)
		p.work(&v)
	case model.KindInterruptHist:
		v, _ := b.InterruptHist(e)
		p.interrupts(&v)
	case model.KindCPUTime, model.KindSoftnet, model.KindProfile, model.KindSchedSwitch:
		p.showCPU(b, e)
	case model.KindNAPI, model.KindDeviceStats, model.KindDeviceEvent:
		p.showDevice(b, e)
	case model.KindDrop:
		v, _ := b.Drop(e)
		p.drop(&v)
	case model.KindCaptureDrop:
		v, _ := b.CaptureDrop(e)
		p.captureDrop(&v)
	case model.KindPortFail:
		v, _ := b.PortFail(e)
		p.refused(&v)
	case model.KindSocketQueue:
		v, _ := b.SocketQueue(e)
		p.socket(&v)
	case model.KindSchedHist, model.KindSchedState, model.KindSchedRival:
		p.showThread(b, e)
	case model.KindCounter, model.KindReading:
		p.showCounter(b, e)
	case model.KindRPCCall, model.KindRPCActive:
		p.showRPC(b, e)
	case model.KindLogGap, model.KindLogLine, model.KindHostEvent, model.KindNote, model.KindRequest:
		p.showLog(b, e)
	case model.KindLoss, model.KindHostPause, model.KindClock, model.KindProbe:
		p.showStream(b, e)
	case model.KindPacket, model.KindPacketRead, model.KindPacketReturn, model.KindPacketQdisc, model.KindFlowStall:
		return p.showPacket(b, e)
	case model.KindPortPool, model.KindPortAcquire, model.KindPortRelease, model.KindPortRest, model.KindPortActive,
		model.KindMeta, model.KindProcess, model.KindFlow, model.KindFlowDevice, model.KindFlowDrop, model.KindPacketEarly:
		// What they say is in names, in findings, and in the tracks of pools, flows and drops.
	default:
		return false
	}
	return true
}

// share is a part of an interval in percent.
func share(part, of time.Duration) float64 {
	return 100 * fold.Ratio(float64(part), float64(max(of, 0)))
}

// perSecond is a count in an interval as a rate.
func perSecond(n uint64, in time.Duration) float64 {
	return fold.Ratio(float64(n), max(in, 0).Seconds())
}

// reading is a value of a counter that is one of several in an interval.
type reading struct {
	name, unit string
	value      float64
	// skip says that it was not measured.
	skip bool
}

// readings shows the values of an interval.
func (p *process) readings(g *trackGroup, start, end model.Time, list ...reading) {
	for i, r := range list {
		if !r.skip {
			p.t.interval(p.t.counterOf(p, g, r.name, r.unit, i, ""), start, end, r.value)
		}
	}
}

func (p *process) cpu(cpu int32) *trackGroup {
	if cpu < 0 {
		return p.t.group(p.top(), "all CPUs", rankCPUs-1, "")
	}
	return p.t.group(p.top(), fmt.Sprintf("CPU %d", cpu), rankCPUs+int(cpu), "")
}

// Order of the tracks of a CPU.
const (
	rankRunning = iota
	rankWaits
	rankRuns
	rankIRQs
	rankTime
	rankWork
	rankLines
)

func (p *process) deferredRun(v *model.DeferredRun) {
	g := p.cpu(v.CPU)
	start := v.Time.Add(-v.Dur)
	notes := []note{{"driver", v.Driver}, {"task", v.Task}, {"pid", int64(v.PID)}, {"tid", int64(v.TID)}}
	if v.Exclusive > 0 {
		notes = append(notes, note{"exclusive_ns", int64(v.Exclusive)})
	}
	known := v.Flags&model.FlagWaitUnknown == 0
	if known {
		notes = append(notes, note{"wait_ns", int64(v.Wait)})
	}
	l := p.t.lanesOf(g, "deferred work", rankRuns, "single runs of softirqs or DPCs, from entry to exit")
	p.t.slice(l, start, v.Time, v.Name, v.Class.String(), notes...)
	if known && v.Wait > 0 {
		l := p.t.lanesOf(g, "waiting deferred work", rankWaits, "from the first raise to the entry of a single run")
		p.t.slice(l, start.Add(-v.Wait), start, v.Name, v.Class.String(), note{"before", v.Before})
	}
}

func (p *process) interruptRun(v *model.InterruptRun) {
	notes := []note{{"irq", v.IRQ}, {"driver", v.Driver}, {"handled", v.Handled}}
	if v.Exclusive > 0 {
		notes = append(notes, note{"exclusive_ns", int64(v.Exclusive)})
	}
	l := p.t.lanesOf(p.cpu(v.CPU), "interrupts", rankIRQs, "single runs of interrupt handlers")
	p.t.slice(l, v.Time.Add(-v.Dur), v.Time, v.Name, v.Class.String(), notes...)
}

func (p *process) work(v *model.DeferredHist) {
	name := v.Name
	if v.Driver != "" && !strings.HasPrefix(name, v.Driver) {
		name = v.Driver + " " + name
	}
	if v.Class != model.ClassSoftirq && v.Class != model.ClassDPC {
		name += " (" + v.Class.String() + ")"
	}
	g := p.t.group(p.cpu(v.CPU), name+" per interval", rankWork, "all runs of this deferred work in each interval")
	p.readings(g, v.Time.Add(-v.Dur), v.Time,
		reading{"longest wait", "ns", float64(v.MaxWait), v.MaxWait == 0},
		reading{"longest run", "ns", float64(v.MaxRun), false},
		reading{"busy", "%", share(v.Busy, v.Dur), false},
		reading{"runs", "runs/s", perSecond(v.Count, v.Dur), false})
}

func (p *process) interrupts(v *model.InterruptHist) {
	g := p.t.group(p.cpu(v.CPU), fmt.Sprintf("IRQ %d %s per interval", v.IRQ, v.Name), rankLines,
		"all runs of this interrupt line in each interval")
	p.readings(g, v.Time.Add(-v.Dur), v.Time,
		reading{"longest run", "ns", float64(v.MaxRun), false},
		reading{"busy", "%", share(v.Busy, v.Dur), false},
		reading{"runs", "runs/s", perSecond(v.Count, v.Dur), false})
}

// showCPU shows how a CPU spent its time, and the packets that it handled.
func (p *process) showCPU(b *model.Batch, e *model.Event) {
	if v, ok := b.SchedSwitch(e); ok {
		p.switched(&v)
		return
	}
	g := p.t.group(p.cpu(e.CPU), "time", rankTime, "how the CPU spent its time, and the packets that it handled")
	switch e.Kind {
	case model.KindCPUTime:
		v, _ := b.CPUTime(e)
		p.readings(g, e.Start(), e.Time,
			reading{"user", "%", share(v.User, v.Dur), false}, reading{"system", "%", share(v.System, v.Dur), false},
			reading{"softirq", "%", share(v.Softirq, v.Dur), false}, reading{"irq", "%", share(v.IRQ, v.Dur), false},
			reading{"steal", "%", share(v.Steal, v.Dur), false}, reading{"idle", "%", share(v.Idle, v.Dur), false})
	case model.KindSoftnet:
		v, _ := b.Softnet(e)
		p.readings(g, e.Start(), e.Time,
			reading{"packets", "packets/s", perSecond(v.Processed, v.Dur), false},
			reading{"dropped at a full backlog", "packets/s", perSecond(v.Dropped, v.Dur), false},
			reading{"time squeezes", "squeezes/s", perSecond(v.TimeSqueeze, v.Dur), false},
			reading{"backlog", "packets", float64(v.BacklogPackets), false})
	case model.KindProfile:
		v, _ := b.Profile(e)
		of := float64(max(v.Samples, 1)) / 100
		p.readings(g, e.Start(), e.Time, reading{"samples in DPCs", "%", float64(v.DPCSamples) / of, false},
			reading{"samples in ISRs", "%", float64(v.ISRSamples) / of, false})
	}
}

// switched shows the thread that a CPU had run until it changed to another one.
func (p *process) switched(v *model.SchedSwitch) {
	old, ok := p.switches[v.CPU]
	if ok {
		p.ran(&old, v.Time)
	}
	if ok || len(p.switches) < maxCPUs {
		p.switches[v.CPU] = *v
	} else {
		p.t.done.LeftOut++
	}
}

// ran shows the thread that a CPU had changed to, until a time.
func (p *process) ran(v *model.SchedSwitch, until model.Time) {
	if v.TID == 0 || until < v.Time {
		return // idle
	}
	l := p.t.lanesOf(p.cpu(v.CPU), "running", rankRunning, "the thread that runs")
	p.t.slice(l, v.Time, until, words.Task(v.Process, v.PID), "thread", note{"tid", int64(v.TID)},
		note{"wait_ns", int64(v.Wait)})
}

func (p *process) device(name string, ifindex int64, netns uint32) *trackGroup {
	key := deviceKey{name, ifindex, netns}
	g := p.devices[key]
	if g != nil {
		return g
	}
	shown := "device " + cmp.Or(name, fmt.Sprintf("number %d", ifindex))
	config, known := p.facts.State.DeviceNamed(name, netns, ifindex)
	switch {
	case known && config.Netns != "":
		shown += " netns " + config.Netns
	case !known && netns != 0:
		shown += fmt.Sprintf(" netns %d", netns)
	}
	g = p.t.group(p.top(), shown, rankDevices, config.Driver)
	if g != nil && len(p.devices) < maxNames {
		p.devices[key] = g
	}
	return g
}

func (p *process) showDevice(b *model.Batch, e *model.Event) {
	switch e.Kind {
	case model.KindNAPI:
		v, _ := b.NAPI(e)
		g := p.t.group(p.device(v.Device, v.Ifindex, v.NetnsInode), fmt.Sprintf("polls on CPU %d", v.CPU), 10+int(v.CPU), "")
		p.readings(g, e.Start(), e.Time, reading{"polls", "polls/s", perSecond(v.Polls, v.Dur), false},
			reading{"packets", "packets/s", perSecond(v.Packets, v.Dur), false},
			reading{"polls that used their budget", "polls/s", perSecond(v.FullPolls, v.Dur), false})
	case model.KindDeviceStats:
		v, _ := b.DeviceStats(e)
		p.readings(p.device(v.Device, v.Ifindex, v.NetnsInode), e.Start(), e.Time,
			reading{"received", "packets/s", perSecond(v.RXPackets, v.Dur), false},
			reading{"sent", "packets/s", perSecond(v.TXPackets, v.Dur), false},
			reading{"received and dropped", "packets/s", perSecond(v.RXDropped, v.Dur), false},
			reading{"to be sent and dropped", "packets/s", perSecond(v.TXDropped, v.Dur), false},
			reading{"receive errors", "errors/s", perSecond(v.RXErrors, v.Dur), false},
			reading{"received bytes", "bytes/s", perSecond(v.RXBytes, v.Dur), false})
	case model.KindDeviceEvent:
		v, _ := b.DeviceEvent(e)
		l := p.t.lanesOf(p.device(v.Device, v.Ifindex, v.NetnsInode), "events", 8, "")
		p.t.slice(l, v.Time, v.Time, v.What, "device", note{"detail", v.Detail})
	}
}

// drop shows packets that were lost: at their device where they were lost there, otherwise by place.
func (p *process) drop(v *model.Drop) {
	name := fmt.Sprintf("%s: %s", v.Place, v.Reason)
	if v.LocalPort != 0 {
		name += fmt.Sprintf(" %s/%d", v.Protocol, v.LocalPort)
	}
	if v.Process != "" || v.PID > 0 {
		name += " " + words.Task(v.Process, v.PID)
	}
	if v.Place == model.PlaceBacklog && v.CPU >= 0 {
		name += fmt.Sprintf(" CPU %d", v.CPU)
	}
	if v.Flags&model.FlagTransmit != 0 {
		name += " (sent)"
	}
	g := p.t.group(p.top(), "drops", rankDrops, "packets that were lost inside the host")
	if v.Device != "" && (v.Place == model.PlaceRing || v.Place == model.PlaceDevice || v.Place == model.PlaceQdisc) {
		g = p.device(v.Device, v.Ifindex, v.NetnsInode)
	}
	p.lost(g, name, v.Time, v.Dur, v.Count, v.Location)
}

// lost shows a count of packets: as a rate where it is one of an interval.
func (p *process) lost(g *trackGroup, name string, at model.Time, dur time.Duration, count uint64, where string) {
	if dur > 0 {
		p.t.interval(p.t.counterOf(p, g, name, "packets/s", 20, where), at.Add(-dur), at, perSecond(count, dur))
		return
	}
	p.t.slice(p.t.lanesOf(g, name, 20, where), at, at, words.Plural(count, "packet"), "drop",
		note{"packets", int64(count)}, note{"location", where})
}

func (p *process) captureDrop(v *model.CaptureDrop) {
	g := p.t.group(p.top(), "drops that Packet Monitor reports", rankDrops, "")
	p.lost(g, fmt.Sprintf("%s: %s (%s)", v.Component, v.Reason, v.Verdict), v.Time, v.Dur, v.Count, v.Location)
}

func (p *process) refused(v *model.PortFail) {
	p.t.slice(p.t.lanesOf(p.ports(), "refused", -1, "attempts to take a port that failed"), v.Time, v.Time,
		v.ErrorName+" "+words.Task(v.Process, v.PID), "port", note{"protocol", v.Protocol.String()},
		note{"how", v.How.String()}, note{"local_addr", v.LocalAddr}, note{"local_port", int64(v.LocalPort)},
		note{"remote_addr", v.RemoteAddr}, note{"remote_port", int64(v.RemotePort)}, note{"tid", int64(v.TID)})
}

func (p *process) socket(v *model.SocketQueue) {
	name := fmt.Sprintf("%s/%d %s cookie %#x", v.Protocol, v.LocalPort, words.Task(v.Process, v.PID), v.Cookie)
	g := p.t.group(p.t.group(p.top(), "sockets", rankSockets,
		"receive queues that dropped packets or were more than half full"), name, 0, "")
	p.readings(g, v.Time.Add(-v.Dur), v.Time, reading{"dropped", "packets/s", perSecond(v.Dropped, v.Dur), false})
	p.t.sample(p.t.counterOf(p, g, "queued", "bytes", 1, "at the end of each interval"), v.Time, float64(v.QueuedBytes))
	p.t.sample(p.t.counterOf(p, g, "limit", "bytes", 2, "SO_RCVBUF"), v.Time, float64(v.LimitBytes))
	p.t.sample(p.t.counterOf(p, g, "not read for", "ns", 3, ""), v.Time, float64(v.Idle))
}

// thread is the group of a watched thread.
func (p *process) thread(name string, tid int32) *trackGroup {
	return p.t.group(p.t.group(p.top(), "threads", rankThreads, "threads that are watched"), words.Task(name, tid), 0, "")
}

func (p *process) showThread(b *model.Batch, e *model.Event) {
	switch e.Kind {
	case model.KindSchedHist:
		v, _ := b.SchedHist(e)
		p.readings(p.thread(v.Task, v.TID), e.Start(), e.Time,
			reading{"longest wait for a CPU", "ns", float64(v.MaxWait), false},
			reading{"on a CPU", "%", share(v.Run, v.Dur), v.Run == 0},
			reading{"wake-ups", "wake-ups/s", perSecond(v.Count, v.Dur), false})
	case model.KindSchedState:
		v, _ := b.SchedStateEvent(e)
		p.readings(p.thread(v.Task, v.TID), e.Start(), e.Time,
			reading{"state: " + v.State.String(), "%", share(v.Total, v.Dur), false})
	case model.KindSchedRival:
		v, _ := b.SchedRival(e)
		p.readings(p.thread(v.Victim, int32(v.VictimTID)), e.Start(), e.Time,
			reading{"while it waited: " + words.Task(v.Task, v.PID), "%", share(v.Run, v.Dur), false})
	}
}

// showCounter shows a value that no other track covers.
func (p *process) showCounter(b *model.Batch, e *model.Event) {
	if v, ok := b.Reading(e); ok {
		g := p.t.group(p.top(), "readings", rankReadings, "values that were read to confirm or rule out a cause")
		name := strings.TrimSpace(v.Name + " " + v.Instance)
		p.t.sample(p.t.counterOf(p, g, name, v.Unit, 0, v.Detail), v.Time, v.Value)
		if v.Limit != 0 {
			p.t.sample(p.t.counterOf(p, g, name+" limit", v.Unit, 0, ""), v.Time, v.Limit)
		}
		return
	}
	v, _ := b.Counter(e)
	g := p.t.group(p.top(), "counters", rankCounters, "values that no other track covers")
	if v.CPU >= 0 {
		g = p.t.group(p.cpu(v.CPU), "counters", rankLines, "")
	}
	if v.Host != "" {
		g = p.t.group(g, v.Host, 0, "")
	}
	c := p.t.counterOf(p, g, strings.TrimSpace(v.Name+" "+v.Instance), v.Unit, 0, v.Mode.String())
	if v.Dur > 0 && (v.Mode == model.CounterRate || v.Mode == model.CounterShare) {
		p.t.interval(c, e.Start(), e.Time, v.Value)
	} else {
		p.t.sample(c, e.Time, v.Value)
	}
}

func (p *process) showRPC(b *model.Batch, e *model.Event) {
	v, ended := b.RPCCall(e)
	notes := []note{}
	if ended {
		notes = append(notes, note{"status", v.Status})
	} else {
		open, _ := b.RPCActive(e)
		v = model.RPCCall{
			PID: open.PID, Procedure: open.Procedure, Transport: open.Transport, Server: open.Server,
			Interface: open.Interface, Endpoint: open.Endpoint, Address: open.Address, Process: open.Process,
		}
		notes = append(notes, note{"end", "not in the capture"})
	}
	side := "client"
	if v.Server {
		side = "server"
	}
	g := p.t.group(p.top(), "RPC", rankRPC, "remote procedure calls")
	l := p.t.lanesOf(g, side+" "+words.Task(v.Process, v.PID), 0, "")
	p.t.slice(l, e.Start(), e.Time, fmt.Sprintf("%s procedure %d", v.Interface, v.Procedure), "rpc",
		append(notes, note{"endpoint", v.Endpoint}, note{"address", v.Address}, note{"transport", v.Transport})...)
}

// log is the track of a log.
func (p *process) log(name, host string) *lanes {
	name = cmp.Or(name, "a log without a name")
	if host != "" {
		name += " of " + host
	}
	return p.t.lanesOf(p.t.group(p.top(), "logs", rankLogs, "lines and silences of logs"), name, 0, "")
}

// showLog shows what people and programs wrote.
func (p *process) showLog(b *model.Batch, e *model.Event) {
	switch e.Kind {
	case model.KindLogGap:
		v, _ := b.LogGap(e)
		end := v.Time.Add(-v.Lag)
		p.t.slice(p.log(v.Log, v.Host), end.Add(-v.Dur), end, "nothing was written", "silence", note{"lasts", v.Lasts},
			note{"before", v.Before}, note{"after", v.After}, note{"usual_ns", int64(v.Usual)},
			note{"longest_ns", int64(v.Longest)})
	case model.KindLogLine:
		v, _ := b.LogLine(e)
		at := v.Time.Add(-v.Lag)
		p.t.slice(p.log(v.Log, v.Host), at, at, v.Text, v.Class.String(), note{"pattern", v.Pattern},
			note{"silence_ns", int64(v.Silence)}, note{"reported_ns", int64(v.Dur)})
	case model.KindHostEvent:
		v, _ := b.HostEvent(e)
		p.t.slice(p.log(v.Log, v.Host), v.Time, v.Time, v.What.String(), "event log", note{"provider", v.Provider},
			note{"id", v.ID}, note{"about", v.About})
	case model.KindNote:
		v, _ := b.Note(e)
		l := p.t.lanesOf(p.top(), "notes", rankNotes, "what readers wrote about moments of the recording")
		name := v.Text
		if name == "" {
			name = "marked"
		}
		p.t.slice(l, v.About, v.About, name, "note")
	case model.KindRequest:
		v, _ := b.RequestEvent(e)
		if v.State != model.RequestOff && v.State != model.RequestRefused {
			return // it is shown when it ends
		}
		l := p.t.lanesOf(p.top(), "detail that detectors asked for", rankNotes, "")
		p.t.slice(l, v.Time.Add(-v.Dur), v.Time, strings.TrimSpace(v.What.String()+" "+v.Name), v.State.String(),
			note{"finding", v.Finding}, note{"reason", v.Reason}, note{"pid", int64(v.PID)})
	}
}

// showStream shows what concerns the recording itself.
func (p *process) showStream(b *model.Batch, e *model.Event) {
	switch e.Kind {
	case model.KindLoss:
		v, _ := b.Loss(e)
		p.t.slice(p.missing(), e.Start(), e.Time, words.Plural(v.Lost, "event")+" lost: "+v.Origin, "loss",
			note{"detail", v.Detail}, note{"events", int64(v.Lost)}, note{"bytes", int64(v.LostBytes)})
	case model.KindHostPause:
		v, _ := b.HostPause(e)
		p.t.slice(p.missing(), e.Start(), e.Time, "the host stood still: "+v.What.String(), "pause",
			note{"paused_ns", int64(v.Paused)}, note{"error_ns", int64(v.Error)}, note{"clock", v.Clock})
	case model.KindClock:
		v, _ := b.Clock(e)
		p.clock(&v)
	}
}

// clock shows how the wall clock moved against the trace's, and lets other traces of the host be joined.
func (p *process) clock(v *model.Clock) {
	g := p.top()
	if p.t.roots == 1 && !strings.Contains(strings.ToLower(p.os), "windows") && v.Boot > 0 {
		readings := []clockReading{{clockTrace, int64(v.Time)}, {clockBoottime, int64(v.Boot)}}
		if v.Mono > 0 {
			readings = append(readings, clockReading{clockMonotonic, int64(v.Mono)})
		}
		p.t.clocks(readings...)
	}
	if v.Wall > 0 {
		c := p.t.counterOf(p, g, "wall clock against the recording's", "ns", rankClock,
			"the recording's clock never steps; this shows how the wall clock was set or slewed meanwhile")
		p.t.sample(c, v.Time, float64(v.Wall-v.Time))
	}
}
