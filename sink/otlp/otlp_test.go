package otlp

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/redact"
	"lostbeat/model"
)

// A finding arrives with its key, its time by the wall clock, and all that docs/OTLP.md promises.
func TestFinding(t *testing.T) {
	r, to := newReceiver(t), &said{}
	e := start(t, options(t, r.URL, t.TempDir(), to))
	write(t, e, one(1, model.SeverityCritical, true))
	e.Close(5 * time.Second)
	if len(r.stored) != 1 || to.all() != "[]" {
		t.Fatalf("%d records, said %s", len(r.stored), to.all())
	}
	k := key{"boot-1", "socket-drop/1", 3_601_000}
	record := r.stored[k]
	if record == nil {
		t.Fatalf("keys: %v", r.stored)
	}
	if record.EventName != EventFinding || record.SeverityNumber != 17 || record.SeverityText != "critical" ||
		record.TimeUnixNano != uint64(epoch+second) || record.ObservedTimeUnixNano == 0 ||
		record.Body.GetStringValue() != "udp/5405 of corosync[101] lost 7 packets" {
		t.Errorf("got %v", record)
	}
	for name, want := range map[string]string{
		AttrDetector: "socket-drop", AttrState: StateActive, AttrStart: "2026-03-01T10:00:01.000000000Z",
		AttrCause: "its queue was full", AttrAdvice: "give the program the CPU", AttrSubject + "port": "5405",
		AttrSubject + "process": "corosync", AttrSubject + "cpu": "", AttrRecording: "/var/lib/lostbeat/fault.lostbeat",
	} {
		if got := attribute(record, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	var f model.Finding
	if err := json.Unmarshal([]byte(attribute(record, AttrJSON)), &f); err != nil || f.Evidence[0].Value != 7 {
		t.Errorf("the whole finding: %v, %v", f, err)
	}
	if got := r.resources[0]; got[AttrService] != "lostbeat" || got[AttrHost] != "web-1" || got[AttrVersion] != "test" {
		t.Errorf("resource %v", got)
	}
}

// Updates that change numbers only are sent once a minute; each revision of a finding is higher than the one before.
func TestRevisions(t *testing.T) {
	var e encoder
	f := model.Finding{ID: "a", Severity: model.SeverityWarning, Ongoing: true}
	var sent []int64
	at := func(s int) {
		if revision, ok := e.wanted(model.Time(s)*second, &f); ok {
			sent = append(sent, revision)
		}
	}
	e.clock(model.Clock{Time: 100 * second, Boot: 10 * time.Second, Wall: 100 * second})
	at(100)
	at(101) // numbers
	at(159)
	at(160)
	f.Severity = model.SeverityCritical
	at(160) // in the same moment
	f.Ongoing = false
	at(165)
	if got, want := len(sent), 4; got != want || sent[0] != 10_000 || sent[1] != 70_000 || sent[2] != 70_001 ||
		sent[3] != 75_000 {
		t.Errorf("revisions %v", sent)
	}
}

// The wall clock steps back and forth between the revisions of a finding: the time of each is that of the wall clock,
// and the key rises as before.
func TestClockStep(t *testing.T) {
	r, to := newReceiver(t), &said{}
	o := options(t, r.URL, t.TempDir(), to)
	var wall time.Time
	o.now = func() time.Time { return wall }
	e := start(t, o)
	f := model.Finding{ID: "a", Severity: model.SeverityWarning, Ongoing: true}
	var want []uint64
	for i, step := range []time.Duration{0, -56 * 365 * 24 * time.Hour, time.Hour, -time.Hour} {
		at := epoch + model.Time(i)*60*second
		wall = at.Add(step).Std()
		want = append(want, uint64(at.Add(step)))
		var b model.Builder
		b.AddClock(model.Clock{Time: at, Boot: time.Hour + at.Sub(epoch), Wall: at.Add(step)})
		b.AddFinding(at, f)
		write(t, e, b.Take())
	}
	e.Close(5 * time.Second)
	if len(r.stored) != len(want) {
		t.Fatalf("%d records, said %s", len(r.stored), to.all())
	}
	for i, at := range want {
		k := key{"boot-1", "a", (time.Hour + time.Duration(i)*time.Minute).Milliseconds()}
		if record := r.stored[k]; record == nil || record.TimeUnixNano != at || record.ObservedTimeUnixNano != at {
			t.Errorf("revision %d: %v, want %d", k.revision, record, at)
		}
	}
}

// With pseudonyms no name of the host is in what is sent, wherever it stands.
func TestRedact(t *testing.T) {
	r, to := newReceiver(t), &said{}
	o := options(t, r.URL, t.TempDir(), to)
	o.Redact = redact.Share(redact.New())
	e := start(t, o)
	var b model.Builder
	b.AddProcess(model.Process{Time: epoch, PID: 7, Name: "billing"})
	b.AddFinding(epoch, model.Finding{
		ID: "x/billing[7]", Title: "billing[7] sends to 192.0.2.7", Causes: []string{"billing wrote /srv/secret/file"},
		Subject: model.Subject{CPU: -1, PID: 7, Process: "billing"},
	})
	write(t, e, b.Take())
	e.Close(5 * time.Second)
	if len(r.stored) != 1 {
		t.Fatalf("%d records", len(r.stored))
	}
	for _, record := range r.stored {
		text := record.String()
		for _, name := range []string{"billing", "192.0.2.7", "/srv/secret", "fault.lostbeat"} {
			if strings.Contains(text, name) {
				t.Errorf("%s is in %s", name, text)
			}
		}
	}
	if host := r.resources[0][AttrHost]; !strings.HasPrefix(host, "host-") || host == "host-" {
		t.Errorf("host %q", host)
	}
}

// Statuses are repeated, refused or split as the specification says, and what is lost is counted.
func TestAnswers(t *testing.T) {
	const findings = 4
	for _, test := range []struct {
		name string
		// answers are the statuses of the first requests, before 200.
		answers []int
		stored  int
		lost    uint64
		least   int // requests
	}{
		{"taken", nil, findings, 0, 1},
		{"repeated", []int{429, 502, 503, 504}, findings, 0, 5},
		{"500 is final", []int{500}, 0, findings, 1},
		{"401 is final", []int{401}, 0, findings, 1},
		{"a redirect is final", []int{307}, 0, findings, 1},
		{"too large, so in parts", []int{413}, findings, 0, 3},
		{"one that is bad is left out", []int{400, 400, 400}, findings - 1, 1, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r, to := newReceiver(t), &said{}
			calls := 0
			r.set(func(w http.ResponseWriter, _ int) bool {
				if calls++; calls <= len(test.answers) {
					w.Header().Set("Location", "/elsewhere")
					w.WriteHeader(test.answers[calls-1])
					return false
				}
				return true
			})
			o := options(t, r.URL, t.TempDir(), to)
			o.pace.Critical = 20 * time.Millisecond
			e := start(t, o)
			e.mu.Lock()
			for n := range findings { // all in one request
				b := one(n, model.SeverityCritical, true)
				f, _ := b.Finding(&b.Events[1])
				if err := e.add(b.Events[1].Time, f); err != nil {
					t.Error(err)
				}
			}
			e.mu.Unlock()
			eventually(t, "the end", func() bool {
				at, _, _ := e.journal.State()
				return at.delivered+at.lost == findings
			})
			e.Close(5 * time.Second)
			at, waiting, _ := e.journal.State()
			if r.found() != test.stored || at.lost != test.lost || waiting != 0 || r.requests < test.least {
				t.Errorf("stored %d, lost %d, waiting %d, %d requests; said %s", r.found(), at.lost, waiting, r.requests,
					to.all())
			}
			if test.lost > 0 && !strings.Contains(to.all(), "findings are lost") {
				t.Errorf("said %s", to.all())
			}
		})
	}
}

// What a receiver leaves out of a request that it has taken is counted, said with its reason, and sent as an event.
func TestPartialSuccess(t *testing.T) {
	r, to := newReceiver(t), &said{}
	calls := 0
	r.set(func(w http.ResponseWriter, _ int) bool {
		if calls++; calls == 1 {
			_, _ = w.Write([]byte("\x0a\x0b\x08\x01\x12\x07too old")) // {1: {1: 1, 2: "too old"}}
			return false
		}
		return true
	})
	e := start(t, options(t, r.URL, t.TempDir(), to))
	write(t, e, one(1, model.SeverityWarning, true))
	eventually(t, "the count of losses", func() bool { return r.lost() == 1 })
	e.Close(5 * time.Second)
	if at, _, _ := e.journal.State(); at.lost != 1 || at.delivered != 0 || !strings.Contains(to.all(), "too old") {
		t.Errorf("%+v, said %s", at, to.all())
	}
}

func TestRetryAfter(t *testing.T) {
	const date = "Sun, 01 Mar 2026 10:00:00 GMT"
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "99999999999": 0, "90000": time.Hour, "soon": 0,
		"Sun, 01 Mar 2026 10:00:09 GMT": 9 * time.Second, "Sun, 01 Mar 2026 09:00:00 GMT": 0,
	} {
		if got := retryAfter(text, date); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	if got := retryAfter(date, ""); got != 0 {
		t.Errorf("without the receiver's clock: %v", got)
	}
}

// A receiver that asks to wait is asked again no sooner.
func TestWaitsAsAsked(t *testing.T) {
	t.Parallel()
	r, to := newReceiver(t), &said{}
	var first, next time.Time
	r.set(func(w http.ResponseWriter, _ int) bool {
		if first.IsZero() {
			first = time.Now()
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return false
		}
		next = time.Now()
		return true
	})
	e := start(t, options(t, r.URL, t.TempDir(), to))
	write(t, e, one(1, model.SeverityCritical, true))
	eventually(t, "delivery", func() bool { return r.found() == 1 })
	e.Close(5 * time.Second)
	if wait := next.Sub(first); wait < time.Second || wait > 5*time.Second {
		t.Errorf("it came back after %v", wait)
	}
}

// An answer that does not come delays neither the stream nor, beyond what it is given, the end.
func TestReceiverThatHangs(t *testing.T) {
	t.Parallel()
	r, to := newReceiver(t), &said{}
	release := make(chan struct{})
	defer close(release)
	r.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })
	e := start(t, options(t, r.URL, t.TempDir(), to))
	began := time.Now()
	for n := range 100 {
		write(t, e, one(n, model.SeverityCritical, true))
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("100 findings took %v", took)
	}
	began = time.Now()
	e.Close(100 * time.Millisecond)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
	if !strings.Contains(to.all(), "100 records wait in") {
		t.Errorf("said %s", to.all())
	}
}
