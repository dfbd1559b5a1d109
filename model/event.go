package model

import (
	"math"
	"time"
)

// Time is nanoseconds since the Unix epoch on a scale that never steps (see
// the package documentation). The zero Time means unknown.
type Time int64

// Std returns t as a standard library time in UTC.
func (t Time) Std() time.Time { return time.Unix(0, int64(t)).UTC() }

// Add returns t+d.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// NextSecond returns the first whole second after t.
func (t Time) NextSecond() Time { return t - t%Time(time.Second) + Time(time.Second) }

// Sub returns t-u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// String formats t as RFC 3339 with nine decimals, in UTC.
func (t Time) String() string { return t.Std().Format("2006-01-02T15:04:05.000000000Z07:00") }

// TimeOf converts a standard library time.
func TimeOf(t time.Time) Time { return Time(t.UnixNano()) }

// Bounds of what is believed: a stream that was made up or damaged may have any number.
const (
	// MaxTime is the latest time of an event, in the year 2200.
	MaxTime Time = 7_258_118_400 * Time(time.Second)
	// MaxDur is the longest an event takes, some 20 years.
	MaxDur = 175_200 * time.Hour
)

// Kind says what an event is. Numbers are part of the recording format and are
// never reused; names and meanings stand in [Specs].
type Kind uint16

// String returns the kind's name as in [Specs], or "kind(N)" for a number that
// this version does not know.
func (k Kind) String() string {
	if s := SpecOf(k); s != nil {
		return s.Name
	}
	return "kind(" + itoa(uint64(k)) + ")"
}

// Flags qualify an event of any kind.
type Flags uint16

const (
	// FlagDerived marks an event that lostbeat concluded rather than observed: findings.
	FlagDerived Flags = 1 << iota
	// FlagKeyframe marks an event that repeats state instead of reporting a change.
	FlagKeyframe
	// FlagWaitUnknown marks deferred work whose time of being raised was not seen: its wait is not known, rather than 0.
	FlagWaitUnknown
	// FlagV6Only marks a port held by an IPv6-only socket, so that the IPv4 port stays free.
	FlagV6Only
	// FlagReuse marks a port held with SO_REUSEPORT or SO_REUSEADDR, so that it can be held more than once.
	FlagReuse
	// FlagSecondary marks evidence from a weaker source than usual: profile samples in place of DPC events, a _Total
	// counter.
	FlagSecondary
	// FlagInclusive marks a duration that still contains nested interrupts.
	FlagInclusive
	// FlagTransmit marks packets that the host was sending; without it they were being received, or the direction is
	// not known.
	FlagTransmit
	// FlagShared marks a socket that several processes hold, none of which was seen to read it: the one that is named is
	// the first of them.
	FlagShared
)

// flagNames are the text forms of the flags, lowest bit first.
var flagNames = [...]string{"derived", "keyframe", "wait_unknown", "v6only", "reuse", "secondary",
	"inclusive", "transmit", "shared"}

// What happened to a device, as device.event names it.
const (
	DeviceLinkUp    = "link_up"
	DeviceLinkDown  = "link_down"
	DeviceRemoved   = "removed"
	DeviceRenamed   = "renamed"
	DeviceReset     = "reset"
	DeviceTxTimeout = "tx_timeout"
)

// DriverCounter begins the names of counters that are a driver's own statistics (ethtool -S): signs of a cause, as
// pause frames, which count no packets that are lost.
const DriverCounter = "driver/"

// MetaNote begins the keys of meta events that say what is to be known of a capture, a sentence each.
const MetaNote = "note."

// MetaCapturedOn is the key of the meta event that says on which host packets were captured, as far as that is known.
const MetaCapturedOn = "captured_on"

// CaptureLocation begins the location of drops that a capture reports, rather than those that were counted on the host.
const CaptureLocation = "pktmon:"

// Ids into the tables of an event's batch; 0 is the empty entry.
type (
	// StringID names an entry of Batch.Strings.
	StringID uint32
	// StackID names an entry of Batch.Stacks.
	StackID uint32
	// HistID names an entry of Batch.Hists.
	HistID uint32
)

// Sizes of an event's argument lists.
const (
	MaxArgs    = 6
	MaxStrings = 4
	MaxHists   = 2
)

// Event is one thing that happened, or one interval's count. Use [NewEvent] or
// a Builder's typed Add method, which set CPU, PID and TID to unknown.
type Event struct {
	// Time is when the event was complete.
	Time Time
	// Dur is how long it took, or the length of the interval that it counts; 0 where the kind has none.
	Dur time.Duration
	// Resource is the kind's identity: ifindex, IRQ number, socket cookie.
	Resource uint64
	// Args are the kind's numbers; a Float argument holds math.Float64bits.
	Args [MaxArgs]uint64
	// PID is the process, 0 the kernel, -1 unknown.
	PID int32
	// TID is the thread, 0 the kernel, -1 unknown.
	TID int32
	// CPU is the processor on which it happened, -1 unknown.
	CPU int32
	// Kind selects the meaning of the rest.
	Kind Kind
	// Flags qualify the event.
	Flags Flags
	// Str are the kind's strings.
	Str [MaxStrings]StringID
	// Hist are the kind's histograms.
	Hist [MaxHists]HistID
	// Stack is the user stack, 0 none.
	Stack StackID
	// Netns is the inode number of the network namespace, 0 unknown or not applicable. Kinds whose arguments have a
	// namespace leave it 0.
	Netns uint32
}

// NewEvent returns an event of kind k at time t with CPU, PID and TID unknown.
func NewEvent(k Kind, t Time) Event { return Event{Kind: k, Time: t, CPU: -1, PID: -1, TID: -1} }

// Start returns when the event began: Time-Dur.
func (e *Event) Start() Time { return e.Time - Time(e.Dur) }

// Possible says that the event's time and duration can be true. One that is not possible is neither judged nor shown.
func (e *Event) Possible() bool {
	return e.Time >= 0 && e.Time <= MaxTime && e.Dur >= 0 && e.Dur <= MaxDur
}

// Float returns argument i as a floating-point number.
func (e *Event) Float(i int) float64 { return math.Float64frombits(e.Args[i]) }

func itoa(n uint64) string {
	var buf [20]byte
	i := len(buf)
	for {
		i--
		buf[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(buf[i:])
		}
	}
}
