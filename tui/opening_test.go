package tui

import (
	"errors"
	"testing"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
	"lostbeat/tui/tuitest"
)

// A note is kept with its moment, marked on the time line, and found again.
func TestNotes(t *testing.T) {
	s := loaded(bothFaults)
	m := screen(s, 100, 40, func(o *Options) {
		o.Note = func(n model.Note) error {
			if n.Text == "no" {
				return errors.New("the disk is full")
			}
			s.AddNotes(n)
			return nil
		}
	})
	m.View()
	press(m, "g", "1", "3", ":", "5", "9", ":", "3", "0", "enter", "b")
	shows(t, m, "note at 13:59:30 (empty: a mark):")
	press(m, "h", "e", "r", "e", "enter")
	tick(m)
	shows(t, m, "noted at 13:59:30")
	press(m, "right", "b", "enter", "end", "B")
	tick(m)
	shows(t, m, "13:59:30  here")
	shows(t, m, "13:59:31  (a mark)")
	press(m, "enter")
	for range noticeTicks {
		tick(m)
	}
	shows(t, m, "PAUSED 13:59:30")
	shows(t, m, "◆")
	press(m, "b", "n", "o", "enter")
	shows(t, m, "the note was not kept: the disk is full")
	if n := len(s.Snapshot().Notes); n != 2 {
		t.Errorf("%d notes, want 2", n)
	}
}

// A replay opens on its worst finding once all are known, unless the reader has gone elsewhere.
func TestOpenOnWorst(t *testing.T) {
	second := model.Time(time.Second)
	finding := func(id string, s model.Severity, from, to int) model.Finding {
		return model.Finding{ID: id, Detector: "port-leak", Severity: s, Title: "finding " + id,
			Start: tuitest.Start + model.Time(from)*second, End: tuitest.Start + model.Time(to)*second}
	}
	findings := []model.Finding{
		finding("mild", model.SeverityWarning, 100, 400),
		finding("short", model.SeverityCritical, 200, 210),
		finding("worst", model.SeverityCritical, 300, 340),
	}
	for _, tt := range []struct {
		name  string
		keys  []string
		found []model.Finding
		want  string
	}{
		{"worst", nil, findings, "seek 14:04:09"},
		{"a key before", []string{"2"}, findings, ""},
		{"none", nil, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := loaded(tuitest.Options{Seconds: 20})
			p := &fakePlayer{speed: 1, position: tuitest.Start + 20*second, end: tuitest.Start + 600*second}
			m := screen(s, 100, 40, func(o *Options) { o.Live, o.Player, o.OpenOnWorst = false, p, true })
			tick(m)
			press(m, tt.keys...)
			if len(p.calls) > 0 {
				t.Fatalf("the player was told %v before the findings are known", p.calls)
			}
			s.SetFindings(tt.found)
			tick(m)
			got := ""
			if len(p.calls) > 0 {
				got = p.calls[0]
			}
			if got != tt.want {
				t.Errorf("the player was told %q, want %q", got, tt.want)
			}
		})
	}
}

// A replay that has gone to its worst finding shows the second in which the finding's subject lost most, and says of it
// what was known at its end, until the reader goes elsewhere.
func TestOpenOnWorstSecond(t *testing.T) {
	second := model.Time(time.Second)
	worst := tuitest.Start + 25*second
	lost := map[model.Time]uint64{worst: 90_000, worst + 5*second: 50_000}
	s := fold.NewHistory()
	for _, b := range tuitest.Stream(tuitest.Options{Seconds: 40, Flood: 20}) {
		s.Apply(b)
		for at, count := range lost {
			if b.Events[len(b.Events)-1].Time < at {
				continue
			}
			var more model.Builder
			more.AddDrop(model.Drop{Time: at - second/2, PID: 812, TID: 812, Cookie: 77, Place: model.PlaceSocket,
				Count: count, Protocol: model.ProtocolUDP, LocalPort: 7000, Queue: -1, Reason: "SOCKET_RCVBUFF"})
			s.Apply(more.Take())
			delete(lost, at)
		}
	}
	s.Publish()
	first := model.Finding{ID: "worst", Detector: "socket-drop", Severity: model.SeverityCritical, Ongoing: true,
		Title: "udp/7000 loses 2 packets", Start: tuitest.Start + 10*second, End: tuitest.Start + 12*second,
		Subject: model.Subject{Kind: "socket", CPU: -1, PID: 812, Protocol: "udp", Port: 7000}}
	final := first
	final.Title, final.End, final.Ongoing = "udp/7000 lost 1,807 packets", tuitest.Start+36*second, false
	p := &fakePlayer{speed: 1, position: final.End, end: tuitest.Start + 40*second}
	m := screen(s, 100, 40, func(o *Options) { o.Live, o.Player, o.OpenOnWorst = false, p, true })
	s.SetFindings([]model.Finding{first, final})
	tick(m)
	tick(m)
	shows(t, m, "PAUSED "+formatClock(worst-second, time.UTC)+" UTC")
	shows(t, m, final.Title)
	press(m, "6")
	shows(t, m, "26 s")
	press(m, "left")
	tick(m)
	shows(t, m, "PAUSED "+formatClock(worst-2*second, time.UTC)+" UTC")
	shows(t, m, first.Title)
}
