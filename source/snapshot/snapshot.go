package snapshot

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"lostbeat/model"
	"lostbeat/model/budget"
	"lostbeat/source"
)

// FormatName is the name of the format.
const FormatName = "snapshot"

// Tables is the format of tables of sockets, and of what belongs to them.
func Tables() source.Format {
	return source.Format{
		Name:           FormatName,
		Sniff:          Detect,
		BytesPerSecond: 30 << 20,
		OwnProgress:    true,
		Claims:         func(path string) bool { return len(inFolder(path)) > 0 },
		Open: func(path string, o source.OpenOptions) (source.File, error) {
			if paths := inFolder(path); len(paths) > 0 {
				return open(paths, o)
			}
			return open([]string{path}, o)
		},
		OpenAll: func(paths []string, o source.OpenOptions) (source.File, error) {
			return open(paths, o)
		},
	}
}

// inFolder returns the files of the format in a folder, nil for anything else.
func inFolder(path string) (paths []string) {
	const most = 1000
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return nil
	}
	list, err := os.ReadDir(path)
	if err != nil {
		return nil
	}
	for _, entry := range list[:min(len(list), most)] {
		name := filepath.Join(path, entry.Name())
		if !entry.Type().IsRegular() {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		head := make([]byte, 64<<10)
		n, _ := io.ReadFull(f, head)
		f.Close()
		if Detect(head[:n]) {
			paths = append(paths, name)
		}
	}
	return paths
}

// Detect reports whether a file that begins with head is a table of sockets, a list of processes or a range of ports.
func Detect(head []byte) bool {
	if isJSON(head) {
		return true
	}
	const most = 400
	s := newSet(source.OpenOptions{})
	p := s.parser("")
	l := newLines(bytes.NewReader(head))
	known, unknown := 0, 0
	for n := 0; n < most; n++ {
		line, err := l.next()
		if err != nil {
			break
		}
		if bytes.IndexByte(line, 0) >= 0 {
			return false
		}
		switch {
		case len(bytes.TrimSpace(line)) == 0:
		case p.line(line):
			known++
		default:
			unknown++
		}
	}
	p.endItem()
	rows := s.rows + p.named
	return rows > 0 && (rows >= 3 || rows*3 >= unknown) && rows*8 >= unknown ||
		s.nameRows >= 2 && s.nameRows*2 >= unknown ||
		len(s.ranges) > 0 && unknown < 40
}

// set is one or several files that were opened together.
type set struct {
	texts *texts
	// names are those of processes, ranges those of ports by protocol.
	names  map[int32]string
	ranges map[model.Protocol]portRange
	// ps are the columns of a list of processes, psPID the number of the one with the process.
	ps    []column
	psPID int
	// nameRows is how many rows named one.
	nameRows int

	files   []parsed
	moments []*moment
	linux   bool

	rows, maxRows int
	left          uint64
	zone          *time.Location
	// zoned says that the zone is given.
	zoned      bool
	notes      []string
	assumed    []string
	integrity  source.Integrity
	progress   source.Progress
	done, size int64
	label      string
	// host is whose the tables are, empty where there is no other.
	host string
}

// portRange is a range of dynamic ports; given says that it is not the system's default.
type portRange struct {
	low, high uint16
	given     bool
}

func (r portRange) size() int { return int(r.high) - int(r.low) + 1 }

func (r portRange) has(port uint16) bool { return port >= r.low && port <= r.high }

// parsed is a file with its tables.
type parsed struct {
	name     string
	modified model.Time
	tables   []*table
}

var (
	_ source.File     = (*set)(nil)
	_ source.Verified = (*set)(nil)
)

// ErrFormat is the error of files without a table of sockets.
var ErrFormat = errors.New("it has no table of sockets")

// CompanionError is ErrFormat for files that belong to a table.
type CompanionError struct{ what string }

func (e *CompanionError) Error() string { return "it has " + e.what + ", and no table of sockets" }

// Hint says what to do.
func (e *CompanionError) Hint() string {
	return "give it together with the output of netstat -anoq, Get-NetUDPEndpoint or ss -tunap"
}

func newSet(o source.OpenOptions) *set {
	s := &set{texts: newTexts(), names: map[int32]string{}, ranges: map[model.Protocol]portRange{}}
	memory := cmp.Or(o.Memory, budget.Default)
	s.maxRows = int(memory / 16 / int64(unsafe.Sizeof(row{}))) // the tables by socket take more than the rows
	s.progress = o.Progress
	s.zone, s.zoned = o.Zone()
	return s
}

func (s *set) parser(name string) *parser {
	return &parser{set: s, file: name, zone: s.zone, owner: -1}
}

// open reads the files: a table is small, and what it says of time is known at its end.
func open(paths []string, o source.OpenOptions) (*set, error) {
	s := newSet(o)
	s.label = filepath.Base(paths[0])
	if len(paths) > 1 {
		s.label = fmt.Sprintf("%s and %d more", s.label, len(paths)-1)
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			s.size += info.Size()
		}
	}
	if s.host = o.Host; s.host != "" {
		s.assume("these tables are of %s; those of other hosts, and from before a restart, are judged apart", s.host)
	}
	for _, path := range paths {
		if err := s.read(path); err != nil {
			return nil, err
		}
	}
	if err := s.arrange(); err != nil {
		return nil, err
	}
	return s, nil
}

// read reads one file.
func (s *set) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return s.readFrom(f, filepath.Base(path), model.TimeOf(info.ModTime()))
}

// readFrom reads one file's contents.
func (s *set) readFrom(r io.ReadSeeker, name string, modified model.Time) error {
	head := make([]byte, 64<<10)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	s.ps = nil
	p := s.parser(name)
	if isJSON(head[:n]) {
		err = p.parseJSON(r, head[:n])
	} else {
		err = p.parse(r)
	}
	p.tables = slices.DeleteFunc(p.tables, func(t *table) bool { return len(t.rows) == 0 })
	s.files = append(s.files, parsed{name, modified, p.tables})
	return err
}

func (s *set) assume(format string, args ...any) {
	const most = 32
	if text := fmt.Sprintf(format, args...); len(s.assumed) < most && !slices.Contains(s.assumed, text) {
		s.assumed = append(s.assumed, text)
	}
}

// Close implements io.Closer.
func (s *set) Close() error { return nil }

// Span implements source.Seekable.
func (s *set) Span() (start, end model.Time) { return s.moments[0].at, s.moments[len(s.moments)-1].at }

// Integrity implements source.Verified.
func (s *set) Integrity() source.Integrity {
	i := s.integrity
	i.Unit, i.Read = "row", uint64(s.rows)
	if s.left > 0 {
		i.Written = uint64(s.rows) + s.left
		i.Damage = slices.Clone(i.Damage)
		i.Add(fmt.Sprintf("rows for which memory had no room: %d", s.left), 0)
	}
	return i
}

// Assumed says what was assumed of the tables, a sentence each.
func (s *set) Assumed() []string { return s.assumed }

// Notes says what else was found, a sentence each.
func (s *set) Notes() []string { return append(slices.Clone(s.assumed), s.notes...) }

// moment is what tables say of one time.
type moment struct {
	at   model.Time
	from string
	// vague says that nothing orders it, damaged that a part is missing.
	vague, damaged bool
	tables         []*table
	commands       []string
}

// near is how far apart tables of different commands may be of one moment.
const near = time.Minute

// modification says where the time of a table is from that does not say it.
const modification = "the file's modification time"

// arrange puts the tables into moments.
func (s *set) arrange() error {
	type dated struct {
		*table
		at    model.Time
		from  string
		vague bool
		file  string
	}
	var list []dated
	local := false
	for _, f := range s.files {
		for _, t := range f.tables {
			d := dated{table: t, file: f.name}
			newest := model.Time(0)
			for i := range t.rows {
				newest = max(newest, t.rows[i].created)
			}
			named := timeInName(f.name, s.zone)
			switch {
			case t.at != 0:
				d.at, d.from = t.at, "a line of the file"
			case named != 0 && (newest == 0 || named >= newest && named.Sub(newest) < 24*time.Hour):
				d.at, d.from = named, "the file's name"
				local = true
			case newest != 0:
				d.at, d.from = newest, "the newest CreationTime, a lower bound"
				local = true
			default:
				d.at, d.from = f.modified, modification
			}
			list = append(list, d)
			s.linux = s.linux || t.kind.linux()
		}
	}
	if len(list) == 0 {
		switch {
		case len(s.names) > 0:
			return &CompanionError{"names of processes"}
		case len(s.ranges) > 0:
			return &CompanionError{"a range of ports"}
		}
		return ErrFormat
	}
	slices.SortStableFunc(list, func(a, b dated) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.file, b.file))
	})
	for _, d := range list {
		var m *moment
		twice := false
		for i := len(s.moments) - 1; i >= 0 && m == nil && !twice; i-- {
			o := s.moments[i]
			if d.at.Sub(o.at) >= near {
				break
			}
			if twice = o.has(d.table); !twice && !o.repeats(d.table) {
				m = o
			}
		}
		if twice {
			s.note("%s has the same sockets as a table within a minute of it, and is counted once", d.file)
			continue
		}
		if m == nil {
			at := d.at
			if n := len(s.moments); n > 0 {
				before := s.moments[n-1]
				// Copies are as far apart as the copying took.
				d.vague = at <= before.at || d.from == modification && before.from == modification && at.Sub(before.at) < near
				at = max(at, before.at.Add(time.Second))
			}
			m = &moment{at: at, from: d.from, vague: d.vague}
			if n := len(s.moments); n > 0 && s.otherHost(s.moments[n-1].tables, d.table) {
				m.vague = true
				s.note("%s and the table before it have no local address in common: of two hosts?", d.file)
			}
			s.moments = append(s.moments, m)
		}
		m.tables = append(m.tables, d.table)
		m.damaged = m.damaged || d.damaged
		if c := d.kind.String(); !slices.Contains(m.commands, c) {
			m.commands = append(m.commands, c)
		}
	}
	slices.SortStableFunc(s.moments, func(a, b *moment) int { return cmp.Compare(a.at, b.at) })
	if local && !s.zoned {
		s.assume("times in the tables and in the names of files have no zone; they are read as UTC (--log-time says it)")
	}
	if slices.ContainsFunc(list, func(d dated) bool { return d.from == modification }) {
		s.assume("the tables do not say when they were made; their time is the file's modification time")
	}
	s.assumeRanges()
	return nil
}

// assumeRanges takes the system's default for the ranges that are not given.
func (s *set) assumeRanges() {
	r := portRange{49152, 65535, false}
	command := "netsh int ipv4 show dynamicport tcp, and udp,"
	if s.linux {
		r = portRange{32768, 60999, false}
		command = "sysctl net.ipv4.ip_local_port_range"
	}
	var assumed []string
	for _, p := range []model.Protocol{model.ProtocolTCP, model.ProtocolUDP} {
		if _, ok := s.ranges[p]; ok {
			continue
		}
		s.ranges[p] = r
		if s.covers(p) {
			assumed = append(assumed, strings.ToUpper(p.String()))
		}
	}
	if len(assumed) > 0 {
		s.assume("the system's range of %s ports is %d to %d, the default (give the output of %s with the tables)",
			strings.Join(assumed, " and "), r.low, r.high, command)
	}
}

// otherHost says that a table has local addresses of its own, and none of those of the tables before. Loopback
// addresses are those of every host.
func (s *set) otherHost(before []*table, t *table) bool {
	seen := map[uint32]bool{}
	for _, o := range before {
		for i := range o.rows {
			if s.ownAddress(&o.rows[i]) {
				seen[o.rows[i].local] = true
			}
		}
	}
	own := false
	for i := range t.rows {
		if !s.ownAddress(&t.rows[i]) {
			continue
		}
		if own = true; seen[t.rows[i].local] {
			return false
		}
	}
	return own && len(seen) > 0
}

// ownAddress reports whether the local end of a connection says which host it is.
func (s *set) ownAddress(r *row) bool {
	if r.rport == 0 {
		return false
	}
	text, _, _ := strings.Cut(s.texts.list[r.local], "%")
	addr, err := netip.ParseAddr(text)
	return err != nil || !addr.Unmap().IsLoopback()
}

func (s *set) covers(p model.Protocol) bool {
	return slices.ContainsFunc(s.moments, func(m *moment) bool { return m.covers(p) })
}

func (m *moment) covers(p model.Protocol) bool {
	return slices.ContainsFunc(m.tables, func(t *table) bool { return t.covers[p] })
}

// repeats says that the moment has a table of the same command and protocol already; netstat -q is another command.
func (m *moment) repeats(t *table) bool {
	return slices.ContainsFunc(m.tables, func(o *table) bool {
		q := o.kind == kindNetstat && o.boundSeen != t.boundSeen
		return o.kind == t.kind && !q && (o.covers[model.ProtocolTCP] && t.covers[model.ProtocolTCP] ||
			o.covers[model.ProtocolUDP] && t.covers[model.ProtocolUDP])
	})
}

// has says that the moment has the same sockets from the same command already: bundles hold tables in several forms.
// The one with times of creation is kept.
func (m *moment) has(t *table) bool {
	for i, o := range m.tables {
		if o.kind == t.kind && sameRows(o.rows, t.rows) {
			if !slices.ContainsFunc(o.rows, func(r row) bool { return r.created != 0 }) && !t.damaged {
				m.tables[i] = t
			}
			return true
		}
	}
	return false
}

// sameRows reports whether two tables list the same sockets in the same states, in whatever order.
func sameRows(a, b []row) bool {
	if len(a) != len(b) {
		return false
	}
	type socket struct {
		rowKey
		protocol model.Protocol
		state    connState
	}
	count := make(map[socket]int, len(a))
	for i := range a {
		count[socket{keyOf(&a[i]), a[i].protocol, a[i].state}]++
	}
	for i := range b {
		k := socket{keyOf(&b[i]), b[i].protocol, b[i].state}
		if count[k] == 0 {
			return false
		}
		count[k]--
	}
	return true
}

// Run implements source.Source.
func (s *set) Run(ctx context.Context, emit source.Emit) error { return s.RunFrom(ctx, 0, emit) }
