package drop

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"lostbeat/ebpf"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// Name is the probe's name.
const Name = "drop"

// Kinds are the kinds of events that the probe emits.
var Kinds = []model.Kind{model.KindDrop, model.KindFlowDrop, model.KindSocketQueue}

// Parts of the probe, as in its status.
const (
	partPackets = "packets"
	partSockets = "sockets"
	partHeaders = "headers"
	partReads   = "reads"
	partQueues  = "queues"
)

// Probe is the Linux half.
type Probe struct {
	// old leaves out what kernels before 6.11 do not have: the receiving socket
	// in kfree_skb. blind leaves out what lockdown=confidentiality refuses.
	// Tests set them.
	old, blind bool
	// reads are the programs that see reads, readSets unless a test sets them; wrappers are the functions that free
	// packets in the name of their caller.
	reads    []ebpf.Set
	wrappers []string
}

// wrappers are functions that free packets in the name of their caller. Elsewhere the compiler has them jump to the one
// that the kernel reports the caller of, so that their own names never appear.
func wrappers() []string {
	if runtime.GOARCH == "arm64" {
		return []string{"__dev_kfree_skb_any", "dev_kfree_skb_any_reason"}
	}
	return nil
}

// readSets are the programs that see reads.
func (p *Probe) readSets() []ebpf.Set {
	if p.reads != nil {
		return p.reads
	}
	return ebpf.SocketSets([]string{bpfProgDropRecv}, []string{bpfProgDropRecv4}, []string{bpfProgDropRecv6})
}

// New returns the probe.
func New() *Probe { return &Probe{wrappers: wrappers()} }

// Name implements ebpf.Probe.
func (*Probe) Name() string { return Name }

// Kinds implements ebpf.Probe.
func (*Probe) Kinds() []model.Kind { return Kinds }

// attached is the running probe.
type attached struct {
	env     *ebpf.Env
	loader  *ebpf.Loader
	status  []model.Probe
	reasons *reasonNames
	counts  counts
	sockets sockets
	names   deviceNames
	// wrappers is the code of functions whose caller is meant.
	wrappers [4]bpfDropCode
	// runs is how many packets were dropped in the last interval.
	runs uint64
}

// NoReasonsError is a kernel whose kfree_skb does not say why.
type NoReasonsError struct{ Err error }

func (e *NoReasonsError) Error() string {
	return fmt.Sprintf("this kernel does not say why it drops a packet: %v", e.Err)
}

func (e *NoReasonsError) Unwrap() error { return e.Err }

// Hint implements the convention for faults that a user can fix.
func (e *NoReasonsError) Hint() string {
	return "Linux 5.17 and later do; the counters of devices and /proc/net still show that packets were lost"
}

// Attach implements ebpf.Probe.
func (p *Probe) Attach(env *ebpf.Env) (ebpf.Attached, error) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("read the kernel's BTF: %w", err)
	}
	reasons, err := loadReasons(kernel)
	if err != nil {
		return nil, &NoReasonsError{err}
	}
	a := &attached{env: env, reasons: reasons}
	for i, name := range p.wrappers {
		a.wrappers[i].Begin, a.wrappers[i].Size = env.Function(name)
	}
	tellsSocket := tracepointArgs(kernel, "kfree_skb") >= 4 && !p.old
	failFollows := !tellsSocket && tracepointArgs(kernel, "udp_fail_queue_rcv_skb") == 2
	if err := a.attachPackets(tellsSocket, failFollows, p.blind); err != nil {
		return nil, err
	}
	a.counts.init(a.loader.Map(bpfMapDropCounts), a.loader.Map(bpfMapDropFolded))
	a.counts.hot.init(a.loader.Map(bpfMapDropHots), a.loader.Map(bpfMapDropHotCounts))
	a.sockets.init(env, a.loader)
	a.names.init()
	reads := a.loader.TryInTurn(Name, partReads, p.readSets())
	if a.sockets.seesReads = reads.State != model.ProbeOff; a.sockets.seesReads && env.Following.ReadsBy == "" {
		env.Following.ReadsBy = Name
	}
	if !a.sockets.seesReads {
		reads.Reason = "cannot tell how long a program has not read its socket: " + reads.Reason
	}
	queues, err := a.loader.Attach(bpfProgDropQueues)
	if err == nil {
		a.sockets.queues = queues.(*link.Iter)
	}
	a.status = append(a.status, reads, ebpf.StatusOf(Name, partQueues, err))
	return a, nil
}

// attachPackets attaches the programs that count and attribute. Where the
// kernel refuses to let programs read packets, it does without the headers.
func (a *attached) attachPackets(tellsSocket, failFollows, blind bool) error {
	var refused error
	for _, headers := range []bool{true, false} {
		if headers && blind {
			refused = errors.New("left out")
			continue
		}
		var err error
		if a.loader, err = a.newLoader(headers, failFollows); err != nil {
			return err
		}
		status, err := a.attachCounting(headers, tellsSocket, failFollows)
		if err == nil {
			a.status = append(a.status, ebpf.StatusOf(Name, partPackets, nil), status, headerStatus(headers, refused))
			return nil
		}
		refused = err
		if err := a.loader.Close(); err != nil {
			a.env.Log.Warn("close", "error", err)
		}
	}
	return refused
}

// attachCounting attaches the program that counts and, where that is not told
// the socket, those that are. It returns the state of the attribution.
func (a *attached) attachCounting(headers, tellsSocket, failFollows bool) (sockets model.Probe, err error) {
	if tellsSocket {
		_, err := a.loader.Attach(bpfProgDropKfreeSkbRxSk)
		return ebpf.StatusOf(Name, partSockets, nil), err
	}
	udpFail := bpfProgDropUdpFails
	if failFollows {
		// It counts what the other leaves to it, so it must run first.
		udpFail = bpfProgDropUdpFailed
	}
	sockets = a.loader.Try(Name, partSockets, udpFail)
	if failFollows && sockets.State != model.ProbeOn {
		if err := a.loader.Close(); err != nil {
			a.env.Log.Warn("close", "error", err)
		}
		if a.loader, err = a.newLoader(headers, false); err != nil {
			return sockets, err
		}
	}
	if _, err := a.loader.Attach(bpfProgDropKfreeSkb); err != nil {
		return sockets, err
	}
	if sockets.State != model.ProbeOn {
		return sockets, nil
	}
	if raw := a.loader.Try(Name, partSockets, bpfProgDropRcvqueueFull); raw.State != model.ProbeOn {
		raw.State = model.ProbeDegraded
		return raw, nil
	}
	sockets.State = model.ProbeDegraded
	sockets.Reason = "this kernel reports the socket of a dropped packet only for UDP and raw receive queues, not for TCP"
	sockets.Hint = "Linux 6.11 and later report it for every packet that reached its socket"
	return sockets, nil
}

func (a *attached) newLoader(headers, failFollows bool) (*ebpf.Loader, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read the BPF object: %w", err)
	}
	if err := errors.Join(spec.Variables[bpfVarDropReasonFlags].Set(a.reasons.flags()),
		spec.Variables[bpfVarDropCanRead].Set(headers),
		spec.Variables[bpfVarDropWrappers].Set(&a.wrappers),
		spec.Variables[bpfVarDropUdpFailFollows].Set(failFollows),
		spec.Variables[bpfVarDropRecordsReads].Set(a.env.Following.ReadsBy == "")); err != nil {
		return nil, fmt.Errorf("set the BPF variables: %w", err)
	}
	cpus, err := cebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count the CPUs: %w", err)
	}
	spec.Maps[bpfMapDropHots].MaxEntries, spec.Maps[bpfMapDropHotCounts].MaxEntries = uint32(cpus), uint32(cpus)
	return a.env.NewLoader(spec)
}

func headerStatus(headers bool, refused error) model.Probe {
	if headers {
		return ebpf.StatusOf(Name, partHeaders, nil)
	}
	status := ebpf.StatusOf(Name, partHeaders, refused)
	status.Reason = "the port of packets without a socket is unknown, and packets just read still count as queued: " +
		status.Reason
	return status
}

// Status implements ebpf.Attached.
func (a *attached) Status() []model.Probe { return a.status }

// Close implements ebpf.Attached.
func (a *attached) Close() error { return a.loader.Close() }

// Runs implements ebpf.Counted. Reads of sockets, which have a program as well, are not counted.
func (a *attached) Runs() uint64 { return a.runs }

// Collect implements ebpf.Attached.
func (a *attached) Collect(now model.Time, interval time.Duration, b *model.Builder) error {
	dropped, err := a.counts.read()
	if err != nil {
		return fmt.Errorf("read the drop counts: %w", err)
	}
	a.runs = 0
	for i := range dropped {
		d := &dropped[i]
		a.runs += d.packets
		d.reason, d.function = a.reasons.name(d.key.Reason), a.env.Symbol(d.key.Location)
		d.place = PlaceOf(d.reason, d.function)
		a.sockets.dropped(d, now)
		a.names.need(d.key.Netns)
	}
	err = errors.Join(a.sockets.read(now), a.names.refresh())
	for _, d := range a.fold(dropped) {
		a.addDrop(d, now, interval, b)
	}
	a.sockets.emit(now, interval, b)
	return errors.Join(err, a.counts.forget(), a.sockets.forget(now))
}

// addDrop emits one count.
func (a *attached) addDrop(d delta, now model.Time, interval time.Duration, b *model.Builder) {
	v := model.Drop{Time: now, Dur: interval, CPU: int32(d.key.Cpu), PID: -1, TID: -1, Cookie: d.key.Cookie,
		Place: d.place, Count: d.packets, Protocol: model.Protocol(d.key.Protocol), LocalPort: d.key.LocalPort,
		Queue: -1, Reason: d.reason, Location: d.function, Device: d.device, NetnsInode: d.key.Netns}
	direction, known := Direction(d.reason, d.function)
	if !known && d.key.Received == 0 || known && direction == model.DirectionTX {
		v.Flags |= model.FlagTransmit
		if d.key.Received != 0 {
			v.LocalPort = 0 // the other end's
		}
	}
	if v.Place == model.PlaceBacklog {
		v.CPU = -1 // it freed the packet for the backlog of a CPU that is not told
	}
	if v.Device == "" {
		v.Device = a.names.of(d.key.Netns, d.key.Ifindex)
	}
	if v.Device != "" {
		v.Ifindex = int64(d.key.Ifindex)
	}
	if pid := a.sockets.owner(d.key.Cookie); pid > 0 {
		v.PID, v.Process = pid, a.env.Process(pid)
	}
	b.AddDrop(v)
	if d.key.Flow == 0 {
		return
	}
	f := model.FlowDrop{Time: v.Time, Dur: v.Dur, Flags: v.Flags, PID: v.PID, TID: v.TID, NetnsInode: v.NetnsInode,
		Place: v.Place, Count: v.Count, Protocol: v.Protocol, LocalPort: v.LocalPort, Reason: v.Reason, Device: v.Device,
		Location: v.Location}
	if d.key.Flow != flowNone {
		f.Cookie, f.RemotePort = d.flow.Cookie, d.flow.RemotePort
		f.RemoteAddr = ebpf.Addr(d.flow.Remote, d.flow.Family).Unmap().String()
		if d.flow.Transmit != 0 {
			f.Direction = model.DirectionTX
		}
	}
	b.AddFlowDrop(f)
}

// flowNone is the flow of packets of a followed port which are of no followed flow: LB_FLOW_NONE of follow.h.
const flowNone = math.MaxUint32

// isMissingKey tells the end of a map or a key that is gone.
func isMissingKey(err error) bool { return errors.Is(err, cebpf.ErrKeyNotExist) }
