// Package tuitest makes streams of events for tests of the user interface: a
// Linux host with lost heartbeats and leaked ports, a quiet one, a Windows
// capture, and hosts that are too large. The streams are the same every time.
package tuitest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"lostbeat/model"
)

// Start is when all streams begin.
const Start = model.Time(1795355909e9) // 2026-11-22T14:38:29Z... whole second

// Netns is the network namespace of all ports.
const Netns = 4026531840

// Options say what happens on the host.
type Options struct {
	// Seconds is the length of the stream.
	Seconds int
	// CPUs is the number of processors, 2 when 0.
	CPUs int
	// Flood is the second from which CPU 0 drowns in NET_RX, 0 for never.
	Flood int
	// Leak is the second from which a process takes ports and gives none back, 0 for never.
	Leak int
	// Calm is the last second of both faults, 0 for none.
	Calm int
	// Gap is the second in which a followed flow is late, 0 for no followed flows.
	Gap int
	// Cut is the second from which on one of them receives nothing, as its connection was reset, 0 never.
	Cut int
	// Proposed adds flows that look like heartbeats and are not followed.
	Proposed bool
	// Log is the second at which a followed log has been silent for 5 s, 0 for no log.
	Log int
	// Windows makes a Windows capture in place of a Linux host.
	Windows bool
	// Ports and Processes are how many ports are held at the start, and by how many processes.
	Ports, Processes int
	// Units names the units of processes.
	Units bool
	// Blind turns off the probe for drops and degrades that for interrupts.
	Blind bool
	// Lost is how many events are lost in each second.
	Lost uint64
	// Name is put into every name that a host can choose, for tests of hostile names.
	Name string
}

type stream struct {
	Options
	b      model.Builder
	now    model.Time
	rng    *rand.Rand
	cookie uint64
	taken  int
	unused []unusedPort
	lost   uint64
}

// Stream returns one batch per second, the first with what the host is.
func Stream(opt Options) []*model.Batch {
	if opt.CPUs == 0 {
		opt.CPUs = 2
	}
	s := &stream{Options: opt, now: Start, rng: rand.New(rand.NewPCG(1, 2)), cookie: 1000}
	s.describe()
	batches := []*model.Batch{s.b.Take()}
	for second := range opt.Seconds {
		s.now = Start + model.Time(second+1)*model.Time(time.Second)
		s.second(second + 1)
		s.b.SortByTime()
		batches = append(batches, s.b.Take())
	}
	return batches
}

func (s *stream) describe() {
	facts := [][2]string{
		{"host", "web-07" + s.Name},
		{"os", "Linux"},
		{"kernel", "6.18.0"},
		{"cpus", fmt.Sprint(s.CPUs)},
		{"tool", "lostbeat 1.0"},
	}
	if s.Windows {
		facts = [][2]string{
			{"host", "UCM-PUB-01" + s.Name},
			{"os", "Windows"},
			{"kernel", "10.0.20348"},
			{"cpus", fmt.Sprint(s.CPUs)},
			{"tool", "lostbeat 1.0"},
		}
	}
	for _, f := range facts {
		s.b.AddMeta(model.Meta{Time: s.now, Key: f[0], Value: f[1]})
	}
	if !s.Windows {
		for _, name := range []string{"deferred", "interrupt", "nic", "drop", "port"} {
			p := model.Probe{Time: s.now, Name: name, State: model.ProbeOn}
			if s.Blind && name == "drop" {
				p.State, p.Reason, p.Hint = model.ProbeOff, "tracepoint skb:kfree_skb cannot be attached: operation not "+
					"permitted"+s.Name, "run as root or give CAP_BPF and CAP_PERFMON"
			}
			if s.Blind && name == "interrupt" {
				p.State, p.Part, p.Reason = model.ProbeDegraded, "names", "handlers cannot be named: no /proc/interrupts"
			}
			s.b.AddProbe(p)
		}
	}
	if s.Units {
		for _, p := range []model.Process{
			{PID: 900, Name: "nginx", Unit: "nginx.service"},
			{PID: 901, Name: "postgres", Unit: "pod shop/db-0/postgres"},
			{PID: 902, Name: "sshd", Unit: "ssh.service"},
			{PID: 4312, Name: "rpc-client", Unit: "docker billing"},
		} {
			p.Time, p.TID, p.Name = s.now, p.PID, p.Name+s.Name
			s.b.AddProcess(p)
		}
	}
	s.b.AddDeviceConfig(
		model.DeviceConfig{
			Time:       s.now,
			Ifindex:    2,
			Device:     "eth0" + s.Name,
			Driver:     "virtio_net",
			RXQueues:   1,
			TXQueues:   1,
			RXRing:     256,
			RXRingMax:  256,
			TXRing:     256,
			RingSource: "virtio_net reports none; link statistics only",
		},
	)
	s.b.AddDeviceConfig(
		model.DeviceConfig{Time: s.now, Ifindex: 1, Device: "lo", RXQueues: 1, TXQueues: 1, RingSource: "no ring"},
	)
	s.b.AddDeviceQueue(
		model.DeviceQueue{
			Time:      s.now,
			Ifindex:   2,
			Device:    "eth0",
			Queue:     0,
			Direction: model.DirectionRX,
			IRQ:       27,
			Ring:      256,
			IRQCPUs:   "0",
			RPSCPUs:   "0",
		},
	)
	s.b.AddDeviceQueue(
		model.DeviceQueue{
			Time:      s.now,
			Ifindex:   2,
			Device:    "eth0",
			Queue:     0,
			Direction: model.DirectionTX,
			IRQ:       28,
			Ring:      256,
			IRQCPUs:   "1",
		},
	)
	s.b.AddPortPool(
		model.PortPool{
			Time:     s.now,
			Protocol: model.ProtocolUDP,
			Low:      5000,
			High:     5999,
			Size:     1000,
			Source:   model.PoolConfigured,
			Netns:    Netns,
			Name:     "rpc",
		},
	)
	for _, p := range []model.Protocol{model.ProtocolTCP, model.ProtocolUDP} {
		s.b.AddPortPool(
			model.PortPool{
				Time:     s.now,
				Protocol: p,
				Low:      32768,
				High:     60999,
				Size:     28232,
				Source:   model.PoolEphemeral,
				Netns:    Netns,
				Name:     "ephemeral",
			},
		)
	}
	for i := range 31 {
		s.hold(
			model.ProtocolTCP,
			uint16(40000+7*i),
			int32(900+i%4),
			[]string{"nginx", "postgres", "sshd", "curl"}[i%4]+s.Name,
			model.HowConnect,
			nil,
		)
	}
	for i := range s.Ports {
		pid := int32(10000 + i%max(1, s.Processes))
		protocol := model.ProtocolTCP
		if i%2 == 1 {
			protocol = model.ProtocolUDP
		}
		s.hold(protocol, uint16(32768+(i/2)%28232), pid, fmt.Sprintf("worker-%d", pid), model.HowConnect, nil)
	}
}

func (s *stream) hold(
	protocol model.Protocol,
	port uint16,
	pid int32,
	process string,
	how model.How,
	stack model.Stack,
) {
	s.cookie++
	s.b.AddPortAcquire(
		model.PortAcquire{
			Time:       s.now,
			PID:        pid,
			TID:        pid,
			Cookie:     s.cookie,
			Protocol:   protocol,
			LocalPort:  port,
			RemotePort: 443,
			How:        how,
			Netns:      Netns,
			LocalAddr:  "10.1.2.3",
			RemoteAddr: "10.9.8.7",
			Process:    process,
			Stack:      stack,
		},
	)
}

// around returns n changed by up to a tenth.
func (s *stream) around(n float64) float64 { return n * (0.9 + 0.2*s.rng.Float64()) }

// distribution returns count durations with the given median and a tail up to worst.
func (s *stream) distribution(count int, median, worst float64) model.Histogram {
	var h model.Histogram
	for range min(count, 64) {
		h.Observe(uint64(s.around(median)))
	}
	h.Observe(uint64(s.around(worst) * 0.6))
	h.Observe(uint64(worst))
	scale := uint64(max(1, count/int(h.Count)))
	h.Count, h.Sum = h.Count*scale, h.Sum*scale
	for i := range h.Buckets {
		h.Buckets[i].Count *= scale
	}
	return h
}

func (s *stream) second(n int) {
	over := s.Calm > 0 && n > s.Calm
	flood := s.Flood > 0 && n >= s.Flood && !over
	if s.Windows {
		s.windows(n, flood)
	} else {
		s.linux(n, flood)
	}
	if s.Gap > 0 {
		s.beats(n)
	}
	if s.Proposed {
		s.propose(n)
	}
	if s.Log > 0 {
		s.log(n)
	}
	if s.Leak > 0 && n >= s.Leak && !over {
		s.leak(n)
	}
	s.churn(n)
	if s.Lost > 0 {
		s.b.AddLoss(model.Loss{Time: s.now, Dur: time.Second, CPU: 0, Lost: s.Lost, Origin: "ringbuf", Detail: "deferred"})
	}
	s.b.AddCounter(
		model.Counter{
			Time:  s.now,
			Dur:   time.Second,
			CPU:   -1,
			Name:  "self.cpu",
			Unit:  "cpus",
			Mode:  model.CounterShare,
			Value: 0.008,
		},
	)
	s.b.AddCounter(
		model.Counter{
			Time:  s.now,
			CPU:   -1,
			Name:  "self.rss_bytes",
			Unit:  "bytes",
			Mode:  model.CounterGauge,
			Value: 38 << 20,
		},
	)
}

func (s *stream) deferred(
	cpu int32,
	class model.Class,
	name, driver string,
	count int,
	share, wait, run, maxWait, maxRun float64,
) {
	waits, runs := s.distribution(count, wait, maxWait), s.distribution(count, run, maxRun)
	if wait == 0 {
		waits = model.Histogram{}
	}
	s.b.AddDeferredHist(
		model.DeferredHist{
			Time:  s.now,
			Dur:   time.Second,
			CPU:   cpu,
			Class: class,
			Count: uint64(count),
			Busy:  time.Duration(share * 1e9),
			MaxWait: time.Duration(
				waits.Max,
			),
			MaxRun:   time.Duration(runs.Max),
			Raised:   uint64(count),
			Name:     name,
			Driver:   driver,
			WaitHist: &waits,
			RunHist:  &runs,
		},
	)
}

func (s *stream) linux(n int, flood bool) {
	for cpu := range int32(s.CPUs) {
		share, count, run, worst := 0.021, 2100, 9e3, 210e3
		if flood && cpu == 0 {
			share, count, run, worst = 0.998, 980, 1.1e6, 4.0e6
		}
		s.deferred(
			cpu,
			model.ClassSoftirq,
			"NET_RX",
			"",
			count,
			s.around(share)*boolFloat(share < 0.9)+share*boolFloat(share >= 0.9),
			8e3,
			run,
			s.around(180e3),
			s.around(worst),
		)
		s.deferred(cpu, model.ClassSoftirq, "TIMER", "", 250, s.around(0.001), 6e3, 3e3, s.around(90e3), s.around(100e3))
		s.deferred(cpu, model.ClassSoftirq, "SCHED", "", 180, s.around(0.002), 5e3, 4e3, s.around(60e3), s.around(50e3))
		s.deferred(cpu, model.ClassSoftirq, "RCU", "", 120, s.around(0.0006), 9e3, 2e3, s.around(70e3), s.around(30e3))
		if cpu == 1 {
			s.deferred(cpu, model.ClassSoftirq, "BLOCK", "", 40, s.around(0.0003), 7e3, 5e3, s.around(40e3), s.around(60e3))
		}
		runs := s.distribution(900, 2e3, 22e3)
		s.b.AddInterruptHist(
			model.InterruptHist{
				Time:    s.now,
				Dur:     time.Second,
				CPU:     cpu,
				IRQ:     27 + int64(cpu),
				Class:   model.ClassHardIRQ,
				Count:   900,
				Busy:    1800 * time.Microsecond,
				MaxRun:  time.Duration(runs.Max),
				Name:    "virtio0-input.0" + s.Name,
				RunHist: &runs,
			},
		)
		idle := 0.93
		if flood && cpu == 0 {
			idle = 0
		}
		s.b.AddCPUTime(
			model.CPUTime{
				Time:    s.now,
				Dur:     time.Second,
				CPU:     cpu,
				User:    time.Duration((1 - idle) * 0.3e9),
				System:  8 * time.Millisecond,
				Softirq: time.Duration((1 - idle) * 0.7e9),
				Idle:    time.Duration(idle * 1e9),
			},
		)
		processed, dropped, squeezed := uint64(21000), uint64(0), uint64(1)
		if flood && cpu == 0 {
			processed, dropped, squeezed = 260_000, 301_200, 480
		}
		s.b.AddSoftnet(
			model.Softnet{
				Time:        s.now,
				Dur:         time.Second,
				CPU:         cpu,
				Processed:   processed,
				Dropped:     dropped,
				TimeSqueeze: squeezed,
			},
		)
	}
	polls := model.NAPI{
		Time:       s.now,
		Dur:        time.Second,
		CPU:        0,
		Ifindex:    2,
		Polls:      2100,
		Packets:    21000,
		FullPolls:  3,
		MaxPackets: 64,
		Device:     "eth0",
	}
	stats := model.DeviceStats{
		Time:      s.now,
		Dur:       time.Second,
		Ifindex:   2,
		Device:    "eth0" + s.Name,
		RXPackets: 42000,
		TXPackets: 12000,
		RXBytes:   30 << 20,
		Source:    "rtnetlink",
	}
	if flood {
		polls.Polls, polls.Packets, polls.FullPolls = 9500, 604_000, 9400
		stats.RXPackets, stats.RXBytes = 604_000, 60<<20
	}
	s.b.AddNAPI(polls)
	s.b.AddDeviceStats(stats)
	s.b.AddCounter(
		model.Counter{
			Time:  s.now,
			Dur:   time.Second,
			CPU:   -1,
			Name:  "Udp.InDatagrams",
			Unit:  "packets",
			Mode:  model.CounterTotal,
			Value: float64(n) * 21000,
		},
	)
	if !flood {
		return
	}
	if n == s.Flood || n%5 == 0 {
		s.b.AddDeferredRun(
			model.DeferredRun{
				Time:   s.now - 1e6,
				Dur:    4 * time.Millisecond,
				CPU:    0,
				PID:    15,
				TID:    15,
				Class:  model.ClassSoftirq,
				Wait:   170 * time.Microsecond,
				Vector: 3,
				Name:   "NET_RX",
				Task:   "ksoftirqd/0",
			},
		)
		s.b.AddDeferredRun(
			model.DeferredRun{
				Time:   s.now - 2e6,
				Dur:    35 * time.Microsecond,
				CPU:    0,
				PID:    15,
				TID:    15,
				Class:  model.ClassSoftirq,
				Wait:   3900 * time.Microsecond,
				Vector: 1,
				Name:   "TIMER",
				Task:   "ksoftirqd/0",
				Before: "NET_RX",
			},
		)
	}
	s.lost += 301_200 + 39_100
	s.b.AddDrop(
		model.Drop{
			Time:     s.now,
			Dur:      time.Second,
			CPU:      0,
			PID:      -1,
			TID:      -1,
			Place:    model.PlaceBacklog,
			Count:    301_200,
			Queue:    -1,
			Ifindex:  2,
			Reason:   "CPU_BACKLOG",
			Device:   "eth0",
			Location: "enqueue_to_backlog",
		},
	)
	s.b.AddDrop(
		model.Drop{
			Time:      s.now,
			Dur:       time.Second,
			CPU:       0,
			PID:       812,
			TID:       812,
			Cookie:    77,
			Place:     model.PlaceSocket,
			Count:     39_100,
			Protocol:  model.ProtocolUDP,
			LocalPort: 7000,
			Queue:     -1,
			Reason:    "SOCKET_RCVBUFF",
			Process:   "hbd" + s.Name,
		},
	)
	s.b.AddSocketQueue(
		model.SocketQueue{
			Time:        s.now,
			Dur:         time.Second,
			PID:         812,
			TID:         812,
			Cookie:      77,
			Protocol:    model.ProtocolUDP,
			LocalPort:   7000,
			QueuedBytes: 212_992,
			LimitBytes:  212_992,
			Dropped:     39_100,
			Idle:        353 * time.Millisecond,
			LocalAddr:   "0.0.0.0",
			Process:     "hbd" + s.Name,
		},
	)
	start := Start + model.Time(s.Flood-1)*model.Time(time.Second)
	f := model.Finding{
		ID:       "dpc-starvation/cpu0/" + start.String(),
		Detector: "dpc-starvation",
		Severity: model.SeverityCritical,
		Start:    start,
		End:      s.now,
		Ongoing:  n != s.Calm,
		Title: fmt.Sprintf(
			tense(n != s.Calm, "CPU 0 spends", "CPU 0 spent")+" 99.8 %% of its time in NET_RX for eth0%s and "+
				tense(n != s.Calm, "drops what it cannot", "dropped what it could not")+
				" keep up with: %s packets in %d s",
			s.Name,
			short(s.lost),
			n-s.Flood+1,
		),
		Subject: model.Subject{Kind: "cpu", CPU: 0, Vector: "NET_RX", Device: "eth0", PID: -1},
		Evidence: []model.Evidence{
			{Name: "CPU 0 time in NET_RX, last window", Value: 0.998, Unit: "ratio"},
			{Name: "dropped at the full backlog", Value: float64(s.lost), Unit: "packets"},
			{Name: "longest run of NET_RX", Value: 4e6, Unit: "ns"},
			{Name: "CPU 1 busy", Value: 0.07, Unit: "ratio"},
		},
		Causes: []string{
			"all receive work of eth0 (1 queue, rps_cpus=0) runs on CPU 0, while CPU 1 is 7 % busy",
			"time for one packet is 1.6 µs: 604,000 packets a second need 97 % of a CPU",
		},
		RuledOut: []string{
			"not the NIC: its ring lost nothing",
			"not a slow program: its queue fills only when CPU 0 is busy",
		},
		Advice: []string{
			"spread it over CPUs: echo 3 > /sys/class/net/eth0/queues/rx-0/rps_cpus; not when all packets belong to one flow",
			"enlarge net.core.netdev_max_backlog only against bursts; not here, where the CPU is full all the time",
		},
	}
	if n%2 == 0 || n == s.Flood || n == s.Calm {
		s.finding(f)
	}
}

// windows makes what a kernel trace of DPCs and ISRs decodes to.
func (s *stream) windows(n int, flood bool) {
	routines := []struct{ routine, driver string }{
		{"ndis.sys!ndisInterruptDpc", "ndis.sys"},
		{"tcpip.sys!TcpPeriodicTimeoutHandler", "tcpip.sys"},
		{"storport.sys!RaidpAdapterDpcRoutine", "storport.sys"},
		{"ntoskrnl.exe!KiTimerExpirationDpc", "ntoskrnl.exe"},
		{"vmxnet3.sys+0x51f0", "vmxnet3.sys"},
	}
	for cpu := range int32(s.CPUs) {
		for i, r := range routines {
			share, worst := 0.003/float64(i+1), 95e3
			if flood && cpu == 0 && i == 0 {
				share, worst = 0.91, 6.2e6
			}
			s.deferred(cpu, model.ClassDPC, r.routine+s.Name, r.driver, 300/(i+1), share, 0, 7e3, 0, s.around(worst))
		}
		runs := s.distribution(400, 3e3, 31e3)
		s.b.AddInterruptHist(
			model.InterruptHist{
				Time:    s.now,
				Dur:     time.Second,
				CPU:     cpu,
				IRQ:     0x91,
				Class:   model.ClassISRMSI,
				Count:   400,
				Busy:    2 * time.Millisecond,
				MaxRun:  time.Duration(runs.Max),
				Name:    "vmxnet3.sys+0x4410",
				Driver:  "vmxnet3.sys",
				RunHist: &runs,
			},
		)
	}
	if flood {
		s.b.AddDeferredRun(
			model.DeferredRun{
				Time:   s.now - 1e6,
				Flags:  model.FlagWaitUnknown,
				Dur:    6200 * time.Microsecond,
				CPU:    0,
				PID:    -1,
				TID:    -1,
				Class:  model.ClassDPC,
				Name:   routines[0].routine,
				Driver: "ndis.sys",
			},
		)
	}
	for i := range 10 {
		if flood && n < s.Flood+10 {
			break // the heartbeat is silent for ten seconds
		}
		s.b.AddPacket(
			model.Packet{
				Time:       s.now - model.Time(i)*1e8,
				CPU:        0,
				PID:        1044,
				TID:        1050,
				Protocol:   model.ProtocolUDP,
				LocalPort:  3343,
				RemotePort: 3343,
				Direction:  model.DirectionRX,
				SizeBytes:  120,
				LocalAddr:  "10.1.2.3",
				RemoteAddr: "10.1.2.4",
				Process:    "clussvc.exe",
			},
		)
	}
	status := int64(0)
	if flood {
		status = 1721
	}
	s.b.AddRPCCall(
		model.RPCCall{
			Time:      s.now,
			Dur:       12 * time.Millisecond,
			PID:       2210,
			TID:       2215,
			Status:    status,
			Procedure: 4,
			Transport: 1,
			Interface: "e1af8308-5d1f-11c9-91a4-08002b14a0fa",
			Endpoint:  "135",
			Process:   "rpcclient.exe",
		},
	)
	if n == 1 {
		s.b.AddRPCEndpoint(
			model.RPCEndpoint{
				Time:      s.now,
				PID:       700,
				TID:       704,
				Protocol:  model.ProtocolTCP,
				LocalPort: 49664,
				Version:   1,
				Interface: "12345778-1234-abcd-ef00-0123456789ac",
				Endpoint:  "ncacn_ip_tcp:49664",
				Process:   "lsass.exe",
			},
		)
	}
}

// leak takes two ports of the pool "rpc" a second.
func (s *stream) leak(n int) {
	stack := model.Stack{
		{Addr: 0x7f12, Name: "bind"},
		{Addr: 0x4412, Name: "rpc_binding_new"},
		{Addr: 0x4100, Name: "call_again"},
	}
	for range 2 {
		if s.taken >= 1000 {
			s.b.AddPortFail(
				model.PortFail{
					Time:      s.now,
					PID:       4312,
					TID:       4312,
					Protocol:  model.ProtocolUDP,
					How:       model.HowBindPort,
					LocalPort: 5999,
					Netns:     Netns,
					Error:     98,
					Process:   "rpc-client" + s.Name,
					ErrorName: "EADDRINUSE",
				},
			)
			continue
		}
		s.hold(model.ProtocolUDP, uint16(5000+s.taken), 4312, "rpc-client"+s.Name, model.HowBindPort, stack)
		s.taken++
		s.unused = append(s.unused, unusedPort{s.cookie, uint16(4999 + s.taken), s.now})
	}
	age := n - s.Leak + 1
	if age%10 == 0 {
		s.tellIdle()
	}
	if (age < 30 || age%10 != 0) && n != s.Calm {
		return
	}
	start := Start + model.Time(s.Leak-1)*model.Time(time.Second)
	s.finding(
		model.Finding{
			ID:       "port-leak/4312/" + start.String(),
			Detector: "port-leak",
			Severity: model.SeverityWarning,
			Start:    start,
			End:      s.now,
			Ongoing:  n != s.Calm,
			Title: fmt.Sprintf(
				"rpc-client%s[4312] took %d ports of pool rpc (udp 5000-5999) and gave none back for %d s; the pool is empty "+
					"in %d s",
				s.Name,
				s.taken,
				age,
				(1000-s.taken)/2,
			),
			Subject: model.Subject{Kind: "process", CPU: -1, PID: 4312, Process: "rpc-client", Pool: "rpc", Protocol: "udp"},
			Evidence: []model.Evidence{
				{Name: "ports held", Value: float64(s.taken), Unit: "ports"},
				{Name: "growth", Value: 2, Unit: "ports/s"},
				{Name: "pool empty in", Value: float64(1000-s.taken) / 2, Unit: "s"},
			},
			Causes: []string{
				"rpc-client[4312] takes ports by bind, 2 a second, and keeps them",
				"all of them were taken at rpc_binding_new",
			},
			RuledOut: []string{"not ports at rest: none of the pool is"},
			Advice: []string{
				"find where rpc-client opens these sockets and close them on every path, errors included; not needed when it " +
					"is a pool that will settle",
				"restart the process to free the ports until it is fixed",
			},
		},
	)
}

// unusedPort is a leaked port that the stream has not called idle yet.
type unusedPort struct {
	cookie uint64
	port   uint16
	since  model.Time
}

// tellIdle reports the leaked ports that have been idle for long enough.
func (s *stream) tellIdle() {
	for len(s.unused) > 0 && s.now.Sub(s.unused[0].since) >= model.IdleAfter {
		u := s.unused[0]
		s.unused = s.unused[1:]
		s.b.AddPortActivity(
			model.PortActivity{
				Time:       s.now,
				Dur:        s.now.Sub(u.since),
				PID:        4312,
				TID:        -1,
				Cookie:     u.cookie,
				Protocol:   model.ProtocolUDP,
				LocalPort:  u.port,
				RemotePort: 443,
				Activity:   model.ActivityIdle,
				Netns:      Netns,
				LocalAddr:  "10.1.2.3",
				RemoteAddr: "10.9.8.7",
				Process:    "rpc-client" + s.Name,
			},
		)
	}
}

// churn is the ordinary coming and going of connections.
func (s *stream) churn(n int) {
	if n%3 != 0 {
		return
	}
	port := uint16(50000 + n%9000)
	s.hold(model.ProtocolTCP, port, 903, "curl", model.HowConnect, nil)
	s.b.AddPortRest(
		model.PortRest{
			Time:       s.now,
			PID:        903,
			TID:        903,
			Cookie:     s.cookie,
			Protocol:   model.ProtocolTCP,
			LocalPort:  port,
			RemotePort: 443,
			Rest:       time.Minute,
			Netns:      Netns,
			LocalAddr:  "10.1.2.3",
			RemoteAddr: "10.9.8.7",
			Process:    "curl",
		},
	)
	if n > 60 {
		old := uint16(50000 + (n-60)%9000)
		s.b.AddPortRelease(
			model.PortRelease{
				Time:       s.now,
				PID:        903,
				TID:        903,
				Cookie:     s.cookie - 20,
				Protocol:   model.ProtocolTCP,
				LocalPort:  old,
				RemotePort: 443,
				How:        model.HowRestEnd,
				Netns:      Netns,
				LocalAddr:  "10.1.2.3",
				RemoteAddr: "10.9.8.7",
				Process:    "curl",
			},
		)
	}
}

func (s *stream) finding(f model.Finding) {
	s.b.AddFinding(s.now, f)
}

func boolFloat(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func short(n uint64) string {
	if n < 1e6 {
		return fmt.Sprintf("%.1f k", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f M", float64(n)/1e6)
}

// tense is words.Tense, which tests of package fold cannot have beside this package: it imports fold.
func tense(ongoing bool, present, past string) string {
	if ongoing {
		return present
	}
	return past
}
