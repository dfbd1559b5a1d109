package fold

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lostbeat/internal/hint"
	"lostbeat/model"
	"lostbeat/model/state"
)

// History is what happened, second by second, for somebody who looks back: the
// frames of the last quarter of an hour, totals since the start, and the
// findings in all their versions. One goroutine writes; the others read the
// Snapshot that it publishes.
//
// A History has a fold of its own or is part of the detectors': see Fold.Show.
// With its own, the writer calls Apply or Write for each batch. With theirs, the
// owner of the fold puts Begin and End around all that changes it.
//
// The zero History is not ready for use: see NewHistory.
type History struct {
	snapshot  atomic.Pointer[Snapshot]
	dirty     atomic.Bool  // there is something that a reader can see and the snapshot does not have
	changed   atomic.Bool  // there were events since the snapshot
	wanted    atomic.Bool  // a reader met the writer at work
	made      time.Time    // the beginning of elapsed
	published atomic.Int64 // when, in elapsed nanoseconds

	mu      sync.Mutex
	seq     uint64
	now     model.Time // the latest event
	started model.Time // the first event since the start or the last seek
	// fold is what h is part of, its own or the detectors', and state that of either.
	fold     *Fold
	shared   bool
	state    *state.State
	at       *frameBuilder   // the open frame of the event at hand, nil for none
	frames   []*Frame        // closed, oldest first, without gaps
	rows     int             // in frames
	open     []*frameBuilder // oldest first, without gaps
	keepOpen int
	late     uint64 // events of frames that were closed already

	series   historySeries
	totals   historyTotals
	held     heldTables
	holders  holderRows
	findings map[string][]*model.Finding // the versions of each, oldest first; never changed in place
	sorted   [][]*model.Finding          // findings by their start; nil when they have changed
	scanned  bool
	progress Progress
	fault    string
	// incomplete says what of a file is damaged or missing.
	incomplete string
	// notes are what readers wrote.
	notes []model.Note
	// outputs are those beside the screen that have failed.
	outputs []model.Probe
}

// Progress is how far the search for findings in a recording has come.
type Progress struct {
	// Done and Total are in the same unit, bytes as a rule; Total is 0 when nothing is under way.
	Done, Total int64
}

// NewHistory returns a History before any event.
func NewHistory() *History {
	h := &History{made: time.Now(), findings: map[string][]*model.Finding{}}
	h.fold = New(Options{History: h})
	h.clear()
	h.publish()
	return h
}

// share makes h part of w.
func (h *History) share(w *Fold) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fold, h.state, h.shared = w, w.State, true
	h.clear()
	h.publish()
}

// Reset forgets all events, as a seek does. The findings given by SetFindings
// stay, and so does a shared state.
func (h *History) Reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clear()
	h.publish()
}

func (h *History) clear() {
	h.now, h.started, h.late = 0, 0, 0
	h.frames, h.rows, h.open, h.keepOpen, h.at = nil, 0, nil, openFrames, nil
	h.series, h.totals, h.held, h.holders = historySeries{}, newHistoryTotals(), heldTables{}, holderRows{}
	if !h.shared {
		h.fold.resetState()
		h.state = h.fold.State
	}
	h.state.Ports.IndexHolders()
}

// SetFindings gives all findings of a recording, those after the play head included.
func (h *History) SetFindings(findings []model.Finding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range findings {
		h.finding(findings[i])
	}
	h.scanned, h.progress = true, Progress{}
	h.publish()
}

// maxNotes is how many notes are shown.
const maxNotes = 1000

// AddNotes adds what readers wrote about moments of the stream. Notes that are known already are left out.
func (h *History) AddNotes(notes ...model.Note) {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.Clone(h.notes) // snapshots share it
	for _, n := range notes {
		n.Time, n.Flags = 0, 0
		if len(all) < maxNotes && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	slices.SortStableFunc(all, func(a, b model.Note) int { return cmp.Compare(a.About, b.About) })
	h.notes = all
	h.publish()
}

// SetProgress says how far the search for findings has come.
func (h *History) SetProgress(done, total int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.progress = Progress{done, total}
	h.dirty.Store(true)
}

// SetIncomplete says in one line what of the file is damaged or missing; empty for nothing.
func (h *History) SetIncomplete(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.incomplete = what
	h.publish()
}

// SetOutput says how an output beside the screen is and why; with a Hint method, the hint of err is said too.
func (h *History) SetOutput(name string, state model.ProbeState, err error) {
	p := model.Probe{Name: "output", Part: name, State: state}
	if err != nil {
		p.Reason, p.Hint = err.Error(), hint.Of(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	outputs := slices.Clone(h.outputs) // snapshots share it
	if i := slices.IndexFunc(outputs, func(o model.Probe) bool { return o.Part == name }); i >= 0 {
		outputs[i] = p
	} else {
		outputs = append(outputs, p)
	}
	h.outputs = outputs
	h.publish()
}

// SetFault says that the stream has ended by a fault; with a Hint method its hint is said too.
func (h *History) SetFault(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fault = err.Error()
	if text := hint.Of(err); text != "" {
		h.fault += " (" + text + ")"
	}
	h.publish()
}

// Write is Apply in the form of the pipeline's sinks. It returns nil.
func (h *History) Write(b *model.Batch) error {
	h.Apply(b)
	return nil
}

// Apply adds a batch of events to a History with a fold of its own.
func (h *History) Apply(b *model.Batch) {
	h.Begin()
	defer h.End()
	for i := range b.Events {
		h.fold.Apply(b, &b.Events[i])
	}
}

// Begin keeps readers out until End: between the two the fold may be changed.
func (h *History) Begin() { h.mu.Lock() }

// End lets readers in again.
func (h *History) End() {
	defer h.mu.Unlock()
	if h.wanted.Load() {
		h.publish()
	}
}

// due says that the next snapshot is to be made. It goes by the monotonic clock:
// one on the wall that is set back would stop the screen.
func (h *History) due() bool {
	every := publishEvery
	if !h.dirty.Load() {
		if !h.changed.Load() {
			return false
		}
		every = publishQuiet
	}
	return int64(time.Since(h.made))-h.published.Load() >= int64(every)
}

// Snapshot returns the latest snapshot: a new one when a second is over, or
// something else can be seen, since the last. While the writer is busy it
// returns the old one, and the writer makes the next as soon as it can.
func (h *History) Snapshot() *Snapshot {
	if h.due() {
		if h.mu.TryLock() {
			h.publish()
			h.mu.Unlock()
		} else {
			h.wanted.Store(true)
		}
	}
	return h.snapshot.Load()
}

// Publish makes a snapshot of all that is known now and returns it.
func (h *History) Publish() *Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.publish()
	return h.snapshot.Load()
}

// Ports returns the ports of a process that the stream holds at its latest
// event, the oldest first, at most limit of them, and how many there are.
func (h *History) Ports(pid int32, limit int) (ports []state.Port, total int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state.Ports.OfProcess(pid, limit)
}

// Process returns what the stream has said of a process; its zero value for one that has ended or was never named.
func (h *History) Process(pid int32) model.Process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state.Processes[pid]
}

// publish makes the snapshot of what is known now. It copies what has changed
// since the last one and shares the rest.
func (h *History) publish() {
	h.dirty.Store(false)
	h.changed.Store(false)
	h.wanted.Store(false)
	h.published.Store(int64(time.Since(h.made)))
	h.seq++
	if n := len(h.open); n > 0 {
		h.takePools(h.open[n-1], false)
	}
	h.held.update(h.state)
	snap := &Snapshot{
		Seq:      h.seq,
		Now:      h.now,
		Started:  h.started,
		Late:     h.late,
		Progress: h.progress,
		Scanned:  h.scanned,
		Fault:    h.fault,

		Incomplete: h.incomplete,
		Outputs:    h.outputs,
		Notes:      h.notes,
		Meta:       h.held.meta,
		Probes:     h.held.probes,
		Devices:    h.held.devices,
		Queues:     h.held.queues,
		Endpoints:  h.held.endpoints,
		versions:   h.sortedFindings(),
		frames:     h.frames,
		open:       make([]*Frame, len(h.open)),
	}
	for i, f := range h.open {
		snap.open[i] = f.seal()
	}
	if old := h.snapshot.Load(); old != nil && sameVersions(old.versions, snap.versions) {
		snap.Findings = old.Findings
	} else {
		for _, v := range snap.versions {
			snap.Findings = append(snap.Findings, latestVersion(v))
		}
	}
	h.totals.snapshot(snap, h.fold)
	h.snapshot.Store(snap)
}
