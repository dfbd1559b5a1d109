package otlp

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"lostbeat/model"

	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"
)

const second = model.Time(time.Second)

// epoch is when the streams of the tests begin.
var epoch = model.TimeOf(time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC))

// key is what tells records apart.
type key struct {
	boot, id string
	revision int64
}

// receiver keeps what it is sent, as a store does that keeps one record of each key.
type receiver struct {
	*httptest.Server

	mu sync.Mutex
	// answer is called for each request, and reports whether its records are kept.
	answer func(w http.ResponseWriter, n int) bool
	stored map[key]*logspb.LogRecord
	// requests counts all, records those that were kept, with repetitions.
	requests, records int
	resources         []map[string]string
	headers           http.Header
	bodyBytes         int64
}

func newReceiver(t testing.TB) *receiver {
	t.Helper()
	r := &receiver{stored: map[key]*logspb.LogRecord{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) set(answer func(w http.ResponseWriter, n int) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) serve(w http.ResponseWriter, q *http.Request) {
	text, err := unpacked(q)
	var data logspb.LogsData
	if err == nil {
		err = proto.Unmarshal(text, &data) // on the wire it is an export request
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	r.bodyBytes += q.ContentLength
	r.headers = q.Header
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	n := 0
	for _, l := range data.ResourceLogs {
		n += len(l.ScopeLogs[0].LogRecords)
	}
	if r.answer != nil && !r.answer(w, n) {
		return
	}
	for _, l := range data.ResourceLogs {
		resource := map[string]string{}
		for _, a := range l.Resource.Attributes {
			resource[a.Key] = a.Value.GetStringValue()
		}
		r.resources = append(r.resources, resource)
		for _, record := range l.ScopeLogs[0].LogRecords {
			r.records++
			r.stored[keyOf(record)] = record
		}
	}
}

func attribute(record *logspb.LogRecord, name string) string {
	for _, a := range record.Attributes {
		if a.Key == name {
			if s := a.Value.GetStringValue(); s != "" {
				return s
			}
			return fmt.Sprint(a.Value.GetIntValue())
		}
	}
	return ""
}

func keyOf(record *logspb.LogRecord) (k key) {
	k.boot, k.id = attribute(record, AttrBoot), attribute(record, AttrID)
	k.revision, _ = strconv.ParseInt(attribute(record, AttrRevision), 10, 64)
	return k
}

// found returns how many different findings, by their ids, the receiver has.
func (r *receiver) found() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := map[string]bool{}
	for k, record := range r.stored {
		if record.EventName == EventFinding {
			ids[k.boot+k.id] = true
		}
	}
	return len(ids)
}

// lost returns the count of losses that the receiver was told of.
func (r *receiver) lost() (n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range r.stored {
		if record.EventName == EventLoss {
			total, _ := strconv.ParseInt(attribute(record, AttrLost), 10, 64)
			n = max(n, total)
		}
	}
	return n
}

// fast is a pace for tests.
var fast = Pace{
	Critical: time.Millisecond, Warning: time.Millisecond, Info: time.Millisecond, Start: time.Millisecond,
	Gap: time.Microsecond, Pause: 2 * time.Millisecond, MaxPause: 20 * time.Millisecond,
}

// said keeps what is said.
type said struct {
	mu    sync.Mutex
	lines []string
}

func (s *said) say(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
}

func (s *said) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.lines)
}

// options are those of a test.
func options(t testing.TB, url, folder string, to *said) Options {
	t.Helper()
	c, err := Read(Logs, Endpoint{URL: url}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Config: c, Folder: folder, Host: Host{Name: "web-1", OS: "linux", BootID: "boot-1"}, Version: "test",
		Recording: "/var/lib/lostbeat/fault.lostbeat", Say: to.say, pace: fast,
	}
}

func start(t testing.TB, o Options) *Exporter {
	t.Helper()
	e, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// one is a batch with a finding, after a reading of the clocks that was taken an hour after the boot.
func one(n int, severity model.Severity, ongoing bool) *model.Batch {
	at := epoch + model.Time(n)*second
	var b model.Builder
	b.AddClock(model.Clock{Time: epoch, Boot: time.Hour, Wall: epoch})
	b.AddFinding(at, model.Finding{
		ID: fmt.Sprintf("socket-drop/%d", n), Detector: "socket-drop", Severity: severity,
		Title: fmt.Sprintf("udp/5405 of corosync[%d] lost 7 packets", 100+n), Start: at, End: at, Ongoing: ongoing,
		Subject:  model.Subject{Kind: "socket", CPU: -1, PID: int32(100 + n), Process: "corosync", Port: 5405},
		Evidence: []model.Evidence{{Name: "lost", Value: 7, Unit: "packets"}},
		Causes:   []string{"its queue was full"}, Advice: []string{"give the program the CPU"},
	})
	return b.Take()
}

func write(t testing.TB, e *Exporter, b *model.Batch) {
	t.Helper()
	if err := e.Write(b); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
	}
}
