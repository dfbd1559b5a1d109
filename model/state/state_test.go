package state

import (
	"iter"
	"slices"
	"testing"
	"time"

	"lostbeat/model"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const second = model.Time(time.Second)

func udp(at model.Time, cookie uint64, port uint16) model.PortAcquire {
	return model.PortAcquire{
		Time:      at,
		PID:       7,
		TID:       7,
		Cookie:    cookie,
		Protocol:  model.ProtocolUDP,
		LocalPort: port,
		How:       model.HowBindAny,
		Netns:     1,
		LocalAddr: "0.0.0.0",
		Process:   "leaky",
	}
}

func pool(at model.Time, low, high uint16) model.PortPool {
	return model.PortPool{
		Time:     at,
		Name:     "rpc",
		Protocol: model.ProtocolUDP,
		Low:      low,
		High:     high,
		Size:     uint64(high-low) + 1,
		Source:   model.PoolConfigured,
	}
}

func TestPoolOccupancy(t *testing.T) {
	rpc := PoolKey{Name: "rpc", Protocol: model.ProtocolUDP}
	tests := []struct {
		name          string
		build         func(b *model.Builder)
		used, resting int
	}{
		{"empty", func(b *model.Builder) {}, 0, 0},
		{"taken and given back", func(b *model.Builder) {
			b.AddPortAcquire(udp(2*second, 1, 5000))
			b.AddPortAcquire(udp(2*second, 2, 5001))
			b.AddPortRelease(
				model.PortRelease{
					Time:      3 * second,
					Cookie:    1,
					Protocol:  model.ProtocolUDP,
					LocalPort: 5000,
					Netns:     1,
					How:       model.HowClose,
				},
			)
		}, 1, 0},
		{"one port in two sockets counts once", func(b *model.Builder) {
			b.AddPortAcquire(udp(2*second, 1, 5000))
			b.AddPortAcquire(udp(2*second, 2, 5000))
		}, 1, 0},
		{"outside the range, other protocol", func(b *model.Builder) {
			b.AddPortAcquire(udp(2*second, 1, 4999))
			tcp := udp(2*second, 2, 5000)
			tcp.Protocol = model.ProtocolTCP
			b.AddPortAcquire(tcp)
		}, 0, 0},
		{"accepted connections take no port", func(b *model.Builder) {
			v := udp(2*second, 1, 5000)
			v.How = model.HowAccept
			b.AddPortAcquire(v)
		}, 0, 0},
		{"rest follows the hold", func(b *model.Builder) {
			b.AddPortAcquire(udp(2*second, 1, 5000))
			b.AddPortRest(
				model.PortRest{
					Time:      3 * second,
					Cookie:    1,
					Protocol:  model.ProtocolUDP,
					LocalPort: 5000,
					Netns:     1,
					Rest:      time.Minute,
				},
			)
		}, 0, 1},
		{"rest ends", func(b *model.Builder) {
			b.AddPortRest(
				model.PortRest{
					Time:      3 * second,
					Cookie:    1,
					Protocol:  model.ProtocolUDP,
					LocalPort: 5000,
					Netns:     1,
					Rest:      time.Minute,
				},
			)
			b.AddPortRelease(
				model.PortRelease{
					Time:      9 * second,
					Cookie:    1,
					Protocol:  model.ProtocolUDP,
					LocalPort: 5000,
					Netns:     1,
					How:       model.HowRestEnd,
				},
			)
		}, 0, 0},
		{"a resting port that is taken again is held", func(b *model.Builder) {
			b.AddPortRest(
				model.PortRest{
					Time:      3 * second,
					Cookie:    1,
					Protocol:  model.ProtocolUDP,
					LocalPort: 5000,
					Netns:     1,
					Rest:      time.Minute,
				},
			)
			b.AddPortAcquire(udp(4*second, 2, 5000))
		}, 1, 0},
		{"the pool is known after its ports", func(b *model.Builder) {
			b.AddPortAcquire(udp(2*second, 1, 5000))
			b.AddPortPool(pool(3*second, 5000, 5100))
		}, 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b model.Builder
			b.AddPortPool(pool(second, 5000, 5999))
			tt.build(&b)
			s := New()
			s.Apply(b.Take())
			got := s.Pools[rpc]
			if got.Used != tt.used || got.Resting != tt.resting {
				t.Errorf("used %d resting %d, want %d and %d", got.Used, got.Resting, tt.used, tt.resting)
			}
		})
	}
}

func TestSnapshotRestoresState(t *testing.T) {
	var b model.Builder
	b.AddMeta(model.Meta{Time: second, Key: "host", Value: "web-07"})
	b.AddClock(model.Clock{Time: second, Boot: 5, Wall: second})
	b.AddProbe(
		model.Probe{Time: second, State: model.ProbeDegraded, Name: "port", Part: "fentry", Reason: "refused", Hint: "none"},
	)
	b.AddProcess(model.Process{Time: second, PID: 7, TID: 7, Name: "leaky"})
	b.AddProcess(model.Process{Time: second, PID: 8, TID: 8, Name: "gone"})
	b.AddProcess(model.Process{Time: 2 * second, PID: 8, TID: 8, Name: "gone", State: model.ProcessExited})
	b.AddDeviceConfig(model.DeviceConfig{Time: second, Ifindex: 2, Device: "eth0", RXQueues: 1})
	b.AddDeviceConfig(model.DeviceConfig{Time: second, Ifindex: 3, Device: "veth1", RXQueues: 1})
	b.AddDeviceQueue(model.DeviceQueue{Time: second, Ifindex: 3, Device: "veth1"})
	b.AddDeviceQueue(model.DeviceQueue{Time: second, Ifindex: 2, Device: "eth0", IRQ: 24})
	b.AddDeviceEvent(model.DeviceEvent{Time: second, Ifindex: 3, Device: "veth1", What: "removed"})
	b.AddPortPool(pool(second, 5000, 5999))
	nfs := model.RPCEndpoint{Time: second, Interface: "100003 nfs", Version: 3, Endpoint: "tcp 0.0.0.0:2049"}
	for _, version := range []int64{4, 3, 5} {
		nfs.Version = version
		b.AddRPCEndpoint(nfs)
	}
	nfs.Removed = true
	b.AddRPCEndpoint(nfs)
	b.AddPortAcquire(udp(2*second, 1, 5000))
	b.AddPortAcquire(udp(3*second, 0, 5001))
	b.AddPortRest(
		model.PortRest{
			Time:      4 * second,
			Cookie:    9,
			PID:       7,
			TID:       7,
			Protocol:  model.ProtocolUDP,
			LocalPort: 5002,
			Netns:     1,
			Rest:      time.Minute,
			LocalAddr: "0.0.0.0",
			Process:   "leaky",
		},
	)
	b.AddPortActive(
		model.PortActive{
			Time:      4 * second,
			Dur:       time.Second,
			Cookie:    10,
			PID:       7,
			TID:       7,
			Protocol:  model.ProtocolUDP,
			LocalPort: 5003,
			Netns:     1,
			Resting:   true,
		},
	)
	b.AddPortAcquire(udp(4*second, 11, 5004))
	b.AddPortActivity(
		model.PortActivity{
			Time:      4 * second,
			Cookie:    11,
			PID:       7,
			TID:       7,
			Protocol:  model.ProtocolUDP,
			LocalPort: 5004,
			Netns:     1,
			Activity:  model.ActivityInUse,
		},
	)
	b.AddPortActivity(
		model.PortActivity{
			Time:      4 * second,
			Dur:       2 * time.Second,
			PID:       7,
			TID:       7,
			Protocol:  model.ProtocolUDP,
			LocalPort: 5001,
			Netns:     1,
			Activity:  model.ActivityIdle,
			AtLeast:   true,
			LocalAddr: "0.0.0.0",
		},
	)
	want := New()
	want.Apply(b.Take())
	if len(want.Devices) != 1 || len(want.Queues) != 1 || len(want.Processes) != 1 {
		t.Fatalf("devices %v queues %v processes %v: removal or exit not seen", want.Devices, want.Queues, want.Processes)
	}
	if len(want.Endpoints) != 2 {
		t.Errorf("endpoints %v: versions 3 and 4 are registered", want.Endpoints)
	}

	var snap model.Builder
	want.Snapshot(5*second, &snap)
	batch := snap.Take()
	for i := range batch.Events {
		if batch.Events[i].Flags&model.FlagKeyframe == 0 {
			t.Errorf("event %d has no keyframe flag", i)
		}
	}
	got := New()
	var dirt model.Builder
	dirt.AddPortAcquire(udp(second, 77, 5077))
	got.Apply(dirt.Take())
	got.Apply(batch)

	times := cmp.FilterPath(func(p cmp.Path) bool {
		name := p.Last().String()
		return name == ".Time" || name == ".Flags" || name == ".Now" || name == ".Start"
	}, cmp.Ignore())
	resting := cmp.FilterPath(
		func(p cmp.Path) bool { return p.Last().String() == ".Since" },
		cmp.Comparer(func(a, b model.Time) bool { return a == b || a == 5*second || b == 5*second }),
	)
	inside := cmp.FilterPath(
		func(p cmp.Path) bool {
			return slices.Contains([]string{".slots", ".budget", ".index", ".pools", ".sorted"}, p.Last().String())
		},
		cmp.Ignore(),
	) // what counts of them is in Pools
	ports := cmp.Transformer("sorted", func(ports Ports) []Port { return slices.Collect(byKey(&ports)) })
	if diff := cmp.Diff(
		want, got, times, resting, inside, ports, cmp.AllowUnexported(State{}), cmpopts.EquateEmpty(),
	); diff != "" {
		t.Errorf("state after its own keyframe (-want +got):\n%s", diff)
	}
}

// byKey yields the ports by their keys.
func byKey(ports *Ports) iter.Seq[Port] {
	return func(yield func(Port) bool) {
		var p Port
		for _, i := range ports.sorted() {
			ports.port(int(i), &p)
			if !yield(p) {
				return
			}
		}
	}
}

func TestPoolGoesWithItsNamespace(t *testing.T) {
	gone := pool(2, 0, 0)
	gone.Size = 0
	s := New()
	var b model.Builder
	b.AddPortPool(pool(1, 5000, 5099))
	b.AddPortPool(gone)
	s.Apply(b.Take())
	if len(s.Pools) != 0 {
		t.Errorf("pools left: %v", s.Pools)
	}
}

// A keyframe of many ports comes in parts, which together are the snapshot.
func TestKeyframeInParts(t *testing.T) {
	const ports = 5000
	s := New()
	var b model.Builder
	for i := range ports {
		b.AddPortAcquire(udp(second, uint64(i+1), uint16(i+1)))
	}
	s.Apply(b.Take())
	s.Snapshot(2*second, &b)
	whole := b.Take()
	got, parts, events := New(), 0, 0
	for part := range s.Keyframe(2 * second) {
		parts++
		events += len(part.Events)
		got.Apply(part)
	}
	if parts < 2 || events != len(whole.Events) || got.Ports.Len() != ports {
		t.Errorf("%d parts, %d of %d events, %d of %d ports", parts, events, len(whole.Events), got.Ports.Len(), ports)
	}
	for part := range s.Keyframe(2 * second) {
		if len(part.Events) >= ports {
			t.Errorf("one part has %d events", len(part.Events))
		}
		break // leaving early must not go on
	}
}

func TestActivity(t *testing.T) {
	use := func(activity model.Activity, at model.Time, idle time.Duration) model.PortActivity {
		return model.PortActivity{
			Time:      at,
			Dur:       idle,
			Cookie:    1,
			Protocol:  model.ProtocolUDP,
			LocalPort: 5000,
			Netns:     1,
			Activity:  activity,
		}
	}
	type answer struct {
		idle  time.Duration
		known bool
	}
	for _, tt := range []struct {
		name string
		add  func(b *model.Builder)
		want answer // 20 s after the beginning
	}{
		{"not watched", func(*model.Builder) {}, answer{}},
		{"in use", func(b *model.Builder) { b.AddPortActivity(use(model.ActivityInUse, 10*second, 0)) }, answer{0, true}},
		{
			"idle goes on",
			func(b *model.Builder) { b.AddPortActivity(use(model.ActivityIdle, 10*second, 4*time.Second)) },
			answer{14 * time.Second, true},
		},
		{"used again", func(b *model.Builder) {
			b.AddPortActivity(use(model.ActivityIdle, 10*second, 4*time.Second))
			b.AddPortActivity(use(model.ActivityInUse, 12*second, 0))
		}, answer{0, true}},
		{"watched no longer", func(b *model.Builder) {
			b.AddPortActivity(use(model.ActivityIdle, 10*second, 4*time.Second))
			b.AddPortActivity(use(model.ActivityUnknown, 12*second, 0))
		}, answer{}},
		{"taken anew", func(b *model.Builder) {
			b.AddPortActivity(use(model.ActivityIdle, 10*second, 4*time.Second))
			b.AddPortAcquire(udp(12*second, 1, 5000))
		}, answer{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b model.Builder
			b.AddPortAcquire(udp(2*second, 1, 5000))
			tt.add(&b)
			live := New()
			live.Apply(b.Take())
			var snap model.Builder
			live.Snapshot(15*second, &snap)
			replayed := New()
			replayed.Apply(snap.Take())
			for name, s := range map[string]*State{"live": live, "after a keyframe": replayed} {
				p, _ := s.Ports.Get(PortKey{Cookie: 1})
				if idle, known := p.Idle(20 * second); (answer{idle, known}) != tt.want {
					t.Errorf("%s: idle %v, known %v, want %v", name, idle, known, tt.want)
				}
			}
		})
	}
}

// Two pods' eth0 have the same index: they are two devices all the same.
func TestDevicesOfTwoNamespaces(t *testing.T) {
	var b model.Builder
	for _, inode := range []uint32{4026532001, 4026532002} {
		b.AddDeviceConfig(model.DeviceConfig{Time: second, NetnsInode: inode, Ifindex: 2, Device: "eth0", RXQueues: 1})
		b.AddDeviceQueue(model.DeviceQueue{Time: second, NetnsInode: inode, Ifindex: 2, Device: "eth0"})
	}
	b.AddDeviceEvent(model.DeviceEvent{
		Time: second, NetnsInode: 4026532001, Ifindex: 2, Device: "net1", What: model.DeviceRenamed, Detail: "eth0",
	})
	s := New()
	s.Apply(b.Take())
	if len(s.Devices) != 2 || len(s.Queues) != 2 {
		t.Fatalf("devices %v, queues %v, want two of each", s.Devices, s.Queues)
	}
	first := DeviceKey{NetnsInode: 4026532001, Ifindex: 2}
	if s.Devices[first].Device != "net1" || s.Devices[DeviceKey{NetnsInode: 4026532002, Ifindex: 2}].Device != "eth0" {
		t.Errorf("devices %v, want only the first one renamed", s.Devices)
	}
	if _, ok := s.Queues[QueueKey{NetnsInode: 4026532001, Device: "net1", Ifindex: 2}]; !ok {
		t.Errorf("queues %v, want the queue under its new name", s.Queues)
	}
	b.AddDeviceEvent(model.DeviceEvent{
		Time: second, NetnsInode: 4026532001, Ifindex: 2, Device: "net1", What: model.DeviceRemoved,
	})
	s.Apply(b.Take())
	if _, ok := s.Devices[first]; ok || len(s.Devices) != 1 || len(s.Queues) != 1 {
		t.Errorf("devices %v, queues %v, want those of the second only", s.Devices, s.Queues)
	}
}
