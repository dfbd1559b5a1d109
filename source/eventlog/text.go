package eventlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/lazyregexp"
	"lostbeat/source"
)

// Entries as text are blocks of lines "name: value": those of wevtutil /f:text begin with "Event[0]:", those of
// Get-WinEvent and Get-EventLog as a list have blank lines between them. What goes on in the next line belongs to the
// text of the entry.

// textField is a line with a name and a value. Names of wevtutil are indented, those of a list are filled up with
// blanks.
var textField = lazyregexp.New(`^\s{0,4}(\pL[\pL .'-]{0,30}?)\s*[:：](?:\s+(.*))?$`)

// textStart is the line before an entry of wevtutil.
var textStart = lazyregexp.New(`^\w+\[\d+\]:?\s*$`)

// textNames are the names of the fields that are read, in lower case. wevtutil writes them in the language of the host.
var textNames = map[string]string{
	"source": "provider", "providername": "provider", "quelle": "provider", "ursprung": "provider", "ソース": "provider",
	"origen": "provider", "origine": "provider",
	"event id": "id", "id": "id", "ereignis-id": "id", "ereigniskennung": "id", "eventid": "id", "イベント id": "id",
	"id de l'événement": "id", "id. de evento": "id", "id evento": "id", "instanceid": "instance",
	"date": "time", "timecreated": "time", "timegenerated": "time", "datum": "time", "日付": "time", "fecha": "time",
	"data":     "time",
	"computer": "host", "machinename": "host", "コンピューター": "host", "ordinateur": "host", "equipo": "host",
	"log name": "channel", "logname": "channel", "protokollname": "channel", "ログの名前": "channel",
	"nom du journal": "channel",
	"recordid":       "record", "index": "record",
	"description": "message", "message": "message", "beschreibung": "message", "説明": "message", "descripción": "message",
}

// blockOf reads the fields of a block; nil for one that is not an entry: it lacks a source, a number or a time.
func blockOf(lines []string) map[string]string {
	fields := map[string]string{}
	last := ""
	for _, line := range lines {
		if textStart.MatchString(line) {
			continue
		}
		if m := textField.FindStringSubmatch(line); m != nil && (last != "message" || listName.MatchString(line)) {
			name, known := textNames[strings.ToLower(strings.TrimSpace(m[1]))]
			last = ""
			if _, twice := fields[name]; known && !twice {
				fields[name], last = strings.TrimSpace(m[2]), name
			}
			continue
		}
		if last == "message" && len(fields[last]) < maxValue {
			fields[last] = strings.TrimSpace(fields[last] + " " + strings.TrimSpace(line))
		}
	}
	if fields["id"] == "" {
		fields["id"] = fields["instance"]
	}
	if fields["provider"] == "" || fields["id"] == "" || fields["time"] == "" {
		return nil
	}
	return fields
}

// listName is a property of a list: its name is filled up with blanks to the width of the longest.
var listName = lazyregexp.New(`^(\pL\w*)\s* :(?: |$)`)

// isText reports whether a text has an entry in such a block.
func isText(text []byte) bool {
	found := false
	_ = blocks(bytes.NewReader(text), func(lines []string) bool {
		found = blockOf(lines) != nil
		return !found
	})
	return found
}

// maxBlock is how many lines of a block are kept.
const maxBlock = 256

// blocks calls do with each block of lines until it returns false.
func blocks(r io.Reader, do func(lines []string) bool) error {
	in := bufio.NewReaderSize(r, 64<<10)
	var lines []string
	for {
		line, err := in.ReadSlice('\n')
		text := strings.TrimRight(string(line), "\r\n")
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = in.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		atEnd := err != nil
		if textStart.MatchString(text) || listStart(text, lines) || atEnd {
			if atEnd && text != "" && len(lines) < maxBlock {
				lines = append(lines, text)
			}
			if len(lines) > 0 && !do(lines) {
				return nil
			}
			lines = lines[:0]
		}
		if atEnd {
			return nil
		}
		if text != "" && len(lines) < maxBlock {
			lines = append(lines, text)
		}
	}
}

// listStart reports whether a line begins the next entry of a list: its first property comes again.
func listStart(line string, lines []string) bool {
	m := listName.FindStringSubmatch(line)
	if m == nil {
		return false
	}
	for _, l := range lines {
		if first := listName.FindStringSubmatch(l); first != nil {
			return first[1] == m[1]
		}
	}
	return false
}

// readText reads entries in blocks of lines.
func (s *Set) readText(r io.Reader, name string) error {
	rows := &timedEntries{}
	bad := 0
	err := blocks(r, func(lines []string) bool {
		fields := blockOf(lines)
		if fields == nil {
			if len(lines) > 1 {
				bad++
			}
			return true
		}
		id, err := strconv.ParseInt(fields["id"], 10, 64)
		if err != nil {
			bad++
			return true
		}
		e := entry{provider: fields["provider"], id: id & 0xffff, host: fields["host"], channel: fields["channel"]}
		e.record, _ = strconv.ParseUint(fields["record"], 10, 64)
		e.data = []datum{{messageName, fields["message"]}}
		s.hold(rows, e, fields["time"])
		return true
	})
	if err != nil {
		s.integrity.Add(fmt.Sprintf("%s: %v", name, err), 0)
	}
	if bad > 0 {
		s.integrity.Add(fmt.Sprintf("%s: %d of its entries could not be read", name, bad), 0)
	}
	s.takeTimed(rows, name)
	return nil
}

// A table of Get-WinEvent has the provider in a line before each group of entries:
//
//	   ProviderName: Tcpip
//
//	TimeCreated                     Id LevelDisplayName Message
//	-----------                     -- ---------------- -------
//	11/14/2026 11:20:02 AM        4231 Warning          A request to allocate ...
var (
	tableProvider = lazyregexp.New(`^\s{2,}ProviderName: (\S.*)$`)
	tableRow      = lazyregexp.New(`^(\d[\d./-]+,?\s+\d{1,2}[:.]\d\d[:.]\d\d(?:\s?[AaPp]\.?[Mm]\.?)?)\s+(\d{1,5})\s+(.*)$`)
)

// isTable reports whether a text is such a table.
func isTable(text []byte) bool {
	provider := false
	for line := range bytes.Lines(text) {
		line = bytes.TrimRight(line, "\r\n")
		provider = provider || tableProvider.Match(line)
		if provider && tableRow.Match(line) {
			return true
		}
	}
	return false
}

// readTable reads a table of Get-WinEvent.
func (s *Set) readTable(r io.Reader, name string) error {
	rows := &timedEntries{}
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 64<<10), maxEntry)
	provider := ""
	for in.Scan() {
		line := strings.TrimRight(in.Text(), "\r")
		if m := tableProvider.FindStringSubmatch(line); m != nil {
			provider = strings.TrimSpace(m[1])
			continue
		}
		m := tableRow.FindStringSubmatch(line)
		if m == nil || provider == "" {
			continue
		}
		id, _ := strconv.ParseInt(m[2], 10, 32)
		s.hold(rows, entry{provider: provider, id: id, data: []datum{{messageName, m[3]}}}, m[1])
	}
	if err := in.Err(); err != nil {
		s.integrity.Add(fmt.Sprintf("%s: %v", name, err), 0)
	}
	s.takeTimed(rows, name)
	return nil
}

// The event viewer saves its list as text with commas or tabs: level, time, source, number, task, and the text of the
// entry, which has no name. The names of the columns are in the language of the host, so that columns are known by what
// is in them.

// viewerRow returns the columns of a row of the event viewer; ok is false for any other line.
func viewerRow(fields []string) (when, provider, id string, ok bool) {
	if len(fields) < 5 {
		return "", "", "", false
	}
	when, provider, id = strings.TrimSpace(fields[1]), strings.TrimSpace(fields[2]), strings.TrimSpace(fields[3])
	if _, err := strconv.ParseUint(id, 10, 32); err != nil || provider == "" || len(provider) > 128 {
		return "", "", "", false
	}
	return when, provider, id, viewerTime(when)
}

// viewerTime reports whether a text is a time as the event viewer writes it.
func viewerTime(text string) bool {
	order := dateOrder{}
	order.see(text)
	return order.numeric || order.time(text, time.UTC) != 0
}

// viewerSeparator finds what separates the columns of a list of the event viewer, 0 where it is not such a list.
func viewerSeparator(text []byte) byte {
	lines := bytes.SplitN(text, []byte("\n"), 12)
	if len(lines) < 2 {
		return 0
	}
	for _, separator := range []byte{'\t', ',', ';'} {
		if n := bytes.Count(lines[0], []byte{separator}); n < 4 || n > 5 {
			continue
		}
		for _, line := range lines[1:] {
			var fields []string
			for f := range strings.SplitSeq(string(line), string(rune(separator))) {
				fields = append(fields, strings.Trim(f, `"`))
			}
			if _, _, _, ok := viewerRow(fields); ok {
				return separator
			}
		}
	}
	return 0
}

// readViewer reads a list of the event viewer.
func (s *Set) readViewer(r io.Reader, name string) error {
	limited := source.LimitedReader(r, maxEntry)
	in := bufio.NewReaderSize(limited, 64<<10)
	head, err := in.Peek(16 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	separator := viewerSeparator(head)
	if separator == 0 {
		return ErrFormat
	}
	rows := &timedEntries{}
	s.eachRow(in, limited, rune(separator), name, func(fields []string) {
		when, provider, id, ok := viewerRow(fields)
		if !ok {
			return // the names of the columns; the rest of a text with unquoted line ends
		}
		n, _ := strconv.ParseInt(id, 10, 32)
		e := entry{provider: strings.Clone(provider), id: n}
		if len(fields) > 5 {
			text := strings.Join(fields[5:], ",")
			e.data = []datum{{messageName, text[:min(len(text), maxValue)]}}
		}
		s.hold(rows, e, strings.Clone(when))
	})
	s.takeTimed(rows, name)
	return nil
}

// Entries as JSON are objects with Id, ProviderName and TimeCreated: one, a list, or one behind another.
type jsonEntry struct {
	ID       json.Number `json:"Id"`
	Provider string      `json:"ProviderName"`
	Time     any         `json:"TimeCreated"`
	Host     string      `json:"MachineName"`
	Message  string      `json:"Message"`
	Channel  string      `json:"LogName"`
	RecordID json.Number `json:"RecordId"`
}

// jsonDate is a time of Windows PowerShell: milliseconds since 1970.
var jsonDate = lazyregexp.New(`^/Date\((-?\d{1,15})\)/$`)

// isJSON reports whether a text begins like such entries.
func isJSON(text []byte) bool {
	text = bytes.TrimLeft(text, " \t\r\n[")
	return bytes.HasPrefix(text, []byte("{")) && bytes.Contains(text, []byte(`"ProviderName"`)) &&
		bytes.Contains(text, []byte(`"TimeCreated"`)) && bytes.Contains(text, []byte(`"Id"`))
}

// entry makes an entry of what was read, and the text of its time.
func (j *jsonEntry) entry() (e entry, when string, err error) {
	id, err := j.ID.Int64()
	if err != nil {
		return e, "", fmt.Errorf("its Id %q is not a number", j.ID)
	}
	when, _ = j.Time.(string)
	if list, ok := j.Time.(map[string]any); ok { // Windows PowerShell adds the culture's form to it
		when, _ = list["value"].(string)
	}
	if m := jsonDate.FindStringSubmatch(when); m != nil {
		ms, _ := strconv.ParseInt(m[1], 10, 64)
		when = time.UnixMilli(ms).UTC().Format(time.RFC3339Nano)
	}
	switch {
	case j.Provider == "":
		return e, "", errors.New("it has no ProviderName")
	case when == "":
		return e, "", errors.New("its TimeCreated is not a time")
	}
	record, _ := j.RecordID.Int64()
	return entry{
		provider: j.Provider, id: id & 0xffff, host: j.Host, channel: j.Channel, record: uint64(max(record, 0)),
		data: []datum{{messageName, j.Message[:min(len(j.Message), maxValue)]}},
	}, when, nil
}

// readJSON reads entries as JSON. One that is damaged, or whose fields are of another type, costs itself.
func (s *Set) readJSON(r io.Reader, name string) error {
	rows := &timedEntries{}
	bad := source.BadParts{What: "entry", Plural: "entries"}
	stray, err := source.EachObject(bufio.NewReaderSize(r, 64<<10), maxEntry, func(object []byte) {
		if len(object) > maxEntry {
			bad.Next(fmt.Errorf("it has more than %d KiB", maxEntry>>10))
			return
		}
		var j jsonEntry
		err := json.Unmarshal(object, &j)
		if err != nil {
			bad.Next(source.JSONFault(err))
			return
		}
		e, when, err := j.entry()
		if bad.Next(err); err == nil {
			s.hold(rows, e, when)
		}
	})
	bad.Report(&s.integrity, name)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		s.integrity.Add(fmt.Sprintf("%s ends within entry %d, or is damaged there: what is behind it was not read", name,
			bad.Seen()+1), 0)
	case err != nil:
		s.integrity.Add(fmt.Sprintf("%s: %v", name, err), 0)
	}
	if stray > 0 {
		s.integrity.Add(name+": text between its entries is not JSON of an entry, and was not read", stray)
	}
	s.takeTimed(rows, name)
	return nil
}
