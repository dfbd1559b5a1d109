package eventlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"lostbeat/internal/testutil"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
	"lostbeat/source"

	"golang.org/x/text/encoding/unicode"
)

// written is an entry of a log that a test writes.
type written struct {
	provider string
	id       int
	at       time.Time
	data     []datum
	message  string
}

var noon = time.Date(2026, 11, 14, 11, 20, 2, 117_000_000, time.UTC)

// incident is a log with the entries of an incident, and one that bears on nothing.
var incident = []written{
	{"Tcpip", 4231, noon, []datum{{"", ""}}, "A request to allocate an ephemeral port number failed."},
	{"Service Control Manager", 7036, noon.Add(time.Second), []datum{{"param1", "Spooler"}},
		"The Print Spooler service\n, so."},
	{"Microsoft-Windows-FailoverClustering", 1135, noon.Add(29 * time.Second), []datum{{"NodeName", "NODE-B"}},
		"Cluster node 'NODE-B' was removed from the active failover cluster membership."},
	{"e1iexpress", 27, noon.Add(30 * time.Second), []datum{{"", `\Device\NDMP1`}, {"", "Intel(R) 82574L"}},
		"Link of 'Intel(R) 82574L' is lost."},
	{"Microsoft-Windows-Kernel-General", 1, noon.Add(40 * time.Second), []datum{{"NewTime", "2026-11-14T11:20:42Z"},
		{"OldTime", "2026-11-14T11:20:12Z"}}, "The system time has changed to \u200e2026\u200e-11\u200e-14T11:20:42Z from " +
		"2026-11-14T11:20:12Z."},
}

// want is what the incident becomes, without the log's name.
var want = []string{
	"11:20:02.117 tcp_ports_out 4231 Tcpip [] 0s NODE-A",
	"11:20:31.117 node_removed 1135 Microsoft-Windows-FailoverClustering [NODE-B] 0s NODE-A",
	"11:20:32.117 link_down 27 e1iexpress [Intel(R) 82574L] 0s NODE-A",
	"11:20:42.117 clock_set 1 Microsoft-Windows-Kernel-General [] 30s NODE-A",
}

// xmlOf is the output of wevtutil qe /f:xml.
func xmlOf(list []written) string {
	var b strings.Builder
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", "'", "&apos;").Replace
	for i, e := range list {
		fmt.Fprintf(&b, "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='%s'/>"+
			"<EventID Qualifiers='32768'>%d</EventID><Level>3</Level><TimeCreated SystemTime='%s'/><EventRecordID>%d"+
			"</EventRecordID><Channel>System</Channel><Computer>NODE-A</Computer></System><EventData>", escape(e.provider),
			e.id, e.at.Format("2006-01-02T15:04:05.0000000Z"), 70112+i)
		for _, d := range e.data {
			name := ""
			if d.name != "" {
				name = " Name='" + d.name + "'"
			}
			fmt.Fprintf(&b, "<Data%s>%s</Data>", name, escape(d.value))
		}
		b.WriteString("</EventData></Event>\r\n")
	}
	return b.String()
}

// csvOf is the output of Get-WinEvent | Export-Csv.
func csvOf(list []written, layout, separator string) string {
	var b strings.Builder
	line := func(cells ...string) {
		for i, c := range cells {
			if i > 0 {
				b.WriteString(separator)
			}
			b.WriteString(`"` + strings.ReplaceAll(c, `"`, `""`) + `"`)
		}
		b.WriteString("\r\n")
	}
	b.WriteString("#TYPE System.Diagnostics.Eventing.Reader.EventLogRecord\r\n")
	line("Message", "Id", "ProviderName", "LevelDisplayName", "TimeCreated", "RecordId", "MachineName")
	for i, e := range list {
		line(e.message, fmt.Sprint(e.id), e.provider, "Warning", e.at.Format(layout), fmt.Sprint(i), "NODE-A")
	}
	return b.String()
}

// evtxWriter writes one chunk of an .evtx file, whose records share one template.
type evtxWriter struct {
	b     []byte
	names map[string]int
	// template is where its definition is, 0 before it.
	template int
}

func (w *evtxWriter) u16(v int) { w.b = binary.LittleEndian.AppendUint16(w.b, uint16(v)) }
func (w *evtxWriter) u32(v int) { w.b = binary.LittleEndian.AppendUint32(w.b, uint32(v)) }

func wide(s string) (out []byte) {
	for _, c := range utf16.Encode([]rune(s)) {
		out = binary.LittleEndian.AppendUint16(out, c)
	}
	return out
}

// name writes a name, or the place of the same one before it.
func (w *evtxWriter) name(s string) {
	if at, ok := w.names[s]; ok {
		w.u32(at)
		return
	}
	w.u32(len(w.b) + 4)
	w.names[s] = len(w.b)
	w.u32(0)
	w.u16(0)
	w.u16(len(s))
	w.b = append(append(w.b, wide(s)...), 0, 0)
}

// element begins an element of a template.
func (w *evtxWriter) element(name string, attributes ...string) {
	more := byte(0)
	if len(attributes) > 0 {
		more = moreBit
	}
	w.b = append(w.b, tokenOpen|more)
	w.u16(0xffff)
	w.u32(0)
	w.name(name)
	if more != 0 {
		w.u32(0)
	}
	for i := 0; i+1 < len(attributes); i += 2 {
		w.b = append(w.b, tokenAttribute)
		w.name(attributes[i])
		w.value(attributes[i+1])
	}
	w.b = append(w.b, tokenCloseStart)
}

// value writes text, or a place of the template: "%3".
func (w *evtxWriter) value(s string) {
	var n int
	if _, err := fmt.Sscanf(s, "%%%d", &n); err == nil {
		w.b = append(w.b, tokenOptional)
		w.u16(n)
		w.b = append(w.b, typeString)
		return
	}
	w.b = append(w.b, tokenValue, typeString)
	w.u16(len(s))
	w.b = append(w.b, wide(s)...)
}

func (w *evtxWriter) leaf(name, value string, attributes ...string) {
	w.element(name, attributes...)
	w.value(value)
	w.b = append(w.b, tokenEndElement)
}

func (w *evtxWriter) definition() {
	w.u32(0)
	w.b = append(w.b, make([]byte, 16)...)
	length := len(w.b)
	w.u32(0)
	w.b = append(w.b, tokenFragment, 1, 1, 0)
	w.element("Event", "xmlns", "http://schemas.microsoft.com/win/2004/08/events/event")
	w.element("System")
	w.element("Provider", "Name", "%0")
	w.b = append(w.b, tokenEndElement)
	w.leaf("EventID", "%1")
	w.element("TimeCreated", "SystemTime", "%2")
	w.b = append(w.b, tokenEndElement)
	w.leaf("Computer", "%3")
	w.b = append(w.b, tokenEndElement)
	w.element("EventData")
	w.leaf("Data", "%4", "Name", "%5")
	w.leaf("Data", "%6", "Name", "%7")
	w.b = append(w.b, tokenEndElement, tokenEndElement, tokenEnd)
	binary.LittleEndian.PutUint32(w.b[length:], uint32(len(w.b)-length-4))
}

func (w *evtxWriter) record(n int, e written) {
	start := len(w.b)
	w.b = append(w.b, recordMagic...)
	w.u32(0)
	w.b = binary.LittleEndian.AppendUint64(w.b, uint64(n))
	filetime := uint64(e.at.UnixNano()/100) + 116444736000000000
	w.b = binary.LittleEndian.AppendUint64(w.b, filetime)
	w.b = append(w.b, tokenFragment, 1, 1, 0, tokenTemplate, 1)
	w.u32(1)
	if w.template == 0 {
		w.template = len(w.b) + 4
		w.u32(w.template)
		w.definition()
	} else {
		w.u32(w.template)
	}
	values := [8][]byte{wide(e.provider), binary.LittleEndian.AppendUint16(nil, uint16(e.id)),
		binary.LittleEndian.AppendUint64(nil, filetime), wide("NODE-A")}
	kinds := [8]byte{typeString, 0x06, 0x11, typeString}
	for i, d := range e.data {
		if values[4+2*i], kinds[4+2*i] = wide(d.value), typeString; d.value == "" {
			kinds[4+2*i] = typeNull
		}
		if d.name != "" {
			values[5+2*i], kinds[5+2*i] = wide(d.name), typeString
		}
	}
	w.u32(len(values))
	for i, v := range values {
		w.u16(len(v))
		w.b = append(w.b, kinds[i], 0)
	}
	for _, v := range values {
		w.b = append(w.b, v...)
	}
	w.b = append(w.b, tokenEnd)
	for len(w.b)%8 != 4 {
		w.b = append(w.b, 0)
	}
	w.u32(len(w.b) + 4 - start)
	binary.LittleEndian.PutUint32(w.b[start+4:], uint32(len(w.b)-start))
}

// evtxOf is a file with one chunk, and one that is empty.
func evtxOf(list []written) []byte {
	w := &evtxWriter{b: make([]byte, chunkHeader), names: map[string]int{}}
	copy(w.b, chunkMagic)
	for i, e := range list {
		w.record(i+1, e)
	}
	binary.LittleEndian.PutUint32(w.b[48:], uint32(len(w.b)))
	binary.LittleEndian.PutUint32(w.b[52:], crc32.ChecksumIEEE(w.b[chunkHeader:]))
	head := make([]byte, fileHeader)
	copy(head, fileMagic)
	out := append(head, w.b...)
	return append(out, make([]byte, fileHeader+2*chunkSize-len(out))...)
}

func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(testutil.TempDir(t), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// events returns the events of logs, a line each; the stream must be valid.
func events(t testing.TB, paths ...string) (lines []string, set *Set) {
	t.Helper()
	for _, p := range paths {
		if head, err := os.ReadFile(p); err != nil || !Detect(head[:min(len(head), 128<<10)]) {
			t.Fatalf("%s is not recognised: %v", p, err)
		}
	}
	set, err := Open(paths, source.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var batches []*model.Batch
	if err := set.Run(t.Context(), func(b *model.Batch) error { batches = append(batches, b); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	for _, b := range batches {
		for i := range b.Events {
			if e, ok := b.HostEvent(&b.Events[i]); ok {
				lines = append(lines, fmt.Sprintf("%s %s %d %s [%s] %v %s", e.Time.Std().Format("15:04:05.000"), e.What, e.ID,
					e.Provider, e.About, time.Duration(e.StepNS), e.Host))
			}
		}
	}
	return lines, set
}

func encoded(t testing.TB, text string, order unicode.Endianness, mark unicode.BOMPolicy) []byte {
	t.Helper()
	out, err := unicode.UTF16(order, mark).NewEncoder().Bytes([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestForms wants the same events from every form of a log.
func TestForms(t *testing.T) {
	text := xmlOf(incident)
	rooted := "<?xml version=\"1.0\" encoding=\"utf-16\"?><Events>" + text + "</Events>"
	for name, data := range map[string][]byte{
		"System.evtx": evtxOf(incident), "x.xml": []byte(text), "rooted.xml": []byte(rooted),
		"mark.xml":      []byte("\ufeff" + text),
		"utf-16.xml":    encoded(t, rooted, unicode.LittleEndian, unicode.UseBOM),
		"big.xml":       encoded(t, rooted, unicode.BigEndian, unicode.UseBOM),
		"no mark.xml":   encoded(t, text, unicode.LittleEndian, unicode.IgnoreBOM),
		"iso.csv":       []byte(csvOf(incident, "2006-01-02T15:04:05.9999999", ",")),
		"semicolon.csv": []byte(csvOf(incident, "2006-01-02T15:04:05.9999999", ";")),
	} {
		got, set := events(t, write(t, name, data))
		if !slices.Equal(got, want) || set.records != 5 || !set.integrity.Complete() {
			t.Errorf("%s: %d records, %+v,\n%s", name, set.records, set.integrity, strings.Join(got, "\n"))
		}
		if strings.HasSuffix(name, ".csv") != (len(set.Assumed()) == 1) {
			t.Errorf("%s: assumed %q", name, set.Assumed())
		}
	}
	// The same entries in two files count once.
	got, _ := events(t, write(t, "System.evtx", evtxOf(incident)), write(t, "x.xml", []byte(text)))
	if !slices.Equal(got, want) {
		t.Errorf("two files of one log: %q", got)
	}
}

// TestDates reads the times of every culture, whose fractions are cut off.
func TestDates(t *testing.T) {
	for layout, assumed := range map[string]int{"1/2/2006 3:04:05 PM": 1, "02.01.2006 15:04:05": 1,
		"02/01/2006 15:04:05": 1} {
		got, set := events(t, write(t, "x.csv", []byte(csvOf(incident, layout, ","))))
		if len(got) != 4 || !strings.HasPrefix(got[0], "11:20:02.000") || len(set.Assumed()) != assumed {
			t.Errorf("%s: %q, assumed %q", layout, got, set.Assumed())
		}
	}
}

// TestDamage reads what is there, and says what is not.
func TestDamage(t *testing.T) {
	whole := evtxOf(incident)
	second := bytes.Index(whole, wide("Spooler"))
	for name, data := range map[string][]byte{
		"cut":         whole[:fileHeader+chunkSize/2],
		"a byte":      append(append(slices.Clone(whole[:second-100]), 0xff, 0xff, 0xff, 0xff), whole[second-96:]...),
		"chunk magic": append(append(slices.Clone(whole), "damaged"...), make([]byte, chunkSize-7)...),
		"cut XML":     []byte(xmlOf(incident)[:2000]),
	} {
		got, set := events(t, write(t, "x", data))
		if len(got) < 2 || got[0] != want[0] || set.integrity.Complete() {
			t.Errorf("%s: %q, %+v", name, got, set.integrity)
		}
	}
}

// TestDamagedXML has one damaged entry cost itself, and says so.
func TestDamagedXML(t *testing.T) {
	text := xmlOf(incident)
	damaged := func(with string) string { return strings.Replace(text, "Spooler", with, 1) }
	for name, test := range map[string]struct {
		text     string
		records  int
		complete bool
	}{
		"control characters":     {damaged("a\x01\x00b"), 5, true},
		"bytes that are no text": {damaged("a\xffb"), 5, true},
		"a reference to one":     {damaged("a&#x1;b"), 5, false},
		"an entry without its end": {
			strings.Replace(text, "</EventData></Event>\r\n<Event", "<Event", 1), 5, false},
		"an entry without its end at the end of the file": {strings.TrimSuffix(text, "</Event>\r\n"), 5, false},
		"a long one":          {damaged(strings.Repeat("x", 2*maxEntry)), 4, false},
		"a deep one":          {damaged(strings.Repeat("<x>", 2*maxDepth)), 5, false},
		"UTF-16 behind UTF-8": {text + string(encoded(t, text, unicode.LittleEndian, unicode.UseBOM)), 5, false},
		"UTF-8 behind UTF-16": {string(encoded(t, text, unicode.LittleEndian, unicode.UseBOM)) + text, 5, false},
	} {
		got, set := events(t, write(t, "x.xml", []byte(test.text)))
		if !slices.Equal(got, want) || set.records != uint64(test.records) || set.integrity.Complete() != test.complete {
			t.Errorf("%s: %d records, %+v,\n%s", name, set.records, set.integrity, strings.Join(got, "\n"))
		}
	}
}

// TestOneBadFile reads the others, and says which could not be read.
func TestOneBadFile(t *testing.T) {
	bad := write(t, "bad.evtx", evtxOf(incident)[:100])
	got, set := events(t, write(t, "a.evtx", evtxOf(incident)), bad, write(t, "b.xml", []byte(xmlOf(incident[:1]))))
	damage := strings.Join(set.integrity.Damage, "; ")
	if !slices.Equal(got, want) || !strings.Contains(damage, "bad.evtx: read the header") {
		t.Errorf("%q, damage %q", got, damage)
	}
	if _, err := Open([]string{bad}, source.OpenOptions{}); err == nil || !strings.Contains(err.Error(), "header") {
		t.Errorf("a bad file alone: %v", err)
	}
}

// TestDamagedCSV says when lines could not be read, and keeps no field without an end.
func TestDamagedCSV(t *testing.T) {
	text := csvOf(incident, "2006-01-02T15:04:05.9999999", ",")
	open := strings.LastIndex(text, `"The system time`)
	for name, test := range map[string]string{
		"a quote without its end": text[:open] + strings.Repeat("x", 2*maxEntry),
		"half a line":             text[:open+10],
		"the names once more":     text[:open] + text[:strings.Index(text, "\r\n\"A request")] + "\r\n\"half",
	} {
		got, set := events(t, write(t, "x.csv", []byte(test)))
		if !slices.Equal(got, want[:3]) || set.integrity.Complete() {
			t.Errorf("%s: %q, %+v", name, got, set.integrity)
		}
	}
}

// TestNumbers gives entries the numbers of their log, so that those of one log compare and others do not.
func TestNumbers(t *testing.T) {
	other := strings.Replace(xmlOf(incident[:1]), "<Channel>System", "<Channel>Other", 1)
	_, set := events(t, write(t, "x.xml", []byte(xmlOf(incident[:3])+other)))
	numbers := [][2]int64{}
	for _, e := range set.events {
		numbers = append(numbers, [2]int64{e.Record, e.Numbering})
	}
	if want := [][2]int64{{70112, 1}, {70114, 1}}; !slices.Equal(numbers, want) {
		t.Errorf("records and numberings %v, want %v", numbers, want)
	}
	later := strings.Replace(xmlOf(incident[:1]), "<Channel>System", "<Channel>Other", 1)
	later = strings.Replace(later, "4231", "4266", 1)
	_, set = events(t, write(t, "x.xml", []byte(xmlOf(incident[:1])+later)))
	if len(set.events) != 2 || set.events[0].Numbering == set.events[1].Numbering {
		t.Errorf("two channels have one numbering: %+v", set.events)
	}
	_, set = events(t, write(t, "x.csv", []byte(csvOf(incident[:3], "2006-01-02T15:04:05.9999999", ","))))
	if len(set.events) != 2 || set.events[1].Record != 2 || set.events[1].Numbering == 0 {
		t.Errorf("records of a CSV file: %+v", set.events)
	}
}

// TestSmallSteps leaves out what the clock's own discipline does.
func TestSmallSteps(t *testing.T) {
	list := []written{{"Microsoft-Windows-Kernel-General", 1, noon, []datum{{"NewTime", "2026-11-14T11:20:42.5Z"},
		{"OldTime", "2026-11-14T11:20:42Z"}}, ""}}
	if got, _ := events(t, write(t, "x.xml", []byte(xmlOf(list)))); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

func FuzzOpen(f *testing.F) {
	fuzztest.Quick(f)
	whole := evtxOf(incident)
	f.Add(whole[:fileHeader+8192])
	f.Add([]byte(xmlOf(incident)))
	f.Add([]byte(csvOf(incident, "1/2/2006 3:04:05 PM", ",")))
	f.Add([]byte(viewText(incident)))
	f.Add([]byte(listText(incident)))
	f.Add([]byte(tableText(incident, "1/2/2006 3:04:05 PM")))
	f.Add([]byte(viewerText(incident, "Level,Date and Time,Source,Event ID,Task Category", "1/2/2006 3:04:05 PM", ",")))
	f.Add([]byte(`[{"Id":4231,"ProviderName":"Tcpip","TimeCreated":"/Date(1794655231000)/"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if !Detect(data[:min(len(data), 128<<10)]) {
			return
		}
		set, err := Open([]string{write(t, "x", data)}, source.OpenOptions{Memory: 1 << 20})
		if err != nil {
			return
		}
		var stream []*model.Batch
		err = set.Run(t.Context(), func(b *model.Batch) error { stream = append(stream, b); return nil })
		if err != nil {
			t.Fatal(err)
		}
		if err := model.Validate(stream...); err != nil {
			t.Error(err)
		}
	})
}

// TestWork bounds the time of templates that use one another.
func TestWork(t *testing.T) {
	w := &evtxWriter{b: make([]byte, chunkHeader), names: map[string]int{}}
	// A value that is binary XML, and is its own record again.
	start := len(w.b)
	for range 4000 {
		w.b = append(w.b, tokenTemplate, 1)
		w.u32(1)
		w.u32(start)
	}
	x := binXML{chunk: w.b, work: 1000}
	if _, err := x.fragment(start, len(w.b), nil, false, 0); err == nil {
		t.Error("a template in itself is read")
	}
}
