package otlp

import (
	"bytes"
	"maps"
	"strings"
	"time"

	"lostbeat/internal/plain"
	"lostbeat/internal/words"
	"lostbeat/model"
	"lostbeat/sink/findings"
	"lostbeat/sink/jsonl"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

// Names of events.
const (
	EventFinding = "lostbeat.finding"
	EventLoss    = "lostbeat.loss"
)

// Names of attributes: those of the resource, those of all events, those of findings, those of losses. docs/OTLP.md
// describes them, and a test compares.
const (
	AttrService = "service.name"
	AttrVersion = "service.version"
	AttrHost    = "host.name"
	// AttrInstance tells hosts apart in stores that take it for the name of an instance, as Prometheus does.
	AttrInstance = "service.instance.id"
	AttrArch     = "host.arch"
	AttrOS       = "os.type"
	AttrKernel   = "os.version"

	AttrBoot     = "lostbeat.boot.id"
	AttrID       = "lostbeat.finding.id"
	AttrRevision = "lostbeat.finding.revision"

	AttrDetector  = "lostbeat.finding.detector"
	AttrState     = "lostbeat.finding.state"
	AttrStart     = "lostbeat.finding.start"
	AttrEnd       = "lostbeat.finding.end"
	AttrCause     = "lostbeat.finding.cause"
	AttrAdvice    = "lostbeat.finding.advice"
	AttrSubject   = "lostbeat.finding.subject."
	AttrJSON      = "lostbeat.finding.json"
	AttrRecording = "lostbeat.recording"

	AttrLost   = "lostbeat.loss.total"
	AttrReason = "lostbeat.loss.reason"
)

// Values of AttrState.
const (
	StateActive = "active"
	StateEnded  = "ended"
)

// lossID is the finding id of all counts of losses: of two with the same boot id, the higher revision counts.
const lossID = "loss"

// maxText bounds each text of a record, in bytes.
const maxText = 32 << 10

// severities are the numbers of OpenTelemetry: INFO, WARN, ERROR.
var severities = map[model.Severity]logspb.SeverityNumber{
	model.SeverityInfo:     logspb.SeverityNumber_SEVERITY_NUMBER_INFO,
	model.SeverityWarning:  logspb.SeverityNumber_SEVERITY_NUMBER_WARN,
	model.SeverityCritical: logspb.SeverityNumber_SEVERITY_NUMBER_ERROR,
}

// Host says where events come from.
type Host struct {
	// Name, Arch, OS and Kernel describe the host, BootID tells its boots apart. Empty ones are left out.
	Name, Arch, OS, Kernel, BootID string
}

// newResource describes what sends events.
func newResource(h Host, c Config, version string) *resourcepb.Resource {
	r := &resourcepb.Resource{}
	set := map[string]bool{}
	add := func(name, value string) {
		if value != "" && !set[name] {
			set[name] = true
			r.Attributes = append(r.Attributes, text(name, value))
		}
	}
	add(AttrService, c.Service)
	for _, a := range c.Attributes { // the user's come first: they replace what was found out
		add(a.Name, a.Value)
	}
	add(AttrVersion, version)
	add(AttrHost, h.Name)
	add(AttrInstance, h.Name)
	add(AttrArch, h.Arch)
	add(AttrOS, h.OS)
	add(AttrKernel, h.Kernel)
	return r
}

func text(name, value string) *commonpb.KeyValue {
	if len(value) > maxText {
		value = value[:maxText]
	}
	value = strings.ToValidUTF8(value, "\ufffd")
	return &commonpb.KeyValue{Key: name, Value: &commonpb.AnyValue{
		Value: &commonpb.AnyValue_StringValue{StringValue: value},
	}}
}

func number(name string, value int64) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: name, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: value}}}
}

// refresh is how often, in event time, a finding is sent of which only numbers change.
const refresh = time.Minute

// maxSeen bounds the findings of which the last revision is remembered.
const maxSeen = 4096

// encoder makes records of findings. It decides which updates are sent, and gives them their revisions.
type encoder struct {
	boot      string
	recording string
	changes   findings.Changes
	seen      map[string]sent
	// bootOffset is what is added to a time of the stream for the boot clock, wallOffset for the wall clock.
	bootOffset, wallOffset time.Duration
}

// sent is the last revision of a finding.
type sent struct {
	at       model.Time
	revision int64
	ongoing  bool
}

// clock takes a reading of the clocks. The stream's scale does not step, the wall clock may: see model.Clock.
func (e *encoder) clock(c model.Clock) {
	e.bootOffset = c.Boot - time.Duration(c.Time)
	e.wallOffset = c.Wall.Sub(c.Time)
}

// wanted reports whether an update is sent, and returns its revision: the milliseconds since the boot at which it was
// concluded. Within a boot it rises, also when the recorder is started again, and however the wall clock steps.
func (e *encoder) wanted(at model.Time, f *model.Finding) (revision int64, ok bool) {
	before, known := e.seen[f.ID]
	if !e.changes.New(*f) && known && at.Sub(before.at) < refresh {
		return 0, false
	}
	revision = max((time.Duration(at) + e.bootOffset).Milliseconds(), before.revision+1)
	if e.seen == nil {
		e.seen = map[string]sent{}
	}
	if len(e.seen) >= maxSeen {
		maps.DeleteFunc(e.seen, func(_ string, s sent) bool { return !s.ongoing })
	}
	e.seen[f.ID] = sent{at, revision, f.Ongoing}
	return revision, true
}

// finding returns the record of a finding.
func (e *encoder) finding(at model.Time, observed time.Time, revision int64, f *model.Finding) *logspb.LogRecord {
	state := StateEnded
	if f.Ongoing {
		state = StateActive
	}
	r := e.record(at, observed, EventFinding, f.ID, revision)
	r.SeverityNumber, r.SeverityText = severities[f.Severity], f.Severity.String()
	r.Body = text("", plain.Text(f.Title)).Value
	add := func(name, value string) {
		if value != "" {
			r.Attributes = append(r.Attributes, text(name, plain.Text(value)))
		}
	}
	add(AttrDetector, f.Detector)
	add(AttrState, state)
	add(AttrStart, f.Start.String())
	add(AttrEnd, f.End.String())
	if reasons := words.Reasons(f); len(reasons) > 0 {
		add(AttrCause, reasons[0])
	}
	if len(f.Advice) > 0 {
		add(AttrAdvice, f.Advice[0])
	}
	s := f.Subject
	add(AttrSubject+"kind", s.Kind)
	for _, part := range []struct {
		name  string
		value int64
		none  int64
	}{{"cpu", int64(s.CPU), -1}, {"pid", int64(s.PID), -1}, {"port", int64(s.Port), 0}} {
		if part.value != part.none {
			r.Attributes = append(r.Attributes, number(AttrSubject+part.name, part.value))
		}
	}
	add(AttrSubject+"vector", s.Vector)
	add(AttrSubject+"driver", s.Driver)
	add(AttrSubject+"device", s.Device)
	add(AttrSubject+"queue", s.Queue)
	add(AttrSubject+"process", s.Process)
	add(AttrSubject+"pool", s.Pool)
	add(AttrSubject+"protocol", s.Protocol)
	add(AttrSubject+"netns", s.Netns)
	add(AttrRecording, e.recording)
	var object bytes.Buffer
	if err := plain.Object(&object, jsonl.FindingSchema, *f); err == nil && object.Len() <= maxText {
		r.Attributes = append(r.Attributes, text(AttrJSON, strings.TrimSpace(object.String())))
	}
	return r
}

// loss returns the record that says how many findings were lost since the journal was made.
func (e *encoder) loss(observed time.Time, revision int64, total uint64, reason string) *logspb.LogRecord {
	r := e.record(model.TimeOf(observed).Add(-e.wallOffset), observed, EventLoss, lossID, revision)
	r.SeverityNumber, r.SeverityText = severities[model.SeverityWarning], model.SeverityWarning.String()
	r.Body = text("", words.Plural(total, "finding")+" not delivered: "+reason).Value
	r.Attributes = append(r.Attributes, number(AttrLost, int64(total)), text(AttrReason, reason))
	return r
}

// record begins a record with its time and its key.
func (e *encoder) record(at model.Time, observed time.Time, event, id string, revision int64) *logspb.LogRecord {
	return &logspb.LogRecord{
		TimeUnixNano: uint64(max(0, at.Add(e.wallOffset))), ObservedTimeUnixNano: uint64(max(0, observed.UnixNano())),
		EventName:  event,
		Attributes: []*commonpb.KeyValue{text(AttrBoot, e.boot), text(AttrID, id), number(AttrRevision, revision)},
	}
}
