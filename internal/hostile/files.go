package hostile

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"lostbeat/model"
	"lostbeat/record/recordpb"
)

// File is one hostile file.
type File struct {
	// Name has the extension of its format.
	Name string
	// Data makes its content.
	Data func() []byte
}

// many is the number of events of a recording: more than a reader may make of
// some kilobytes.
const many = 600_000

// names returns n different strings of the given length at least.
func names(n, length int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%0*d", length, i)
	}
	return out
}

// all is a table of n events of one kind in which everything that can name
// something names another thing each time.
func all(spec *model.Spec, n int, step time.Duration, texts []string) table {
	t := table{kind: spec.Kind, n: n, step: step, strings: texts}
	arg := func(f *model.Field, field recordpb.Field) {
		switch f.Unit {
		case model.UnitEnum:
			t.columns = append(t.columns, cycling(field, n, len(f.Enum.Names)))
		case model.UnitNanoseconds:
			t.columns = append(t.columns, constant(field, 5e9))
		case model.UnitBool, model.UnitFloat, model.UnitTime:
			t.columns = append(t.columns, constant(field, 1))
		default:
			t.columns = append(t.columns, counting(field, n, 1))
		}
	}
	for i := range spec.Args {
		arg(&spec.Args[i], recordpb.Field_FIELD_ARG0+recordpb.Field(i))
	}
	for i := range spec.Strings {
		t.columns = append(t.columns, cycling(recordpb.Field_FIELD_STRING0+recordpb.Field(i), n, max(1, len(texts)-i)))
	}
	if spec.Resource.Name != "" {
		t.columns = append(t.columns, counting(recordpb.Field_FIELD_RESOURCE, n, 1))
	}
	if spec.CPU {
		t.columns = append(t.columns, cycling(recordpb.Field_FIELD_CPU, n, 8000))
	}
	if spec.Task {
		t.columns = append(t.columns, counting(recordpb.Field_FIELD_PID, n, 1))
	}
	if spec.Netns {
		t.columns = append(t.columns, counting(recordpb.Field_FIELD_NETNS, n, 1))
	}
	if spec.Span != "" {
		t.columns = append(t.columns, constant(recordpb.Field_FIELD_DURATION, uint64(time.Second)))
	}
	return t
}

// Files returns the files.
func Files() []File {
	var files []File
	add := func(name string, data func() []byte) { files = append(files, File{name, data}) }
	recorded := func(name string, tables func() []table) {
		add(name+".lostbeat", func() []byte {
			r := newRecording()
			r.add(tables()...)
			return r.done()
		})
	}
	for i := range model.Specs {
		spec := &model.Specs[i]
		name := strings.ReplaceAll(spec.Name, ".", "-")
		recorded("kind-"+name, func() []table { return []table{all(spec, many, 20*time.Microsecond, names(50_000, 10))} })
		switch spec.Kind {
		case model.KindDeferredHist, model.KindDrop, model.KindSocketQueue, model.KindPortAcquire, model.KindPortFail,
			model.KindDeviceStats, model.KindCounter, model.KindPacket, model.KindProcess, model.KindDeviceEvent:
			for _, step := range []time.Duration{time.Second, 119 * time.Second} {
				recorded(fmt.Sprintf("kind-%s-%v", name, step), func() []table {
					return []table{
						all(spec, 100_000, 20*time.Microsecond, names(20_000, 10)),
						all(spec, many, step, names(20_000, 10)),
					}
				})
			}
		}
	}
	recordings(add, recorded)
	texts(add)
	traces(add)
	logs(add)
	return files
}

func recordings(add func(string, func() []byte), recorded func(string, func() []table)) {
	field := func(i int) recordpb.Field { return recordpb.Field_FIELD_ARG0 + recordpb.Field(i) }
	run := func(n int, step time.Duration, more ...column) table {
		return table{kind: model.KindDeferredRun, n: n, step: step, columns: more}
	}
	recorded("negative-durations", func() []table {
		return []table{run(many, time.Millisecond, column{
			recordpb.Field_FIELD_DURATION, recordpb.Encoding_ENCODING_ZIGZAG, []byte{3},
		})}
	})
	recorded("long-durations", func() []table {
		soft := table{kind: model.KindSoftnet, n: 3000, step: time.Second, columns: []column{
			constant(recordpb.Field_FIELD_DURATION, 1e18), cycling(recordpb.Field_FIELD_CPU, 3000, 8000),
		}}
		return []table{soft}
	})
	recorded("centuries", func() []table {
		t := run(many, 200*365*24*time.Hour, constant(recordpb.Field_FIELD_CPU, 0))
		t.first = -1 << 62
		return []table{t}
	})
	recorded("two-centuries", func() []table {
		a, b := run(10, time.Second), run(10, time.Second)
		a.first, b.first = model.Time(time.Second), model.Time(200*365*24*time.Hour)
		return []table{a, b}
	})
	recorded("back-and-forth", func() []table {
		var list []table
		for i := range 60 {
			t := run(2, time.Second, constant(recordpb.Field_FIELD_CPU, 0))
			t.first = start + model.Time(i%2)*model.Time(100*365*24*time.Hour)
			list = append(list, t)
		}
		return list
	})
	recorded("late-runs", func() []table {
		return []table{run(many, time.Millisecond,
			cycling(recordpb.Field_FIELD_CPU, many, 8000), constant(field(1), 1e10),
			constant(recordpb.Field_FIELD_DURATION, 1e10), constant(field(0), 1))}
	})
	recorded("pool-flips", func() []table {
		ports := all(model.SpecOf(model.KindPortAcquire), 120_000, time.Microsecond, names(10, 3))
		pools := table{kind: model.KindPortPool, n: many, step: time.Microsecond, columns: []column{
			constant(field(0), 2), cycling(field(1), many, 2), constant(field(2), 65535), constant(field(3), 65535),
		}}
		return []table{ports, pools}
	})
	recorded("renames", func() []table {
		text := []string{"a", "b", model.DeviceRenamed}
		str := recordpb.Field_FIELD_STRING0
		queues := all(model.SpecOf(model.KindDeviceQueue), 60_000, time.Microsecond, text)
		queues.columns = append(queues.columns, constant(str, 1), constant(recordpb.Field_FIELD_NETNS, 1),
			constant(recordpb.Field_FIELD_RESOURCE, 7))
		renames := table{kind: model.KindDeviceEvent, n: many, step: time.Microsecond, strings: text, columns: []column{
			constant(recordpb.Field_FIELD_NETNS, 1), constant(recordpb.Field_FIELD_RESOURCE, 7),
			cycling(str, many, 3), constant(str+1, 3), cycling(str+2, many, 2),
		}}
		return []table{queues, renames}
	})
	recorded("giant-strings", func() []table {
		t := all(model.SpecOf(model.KindProcess), 32, time.Second, nil)
		for i := range 32 {
			t.strings = append(t.strings, strings.Repeat(string(rune('a'+i)), 1<<20-1))
		}
		t.columns = append(t.columns, cycling(recordpb.Field_FIELD_STRING0, 32, 32))
		return []table{t}
	})
	recorded("findings", func() []table {
		t := table{kind: model.KindFinding, n: 20_000, step: time.Second, columns: []column{
			constant(recordpb.Field_FIELD_FLAGS, uint64(model.FlagDerived)),
			cycling(recordpb.Field_FIELD_STRING0, 20_000, 20_000), cycling(recordpb.Field_FIELD_STRING0+1, 20_000, 20_000),
			cycling(recordpb.Field_FIELD_STRING0+2, 20_000, 20_000),
			cycling(recordpb.Field_FIELD_STRING0+3, 20_000, 20_000),
		}}
		for i := range 20_000 {
			t.strings = append(t.strings, fmt.Sprintf(
				`{"id":"x/%d","detector":"x","title":"%s","causes":["%s"]}`, i, strings.Repeat("t", 500), strings.Repeat("c", 700)))
		}
		return []table{t}
	})
	recorded("stacks", func() []table {
		t := all(model.SpecOf(model.KindPortAcquire), 60_000, time.Millisecond, names(10, 3))
		addrs := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), bytes.Repeat([]byte{1}, 16))
		for range 60_000 {
			t.stacks = append(t.stacks, addrs)
		}
		t.columns = append(t.columns, cycling(recordpb.Field_FIELD_STACK, 60_000, 60_000))
		return []table{t}
	})
	recorded("histograms", func() []table {
		const n = 100_000
		packed := func(num protowire.Number, b []byte) []byte {
			return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), b)
		}
		t := all(model.SpecOf(model.KindDeferredHist), n, time.Millisecond, names(100, 3))
		for num := protowire.Number(1); num <= 6; num++ {
			t.hists = append(t.hists, packed(num, bytes.Repeat([]byte{1}, n))...)
		}
		t.columns = append(t.columns, cycling(recordpb.Field_FIELD_HISTOGRAM0, n, n),
			cycling(recordpb.Field_FIELD_HISTOGRAM0+1, n, n))
		return []table{t}
	})
	recorded("counter-samples", func() []table {
		text := []string{"Processor/% DPC Time", "1"}
		t := table{kind: model.KindCounter, n: many, step: time.Millisecond, strings: text, columns: []column{
			cycling(recordpb.Field_FIELD_CPU, many, 8000), constant(recordpb.Field_FIELD_STRING0, 1),
			constant(recordpb.Field_FIELD_STRING0+1, 2), constant(field(0), 1),
		}}
		return []table{t}
	})
	add("small-blocks.lostbeat", func() []byte {
		r := newRecording()
		for i := range 20_000 {
			t := run(1, time.Second)
			t.first = start + model.Time(i)*model.Time(time.Second)
			r.add(t)
		}
		return r.done()
	})
	add("bombs.lostbeat", func() []byte {
		r := newRecording()
		fields := protowire.AppendBytes(protowire.AppendTag(nil, 15, protowire.BytesType), make([]byte, 30<<20))
		for range 40 {
			r.block(&recordpb.Summary{StartNs: uint64(start), EndNs: uint64(start), Events: 1, Keyframe: true}, fields)
		}
		return r.done()
	})
	add("unknown-fields.lostbeat", func() []byte {
		r := newRecording()
		fields := bytes.Repeat([]byte{15 << 3, 1}, 15<<20)
		for range 40 {
			r.block(&recordpb.Summary{StartNs: uint64(start), EndNs: uint64(start), Events: 1, Keyframe: true}, fields)
		}
		return r.done()
	})
	add("index.lostbeat", func() []byte {
		r := newRecording()
		r.add(run(10, time.Second))
		return r.doneWith(bytes.Repeat([]byte{1<<3 | 2, 0}, 15<<20))
	})
	add("unread-index.lostbeat", func() []byte { // a file that was not closed, of many frames
		r := newRecording()
		for range 30_000 {
			r.frame([]byte{1})
		}
		return r.out
	})
	add("header.lostbeat", func() []byte {
		r := newRecording()
		r.out, r.sizes = nil, nil
		r.frame(envelope(2, append([]byte{1 << 3, 1}, bytes.Repeat([]byte{7<<3 | 2, 0}, 15<<20)...)))
		r.add(run(10, time.Second))
		return r.done()
	})
	add("summaries.lostbeat", func() []byte {
		r := newRecording()
		s := &recordpb.Summary{StartNs: uint64(start), EndNs: uint64(start), Events: 1 << 62, Lost: 1 << 63}
		for i := range 20_000 {
			s.Kinds = append(s.Kinds, &recordpb.KindCount{Kind: uint32(i), Count: 1 << 62})
		}
		for range 50 {
			r.block(s, nil)
		}
		return r.done()
	})
}

func texts(add func(string, func() []byte)) {
	line := func(b *bytes.Buffer, at time.Time, rest string) {
		b.WriteString(at.UTC().Format("2006-01-02T15:04:05.000000000Z07:00"))
		b.WriteByte(' ')
		b.WriteString(rest)
		b.WriteByte('\n')
	}
	begin := start.Std()
	add("span.txt", func() []byte {
		var b bytes.Buffer
		for _, year := range []int{1692, 1970, 1971, 2199, 2262} {
			line(&b, time.Date(year, 3, 1, 0, 0, 0, 0, time.UTC),
				"deferred.run dur=1.9ms cpu=0 pid=15 tid=15 class=softirq wait=12us vector=3 name=NET_RX")
		}
		return b.Bytes()
	})
	add("decades.txt", func() []byte {
		var b bytes.Buffer
		for i := range 20_000 {
			line(&b, begin.Add(time.Duration(i)*24*time.Hour/3),
				fmt.Sprintf("drop place=socket reason=r%d count=1 resource=%d pid=%d", i, i+1, i+1))
		}
		return b.Bytes()
	})
	add("long-lines.txt", func() []byte {
		var b bytes.Buffer
		for i := range 40 {
			line(&b, begin.Add(time.Duration(i)*time.Second),
				fmt.Sprintf("process pid=%d tid=%d state=active name=%q", i+1, i+1, strings.Repeat("x", 1<<20)))
		}
		return b.Bytes()
	})
	add("endless-line.txt", func() []byte {
		var b bytes.Buffer
		line(&b, begin, "meta key=host value=x")
		line(&b, begin, "meta key=host value="+strings.Repeat("x", 20<<20))
		return b.Bytes()
	})
	add("names.txt", func() []byte {
		var b bytes.Buffer
		for i := range 60_000 {
			line(&b, begin.Add(time.Duration(i)*time.Millisecond), fmt.Sprintf(
				"process pid=%d tid=%d state=active name=%s", i+1, i+1, strings.Repeat("n", 300)+fmt.Sprint(i)))
		}
		return b.Bytes()
	})
}
