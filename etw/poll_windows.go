package etw

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"reflect"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"lostbeat/internal/hint"
	"lostbeat/model"
)

// netshTimeout is how long netsh may take to say one range.
const netshTimeout = 3 * time.Second

// poll reads what Windows counts, which needs no administrator rights.
type poll struct {
	cpus    []processorTimes
	devices map[uint64]windows.MibIfRow2
	// at is when it was read last, failed what was said already.
	at     model.Time
	failed map[string]bool
}

// second adds what was counted since the last call; at the first, it only reads.
func (p *poll) second(t model.Time, out *model.Builder) {
	interval := t.Sub(p.at)
	first := p.at == 0
	p.at = t
	cpus, err := readProcessors()
	p.said("processor times", err, t, out)
	if len(cpus) == len(p.cpus) && !first {
		for i := range cpus {
			now, before := &cpus[i], &p.cpus[i]
			units := func(a, b int64) time.Duration { return time.Duration(max(a-b, 0)) * 100 }
			dpc, interrupt := units(now.DPC, before.DPC), units(now.Interrupt, before.Interrupt)
			idle := units(now.Idle, before.Idle)
			out.AddCPUTime(model.CPUTime{
				Time: t, Dur: interval, CPU: int32(i), Idle: idle, Softirq: dpc, IRQ: interrupt,
				User:   units(now.User, before.User),
				System: max(units(now.Kernel, before.Kernel)-idle-dpc-interrupt, 0),
			})
		}
	}
	p.cpus = cpus
	p.interfaces(t, interval, out)
}

// said writes that something cannot be read, once.
func (p *poll) said(what string, err error, t model.Time, out *model.Builder) {
	if err == nil || p.failed[what] {
		return
	}
	p.failed[what] = true
	out.AddProbe(model.Probe{
		Time: t, Name: "counters", Part: what, State: model.ProbeDegraded, Reason: err.Error(), Hint: hint.Of(err),
	})
}

// readProcessors returns the times of the processors of this process's group, of which there are at most 64.
func readProcessors() ([]processorTimes, error) {
	list := make([]processorTimes, 64)
	var n uint32
	size := uint32(unsafe.Sizeof(list[0]))
	err := windows.NtQuerySystemInformation(
		windows.SystemProcessorPerformanceInformation, unsafe.Pointer(&list[0]), uint32(len(list))*size, &n,
	)
	if err != nil {
		return nil, fmt.Errorf("read the times of the processors: %w", err)
	}
	return list[:min(n/size, uint32(len(list)))], nil
}

// interfaces adds what the adapters have counted.
func (p *poll) interfaces(t model.Time, interval time.Duration, out *model.Builder) {
	const normal = 0 // MibIfEntryNormal
	var table *windows.MibIfTable2
	if err := windows.GetIfTable2Ex(normal, &table); err != nil {
		p.said("network adapters", fmt.Errorf("read the counters of the network adapters: %w", err), t, out)
		return
	}
	defer windows.FreeMibTable(unsafe.Pointer(table))
	seen := make(map[uint64]windows.MibIfRow2)
	for _, row := range unsafe.Slice(&table.Table[0], table.NumEntries) {
		const filterInterface = 1 << 1 // of InterfaceAndOperStatusFlags: it repeats what its adapter counts
		if row.InterfaceAndOperStatusFlags&filterInterface != 0 || row.OperStatus != windows.IfOperStatusUp {
			continue
		}
		seen[row.InterfaceLuid] = row
		before, ok := p.devices[row.InterfaceLuid]
		if !ok {
			continue
		}
		more := func(now, before uint64) uint64 { return now - min(now, before) }
		out.AddDeviceStats(model.DeviceStats{
			Time: t, Dur: interval, Ifindex: int64(row.InterfaceIndex),
			RXPackets: more(row.InUcastPkts+row.InNUcastPkts, before.InUcastPkts+before.InNUcastPkts),
			TXPackets: more(row.OutUcastPkts+row.OutNUcastPkts, before.OutUcastPkts+before.OutNUcastPkts),
			RXDropped: more(row.InDiscards, before.InDiscards),
			TXDropped: more(row.OutDiscards, before.OutDiscards),
			RXErrors:  more(row.InErrors, before.InErrors),
			RXBytes:   more(row.InOctets, before.InOctets),
			Device:    windows.UTF16ToString(row.Description[:]),
			Source:    "GetIfTable2",
		})
	}
	p.devices = seen
}

// dynamicPools returns the ranges from which this host chooses ports.
func dynamicPools() (list []model.PortPool) {
	for _, protocol := range []model.Protocol{model.ProtocolTCP, model.ProtocolUDP} {
		if r, ok := dynamicRange(protocol); ok {
			list = append(list, r.pool(protocol, model.PoolEphemeral, "dynamic"))
			continue
		}
		assumed := PortRange{49152, 65535}.pool(protocol, model.PoolEphemeral, "dynamic (assumed default)")
		assumed.Flags = model.FlagSecondary
		list = append(list, assumed)
	}
	return list
}

// rpcPorts follows the configuration of the ports of RPC in the registry.
type rpcPorts struct {
	config RPCInternet
	there  bool
	// read says that it was read before.
	read bool
}

// follow reads the configuration and adds it when it has changed. The error says that it cannot be read, wrong what is
// wrong with it.
func (p *rpcPorts) follow(t model.Time, out *model.Builder) (wrong, err error) {
	config, there, err := readRPCInternet()
	if err != nil || p.read && there == p.there && reflect.DeepEqual(config, p.config) {
		return nil, err
	}
	if p.read && p.there {
		p.config.RemoveFrom(out, t)
	}
	p.config, p.there, p.read = config, there, true
	return config.AddTo(out, t, there), nil
}

// dynamicRange asks netsh, the only one that says it without COM.
func dynamicRange(protocol model.Protocol) (r PortRange, ok bool) {
	system, err := windows.GetSystemDirectory()
	if err != nil {
		return r, false
	}
	name := "tcp"
	if protocol == model.ProtocolUDP {
		name = "udp"
	}
	ctx, cancel := context.WithTimeout(context.Background(), netshTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(system, "netsh.exe"), "int", "ipv4", "show", "dynamicport", name)
	out, err := cmd.Output()
	if err != nil {
		return r, false
	}
	return ParseDynamicRange(string(out))
}

// readRPCInternet reads the configuration of the ports of RPC; ok is false where there is none.
func readRPCInternet() (c RPCInternet, ok bool, err error) {
	const path = `Software\Microsoft\Rpc\Internet`
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, path, registry.QUERY_VALUE)
	if errors.Is(err, registry.ErrNotExist) {
		return c, false, nil
	}
	if err != nil {
		return c, false, fmt.Errorf(`read HKLM\%s: %w`, path, err)
	}
	defer key.Close()
	// A value that is missing, or of another type, stays empty, which Ranges reports.
	c.Ports, _, _ = key.GetStringsValue("Ports")
	c.PortsAvailable, _, _ = key.GetStringValue("PortsInternetAvailable")
	c.UsePorts, _, _ = key.GetStringValue("UseInternetPorts")
	return c, true, nil
}

// readTables reads the tables of all sockets.
func readTables() (sockets []tableSocket, err error) {
	dll := windows.NewLazySystemDLL("iphlpapi.dll")
	buffer := make([]byte, 64<<10)
	for i := range tableKinds {
		k := &tableKinds[i]
		const udpOwnerModule, tcpOwnerModuleAll = 2, 8
		proc, class := dll.NewProc("GetExtendedUdpTable"), uintptr(udpOwnerModule)
		if k.protocol == model.ProtocolTCP {
			proc, class = dll.NewProc("GetExtendedTcpTable"), tcpOwnerModuleAll
		}
		if err := proc.Find(); err != nil {
			return nil, fmt.Errorf("read the tables of sockets: %w", err)
		}
		family := uintptr(windows.AF_INET)
		if k.ipv6 {
			family = windows.AF_INET6
		}
		for {
			size := uint32(len(buffer))
			code, _, _ := proc.Call(
				uintptr(unsafe.Pointer(&buffer[0])), uintptr(unsafe.Pointer(&size)), 0, family, class, 0,
			)
			if code == errorInsufficient && len(buffer) < 64<<20 {
				buffer = make([]byte, max(2*len(buffer), int(size)+k.row))
				continue
			}
			if err := fail("read the tables of sockets", code); err != nil {
				return nil, err
			}
			break
		}
		sockets = append(sockets, k.parse(buffer)...)
	}
	return sockets, nil
}
