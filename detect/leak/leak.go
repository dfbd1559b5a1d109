package leak

import (
	_ "embed"
	"lostbeat/detect"
	"lostbeat/fold"
	"slices"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// portLeak finds processes that take ports and do not give them back, and
// pools whose ports vanish without anyone holding them.
type portLeak struct {
	settings Settings
	cases    detect.Cases[leak]
	vanish   detect.Cases[vanishing]
	// of are the cases by their holders, while judging.
	of map[*fold.Holder]*detect.Case[leak]
}

// leakScales are tried from the shortest to the longest.
var leakScales = []fold.Scale{
	{Steps: 3, Seconds: 1},
	{Steps: 4, Seconds: 1},
	{Steps: 7, Seconds: 1},
	{Steps: 4, Seconds: 2}, // on a busy host a process gets no CPU for a second
	{Steps: 6, Seconds: 2},
	{Steps: 5, Seconds: 4},
	{Steps: 5, Seconds: 12},
	{Steps: 5, Seconds: 60},
	{Steps: 6, Seconds: 300},
}

// leak is what is known about one leaking process.
type leak struct {
	holder *fold.Holder
	scale  fold.Scale
	// proven says that it has lasted for so long that it is called a leak,
	// refuted that the ports were seen to come back after all.
	proven, refuted bool
	// rate is ports a second.
	rate float64
	// soon says that the pool was about to be exhausted, at the pace at which it once filled.
	soon bool
	// filling is how the pool fills, as far as forecast is true.
	filling  fold.Forecast
	forecast bool
	// pace is the highest rate so far.
	pace float64
	// held are the ports held at the last tick, peak the most kept.
	held, peak int
	// fate is what has become of the ports.
	fate fate
	// left is when the process was first seen to have gone.
	left model.Time
	// at is the moment at which most was kept.
	at moment
	// began is when the holder's growth began, grew when it last grew.
	began, grew model.Time
	// starved is when it last wanted a port and the pool had none; starves says that it
	// was within the last moments, refused that it was within the last minute.
	starved          model.Time
	starves, refused bool
	// releasedBase is how many the holder had released when it began.
	releasedBase uint64
	// rested is how many ports of the pool rest by now.
	rested int
	// stack is the call that took stacked of them.
	stack   string
	stacked int
	// use is how old the ports are and whether they are used, while most were held.
	use portUse
	// merged says that it has become part of the finding about all processes of its program.
	merged bool
	// earlier counts processes of the same program that leaked before and have ended.
	earlier int
}

//go:embed doc.md
var doc string

// Definition describes the detector.
func Definition() detect.Definition { return detect.Define("leak", doc, New, limits) }

// New returns the detector.
func New(s Settings, l detect.Lifecycle) detect.Detector {
	return &portLeak{settings: s, cases: detect.NewCases[leak](name, l), vanish: detect.NewCases[vanishing](name, l)}
}

// name is the detector's name in findings.
const name = "port-leak"

func limits(s Settings, l *fold.Limits) {
	l.RestLinux, l.RestWindows = s.RestLinux.Std(), s.RestWindows.Std()
}

// Judge implements detect.Detector.
func (d *portLeak) Judge(w *detect.Tick) {
	if w.Tables.Any() {
		return // port-snapshot judges tables: nothing is known of what happened between two
	}
	d.of = make(map[*fold.Holder]*detect.Case[leak])
	for _, in := range d.cases.All() {
		if h := in.Data.holder; d.of[h] == nil {
			d.of[h] = in
		}
	}
	var families []*fold.Family
	for _, f := range w.Ports.Families {
		if f.Sum != nil && (f.Sum.Growth() > 0 || d.caseOf(f.Sum) != nil) {
			families = append(families, f)
		}
	}
	slices.SortFunc(families, fold.CompareFamilies)
	for _, f := range families {
		d.judgeFamily(w, f)
	}
	grown := func(h *fold.Holder) bool {
		return h.Growth() > 0 && d.mayGrow(w, h) || d.caseOf(h) != nil
	}
	for _, h := range w.Ports.HolderList(grown) {
		if h.Family == nil || h.Family.Sum == nil || d.caseOf(h.Family.Sum) == nil {
			d.judge(w, h)
		}
	}
	d.judgeVanished(w)
}

// Report implements detect.Detector.
func (d *portLeak) Report(w *detect.Tick, emit func(model.Finding)) {
	d.vanish.Settle(w, 1, emit, func(in *detect.Case[vanishing]) model.Finding { return d.describeVanished(w, in) })
	d.cases.Settle(w, 1, emit, func(in *detect.Case[leak]) model.Finding { return d.describe(w, in) })
}

// Finish implements detect.Detector.
func (d *portLeak) Finish(w *detect.Tick, emit func(model.Finding)) {
	d.vanish.Flush(w, emit, func(in *detect.Case[vanishing]) model.Finding { return d.describeVanished(w, in) })
	d.cases.Flush(w, emit, func(in *detect.Case[leak]) model.Finding { return d.describe(w, in) })
}

// caseOf returns the incident about a holder, nil without one. It may have
// begun with an earlier process of the same name.
func (d *portLeak) caseOf(h *fold.Holder) *detect.Case[leak] {
	if in := d.cases.Get(h.ID); in != nil {
		return in
	}
	return d.of[h]
}

// heirOf returns the incident about a process of the holder's name that has
// ended: what has been restarted and leaks again is the same fault.
func (d *portLeak) heirOf(w *detect.Tick, h *fold.Holder) *detect.Case[leak] {
	if h.Process == "" || h.IsFamily() {
		return nil
	}
	for _, in := range d.cases.All() {
		o := in.Data.holder
		if o != nil && o != h && o.Held == 0 && !o.IsFamily() && o.Process == h.Process &&
			o.Program.Cmdline == h.Program.Cmdline && sameNetns(w, h, in.Data.at.pool) &&
			o.Key.Protocol == h.Key.Protocol &&
			o.Key.Netns == h.Key.Netns &&
			o.Key.Connections == h.Key.Connections {
			return in
		}
	}
	return nil
}

// sameNetns says that the holder's pool is that of the namespace of the pool
// before: the number of a namespace that has gone is given to the next.
func sameNetns(w *detect.Tick, h *fold.Holder, before *state.Pool) bool {
	pool := w.State.Pools[h.Key.Pool]
	return pool == nil || before == nil || pool.NetnsName == before.NetnsName
}

// judgeFamily judges what the processes of one program hold together, unless one
// of them is nearly all of it.
func (d *portLeak) judgeFamily(w *detect.Tick, f *fold.Family) {
	if d.caseOf(f.Sum) == nil {
		n, most := f.Growing()
		if n < 2 || float64(most.Growth()) >= dominant*float64(f.Sum.Growth()) {
			return
		}
		f.Sum.Key.Pool = most.Key.Pool
		if !d.merge(w, f) {
			return
		}
	}
	d.judge(w, f.Sum)
}

// merge makes the suspicions about single members one about the family, when all
// of it leaks; it is false when a member has a verdict of its own, or there are
// suspicions and the family is not one.
func (d *portLeak) merge(w *detect.Tick, f *fold.Family) bool {
	var of []*detect.Case[leak]
	for _, m := range f.Members {
		if in := d.caseOf(m); in != nil && in.Open {
			if in.Data.proven || in.Data.refuted {
				return false
			}
			of = append(of, in)
		} else if in != nil {
			return false
		}
	}
	if len(of) == 0 {
		return true
	}
	scale, proven, ok := d.leaks(w, f.Sum)
	if !ok {
		return false
	}
	for i, in := range of {
		delete(d.of, in.Data.holder)
		if i > 0 {
			in.Data.merged = true
			d.cases.End(in.Key)
			continue
		}
		began := in.Data.began
		in.Data = leak{
			holder: f.Sum, scale: scale, proven: proven, began: began, grew: w.Now, peak: f.Sum.Growth(),
			releasedBase: f.Sum.Released,
		}
		d.of[f.Sum] = in
		d.cases.Keep(w, in.Key)
		d.measure(f.Sum, &in.Data)
		d.remember(w, f.Sum, &in.Data)
	}
	return true
}

// dominant is the part of a family's growth from which one process alone is
// to blame.
const dominant = 0.8

func (d *portLeak) judge(w *detect.Tick, h *fold.Holder) {
	in := d.caseOf(h)
	open := in != nil && in.Open
	if open {
		d.follow(w, h, in)
		if in.Data.proven || !in.Touched {
			return
		}
	}
	scale, proven, ok := d.leaks(w, h)
	if !ok || open && !proven {
		return
	}
	since := max(w.Now.Add(-scale.Span()), h.First)
	if first := d.firstOfGrowth(w, h); first != 0 {
		since = first
	}
	key := h.ID
	if in != nil {
		if key = in.Key; !in.Open && in.Data.fate.past() { // it has begun anew
			again := leak{earlier: in.Data.earlier}
			if in.Data.fate.gone() {
				again.earlier++
			}
			in.Data = again
		}
	} else if in = d.heirOf(w, h); in != nil {
		key = in.Key
		delete(d.of, in.Data.holder)
		d.of[h] = in
		in.Data = leak{holder: h, earlier: in.Data.earlier + 1}
	}
	in = d.cases.Raise(w, key, since)
	data := &in.Data
	if data.holder == nil || data.peak == 0 {
		data.holder, data.began = h, since
		data.releasedBase = h.Released - h.SumOver(&h.ReleasedIn, int((w.Now.Sub(since)+time.Second-1)/time.Second))
		d.of[h] = in
	}
	data.scale, data.proven, data.refuted = scale, data.proven || proven, false
	data.peak, data.grew, data.fate, data.left = max(h.Growth(), data.peak), w.Now, kept, 0
	d.measure(h, data)
	d.remember(w, h, data)
	d.threaten(w, h, data)
}

// follow brings an open finding up to date.
func (d *portLeak) follow(w *detect.Tick, h *fold.Holder, in *detect.Case[leak]) {
	data := &in.Data
	if h.Growth() > data.peak {
		data.peak, data.grew = h.Growth(), w.Now
	}
	d.stopped(w, h, data)
	data.starves = data.starved != 0 && w.Now.Sub(data.starved) <= suspicionFor
	data.soon = data.soon || data.proven && data.starves
	data.refused = data.starved != 0 && w.Now.Sub(data.starved) <= time.Minute
	d.remember(w, h, data)
	d.threaten(w, h, data)
	data.fate = fateOf(h, data)
	if pool := w.State.Pools[h.Key.Pool]; pool != nil && data.fate.past() {
		data.rested = pool.Resting
	}
	if data.fate.gone() {
		if data.left == 0 {
			data.left = w.Now
			data.peak = max(data.peak, h.Most()) // it may have ended within the second
		}
		if data.fate == ended || w.Final || w.Now.Sub(data.left) >= endSeen {
			d.cases.End(in.Key)
		}
		return
	}
	// It gives back what it has held for long, as fast as it took it before, and
	// goes on without growing: its ports are held for long, and not leaked.
	quiet := w.Now.Sub(data.grew) >= max(suspicionFor, time.Duration(3/max(data.pace, 1e-3)*float64(time.Second)))
	lately := float64(fold.LongSeconds-1) / 2 * data.pace // what it gives back and takes at half of its pace
	if quiet && data.fate == kept && float64(h.LongGiven()) >= lately &&
		float64(h.SumOver(&h.AcquiredIn, fold.LongSeconds-1)) >= lately {
		if !data.refuted {
			d.cases.Keep(w, in.Key)
		}
		data.refuted, data.proven = true, false
		return
	}
	// The fault holds while the floor keeps rising, at the pace that it has
	// shown; it ends when the ports come back or the growth stops.
	patience := max(d.settings.KeepFor.Std(), time.Duration(3/max(data.rate, 1e-3)*float64(time.Second)))
	if !data.proven {
		patience = max(suspicionFor, time.Duration(3/max(data.rate, 1e-3)*float64(time.Second)))
	}
	if h.Growth()*2 >= data.peak && w.Now.Sub(max(data.grew, data.starved)) <= patience {
		d.cases.Keep(w, in.Key)
		if data.grew == w.Now { // the rate is that of the growth, not of a pause
			d.measure(h, data)
		}
	}
}

// stopped says of a holder that grows no more for want of ports that it still
// would: a range without a free port proves nothing in its favour. One that has
// taken most of the range and kept each is as proven as by growing for as long.
func (d *portLeak) stopped(w *detect.Tick, h *fold.Holder, data *leak) {
	if h.Growth() < data.peak {
		return
	}
	size, wants := wanted(w, h)
	if !wants {
		return
	}
	data.starved = w.Now
	if uint64(h.Held)*2 >= size && h.Released == data.releasedBase && !data.refuted &&
		w.Now.Sub(data.began) >= d.settings.ProofAfter.Std() {
		data.proven = true
	}
}

// wanted says that ports were refused within the last second where the holder has
// its own, and how many there are.
func wanted(w *detect.Tick, h *fold.Holder) (size uint64, wants bool) {
	since := w.Now.Add(-time.Second)
	if pool := w.State.Pools[h.Key.Pool]; pool != nil && pool.Size > 0 {
		// Who chooses ports itself is refused one after the other.
		full := uint64(pool.Used+pool.Resting) >= pool.Size
		if w.Ports.RefusedWithin(h.Key.Pool, since, full) > 0 {
			return pool.Size, true
		}
	}
	s := w.Ports.Searches[fold.SearchKey{PID: h.Key.PID, Protocol: h.Key.Protocol, Netns: h.Key.Netns}]
	if s != nil && s.Last >= since && s.InVain(w.Now) {
		return uint64(s.High) - uint64(s.Low) + 1, true
	}
	return 0, false
}

// suspicionFor is how long growth may pause before it is no longer suspected.
const suspicionFor = 3 * time.Second

// leaks says whether the holder leaks, on which scale that shows, and whether
// it has lasted for long enough to be called a leak.
func (d *portLeak) leaks(w *detect.Tick, h *fold.Holder) (scale fold.Scale, proven, ok bool) {
	early := false
	for _, s := range leakScales {
		grown, grows := d.grows(h, s)
		if !grows || d.unsure(w, h, s, grown) {
			continue
		}
		switch {
		case d.enough(w, h, s, grown):
			if scale = s; s.Span() >= d.settings.ProofAfter.Std() {
				return s, true, true
			}
			early = true
		case s == outliving && d.outlives(w, h, grown):
			scale, early = s, true
		}
	}
	if s, sure, slow := d.slow(w, h); slow && (sure || !early) {
		return s, sure, true
	}
	return scale, false, early
}

// outliving is the scale on which a process is seen to keep ports far longer
// than those that it gives back.
var outliving = leakScales[1]

// outlives says that a process which gives back nearly every port within
// moments keeps one in each second, and has lately given none of those back.
func (d *portLeak) outlives(w *detect.Tick, h *fold.Holder, grown int) bool {
	if h.Key.Connections || h.IsFamily() || h.LastLong != 0 && w.Now.Sub(h.LastLong) < time.Minute {
		return false
	}
	released := h.SumOver(&h.ReleasedIn, outliving.Steps*outliving.Seconds)
	return released >= d.settings.EarlyChurn*uint64(grown) && time.Duration(h.Holds.Quantile(0.99)) < time.Second/10
}

// grows says whether the floor rose in every step of the scale, goes on
// rising, and does not level off; grown is by how much.
func (d *portLeak) grows(h *fold.Holder, scale fold.Scale) (grown int, ok bool) {
	if !rises(h, scale) {
		return 0, false
	}
	floors := h.FloorsOf(scale)
	n := len(floors)
	grown = floors[n-1] - floors[0]
	mean := float64(grown) / float64(n-1)
	for i := 1; i < n; i++ {
		step := floors[i] - floors[i-1]
		if step <= 0 || float64(step) < d.settings.Evenness*mean && (i == n-1 || scale.Seconds == 1) {
			return 0, false
		}
	}
	// What opens its ports at the start and keeps them has stopped by now.
	return grown, h.Growth() > floors[n-1]
}

// rises says whether the floor rose in every step of the scale, the last first:
// nearly every holder is out at once.
func rises(h *fold.Holder, scale fold.Scale) bool {
	after := h.FloorOver(0, scale.Seconds)
	for i := 1; i <= scale.Steps; i++ {
		before := h.FloorOver(i*scale.Seconds, scale.Seconds)
		if after <= before {
			return false
		}
		after = before
	}
	return true
}

// slow says whether a holder takes a port every moment, and keeps each: on which
// scale that shows, and whether it has kept so many that it is called a leak. A
// pool that warms up looks the same until it has reached its size.
func (d *portLeak) slow(w *detect.Tick, h *fold.Holder) (scale fold.Scale, proven, ok bool) {
	if h.IsFamily() {
		return scale, false, false
	}
	start := d.firstOfGrowth(w, h)
	seconds := int(w.Now.Sub(start) / time.Second)
	scale = fold.Scale{Steps: slowSteps, Seconds: seconds / (slowSteps + 1)}
	if scale.Seconds < 1 {
		return scale, false, false
	}
	grown, grows := d.grows(h, scale)
	note := d.settings.SlowNote
	if h.Key.Connections {
		note *= 2
	}
	kept := uint64(max(0, h.Growth()-h.Floor(min(seconds, fold.SecondFloors-1))))
	switch {
	case !grows || kept < note || scale.Span() < d.settings.ProofAfter.Std():
		return scale, false, false
	case float64(grown) > maxSlow*scale.Span().Seconds(): // the other scales see it
		return scale, false, false
	case !momentary(h) && float64(h.SumOver(&h.ReleasedIn, seconds)) > d.settings.GivenBack*float64(grown):
		return scale, false, false
	case d.unsure(w, h, scale, grown):
		return scale, false, false
	}
	return scale, kept >= d.verdictAt(w, h), true
}

const (
	// warmUpShare is how many times as large a part of a bounded pool as otherwise a slow leak must take.
	warmUpShare = 2
	// slowSteps are the parts in each of which a slow leak must grow.
	slowSteps = 5
	// maxSlow is the number of ports a second up to which growth is slow.
	maxSlow = 2.5
)

// mayGrow says whether the floor rises on any scale: on none of whose last two
// steps nothing was taken.
func (d *portLeak) mayGrow(w *detect.Tick, h *fold.Holder) bool {
	idle := w.Now.Sub(h.LastTaken())
	for _, s := range leakScales {
		if idle > time.Duration(2*s.Seconds+2)*time.Second {
			continue
		}
		w.Work(scaleSteps)
		if rises(h, s) {
			return true
		}
	}
	return false
}

// scaleSteps are the steps of work, see package budget, of looking at one scale.
const scaleSteps = 12

// enough says whether the growth is more than healthy programs show.
func (d *portLeak) enough(w *detect.Tick, h *fold.Holder, scale fold.Scale, grown int) bool {
	span := scale.Steps * scale.Seconds
	acquired, released := h.SumOver(&h.AcquiredIn, span+scale.Seconds), h.SumOver(&h.ReleasedIn, span+scale.Seconds)
	// A process that gives most of its ports back within moments shows what it
	// means to give back: what it keeps stands out sooner.
	churns := released >= 4*uint64(grown) && h.Short*10 >= h.Released*9
	if !momentary(h) && float64(released) > d.settings.GivenBack*float64(acquired) && scale.Seconds < 60 {
		return false
	}
	need := d.settings.MinPorts
	if h.Key.Connections && !churns && scale.Seconds == 12 && float64(grown) <= maxSlow*scale.Span().Seconds() {
		return false // see slow: pools of connections warm up
	}
	switch {
	case h.Key.Connections && !churns && scale.Seconds <= 2 && scale.Steps != 6:
		need = d.settings.MinConnectionsFast
	case h.Key.Connections && !churns && scale.Seconds < 12:
		need = (d.settings.MinConnectionsFast + d.settings.MinConnections) / 2
	case h.Key.Connections && !churns:
		need = d.settings.MinConnections
	case scale.Seconds == 1 || scale.Seconds == 2 && scale.Steps < 5:
		need = d.settings.MinPortsFast
	case churns:
		need = d.settings.MinPorts / 2
	}
	if h.IsFamily() {
		need *= 2 // several processes begin with several ports
		if n, _ := h.Family.Growing(); h.Growth() < portsToStart*n && scale.Span() < time.Minute {
			return false // programs of one interpreter start one after the other when a host does
		}
	}
	need = d.least(w, h, need, d.settings.BoundedShare)
	if scale == leakScales[0] {
		need *= 2
	}
	return uint64(grown) >= need
}

// momentary says that what a process gives back it gives back within moments: that
// says nothing of what it keeps.
func momentary(h *fold.Holder) bool { return h.Released >= fewReleases && h.Short*10 >= h.Released*9 }

// fewReleases is the number of ports given back from which that is a habit.
const fewReleases = 16

// portsToStart is how many ports a process may take just by starting.
const portsToStart = 8

// least lowers the number of ports that makes a leak to a share of a pool that
// someone has bounded: most of a small one would be gone before.
func (d *portLeak) least(w *detect.Tick, h *fold.Holder, need uint64, share float64) uint64 {
	pool := w.State.Pools[h.Key.Pool]
	if pool == nil || pool.Source == model.PoolEphemeral {
		return need
	}
	return min(need, max(d.settings.MinPortsBounded, uint64(share*float64(pool.Size))))
}

// unsure says that events were lost in the span, so that missing releases may
// look like a leak: the next audit of the port tables decides.
func (d *portLeak) unsure(w *detect.Tick, h *fold.Holder, scale fold.Scale, grown int) bool {
	from := w.Now - model.Time((scale.Steps+1)*scale.Seconds)*fold.Second
	lost := w.Loss.Total - w.Loss.Before(from)
	if float64(lost) < 0.1*float64(grown) || w.Ports.Audits == 0 {
		return false
	}
	return w.Ports.LastAudit <= w.Loss.LastAt()
}

// firstOfGrowth returns when the rise of the floor began, as far as its history goes back.
func (d *portLeak) firstOfGrowth(w *detect.Tick, h *fold.Holder) model.Time {
	n := min(h.Ticks, fold.SecondFloors-1)
	ago := 0
	for ago < n && h.Floor(ago) > 0 && h.Floor(ago+1) <= h.Floor(ago) {
		ago++
	}
	if ago == n {
		return h.First
	}
	start := w.Now - model.Time(ago+1)*fold.Second
	return max(start, h.First)
}

// measure notes the rate of growth on the longest scale that shows it.
func (d *portLeak) measure(h *fold.Holder, data *leak) {
	scale := data.scale
	for _, s := range leakScales {
		if span := s.Steps * s.Seconds; span <= min(h.Ticks, 300) && h.FloorOver(span, s.Seconds) > 0 {
			scale = s
		}
	}
	data.rate = h.RateOver(scale).PerSecond
	data.pace = max(data.pace, data.rate)
}
