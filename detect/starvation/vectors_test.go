package starvation_test

import (
	"fmt"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

type verdict = detecttest.Verdict

// TestVectors has single runs of other vectors than NET_RX delay it, and other
// vectors take a CPU's time, on hosts of several sizes.
func TestVectors(t *testing.T) {
	for _, vector := range []string{"TIMER", "BLOCK", "TASKLET", "HRTIMER", "RCU"} {
		for cpus := range 4 {
			t.Run(fmt.Sprintf("%s, %d CPUs", vector, cpus+1), func(t *testing.T) {
				s := detecttest.New()
				s.CPUs = cpus + 1
				s.Seconds(3, func(int) { s.Quiet() })
				fault := s.Now()
				victim := int32(cpus)
				s.Seconds(10, func(int) {
					s.Quiet()
					for i := range 8 {
						at := s.Now().Add(time.Duration(i+1) * 110 * time.Millisecond)
						s.Builder().
							AddDeferredRun(model.DeferredRun{
								Time: at, Dur: 30 * time.Millisecond, CPU: victim, PID: -1, TID: -1, Class: model.ClassSoftirq,
								Name: vector,
							})
						s.Builder().
							AddDeferredRun(model.DeferredRun{
								Time: at.Add(20 * time.Microsecond), Dur: 8 * time.Microsecond, CPU: victim, PID: -1, TID: -1,
								Class: model.ClassSoftirq, Name: "NET_RX", Wait: 25 * time.Millisecond, Before: vector,
							})
					}
					s.Builder().
						AddDeferredHist(model.DeferredHist{
							Time: s.End(), Dur: time.Second, CPU: victim, Class: model.ClassSoftirq, Count: 8,
							Busy: 240 * time.Millisecond, MaxRun: 30 * time.Millisecond, Name: vector,
						})
				})
				detecttest.Judge(
					t,
					s.Batch(),
					fault,
					verdict{
						Detector: "dpc-starvation",
						First:    5 * time.Second,
						Sure:     5 * time.Second,
						Contains: []string{
							fmt.Sprintf("Long runs of %s on CPU %d delay its other softirqs", vector, victim),
							"(NET_RX)",
							"NET_RX was raised and waited 25 ms for it",
						},
					},
				)
			})
		}
	}
	for _, vector := range []string{"HRTIMER", "BLOCK", "TASKLET"} {
		t.Run(vector+" takes the CPU", func(t *testing.T) {
			s := detecttest.New()
			s.Seconds(10, func(int) {
				s.CPU(0, detecttest.Load{NetRX: 0.03, Packets: 3000, Dropped: 0})
				s.CPU(1, detecttest.Load{NetRX: 0.01})
				s.Builder().
					AddDeferredHist(model.DeferredHist{
						Time: s.End(), Dur: time.Second, CPU: 0, Class: model.ClassSoftirq, Count: 400,
						Busy: 900 * time.Millisecond, MaxRun: 3 * time.Millisecond, Name: vector,
					})
				for i := range 8 {
					s.Builder().
						AddDeferredRun(model.DeferredRun{
							Time: s.Now().Add(time.Duration(i+1) * 110 * time.Millisecond), Dur: 8 * time.Microsecond, CPU: 0,
							PID: -1, TID: -1, Class: model.ClassSoftirq, Name: "NET_RX", Wait: 15 * time.Millisecond, Before: vector,
						})
				}
			})
			detecttest.Judge(
				t,
				s.Batch(),
				detecttest.Start,
				verdict{
					Detector: "dpc-starvation",
					First:    5 * time.Second,
					Sure:     5 * time.Second,
					Contains: []string{"CPU 0 spends 90 % of its time in " + vector, "delays", "(NET_RX)"},
				},
			)
		})
	}
}

// TestFloodOnLoopback wants the device of a flood that never leaves the host
// to be named, on one CPU as on four.
func TestFloodOnLoopback(t *testing.T) {
	for _, cpus := range []int{1, 2, 4} {
		s := detecttest.New()
		s.CPUs = cpus
		s.Builder().AddDeviceConfig(model.DeviceConfig{Time: s.Now(), Ifindex: 1, Device: "lo", RXQueues: 1})
		s.Seconds(12, func(int) {
			s.CPU(0, detecttest.Load{NetRX: 0.85, User: 0.1, Packets: 90_000, Dropped: 60_000})
			for cpu := 1; cpu < cpus; cpu++ {
				s.CPU(int32(cpu), detecttest.Load{User: 0.2})
			}
			s.Drop(
				model.Drop{CPU: 0, Place: model.PlaceBacklog, Count: 60_000, Ifindex: 1, Device: "lo", Reason: "CPU_BACKLOG"},
			)
		})
		detecttest.Judge(
			t,
			s.Batch(),
			detecttest.Start,
			verdict{
				Detector: "dpc-starvation",
				First:    5 * time.Second,
				Sure:     5 * time.Second,
				Contains: []string{"CPU 0 spends 85 % of its time in NET_RX for lo"},
			},
		)
	}
}
