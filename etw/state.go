package etw

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"lostbeat/model"
)

// Limits of what is remembered of a capture. They are far above what a host
// has and keep a damaged or hostile file from occupying memory.
const (
	maxImages    = 1 << 16
	maxProcesses = 1 << 17
	maxThreads   = 1 << 18
)

// State is what records say about the host: images, processes, threads,
// volumes and schemas. A survey of a capture fills it in advance, because the
// records that name things often stand at its end.
type State struct {
	// Census counts the records of each kind that the survey saw; nil without one.
	Census Census
	// Host describes the recording machine as far as it is known.
	Host Host

	// Monitor is what the capture says of Packet Monitor, nil without it.
	Monitor *Monitor

	// Pooled says that the stream has the ranges of ports already. A capture does not have them.
	Pooled bool

	// groups and events count records of which a survey takes nothing else, until Settle: of the kernel by group and
	// type, of providers by a hash of their key.
	groups []groupCount
	events []eventCount

	images    images
	processes processes
	threads   map[int32]int32
	schemas   schemas
	// layers are the packets that NDIS packet capture has of each layer of an adapter.
	layers map[layerKey]uint64
	// live says that no survey precedes the decoding: what names other records is taken when it comes.
	live bool
}

// Host describes the recording machine.
type Host struct {
	// Computer is its name.
	Computer string
	// Domain is its domain.
	Domain string
	// BuildLab and Product describe its Windows.
	BuildLab, Product string
	// Processors, MHz and MemoryMB are 0 where unknown.
	Processors, MHz, MemoryMB uint32
	// Adapters are its network adapters.
	Adapters []Adapter
}

// Adapter is a network adapter of SystemConfig.
type Adapter struct {
	Description, Addresses string
	// Index is its IPv4 interface index, 0 unknown.
	Index uint32
	// MAC is its physical address in text.
	MAC string
}

// NewState returns an empty state.
func NewState() *State {
	return &State{threads: make(map[int32]int32), schemas: newSchemas()}
}

// NewLiveState returns an empty state for records that are decoded as they come, without a survey.
func NewLiveState() *State {
	s := NewState()
	s.live = true
	return s
}

// Survey takes from r what names other records. Records may come in any order;
// Settle has to be called after the last.
func (s *State) Survey(r *Record, c *Clock) {
	if s.Census == nil {
		s.Census = make(Census)
	}
	s.Census[r.Key()]++
	switch {
	case r.Class == ClassImage && r.Classic():
		if img, ok := parseImage(r); ok {
			s.images.add(img, r.ID, c.Time(r.Time))
		}
	case r.Class == ClassProcess && r.Classic():
		if p, ok := parseProcess(r); ok {
			s.processes.add(p, r.ID, c.Time(r.Time))
		}
	case r.Class == ClassThread && r.Classic():
		s.surveyThread(r)
	case r.Class == ClassSystemConfig:
		s.systemConfig(r)
	case r.Class == ClassSystemConfigEx:
		s.systemConfigEx(r)
	case r.Class == ProviderPktMon && r.Header == HeaderEvent && r.ID != manifestEvent:
		s.surveyMonitor(r)
	case r.Class == ProviderNDISCapture && r.Header == HeaderEvent && r.ID != manifestEvent:
		s.surveyLayer(r)
	default:
		s.schemas.survey(r)
	}
}

// groupCount counts the records of the kernel of one group and type. named says that they name something.
type groupCount struct {
	n            uint64
	known, named bool
}

// eventCount counts the records of one kind.
type eventCount struct {
	key Key
	n   uint64
}

// eventPlaces is how many kinds of records of providers are counted at a time outside of the census.
const eventPlaces = 1 << 8

// CountGroup counts a record of the kernel by its group and type, group<<8 | type, and reports whether that is all that
// a survey takes of it. One that it does not count is for Survey.
func (s *State) CountGroup(group uint16) bool {
	if s.groups == nil {
		s.groups = make([]groupCount, 1<<16)
	}
	g := &s.groups[group]
	if !g.known {
		g.known = true
		switch GroupClass(byte(group>>8), byte(group)) {
		case ClassImage, ClassProcess, ClassSystemConfig, ClassSystemConfigEx, ClassEventInfo:
			g.named = true
		case ClassThread:
			g.named = byte(group) >= opStart && byte(group) <= opDCEnd
		}
	}
	if !g.named {
		g.n++
	}
	return !g.named
}

// CountEvent is CountGroup for an event of a provider.
func (s *State) CountEvent(provider GUID, id uint16) bool {
	switch {
	case id == manifestEvent:
		return false
	case provider == ClassEventInfo, provider == ClassSystemConfig, provider == ClassSystemConfigEx,
		provider == ProviderPktMon, provider == ProviderNDISCapture:
		return false
	}
	if s.events == nil {
		s.events = make([]eventCount, eventPlaces)
	}
	e := &s.events[provider[0]^provider[5]^byte(id)]
	if e.key.ID != id || e.key.Class != provider {
		s.census(e.key, e.n)
		*e = eventCount{key: Event(provider, id)}
	}
	e.n++
	return true
}

// census adds to the census what was counted outside of it.
func (s *State) census(k Key, n uint64) {
	if n == 0 {
		return
	}
	if s.Census == nil {
		s.Census = make(Census)
	}
	s.Census[k] += n
}

// Clone returns a copy for a decoder: it adds to its copy what it learns. The
// settled state of a survey can so serve many runs.
func (s *State) Clone() *State {
	c := *s
	c.threads = maps.Clone(s.threads)
	c.processes.lives = maps.Clone(s.processes.lives)
	return &c
}

// Settle ends a survey.
func (s *State) Settle() {
	for group, g := range s.groups {
		s.census(Opcode(GroupClass(byte(group>>8), byte(group)), byte(group)), g.n)
	}
	for _, e := range s.events {
		s.census(e.key, e.n)
	}
	s.groups, s.events = nil, nil
	s.images.settle()
	s.processes.settle()
	s.schemas.settle()
	s.settleMonitor()
}

// surveyThread remembers threads whose start is not in the capture; the others
// become known when they start.
func (s *State) surveyThread(r *Record) {
	th, ok := parseThread(r)
	if !ok || r.ID == opStart || len(s.threads) >= maxThreads {
		return
	}
	if _, seen := s.threads[th.TID]; !seen || r.ID == opDCStart {
		s.threads[th.TID] = th.PID
	}
}

// Opcodes of the process, thread and image classes.
const (
	opStart     = 1
	opEnd       = 2
	opDCStart   = 3
	opDCEnd     = 4
	opLoad      = 10
	opTerminate = 11
	opDefunct   = 39
	opSetName   = 72
)

// Image is a mapped driver or library.
type Image struct {
	Base, Size uint64
	PID        int32
	File       string
	// From and To are when it was mapped.
	From, To model.Time
}

// mapping is one record about an image.
type mapping struct {
	Image
	at model.Time
	op uint16
}

// images knows the images of the kernel. While records are added it is only a
// list; settle makes it searchable.
type images struct {
	records []mapping
	list    []Image
}

const (
	always = model.Time(math.MinInt64)
	never  = model.Time(math.MaxInt64)
)

func (m *images) add(img Image, op uint16, t model.Time) {
	if img.PID == 0 && img.Size > 0 && img.Base+img.Size > img.Base && len(m.records) < maxImages {
		m.records = append(m.records, mapping{img, t, op})
	}
}

// settle makes intervals out of the records: a rundown says that an image was
// there before, a load since when, an unload until when.
func (m *images) settle() {
	slices.SortStableFunc(m.records, func(a, b mapping) int {
		return cmp.Or(cmp.Compare(a.Base, b.Base), cmp.Compare(a.at, b.at))
	})
	m.list = m.list[:0]
	for _, r := range m.records {
		m.apply(r)
	}
	m.records = m.records[:0]
}

// apply takes one record, which is later than those about the same base before it.
func (m *images) apply(r mapping) {
	n, _ := slices.BinarySearchFunc(m.list, r.Base, func(img Image, base uint64) int {
		if img.Base > base {
			return 1
		}
		return -1
	})
	var last *Image
	if n > 0 && m.list[n-1].Base == r.Base && m.list[n-1].To == never {
		last = &m.list[n-1]
	}
	from, to := always, never
	switch {
	case r.op == opEnd && last != nil:
		last.To = r.at
		return
	case r.op == opEnd:
		to = r.at
	case last != nil && (r.op != opLoad || strings.EqualFold(last.File, r.File)):
		return // the same image once more
	case r.op == opLoad:
		if from = r.at; last != nil {
			last.To = r.at
		}
	case n > 0 && m.list[n-1].Base == r.Base:
		// A rundown: it was loaded at any time, but after what was mapped at its base before.
		from = m.list[n-1].To
	}
	m.list = slices.Insert(m.list, n, r.span(from, to))
}

// learn takes a record as it comes.
func (m *images) learn(img Image, op uint16, t model.Time) {
	if img.PID == 0 && img.Size > 0 && img.Base+img.Size > img.Base && len(m.list) < maxImages {
		m.apply(mapping{img, t, op})
	}
}

func (r *mapping) span(from, to model.Time) Image {
	img := r.Image
	img.From, img.To = from, to
	return img
}

// find returns the image that held addr at time t.
func (m *images) find(addr uint64, t model.Time) *Image {
	i, _ := slices.BinarySearchFunc(m.list, addr, func(img Image, addr uint64) int {
		if img.Base > addr {
			return 1
		}
		return -1
	})
	// Images that were mapped one after the other may share addresses without
	// sharing a base: look at a few below the address.
	for n := 0; i > 0 && n < 16; n++ {
		i--
		if img := &m.list[i]; addr-img.Base < img.Size && t >= img.From && t <= img.To {
			return img
		}
	}
	return nil
}

// symbol names addr; lasting says that the answer holds at every time.
func (m *images) symbol(addr uint64, t model.Time) (s Symbol, lasting bool) {
	img := m.find(addr, t)
	if img == nil {
		return Symbol{Name: "0x" + strconv.FormatUint(addr, 16), Driver: "<unknown>"}, false
	}
	driver := strings.ToLower(BaseName(img.File))
	return Symbol{
			Name:   driver + "+0x" + strconv.FormatUint(addr-img.Base, 16),
			Driver: driver,
		}, img.From == always &&
			img.To == never
}

// BaseName returns the last element of a Windows path.
func BaseName(path string) string { return path[strings.LastIndexAny(path, `\/`)+1:] }

// process is one life of a process id.
type process struct {
	PID, Parent int32
	Name        string
	Command     string
	from, to    model.Time
}

type lifeRecord struct {
	process
	at model.Time
	op uint16
}

// processes knows the names of processes; ids are used again, so a name goes
// with a time.
type processes struct {
	records []lifeRecord
	lives   map[int32][]process
}

func (m *processes) add(p process, op uint16, t model.Time) {
	if len(m.records) < maxProcesses {
		m.records = append(m.records, lifeRecord{p, t, op})
	}
}

func (m *processes) settle() {
	slices.SortStableFunc(m.records, func(a, b lifeRecord) int { return cmp.Compare(a.at, b.at) })
	m.lives = make(map[int32][]process)
	for _, r := range m.records {
		m.apply(r)
	}
	m.records = nil
}

func (m *processes) apply(r lifeRecord) {
	lives := m.lives[r.PID]
	open := len(lives) > 0 && lives[len(lives)-1].to == never
	p := r.process
	p.from, p.to = always, never
	switch r.op {
	case opStart:
		if open {
			lives[len(lives)-1].to = r.at
		}
		p.from = r.at
		lives = append(lives, p)
	case opDCStart, opDCEnd:
		if !open {
			lives = append(lives, p)
		}
	case opEnd:
		p.to = r.at
		if open {
			lives[len(lives)-1].to = r.at
		} else if len(lives) == 0 {
			lives = append(lives, p)
		}
	default:
		return
	}
	m.lives[r.PID] = lives
}

// at returns the process that had an id at time t; when none had, the last
// that is known before it.
func (m *processes) at(pid int32, t model.Time) process {
	var found process
	for _, p := range m.lives[pid] {
		if p.from <= t || found.Name == "" {
			found = p
		}
	}
	return found
}
