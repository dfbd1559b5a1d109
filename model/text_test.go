package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"lostbeat/internal/testutil/fuzztest"
)

// everyKind returns a batch with an event of every kind, every field of it filled.
func everyKind() *Batch {
	var builder Builder
	for n, s := range Specs {
		add := reflect.ValueOf(&builder).MethodByName("Add" + s.View)
		v := reflect.New(add.Type().In(0)).Elem()
		for i := range v.NumField() {
			fill(v.Field(i), i+1)
		}
		v.FieldByName("Time").SetInt(1_795_356_189_000_000_000 + int64(n))
		v.FieldByName("Flags").SetUint(uint64(FlagDerived))
		add.Call([]reflect.Value{v})
	}
	return builder.Take()
}

func TestTextGolden(t *testing.T) {
	for _, line := range []string{
		`2026-11-22T14:03:09.000000000Z meta key=kernel value="6.18.0 #1 SMP"`,
		`2026-11-22T14:03:09.000000001Z clock boot=1h0m0.000000001s mono=59m59s wall=2026-11-22T14:03:09.000000500Z ` +
			`bracket=120ns`,
		`2026-11-22T14:03:09.500000000Z loss dur=1s cpu=3 lost=12 origin=ringbuf detail=deferred`,
		`2026-11-22T14:03:09.500000000Z counter value=0.1 mode=rate name=Udp.RcvbufErrors unit=packets`,
		`2026-11-22T14:03:09.500000000Z counter value=bits:0x7ff8000000000002 name=odd`,
		`2026-11-22T14:03:10.000000000Z deferred.hist dur=1s cpu=0 class=softirq count=3 busy=6us max_run=2.1us ` +
			`name=NET_RX run=3/6us/2.1us[1.792us:1,2.048us:2]`,
		`2026-11-22T14:03:10.000000000Z deferred.run dur=1.9ms cpu=0 pid=812 tid=812 class=softirq vector=3 name=NET_RX ` +
			`task=ksoftirqd/0 flags=wait_unknown,inclusive`,
		`2026-11-22T14:03:10.000000000Z drop dur=1s cpu=2 pid=44 tid=44 netns_inode=4026531840 ` +
			`cookie=0xbeef place=socket count=9 protocol=udp local_port=5060 queue=-1 reason=SOCKET_RCVBUFF process=asterisk`,
		`2026-11-22T14:03:10.000000000Z port.acquire pid=7 tid=7 cookie=0x1 protocol=udp local_port=40000 how=bind_any ` +
			`local_addr=:: process="a b" stack=0x10:main,0x20:"std::map<int, int>::at",:top,0x0`,
		`2026-11-22T14:03:10.000000000Z process pid=7 tid=7 state=started name="\x1b[31mred" cmdline="\u202eabc\xff"`,
		`2026-11-22T14:03:10.000000000Z kind(4711) dur=5ns cpu=1 resource=9 arg0=1 arg5=18446744073709551615 str3=x ` +
			`hist1=1/18446744073709551615ns/0s[#250:1] flags=derived,0x8000`,
		`1970-01-01T00:00:00.000000000Z softnet cpu=0 dropped=1 flags=keyframe`,
	} {
		var b Builder
		if err := ParseText(&b, line); err != nil {
			t.Errorf("%s\n%v", line, err)
			continue
		}
		batch := b.Take()
		if got := string(AppendText(nil, batch, &batch.Events[0])); got != line {
			t.Errorf("got  %s\nwant %s", got, line)
		}
	}
}

func TestTextRoundTrip(t *testing.T) {
	want := everyKind()
	var b Builder
	for i := range want.Events {
		line := string(AppendText(nil, want, &want.Events[i]))
		if err := ParseText(&b, line); err != nil {
			t.Fatalf("%s\n%v", line, err)
		}
	}
	if got := b.Take(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestParseTextFaults(t *testing.T) {
	const at = "2026-11-22T14:03:09.000000000Z "
	for line, offset := range map[string]int{
		"":                                         0,
		"yesterday meta key=x":                     0,
		"9999-01-01T00:00:00Z meta":                0,
		at:                                         31,
		at + "nothing":                             31,
		at + "kind(70000)":                         31,
		at + "meta key":                            36,
		at + "meta key=a key=b":                    42,
		at + `meta key="a`:                         36,
		at + `meta key=a"b"`:                       36,
		at + "meta lost=1":                         36,
		at + "meta  key=a":                         36,
		at + "loss lost=many":                      36,
		at + "loss cpu=99999999999":                36,
		at + "loss dur=1":                          36,
		at + "deferred.run class=other":            44,
		at + "deferred.run routine=10":             44,
		at + "deferred.run flags=new":              44,
		at + "deferred.run flags=0x10000":          44,
		at + "deferred.hist run=1":                 45,
		at + "deferred.hist run=1/1ns/1ns[":        45,
		at + "deferred.hist run=1/1ns/1ns[1":       45,
		at + "deferred.hist run=1/1ns/1ns[65ns:1]": 45,
		at + "deferred.hist run=1/-1ns/1ns[]":      45,
		at + "port.acquire stack=main":             44,
		at + "port.acquire stack=":                 44,
		at + `port.acquire stack=:"a"b`:            44,
		at + "finding ongoing=perhaps":             39,
		at + "drop netns_inode=4294967296":         36,
	} {
		var b Builder
		err := ParseText(&b, line)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || syntax.Offset != offset {
			t.Errorf("%q: %v, want an error at byte %d", line, err, offset)
		}
		if b.Take() != nil {
			t.Errorf("%q: an event was added", line)
		}
	}
}

func FuzzParseText(f *testing.F) {
	fuzztest.Quick(f)
	batch := everyKind()
	for i := range batch.Events {
		f.Add(string(AppendText(nil, batch, &batch.Events[i])))
	}
	f.Add(
		`2026-11-22T14:03:10.000000000Z kind(4711) arg5=1 str3="\x00" hist1=1/18446744073709551615ns/0s[#250:1] stack=:a,` +
			`0x0 flags=0x8000`,
	)
	f.Fuzz(func(t *testing.T, line string) {
		var b Builder
		if ParseText(&b, line) != nil {
			return
		}
		first := b.Take()
		text := AppendText(nil, first, &first.Events[0])
		if bytes.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f }) && !bytes.ContainsRune(text, '"') {
			t.Errorf("unquoted control characters: %q", text)
		}
		if err := ParseText(&b, string(text)); err != nil {
			t.Fatalf("%q gives %q: %v", line, text, err)
		}
		second := b.Take()
		if again := AppendText(nil, second, &second.Events[0]); !bytes.Equal(again, text) {
			t.Errorf("%q\nbecomes %q", text, again)
		}
		var object map[string]any
		out := AppendJSON(nil, first, &first.Events[0])
		if err := json.Unmarshal(out, &object); err != nil {
			t.Errorf("%s: %v", out, err)
		}
		if bytes.ContainsFunc(out, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x202e }) {
			t.Errorf("control characters in %q", out)
		}
	})
}

func TestJSON(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`2026-11-22T14:03:09.000000000Z deferred.run dur=1.9ms cpu=0 pid=8 tid=9 class=softirq wait=12us routine=0xff ` +
			`vector=3 name=NET_RX task="k\x1b[0\u202e\"s" flags=inclusive,0x8000`,
			`{"time":"2026-11-22T14:03:09.000000000Z","kind":"deferred.run","flags":["inclusive","0x8000"],"dur_ns":1900000,` +
				`"cpu":0,"pid":8,"tid":9,"class":"softirq","wait_ns":12000,"exclusive_ns":0,"routine":"0xff","vector":3,` +
				`"name":"NET_RX","driver":"","task":"k\u001b[0\u202e\"s","before":""}`},
		{`2026-11-22T14:03:09.000000000Z deferred.hist dur=1s cpu=1 class=dpc count=3 busy=6us max_run=2.1us ` +
			`name=ndis.sys!x run=3/6us/2.1us[1.792us:1,2.048us:2]`,
			`{"time":"2026-11-22T14:03:09.000000000Z","kind":"deferred.hist","dur_ns":1000000000,"cpu":1,"class":"dpc",` +
				`"count":3,"busy_ns":6000,"max_wait_ns":0,"max_run_ns":2100,"raised":0,"name":"ndis.sys!x","driver":"",` +
				`"wait":null,"run":{"count":3,"sum_ns":6000,"max_ns":2100,"p50_ns":2100,"p90_ns":2100,"p99_ns":2100,` +
				`"buckets":[{"low_ns":1792,"high_ns":2048,"count":1},{"low_ns":2048,"high_ns":2560,"count":2}]}}`},
		{`2026-11-22T14:03:09.000000000Z kind(99) cpu=1 arg2=7 str1="\xff" stack=0x1:f`,
			`{"time":"2026-11-22T14:03:09.000000000Z","kind":"kind(99)","cpu":1,"arg2":7,"str1":"\ufffd",` +
				`"stack":[{"addr":"0x1","name":"f"}]}`},
		{`2026-11-22T14:03:09.000000000Z finding severity=warning ongoing=true id=a detector=b title="c" body="{ ` +
			`\"id\":\"\u202e\",\n\"x\":1}"`,
			`{"time":"2026-11-22T14:03:09.000000000Z","kind":"finding","dur_ns":0,"severity":"warning","ongoing":true,` +
				`"id":"a","detector":"b","title":"c","body":{"id":"\u202e","x":1}}`},
		{`2026-11-22T14:03:09.000000000Z process pid=1 tid=1 state=active name="𝄞\U000E0001"`,
			`{"time":"2026-11-22T14:03:09.000000000Z","kind":"process","pid":1,"tid":1,"state":"active","ppid":0,` +
				`"started":null,"ended":"unknown","end_code":0,"name":"𝄞\udb40\udc01","cmdline":"","cgroup":"","unit":""}`},
	} {
		var b Builder
		if err := ParseText(&b, c.text); err != nil {
			t.Fatal(err)
		}
		batch := b.Take()
		got := AppendJSON(nil, batch, &batch.Events[0])
		if string(got) != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
		if !json.Valid(got) {
			t.Errorf("not JSON: %s", got)
		}
	}
}

// TestJSONKeys checks that every kind has every one of its fields.
func TestJSONKeys(t *testing.T) {
	batch := everyKind()
	for i := range batch.Events {
		e := &batch.Events[i]
		var object map[string]any
		if err := json.Unmarshal(AppendJSON(nil, batch, e), &object); err != nil {
			t.Fatal(err)
		}
		s := SpecOf(e.Kind)
		for _, f := range append(append(append([]Field{}, s.Args...), s.Strings...), s.Hists...) {
			if _, ok := object[f.Name]; !ok {
				t.Errorf("%s: no key %s", s.Name, f.Name)
			}
		}
	}
}

func TestJSONNumbers(t *testing.T) {
	var b Builder
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		b.AddCounter(Counter{CPU: -1, Value: v})
	}
	batch := b.Take()
	for i := range batch.Events {
		if out := string(AppendJSON(nil, batch, &batch.Events[i])); !strings.Contains(out, `"value":null`) {
			t.Error(out)
		}
	}
}

func BenchmarkAppendText(b *testing.B) {
	batch := everyKind()
	e := &batch.Events[8]
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendText(buf[:0], batch, e)
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	batch := everyKind()
	e := &batch.Events[8]
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendJSON(buf[:0], batch, e)
	}
}
