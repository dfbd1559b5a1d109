package nic

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"lostbeat/ebpf"
	"lostbeat/internal/netns"
	"lostbeat/internal/platform"
	"lostbeat/model"
)

// Name is the probe's name.
const Name = "nic"

// Kinds are the kinds of events that the probe emits.
var Kinds = []model.Kind{
	model.KindNAPI,
	model.KindSoftnet,
	model.KindDeviceStats,
	model.KindDeviceConfig,
	model.KindDeviceQueue,
	model.KindDeviceEvent,
	model.KindDrop,
	model.KindCounter,
}

// Parts of the probe, as in its status.
const (
	partPolls   = "polls"
	partSoftnet = "softnet"
	partDevices = "devices"
	partOthers  = "namespaces"
)

// Probe is the Linux half.
type Probe struct{}

// New returns the probe.
func New() *Probe { return &Probe{} }

// Name implements ebpf.Probe.
func (*Probe) Name() string { return Name }

// Kinds implements ebpf.Probe.
func (*Probe) Kinds() []model.Kind { return Kinds }

// attached is the running probe.
type attached struct {
	env    *ebpf.Env
	loader *ebpf.Loader
	polls  *polls
	cpus   softnet
	host   *namespace
	others map[uint32]*namespace
	// listed is when the namespaces were listed, othersDue when the other ones
	// are to be read again.
	listed, othersDue time.Time
	// named is when a namespace was last given a name, as of the last listing.
	named  time.Time
	status map[string]model.Probe
}

// Attach implements ebpf.Probe.
func (*Probe) Attach(env *ebpf.Env) (ebpf.Attached, error) {
	own, err := netns.Own()
	if err != nil {
		return nil, fmt.Errorf("find the network namespace of this process: %w", err)
	}
	a := &attached{
		env:    env,
		host:   newNamespace(own, true),
		others: make(map[uint32]*namespace),
		status: make(map[string]model.Probe),
	}
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read the BPF object: %w", err)
	}
	if a.loader, err = env.NewLoader(spec); err != nil {
		return nil, err
	}
	polled := a.loader.Try(Name, partPolls, bpfProgNicNapiPoll)
	a.status[partPolls] = polled
	if polled.State == model.ProbeOn {
		a.polls = newPolls(a.loader.Map(bpfMapNicPolled), a.loader.Map(".bss"))
	}
	a.status[partSoftnet] = ebpf.StatusOf(Name, partSoftnet, a.cpus.start())
	if err := a.host.Do(func() (err error) {
		a.host.changes, err = subscribeLinks()
		return err
	}); err != nil {
		env.Log.Warn("link changes that last less than 1 s are not seen", "error", err)
	}
	// The first reading sets the base of all counters; what it would emit
	// belongs to no interval.
	var base model.Builder
	err = a.host.collect(0, 0, &base)
	a.host.restart()
	a.status[partOthers] = ebpf.StatusOf(Name, partOthers, a.collectOthers(0, 0, &base))
	a.status[partDevices] = a.devicesStatus(err)
	for _, n := range a.others {
		n.restart()
	}
	a.othersDue = time.Time{}
	return a, nil
}

// Status implements ebpf.Attached.
func (a *attached) Status() []model.Probe {
	all := make([]model.Probe, 0, len(a.status))
	for _, part := range []string{partPolls, partSoftnet, partDevices, partOthers} {
		all = append(all, a.status[part])
	}
	return all
}

// Close implements ebpf.Attached.
func (a *attached) Close() error {
	if a.host.changes != nil {
		a.host.changes.close()
	}
	return a.loader.Close()
}

// Runs implements ebpf.Counted.
func (a *attached) Runs() uint64 {
	if a.polls == nil {
		return 0
	}
	return a.polls.ran
}

// Collect implements ebpf.Attached.
func (a *attached) Collect(now model.Time, interval time.Duration, b *model.Builder) error {
	var errs []error
	if a.polls != nil {
		errs = append(errs, a.polls.collect(now, interval, a.deviceName, b))
	}
	errs = append(errs, a.cpus.collect(now, interval, b))
	err := a.host.collect(now, interval, b)
	a.report(partOthers, a.collectOthers(now, interval, b))
	a.report(partDevices, err)
	return errors.Join(errs...)
}

// devicesStatus is the state of the devices: degraded where a driver is not known.
func (a *attached) devicesStatus(err error) model.Probe {
	state := ebpf.StatusOf(Name, partDevices, err)
	if err != nil {
		return state
	}
	var unknown []string
	for _, n := range append(slices.Collect(maps.Values(a.others)), a.host) {
		for _, d := range n.devices {
			if d.state != driverKnown {
				unknown = append(unknown, fmt.Sprintf("%s (driver %s)", d.name, cmp.Or(d.config.Driver, "without a name")))
			}
		}
	}
	if len(unknown) == 0 {
		return state
	}
	slices.Sort(unknown)
	names := strings.Join(unknown[:min(len(unknown), 3)], ", ")
	if len(unknown) > 3 {
		names += fmt.Sprintf(" and %d more", len(unknown)-3)
	}
	state.State = model.ProbeDegraded
	state.Reason = "the driver's own statistics are not known, the link's counters are used for ring losses: " + names
	state.Hint = "look at ethtool -S yourself; docs/DRIVERS.md lists the drivers that are known"
	return state
}

// report updates the state of a part that reads files.
func (a *attached) report(part string, err error) {
	state := ebpf.StatusOf(Name, part, err)
	if part == partDevices {
		state = a.devicesStatus(err)
	}
	if err != nil {
		state.State = model.ProbeDegraded
	}
	if state != a.status[part] {
		a.status[part] = state
		a.env.StatusChanged()
	}
}

// collectOthers reads the other namespaces, as far as that takes no more than a
// hundredth of a CPU.
func (a *attached) collectOthers(now model.Time, interval time.Duration, b *model.Builder) error {
	if time.Now().Before(a.othersDue) {
		return nil
	}
	began := time.Now()
	defer func() {
		// A little less than the pause, so that the next second is not missed;
		// never longer than the layout may be old, so that a moment at which the
		// host is busy does not blind us.
		a.othersDue = began.Add(min((time.Since(began)-interval/costRatio/2)*costRatio, layoutInterval))
	}()
	var errs []error
	named := namedSince()
	if time.Since(a.listed) >= layoutInterval || named != a.named {
		a.listed, a.named = began, named
		errs = append(errs, a.listOthers(now, b))
	}
	for inode, n := range a.others {
		err := n.collect(now, interval, b)
		switch {
		case errors.Is(err, netns.ErrGone):
			// Its name or process has gone; the next listing may find another.
			n.removeAll(now, b)
			delete(a.others, inode)
		case err != nil:
			errs = append(errs, fmt.Errorf("network namespace %s: %w", n.Name, err))
		}
	}
	return errors.Join(errs...)
}

// namedSince returns when a namespace was last given a name or lost it, so that
// the devices of a new one are seen at once.
func namedSince() time.Time {
	info, err := os.Stat("/run/netns")
	if err != nil {
		return time.Time{} // no namespace has a name
	}
	return info.ModTime()
}

// listOthers looks for new namespaces.
func (a *attached) listOthers(now model.Time, b *model.Builder) error {
	list, err := netns.List(maxNamespaces)
	if err != nil {
		return fmt.Errorf("list network namespaces: %w", err)
	}
	listed := make(map[uint32]bool, len(list))
	for _, ns := range list {
		if ns.Inode == a.host.Inode {
			continue
		}
		listed[ns.Inode] = true
		if known := a.others[ns.Inode]; known != nil {
			known.Namespace = ns // the process that led to it may have changed
		} else {
			a.others[ns.Inode] = newNamespace(ns, false)
		}
	}
	for inode, n := range a.others {
		if !listed[inode] {
			n.removeAll(now, b)
			delete(a.others, inode)
		}
	}
	return nil
}

// deviceName returns the present name of a device, "" when it is not known.
func (a *attached) deviceName(inode, ifindex uint32) string {
	n := a.others[inode]
	if inode == a.host.Inode {
		n = a.host
	}
	if n == nil {
		return ""
	}
	if d := n.devices[int(ifindex)]; d != nil {
		return d.name
	}
	return ""
}

// restart makes the next reading emit everything that describes the namespace,
// and count from the last reading on.
func (n *namespace) restart() {
	n.read, n.layout = 0, 0
	for _, d := range n.devices {
		d.config, d.queues = model.DeviceConfig{}, nil
	}
}

// softnet reads /proc/net/softnet_stat.
type softnet struct {
	online []int32
	before map[int32]softnetCPU
}

// start reads the counters once, so that the first interval has a base.
func (s *softnet) start() error {
	if text, err := os.ReadFile("/sys/devices/system/cpu/online"); err == nil {
		if s.online, err = platform.ParseCPUList[int32](string(text)); err != nil {
			return err
		}
	}
	s.before = make(map[int32]softnetCPU)
	cpus, err := s.read()
	for _, c := range cpus {
		s.before[c.cpu] = c
	}
	return err
}

func (s *softnet) read() ([]softnetCPU, error) {
	f, err := os.Open("/proc/net/softnet_stat")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseSoftnet(f, s.online)
}

// collect emits what each CPU has counted. One that was offline has counted
// nothing meanwhile, and goes on from where it was.
func (s *softnet) collect(now model.Time, interval time.Duration, b *model.Builder) error {
	cpus, err := s.read()
	for _, c := range cpus {
		before, known := s.before[c.cpu]
		s.before[c.cpu] = c
		if !known {
			continue
		}
		// Differences of 32 bits are right across a wrap.
		b.AddSoftnet(
			model.Softnet{
				Time:      now,
				Dur:       interval,
				CPU:       c.cpu,
				Processed: uint64(c.processed - before.processed),
				Dropped:   uint64(c.dropped - before.dropped),
				TimeSqueeze: uint64(
					c.timeSqueeze - before.timeSqueeze,
				),
				ReceivedRPS:    uint64(c.receivedRPS - before.receivedRPS),
				FlowLimit:      uint64(c.flowLimit - before.flowLimit),
				BacklogPackets: uint64(c.backlogPackets),
			},
		)
	}
	if err != nil {
		return fmt.Errorf("read softnet_stat: %w", err)
	}
	return nil
}

// unitOf returns the unit of an SNMP counter.
func unitOf(protocol, name string) string {
	switch {
	case protocol == "Udp", protocol == "Udp6":
		return "datagrams"
	case strings.HasSuffix(name, "Segs"),
		name == "InErrs",
		strings.HasSuffix(name, "Drop"),
		strings.HasSuffix(name, "Drops"):
		return "segments"
	}
	return "events"
}
