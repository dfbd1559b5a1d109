package logs

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/reader"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// followedID begins the names of the findings about followed logs.
const followedID = Name + "/followed/"

// Followed reports whether a finding is about a log that was followed beside its host's events.
func Followed(f *model.Finding) bool { return strings.HasPrefix(f.ID, followedID) }

// watcher judges the logs that are followed on the stream's own host: beside what the host did meanwhile.
type watcher struct {
	settings Settings
	every    time.Duration
	troubles []*trouble
	// seen is how many lines of each log were looked at.
	seen map[*fold.FollowedLog]uint64
}

// trouble is one silence, or one loss that is reported, of followed logs.
type trouble struct {
	incident
	id   string
	log  *fold.FollowedLog
	lost uint64
	// lasts says that the silence goes on.
	lasts bool
	// writer is the process that wrote the log when the silence began, -1 unknown; gone that it does not any more.
	writer  int32
	process string
	gone    bool
	held    held
	// meanwhile are findings of the host at that time.
	meanwhile []model.Finding
	last      model.Finding
	told      model.Time
}

// held is what kept the program of a log.
type held struct {
	reason reader.Cause
	stay   fold.StateTime
	kept   time.Duration
	fits   bool
	sched  fold.Scheduling
}

const (
	// watchFor is for how long the programs that write logs are watched at a time, maxWriters how many.
	watchFor   = 20 * time.Second
	maxWriters = 32
	// heldShare is the part of a silence for which a program must have been held up for that to be its reason.
	heldShare = 0.5
	// fitsShare is the same of one of several threads of which it is not known whether it writes.
	fitsShare = 0.8
	// slack is how much longer than the silence what kept the program may have lasted: a line may wait in a buffer.
	slack = time.Second
	// maxTroubles bounds those that are kept, forget is for how long after their end.
	maxTroubles = 256
	forget      = 70 * time.Second
)

func newWatcher(s Settings, l detect.Lifecycle) watcher {
	return watcher{settings: s, every: l.UpdateEvery.Std(), seen: map[*fold.FollowedLog]uint64{}}
}

// judge takes what the logs have said since the last tick.
func (w *watcher) judge(t *detect.Tick) {
	writers := 0
	for _, l := range t.Logs.Followed() {
		if pid := l.State.PID; pid > 0 && l.Host == "" && writers < maxWriters {
			writers++
			t.Renew(model.Request{Kind: model.RequestSched, CPU: -1, PID: pid, TID: -1, For: watchFor, Finding: Name})
		}
		for i := range l.Gaps {
			if g := &l.Gaps[i]; t.Now.Sub(g.Time) <= forget || g.Lasts {
				w.gap(t, l, g)
			}
		}
	}
	for _, l := range t.Logs.Followed() {
		fresh := min(l.LineCount-w.seen[l], uint64(len(l.Lines)))
		for _, line := range l.Lines[len(l.Lines)-int(fresh):] {
			w.line(t, l, line)
		}
		w.seen[l] = l.LineCount
	}
	w.troubles = slices.DeleteFunc(w.troubles, func(tr *trouble) bool { return !tr.lasts && t.Now.Sub(tr.to) > forget })
	for _, tr := range w.troubles {
		w.why(t, tr)
	}
}

// gap takes a silence.
func (w *watcher) gap(t *detect.Tick, l *fold.FollowedLog, g *model.LogGap) {
	if g.ExpectedCount > w.settings.MaxExpected || g.Dur < w.settings.LeastGap.Std() {
		return
	}
	from := g.Time.Add(-g.Dur)
	to := g.Time
	if g.Lasts {
		to = max(to, t.Now)
	}
	for _, tr := range w.troubles {
		if tr.log == l && tr.from == from && len(tr.gaps) > 0 {
			tr.gaps[0] = *g
			tr.lasts, tr.to = g.Lasts, to
			tr.gaps[0].Dur = to.Sub(from)
			return
		}
	}
	tr := w.add(t, l, from, to)
	if tr == nil {
		return
	}
	tr.gaps, tr.lasts = []model.LogGap{*g}, g.Lasts
	tr.gaps[0].Dur = to.Sub(from)
	// Lines that came before it was known belong to it.
	w.troubles = slices.DeleteFunc(w.troubles, func(o *trouble) bool {
		if o == tr || o.log != l || len(o.gaps) > 0 || o.told != 0 || o.to <= from || o.to > to.Add(belongs) {
			return false
		}
		tr.lines, tr.incident.others = append(tr.lines, o.lines...), append(tr.incident.others, o.incident.others...)
		return true
	})
}

func (w *watcher) add(t *detect.Tick, l *fold.FollowedLog, from, to model.Time) *trouble {
	if len(w.troubles) >= maxTroubles {
		t.LeaveOut("silences of logs")
		return nil
	}
	name := l.Log
	if l.Host != "" {
		name += "@" + l.Host
	}
	tr := &trouble{
		incident: incident{from: from, to: to}, log: l, lost: t.Loss.Before(from),
		writer: l.State.PID, process: l.State.Process,
		id: fmt.Sprintf("%s%s/%d", followedID, name, int64(from)/int64(time.Second)),
	}
	w.troubles = append(w.troubles, tr)
	return tr
}

// line takes a line that was looked for.
func (w *watcher) line(t *detect.Tick, l *fold.FollowedLog, line model.LogLine) {
	var best *trouble
	for _, tr := range w.troubles {
		end := tr.to.Add(belongs)
		if len(tr.gaps) == 0 {
			end = tr.to.Add(sameTrouble)
		}
		if line.Time > tr.from && (line.Time <= end || tr.lasts) && tr.log.Host == l.Host &&
			(best == nil || len(tr.gaps) > 0 && (len(best.gaps) == 0 || tr.log == l)) {
			best = tr
		}
	}
	if best == nil {
		if !reports(line) {
			return
		}
		from := line.Time.Add(-max(line.Dur, 0))
		if line.Dur == 0 {
			from = line.Time.Add(-lookBack)
			if line.Silence >= w.settings.LeastGap.Std() && line.Silence <= time.Minute {
				from = line.Time.Add(-line.Silence)
			}
		}
		if best = w.add(t, l, from, line.Time); best == nil {
			return
		}
	}
	if len(best.lines)+len(best.incident.others) < maxTroubles {
		best.incident.add(line)
	}
	if len(best.gaps) == 0 {
		best.to = max(best.to, line.Time)
	}
}

// why looks for what kept the program that writes the log.
func (w *watcher) why(t *detect.Tick, tr *trouble) {
	if len(tr.gaps) == 0 || tr.log.Host != "" {
		return
	}
	if tr.writer <= 0 {
		if tr.lasts || tr.log.State.Last <= tr.to {
			tr.writer, tr.process = tr.log.State.PID, tr.log.State.Process
		}
		if tr.writer <= 0 {
			return
		}
	}
	tr.gone = tr.lasts && tr.log.State.PID != tr.writer
	if t.Now.Sub(tr.to) > 2*time.Second {
		return // what is watched now is of later
	}
	length := tr.to.Sub(tr.from)
	excess := max(length-tr.gaps[0].Usual, length/2)
	threads := t.ThreadsSince(tr.writer, tr.from)
	var best held
	for i := range threads {
		for _, stay := range threads[i].States {
			cause, all, ok := reader.HeldBy(stay.State)
			need := heldShare
			if !all && len(threads) > 1 {
				switch cause {
				case reader.NoCPU, reader.Disk, reader.Memory:
				default:
					continue // other threads may do that all the time
				}
				need = fitsShare
			}
			if !ok || stay.Longest > length+slack || float64(stay.Longest) < need*float64(excess) || stay.Longest <= best.kept {
				continue
			}
			best = held{cause, stay, stay.Longest, !all && len(threads) > 1, threads[i]}
		}
		running := threads[i].In(model.SchedRunning)
		if len(threads) == 1 && best.reason == reader.None &&
			float64(running.Total) >= 0.8*float64(min(excess, threads[i].Covered)) {
			best = held{reader.Busy, running, min(running.Total, length), false, threads[i]}
		}
	}
	switch {
	case best.reason == reader.None:
	case tr.held.reason == reader.None, best.reason == tr.held.reason, best.kept > tr.held.kept:
		tr.held = best
	}
	if tr.held.reason == reader.None && len(threads) > 0 {
		tr.held.sched = threads[0]
	}
}

// atThatTime are the detectors whose findings are named beside a silence of the same time.
var atThatTime = []string{"heartbeat-loss", "dpc-starvation", "socket-drop", "ring-drop", "packet-drop"}

// report says what is new of the troubles; final that the stream ends.
func (w *watcher) report(t *detect.Tick, final bool, emit func(model.Finding)) {
	for _, tr := range w.troubles {
		if t.Now.Sub(tr.to) > belongs+time.Second && !tr.lasts && tr.told > tr.to && !final {
			continue
		}
		if tr.log.Host == "" {
			tr.beside(t.Found())
		}
		f := tr.finding()
		f.Loss = t.Loss.Total - min(tr.lost, t.Loss.Total)
		old := &tr.last
		plain := f.Severity != old.Severity || f.Ongoing != old.Ongoing || len(f.Causes) != len(old.Causes) ||
			!f.Ongoing && f.Title != old.Title
		if tr.told != 0 && !plain && (f.Title == old.Title || t.Now.Sub(tr.told) < w.every) && (!final || !f.Ongoing) {
			continue
		}
		tr.last, tr.told = f, t.Now
		emit(f)
	}
}

// beside keeps the findings of the host that fall into the time of the trouble.
func (tr *trouble) beside(found []model.Finding) {
	for _, f := range found {
		if !slices.Contains(atThatTime, f.Detector) || f.Severity == model.SeverityInfo || f.Start > tr.to ||
			f.End < tr.from && !f.Ongoing {
			continue
		}
		if i := slices.IndexFunc(tr.meanwhile, func(o model.Finding) bool { return o.ID == f.ID }); i >= 0 {
			tr.meanwhile[i] = f
		} else if len(tr.meanwhile) < maxStory {
			tr.meanwhile = append(tr.meanwhile, f)
		}
	}
	slices.SortStableFunc(tr.meanwhile, func(a, b model.Finding) int {
		return cmp.Compare(slices.Index(atThatTime, a.Detector), slices.Index(atThatTime, b.Detector))
	})
}

// name is that of the log.
func (tr *trouble) name() string {
	if tr.log.Host != "" {
		return fold.Printable(tr.log.Log) + " of " + fold.Printable(tr.log.Host)
	}
	return fold.Printable(tr.log.Log)
}

// finding writes what is known.
func (tr *trouble) finding() model.Finding {
	f := model.Finding{
		ID: tr.id, Detector: Name, Severity: model.SeverityInfo, Start: tr.from, End: tr.to, Ongoing: tr.lasts,
		Subject: model.Subject{Kind: "host", CPU: -1, PID: -1},
	}
	if tr.writer > 0 && tr.log.Host == "" {
		f.Subject = model.Subject{Kind: "process", CPU: -1, PID: tr.writer, Process: tr.process}
	}
	if len(tr.lines) > 0 {
		f.Severity = model.SeverityWarning
		f.End = max(f.End, tr.lines[len(tr.lines)-1].Time)
	}
	line := tr.line(tr.log.Log)
	quoted := ""
	if line != nil {
		quoted = "“" + shorten(line.Text, 90) + "”"
		if line.Log != tr.log.Log {
			quoted = fold.Printable(line.Log) + " " + quoted
		}
	}
	switch {
	case len(tr.gaps) > 0:
		f.Title = fmt.Sprintf("%s %s no line for %s", tr.name(), words.Tense(tr.lasts, "has had", "had"),
			length(tr.to.Sub(tr.from)))
		if line != nil {
			f.Title += ", then " + quoted
		}
	case line.Dur > 0:
		f.Title = fmt.Sprintf("%s: %s after %s", tr.name(), quoted, words.Span(line.Dur))
	default:
		f.Title = fmt.Sprintf("%s: %s", tr.name(), quoted)
	}
	tr.explain(&f)
	tr.story(&f)
	for _, o := range tr.meanwhile {
		f.Causes = append(f.Causes, "At that time on this host: "+o.Title)
	}
	tr.evidence(&f)
	if tr.log.State.Clock != "" {
		f.Causes = append(f.Causes, "Times of "+tr.name()+": "+fold.Printable(tr.log.State.Clock))
	}
	return f
}

// explain says why the log was silent, where that is proven, and what is not known otherwise.
func (tr *trouble) explain(f *model.Finding) {
	if len(tr.gaps) == 0 {
		if len(tr.meanwhile) > 0 {
			f.Title += "; at that time: " + tr.meanwhile[0].Title
		}
		f.Advice = []string{"read the lines around it in the log; not needed if another finding names the cause"}
		return
	}
	program := words.Task(tr.process, tr.writer)
	if tr.held.reason != reader.None {
		stay := reader.Stay{
			StateTime: tr.held.stay, Cause: tr.held.reason, For: tr.held.kept, Ongoing: tr.lasts, PID: tr.writer, Writes: true,
			Fits: tr.held.fits, Rivals: tr.held.sched.Rivals, Watched: tr.held.sched.Covered,
		}
		why, causes, advice := stay.Explain(f)
		f.Title += ": " + program + " " + why
		f.Causes = append(f.Causes, causes...)
		f.Advice = append(f.Advice, advice)
		switch tr.held.reason {
		case reader.Asleep, reader.Elsewhere, reader.Lock, reader.Busy:
			// It may be meant: the program had nothing to say.
		default:
			f.Severity = max(f.Severity, model.SeverityWarning)
		}
		f.Evidence = append(f.Evidence, detect.Evidence("longest single stay", float64(tr.held.stay.Longest), "ns"))
		return
	}
	switch {
	case tr.log.Host != "":
		f.Causes = append(f.Causes, "Cause unknown: the log is of another host")
	case tr.log.State.State == model.LogRead:
		f.Causes = append(f.Causes, "Which process writes the log is unknown: it was read afterwards")
	case tr.gone:
		f.Title += ": " + program + " does not write it any more"
		f.Causes = append(f.Causes, program+" has ended, or has closed the file")
	case tr.writer <= 0:
		f.Causes = append(f.Causes, "Cause unknown: no process has the file open for writing all the time, so none is "+
			"watched")
	case tr.held.sched.Threads == 0:
		f.Causes = append(f.Causes, "Cause unknown: "+program+" was not watched then")
	default:
		f.Causes = append(f.Causes, "Cause unknown: nothing that is watched held "+program+" up for most of that time")
	}
	f.Advice = []string{"check what the program does without logging (a lock, garbage collection, waiting for its " +
		"peer); not needed if another finding of that time names the cause"}
}

// story adds the lines of the logs.
func (tr *trouble) story(f *model.Finding) {
	all := slices.Concat(tr.lines, tr.incident.others)
	slices.SortStableFunc(all, func(a, b model.LogLine) int { return cmp.Compare(a.Time, b.Time) })
	for i, l := range all {
		if i == maxStory {
			f.Causes = append(f.Causes, "and "+words.Plural(len(all)-i, "more line")+" like these")
			break
		}
		f.Causes = append(f.Causes, detect.Quote(&l))
	}
}

// evidence adds the numbers.
func (tr *trouble) evidence(f *model.Finding) {
	add := func(name string, v float64, unit string) {
		f.Evidence = append(f.Evidence, detect.Evidence(name, v, unit))
	}
	for _, g := range tr.gaps {
		add("silence of "+tr.name(), tr.to.Sub(tr.from).Seconds(), "s")
		add("99 of 100 lines follow within", float64(g.Usual), "ns")
		if g.Longest > 0 {
			add("longest other silence", g.Longest.Seconds(), "s")
		}
		if g.ExpectedCount > 0 {
			add("logs like it ("+words.Number(g.Lines)+" lines) until chance makes one silence as long, at least",
				min(math.Round(1/g.ExpectedCount), 1e6), "logs")
		}
	}
	if len(tr.gaps) == 0 && len(tr.lines) > 0 && tr.lines[0].Silence > 0 {
		add("time without a line before it", tr.lines[0].Silence.Seconds(), "s")
	}
	if s := tr.held.sched; s.Threads > 0 {
		for _, st := range s.States[:min(len(s.States), 4)] {
			add(fmt.Sprintf("its thread was %s, of %s watched", reader.StateText(st.State), words.Span(s.Covered)),
				float64(st.Total), "ns")
		}
	}
	if tr.log.State.Lag > 0 {
		add("lines are read after their times, nearly all within", float64(tr.log.State.Lag), "ns")
	}
}
