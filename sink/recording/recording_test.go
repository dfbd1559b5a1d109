package recording

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/redact"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/record"
)

// options are those of a recorder that keeps a minute, and adds what it says to said.
func options(said *[]string, ring int64) Options {
	return Options{
		FlightOptions: record.FlightOptions{Ring: ring, Window: time.Minute},
		Log:           func(line string) { *said = append(*said, line) },
	}
}

// What an earlier recorder has left is said in one line, with all that is known of its end.
func TestRecovered(t *testing.T) {
	start := model.Time(time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC).UnixNano())
	end := start.Add(5 * time.Minute)
	for _, c := range []struct {
		name string
		r    record.Recovered
		want string
	}{
		{
			"host", record.Recovered{
				Ring: "fault.ring", Path: "fault-1.lostbeat", Ended: record.EndHost, Start: start, End: end, Events: 12345,
				Open: []string{"a", "b", "c", "d"}, Unsynced: time.Second,
			},
			"the last recorder did not end in order: the host went down. Its last event is of 2026-03-01 10:05:00.000 UTC; " +
				"up to 1 s more was not on disk yet; open findings: a; b; c; and 1 more; " +
				"saved to fault-1.lostbeat (12,345 events over 5 min)",
		},
		{
			"process", record.Recovered{
				Path: "x", Ended: record.EndProcess, Start: start, End: end, Events: 1, Missing: 2,
				Damage: []string{"its header is damaged"}, Cut: true,
			},
			"the last recorder did not end in order: the process was killed. " +
				"Its last event is of 2026-03-01 10:05:00.000 UTC; " +
				"no finding was open; its header is damaged; 2 blocks between the others are missing; " +
				"saved to x (1 event over 5 min, the newest part: the total cap has no room for more)",
		},
		{
			"nothing in it", record.Recovered{Ring: "fault.ring", Ended: record.EndHost},
			"the last recorder did not end in order: the host went down. fault.ring held no whole block of events",
		},
		{
			"not saved", record.Recovered{
				Ring: "fault.ring", Ended: record.EndProcess, Start: start, End: end,
				Err: &record.Error{Op: "recover", Path: "fault.ring", Err: errors.New("no room")},
			},
			"the last recorder did not end in order: the process was killed. " +
				"Its last event is of 2026-03-01 10:05:00.000 UTC; " +
				"no finding was open; it could not be saved and is still in fault.ring: no room",
		},
	} {
		if got := strings.ReplaceAll(recovered(&c.r), "\u00a0", " "); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

// The ring is synced often while a finding of weight is open and while a detector looks closer, not for less.
func TestSuspicion(t *testing.T) {
	now := model.Time(time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC).UnixNano())
	finding := func(s model.Severity, ongoing bool) func(*model.Builder) {
		return func(b *model.Builder) {
			b.AddFinding(now, model.Finding{ID: "x", Title: "x", Severity: s, Start: now, End: now, Ongoing: ongoing})
		}
	}
	request := func(id string, state model.RequestState) func(*model.Builder) {
		return func(b *model.Builder) {
			b.AddRequestEvent(model.RequestEvent{Time: now, CPU: -1, PID: -1, TID: -1, State: state, Finding: id})
		}
	}
	for _, c := range []struct {
		name string
		add  func(*model.Builder)
		want bool
	}{
		{"a warning", finding(model.SeverityWarning, true), true},
		{"a warning that has ended", finding(model.SeverityWarning, false), true},
		{"a note", finding(model.SeverityInfo, true), false},
		{"a detector looks closer", request("x", model.RequestOn), true},
		{"a detector looked closer", request("x", model.RequestOff), false},
		{"somebody looks closer", request("", model.RequestOn), false},
	} {
		var said []string
		path := filepath.Join(testutil.TempDir(t), "fault.lostbeat")
		r, err := NewFlight(path, options(&said, record.LeastRing))
		if err != nil {
			t.Fatal(err)
		}
		var b model.Builder
		b.AddMeta(model.Meta{Time: now, Key: "host", Value: "x"})
		c.add(&b)
		if err := r.Write(b.Take()); err != nil {
			t.Fatal(err)
		}
		if got := r.Stats().Ring.Often; got != c.want {
			t.Errorf("%s: synced often: %t", c.name, got)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What asks to be kept is kept, without a finding.
func TestKeep(t *testing.T) {
	path := filepath.Join(testutil.TempDir(t), "fault.lostbeat")
	var said []string
	r, err := NewFlight(path, options(&said, 0))
	if err != nil {
		t.Fatal(err)
	}
	var b model.Builder
	b.AddMeta(model.Meta{Time: 1, Key: "host", Value: "x"})
	if err := r.Write(b.Take()); err != nil {
		t.Fatal(err)
	}
	r.(Keeper).Keep("asked for")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	file := r.Stats().Path
	if _, err := os.Stat(file); err != nil || len(said) != 1 || said[0] != "asked for: recording it to "+file {
		t.Errorf("%v, said %q", err, said)
	}
}

// What asks to be kept before the first event is kept with it.
func TestKeepEarly(t *testing.T) {
	var said []string
	r, err := NewFlight(filepath.Join(testutil.TempDir(t), "fault.lostbeat"), options(&said, 0))
	if err != nil {
		t.Fatal(err)
	}
	r.(Keeper).Keep("asked for")
	if err := r.Write(&model.Batch{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var b model.Builder
		b.AddMeta(model.Meta{Time: 1, Key: "host", Value: "x"})
		if err := r.Write(b.Take()); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"asked for: it will be recorded once the probes are attached", "asked for: recording it to " + r.Stats().Path,
	}
	if !slices.Equal(said, want) || r.Stats().Files != 1 {
		t.Errorf("%d files, said %q", r.Stats().Files, said)
	}
}

// Findings of weight are located in the file of the last moment that was asked for, once the recorder has come to them,
// also where it has them under pseudonyms; notes are nowhere.
func TestLocate(t *testing.T) {
	start := model.Time(time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC).UnixNano())
	var said []string
	path := filepath.Join(testutil.TempDir(t), "fault.lostbeat")
	o := options(&said, 0)
	o.Quiet, o.Redact = true, redact.Share(redact.New())
	r, err := NewFlight(path, o)
	if err != nil {
		t.Fatal(err)
	}
	f := model.Finding{
		ID: "x/198.51.100.7", Detector: "x", Title: "a", Severity: model.SeverityWarning, Start: start,
		End: start.Add(time.Second), Ongoing: true,
	}
	give := func(f model.Finding) {
		var b model.Builder
		b.AddMeta(model.Meta{Time: f.End, Key: "host", Value: "x"})
		b.AddFinding(f.End, f)
		if err := r.Write(b.Take()); err != nil {
			t.Fatal(err)
		}
	}
	locate := func(f model.Finding, within time.Duration) string {
		return r.(Locator).Locate(&f, time.Now().Add(within), nil)
	}
	if got := locate(f, time.Millisecond); got != "" {
		t.Errorf("before it was recorded: %s", got)
	}
	later := make(chan string, 1)
	go func() { later <- locate(f, time.Minute) }()
	give(f)
	first := <-later
	if _, err := os.Stat(first); err != nil {
		t.Error(err)
	}
	ended := f
	ended.Ongoing, ended.End = false, f.End.Add(time.Second)
	if got := locate(ended, time.Millisecond); got != first {
		t.Errorf("while the recorder has not come to its end: %q, want %q", got, first)
	}
	give(ended)
	if got := locate(ended, time.Minute); got != first {
		t.Errorf("at its end: %q, want %q", got, first)
	}
	// It returns when the window of the file is over.
	var b model.Builder
	for i := range 60 {
		b.AddMeta(model.Meta{Time: ended.End.Add(time.Duration(i) * time.Second), Key: "host", Value: "x"})
	}
	if err := r.Write(b.Take()); err != nil {
		t.Fatal(err)
	}
	again := f
	again.End = ended.End.Add(time.Minute)
	give(again)
	if got := locate(again, time.Minute); got == first || got == "" {
		t.Errorf("when it has returned: %q", got)
	}
	note := f
	note.Severity = model.SeverityInfo
	if got := locate(note, time.Minute); got != "" {
		t.Errorf("a note: %q", got)
	}
	hurry := make(chan struct{})
	close(hurry)
	unknown := f
	unknown.ID = "x/198.51.100.8"
	if got := r.(Locator).Locate(&unknown, time.Now().Add(time.Minute), hurry); got != "" {
		t.Errorf("in a hurry: %q", got)
	}
	if err := r.Close(); err != nil || len(said) > 0 {
		t.Errorf("%v, said %q", err, said)
	}
}

// TestManyFindings keeps findings that are open and the latest ones that have ended, each with its own file.
func TestManyFindings(t *testing.T) {
	p := places{of: map[string]place{}, changed: make(chan struct{})}
	finding := func(n int, ongoing bool) *model.Finding {
		return &model.Finding{ID: fmt.Sprint("x/", n), Detector: "x", Start: 1, End: 2, Ongoing: ongoing}
	}
	file := func(n int) string { return fmt.Sprint("file-", n) }
	const open, all = 3, 3 * mostEnded
	for n := range all {
		p.put(finding(n, true), file(n))
		if n >= open {
			p.put(finding(n, false), "")
		}
	}
	again := finding(all-mostEnded, true)
	p.put(again, "")
	p.put(finding(all, true), file(all))
	p.put(finding(all, false), "")
	if len(p.of) != open+mostEnded+1 || len(p.ended) != mostEnded {
		t.Errorf("%d findings, %d that have ended", len(p.of), len(p.ended))
	}
	for n := range all + 1 {
		path, known, _ := p.get(finding(n, true))
		if want := n < open || n >= all-mostEnded; known != want || known && path != file(n) {
			t.Errorf("finding %d: %q, %t", n, path, known)
		}
	}
}

// Where no ring can be made, that is said with what it means, and recording goes on.
func TestWithoutRing(t *testing.T) {
	dir := testutil.TempDir(t)
	path := filepath.Join(dir, "fault.lostbeat")
	if err := os.Mkdir(record.RingPath(path), 0o700); err != nil {
		t.Fatal(err)
	}
	var said []string
	r, err := NewFlight(path, options(&said, record.LeastRing))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(strings.Join(said, "\n"), "\u00a0", " ")
	for _, part := range []string{
		"fault.ring was left behind and cannot be read: not the ring of a flight recorder",
		"the last 60 s are kept in memory, 16,384 KiB at most, and are lost if this process or the host ends",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not said:\n%s", part, text)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
