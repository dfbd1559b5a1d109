package confirm

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"lostbeat/internal/netns"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// maxDevices bounds the devices that are looked at when a request names none.
const maxDevices = 32

// errNoDevice is a request about a device that is not there.
var errNoDevice = errors.New("no such device in the network namespace")

// devices returns the device of the request, or all of the calling thread's
// namespace when it names none.
func (q *answer) devices() ([]netlink.Link, error) {
	if q.request.Ifindex != 0 {
		device, err := netlink.LinkByIndex(int(q.request.Ifindex))
		var missing netlink.LinkNotFoundError
		if errors.As(err, &missing) {
			return nil, errNoDevice
		} else if err != nil {
			return nil, fmt.Errorf("read device %d: %w", q.request.Ifindex, err)
		}
		return []netlink.Link{device}, nil
	}
	all, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	if len(all) > maxDevices {
		q.more += len(all) - maxDevices
		all = all[:maxDevices]
	}
	return all, nil
}

// eachDevice runs f for each device of the request, in its namespace.
func (q *answer) eachDevice(f func(device netlink.Link) error) error {
	return q.inside(func() error {
		devices, err := q.devices()
		if err != nil {
			return err
		}
		for _, device := range devices {
			if err := f(device); err != nil {
				return err
			}
		}
		return nil
	})
}

// reversePath names the values of rp_filter.
var reversePath = []string{"off", "strict", "loose"}

func readRPFilter(q *answer) error {
	name := func(v float64) string {
		if i := int(v); i >= 0 && i < len(reversePath) {
			return reversePath[i]
		}
		return "unknown"
	}
	var all float64
	err := q.inside(func() (err error) {
		all, err = sysctlNumber("ipv4/conf/all/rp_filter")
		return err
	})
	if err != nil {
		return err
	}
	q.add(model.Reading{Instance: "all", Value: all, Detail: name(all)})
	return q.eachDevice(func(device netlink.Link) error {
		attrs := device.Attrs()
		v, err := sysctlNumber("ipv4/conf/" + attrs.Name + "/rp_filter")
		if errors.Is(err, fs.ErrNotExist) {
			return nil // IPv4 is off on it
		} else if err != nil {
			return err
		}
		q.add(model.Reading{
			Instance: attrs.Name, Ifindex: int64(attrs.Index), Value: v,
			Detail: fmt.Sprintf("%s, in effect %s", name(v), name(max(v, all))),
		})
		return nil
	})
}

// xdpModes are how XDP programs are attached, by IFLA_XDP_ATTACHED.
var xdpModes = []string{"none", "native", "generic", "offloaded", "several"}

func readXDP(q *answer) error {
	return q.eachDevice(func(device netlink.Link) error {
		attrs := device.Attrs()
		v := model.Reading{Instance: attrs.Name, Ifindex: int64(attrs.Index), Unit: "program id", Detail: "no program"}
		if x := attrs.Xdp; x != nil && x.Attached {
			mode := "unknown"
			if int(x.AttachMode) < len(xdpModes) {
				mode = xdpModes[x.AttachMode]
			}
			v.Value, v.Detail = float64(x.ProgId), mode+", "+programName(cebpf.ProgramID(x.ProgId))
		}
		q.add(v)
		return nil
	})
}

// programName describes a loaded BPF program.
func programName(id cebpf.ProgramID) string {
	program, err := cebpf.NewProgramFromID(id)
	if err != nil {
		return fmt.Sprintf("program %d", id)
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil || info.Name == "" {
		return fmt.Sprintf("program %d", id)
	}
	return fmt.Sprintf("program %s (%d)", info.Name, id)
}

// hooks are where tc filters stand on a device.
var hooks = []struct {
	name   string
	parent uint32
	tcx    cebpf.AttachType
}{
	{"ingress", netlink.HANDLE_MIN_INGRESS, cebpf.AttachTCXIngress},
	{"egress", netlink.HANDLE_MIN_EGRESS, cebpf.AttachTCXEgress},
}

// readTC reads the filters of each hook: their number, and each with what is
// known of what it drops.
func readTC(q *answer) error {
	return q.eachDevice(func(device netlink.Link) error {
		attrs := device.Attrs()
		dropped, err := clsactDrops(device)
		if err != nil {
			return err
		}
		for _, hook := range hooks {
			var filters []model.Reading
			list, err := netlink.FilterList(device, hook.parent)
			if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
				return fmt.Errorf("list filters of %s: %w", attrs.Name, err)
			}
			for _, f := range list {
				if v, ok := filterReading(attrs.Name+" "+hook.name, f); ok {
					filters = append(filters, v)
				}
			}
			// Kernels before 6.6 have no tcx.
			if found, err := link.QueryPrograms(link.QueryOptions{Target: attrs.Index, Attach: hook.tcx}); err == nil {
				for _, p := range found.Programs {
					filters = append(filters, model.Reading{
						Instance: attrs.Name + " " + hook.name + " tcx", Unit: "packets",
						Detail: programName(p.ID) + ", drops are not counted",
					})
				}
			}
			q.add(model.Reading{
				Instance: attrs.Name + " " + hook.name, Ifindex: int64(attrs.Index),
				Value: float64(len(filters)), Unit: "filters", Detail: dropped,
			})
			for _, v := range filters {
				v.Ifindex = int64(attrs.Index)
				q.add(v)
			}
		}
		return nil
	})
}

// clsactDrops says what the filters of a device have dropped, in and out.
func clsactDrops(device netlink.Link) (string, error) {
	list, err := netlink.QdiscList(device)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return "", fmt.Errorf("list the qdiscs of %s: %w", device.Attrs().Name, err)
	}
	for _, qdisc := range list {
		if s := qdisc.Attrs().Statistics; s != nil && isHook(qdisc) {
			return fmt.Sprintf("%s: %d dropped, in and out", qdisc.Type(), s.Queue.Drops), nil
		}
	}
	return "no clsact or ingress qdisc", nil
}

// isHook says that a qdisc is no queue but the place of filters.
func isHook(qdisc netlink.Qdisc) bool { return qdisc.Type() == "clsact" || qdisc.Type() == "ingress" }

// filterReading describes a filter; the head of a list of filters is none.
func filterReading(where string, f netlink.Filter) (v model.Reading, ok bool) {
	attrs := f.Attrs()
	if attrs.Handle == 0 || f.Type() == "u32" && attrs.Handle&0xfff == 0 {
		return v, false
	}
	v.Instance = fmt.Sprintf("%s pref %d %s", where, attrs.Priority, f.Type())
	v.Unit = "packets"
	if bpf, ok := f.(*netlink.BpfFilter); ok {
		v.Detail = programName(cebpf.ProgramID(bpf.Id))
		if bpf.DirectAction {
			v.Detail += ", direct-action"
		}
		v.Detail += ", drops are not counted"
		return v, true
	}
	var actions []netlink.Action
	switch f := f.(type) {
	case *netlink.U32:
		actions = f.Actions
	case *netlink.MatchAll:
		actions = f.Actions
	case *netlink.Flower:
		actions = f.Actions
	case *netlink.FwFilter:
		if f.Police != nil {
			actions = append(actions, f.Police)
		}
	}
	var words []string
	for _, action := range actions {
		attrs := action.Attrs()
		words = append(words, action.Type()+" "+attrs.Action.String())
		if attrs.Statistics != nil {
			v.Value += float64(attrs.Statistics.Queue.Drops)
		}
	}
	v.Detail = strings.Join(words, ", ")
	return v, true
}

// readQdiscs reads what each qdisc has dropped since it was set up, and how
// full it is.
func readQdiscs(q *answer) error {
	return q.eachDevice(func(device netlink.Link) error {
		attrs := device.Attrs()
		list, err := netlink.QdiscList(device)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return fmt.Errorf("list the qdiscs of %s: %w", attrs.Name, err)
		}
		for _, qdisc := range list {
			s := qdisc.Attrs().Statistics
			if s == nil {
				continue
			}
			place := netlink.HandleStr(qdisc.Attrs().Parent)
			instance := fmt.Sprintf("%s %s %s", attrs.Name, qdisc.Type(), place)
			q.add(model.Reading{
				Instance: instance, Ifindex: int64(attrs.Index), Value: float64(s.Queue.Drops), Unit: "packets",
				Detail: fmt.Sprintf("sent %d packets %d bytes, overlimits %d, requeues %d",
					s.Basic.Packets, s.Basic.Bytes, s.Queue.Overlimits, s.Queue.Requeues),
			})
			if isHook(qdisc) || qdisc.Type() == "noqueue" {
				continue
			}
			limit, detail := limitOf(qdisc, attrs.TxQLen)
			v := model.Reading{
				Name: "qdisc_backlog", Instance: instance, Ifindex: int64(attrs.Index), Value: float64(s.Queue.Qlen),
				Limit: float64(limit), Unit: "packets",
				Detail: fmt.Sprintf("%d bytes%s", s.Queue.Backlog, detail),
			}
			q.add(v)
		}
		return nil
	})
}

// limitOf returns the limit of a qdisc in packets, 0 when it is none or
// unknown, and what else limits it.
func limitOf(qdisc netlink.Qdisc, txQueueLength int) (packets uint32, detail string) {
	switch qdisc := qdisc.(type) {
	case *netlink.FqCodel:
		return qdisc.Limit, fmt.Sprintf(", memory limit %d bytes", qdisc.MemoryLimit)
	case *netlink.Fq:
		return qdisc.PacketLimit, fmt.Sprintf(", %d packets for each flow", qdisc.FlowPacketLimit)
	case *netlink.Sfq:
		return qdisc.Limit, ""
	case *netlink.Netem:
		return qdisc.Limit, ""
	case *netlink.Tbf:
		return 0, fmt.Sprintf(", limit %d bytes, rate %d bytes/s", qdisc.Limit, qdisc.Rate)
	case *netlink.PfifoFast:
		return uint32(max(txQueueLength, 1)), " in each of 3 bands"
	}
	return 0, ""
}

// readMTU reads the MTU of the devices, and of the other ends of veth devices.
func readMTU(q *answer) error {
	type end struct {
		reading model.Reading
		// peer is its index, in the namespace that has number netnsID here, -1 this one.
		peer, netnsID int
	}
	var ends []end
	err := q.eachDevice(func(device netlink.Link) error {
		attrs := device.Attrs()
		e := end{
			reading: model.Reading{
				Instance: attrs.Name, Ifindex: int64(attrs.Index), Value: float64(attrs.MTU), Unit: "bytes",
				Detail: device.Type(),
			},
			netnsID: attrs.NetNsID,
		}
		if device.Type() == "veth" {
			e.peer = attrs.ParentIndex
		}
		ends = append(ends, e)
		return nil
	})
	if err != nil {
		return err
	}
	for i := range ends {
		e := &ends[i]
		if e.peer != 0 {
			peer, where, err := q.peer(e.peer, e.netnsID)
			if err != nil {
				e.reading.Detail += ", peer unknown: " + err.Error()
			} else {
				e.reading.Limit = float64(peer.Attrs().MTU)
				e.reading.Detail += fmt.Sprintf(", peer %s in namespace %d", peer.Attrs().Name, where)
			}
		}
		q.add(e.reading)
	}
	return nil
}

// peer finds a device by its index in the namespace that has the given number
// in the namespace of the request, -1 for that namespace itself.
func (q *answer) peer(index, netnsID int) (peer netlink.Link, where uint32, err error) {
	n := q.namespace
	if netnsID >= 0 {
		if n, err = q.numbered(netnsID); err != nil {
			return nil, 0, err
		}
	}
	err = q.in(n, func() error {
		peer, err = netlink.LinkByIndex(index)
		return err
	})
	return peer, n.Inode, err
}

// numbered finds the namespace that has the given number in the namespace of
// the request.
func (q *answer) numbered(netnsID int) (found netns.Namespace, err error) {
	all, err := netns.List(maxNamespaces)
	if err != nil {
		return found, err
	}
	err = q.inside(func() error {
		i := slices.IndexFunc(all, func(n netns.Namespace) bool {
			f, err := n.Open()
			if err != nil {
				return false
			}
			defer f.Close()
			id, err := netlink.GetNetNsIdByFd(int(f.Fd()))
			return err == nil && id == netnsID
		})
		if i < 0 {
			return errors.New("its network namespace was not found")
		}
		found = all[i]
		return nil
	})
	return found, err
}
