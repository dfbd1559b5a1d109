package applog

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"lostbeat/model"
	"lostbeat/source"
)

// Followed says which log to follow, and how.
type Followed struct {
	// Path is its file, or journal or journal:UNIT.
	Path string
	// Host is the host that writes it, empty for this one.
	Host string
	// Options has LogTime, of which the zone counts, and LogPatterns.
	Options source.OpenOptions
}

// Follower reads logs as they grow. It looks at each file ten times a second:
// that costs two system calls, holds on every file system, network file systems
// and bind mounts included, and needs no watches, of which a host has few. When
// a line was written follows from the file's own modification time.
type Follower struct {
	logs []*live

	mu      sync.Mutex
	pending []LiveEvent
	lost    uint64
}

// LiveEvent is something that a log has said.
type LiveEvent struct {
	// Seen is when it was read, Wrote when it was written, as far as that is known.
	Seen, Wrote model.Time
	gap         *model.LogGap
	line        *model.LogLine
	state       *model.LogState
	loss        *model.Loss
}

// Add adds the event to b at a place of the stream that is not before e.Seen.
func (e *LiveEvent) Add(b *model.Builder, at model.Time) {
	lag := max(at.Sub(e.Wrote), 0)
	switch {
	case e.gap != nil:
		e.gap.Time, e.gap.Lag = at, lag
		b.AddLogGap(*e.gap)
	case e.line != nil:
		e.line.Time, e.line.Lag = at, lag
		b.AddLogLine(*e.line)
	case e.state != nil:
		e.state.Time = at
		b.AddLogState(*e.state)
	case e.loss != nil:
		e.loss.Time = at
		b.AddLoss(*e.loss)
	}
}

const (
	// pollEvery is how often a followed file is looked at.
	pollEvery = 100 * time.Millisecond
	// maxPending bounds the events that wait for their place in the stream.
	maxPending = 1 << 14
	// stateEvery is how often the state of a log is told when nothing of it changes.
	stateEvery = 10 * time.Second
)

// NewFollower checks what is to be followed. A file need not exist yet.
func NewFollower(list []Followed) (*Follower, error) {
	f := &Follower{}
	names := map[[2]string]int{}
	for _, o := range list {
		l, err := newLive(o, f.put)
		if err != nil {
			return nil, err
		}
		key := [2]string{l.host, l.name}
		if names[key]++; names[key] > 1 { // app.log of two folders
			l.name = fmt.Sprintf("%s (%s)", l.name, o.Path)
		}
		f.logs = append(f.logs, l)
	}
	return f, nil
}

// Run follows the logs until ctx is done; now is the clock of the stream.
func (f *Follower) Run(ctx context.Context, now func() model.Time) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for _, l := range f.logs {
		l.start(ctx, now)
	}
	defer func() {
		for _, l := range f.logs {
			l.close()
		}
	}()
	for {
		for _, l := range f.logs {
			l.poll(now)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// put takes an event of a log.
func (f *Follower) put(e LiveEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pending) >= maxPending {
		f.lost++
		return
	}
	f.pending = append(f.pending, e)
}

// Take returns what was read up to a time, in order, as events at the time at; nil for nothing.
func (f *Follower) Take(until, at model.Time) *model.Batch {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortStableFunc(f.pending, func(a, b LiveEvent) int { return cmp.Compare(a.Seen, b.Seen) })
	var b model.Builder
	n := 0
	for ; n < len(f.pending) && f.pending[n].Seen <= until; n++ {
		f.pending[n].Add(&b, at)
	}
	f.pending = slices.Delete(f.pending, 0, n)
	if f.lost > 0 {
		b.AddLoss(model.Loss{Time: at, CPU: -1, Lost: f.lost, Origin: model.OriginLog, Detail: "events of logs"})
		f.lost = 0
	}
	if b.Len() == 0 {
		return nil
	}
	return b.Take()
}

// live is one log that is followed.
type live struct {
	path, host, name string
	options          source.OpenOptions
	patterns         *patterns
	put              func(LiveEvent)
	input            input
	cadence          cadence
	clock            liveClock
	calm             calm
	// now is the time of the present look, before that of the last one; old says that what is read was there already.
	now, before model.Time
	old         bool
	// record is the line with a time and those behind it that have none, body where its text begins, at when it was
	// written and since the time before it; told says that it was looked through.
	record []byte
	body   int
	at     model.Time
	since  time.Duration
	told   bool
	// reported says that something was found in it.
	reported bool
	grown    model.Time
	// asleep says that the log was silent for too long when it was opened: since when, nobody saw.
	asleep bool
	// open is the length at which the present silence was reported last, 0 not; late are gaps of which it is not known
	// yet whether the log went on as before.
	open time.Duration
	late []lateGap
	// tokens is how many lines may be reported now, left how many were not.
	tokens float64
	left   uint64
	lines  uint64
	lost   uint64
	writer writer
	state  model.LogState
	stated model.Time
}

// lateGap is a gap that waits for what comes after it.
type lateGap struct {
	silence
	wrote model.Time
}

// input is where a log's lines come from: a file, or the journal.
type input interface {
	// start begins, and gives what is there already to old.
	start(ctx context.Context, l *live)
	// poll gives what is new to l.
	poll(l *live)
	// state says what has become of it, in words when something is wrong.
	state() (model.LogFileState, string)
	close()
}

func newLive(o Followed, put func(LiveEvent)) (*live, error) {
	p, err := newPatterns(o.Options.LogPatterns)
	if err != nil {
		return nil, err
	}
	l := &live{path: o.Path, host: o.Host, options: o.Options, patterns: p, put: put, name: filepath.Base(o.Path)}
	l.cadence.grain = time.Millisecond
	if unit, ok := journalUnit(o.Path); ok {
		l.name = o.Path
		l.input, err = newJournal(unit, o.Options.Programs)
		return l, err
	}
	l.input = &fileTail{path: o.Path}
	return l, nil
}

func (l *live) start(ctx context.Context, now func() model.Time) {
	l.now = now()
	l.before, l.tokens, l.old = l.now, maxTokens, true
	l.input.start(ctx, l)
	l.old, l.clock.n = false, 0
	if l.cadence.last != 0 {
		l.asleep = l.expected(l.now.Sub(l.cadence.last)) <= mostExpected || l.now.Sub(l.cadence.last) > time.Hour
	}
	// What is there already has been seen: only what comes from now on is told.
	l.record, l.at, l.lines, l.left = l.record[:0], 0, 0, 0
	l.tell()
}

func (l *live) close() { l.input.close() }

// Lines reported in a second, and at once, of one log.
const (
	tokenRate = 50
	maxTokens = 1000
	// settled is how long after its last byte a record of several lines is complete.
	settled = 200 * time.Millisecond
)

func (l *live) poll(now func() model.Time) {
	l.before, l.now = l.now, now()
	l.tokens = min(maxTokens, l.tokens+tokenRate*pollEvery.Seconds())
	l.input.poll(l)
	l.lookThrough(l.now.Sub(l.grown) >= settled)
	l.silence()
	l.lateGaps()
	if l.left > 0 && l.tokens >= 1 {
		l.loss(l.left, "lines of "+l.name+" that were found, more than are told in a second")
		l.left = 0
	}
	l.tell()
}

// entry takes a line; grew is when it was written at the latest.
func (l *live) entry(line []byte, grew model.Time) {
	if l.clock.known && l.clock.read.cluster {
		eachRecord(line, func(part []byte) { l.one(part, grew) })
		return
	}
	l.one(line, grew)
}

func (l *live) one(line []byte, grew model.Time) {
	line = bytes.TrimLeft(line, "\x00") // a truncated file whose writer goes on where it was
	l.grown = grew
	end := 0
	wrote := grew
	if l.clock.known {
		st, at, stop, ok := find(line, l.clock.read.form, l.clock.read.hint)
		if !ok {
			if l.at != 0 && len(l.record) < maxRecord {
				l.record = append(bytes.TrimRight(l.record, " \t\r"), ' ')
				l.record = append(l.record, bytes.TrimLeft(line[:min(len(line), maxRecord)], " \t")...)
				l.told = l.told && l.reported
			}
			return
		}
		l.clock.read.hint, end = at, stop
		if read := l.clock.read.time(&st); l.old {
			wrote = read.Add(l.clock.shift)
		} else {
			wrote = l.clock.wrote(read, grew)
		}
	} else if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	l.stamped(line, end, wrote)
}

// stamped takes a line that was written at a time.
func (l *live) stamped(line []byte, end int, wrote model.Time) {
	l.lookThrough(true)
	l.lines++
	var before []byte
	if l.at != 0 {
		before = l.record[l.body:]
	}
	var gap *silence
	if since := wrote.Sub(l.cadence.last); l.cadence.last != 0 && since >= leastGap && !l.asleep && !l.old {
		if e := l.expected(since); e <= mostExpected {
			gap = &silence{
				length: since, end: wrote, lead: l.cadence.minute, before: clean(before), after: clean(line[end:]), expected: e,
			}
		}
	}
	steady := l.calm.steady(l.cadence.minute)
	l.calm.line(wrote, &l.cadence)
	l.since = l.cadence.line(wrote, before, line[end:])
	switch {
	case gap == nil:
	case steady || l.open > 0:
		l.gap(gap, wrote, false)
	case len(l.late) < maxOpen:
		l.late = append(l.late, lateGap{*gap, wrote})
	}
	for i := range l.late {
		l.late[i].follow++
	}
	l.asleep, l.open = false, 0
	l.at, l.body, l.told, l.reported = wrote, end, false, false
	l.record = append(l.record[:0], line[:max(min(len(line), maxRecord), end)]...)
}

// lookThrough looks for the patterns in the record; complete says that no more lines of it are expected.
func (l *live) lookThrough(complete bool) {
	if l.at == 0 || l.told || l.old {
		return
	}
	p, claimed := l.patterns.match(l.record)
	l.told, l.reported = complete || p != nil, p != nil
	switch {
	case p == nil:
	case l.tokens < 1:
		l.left++
	default:
		l.tokens--
		l.put(LiveEvent{Seen: l.now, Wrote: l.at, line: &model.LogLine{
			Dur: claimed, Class: p.Class, Silence: l.since, Log: l.name, Host: l.host, Pattern: p.Name,
			Text: clean(l.record[l.body:]),
		}})
	}
}

// expected returns how many silences of at least a length the log lets expect.
func (l *live) expected(length time.Duration) float64 { return l.cadence.expect(length) }

// silence looks at how long nothing has come. Lines that are still under way, in
// buffers of their program or until the next look, are allowed for.
func (l *live) silence() {
	if l.cadence.last == 0 || l.asleep {
		return
	}
	if state, _ := l.input.state(); state == model.LogMissing {
		return
	}
	length := l.now.Sub(l.cadence.last)
	sure := length - l.clock.lateness() - 2*pollEvery
	if sure < leastGap || l.open > 0 && length < l.open*5/4 || !l.calm.steady(l.cadence.minute) {
		return
	}
	e := l.expected(sure)
	if e > mostExpected || l.open > 0 && e < surely && l.open > 2*leastGap {
		return
	}
	l.open = length
	var before []byte
	if l.at != 0 {
		before = l.record[l.body:]
	}
	l.gap(&silence{length: length, end: l.now, before: clean(before), expected: e}, l.now, true)
}

// surely is an expectation that need not be told more exactly.
const surely = 1e-4

func (l *live) gap(s *silence, wrote model.Time, lasts bool) {
	l.put(LiveEvent{Seen: l.now, Wrote: wrote, gap: &model.LogGap{
		Dur: s.length, ExpectedCount: s.expected, Usual: l.cadence.quantile(0.99), Longest: l.cadence.longestBelow(s.length),
		Lines: l.cadence.lines, Lasts: lasts, Log: l.name, Host: l.host, Before: s.before, After: s.after,
	}})
}

// lateGaps reports the gaps after which the log went on as before.
func (l *live) lateGaps() {
	l.late = slices.DeleteFunc(l.late, func(g lateGap) bool {
		if l.now.Sub(g.wrote) < time.Minute {
			return false
		}
		if g.resumed(l.now) {
			l.gap(&g.silence, g.wrote, false)
		}
		return true
	})
}

// loss reports what could not be read.
func (l *live) loss(n uint64, detail string) {
	l.put(LiveEvent{Seen: l.now, Wrote: l.now, loss: &model.Loss{
		CPU: -1, Lost: n, Origin: model.OriginLog, Detail: detail,
	}})
}

// skipped says that bytes were passed over: the cadence begins anew behind them.
func (l *live) skipped(n int64) {
	l.lost += uint64(n)
	usual := int64(100)
	if l.lines > 0 && len(l.record) > 0 {
		usual = int64(len(l.record))
	}
	l.loss(uint64(max(n/usual, 1)), fmt.Sprintf("about so many lines of %s: %d bytes came faster than they are read",
		l.name, n))
	l.cadence.begin(0)
	l.at, l.record, l.asleep, l.open = 0, l.record[:0], true, 0
}

// tell reports the state of the log when it has changed, and now and then.
func (l *live) tell() {
	l.writer.look(l.now, l.input)
	state, trouble := l.input.state()
	s := model.LogState{
		PID: l.writer.pid, TID: -1, State: state, Lines: l.lines, Usual: l.cadence.quantile(0.99), Last: l.cadence.last,
		LostBytes: l.lost, Lag: l.clock.lateness(), Log: l.name, Host: l.host, Process: l.writer.name,
		Clock: cmp.Or(trouble, l.clock.words()),
	}
	if l.host != "" {
		s.PID, s.Process = -1, ""
	}
	old := &l.state
	if l.stated != 0 && l.now.Sub(l.stated) < stateEvery && s.State == old.State && s.PID == old.PID &&
		(s.Clock == old.Clock || l.now.Sub(l.stated) < time.Second) && s.LostBytes == old.LostBytes {
		return
	}
	l.state, l.stated = s, l.now
	l.put(LiveEvent{Seen: l.now, Wrote: l.now, state: &s})
}

// calm knows how many lines the last minutes had: the silence after a burst is none to speak of.
type calm struct {
	minute  int64
	minutes [15]uint32
	seen    int
}

// line notes a line, before it is part of the cadence.
func (c *calm) line(at model.Time, of *cadence) {
	m := int64(at) / int64(time.Minute)
	if m == c.minute {
		return
	}
	if c.minute != 0 {
		c.minutes[c.seen%len(c.minutes)] = of.minute
		c.seen++
	}
	c.minute = m
}

// burst is how many times as many lines as usual a minute has that is one.
const burst = 4

// steady reports whether a minute with so many lines is like those before it.
func (c *calm) steady(lead uint32) bool {
	if c.seen < 2 {
		return false
	}
	list := slices.Clone(c.minutes[:min(c.seen, len(c.minutes))])
	slices.Sort(list)
	return lead <= burst*max(list[len(list)/2], 1)
}

// liveClock compares the times of a log with the moments of writing.
type liveClock struct {
	// known says that lines have times in the form of read, firm that enough of them have shown it.
	known, firm bool
	read        clock
	// base is local time minus UTC as the stamps are read, shift what is added to the times that they give.
	base, shift time.Duration
	// late are how much later the last lines of the latest pieces were written than their times say, early the same of
	// their first lines; the latest stand at n-1.
	late, early [32]time.Duration
	n           int
	// unusable says that the times have nothing to do with the moments of writing.
	unusable bool
	said     string
}

const (
	// zoneStep is of what all zones are multiples, zoneSlack how late lines may come beside that.
	zoneStep  = 15 * time.Minute
	zoneSlack = time.Minute
	maxZone   = 26 * time.Hour
	// skewTold is from which difference on a clock is said to differ.
	skewTold = 2 * time.Second
)

// compare takes the times of the first and the last line of a piece as they were read, and when it was written.
func (c *liveClock) compare(first, last, grew model.Time) {
	c.late[c.n%len(c.late)], c.early[c.n%len(c.early)] = grew.Sub(last), grew.Sub(first)
	c.n++
	least := c.least()
	zone := ((least + zoneSlack/2).Round(zoneStep))
	if rest := least - zone; rest < -zoneSlack || rest > zoneSlack {
		zone = 0
	}
	if c.unusable = least.Abs() > maxZone; c.unusable {
		return
	}
	// A line cannot be written before its time: where it seems so, its clock is ahead.
	c.shift = zone + min(least-zone, 0)
	if least-zone < 0 && zone-least < time.Second {
		c.shift = zone // stamps may be rounded up
	}
}

func (c *liveClock) least() time.Duration { return slices.Min(c.late[:min(c.n, len(c.late))]) }

// wrote returns when a line was written that says a time as it was read.
func (c *liveClock) wrote(read, grew model.Time) model.Time {
	at := read.Add(c.shift)
	switch late := grew.Sub(at); {
	case c.unusable, late < 0, late > zoneSlack, !c.read.fraction && late < 2*time.Second:
		return grew
	}
	return at
}

// lateness is how much later than their times lines come, of nearly all of the last ones.
func (c *liveClock) lateness() time.Duration {
	n := min(c.n, len(c.late))
	if n == 0 || c.unusable {
		return 0
	}
	list := slices.Clone(c.early[:n])
	slices.Sort(list)
	return min(max(list[(n-1)*9/10]-c.shift, 0), zoneSlack)
}

// words says how the times are read.
func (c *liveClock) words() string {
	if !c.known {
		return "no times are known in its lines: they are dated by the moments at which they are written"
	}
	if c.n == 0 {
		return c.read.form.String() + "; not yet compared with the moments of writing"
	}
	out := c.read.form.String()
	if c.unusable {
		return out + "; its times have nothing to do with the moments of writing, which are used instead"
	}
	zone := c.shift.Round(zoneStep)
	switch offset := offsetName(c.base - zone); {
	case !c.read.zoned && c.said == "" && c.read.form != formEpoch:
		out += ", times without a zone: measured to be UTC" + offset
	case zone == 0:
		out += ", " + offsetWords(c)
	case c.read.zoned:
		out += fmt.Sprintf("; the zone in its lines is wrong by %s: measured to be UTC%s", signed(-zone), offset)
	default:
		out += fmt.Sprintf("; %s is wrong by %s: its times are measured to be UTC%s", c.said, signed(-zone), offset)
	}
	if ahead := zone - c.shift; ahead >= skewTold {
		out += fmt.Sprintf("; its clock is %.1f s ahead of this host's", ahead.Seconds())
	} else if behind := c.least() - zone; behind >= skewTold && c.n >= len(c.late) {
		out += fmt.Sprintf("; lines come at least %.1f s after their times: a buffer, or a clock that is behind",
			behind.Seconds())
	}
	return out
}

func offsetWords(c *liveClock) string {
	if c.said != "" && !c.read.zoned {
		return c.said + " agrees with the moments of writing"
	}
	return "agrees with the moments of writing"
}

// offsetName writes +02:00.
func offsetName(d time.Duration) string {
	return time.Unix(0, 0).In(time.FixedZone("", int(d/time.Second))).Format("-07:00")
}

// signed writes +1h0m0s without the zeros.
func signed(d time.Duration) string {
	return offsetName(d) + " h"
}
