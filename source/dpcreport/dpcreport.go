package dpcreport

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"lostbeat/internal/hint"
	"lostbeat/model"
	"lostbeat/source"
)

// FormatName is the name of the format.
const FormatName = "dpc report"

// Reports is the format of reports about DPCs and interrupts.
func Reports() source.Format {
	return source.Format{
		Name:           FormatName,
		Sniff:          Detect,
		BytesPerSecond: 20 << 20,
		OwnProgress:    true, // it is short
		Open: func(path string, _ source.OpenOptions) (source.File, error) {
			f, err := Open(path)
			if err != nil {
				return nil, err
			}
			return f, nil
		},
	}
}

// File is a report that was read.
type File struct {
	report
	start, end model.Time
}

var (
	_ source.File     = (*File)(nil)
	_ source.Verified = (*File)(nil)
)

// Open reads a report.
func Open(path string) (*File, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	f := &File{}
	if err := f.read(in); err != nil {
		return nil, err
	}
	if !f.known() {
		return nil, hint.New("it is not a report of xperf -a dpcisr or LatencyMon",
			"xperf -i trace.etl -o dpcisr.txt -a dpcisr; better, give trace.etl itself")
	}
	// What the intervals are relative to is not said.
	f.end = source.PlausibleTime(model.TimeOf(info.ModTime()))
	f.end -= f.end % model.Time(time.Second)
	f.start = max(0, f.end.Add(-max(f.span, time.Second)))
	slices.SortStableFunc(f.seconds, func(a, b second) int {
		return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.cpu, b.cpu))
	})
	return f, nil
}

// Close implements io.Closer.
func (f *File) Close() error { return nil }

// Span implements source.Seekable.
func (f *File) Span() (start, end model.Time) { return f.start, f.end }

// Integrity implements source.Verified.
func (f *File) Integrity() source.Integrity {
	i := source.Integrity{Unit: "value", Read: uint64(len(f.totals) + len(f.seconds))}
	if f.long > 0 {
		i.Add(fmt.Sprintf("%d of its lines are longer than %d KiB and were not read", f.long, maxLine>>10), 0)
	}
	return i
}

// Assumed says what the report leaves open.
func (f *File) Assumed() []string {
	return []string{"the report has no times of day: it is taken to end when the file was written last"}
}

// Notes says what of the report no detector reads, for people.
func (f *File) Notes() (notes []string) {
	notes = append(notes, f.notes...)
	runs := slices.Clone(f.runs)
	slices.SortStableFunc(runs, func(a, b longest) int { return cmp.Compare(b.to, a.to) })
	const shown = 6
	for _, l := range runs[:min(shown, len(runs))] {
		what := "DPC"
		if l.isr {
			what = "ISR"
		}
		notes = append(notes, fmt.Sprintf("%s: its longest %s took between %v and %v (%d in that class)", l.driver, what,
			l.over, l.to, l.runs))
	}
	return append(notes,
		"how long a DPC or ISR took says nothing of what was lost: compare the times of a gap or of drops")
}

// Run implements source.Source.
func (f *File) Run(ctx context.Context, emit source.Emit) error { return f.RunFrom(ctx, 0, emit) }

// RunFrom implements source.Seekable.
func (f *File) RunFrom(ctx context.Context, t model.Time, emit source.Emit) error {
	var b model.Builder
	f.describe(&b, max(f.start, min(t, f.end)), t > f.start)
	for _, s := range f.seconds {
		at := f.start.Add(s.end)
		if at < t {
			continue
		}
		name := nameDPC
		if s.isr {
			name = nameISR
		}
		b.AddCounter(model.Counter{
			Time: min(at, f.end), Dur: s.end - s.start, CPU: s.cpu, Value: s.share, Mode: model.CounterShare, Name: name,
			Instance: strconv.Itoa(int(s.cpu)), Unit: "ratio",
		})
		if b.Len() >= 4096 {
			if err := emit(b.Take()); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return nil
			}
		}
	}
	for _, s := range f.totals {
		b.AddCounter(model.Counter{
			Time: f.end, CPU: s.cpu, Value: s.value, Mode: model.CounterTotal, Name: s.name, Instance: s.driver,
			Unit: s.unit,
		})
	}
	if f.left > 0 {
		b.AddLoss(model.Loss{
			Time: f.end, CPU: -1, Lost: f.left, Origin: model.OriginMemory, Detail: "values beyond the bounds of a report",
		})
	}
	if last := b.Take(); last != nil {
		return emit(last)
	}
	return nil
}

// describe adds what begins a stream.
func (f *File) describe(b *model.Builder, at model.Time, keyframe bool) {
	flags := model.Flags(0)
	if keyframe {
		flags = model.FlagKeyframe
	}
	meta := func(key, value string) { b.AddMeta(model.Meta{Time: at, Flags: flags, Key: key, Value: value}) }
	meta("os", "windows")
	if f.cpus > 0 {
		meta("cpus", strconv.Itoa(int(f.cpus)))
	}
	from, why := "LatencyMon", "sums over the whole report, without times"
	if f.xperf {
		from = "xperf -a dpcisr"
		why = "shares of single seconds for each CPU; drivers only as sums over the whole report"
	}
	meta("source", from)
	b.AddClock(model.Clock{Time: at, Flags: flags, Wall: at})
	for _, name := range []string{"deferred", "interrupt"} {
		b.AddProbe(model.Probe{Time: at, Flags: flags, State: model.ProbeDegraded, Name: name, Reason: why})
	}
	for _, name := range []string{"drop", "port"} {
		b.AddProbe(model.Probe{
			Time: at, Flags: flags, State: model.ProbeOff, Name: name, Reason: "a report about DPCs does not show it",
		})
	}
}
