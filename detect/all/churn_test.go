package all_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/all"
	"lostbeat/detect/detecttest"
	"lostbeat/fold"
	"lostbeat/model"
)

// container is one that came up in second number n: a veth pair, whose ends are
// in the host's and in a network namespace of their own, a process that takes a
// port in it and two that come and go, and what they lose.
func container(b *model.Builder, at model.Time, n int, removed bool) {
	const host = 4026531840
	inode := uint32(4026532000 + n)
	netns := fmt.Sprintf("cni-%08x", n)
	outer, inner := fmt.Sprintf("veth%08x", n), "eth0"
	index, pid := int64(10+2*n), int32(1000+3*n)
	socket := func(i int32) (p model.PortAcquire) {
		return model.PortAcquire{
			Time: at, PID: pid + i, TID: pid + i, Cookie: uint64(8*n) + uint64(i) + 1, Protocol: model.ProtocolUDP,
			LocalPort: 5000 + uint16(10*n+int(i))%50, How: model.HowBindPort, Netns: host, LocalAddr: "10.0.0.1",
			Process: fmt.Sprintf("job-%d", n),
		}
	}
	if removed {
		b.AddDeviceEvent(model.DeviceEvent{
			Time: at, NetnsInode: host, Ifindex: index, Device: outer, What: model.DeviceRemoved,
		})
		b.AddDeviceEvent(model.DeviceEvent{
			Time: at, NetnsInode: inode, Ifindex: index + 1, Device: inner, What: model.DeviceRemoved,
		})
		b.AddPortPool(model.PortPool{
			Time: at, Name: "ephemeral", Protocol: model.ProtocolUDP, Netns: int64(inode), NetnsName: netns,
			Source: model.PoolEphemeral,
		})
		for i := range int32(3) {
			p := socket(i)
			b.AddPortRelease(model.PortRelease{
				Time: at, PID: p.PID, TID: p.TID, Cookie: p.Cookie, Protocol: p.Protocol, LocalPort: p.LocalPort,
				Netns: p.Netns, LocalAddr: p.LocalAddr, Process: p.Process,
			})
			b.AddProcess(model.Process{Time: at, PID: p.PID, State: model.ProcessExited, Name: p.Process})
		}
		return
	}
	b.AddDeviceConfig(model.DeviceConfig{
		Time: at, NetnsInode: host, Ifindex: index, RXQueues: 1, Device: outer, Driver: "veth",
	})
	b.AddDeviceConfig(model.DeviceConfig{
		Time: at, NetnsInode: inode, Ifindex: index + 1, RXQueues: 1, Device: inner, Driver: "veth", Netns: netns,
	})
	b.AddPortPool(model.PortPool{
		Time: at, Name: "ephemeral", Protocol: model.ProtocolUDP, Low: 32768, High: 60999, Size: 28232,
		Netns: int64(inode), NetnsName: netns, Source: model.PoolEphemeral,
	})
	for i := range int32(3) {
		p := socket(i)
		b.AddProcess(model.Process{Time: at, PID: p.PID, State: model.ProcessActive, Name: p.Process})
		b.AddPortAcquire(p)
	}
	for i, end := range []string{outer, inner} {
		ns := []uint32{host, inode}[i]
		b.AddDeviceStats(model.DeviceStats{
			Time: at, Dur: time.Second, NetnsInode: ns, Ifindex: index + int64(i), RXPackets: 50, TXPackets: 40,
			Device: end,
		})
		b.AddNAPI(model.NAPI{
			Time: at, Dur: time.Second, CPU: int32(i), NetnsInode: ns, Ifindex: index + int64(i), Device: end, Polls: 30,
			Packets: 50,
		})
	}
	b.AddDrop(model.Drop{
		Time: at, CPU: 1, PID: pid, TID: pid, NetnsInode: inode, Ifindex: index + 1, Device: inner, Count: 1,
		Place: model.PlaceSocket, Cookie: uint64(n) + 1, Protocol: model.ProtocolUDP, LocalPort: 7000,
		Reason: "SOCKET_FILTER", Process: fmt.Sprintf("job-%d", n),
	})
	b.AddDrop(model.Drop{
		Time: at, CPU: 1, PID: -1, TID: -1, NetnsInode: inode, Ifindex: index + 1, Device: inner, Count: 1,
		Place: model.PlaceDevice, Reason: "NOT_SPECIFIED", Location: "veth_xmit",
	})
	b.AddPacket(model.Packet{
		Time: at, CPU: 1, PID: pid, TID: -1, Protocol: model.ProtocolUDP, LocalPort: 7000, RemotePort: 53,
		Direction: model.DirectionRX, SizeBytes: 64, LocalAddr: fmt.Sprintf("10.1.%d.%d", n>>8&255, n&255),
		RemoteAddr: "10.0.0.1", Process: "job",
	})
	b.AddPortFail(model.PortFail{
		Time: at, PID: pid, TID: pid, Protocol: model.ProtocolTCP, RemotePort: uint16(n), How: model.HowConnect, Netns: host,
		RemoteAddr: "10.0.0.9", ErrorName: "ECONNREFUSED", Error: 111, Process: fmt.Sprintf("job-%d", n),
	})
}

// TestContainerChurn gives detectors and screen containers that come and go, one
// veth pair a second: what is remembered, and what a second costs, soon stay as
// they are.
func TestContainerChurn(t *testing.T) { containers(t, 240*time.Second) }

// TestLongContainerChurn is a day of it.
func TestLongContainerChurn(t *testing.T) {
	if testing.Short() {
		t.Skip("takes two minutes")
	}
	containers(t, time.Hour)
}

// containers gives 24 steps of containers to the detectors, and to a screen with them.
func containers(t *testing.T, step time.Duration) {
	const steps, life = 24, 20
	for name, with := range map[string]struct {
		screen bool
		limit  uint64
		// settled is the step after which nothing grows any more.
		settled int
	}{
		"detectors": {limit: 4 << 20, settled: 1},
		"screen":    {screen: true, limit: 32 << 20, settled: 18},
	} {
		t.Run(name, func(t *testing.T) {
			e := detect.New(all.Settings(), detect.Options{})
			h := fold.NewHistory()
			if with.screen {
				e.Show(h)
			}
			before := heapInUse()
			var heap, cost []uint64
			var b model.Builder
			spent := cpuTime()
			b.AddPortPool(model.PortPool{
				Time: detecttest.Start, Name: "svc", Protocol: model.ProtocolUDP, Low: 5000, High: 5099, Size: 100,
				Source: model.PoolConfigured,
			})
			seconds := int(step / time.Second)
			for n := range steps * seconds {
				at := detecttest.Start.Add(time.Duration(n) * time.Second)
				container(&b, at, n, false)
				if n >= life {
					container(&b, at, n-life, true)
				}
				h.Begin()
				e.Apply(b.Take(), func(model.Time, model.Finding) {})
				h.End()
				if (n+1)%seconds == 0 {
					now := cpuTime()
					cost = append(cost, uint64(now-spent)/uint64(seconds*int(time.Microsecond)))
					heap = append(heap, max(heapInUse(), before)-before)
					spent = cpuTime()
				}
			}
			runtime.KeepAlive(e)
			t.Logf("microseconds for a second: %d; bytes in use: %d", cost, heap)
			last := heap[steps-1]
			if grown := heap[with.settled]; last > grown+grown/4+1<<19 || last > with.limit {
				t.Errorf("%d KiB are in use at the end, %d KiB were before; the limit is %d", last>>10, grown>>10,
					with.limit>>10)
			}
			if early := max(cost[with.settled], 200); cost[steps-1] > 3*early {
				t.Errorf("a second takes %d µs at the end, it took %d before", cost[steps-1], early)
			}
		})
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
