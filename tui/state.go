package tui

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// History is how much event time is kept to scroll back in.
const History = historyFrames * time.Second

// Bounds of the history.
const (
	// historyFrames is how many seconds of history are kept.
	historyFrames = 900
	// historyRows bounds the rows in all frames together, at some 48 bytes each.
	historyRows = 1 << 20
	// openFrames is how many of the newest frames may still change; it grows with the length of the intervals, up to
	// maxOpenFrames.
	openFrames, maxOpenFrames = 4, 64
	// jump is the gap in event time that only a seek makes.
	jump = 3 * time.Second
	// publishEvery is the shortest time between two snapshots.
	publishEvery = 100 * time.Millisecond
)

// State adds up a stream of events for the user interface. One goroutine
// writes (Apply, Write); every method may be called from any goroutine. The
// zero State is not ready for use: see NewState.
type State struct {
	snapshot  atomic.Pointer[Snapshot]
	dirty     atomic.Bool
	wanted    atomic.Bool  // a reader met the writer at work
	made      time.Time    // the beginning of elapsed
	published atomic.Int64 // when, in elapsed nanoseconds

	mu       sync.Mutex
	seq      uint64
	now      model.Time // the latest event
	started  model.Time // the first event since the start or the last seek
	fold     *state.State
	frames   []*Frame        // closed, oldest first, without gaps
	rows     int             // in frames
	open     []*frameBuilder // oldest first, without gaps
	keepOpen int
	late     uint64 // events of frames that were closed already

	holderIndex map[int32]int // kept for its memory: the places in holderSums
	holderSums  []holderSum

	series   seriesKeys
	totals   totals
	findings map[string][]*model.Finding // the versions of each, oldest first; never changed in place
	scanned  bool
	progress Progress
	fault    string
}

// seriesKeys are the interned keys of all series.
type seriesKeys struct {
	work, interrupts interner[WorkKey]
	cpus, softnet    interner[CPUKey]
	napi             interner[NAPIKey]
	devices          interner[DeviceKey]
	drops            interner[DropKey]
	sockets          interner[SocketKey]
	tasks            interner[TaskKey]
	counters         interner[CounterKey]
	flows            interner[FlowKey]
	pools            interner[PoolKey]
	holders          interner[HolderKey]
}

// Progress is how far the search for findings in a recording has come.
type Progress struct {
	// Done and Total are in the same unit, bytes as a rule; Total is 0 when nothing is under way.
	Done, Total int64
}

// NewState returns a State before any event.
func NewState() *State {
	s := &State{made: time.Now(), findings: map[string][]*model.Finding{}}
	s.clear()
	s.publish()
	return s
}

// Reset forgets all events, as a seek does. The findings given by SetFindings stay.
func (s *State) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.publish()
}

func (s *State) clear() {
	s.now, s.started, s.late = 0, 0, 0
	s.frames, s.rows, s.open, s.keepOpen = nil, 0, nil, openFrames
	s.series, s.totals, s.fold = seriesKeys{}, newTotals(), state.New()
}

// SetFindings gives all findings of a recording, those ahead of the play head included.
func (s *State) SetFindings(findings []model.Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range findings {
		s.putFinding(findings[i])
	}
	s.scanned, s.progress = true, Progress{}
	s.publish()
}

// SetProgress says how far the search for findings has come.
func (s *State) SetProgress(done, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress = Progress{done, total}
	s.dirty.Store(true)
}

// SetFault shows that the stream has ended by a fault; with a Hint method its hint is shown too.
func (s *State) SetFault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = err.Error()
	if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" {
		s.fault += " (" + h.Hint() + ")"
	}
	s.publish()
}

// Write is Apply in the form of the pipeline's sinks. It returns nil.
func (s *State) Write(b *model.Batch) error {
	s.Apply(b)
	return nil
}

// Apply adds a batch of events.
func (s *State) Apply(b *model.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range b.Events {
		s.apply(b, &b.Events[i])
	}
	s.dirty.Store(true)
	if s.wanted.Load() {
		s.publish()
	}
}

// due says that the next snapshot may be made. It goes by the monotonic clock:
// one on the wall that is set back would stop the screen.
func (s *State) due() bool {
	return int64(time.Since(s.made))-s.published.Load() >= int64(publishEvery)
}

// Snapshot returns the latest snapshot, at most publishEvery old unless the
// writer is busy at this moment: then it makes the next one as soon as it can.
func (s *State) Snapshot() *Snapshot {
	if s.dirty.Load() && s.due() {
		if s.mu.TryLock() {
			s.publish()
			s.mu.Unlock()
		} else {
			s.wanted.Store(true)
		}
	}
	return s.snapshot.Load()
}

// Ports returns the ports of a process that the stream holds at its latest
// event, the oldest first, at most limit of them, and how many there are.
func (s *State) Ports(pid int32, limit int) (ports []state.Port, total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.fold.Ports.All() {
		if p.PID == pid && !p.Shared() {
			ports = append(ports, *p)
		}
	}
	slices.SortFunc(ports, func(a, b state.Port) int {
		return cmp.Or(
			cmp.Compare(a.Since, b.Since),
			cmp.Compare(a.Protocol, b.Protocol),
			cmp.Compare(a.LocalPort, b.LocalPort),
			cmp.Compare(a.Cookie, b.Cookie),
		)
	})
	return ports[:min(limit, len(ports))], len(ports)
}

// frame returns the open frame of time t: nil when it is closed, or older than
// the history.
func (s *State) frame(t model.Time) *frameBuilder {
	start := t - t%frameStep
	if len(s.open) == 0 {
		s.open = append(s.open, &frameBuilder{start: start})
	}
	last := s.open[len(s.open)-1].start
	if start > last {
		s.takePools(s.open[len(s.open)-1], true)
		if start-last > historyFrames*frameStep { // nothing of before is in reach
			s.frames, s.rows, s.open, last = nil, 0, s.open[:0], start-frameStep
		}
		for at := last + frameStep; at <= start; at += frameStep {
			s.open = append(s.open, &frameBuilder{start: at})
		}
		s.close()
	}
	i := int((start - s.open[0].start) / frameStep)
	if i < 0 {
		if len(s.frames) > 0 || len(s.open) >= s.keepOpen || -i > maxOpenFrames {
			return nil
		}
		for range -i { // an interval that began before the first event
			s.open = slices.Insert(s.open, 0, &frameBuilder{start: s.open[0].start - frameStep})
		}
		i = 0
	}
	f := s.open[i]
	f.dirty = true
	return f
}

// close seals the frames that can no longer change and drops the oldest ones.
func (s *State) close() {
	n := len(s.open) - s.keepOpen
	if n <= 0 {
		return
	}
	frames := s.frames[:len(s.frames):len(s.frames)] // published: never appended to in place
	for _, f := range s.open[:n] {
		sealed := f.seal()
		frames = append(frames, sealed)
		s.rows += sealed.rows()
	}
	s.open = slices.Delete(s.open, 0, n)
	drop := max(0, len(frames)+len(s.open)-historyFrames)
	for _, f := range frames[:drop] {
		s.rows -= f.rows()
	}
	for ; s.rows > historyRows && drop < len(frames); drop++ {
		s.rows -= frames[drop].rows()
	}
	s.frames = frames[drop:]
}

func (f *Frame) rows() int {
	return len(
		f.Deferred,
	) + len(
		f.Interrupts,
	) + len(
		f.CPUs,
	) + len(
		f.Softnet,
	) + len(
		f.NAPI,
	) + len(
		f.Devices,
	) + len(
		f.Drops,
	) + len(
		f.Sockets,
	) +
		len(
			f.Tasks,
		) + len(
		f.Counters,
	) + len(
		f.Flows,
	) + len(
		f.Pools,
	) + len(
		f.Holders,
	) + 2*len(
		f.Runs,
	)
}

// oldest returns the start of the history.
func (s *State) oldest() model.Time {
	switch {
	case len(s.frames) > 0:
		return s.frames[0].Start
	case len(s.open) > 0:
		return s.open[0].start
	}
	return 0
}

// spread calls add for every open frame that the interval of e touches, with
// the part of the interval that lies in it.
func (s *State) spread(e *model.Event, add func(f *frameBuilder, part float32)) {
	if e.Dur <= 0 {
		if f := s.frame(e.Time); f != nil {
			add(f, 1)
		}
		return
	}
	if seconds := int(e.Dur/time.Second) + 3; seconds > s.keepOpen {
		s.keepOpen = min(seconds, maxOpenFrames)
	}
	s.frame(e.Time - 1) // so that the frames exist, the newest first
	start := max(e.Start(), e.Time-maxOpenFrames*frameStep)
	for at := start - start%frameStep; at < e.Time; at += frameStep {
		overlap := min(e.Time, at+frameStep) - max(e.Start(), at)
		f := s.frame(at)
		if f == nil {
			if overlap > frameStep/2 {
				s.late++
			}
			continue
		}
		f.cover(e.Start(), e.Time)
		add(f, float32(float64(overlap)/float64(e.Dur)))
	}
}

// publish makes the snapshot of what is known now.
func (s *State) publish() {
	s.dirty.Store(false)
	s.wanted.Store(false)
	s.published.Store(int64(time.Since(s.made)))
	s.seq++
	if n := len(s.open); n > 0 {
		s.takePools(s.open[n-1], false)
	}
	snap := &Snapshot{
		Seq:      s.seq,
		Now:      s.now,
		Started:  s.started,
		Late:     s.late,
		Progress: s.progress,
		Scanned:  s.scanned,
		Fault:    s.fault,
		Meta: maps.Clone(
			s.fold.Meta,
		),
		Probes:   sortedProbes(s.fold),
		Devices:  sortedDevices(s.fold),
		Queues:   sortedQueues(s.fold),
		versions: s.sortedFindings(),
		frames:   s.frames,
		open:     make([]*Frame, len(s.open)),
	}
	for i, f := range s.open {
		snap.open[i] = f.seal()
	}
	for _, v := range snap.versions {
		snap.Findings = append(snap.Findings, latest(v))
	}
	s.totals.snapshot(snap)
	s.snapshot.Store(snap)
}

// holderSum is what one process holds.
type holderSum struct {
	Holder
	pid  int32
	name string
}

// takePools notes in f the occupancy of the pools and, at its end, who holds
// ports: a walk over all of them, so not at every snapshot.
func (s *State) takePools(f *frameBuilder, end bool) {
	for _, p := range s.fold.SortedPools() {
		v := f.pools.at(s.series.pools.get(PoolKey{p.Name, p.Protocol, p.Netns}, s.now, s.oldest()))
		if v == nil {
			continue
		}
		v.Used, v.Resting, v.Size, v.Low, v.High, v.Source, v.Netns = p.Used, p.Resting, int(
			p.Size,
		), p.Low, p.High, p.Source, p.NetnsName
	}
	f.dirty = true
	if !end {
		if f.holders == nil && len(s.open) > 1 { // those of a second ago, until the second is over
			f.holders = s.open[len(s.open)-2].holders
		}
		if f.holders != nil {
			return
		}
	}
	if s.holderIndex == nil {
		s.holderIndex = make(map[int32]int)
	}
	index, sums := s.holderIndex, s.holderSums[:0]
	clear(index)
	for p := range s.fold.Ports.All() {
		if p.Shared() {
			continue
		}
		i, ok := index[p.PID]
		if !ok {
			i = len(sums)
			index[p.PID] = i
			sums = append(sums, holderSum{pid: p.PID})
		}
		h := &sums[i]
		h.name = max(h.name, p.Process)
		if p.Resting {
			h.Resting++
			continue
		}
		h.Held++
		if p.Activity != model.ActivityUnknown {
			h.Watched++
		}
		if p.Activity == model.ActivityIdle {
			h.Idle++
		}
		if h.Oldest == 0 || p.Since < h.Oldest {
			h.Oldest = p.Since
		}
	}
	s.holderSums = sums
	slices.SortFunc(sums, func(a, b holderSum) int {
		return cmp.Or(cmp.Compare(b.Held+b.Resting, a.Held+a.Resting), cmp.Compare(a.pid, b.pid))
	})
	sums = sums[:min(len(sums), maxHolders)]
	f.holders = make([]row[HolderKey, Holder], len(sums))
	for i, h := range sums {
		f.holders[i] = row[HolderKey, Holder]{
			s.series.holders.get(HolderKey{h.pid, cmp.Or(s.fold.ProcessName(h.pid), h.name)}, s.now, s.oldest()),
			h.Holder,
		}
	}
	slices.SortFunc(f.holders, func(a, b row[HolderKey, Holder]) int { return cmp.Compare(a.ID, b.ID) })
}

// Bounds of what is kept of findings.
const maxFindings, maxVersions = 1000, 32

// putFinding keeps a version of a finding, in the order of what they had seen.
func (s *State) putFinding(f model.Finding) {
	old := s.findings[f.ID]
	at, found := slices.BinarySearchFunc(
		old,
		f.End,
		func(v *model.Finding, end model.Time) int { return cmp.Compare(v.End, end) },
	)
	versions := make([]*model.Finding, 0, len(old)+1)
	versions = append(append(versions, old[:at]...), &f)
	if found {
		at++
	}
	versions = append(versions, old[at:]...)
	if len(versions) > maxVersions { // the first, the last and every other one
		versions = slices.Clone(versions)
		thin := versions[:0]
		for i, v := range versions {
			if i%2 == 0 || i == len(versions)-1 {
				thin = append(thin, v)
			}
		}
		versions = thin
	}
	s.findings[f.ID] = versions
	if len(s.findings) > maxFindings { // those that ended first are in nobody's way any more
		oldest := ""
		for id, v := range s.findings {
			if oldest == "" || latest(v).End < latest(s.findings[oldest]).End ||
				(latest(v).End == latest(s.findings[oldest]).End && id < oldest) {
				oldest = id
			}
		}
		delete(s.findings, oldest)
	}
}

func latest(versions []*model.Finding) *model.Finding { return versions[len(versions)-1] }

// sortedFindings returns the versions of all findings by their start.
func (s *State) sortedFindings() [][]*model.Finding {
	return slices.SortedFunc(maps.Values(s.findings), func(a, b []*model.Finding) int {
		return cmp.Or(cmp.Compare(latest(a).Start, latest(b).Start), cmp.Compare(latest(a).ID, latest(b).ID))
	})
}

func sortedProbes(s *state.State) []model.Probe {
	return slices.SortedFunc(maps.Values(s.Probes), func(a, b model.Probe) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Part, b.Part))
	})
}

func sortedDevices(s *state.State) []model.DeviceConfig {
	return slices.SortedFunc(maps.Values(s.Devices), func(a, b model.DeviceConfig) int {
		return cmp.Or(cmp.Compare(a.Netns, b.Netns), cmp.Compare(a.Ifindex, b.Ifindex))
	})
}

func sortedQueues(s *state.State) []model.DeviceQueue {
	return slices.SortedFunc(maps.Values(s.Queues), func(a, b model.DeviceQueue) int {
		return cmp.Or(
			cmp.Compare(a.Device, b.Device),
			cmp.Compare(a.Ifindex, b.Ifindex),
			cmp.Compare(a.Direction, b.Direction),
			cmp.Compare(a.Queue, b.Queue),
		)
	})
}
