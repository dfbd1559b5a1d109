package fold

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"lostbeat/model"
	"lostbeat/model/state"
)

// Second is the length of the steps in which facts are summed and judged.
const Second = model.Time(time.Second)

// MaxWindow is the longest window, in seconds, over which facts are summed.
const MaxWindow = 10

// Fold is what the detectors know: the state of the host and, second by
// second, what happened. A second is a whole second of event time; an interval
// belongs to the second in which it ended.
type Fold struct {
	limits Limits
	State  *state.State
	// Now is the tick being judged; slot the second being filled.
	Now  model.Time
	Slot int
	// warm says that something other than a keyframe has been seen, so that keyframes say nothing new.
	warm bool

	CPUs    map[int32]*CPU
	Devices map[DeviceKey]*Device
	sockets map[SocketKey]*Socket
	flows   map[flowKey]*Flow
	follows map[FollowKey]*Followed
	beats   map[BeatKey]*Beat
	// offers are sockets that look like heartbeats and are not followed.
	offers map[FollowKey]model.Flow
	// The lists of SortedCPUs and its like, nil when they have changed.
	sortedCPUs    []*CPU
	sortedDevices []*Device
	sortedSockets []*Socket
	sortedDrops   []*Drop
	sortedBeats   []*Beat
	// Backlog counts packets dropped at full backlogs, by device.
	Backlog  [MaxWindow][]DeviceCount
	Ports    *Ports
	Tables   *Tables
	Counters *Counters
	// HostCounters are those of Linux hosts that were read from files.
	HostCounters *HostCounters
	HostEvents   *HostEvents
	CaptureDrops *CaptureDrops
	Logs         *Logs
	// Pauses are the last times in which the whole host stood still, the oldest first.
	Pauses []model.HostPause
	Loss   Loss
	// RivalLoss is the part of Loss that only says less of who ran instead of a watched thread.
	RivalLoss Loss
	// DropsLeftOut counts packets lost in more ways than are told apart.
	DropsLeftOut uint64

	drops map[DropKey]*Drop
	// dropsByName are the same, by their keys without the number of the device.
	dropsByName map[DropKey]*Drop
	watched     map[int32]*Watched // by TID
	readings    map[ReadingKey]Reading
	refused     map[refusedRequest]string
	protocol    map[ProtocolCounterKey]*ProtocolCounter
	// judged says that there are detectors, which read what happened second by second.
	judged bool
	// history is what a screen shows, nil without one.
	history *History
	room    room
	// busy says that there was an event since the last tick.
	busy bool
	// leftOut of what was left out is in Loss.
	leftOut uint64
	peaks   peaks
}

// Options say which parts a fold has beside the state of the host: nobody pays
// for what is not read.
type Options struct {
	// Judged says that detectors read what happened second by second.
	Judged bool
	// Limits are the thresholds that they need, and the memory that the facts may take.
	Limits Limits
	// History is what a screen shows, nil for none; see also Fold.Show.
	History *History
}

// New returns a fold before any event.
func New(o Options) *Fold {
	limits := o.Limits
	r := newRoom(limits.Memory)
	return &Fold{
		limits:       limits,
		judged:       o.Judged,
		history:      o.History,
		room:         r,
		State:        state.NewWithin(r.Budget),
		CPUs:         make(map[int32]*CPU),
		Devices:      make(map[DeviceKey]*Device),
		sockets:      make(map[SocketKey]*Socket),
		flows:        make(map[flowKey]*Flow),
		follows:      make(map[FollowKey]*Followed),
		beats:        make(map[BeatKey]*Beat),
		offers:       make(map[FollowKey]model.Flow),
		Ports:        newPortFacts(r.Budget),
		Tables:       newTables(r.Budget),
		drops:        make(map[DropKey]*Drop),
		dropsByName:  make(map[DropKey]*Drop),
		watched:      make(map[int32]*Watched),
		readings:     make(map[ReadingKey]Reading),
		refused:      make(map[refusedRequest]string),
		protocol:     make(map[ProtocolCounterKey]*ProtocolCounter),
		Counters:     newCounterFacts(limits.MaxSamples, r.Budget),
		HostCounters: newHostCounters(r.Budget),
		HostEvents:   newHostEvents(r.Budget),
		CaptureDrops: newCaptureDrops(r.Budget),
		Logs:         &Logs{room: r.Budget},
	}
}

// Show makes h part of w: it shows what the detectors know. The caller puts
// h.Begin and h.End around all that changes w.
func (w *Fold) Show(h *History) {
	w.history = h
	h.share(w)
}

// resetState forgets what holds, as a seek does.
func (w *Fold) resetState() {
	w.room = newRoom(w.limits.Memory)
	w.State = state.NewWithin(w.room.Budget)
	w.Ports = newPortFacts(w.room.Budget)
	w.Tables = newTables(w.room.Budget)
	w.Logs = &Logs{room: w.room.Budget}
	w.follows, w.beats, w.sortedBeats = make(map[FollowKey]*Followed), make(map[BeatKey]*Beat), nil
	w.offers = make(map[FollowKey]model.Flow)
}

// BeginTick sums the window that ends at now.
func (w *Fold) BeginTick(now model.Time, whole bool) {
	w.Now = now
	seconds := w.Recent()
	for _, c := range w.CPUs {
		c.sumUp(seconds)
	}
	for _, d := range w.Devices {
		d.sumUp(seconds)
	}
	for _, s := range w.sockets {
		s.Total += s.Seconds[w.Slot].Drops()
		s.sumUp(seconds)
	}
	w.sumDrops(seconds)
	w.sumProtocol(seconds)
	w.Ports.beginTick(now, w.State, whole, w.UnseenRest)
	w.chargeTick()
}

// EndTick opens the next second.
func (w *Fold) EndTick() {
	w.Slot = (w.Slot + 1) % MaxWindow
	for _, c := range w.CPUs {
		c.Seconds[w.Slot].give(&w.room)
		c.Seconds[w.Slot].clear()
	}
	for _, d := range w.Devices {
		d.Seconds[w.Slot].give(&w.room)
		d.Seconds[w.Slot] = DeviceSecond{}
		if w.Now.Sub(d.seen) > forgetDevice {
			w.forgetDevice(d)
		}
	}
	for _, s := range w.sockets {
		s.Seconds[w.Slot].give(&w.room)
		s.Seconds[w.Slot] = socketSecond{}
		if w.Now.Sub(s.seen) > forgetSocket {
			w.forgetSocket(s)
		}
	}
	w.Backlog[w.Slot] = nil
	w.Ports.endTick(w.Now)
	w.forgetFlows()
	w.endBeats()
	w.endDrops()
	w.endProtocol()
	w.endWatched()
	w.countLeftOut()
	w.compact()
}

// WindowSeconds returns the length of the window in seconds.
func (w *Fold) WindowSeconds() int {
	return min(max(int(w.limits.Window/time.Second), 1), MaxWindow)
}

// Recent returns the slots of the window, oldest first.
func (w *Fold) Recent() []int {
	n := w.WindowSeconds()
	slots := make([]int, n)
	for i := range slots {
		slots[i] = (w.Slot - n + 1 + i + MaxWindow) % MaxWindow
	}
	return slots
}

// secondStart returns when the second that is being judged began.
func (w *Fold) secondStart() model.Time {
	return (w.Now - 1) / Second * Second
}

// FirstSecond returns when the first second of the window that matches began;
// the last one where none does.
func (w *Fold) FirstSecond(match func(slot int) bool) model.Time {
	slots := w.Recent()
	for i, slot := range slots {
		if match(slot) {
			return w.secondStart() - model.Time(len(slots)-1-i)*Second
		}
	}
	return w.secondStart()
}

// sorted returns the values of m by their keys; list keeps them until it is set
// to nil.
func sorted[K comparable, V any](list *[]*V, m map[K]*V, compare func(a, b K) int) []*V {
	if *list == nil && len(m) > 0 {
		*list = make([]*V, 0, len(m))
		for _, k := range slices.SortedFunc(maps.Keys(m), compare) {
			*list = append(*list, m[k])
		}
	}
	return *list
}

// Windows reports whether the stream is of a Windows host.
func (w *Fold) Windows() bool {
	return strings.HasPrefix(strings.ToLower(w.State.Meta["os"]), "windows")
}

// Emulated reports whether software emulates the processors of the stream's host.
func (w *Fold) Emulated() bool { return w.State.Meta["processor"] == "emulated" }

// Ratio returns a/b, 0 when b is 0.
func Ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Printable makes a name from a traced host fit for a sentence: control characters
// become U+FFFD.
func Printable(name string) string {
	if strings.IndexFunc(name, unicode.IsControl) < 0 {
		return name
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, name)
}

// RestTime is how long a closed TCP port rests where the stream does not say.
func (w *Fold) RestTime() time.Duration {
	if w.Windows() {
		return w.limits.RestWindows
	}
	return w.limits.RestLinux
}

// PoolKey identifies a pool of ports.
type PoolKey = state.PoolKey
