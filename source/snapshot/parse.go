package snapshot

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"lostbeat/model"
)

// parser reads one file.
type parser struct {
	set  *set
	file string
	// tables are those of the file; the last is being filled.
	tables []*table
	// at is the time of the last line with a date.
	at model.Time
	// form is what the lines are being read as.
	form form
	// columns are those of a PowerShell table or of a list of processes.
	columns []column
	// item is the row of a list or JSON that is being filled, as texts by property.
	item map[string]string
	// owner is the row that lines of netstat -b name the owner of.
	owner int32
	// rangeOf is the protocol that the last line with a colon and no number named, rangeLow the first number after it.
	rangeOf, rangeLow string
	// created are the creation times of rows, still as texts, until the order of day and month is known.
	created []createdText
	// counts of what could not be used.
	named, cutCells, bad, ownerless int
	// zone is that of times without one.
	zone *time.Location
	// above are the lines before this one that were not understood, up to a blank one: a heading may be wrapped.
	above []string
}

// maxAbove is how many lines a heading may have.
const maxAbove = 3

type createdText struct {
	table, row int
	text       string
}

// form is how lines are read.
type form uint8

const (
	formAny form = iota
	formTable
	formCSV
	formList
	formProc
	formNames
)

// column is a column of a table with a line of dashes.
type column struct {
	name       string
	start, end int
}

// current returns the table of a kind that is being filled.
func (p *parser) current(k kind) *table {
	if n := len(p.tables); n > 0 && p.tables[n-1].kind == k && p.tables[n-1].at == p.at {
		return p.tables[n-1]
	}
	for i := len(p.tables) - 1; i >= 0; i-- { // sections of one report
		if t := p.tables[i]; t.kind == k && t.at == p.at {
			return t
		}
	}
	t := &table{kind: k, at: p.at}
	p.tables = append(p.tables, t)
	return t
}

// add adds a row.
func (p *parser) add(t *table, r row) {
	if p.set.rows >= p.set.maxRows {
		p.set.left++
		p.set.texts.full = true
		t.damaged = true
		return
	}
	p.set.rows++
	t.covers[r.protocol] = true
	t.ownersSeen = t.ownersSeen || r.pid > 0
	t.boundSeen = t.boundSeen || r.state == stateBound && r.protocol == model.ProtocolTCP
	t.rows = append(t.rows, r)
}

// parse reads a file.
func (p *parser) parse(r io.Reader) error {
	l := newLines(r)
	for n := 0; ; n++ {
		line, err := l.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if n%4096 == 0 && p.set.progress != nil {
			p.set.progress(p.set.done+l.read, max(p.set.size, p.set.done+l.read))
		}
		if !p.line(line) && l.torn && len(bytes.TrimSpace(line)) > 0 && len(p.tables) > 0 {
			p.set.damage("%s ends within a row", p.file)
			p.tables[len(p.tables)-1].damaged = true
		} else if l.torn && len(p.tables) > 0 {
			p.set.integrity.Unknown = "the last line of " + p.file + " has no end: it may be cut off"
		}
		if l.torn && l.wide != 0 && len(l.raw)%2 == 1 {
			p.set.damage("%s ends within a character", p.file)
			if n := len(p.tables); n > 0 {
				p.tables[n-1].damaged = true
			}
		}
	}
	p.endItem()
	p.set.done += l.read
	p.dates()
	if l.long > 0 {
		p.set.damage("%s: %d lines longer than %d KiB were cut", p.file, l.long, maxLine>>10)
	}
	p.finish()
	return nil
}

// finish says what could not be used, and decides what is open.
func (p *parser) finish() {
	for _, t := range p.tables {
		t.settle()
	}
	if p.bad > 0 {
		p.set.damage("%s: %d rows could not be read", p.file, p.bad)
		for _, t := range p.tables {
			t.damaged = true
		}
	}
	if p.named > 0 {
		p.set.damage("%s: %d rows have names instead of port numbers and were not counted: use netstat -ano or ss -n",
			p.file, p.named)
		for _, t := range p.tables {
			t.damaged = true
		}
	}
	if p.cutCells > 0 {
		p.set.damage(
			"%s: PowerShell has cut off cells (\"...\", %d of them): use Export-Csv instead of a table",
			p.file,
			p.cutCells,
		)
	}
	if p.ownerless > 0 {
		p.set.note("%s: the table has no column for the owner: use | Select LocalAddress,LocalPort,OwningProcess,"+
			"CreationTime | Export-Csv", p.file)
	}
	for _, t := range p.tables {
		if len(t.strange) > 0 {
			p.set.note("%s: what these states mean was taken from where they are used: %s", p.file,
				strings.Join(t.strange, ", "))
		}
	}
}

// line takes one line and reports whether it was understood.
func (p *parser) line(line []byte) bool {
	trimmed := bytes.TrimSpace(line)
	if len(trimmed) == 0 {
		p.endItem()
		p.above = p.above[:0]
		return true
	}
	if p.socketRow(line, trimmed) {
		p.form, p.above = formAny, p.above[:0]
		return true
	}
	switch p.form {
	case formTable:
		if p.tableRow(line) {
			return true
		}
	case formCSV:
		if p.csvRow(trimmed) {
			return true
		}
	case formProc:
		if p.procRow(trimmed) {
			return true
		}
	case formNames:
		if p.nameRow(line) {
			return true
		}
	}
	if p.heading(line, trimmed) {
		return true
	}
	if p.listLine(line, trimmed) {
		return true
	}
	if p.rangeLine(trimmed) {
		return true
	}
	if p.ownerLine(trimmed) {
		return true
	}
	if at, ok := p.dateLine(trimmed); ok {
		p.at = at
		return false
	}
	if (trimmed[0] == '[' || trimmed[0] == '{') && bytes.Contains(trimmed, []byte(`"`)) {
		return p.jsonText(trimmed)
	}
	if len(p.above) == maxAbove {
		p.above = append(p.above[:0], p.above[1:]...)
	}
	p.above = append(p.above, string(line[:min(len(line), 4096)]))
	return false
}

// heading takes what says how the lines behind it are to be read.
func (p *parser) heading(line, trimmed []byte) bool {
	text := string(trimmed[:min(len(trimmed), 4096)])
	switch {
	case isCSVHeading(text, "LocalPort"), isCSVHeading(text, "PID"), isCSVHeading(text, "Id") &&
		(strings.Contains(text, "ProcessName") || strings.Contains(text, `"Name"`)), isCSVHeading(text, "ProcessId"):
		sep := byte(',')
		if strings.Count(text, ";") > strings.Count(text, ",") {
			sep = ';'
		} else if strings.Count(text, "\t") > strings.Count(text, ",") {
			sep = '\t'
		}
		p.columns = p.columns[:0]
		for _, cell := range cells(text, sep) {
			p.columns = append(p.columns, column{name: strings.ToLower(strings.TrimSpace(cell)), start: int(sep)})
		}
		p.form = formCSV
		if p.column("localport") >= 0 && p.column("owningprocess") < 0 {
			p.ownerless++
		}
		return true
	case strings.Trim(text, "-= ") == "" && len(text) > 8 && len(p.above) > 0:
		for n := 1; n <= len(p.above); n++ {
			if p.ruled(string(line), p.above[len(p.above)-n:]) {
				break
			}
		}
		p.above = p.above[:0]
		return true
	case strings.HasPrefix(text, "sl ") && strings.Contains(text, "local_address"):
		p.form = formProc
		p.rangeOf = "tcp"
		if strings.Contains(text, "drops") {
			p.rangeOf = "udp"
		}
		return true
	case strings.Contains(text, "PID") && (strings.Contains(text, "COMMAND") || strings.Contains(text, "CMD")):
		return p.psHeading(text)
	}
	return false
}

// isCSVHeading says that a line is a CSV heading with this property.
func isCSVHeading(text, property string) bool {
	for _, sep := range []byte{',', ';', '\t'} {
		for _, cell := range cells(text, sep) {
			if strings.EqualFold(strings.TrimSpace(cell), property) && strings.IndexByte(text, sep) >= 0 {
				return true
			}
		}
	}
	return false
}

// cells divides a line of CSV.
func cells(text string, sep byte) []string {
	if !strings.Contains(text, `"`) {
		return strings.Split(text, string(rune(sep)))
	}
	r := csv.NewReader(strings.NewReader(text))
	r.Comma, r.LazyQuotes, r.FieldsPerRecord = rune(sep), true, -1
	out, err := r.Read()
	if err != nil {
		return nil
	}
	return out
}

// column returns the place of a column, -1 without it.
func (p *parser) column(name string) int {
	for i, c := range p.columns {
		if c.name == name {
			return i
		}
	}
	return -1
}

// ruled takes a heading with a line of dashes or equals signs below it, and reports whether it is known.
func (p *parser) ruled(rule string, heading []string) bool {
	p.columns = p.columns[:0]
	ruler := []rune(rule)
	for i := 0; i < len(ruler); {
		if ruler[i] == ' ' {
			i++
			continue
		}
		start := i
		for i < len(ruler) && ruler[i] != ' ' {
			i++
		}
		p.columns = append(p.columns, column{start: start, end: i})
	}
	for i := range p.columns {
		for _, text := range heading {
			p.columns[i].name += strings.ToLower(p.cell([]rune(text), i))
		}
	}
	switch {
	case p.column("localport") >= 0:
		p.form = formTable
		if p.column("owningprocess") < 0 {
			p.ownerless++
		}
	case strings.HasPrefix(strings.TrimSpace(rule), "=") && len(p.columns) >= 2,
		p.column("id") >= 0 && p.column("processname") >= 0:
		p.form = formNames
	default:
		p.form = formAny
		return false
	}
	return true
}

// cell returns a column's text of a row, with what belongs to no other column.
func (p *parser) cell(line []rune, i int) string {
	c := p.columns[i]
	end := len(line)
	if i+1 < len(p.columns) {
		end = min(p.columns[i+1].start, end)
	}
	if c.start >= end {
		return ""
	}
	return strings.TrimSpace(string(line[c.start:end]))
}

// cutMark says that PowerShell has cut a cell off.
func cutMark(s string) bool { return strings.HasSuffix(s, "...") || strings.HasSuffix(s, "…") }

// tableRow takes a row of a PowerShell table.
func (p *parser) tableRow(line []byte) bool {
	text := []rune(string(line))
	get := func(name string) string {
		if i := p.column(name); i >= 0 {
			return p.cell(text, i)
		}
		return ""
	}
	port := get("localport")
	if port == "" && strings.TrimSpace(get("localaddress")) != "" {
		return true // wrapped: the rest of a long address
	}
	return p.object(get)
}

// csvRow takes a row of CSV: of a table of sockets or of a list of processes.
func (p *parser) csvRow(trimmed []byte) bool {
	if bytes.HasPrefix(trimmed, []byte("#TYPE")) {
		return true
	}
	values := cells(string(trimmed), byte(p.columns[0].start))
	get := func(name string) string {
		if i := p.column(name); i >= 0 && i < len(values) {
			return strings.TrimSpace(values[i])
		}
		return ""
	}
	if p.column("localport") >= 0 {
		if len(values) < len(p.columns) && p.column("owningprocess") >= len(values) {
			return false
		}
		return p.object(get)
	}
	for _, id := range []string{"pid", "id", "processid"} {
		pid, ok := number([]byte(get(id)))
		if !ok {
			continue
		}
		for _, n := range []string{"processname", "name"} {
			if s := get(n); s != "" {
				p.set.name(pid, s)
				return true
			}
		}
		if len(values) > 1 && p.column(id) == 1 {
			p.set.name(pid, values[0])
			return true
		}
	}
	return false
}

// object takes a socket of PowerShell, whose properties get returns by their names in lower case.
func (p *parser) object(get func(string) string) bool {
	text := get("localport")
	port, ok := number([]byte(text))
	local := get("localaddress")
	if !ok || port > 65535 {
		if cutMark(text) {
			p.cutCells++
			return true
		}
		return false
	}
	r := row{protocol: model.ProtocolUDP, state: stateOpen, lport: uint16(port), pid: -1}
	t := p.current(kindPowerShell)
	for _, name := range []string{"localaddress", "remoteaddress", "owningprocess", "state", "creationtime"} {
		if cutMark(get(name)) {
			p.cutCells++
		}
	}
	if len(local) > maxAddress {
		return false
	}
	r.local = p.set.texts.of([]byte(local))
	remote, state := get("remoteaddress"), get("state")
	if remote != "" || state != "" || get("remoteport") != "" {
		r.protocol = model.ProtocolTCP
		t.boundSeen = true
		r.state = t.state([]byte(state))
		if n, ok := number([]byte(get("remoteport"))); ok && n <= 65535 && len(remote) <= maxAddress {
			r.rport = uint16(n)
			if n != 0 {
				r.remote = p.set.texts.of([]byte(remote))
			}
		}
	}
	if pid, ok := number([]byte(get("owningprocess"))); ok {
		r.pid = pid
	}
	n := len(t.rows)
	p.add(t, r)
	if c := get("creationtime"); c != "" && !cutMark(c) && len(t.rows) > n {
		if at, ok := exactTime(c, p.zone); ok {
			t.rows[n].created = at
		} else if len(c) < 64 {
			p.created = append(p.created, createdText{len(p.tables) - 1, n, c})
			if p.tables[len(p.tables)-1] != t {
				p.created = p.created[:len(p.created)-1]
			}
		}
	}
	return true
}

// listLine takes a line of Format-List.
func (p *parser) listLine(line, trimmed []byte) bool {
	key, value, ok := bytes.Cut(trimmed, []byte(":"))
	if !ok || len(key) > 40 {
		return false
	}
	k := strings.ToLower(strings.TrimSpace(string(key)))
	switch k {
	case "localaddress", "localport", "remoteaddress", "remoteport", "state", "owningprocess", "creationtime",
		"appliedsetting", "instanceid", "id", "processname", "name":
	default:
		return false
	}
	if _, again := p.item[k]; again {
		p.endItem()
	}
	if p.item == nil {
		p.item = map[string]string{}
	}
	p.item[k] = strings.TrimSpace(string(value))
	p.form = formList
	return true
}

// endItem takes what was gathered of one object.
func (p *parser) endItem() {
	if len(p.item) == 0 {
		return
	}
	item := p.item
	p.item = nil
	if _, ok := item["localport"]; ok {
		p.object(func(k string) string { return item[k] })
		if _, ok := item["owningprocess"]; !ok {
			p.ownerless++
		}
		return
	}
	if pid, ok := number([]byte(item["id"])); ok && item["processname"]+item["name"] != "" {
		p.set.name(pid, item["processname"]+item["name"])
	}
}

// nameRow takes a row of tasklist or Get-Process.
func (p *parser) nameRow(line []byte) bool {
	if i, j := p.column("id"), p.column("processname"); i >= 0 && j == len(p.columns)-1 {
		fields := strings.Fields(name(line)) // numbers are wider than their heading, and some are missing on the left
		n := len(fields) - len(p.columns) + i
		if n < 0 {
			return false
		}
		pid, ok := number([]byte(fields[n]))
		if ok {
			p.set.name(pid, fields[len(fields)-1])
		}
		return ok
	}
	// tasklist: a name of any length, then the number.
	text := []rune(name(line))
	if len(text) <= p.columns[1].start {
		return false
	}
	fields := strings.Fields(string(text[min(p.columns[0].end, len(text)):]))
	if len(fields) == 0 {
		return false
	}
	pid, ok := number([]byte(fields[0]))
	image := strings.TrimSpace(string(text[:min(p.columns[0].end, len(text))]))
	if !ok || image == "" {
		return false
	}
	p.set.name(pid, image)
	return true
}

// psHeading takes the heading of ps.
func (p *parser) psHeading(text string) bool {
	fields := strings.Fields(text)
	p.columns = p.columns[:0]
	for _, f := range fields {
		p.columns = append(p.columns, column{name: strings.ToLower(f)})
	}
	p.form = formAny
	p.set.ps = p.columns
	p.set.psPID = p.column("pid")
	p.columns = nil
	return p.set.psPID >= 0
}

// psRow takes a row of ps, whose last column is the command.
func (p *parser) psRow(fields [][]byte) bool {
	n := len(p.set.ps)
	if n < 2 || len(fields) < n {
		return false
	}
	pid, ok := number(fields[p.set.psPID])
	if !ok {
		return false
	}
	command := string(fields[n-1])
	if strings.HasPrefix(command, "/") {
		command = filepath.Base(command)
	}
	p.set.name(pid, strings.TrimSuffix(command, ":"))
	return true
}

// ownerLine takes a line of netstat -b that names the program of the row before.
func (p *parser) ownerLine(trimmed []byte) bool {
	if len(trimmed) < 3 || trimmed[0] != '[' || trimmed[len(trimmed)-1] != ']' || p.owner <= 0 ||
		bytes.ContainsAny(trimmed, `"{,`) {
		return false
	}
	p.set.name(p.owner, name(trimmed[1:len(trimmed)-1]))
	return true
}

// rangeLine takes the output of netsh int ipv4 show dynamicport, in any language: a line with tcp or udp, and two
// numbers behind colons. It takes sysctl's, too.
func (p *parser) rangeLine(trimmed []byte) bool {
	text := strings.ToLower(string(trimmed[:min(len(trimmed), 256)]))
	if i := strings.Index(text, "ip_local_port_range"); i >= 0 {
		f := strings.FieldsFunc(text[i:], func(r rune) bool { return r < '0' || r > '9' })
		if len(f) == 2 {
			p.set.portRange(model.ProtocolTCP, f[0], f[1], false)
			p.set.portRange(model.ProtocolUDP, f[0], f[1], false)
			return true
		}
		return false
	}
	_, after, ok := strings.Cut(strings.ReplaceAll(text, "：", ":"), ":")
	if !ok {
		for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r < 'a' || r > 'z' }) {
			if (word == "tcp" || word == "udp") && len(text) < 100 {
				p.rangeOf, p.rangeLow = word, ""
				return false
			}
		}
		return false
	}
	after = strings.TrimSpace(after)
	if p.rangeOf == "" || !digits([]byte(after)) {
		return false
	}
	if p.rangeLow == "" {
		p.rangeLow = after
		return true
	}
	protocol := model.ProtocolTCP
	if p.rangeOf == "udp" {
		protocol = model.ProtocolUDP
	}
	p.set.portRange(protocol, p.rangeLow, after, true)
	p.rangeOf, p.rangeLow = "", ""
	return true
}

// portRange notes the range of dynamic ports; counted says that the second number is how many there are.
func (s *set) portRange(protocol model.Protocol, low, second string, counted bool) {
	a, errA := strconv.ParseUint(low, 10, 16)
	b, errB := strconv.ParseUint(second, 10, 17)
	if counted {
		b += a - 1
	}
	if errA != nil || errB != nil || a == 0 || b > 65535 || b < a {
		s.note("a range of dynamic ports was given as %q and %q, which is none", low, second)
		return
	}
	s.ranges[protocol] = portRange{uint16(a), uint16(b), true}
}

// name notes the name of a process.
func (s *set) name(pid int32, name string) {
	const most, long = 1 << 17, 64
	s.nameRows++
	if name = strings.TrimSpace(name); pid <= 0 || name == "" || len(s.names) >= most {
		return
	}
	if len(name) > long {
		name = strings.ToValidUTF8(name[:long], "")
	}
	s.names[pid] = name
}

// damage notes that a part of the input is missing.
func (s *set) damage(format string, args ...any) { s.integrity.Add(fmt.Sprintf(format, args...), 0) }

// note notes what the reader of a verdict should know.
func (s *set) note(format string, args ...any) {
	const most = 32
	if text := fmt.Sprintf(format, args...); len(s.notes) < most {
		s.notes = append(s.notes, text)
	}
}
