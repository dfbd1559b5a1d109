package hostile

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"lostbeat/model"
)

// Sizes of what [Stream] makes.
const (
	// editSize is the size of an edit in bytes: what is done, two bytes that say to which event, and with what.
	editSize = 4
	// maxEdits bounds the edits of a stream, maxEvents its events.
	maxEdits  = 256
	maxEvents = 1 << 14
	// batchEvents is the number of events of a batch.
	batchEvents = 64
)

// Stream makes a stream that contradicts itself out of one that does not: the first byte of data chooses the base, and
// each four bytes that follow are an edit. Every event keeps the form that its kind has, every batch is in order of
// time. What they say need not be possible: what ends has not begun, ports are released twice, counters fall, PIDs are
// used again, times are absurd, and names have control characters.
func Stream(data []byte, base ...*model.Batch) []*model.Batch {
	if len(data) == 0 {
		return nil
	}
	from := base[int(data[0])%len(base)]
	s := &edited{Batch: model.Batch{
		Events: slices.Clone(from.Events), Strings: slices.Clone(from.Strings), Stacks: from.Stacks, Hists: from.Hists,
		Findings: from.Findings,
	}}
	for _, text := range hostileTexts {
		s.texts = append(s.texts, model.StringID(len(s.Strings)))
		s.Strings = append(s.Strings, text)
	}
	s.body = model.StringID(len(s.Strings))
	s.Strings = append(s.Strings, hostileFinding)
	for n, edits := 0, data[1:]; n < maxEdits && len(edits) >= editSize && len(s.Events) > 0; n++ {
		where := int(edits[1])<<8 | int(edits[2])
		s.edit(edits[0], where%len(s.Events), edits[3])
		edits = edits[editSize:]
	}
	var batches []*model.Batch
	for part := range slices.Chunk(s.Events, batchEvents) {
		b := s.Batch
		b.Events = part
		for i := range b.Events {
			s.wellFormed(&b.Events[i])
		}
		slices.SortStableFunc(b.Events, func(x, y model.Event) int { return cmp.Compare(x.Time, y.Time) })
		batches = append(batches, &b)
	}
	return batches
}

// edited is a stream that is being edited, with the ids of the hostile texts.
type edited struct {
	model.Batch
	texts []model.StringID
	body  model.StringID
}

// hostileFinding is the body of findings that are made up.
const hostileFinding = `{"id":"port-leak/x/1","detector":"port-leak","severity":"critical","title":"\u001b[2Jx\n` +
	`\u202ey","start":"1970-01-01T00:00:00Z","end":"2262-04-11T23:47:16Z","ongoing":true,"subject":{"kind":"cpu",` +
	`"cpu":2147483647},"evidence":[{"name":"a\tb","value":1e308,"unit":"ratio"},{"name":"","value":-1e308,"unit":"ns"}],` +
	`"causes":["\u0007"],"ruled_out":[""],"advice":["%s"],"loss":18446744073709551615}`

// Values of the wrong size, by unit, and steps of time.
var (
	numbers = []uint64{
		0, 1, 2, 7, 100, 1_000_000, 1 << 31, 1<<32 + 1, 1 << 53, math.MaxInt64, 1 << 63, math.MaxUint64, 3, 50, 5000, 65535,
	}
	spans = []time.Duration{
		0, 1, time.Microsecond, 20 * time.Millisecond, time.Second, 3 * time.Second, time.Minute, time.Hour,
		1000 * time.Hour, math.MaxInt64, math.MaxInt64 / 2, 500 * time.Millisecond, 10 * time.Second, 240 * time.Second,
		5 * time.Second, 100 * time.Millisecond,
	}
	floats = []float64{
		0, 1, -1, 0.5, 1.5, 100, 1e6, 1e18, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1),
		math.Inf(-1), 1e-9, 99.99, 1 << 53,
	}
	steps = []time.Duration{
		0, time.Millisecond, -time.Millisecond, time.Second, -time.Second, 10 * time.Second, -10 * time.Second, time.Hour,
		-time.Hour, 100 * 365 * 24 * time.Hour, -20 * 365 * 24 * time.Hour, 250 * time.Millisecond, 119 * time.Second,
		121 * time.Second, 5 * time.Minute, math.MaxInt64,
	}
	// identities are small numbers, so that different events name the same thing.
	identities   = []int32{-1, 0, 1, 2, 3, 812, 900, 4312, 7, 95, 1024, 4096, math.MaxInt32, 42, 8000, 5}
	hostileTexts = []string{
		"", "redis", "\x1b[2J\x1b]0;x\x07", "a\nb\tc\r", "\u202egnp.exe", strings.Repeat("長", 200), "%d%s%n", "NET_RX",
		"eth0", "0", "18446744073709551615", "windows", "\xff\xfe\x00", "1", "corosync", "linux",
	}
)

// Edits of a stream.
const (
	editRemove = iota
	editRepeat
	editMove
	editMoveRest
	editNumber
	editText
	editSpan
	editIdentity
	editFlags
	editLater
	editNew
	editSwap
	editCount
)

// edit changes the stream at event i; v says how.
func (s *edited) edit(what byte, i int, v byte) {
	e := &s.Events[i]
	low, high := int(v&15), int(v>>4)
	switch what % editCount {
	case editRemove:
		s.Events = slices.Delete(s.Events, i, min(len(s.Events), i+1+int(v)))
	case editRepeat:
		if again := *e; len(s.Events)+low < maxEvents {
			s.Events = slices.Insert(s.Events, i, slices.Repeat([]model.Event{again}, low+1)...)
		}
	case editMove:
		e.Time = moved(e.Time, steps[low])
	case editMoveRest:
		for j := range s.Events[i:] {
			s.Events[i+j].Time = moved(s.Events[i+j].Time, steps[low])
		}
	case editNumber:
		s.number(e, high, low)
	case editText:
		e.Str[high%model.MaxStrings] = s.texts[low]
	case editSpan:
		e.Dur = spans[low]
	case editIdentity:
		switch high % 5 {
		case 0:
			e.PID = identities[low]
		case 1:
			e.TID = identities[low]
		case 2:
			e.CPU = identities[low]
		case 3:
			e.Resource = numbers[low]
		default:
			e.Netns = uint32(numbers[low])
		}
	case editFlags:
		e.Flags = model.Flags(1) << (v % 9)
	case editLater:
		if again := *e; len(s.Events) < maxEvents {
			j := min(len(s.Events)-1, i+4*int(v))
			again.Time = s.Events[j].Time
			s.Events = slices.Insert(s.Events, j, again)
		}
	case editNew:
		if len(s.Events) < maxEvents {
			s.Events = slices.Insert(s.Events, i, s.event(&model.Specs[int(v)%len(model.Specs)], e.Time, uint64(i)))
		}
	case editSwap:
		j := min(len(s.Events)-1, i+int(v))
		s.Events[i].Time, s.Events[j].Time = s.Events[j].Time, s.Events[i].Time
		s.Events[i], s.Events[j] = s.Events[j], s.Events[i]
	}
}

// moved returns a time that is moved by a step and stays in the range of times.
func moved(t model.Time, step time.Duration) model.Time {
	if step > 0 && t > math.MaxInt64-model.Time(step) {
		return math.MaxInt64
	}
	return max(t.Add(step), 1)
}

// number sets an argument.
func (s *edited) number(e *model.Event, arg, value int) {
	spec := model.SpecOf(e.Kind)
	if spec == nil || len(spec.Args) == 0 {
		return
	}
	arg %= len(spec.Args)
	switch spec.Args[arg].Unit {
	case model.UnitNanoseconds:
		e.Args[arg] = uint64(spans[value])
	case model.UnitFloat:
		e.Args[arg] = math.Float64bits(floats[value])
	case model.UnitTime:
		e.Args[arg] = uint64(moved(e.Time, steps[value]))
	default:
		e.Args[arg] = numbers[value]
	}
}

// event makes an event of a kind; seed chooses its values.
func (s *edited) event(spec *model.Spec, at model.Time, seed uint64) model.Event {
	next := func() int {
		seed = seed*6364136223846793005 + 1442695040888963407
		return int(seed >> 60)
	}
	e := model.NewEvent(spec.Kind, at)
	e.Dur, e.Resource, e.Netns = spans[next()], numbers[next()], uint32(numbers[next()])
	e.PID, e.TID, e.CPU = identities[next()], identities[next()], identities[next()]
	for i := range spec.Args {
		s.number(&e, i, next())
	}
	for i := range e.Str {
		e.Str[i] = s.texts[next()]
	}
	return e
}

// wellFormed gives an event the form that its kind has.
func (s *edited) wellFormed(e *model.Event) {
	spec := model.SpecOf(e.Kind)
	if spec == nil {
		return
	}
	if spec.Span == "" {
		e.Dur = 0
	}
	if !spec.CPU {
		e.CPU = -1
	}
	if !spec.Task {
		e.PID, e.TID = -1, -1
	}
	if !spec.Netns {
		e.Netns = 0
	}
	if spec.Resource.Name == "" {
		e.Resource = 0
	}
	for i := range e.Args {
		if i >= len(spec.Args) {
			e.Args[i] = 0
			continue
		}
		switch f := &spec.Args[i]; f.Unit {
		case model.UnitEnum:
			e.Args[i] %= uint64(len(f.Enum.Names))
		case model.UnitBool:
			e.Args[i] %= 2
		case model.UnitPort:
			e.Args[i] &= math.MaxUint16
		}
	}
	clear(e.Str[len(spec.Strings):])
	if e.Kind == model.KindFinding {
		e.Flags |= model.FlagDerived
		if _, ok := s.Finding(e); !ok {
			e.Str[3] = s.body
		}
	}
	if e.Kind == model.KindPortPool && e.Args[1] > e.Args[2] {
		e.Args[1], e.Args[2] = e.Args[2], e.Args[1]
	}
}
