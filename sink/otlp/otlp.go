package otlp

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"lostbeat/internal/guard"
	"lostbeat/internal/plain"
	"lostbeat/internal/redact"
	"lostbeat/internal/words"
	"lostbeat/model"
	"lostbeat/pipeline"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Options say what is sent, where to, and where it waits.
type Options struct {
	Config
	// Folder is that of the journal. One process at a time uses it.
	Folder string
	// MaxBytes is how large the journal may become, 16 MiB when 0. Beyond it, the oldest records are lost and counted.
	MaxBytes int64
	// Host is where the events come from, Version that of this program, and Recording the path of the file with more.
	Host      Host
	Version   string
	Recording string
	// Redact gives pseudonyms to names; nil sends names. It should be bounded: there is no end of names.
	Redact *redact.Shared
	// Say is told of outages and losses.
	Say func(string)

	pace Pace
	disk disk
	now  func() time.Time
}

// Pace says how long sending waits. The zero values are the defaults.
type Pace struct {
	// Critical, Warning and Info are the longest waits of findings of that severity before they are sent: each wait is
	// random up to that, so that hosts with the same fault do not send at once. 1 s, 5 s and 15 s when 0.
	Critical, Warning, Info time.Duration
	// Start is the longest wait of what an earlier process has left, 10 s when 0.
	Start time.Duration
	// Gap is the shortest time between two requests, 1 s when 0.
	Gap time.Duration
	// Pause is the wait after the first failure of an outage, each time twice as long up to MaxPause, of which a random
	// half is left out: 1 s and 1 min when 0.
	Pause, MaxPause time.Duration
}

func (p *Pace) setDefaults() {
	for _, d := range []struct {
		of   *time.Duration
		none time.Duration
	}{
		{&p.Critical, time.Second}, {&p.Warning, 5 * time.Second}, {&p.Info, 15 * time.Second},
		{&p.Start, 10 * time.Second}, {&p.Gap, time.Second}, {&p.Pause, time.Second}, {&p.MaxPause, time.Minute},
	} {
		*d.of = cmp.Or(*d.of, d.none)
	}
}

// wait returns how long a finding waits before it is sent.
func (p *Pace) wait(s model.Severity) time.Duration {
	longest := p.Info
	switch s {
	case model.SeverityCritical:
		longest = p.Critical
	case model.SeverityWarning:
		longest = p.Warning
	}
	return rand.N(longest)
}

// Limits of a request.
const (
	maxRecords  = 512
	maxBody     = 1 << 20
	defaultSize = 16 << 20
	leastSize   = 256 << 10
)

// Exporter is a sink that sends findings. Write never waits.
type Exporter struct {
	options Options
	client  *client
	journal *journal
	work    guard.Background

	mu     sync.Mutex
	encode encoder
	// due is when the records that wait are sent, zero for none.
	due time.Time
	// reported is how many losses the receiver was told of.
	reported uint64

	// toSend and toWrite wake the goroutines; hurry is closed when there is no time left to wait, closed when no more
	// comes. stop ends a request that goes on.
	toSend, toWrite chan struct{}
	hurry, closed   chan struct{}
	stop            context.CancelFunc
}

// Kinds are the kinds of events that an Exporter is given: all where names are replaced, because it learns them.
func Kinds(redacts bool) []model.Kind {
	if redacts {
		return nil
	}
	return []model.Kind{model.KindFinding, model.KindClock, model.KindLoss}
}

// Start opens the journal and begins to send.
func Start(o Options) (*Exporter, error) {
	o.pace.setDefaults()
	o.MaxBytes = max(cmp.Or(o.MaxBytes, defaultSize), leastSize)
	if o.disk == nil {
		o.disk = realDisk{}
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.Host.BootID == "" { // this process stands for a boot of the host
		o.Host.BootID = crand.Text()
	}
	if o.Redact != nil {
		o.Host.Name, o.Recording = pseudonym(o.Host), ""
	}
	resource, err := proto.Marshal(newResource(o.Host, o.Config, o.Version))
	if err != nil {
		return nil, fmt.Errorf("describe this host: %w", err)
	}
	j, err := openJournal(o.Folder, resource, o.MaxBytes, o.disk)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	e := &Exporter{
		options: o, client: newClient(o.Config, "lostbeat/"+o.Version), journal: j, stop: stop,
		encode: encoder{boot: o.Host.BootID, recording: o.Recording},
		toSend: make(chan struct{}, 1), toWrite: make(chan struct{}, 1),
		hurry: make(chan struct{}), closed: make(chan struct{}),
	}
	if _, waiting, _ := j.State(); waiting > 0 {
		e.due = time.Now().Add(rand.N(o.pace.Start))
		o.Say(fmt.Sprintf("--otlp: %s of an earlier run are still to be sent", words.Plural(waiting, "record")))
	}
	e.work.Go("--otlp", func() { e.sending(ctx) })
	e.work.Go("the journal of findings", e.writing)
	return e, nil
}

// Write implements pipeline.Sink.
func (e *Exporter) Write(b *model.Batch) error {
	e.work.Rethrow()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.options.Redact != nil {
		e.options.Redact.Learn(b)
	}
	for i := range b.Events {
		event := &b.Events[i]
		if c, ok := b.Clock(event); ok {
			e.encode.clock(c)
			continue
		}
		if l, ok := b.Loss(event); ok && l.Origin == pipeline.OriginOutput {
			e.journal.Lose(l.Lost, "they came faster than they could be taken")
			continue
		}
		f, ok := b.Finding(event)
		if !ok {
			continue
		}
		if err := e.add(event.Time, f); err != nil {
			return err
		}
	}
	return nil
}

// add adds a finding to the journal.
func (e *Exporter) add(at model.Time, f model.Finding) error {
	if e.options.Redact != nil {
		f = e.options.Redact.Finding(f)
	}
	revision, ok := e.encode.wanted(at, &f)
	if !ok {
		return nil
	}
	text, err := proto.Marshal(e.encode.finding(at, e.options.now(), revision, &f))
	if err != nil {
		return fmt.Errorf("--otlp: %w", err)
	}
	e.journal.Add(frameFinding, text)
	due := time.Now().Add(e.options.pace.wait(f.Severity))
	if e.due.IsZero() || due.Before(e.due) {
		e.due = due
	}
	wake(e.toSend)
	wake(e.toWrite)
	return nil
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// retryDisk is how long after a failure the disk is tried again.
const retryDisk = time.Second

// writing writes the journal.
func (e *Exporter) writing() {
	failing := false
	for {
		var again <-chan time.Time
		if failing {
			again = time.After(retryDisk)
		}
		select {
		case <-e.toWrite:
		case <-again:
		case <-e.closed:
			return
		}
		err := e.journal.Flush()
		if err != nil && !failing {
			e.options.Say(fmt.Sprintf("--otlp: %v: findings that are not sent are in memory only", err))
		} else if err == nil && failing {
			e.options.Say("--otlp: the journal of findings is written again")
		}
		failing = err != nil
	}
}

// outage is a time in which nothing is taken.
type outage struct {
	since time.Time
	pause time.Duration
}

// sending sends what waits until hurry is closed and nothing is left that can be sent.
func (e *Exporter) sending(ctx context.Context) {
	var down outage
	limit := maxRecords
	for ctx.Err() == nil {
		b := e.next(limit)
		if b == nil {
			return
		}
		a := e.client.post(ctx, request(b))
		switch {
		case a.err == nil:
			e.confirm(b, a)
			if down.pause > 0 {
				e.options.Say(fmt.Sprintf("--otlp: findings are delivered again, after %s",
					plain.Span(time.Since(down.since))))
				down = outage{}
			}
			limit = min(2*limit, maxRecords)
		case a.again:
			e.journal.GiveBack()
			if !e.pause(&down, a) {
				return
			}
			continue
		case a.split && len(b.records) > 1:
			e.journal.GiveBack()
			limit = (len(b.records) + 1) / 2
		default:
			n := b.findings()
			why := fmt.Sprintf("%s refused them: %v", plain.Text(e.options.URL.Host), a.err)
			e.journal.Confirm(b.next, 0, n, why)
			e.sayLosses()
		}
		wake(e.toWrite)
		rest(e.hurry, e.options.pace.Gap)
	}
}

// next waits until records are due and returns them, nil when there is nothing to wait for.
func (e *Exporter) next(limit int) *batch {
	for {
		e.mu.Lock()
		due := e.due
		e.mu.Unlock()
		hurrying := e.hurrying()
		if hurrying || !due.IsZero() && !time.Now().Before(due) {
			if b := e.journal.Next(limit, maxBody); b != nil {
				return b
			}
			e.mu.Lock()
			if e.due.Equal(due) {
				e.due = time.Time{}
			}
			e.mu.Unlock()
			if hurrying {
				return nil
			}
			continue
		}
		var timer <-chan time.Time
		if !due.IsZero() {
			timer = time.After(time.Until(due))
		}
		select {
		case <-timer:
		case <-e.toSend:
		case <-e.hurry:
		}
	}
}

func (e *Exporter) hurrying() bool {
	select {
	case <-e.hurry:
		return true
	default:
		return false
	}
}

// rest waits, unless there is no time left, and reports whether it did.
func rest(hurry <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-hurry:
		return false
	}
}

// pause waits before the same records are sent again, and reports whether there is time for it.
func (e *Exporter) pause(down *outage, a answer) bool {
	if down.pause == 0 {
		e.options.Say(fmt.Sprintf("--otlp: %s: %v; findings wait in %s", plain.Text(e.options.URL.Host), a.err,
			plain.Text(e.options.Folder)))
	}
	return rest(e.hurry, down.wait(&e.options.pace, a))
}

// wait returns how long to wait after an answer in an outage, each time longer.
func (o *outage) wait(p *Pace, a answer) time.Duration {
	if o.pause == 0 {
		o.since, o.pause = time.Now(), p.Pause
	} else {
		o.pause = min(2*o.pause, p.MaxPause)
	}
	wait := o.pause/2 + rand.N(o.pause/2+1)
	if a.after > 0 { // with the hosts that were told the same
		wait = max(wait, a.after+rand.N(a.after/4+1))
	}
	return wait
}

// confirm takes note that the receiver has a batch.
func (e *Exporter) confirm(b *batch, a answer) {
	n := b.findings()
	rejected := min(uint64(a.rejected), n)
	why := plain.Text(e.options.URL.Host) + " left them out"
	if a.message != "" {
		why += ": " + a.message
	}
	e.journal.Confirm(b.next, n-rejected, rejected, why)
	e.sayLosses()
	e.mu.Lock()
	defer e.mu.Unlock()
	at, _, _ := e.journal.State()
	total := at.lost
	if total == e.reported {
		return
	}
	text, err := proto.Marshal(e.encode.loss(e.options.now(), int64(total), total, "see the log of lostbeat on this host"))
	if err == nil && e.journal.Add(frameLoss, text) {
		e.reported = total
		if e.due.IsZero() {
			e.due = time.Now().Add(e.options.pace.wait(model.SeverityWarning))
		}
	}
}

// sayLosses says what was lost for a reason that was not said before.
func (e *Exporter) sayLosses() {
	total, reasons := e.journal.Lost()
	for _, why := range reasons {
		e.options.Say(fmt.Sprintf("--otlp: findings are lost: %s (%s so far)", why, words.Exact(total)))
	}
}

// findings is how many records of a batch are findings.
func (b *batch) findings() (n uint64) {
	for _, r := range b.records {
		if r.kind == frameFinding {
			n++
		}
	}
	return n
}

// Numbers of fields of ExportLogsServiceRequest, ResourceLogs, ScopeLogs and InstrumentationScope.
const (
	fieldResourceLogs = 1
	fieldResource     = 1
	fieldScopeLogs    = 2
	fieldScope        = 1
	fieldLogRecords   = 2
	fieldScopeName    = 1
)

// scopeName is the instrumentation scope of what is sent.
const scopeName = "lostbeat"

// request returns the body of a request: the parts are encoded already.
func request(b *batch) []byte {
	part := func(to []byte, field protowire.Number, value []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(to, field, protowire.BytesType), value)
	}
	scope := part(nil, fieldScope, part(nil, fieldScopeName, []byte(scopeName)))
	for _, r := range b.records {
		scope = part(scope, fieldLogRecords, r.payload)
	}
	logs := part(part(nil, fieldResource, b.resource), fieldScopeLogs, scope)
	return part(nil, fieldResourceLogs, logs)
}

// Close sends what waits, for at most the given time and without trying again, and says what is left.
func (e *Exporter) Close(within time.Duration) {
	close(e.hurry)
	late := time.AfterFunc(within, e.stop)
	defer late.Stop()
	ended := make(chan error, 1)
	go func() {
		close(e.closed)
		e.work.Wait()
		ended <- e.journal.Close()
	}()
	var err error
	select {
	case err = <-ended:
	case <-time.After(within + time.Second):
		err = errors.New("the disk does not respond")
	}
	e.stop()
	e.sayLosses()
	at, waiting, _ := e.journal.State()
	var left []string
	if waiting > 0 {
		left = append(left, fmt.Sprintf("%s wait in %s for the next start", words.Plural(waiting, "record"),
			plain.Text(e.options.Folder)))
	}
	if at.lost > 0 {
		left = append(left, "lost since the journal was made: "+words.Plural(at.lost, "finding"))
	}
	if err != nil {
		left = append(left, err.Error())
	}
	if len(left) > 0 {
		e.options.Say("--otlp: " + strings.Join(left, "; "))
	}
}
