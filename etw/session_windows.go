package etw

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"lostbeat/internal/guard"
)

const (
	// sessionPrefix begins the names of our sessions; the number of the process follows.
	sessionPrefix = "lostbeat-"
	// bufferKB is the size of a buffer; buffersPerCPU and moreBuffers say how many there are at first and at most.
	bufferKB      = 256
	buffersPerCPU = 4
	moreBuffers   = 64
	// stopTimeout is how long the records that are under way at the end may take.
	stopTimeout = 5 * time.Second
	// restarts is how often a session is tried to be started while an old one of its name is going away.
	restarts = 10
)

// opLostEvent is the type of a record that says that events were lost; the others of its class say that of buffers.
const opLostEvent = 32

// sessionName returns the name of a session of this process.
func sessionName(kind string) string { return fmt.Sprintf("%s%d-%s", sessionPrefix, os.Getpid(), kind) }

// consumer takes the records of one session. ETW has a pointer to it.
type consumer struct {
	stream *Stream
	// since is the time stamp at the start: what is older was left by a session before.
	since  uint64
	record Record
	// extended holds the extended items of a record.
	extended []byte
	// lost and lostBuffers count the records that report losses of events and of buffers, damaged the parts of buffers
	// that could not be read since damage was called last.
	lost, lostBuffers, damaged atomic.Uint64
	fault                      atomic.Pointer[guard.PanicError]
	// buffers reads buffers that are handed over whole; nil where records come one by one.
	buffers BufferReader
}

func (c *consumer) fail(p any) {
	c.fault.CompareAndSwap(nil, &guard.PanicError{Where: "the trace callback", Value: p, Trace: debug.Stack()})
}

// take copies a record.
func (c *consumer) take(e *eventRecord) {
	h := &e.Header
	if h.Flags&flagTraceMessage != 0 {
		return
	}
	r := &c.record
	*r = Record{
		Time: h.TimeStamp, Class: h.ProviderID, Header: HeaderEvent, PointerSize: 8,
		ID: h.ID, Version: uint16(h.Version), Level: h.Level, Opcode: h.Opcode, Channel: h.Channel, Task: h.Task,
		Keyword: h.Keyword, Flags: h.Flags, PID: int32(h.ProcessID), TID: int32(h.ThreadID), Activity: h.ActivityID,
		CPU: int32(e.ProcessorIndex),
	}
	if h.Flags&FlagCPUIndex == 0 {
		r.CPU = int32(e.ProcessorIndex & 0xff)
	}
	if h.Flags&flag32BitHeader != 0 {
		r.PointerSize = 4
	}
	if h.Flags&flagClassicHeader != 0 {
		r.Header, r.ID = HeaderFull, uint16(h.Opcode)
	}
	if e.UserDataLength > 0 {
		r.Payload = unsafe.Slice(e.UserData, e.UserDataLength)
	}
	if e.ExtendedDataCount > 0 {
		r.Extended = c.items(unsafe.Slice(e.ExtendedData, e.ExtendedDataCount))
	}
	c.put(r)
}

// takeBuffer copies the records of a buffer.
func (c *consumer) takeBuffer(buffer []byte) {
	c.damaged.Add(c.buffers.Read(buffer, func(r *Record) {
		if r.Header != HeaderMessage {
			c.put(r)
		}
	}))
}

// put hands on what the session has logged.
func (c *consumer) put(r *Record) {
	switch {
	case r.Time < c.since: // of a session before
	case r.Class == ClassLost && r.ID == opLostEvent:
		c.lost.Add(1)
	case r.Class == ClassLost: // RT_LostBuffer and RT_LostFile
		c.lostBuffers.Add(1)
	default:
		c.stream.Put(r)
	}
}

// items encodes the extended items that are used as they stand in a file.
func (c *consumer) items(items []extendedItem) []byte {
	c.extended = c.extended[:0]
	last := -1
	for i := range items {
		item := &items[i]
		if item.Type != ExtendedSchemaTL && item.Type != ExtendedProviderTraits {
			continue
		}
		if last >= 0 {
			c.extended[last+4] |= 1 // another one follows
		}
		last = len(c.extended)
		size := (8 + int(item.DataSize) + 7) &^ 7
		c.extended = binary.LittleEndian.AppendUint16(c.extended, uint16(size))
		c.extended = binary.LittleEndian.AppendUint16(c.extended, item.Type)
		c.extended = binary.LittleEndian.AppendUint16(c.extended, 0)
		c.extended = binary.LittleEndian.AppendUint16(c.extended, item.DataSize)
		c.extended = append(c.extended, unsafe.Slice(*(**byte)(unsafe.Pointer(&item.Data)), item.DataSize)...)
		c.extended = append(c.extended, make([]byte, last+size-len(c.extended))...)
	}
	return c.extended
}

// session is a running real-time session of ours and who reads it.
type session struct {
	api  *api
	name string
	// kind is what it is called: "system session".
	kind     string
	handle   uint64
	trace    uint64
	consumer *consumer
	pins     runtime.Pinner
	enabled  []GUID
	// done is closed when ProcessTrace has returned, with err.
	done   chan struct{}
	err    error
	ledger lossLedger
	// single says why records come one by one although whole buffers were asked for.
	single error
	// ended says that it was reported to have ended by itself, failing why it cannot be queried as that was reported.
	ended   bool
	failing string
}

// startSession starts a session and reads it into the consumer. flags are those of a system logger, 0 for a session
// with providers.
func startSession(a *api, kind string, flags uint32, c *consumer) (*session, error) {
	s := &session{api: a, name: sessionName(kind), kind: kind + " session", consumer: c, done: make(chan struct{})}
	var err error
	for try := range restarts {
		p := newProperties()
		p.Wnode.ClientContext = clockQPC
		p.Wnode.GUID = newGUID()
		p.BufferSize = bufferKB
		cpus := uint32(runtime.NumCPU())
		p.MinimumBuffers = max(8, buffersPerCPU*cpus)
		p.MaximumBuffers = p.MinimumBuffers + moreBuffers
		p.FlushTimer = 1
		p.LogFileMode = modeRealTime | modeIndependentSession
		if flags != 0 {
			p.LogFileMode |= modeSystemLogger
			p.EnableFlags = flags
		}
		if s.handle, err = a.start(s.name, p); codeOf(err) != errorAlreadyExists {
			break
		}
		// It is ours by its name, and left by a process that had our number. Windows may keep it for a moment.
		if _, stopped := a.control(0, s.name, controlStop); stopped != nil && try > 0 {
			time.Sleep(50 * time.Millisecond)
		}
	}
	if err != nil {
		var call *CallError
		if errors.As(err, &call) && call.Code == errorNoSystemResources {
			call.Sessions, _ = a.sessions()
			call.Most = a.most()
		}
		return nil, err
	}
	s.pins.Pin(s.consumer)
	if err = s.open(); err != nil {
		_, stop := a.control(s.handle, s.name, controlStop)
		s.pins.Unpin()
		return nil, errors.Join(err, stop)
	}
	go func() {
		defer close(s.done)
		s.err = a.process(s.trace, s.name)
	}()
	return s, nil
}

// open opens the session for reading: its buffers, where they are asked for and this Windows can hand them over.
func (s *session) open() (err error) {
	c := s.consumer
	if c.buffers != nil {
		if s.trace, s.single = s.api.openBuffers(s.name, unsafe.Pointer(c)); s.single == nil {
			return nil
		}
		c.buffers = nil
	}
	s.trace, err = s.api.open(s.name, unsafe.Pointer(c))
	return err
}

// codeOf returns the number of an error of Windows, 0 for none.
func codeOf(err error) uint32 {
	var call *CallError
	if errors.As(err, &call) {
		return call.Code
	}
	return 0
}

func newGUID() GUID {
	g, err := windows.GenerateGUID()
	if err != nil {
		return GUID{0: byte(os.Getpid()), 1: byte(os.Getpid() >> 8), 15: 1}
	}
	return *(*GUID)(unsafe.Pointer(&g))
}

// enable enables a provider for the events of the given ids only. A Windows that refuses the list gets the keywords.
func (s *session) enable(p provider, ids []uint16) error {
	r := uintptr(errorInvalidParameter)
	if n := len(ids); n > 0 && n <= maxFilterIDs {
		// EVENT_FILTER_EVENT_ID: FilterIn, Reserved, Count, Events.
		filter := []byte{1, 0}
		filter = binary.LittleEndian.AppendUint16(filter, uint16(n))
		for _, id := range ids {
			filter = binary.LittleEndian.AppendUint16(filter, id)
		}
		var pins runtime.Pinner
		pins.Pin(&filter[0])
		d := &eventFilterDescriptor{
			Ptr: uint64(uintptr(unsafe.Pointer(&filter[0]))), Size: uint32(len(filter)), Type: filterTypeEventID,
		}
		pins.Pin(d)
		r = s.api.enable(s.handle, &p.guid, controlCodeEnable, p.level, 0, &enableTraceParameters{
			Version: enableParametersVersion, EnableFilterDesc: d, FilterDescCount: 1,
		})
		pins.Unpin()
	}
	if r == errorInvalidParameter {
		r = s.api.enable(s.handle, &p.guid, controlCodeEnable, p.level, p.keywords, nil)
	}
	if r == 0 {
		s.enabled = append(s.enabled, p.guid)
	}
	return fail("enable the provider "+p.name, r)
}

// losses returns what the session has lost since the last call: events, and buffers of them.
func (s *session) losses() (events, buffers uint64, err error) {
	p, err := s.api.control(s.handle, s.name, controlQuery)
	if err != nil {
		return 0, 0, err
	}
	events, buffers = s.count(p, s.api.dropped(s.trace), false)
	return events, buffers, nil
}

// count returns what properties and the session's own records count beyond what was reported. dropped are the time
// stamps of its last losses; final says that it has ended.
func (s *session) count(p *properties, dropped []uint64, final bool) (events, buffers uint64) {
	return s.ledger.take(lossCounters{
		events: uint64(p.EventsLost), records: s.consumer.lost.Load(),
		buffers: uint64(p.RealTimeBuffersLost) + uint64(p.LogBuffersLost), reports: s.consumer.lostBuffers.Load(),
		dropped: dropped,
	}, final)
}

// damage returns how many parts of buffers could not be read since the last call.
func (s *session) damage() uint64 { return s.consumer.damaged.Swap(0) }

// stop ends the session and waits for the records that are under way. It returns the last of what was lost.
func (s *session) stop() (events, buffers uint64, err error) {
	for i := range s.enabled {
		s.api.enable(s.handle, &s.enabled[i], controlCodeDisable, 0, 0, nil)
	}
	dropped := s.api.dropped(s.trace)
	p, err := s.api.control(s.handle, s.name, controlStop)
	if codeOf(err) == errorInstanceNotFound {
		err = nil // somebody else has stopped it
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-s.done:
		s.api.close(s.trace)
		s.pins.Unpin()
	case <-timer.C:
		// ETW may still call back: what it has stays where it is until then.
		s.api.close(s.trace)
		go func() { <-s.done; s.pins.Unpin() }()
		late := fmt.Errorf("read the session %s: its last records did not come within %s", s.name, stopTimeout)
		err = errors.Join(err, late)
	}
	// Of a session that could not be stopped, the records in its stream are counted.
	events, buffers = s.count(p, dropped, true)
	return events, buffers, err
}

// stopStale stops the sessions that processes of lostbeat have left that run no longer. Those of others, and of a
// lostbeat that runs, are left alone.
func stopStale(a *api) (stopped []string) {
	names, err := a.sessions()
	if err != nil {
		return nil
	}
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, sessionPrefix)
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(rest, "-")
		pid, err := strconv.ParseUint(number, 10, 32)
		if err != nil || ownsSession(uint32(pid)) {
			continue
		}
		if _, err := a.control(0, name, controlStop); err == nil {
			stopped = append(stopped, name)
		}
	}
	return stopped
}

// ownsSession reports whether a process runs that may have started a session: one of this program.
func ownsSession(pid uint32) bool {
	if pid == uint32(os.Getpid()) {
		return false
	}
	process, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, pid)
	if errors.Is(err, windows.ERROR_INVALID_PARAMETER) {
		return false // there is none
	}
	if err != nil {
		return true // whose it is cannot be seen
	}
	defer func() { _ = windows.CloseHandle(process) }()
	var code uint32
	const stillActive = 259
	if windows.GetExitCodeProcess(process, &code) == nil && code != stillActive {
		return false
	}
	path := make([]uint16, windows.MAX_LONG_PATH)
	size := uint32(len(path))
	if windows.QueryFullProcessImageName(process, 0, &path[0], &size) != nil {
		return true
	}
	own, err := os.Executable()
	return err != nil || sameProgram(windows.UTF16ToString(path[:size]), own)
}
