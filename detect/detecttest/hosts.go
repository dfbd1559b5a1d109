package detecttest

import (
	"fmt"
	"time"

	"lostbeat/model"
)

// Hosts are short streams in which nearly every detector has something to report: of a host that loses packets, of one
// that runs out of ports, and of a Windows host of which there are counters, logs and events.
func Hosts() []*model.Batch {
	return []*model.Batch{lossyHost(), portHost(), loggedHost()}
}

func lossyHost() *model.Batch {
	s := New()
	s.Device(2, "eth0", 1, "0")
	Heartbeat{
		Timeout: time.Second, Period: 250 * time.Millisecond,
		Held: []Held{{From: 5 * time.Second, To: 7 * time.Second, State: model.SchedWaiting, Rival: Hog()}},
	}.Add(s, 14)
	s.Seconds(14, func(i int) {
		switch {
		case i >= 4 && i < 7:
			s.Starved()
		case i == 8 || i == 9:
			s.Quiet()
			s.Drop(model.Drop{
				CPU: -1, Place: model.PlaceRing, Count: 800, Ifindex: 2, Device: "eth0", Reason: "rx_missed_errors",
			})
			s.Queue(500, 200_000, 0)
			s.Held(model.SchedWaiting, 600*time.Millisecond, 0)
		case i == 10 || i == 11:
			s.Quiet()
			s.Drop(model.Drop{
				CPU: 1, Place: model.PlaceFilter, Count: 300, Ifindex: 2, Device: "eth0", Reason: "NETFILTER_DROP",
				Protocol: model.ProtocolUDP, LocalPort: 5405,
			})
			s.Builder().AddReading(model.Reading{Time: s.End(), Name: "conntrack", Value: 65536, Limit: 65536, Unit: "entries"})
		default:
			s.Quiet()
		}
		if i == 12 {
			s.Builder().AddHostPause(model.HostPause{
				Time: s.End(), Dur: time.Second, What: model.PauseStopped, Paused: 900 * time.Millisecond, Clock: "real-time clock",
			})
			s.Builder().AddLoss(model.Loss{Time: s.End(), Dur: time.Second, CPU: -1, Lost: 17, Origin: "ringbuf"})
		}
	})
	return s.Batch()
}

func portHost() *model.Batch {
	s := Ports()
	s.Pool("rpc", model.ProtocolUDP, model.PoolConfigured, 5000, 5019)
	port, other, rpc := uint16(40000), uint16(50000), uint16(5000)
	leaker := Leaker()
	leaker.PID, leaker.Process = 900, "leaky"
	s.Seconds(30, func(i int) {
		s.Quiet()
		s.Builder().AddProcess(model.Process{Time: s.Now(), PID: 900, TID: 900, Name: "leaky"})
		s.Take(leaker, 4, &port)
		s.Churn(Dialer(), 3, 100*time.Millisecond, &other)
		if i < 20 {
			s.Take(Socket{PID: 4312, Process: "rpc-client", Protocol: model.ProtocolUDP, How: model.HowBindPort}, 1, &rpc)
			return
		}
		s.Fail(0, Socket{PID: 4312, Process: "rpc-client", Protocol: model.ProtocolUDP, How: model.HowBindAny}, 98,
			"EADDRINUSE")
		k := Dialer()
		k.LPort = other
		s.Rest(500*time.Millisecond, time.Minute, s.Acquire(400*time.Millisecond, k))
		if i == 28 {
			s.Builder().AddProcess(model.Process{Time: s.End(), PID: 900, TID: 900, State: model.ProcessExited, Name: "leaky"})
		}
	})
	return s.Batch()
}

func loggedHost() *model.Batch {
	s := NewWindows()
	s.Seconds(45, func(i int) {
		high := i >= 20 && i < 26
		for cpu := range int32(2) {
			share := 0.01
			if high && cpu == 0 {
				share = 0.95
			}
			s.Builder().AddCounter(model.Counter{
				Time: s.End(), CPU: cpu, Name: "Processor/% DPC Time", Instance: fmt.Sprint(cpu), Value: share,
			})
			s.Builder().AddCounter(model.Counter{
				Time: s.End(), CPU: cpu, Name: "softnet/dropped", Mode: model.CounterTotal, Value: float64(100 * i * i),
			})
		}
		lost := 0.0
		if high {
			lost = 900
		}
		s.Builder().AddCounter(model.Counter{
			Time: s.End(), CPU: -1, Name: "Network Interface/Packets Received Discarded", Instance: "nic", Value: lost,
		})
		switch i {
		case 25:
			s.Builder().AddLogGap(model.LogGap{
				Time: s.End(), Dur: 6 * time.Second, ExpectedCount: 1e-6, Usual: time.Second, Lines: 500, Log: "x.log",
			})
			s.Builder().AddLogLine(model.LogLine{
				Time: s.End(), Silence: 6 * time.Second, Log: "x.log", Pattern: "any/missed-heartbeats",
				Text: "peer missed 3 heartbeats",
			})
		case 27:
			s.Builder().AddHostEvent(model.HostEvent{
				Time: s.End(), What: model.HostTCPPortsOut, Provider: "Tcpip", ID: 4231,
			})
		case 30:
			s.Builder().AddHostEvent(model.HostEvent{
				Time: s.End(), What: model.HostNodeRemoved, Provider: "Microsoft-Windows-FailoverClustering", ID: 1135,
			})
		}
	})
	return s.Batch()
}
