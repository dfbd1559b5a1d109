package linuxhost

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lostbeat/model"
	"lostbeat/model/budget"
	"lostbeat/source"
)

// FormatName is the name of the format.
const FormatName = "linux"

// Counters is the format of sar's outputs and of the host files of a bundle.
func Counters() source.Format {
	return source.Format{
		Name:           FormatName,
		Sniff:          Detect,
		BytesPerSecond: 10 << 20,
		OwnProgress:    true,
		Open: func(path string, o source.OpenOptions) (source.File, error) {
			return Open([]string{path}, o)
		},
		OpenAll: func(paths []string, o source.OpenOptions) (source.File, error) { return Open(paths, o) },
	}
}

// Detect reports whether a file that begins with head is of the format.
func Detect(head []byte) bool { return formOf(head) != formNone }

// series is what a value is of.
type series struct {
	name, instance, unit, host string
	cpu                        int32
	mode                       model.CounterMode
}

// entry is one value: times and series are numbers in the set's lists. A day of 1 min of 128 CPUs is a million.
type entry struct {
	moment, series uint32
	value          float64
}

// moment is a time with the interval before it that values are of, 0 for none.
type moment struct {
	at    model.Time
	span  time.Duration
	order int
}

// Set is one or several files that were opened together. It implements [source.File].
type Set struct {
	options source.OpenOptions
	zone    *time.Location
	zoned   bool

	series   []series
	seriesOf map[series]uint32
	moments  []moment
	momentOf map[momentKey]uint32
	entries  []entry
	most     int
	left     uint64
	samples  uint64
	hosts    []string
	kernels  map[string]string
	// machines are the machine-ids of hosts, by name.
	machines  map[string]string
	facts     []fact
	files     []string
	notes     []string
	assumed   []string
	integrity source.Integrity
	// zones are those of hosts' clocks, by shortName; nil where a name has several.
	zones map[string]*time.Location
	// local is the zone of the hosts, nil unknown; differs says that they have several.
	local   *time.Location
	differs bool
	// order is that of the file being read: of two values of one time and series the first counts.
	order int
}

type momentKey struct {
	at    model.Time
	span  time.Duration
	order int
}

// fact is something that a bundle says of its host beside counters.
type fact struct{ host, key, value string }

var (
	_ source.File     = (*Set)(nil)
	_ source.Verified = (*Set)(nil)
)

// ErrFormat is the error of files without a counter.
var ErrFormat = errors.New("it has no counter that is known")

func newSet(o source.OpenOptions) *Set {
	s := &Set{
		options: o, seriesOf: map[series]uint32{}, momentOf: map[momentKey]uint32{},
		kernels: map[string]string{}, machines: map[string]string{},
		zones: map[string]*time.Location{},
	}
	s.most = int(cmp.Or(o.Memory, budget.Default) / 4 / 16)
	s.zone, s.zoned = o.Zone()
	return s
}

// Open opens files of the format as one.
func Open(paths []string, o source.OpenOptions) (*Set, error) {
	s := newSet(o)
	type input struct {
		path string
		form form
	}
	var inputs []input
	var failed error
	// fail notes that one of several files could not be read: the others are.
	fail := func(path string, err error) {
		failed = cmp.Or(failed, err)
		text := err.Error()
		if name := filepath.Base(path); !strings.Contains(text, name) {
			text = name + ": " + text
		}
		s.integrity.Add(text, 0)
	}
	total := int64(0)
	for _, path := range paths {
		f, err := formAt(path)
		if err != nil {
			fail(path, err)
			continue
		}
		inputs = append(inputs, input{path, f})
		if info, err := os.Stat(path); err == nil {
			total += info.Size()
		}
	}
	// Text is read last: what XML and JSON have of the same times counts.
	slices.SortStableFunc(inputs, func(a, b input) int { return cmp.Compare(a.form, b.form) })
	done := int64(0)
	for i, in := range inputs {
		s.order = i
		if err := s.read(in.path, in.form); err != nil {
			fail(in.path, err)
		} else {
			s.files = append(s.files, filepath.Base(in.path))
		}
		if info, err := os.Stat(in.path); err == nil {
			done += info.Size()
		}
		if o.Progress != nil {
			o.Progress(done, total)
		}
	}
	if len(s.entries) == 0 {
		return nil, cmp.Or(failed, ErrFormat)
	}
	s.arrange()
	return s, nil
}

// read reads one file.
func (s *Set) read(path string, f form) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	switch f {
	case formXML:
		return s.readXML(source.UTF8Reader(file), filepath.Base(path))
	case formJSON:
		return s.readJSON(source.UTF8Reader(file), filepath.Base(path))
	case formText:
		return s.readText(source.UTF8Reader(file), filepath.Base(path))
	case formBinary:
		return s.readBinary(path)
	}
	return s.readHostFiles(file, filepath.Base(path))
}

func (s *Set) note(format string, args ...any) {
	const most = 64
	if text := fmt.Sprintf(format, args...); len(s.notes) < most && !slices.Contains(s.notes, text) {
		s.notes = append(s.notes, text)
	}
}

func (s *Set) assume(format string, args ...any) {
	const most = 16
	if text := fmt.Sprintf(format, args...); len(s.assumed) < most && !slices.Contains(s.assumed, text) {
		s.assumed = append(s.assumed, text)
	}
}

// host remembers a host, by its name.
func (s *Set) host(name string) {
	if !slices.Contains(s.hosts, name) {
		s.hosts = append(s.hosts, name)
	}
}

// add takes a value.
func (s *Set) add(at model.Time, span time.Duration, of series, value float64) {
	if math.IsNaN(value) || math.IsInf(value, 0) || at <= 0 || span < 0 {
		return
	}
	const mostSeries = 1 << 16
	if len(s.entries) >= s.most || len(s.series) >= mostSeries {
		s.left++
		return
	}
	id, ok := s.seriesOf[of]
	if !ok {
		id = uint32(len(s.series))
		s.series = append(s.series, of)
		s.seriesOf[of] = id
	}
	key := momentKey{at, span, s.order}
	m, ok := s.momentOf[key]
	if !ok {
		m = uint32(len(s.moments))
		s.moments = append(s.moments, moment(key))
		s.momentOf[key] = m
	}
	s.entries = append(s.entries, entry{m, id, value})
}

// arrange puts the values into the order of their times, each once.
func (s *Set) arrange() {
	slices.SortStableFunc(s.entries, func(a, b entry) int {
		x, y := &s.moments[a.moment], &s.moments[b.moment]
		return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(a.series, b.series), cmp.Compare(x.order, y.order))
	})
	s.entries = slices.CompactFunc(s.entries, func(a, b entry) bool {
		return a.series == b.series && s.moments[a.moment].at == s.moments[b.moment].at
	})
	last := model.Time(0)
	for _, e := range s.entries {
		if at := s.moments[e.moment].at; at != last {
			last = at
			s.samples++
		}
	}
	s.momentOf, s.seriesOf = nil, nil
}

// Span implements source.Seekable.
func (s *Set) Span() (start, end model.Time) {
	first, last := s.moments[s.entries[0].moment], s.moments[s.entries[len(s.entries)-1].moment]
	return first.at.Add(-first.span), last.at
}

// said notes the zone of a host's clock.
func (s *Set) said(host string, zone *time.Location) {
	s.differs = s.differs || s.local != nil && !sameZone(s.local, zone)
	s.local = zone
	name := shortName(host)
	if known, ok := s.zones[name]; ok && (known == nil || !sameZone(known, zone)) {
		zone = nil
	}
	s.zones[name] = zone
}

func sameZone(a, b *time.Location) bool {
	at := time.Unix(0, 0)
	return at.In(a).Format("-0700") == at.In(b).Format("-0700")
}

// shortName is the name of a host without its domain.
func shortName(host string) string {
	name, _, _ := strings.Cut(strings.ToLower(host), ".")
	return name
}

// LogZone returns the zone of the hosts' logs, nil where it is not known.
func (s *Set) LogZone() *time.Location {
	if s.differs {
		return nil
	}
	return s.local
}

// Close implements io.Closer.
func (s *Set) Close() error { return nil }

// Integrity implements source.Verified.
func (s *Set) Integrity() source.Integrity {
	i := s.integrity
	i.Unit, i.Read = "sample", s.samples
	return i
}

// Assumed says what was assumed of the times, a sentence each.
func (s *Set) Assumed() []string { return s.assumed }

// Notes says what else was found, a sentence each.
func (s *Set) Notes() []string { return append(slices.Clone(s.assumed), s.notes...) }

// Run implements source.Source.
func (s *Set) Run(ctx context.Context, emit source.Emit) error { return s.RunFrom(ctx, 0, emit) }

// batchEvents is how many events a batch has.
const batchEvents = 4096

// RunFrom implements source.Seekable. Values are all that there is: there is no state before t but the descriptions.
func (s *Set) RunFrom(ctx context.Context, t model.Time, emit source.Emit) error {
	first, _ := slices.BinarySearchFunc(s.entries, t, func(e entry, t model.Time) int {
		return cmp.Compare(s.moments[e.moment].at, t)
	})
	if first == len(s.entries) {
		first--
	}
	flags := model.Flags(0)
	if first > 0 {
		flags = model.FlagKeyframe
	}
	var b model.Builder
	s.describe(&b, s.moments[s.entries[first].moment].at, flags)
	for n, e := range s.entries[first:] {
		m, of := s.moments[e.moment], &s.series[e.series]
		host := ""
		if len(s.hosts) > 1 {
			host = of.host
		}
		b.AddCounter(model.Counter{
			Time: m.at, Dur: m.span, CPU: of.cpu, Value: e.value, Mode: of.mode, Name: of.name, Instance: of.instance,
			Unit: of.unit, Host: host,
		})
		if b.Len() >= batchEvents {
			if err := emit(b.Take()); err != nil {
				return err
			}
			if n%(1<<14) < batchEvents && ctx.Err() != nil {
				return nil
			}
		}
	}
	if s.left > 0 {
		_, end := s.Span()
		b.AddLoss(model.Loss{
			Time: end, CPU: -1, Lost: s.left, Origin: model.OriginMemory, Detail: "values beyond the memory for counters",
		})
	}
	if b.Len() > 0 {
		return emit(b.Take())
	}
	return nil
}

// describe adds what the files say of their host.
func (s *Set) describe(b *model.Builder, at model.Time, flags model.Flags) {
	meta := func(key, value string) {
		if value != "" {
			b.AddMeta(model.Meta{Time: at, Flags: flags, Key: key, Value: value})
		}
	}
	if len(s.hosts) == 1 {
		meta("host", s.hosts[0])
		meta("kernel", s.kernels[s.hosts[0]])
	}
	meta("os", "linux")
	const most = 4
	name := strings.Join(s.files[:min(len(s.files), most)], ", ")
	if more := len(s.files) - most; more > 0 {
		name += fmt.Sprintf(" and %d more", more)
	}
	meta("source", "counters of "+name)
	if len(s.assumed) > 0 {
		meta("assumed", strings.Join(s.assumed, "; "))
	}
	for _, f := range s.facts {
		if len(s.hosts) == 1 {
			meta(f.key, f.value)
		}
	}
	b.AddClock(model.Clock{Time: at, Flags: flags, Wall: at})
}

// fact keeps something that a bundle says of its host.
func (s *Set) fact(host, key, value string) {
	const most = 256
	f := fact{host, key, value}
	if len(s.facts) < most && !slices.Contains(s.facts, f) {
		s.facts = append(s.facts, f)
	}
}

// damaged notes that a file breaks off.
func (s *Set) damaged(name string, err error) {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		s.integrity.Add(name+" ends in the middle", 0)
		return
	}
	s.integrity.Add(fmt.Sprintf("%s: %v", name, err), 0)
}
