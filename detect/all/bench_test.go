package all_test

import (
	"testing"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/all"
	"lostbeat/detect/detecttest"
	"lostbeat/fold"
	"lostbeat/model"
	"lostbeat/tui/tuitest"
)

// BenchmarkApply measures the engine on what a recording mostly holds: single
// runs, intervals of a calm host, and ports that come and go.
func BenchmarkApply(b *testing.B) {
	for _, bm := range []struct {
		name   string
		second func(s *detecttest.Stream)
	}{
		{"runs", func(s *detecttest.Stream) {
			for i := range 10_000 {
				s.Builder().AddDeferredRun(model.DeferredRun{
					Time: s.Now().Add(time.Duration(i) * 90 * time.Microsecond), Dur: 20 * time.Microsecond, CPU: int32(i % 2),
					Class: model.ClassSoftirq, Name: "NET_RX", Vector: 3,
				})
			}
			s.Quiet()
		}},
		{"intervals", func(s *detecttest.Stream) { s.Quiet() }},
		{"ports", func(s *detecttest.Stream) {
			for i := range 500 {
				k := s.Acquire(
					time.Duration(i)*time.Millisecond,
					detecttest.Socket{
						PID: int32(40 + i%20), Process: "app", Protocol: model.ProtocolUDP, LPort: uint16(33000 + i),
						How: model.HowConnect,
					},
				)
				s.Release(time.Duration(i+20)*time.Millisecond, k)
			}
		}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			s := detecttest.New()
			s.Pool("ephemeral", model.ProtocolUDP, model.PoolEphemeral, 32768, 60999)
			for range 100 {
				bm.second(s)
				s.Next()
			}
			batch := s.Batch()
			settings := all.Settings()
			b.ReportAllocs()
			for b.Loop() {
				e := detect.New(settings, detect.Options{})
				e.Apply(batch, func(model.Time, model.Finding) {})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch.Events)), "ns/event")
		})
	}
}

// BenchmarkFold measures one fold that serves detectors, a screen, or both, on a
// host with faults.
func BenchmarkFold(b *testing.B) {
	stream := tuitest.Stream(tuitest.Options{Seconds: 120, Flood: 40, Leak: 30})
	events := 0
	for _, batch := range stream {
		events += len(batch.Events)
	}
	for _, bm := range []struct {
		name           string
		judged, screen bool
	}{{"detectors", true, false}, {"screen", false, true}, {"both", true, true}} {
		b.Run(bm.name, func(b *testing.B) {
			settings := all.Settings()
			b.ReportAllocs()
			for b.Loop() {
				h := fold.NewHistory()
				if !bm.judged {
					for _, batch := range stream {
						h.Apply(batch)
					}
					continue
				}
				e := detect.New(settings, detect.Options{})
				if bm.screen {
					e.Show(h)
				}
				for _, batch := range stream {
					h.Begin()
					e.Apply(batch, func(model.Time, model.Finding) {})
					h.End()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
		})
	}
}
