package starvation_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// waits is a stream in which other softirqs wait for HRTIMER.
func waits(n int, run, wait time.Duration) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.New()
		s.Seconds(12, func(i int) {
			s.Quiet()
			s.Builder().AddDeferredHist(model.DeferredHist{
				Time: s.End(), Dur: time.Second, CPU: 0, Class: model.ClassSoftirq, Count: 8,
				Busy: 240 * time.Millisecond, MaxRun: run, Name: "HRTIMER",
			})
			for j := range n {
				if i%3 > 0 {
					break // once in a window
				}
				at := s.Now().Add(time.Duration(j+1) * 110 * time.Millisecond)
				s.Builder().AddDeferredRun(model.DeferredRun{
					Time: at, Dur: run, CPU: 0, PID: -1, TID: -1, Class: model.ClassSoftirq, Name: "HRTIMER",
				})
				s.Builder().AddDeferredRun(model.DeferredRun{
					Time: at.Add(20 * time.Microsecond), Dur: 8 * time.Microsecond, CPU: 0, PID: -1, TID: -1,
					Class: model.ClassSoftirq, Name: "NET_RX", Wait: wait,
				})
			}
		})
		return s.Batch()
	}
}

// routine is a Windows host on which one DPC or ISR ran for long.
func routine(isr bool, longest time.Duration) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.NewWindows()
		s.Seconds(15, func(int) {
			run := model.Histogram{}
			run.Observe(uint64(longest))
			if isr {
				s.Builder().AddInterruptHist(model.InterruptHist{
					Time: s.End(), Dur: time.Second, CPU: 0, Class: model.ClassISRMSI, Count: 1, Busy: longest,
					MaxRun: longest, Name: "a.sys+0x20", Driver: "a.sys", RunHist: &run,
				})
				return
			}
			s.Builder().AddDeferredHist(model.DeferredHist{
				Time: s.End(), Dur: time.Second, CPU: 0, Class: model.ClassDPC, Count: 1, Busy: longest,
				MaxRun: longest, Name: "a.sys+0x10", Driver: "a.sys", RunHist: &run,
			})
		})
		return s.Batch()
	}
}

// silent is a Windows host whose CPU 2 is busy with DPCs from 6 s to 12 s, in
// which a flow that it handles falls silent: the last packet is from 5.9 s, and
// the last judgement of the silence from 11 s.
func silent() *model.Batch {
	s := detecttest.NewWindows()
	s.Seconds(30, func(i int) {
		busy := i >= 6 && i < 12
		share := 10 * time.Millisecond
		if busy {
			share = 900 * time.Millisecond
		}
		s.Builder().AddDeferredHist(model.DeferredHist{
			Time: s.End(), Dur: time.Second, CPU: 2, Class: model.ClassDPC, Count: 9000, Busy: share,
			MaxRun: 80 * time.Microsecond, Name: "nic.sys!a", Driver: "nic.sys",
		})
		for n := range 10 {
			if busy {
				break
			}
			s.Builder().AddPacket(model.Packet{
				Time: s.Now().Add(time.Duration(n) * 100 * time.Millisecond), CPU: 2, PID: 500, TID: -1,
				Protocol: model.ProtocolUDP, LocalPort: 5405, RemotePort: 5405, Direction: model.DirectionRX,
				SizeBytes: 64, LocalAddr: "10.0.0.1", RemoteAddr: "10.0.0.2", Process: "heartbeatd.exe",
			})
		}
	})
	return s.Batch()
}

// TestBoundaries tries each setting at the value that just holds and just beyond.
func TestBoundaries(t *testing.T) {
	detecttest.Boundaries(t, "starvation", append(boundaries, patternBoundaries()...))
}

var boundaries = []detecttest.Boundary{
	{Setting: "starvation.busy_share", At: 0.751, With: map[string]string{"starvation.burst_drops": "1000000"},
		Says:   "of its time in NET_RX",
		Stream: detecttest.Loaded(detecttest.Load{NetRX: 0.75, User: 0.05, Packets: 30_000, Dropped: 3000})},
	{Setting: "starvation.burst_drops", At: 1200, Says: "dpc-starvation", Stream: func() *model.Batch {
		s := detecttest.New()
		s.Seconds(20, func(i int) {
			if i == 5 {
				s.CPU(0, detecttest.Load{NetRX: 0.5, Packets: 3000, Dropped: 1200})
			} else {
				s.CPU(0, detecttest.Load{NetRX: 0.3, Packets: 100_000})
			}
		})
		return s.Batch()
	}},
	{Setting: "starvation.max_steal", At: 0.125, Upper: true, Says: "dpc-starvation", Stream: blockedBy(0.125, 0)},
	// Time in no state counts like stolen time.
	{Setting: "starvation.max_steal", At: 0.125, Upper: true, Says: "dpc-starvation", Stream: blockedBy(0.0625, 0.0625)},
	{Setting: "starvation.squeeze_share", At: 0.75, Says: "netdev_budget is too small",
		Stream: detecttest.Loaded(detecttest.Load{
			NetRX: 0.45, User: 0.55, Packets: 160_000, Dropped: 90_000, Squeezes: 15_000, Runs: 20_000,
		})},
	{Setting: "starvation.expensive_packet", At: 10 * time.Microsecond, Says: "is expensive",
		Stream: detecttest.Loaded(detecttest.Load{
			NetRX: 0.96, Packets: 96_000, Dropped: 50_000,
		})},
	{Setting: "starvation.drop_share", At: 0.0625, Says: "dpc-starvation",
		Stream: detecttest.Loaded(detecttest.Load{NetRX: 0.95, Packets: 30_000, Dropped: 2000})},
	{Setting: "starvation.min_drops", At: 600, Says: "dpc-starvation",
		Stream: detecttest.Loaded(detecttest.Load{NetRX: 0.95, Packets: 2000, Dropped: 200})},
	{Setting: "starvation.interrupt_share", At: 0.625, Says: "dpc-starvation",
		Stream: detecttest.Loaded(detecttest.Load{NetRX: 0.1, IRQ: 0.625, Packets: 3000})},
	// After the fault, a share of 0.5 with a few losses keeps it open.
	{Setting: "starvation.clear_share", At: 0.5, Says: "ongoing", Stream: func() *model.Batch {
		s := detecttest.New()
		s.Device(2, "eth0", 1, "0")
		s.Seconds(8, func(int) { s.Starved() })
		s.Seconds(30, func(int) {
			s.CPU(0, detecttest.Load{NetRX: 0.499, Packets: 100_000, Dropped: 5})
			s.CPU(1, detecttest.Load{})
		})
		return s.Batch()
	}},
	{Setting: "starvation.silent_gaps", At: 51, Says: "received nothing for", Stream: silent},
	{Setting: "starvation.least_silence", At: 5100 * time.Millisecond, Says: "received nothing for", Stream: silent},
	{Setting: "starvation.shared_busy_share", At: 0.5, Says: "has saturated", Stream: detecttest.Loaded(detecttest.Load{
		NetRX: 0.5, User: 0.5, Packets: 30_000, Dropped: 3000,
	})},
	{Setting: "starvation.shallow_share", At: 0.25, Says: "A burst brings", Stream: detecttest.Loaded(detecttest.Load{
		NetRX: 0.25, User: 0.05, Packets: 30_000, Dropped: 3000,
	})},
	{Setting: "starvation.small_backlog_share", At: 0.0078125, Says: "Bursts exceed",
		Stream: detecttest.Loaded(detecttest.Load{
			NetRX: 0.125, User: 0.05, Packets: 25400, Dropped: 200,
		})},
	{Setting: "starvation.backlog_wait", At: 4 * time.Millisecond, Says: "Programs hold CPU 0",
		Stream: detecttest.Loaded(detecttest.Load{
			NetRX: 0.125, User: 0.8, Packets: 30_000, Dropped: 3000, MaxWait: 4 * time.Millisecond,
		})},
	{Setting: "starvation.full_poll_share", At: 0.75, Says: "dpc-starvation", Stream: func() *model.Batch {
		s := detecttest.New()
		s.Builder().AddDeviceConfig(model.DeviceConfig{
			Time: s.Now(), Ifindex: 5, Device: "eth5", Driver: "virtio_net", RXQueues: 1, Threaded: true,
		})
		s.Seconds(12, func(int) {
			s.CPU(0, detecttest.Load{NetRX: 0.01, Packets: 100})
			s.CPU(1, detecttest.Load{NetRX: 0.01, User: 0.3})
			s.Builder().AddNAPI(model.NAPI{
				Time: s.End(), Dur: time.Second, CPU: 0, Ifindex: 5, Device: "eth5", Polls: 1000, Packets: 64_000,
				FullPolls: 750, ThreadedPolls: 1000, MaxPackets: 64,
			})
			s.Drop(model.Drop{
				CPU: 1, Place: model.PlaceDevice, Count: 30_000, Ifindex: 5, Device: "eth5", Reason: "NOT_SPECIFIED",
			})
		})
		return s.Batch()
	}},
	{Setting: "starvation.late_wait", At: 15 * time.Millisecond, Says: "dpc-starvation",
		Stream: waits(6, 30*time.Millisecond, 15*time.Millisecond)},
	{Setting: "starvation.late_count", At: 6, Says: "dpc-starvation",
		Stream: waits(6, 30*time.Millisecond, 15*time.Millisecond)},
	{Setting: "starvation.long_run", At: 30 * time.Millisecond, Says: "dpc-starvation",
		Stream: waits(6, 30*time.Millisecond, 15*time.Millisecond)},
	{Setting: "starvation.dpc_guideline", At: 300 * time.Microsecond, Says: "ran a DPC",
		Stream: routine(false, 3*time.Millisecond)},
	{Setting: "starvation.isr_guideline", At: 300 * time.Microsecond, Says: "ran an ISR",
		Stream: routine(true, 3*time.Millisecond)},
	{Setting: "starvation.guideline_factor", At: 32.0, Next: 32.00001,
		Says: "ran a DPC", Stream: routine(false, 3200*time.Microsecond)},
	{Setting: "starvation.watchdog", At: 24 * time.Second, Next: 24*time.Second + 2, Says: "critical dpc-starvation",
		Stream: routine(false, 12*time.Second)},
}
