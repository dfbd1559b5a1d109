package starvation_test

import (
	"slices"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// lived is a stream of CPU 0, one second for each load.
func lived(loads ...load) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.New()
		for _, l := range loads {
			second(s, 0, l)
			s.Next()
		}
		return s.Batch()
	}
}

// heldBy is a stream of a CPU whose ksoftirqd waits for a real-time task.
func heldBy(loads []load, run time.Duration) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.New()
		for _, l := range loads {
			second(s, 0, l)
			watched(s, 0, 75*time.Millisecond, model.SchedRival{
				PID: 50, TID: 50, Task: "audio", Policy: model.SchedPolicyFIFO, Priority: 50, Run: run,
			})
			s.Next()
		}
		return s.Batch()
	}
}

// ringLoss is a stream of a CPU that polls a device whose ring loses packets.
func ringLoss(rx float64, dropped uint64) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.New()
		for range 12 {
			second(s, 0, load{rx: rx, packets: 30_000})
			s.Builder().AddNAPI(model.NAPI{
				Time: s.End(), Dur: time.Second, CPU: 0, Ifindex: 2, Device: "eth0", Polls: 1000, Packets: 30_000,
			})
			s.Drop(model.Drop{
				CPU: -1, Place: model.PlaceRing, Count: dropped, Ifindex: 2, Device: "eth0", Reason: "rx_missed_errors",
			})
			s.Next()
		}
		return s.Batch()
	}
}

// delayed is a stream in which TIMER waits for NET_RX on a CPU that other vectors use as well.
func delayed(netRX, other time.Duration) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.New()
		for range 12 {
			for name, busy := range map[string]time.Duration{"NET_RX": netRX, "TASKLET": other} {
				s.Builder().AddDeferredHist(model.DeferredHist{
					Time: s.End(), Dur: time.Second, CPU: 0, Class: model.ClassSoftirq, Count: 1000, Busy: busy,
					MaxRun: time.Millisecond, Name: name,
				})
			}
			s.Builder().AddCPUTime(model.CPUTime{
				Time: s.End(), Dur: time.Second, CPU: 0, Softirq: netRX + other, Idle: time.Second - netRX - other,
			})
			for j := range 5 {
				s.Builder().AddDeferredRun(model.DeferredRun{
					Time: s.Now().Add(time.Duration(j+1) * 150 * time.Millisecond), Dur: 8 * time.Microsecond, CPU: 0,
					Class: model.ClassSoftirq, Name: "TIMER", Vector: 1, Wait: 15 * time.Millisecond, Before: "NET_RX",
				})
			}
			s.Next()
		}
		return s.Batch()
	}
}

// threadLoss is a stream of a device that is polled by a thread and loses packets.
func threadLoss() *model.Batch {
	s := detecttest.New()
	s.Builder().AddDeviceConfig(model.DeviceConfig{
		Time: s.Now(), Ifindex: 5, Device: "eth5", Driver: "virtio_net", RXQueues: 1, Threaded: true,
	})
	s.Seconds(12, func(int) {
		s.CPU(0, detecttest.Load{NetRX: 0.01, Packets: 100})
		s.Builder().AddNAPI(model.NAPI{
			Time: s.End(), Dur: time.Second, CPU: 0, Ifindex: 5, Device: "eth5", Polls: 1000, Packets: 9000,
			FullPolls: 1000, ThreadedPolls: 1000, MaxPackets: 64,
		})
		s.Drop(model.Drop{
			CPU: 1, Place: model.PlaceDevice, Count: 3000, Ifindex: 5, Device: "eth5", Reason: "NOT_SPECIFIED",
		})
	})
	return s.Batch()
}

// once is a load for a second between quiet ones.
func once(l load) []load {
	return slices.Concat(slices.Repeat([]load{quiet}, 5), []load{l}, slices.Repeat([]load{quiet}, 10))
}

// patternBoundaries are those of settings that decide in several patterns: each
// has a stream in which only one of them can.
func patternBoundaries() []detecttest.Boundary {
	crowdedFor := slices.Repeat([]load{
		{rx: 0.5, user: 0.5, packets: 30_000, dropped: 3000, wait: 4 * time.Millisecond},
	}, 12)
	// In the window NET_RX has half of the CPU, in the second with the losses less.
	uneven := slices.Repeat([]load{
		{rx: 0.375, user: 0.625, packets: 30_000, dropped: 9000},
		{rx: 0.625, user: 0.375, packets: 30_000},
		{rx: 0.5, user: 0.5, packets: 30_000},
	}, 5)
	late := load{rx: 0.05, user: 0.6, system: 0.3, packets: 2000, wait: 4 * time.Millisecond, held: 2}
	return []detecttest.Boundary{
		// An overflow that deferred work does not explain.
		{Setting: "starvation.min_drops", At: 600, Says: "dpc-starvation",
			Stream: lived(slices.Repeat([]load{{rx: 0.02, user: 0.05, packets: 2000, dropped: 200}}, 12)...)},
		// Losses that are too few of the traffic for a fault keep one open.
		{Setting: "starvation.min_drops", At: 600, Says: "ongoing critical dpc-starvation", Stream: lived(slices.Concat(
			slices.Repeat([]load{overload}, 8), slices.Repeat([]load{{rx: 0.1, packets: 100_000, dropped: 200}}, 30))...)},
		{Setting: "starvation.min_drops", At: 600, Says: "dpc-starvation", Stream: ringLoss(0.9375, 200)},
		{Setting: "starvation.min_drops", At: 600, Says: "netdev_budget is too small",
			Stream: detecttest.Loaded(detecttest.Load{
				NetRX: 0.45, User: 0.55, Packets: 160_000, Dropped: 200, Squeezes: 15_000, Runs: 20_000,
			})},
		{Setting: "starvation.min_drops", At: 9000, Says: "NAPI thread of eth5", Stream: threadLoss},
		{Setting: "starvation.drop_share", At: 0.25, Says: "NAPI thread of eth5", Stream: threadLoss},
		// The ring's losses, and what they are claimed by.
		{Setting: "starvation.busy_share", At: 0.75, Says: "1 findings\nongoing warning dpc-starvation",
			Stream: ringLoss(0.75, 2000)},
		{Setting: "starvation.busy_share", At: 0.75, Says: "of its time in NET_RX",
			Stream: lived(once(load{rx: 0.75, packets: 40_000, dropped: 100_000})...)},
		{Setting: "starvation.busy_share", At: 0.75, Says: "no data that would show what it delayed",
			Stream: routineLoad(750 * time.Millisecond)},
		{Setting: "starvation.busy_share", At: 0.75, Says: "dpc-starvation",
			Stream: delayed(500*time.Millisecond, 250*time.Millisecond)},
		{Setting: "starvation.shared_busy_share", At: 0.5, Says: "dpc-starvation",
			Stream: delayed(500*time.Millisecond, 300*time.Millisecond)},
		{Setting: "starvation.shared_busy_share", At: 0.5, Says: "saturated", Stream: lived(uneven...)},
		{Setting: "starvation.shared_busy_share", At: 0.5, Says: "saturated",
			Stream: lived(once(load{rx: 0.5, user: 0.5, packets: 30_000, dropped: 30_000})...)},
		// One second in which NET_RX and TASKLET have the CPU.
		{Setting: "starvation.shared_busy_share", At: 0.5, Says: "of its time in NET_RX", Stream: func() *model.Batch {
			s := detecttest.New()
			for i, l := range once(load{rx: 0.5, packets: 30_000, dropped: 30_000}) {
				second(s, 0, l)
				if i == 5 {
					s.Builder().AddDeferredHist(model.DeferredHist{
						Time: s.End(), Dur: time.Second, CPU: 0, Class: model.ClassSoftirq, Count: 300,
						Busy: 300 * time.Millisecond, MaxRun: time.Millisecond, Name: "TASKLET",
					})
				}
				s.Next()
			}
			return s.Batch()
		}},
		{Setting: "starvation.shallow_share", At: 0.25, Says: "Programs h", Stream: lived(slices.Repeat(
			[]load{{rx: 0.25, user: 0.7, packets: 30_000, dropped: 3000}}, 12)...)},
		{Setting: "starvation.backlog_wait", At: 4 * time.Millisecond,
			Says: "audio[50] (SCHED_FIFO, priority 50) holds CPU 0", Stream: heldBy(crowdedFor, 70*time.Millisecond)},
		{Setting: "starvation.backlog_wait", At: 4 * time.Millisecond,
			Says: "audio[50] (SCHED_FIFO, priority 50) holds CPU 0", Stream: heldBy(once(load{
				rx: 0.5, user: 0.5, packets: 30_000, dropped: 30_000, wait: 4 * time.Millisecond,
			}), 70*time.Millisecond)},
		// In each of three seconds it runs for 30 ms of the 75 ms that ksoftirqd waits.
		{Setting: "starvation.held_wait", At: 90 * time.Millisecond, Says: "audio[50] (SCHED_FIFO, priority 50) holds CPU 0",
			Stream: heldBy(crowdedFor, 30*time.Millisecond)},
		{Setting: "starvation.late_count", At: 6, Says: "holds up the softirqs",
			Stream: heldBy(slices.Repeat([]load{late}, 12), 70*time.Millisecond)},
		{Setting: "starvation.late_wait", At: 15 * time.Millisecond, Says: "dpc-starvation",
			Stream: waits(6, 15*time.Millisecond, 15*time.Millisecond)},
		{Setting: "starvation.expensive_packet", At: 10 * time.Microsecond, Says: "Spend less time on each packet",
			Stream: detecttest.Loaded(detecttest.Load{NetRX: 0.96, Packets: 96_000, Dropped: 50_000})},
		// More than the setting: a packet takes 312.5 µs.
		{Setting: "starvation.expensive_packet", At: 312_499 * time.Nanosecond, Says: "a poll handles up to 64 packets",
			Stream: blockedBy(0, 0)},
		// When the fault began: with the seconds that were as busy without a loss, or with interrupts.
		{Setting: "starvation.clear_share", At: 0.5, Says: "from 5 until", Stream: lived(slices.Concat(
			slices.Repeat([]load{quiet}, 5), slices.Repeat([]load{{rx: 0.5, packets: 30_000}}, 2),
			slices.Repeat([]load{overload}, 8))...)},
		{Setting: "starvation.interrupt_share", At: 0.625, Says: "from 5 until", Stream: lived(slices.Concat(
			slices.Repeat([]load{quiet}, 5), slices.Repeat([]load{{rx: 0.1, irq: 0.625, packets: 3000}}, 8))...)},
	}
}

// routineLoad is a Windows host on which the DPCs of a driver take so much of each second.
func routineLoad(busy time.Duration) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.NewWindows()
		s.Seconds(12, func(int) {
			s.Builder().AddDeferredHist(model.DeferredHist{
				Time: s.End(), Dur: time.Second, CPU: 2, Class: model.ClassDPC, Count: 20_000, Busy: busy,
				MaxRun: 80 * time.Microsecond, Name: "nic.sys!a", Driver: "nic.sys",
			})
		})
		return s.Batch()
	}
}

// blockedBy is a stream in which TIMER waits for long runs of NET_RX on a CPU of which shares of time were stolen, and
// are missing. The host is a virtual machine, whose hypervisor says little of it, if time was stolen.
func blockedBy(steal, unaccounted float64) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.New()
		if steal > 0 {
			s.Emulated()
		}
		s.Seconds(12, func(int) {
			s.CPU(0, detecttest.Load{NetRX: 0.2, Packets: 640, Runs: 10, Steal: steal, Missing: unaccounted})
			s.CPU(1, detecttest.Load{User: 0.1})
			for i := range 5 {
				at := s.Now().Add(time.Duration(i)*150*time.Millisecond + 20*time.Millisecond)
				s.Builder().AddDeferredRun(model.DeferredRun{
					Time: at, Dur: 18 * time.Millisecond, CPU: 0, Class: model.ClassSoftirq, Name: "NET_RX", Vector: 3,
				})
				s.Builder().AddDeferredRun(model.DeferredRun{
					Time: at.Add(10 * time.Microsecond), Dur: 8 * time.Microsecond, CPU: 0, Class: model.ClassSoftirq,
					Name: "TIMER", Vector: 1, Wait: 15 * time.Millisecond, Before: "NET_RX",
				})
			}
		})
		return s.Batch()
	}
}
