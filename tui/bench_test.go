package tui

import (
	"fmt"
	"testing"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
	"lostbeat/tui/tuitest"
)

// BenchmarkFrame draws a whole screen of 200x60. The budget is 2 ms.
func BenchmarkFrame(b *testing.B) {
	history := bothFaults
	history.Seconds = 900
	for _, host := range []struct {
		name string
		s    *fold.History
	}{{"faults", loaded(bothFaults)}, {"history", loaded(history)}, {"much", loaded(tooMuch)}} {
		for page := range pages() {
			b.Run(fmt.Sprintf("%s/%s", host.name, pages()[page].name), func(b *testing.B) {
				m := screen(host.s, 200, 60)
				press(m, fmt.Sprint(page+1))
				b.ReportAllocs()
				for b.Loop() {
					m.ui.drawn = false
					m.View()
				}
			})
		}
	}
}

// BenchmarkTickIdle is a tick at which nothing has changed.
func BenchmarkTickIdle(b *testing.B) {
	m := screen(loaded(bothFaults), 200, 60)
	m.View()
	for b.Loop() {
		m.ui.update(m.ui.poll())
		m.View()
	}
}

// BenchmarkApply adds streams to a State; ns/event is what counts.
func BenchmarkApply(b *testing.B) {
	var runs model.Builder
	for i := range 4096 {
		runs.AddDeferredRun(
			model.DeferredRun{
				Time:  tuitest.Start + model.Time(i)*3000,
				Dur:   time.Duration(1000 + i%700),
				CPU:   int32(i % 8),
				Class: model.ClassSoftirq,
				Wait:  time.Duration(i % 900),
				Name:  "NET_RX",
			},
		)
	}
	for _, bb := range []struct {
		name    string
		batches []*model.Batch
	}{
		{"host", tuitest.Stream(bothFaults)},
		{"much", tuitest.Stream(tooMuch)},
		{"trace", []*model.Batch{runs.Take()}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			events := 0
			for _, batch := range bb.batches {
				events += len(batch.Events)
			}
			b.ReportAllocs()
			for b.Loop() {
				s := fold.NewHistory()
				for _, batch := range bb.batches {
					s.Apply(batch)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(events), "ns/event")
		})
	}
}

// BenchmarkSnapshot is what a snapshot costs the writer, ten times a second.
func BenchmarkSnapshot(b *testing.B) {
	for name, opt := range map[string]tuitest.Options{"host": bothFaults, "much": tooMuch} {
		b.Run(name, func(b *testing.B) {
			s := loaded(opt)
			b.ReportAllocs()
			for b.Loop() {
				s.Publish()
			}
		})
	}
}
