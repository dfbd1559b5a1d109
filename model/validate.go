package model

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// OriginLate is the origin of loss events that count events which were not
// lost but came too late to be put in order: they stand in the stream at the
// place where they arrived.
const OriginLate = "late"

// OriginFile is the origin of loss events for what a file holds, or held, and
// cannot be read or used.
const OriginFile = "file"

// OriginLog is the origin of loss events for lines of a followed log that came
// faster than they are read. Nothing of the host is missing with them.
const OriginLog = "log"

// OriginMemory is the origin of loss events for what there was no memory or time
// to keep, see package budget. What reads a stream makes them, as derived events:
// who reads it again makes them again.
const OriginMemory = "memory"

// maxProblems bounds how many faults of one batch Validator.Check reports.
const maxProblems = 20

// Validator checks that a stream keeps the rules of this package. Its zero
// value checks a whole stream; every test that produces a stream runs it.
type Validator struct {
	// Partial says that the stream was joined in the middle, so that a port
	// may be released whose acquisition was never seen.
	Partial bool
	// AllowUnknown accepts kinds that this version does not know, as in
	// recordings of a newer one.
	AllowUnknown bool

	last     Time
	started  bool
	cpus     int32
	late     uint64
	declared uint64
	lossy    bool
	// held counts what is held and what rests of each socket.
	held     map[heldKey]int
	problems []error
	skipped  int
}

// heldKey is a socket that holds a port, or a port of it that rests: a socket
// can take another while the last one rests.
type heldKey struct {
	cookie  uint64
	resting bool
}

// Check returns the faults of the next batch of the stream, joined, nil when
// there are none.
func (v *Validator) Check(b *Batch) error {
	v.problems, v.skipped = nil, 0
	if v.held == nil {
		v.held = make(map[heldKey]int)
	}
	for i := range b.Events {
		e := &b.Events[i]
		if i > 0 && e.Time < b.Events[i-1].Time {
			v.fail(b, e, "is out of order within its batch: %v before", time.Duration(b.Events[i-1].Time-e.Time))
		} else if v.started && e.Time < v.last {
			v.late++
		}
		v.event(b, e)
	}
	if n := len(b.Events); n > 0 {
		v.started = true
		v.last = max(v.last, b.Events[n-1].Time)
	}
	if v.skipped > 0 {
		v.problems = append(v.problems, fmt.Errorf("and %d more", v.skipped))
	}
	return errors.Join(v.problems...)
}

// Finish returns what can only be said at the end: events out of order that no
// loss event with OriginLate declares.
func (v *Validator) Finish() error {
	if v.late > v.declared {
		return fmt.Errorf("%d events are older than what came before them, loss events declare %d", v.late, v.declared)
	}
	return nil
}

// Validate checks a whole stream.
func Validate(batches ...*Batch) error {
	var v Validator
	var errs []error
	for _, b := range batches {
		errs = append(errs, v.Check(b))
	}
	return errors.Join(append(errs, v.Finish())...)
}

func (v *Validator) fail(b *Batch, e *Event, format string, args ...any) {
	if len(v.problems) >= maxProblems {
		v.skipped++
		return
	}
	v.problems = append(v.problems, fmt.Errorf("%s: %s", AppendText(nil, b, e), fmt.Sprintf(format, args...)))
}

func (v *Validator) event(b *Batch, e *Event) {
	if e.Time < 0 {
		v.fail(b, e, "time is before 1970")
	}
	if e.Dur < 0 {
		v.fail(b, e, "duration is negative")
	}
	if unknown := e.Flags >> len(flagNames); unknown != 0 {
		v.fail(b, e, "unknown flags")
	}
	v.tables(b, e)
	s := SpecOf(e.Kind)
	if s == nil {
		if !v.AllowUnknown {
			v.fail(b, e, "unknown kind")
		}
		return
	}
	v.place(b, e, s)
	v.args(b, e, s)
	v.meaning(b, e)
}

// place checks what every kind has or has not.
func (v *Validator) place(b *Batch, e *Event, s *Spec) {
	switch {
	case e.CPU < -1:
		v.fail(b, e, "cpu is below -1")
	case e.CPU != -1 && !s.CPU:
		v.fail(b, e, "kind has no cpu")
	case v.cpus > 0 && e.CPU >= v.cpus:
		v.fail(b, e, "the host has %d CPUs", v.cpus)
	}
	switch {
	case e.PID < -1 || e.TID < -1:
		v.fail(b, e, "pid or tid is below -1")
	case (e.PID != -1 || e.TID != -1) && !s.Task:
		v.fail(b, e, "kind has no task")
	}
	if e.Netns != 0 && !s.Netns {
		v.fail(b, e, "kind has no network namespace")
	}
	if e.Dur != 0 && s.Span == "" {
		v.fail(b, e, "kind has no duration")
	}
	if e.Resource != 0 && s.Resource.Name == "" {
		v.fail(b, e, "kind has no resource")
	}
	if e.Stack != 0 && s.Stack == "" {
		v.fail(b, e, "kind has no stack")
	}
	for i := len(s.Args); i < MaxArgs; i++ {
		if e.Args[i] != 0 {
			v.fail(b, e, "kind has no argument %d", i)
		}
	}
	for i := len(s.Strings); i < MaxStrings; i++ {
		if e.Str[i] != 0 {
			v.fail(b, e, "kind has no string %d", i)
		}
	}
	for i := len(s.Hists); i < MaxHists; i++ {
		if e.Hist[i] != 0 {
			v.fail(b, e, "kind has no histogram %d", i)
		}
	}
}

func (v *Validator) args(b *Batch, e *Event, s *Spec) {
	for i := range s.Args {
		f, value := &s.Args[i], e.Args[i]
		switch {
		case f.Unit == UnitNanoseconds && int64(value) < 0:
			v.fail(b, e, "%s is negative", f.Name)
		case f.Unit == UnitPort && value > math.MaxUint16:
			v.fail(b, e, "%s is not a valid port", f.Name)
		case f.Unit == UnitBool && value > 1:
			v.fail(b, e, "%s is not a truth value", f.Name)
		case f.Unit == UnitEnum && value >= uint64(len(f.Enum.Names)):
			v.fail(b, e, "%s has no such value", f.Name)
		case f.Unit == UnitFloat && math.IsNaN(math.Float64frombits(value)):
			v.fail(b, e, "%s is not a number", f.Name)
		}
	}
}

func (v *Validator) tables(b *Batch, e *Event) {
	for i, id := range e.Str {
		if id != 0 && uint(id) >= uint(len(b.Strings)) && b.value(id) == nil {
			v.fail(b, e, "string %d is outside the table", i)
		}
	}
	if e.Stack != 0 && int(e.Stack) >= len(b.Stacks) {
		v.fail(b, e, "stack is outside the table")
	}
	for i, id := range e.Hist {
		if id != 0 && int(id) >= len(b.Hists) {
			v.fail(b, e, "histogram %d is outside the table", i)
		} else if h := b.Hist(id); h != nil {
			if err := h.Check(); err != nil {
				v.fail(b, e, "histogram %d: %v", i, err)
			}
		}
	}
}

// meaning checks the rules of single kinds and of their sequence.
func (v *Validator) meaning(b *Batch, e *Event) {
	switch e.Kind {
	case KindMeta:
		if b.String(e.Str[0]) == "cpus" {
			v.cpus = cpuCount(b.String(e.Str[1]))
		}
	case KindLoss:
		if b.String(e.Str[0]) == OriginLate {
			v.declared += e.Args[0]
		} else {
			v.lossy = true
		}
		if e.Args[0] == 0 {
			v.fail(b, e, "a loss of nothing")
		}
	case KindFinding:
		if e.Flags&FlagDerived == 0 {
			v.fail(b, e, "a finding is not marked derived")
		}
		if _, ok := b.Finding(e); !ok {
			v.fail(b, e, "the finding's body does not decode")
		}
	case KindPortPool:
		if e.Args[1] > e.Args[2] {
			v.fail(b, e, "the pool ends before it begins")
		}
	case KindPortAcquire:
		v.held[heldKey{e.Resource, false}] = 1
	case KindPortActive:
		view, _ := b.PortActive(e)
		v.held[heldKey{e.Resource, view.Resting}] = 1
	case KindPortRest:
		if e.Flags&FlagKeyframe != 0 {
			v.held[heldKey{e.Resource, true}] = 1
			break
		}
		delete(v.held, heldKey{e.Resource, false})
		v.held[heldKey{e.Resource, true}]++
	case KindPortRelease:
		view, _ := b.PortRelease(e)
		key := heldKey{e.Resource, view.How == HowRestEnd}
		switch n := v.held[key]; {
		case n > 1:
			v.held[key] = n - 1
		case n == 1:
			delete(v.held, key)
		case e.Resource != 0 && !v.lossy && !v.Partial:
			v.fail(b, e, "the port was never acquired")
		}
	case KindPortActivity:
		view, _ := b.PortActivity(e)
		if view.Dur != 0 && !view.Activity.Idle() {
			v.fail(b, e, "a port that is not idle has been idle")
		}
		if _, ok := v.held[heldKey{e.Resource, false}]; !ok && e.Resource != 0 && !v.lossy && !v.Partial {
			v.fail(b, e, "the port is not held")
		}
	}
}

// cpuCount reads the value of the meta key cpus: a number of CPUs, or a list
// of their numbers as in /sys/devices/system/cpu/possible. It is 0 when unknown.
func cpuCount(s string) int32 {
	if n, err := strconv.ParseInt(s, 10, 32); err == nil {
		return int32(n)
	}
	highest := s[strings.LastIndexAny(s, ",-")+1:]
	n, err := strconv.ParseInt(highest, 10, 32)
	if err != nil {
		return 0
	}
	return int32(n) + 1
}

// Check returns what makes h inconsistent, nil when nothing does.
func (h *Histogram) Check() error {
	var count uint64
	last := -1
	for _, bc := range h.Buckets {
		switch {
		case int(bc.Bucket) >= HistBuckets:
			return fmt.Errorf("there is no bucket %d", bc.Bucket)
		case int(bc.Bucket) <= last:
			return fmt.Errorf("bucket %d follows bucket %d", bc.Bucket, last)
		case bc.Count == 0:
			return fmt.Errorf("bucket %d is empty", bc.Bucket)
		}
		last = int(bc.Bucket)
		count += bc.Count
	}
	switch {
	case count != h.Count:
		return fmt.Errorf("buckets hold %d of %d", count, h.Count)
	case h.Count == 0:
		if h.Sum != 0 || h.Max != 0 {
			return errors.New("nothing was counted, but its sum or maximum is not 0")
		}
	case BucketOf(h.Max) != last:
		return fmt.Errorf(
			"maximum %v is outside the highest bucket, %v to %v",
			time.Duration(h.Max),
			time.Duration(BucketLow(last)),
			time.Duration(BucketHigh(last)),
		)
	case h.Sum < h.Max:
		return fmt.Errorf("sum %v is less than maximum %v", time.Duration(h.Sum), time.Duration(h.Max))
	case h.Count <= math.MaxUint64/max(h.Max, 1) && h.Sum > h.Count*h.Max:
		return fmt.Errorf("sum %v is more than %d times the maximum %v", time.Duration(h.Sum), h.Count, time.Duration(h.Max))
	}
	return nil
}
