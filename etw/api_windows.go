package etw

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Values of evntrace.h.
const (
	wnodeFlagTracedGUID = 0x00020000
	clockQPC            = 1

	modeRealTime           = 0x00000100
	modeSystemLogger       = 0x02000000
	modeIndependentSession = 0x08000000

	processRealTime     = 0x00000100
	processRawTimestamp = 0x00001000
	processEventRecord  = 0x10000000

	openRawTimestamp = 1

	controlQuery = 0
	controlStop  = 1

	controlCodeDisable = 0
	controlCodeEnable  = 1

	enableParametersVersion = 2
	filterTypeEventID       = 0x80000200
	maxFilterIDs            = 64

	kernelProcess   = 0x00000001
	kernelThread    = 0x00000002
	kernelImageLoad = 0x00000004
	kernelCSwitch   = 0x00000010
	kernelDPC       = 0x00000020
	kernelInterrupt = 0x00000040

	flag32BitHeader   = 0x0020
	flagClassicHeader = 0x0100
	flagTraceMessage  = 0x0080

	invalidTrace = ^uint64(0)
	maxSessions  = 64
)

// api are the functions of ETW. They are looked up before they are called: an old Windows, and Wine, lack some.
type api struct {
	startTrace, controlTrace, enableTrace, openTrace, processTrace, closeTrace, queryAllTraces *windows.LazyProc
	// openLogger opens a session whose buffers are handed over whole. Only new Windows have it.
	openLogger *windows.LazyProc
	// queryProcessing says when each stream has lost its last event, queryTrace how many sessions there may be. Old
	// Windows lack them.
	queryProcessing, queryTrace *windows.LazyProc
}

// systemAPI returns the functions of this Windows. Its DLL is that of the system folder, whatever the environment says.
func systemAPI() api {
	a := apiOf(windows.NewLazySystemDLL("advapi32.dll"))
	for _, p := range []**windows.LazyProc{&a.openLogger, &a.queryProcessing, &a.queryTrace} {
		if (*p).Find() != nil {
			*p = windows.NewLazySystemDLL("sechost.dll").NewProc((*p).Name)
		}
	}
	return a
}

func apiOf(dll *windows.LazyDLL) api {
	return api{
		startTrace:     dll.NewProc("StartTraceW"),
		controlTrace:   dll.NewProc("ControlTraceW"),
		enableTrace:    dll.NewProc("EnableTraceEx2"),
		openTrace:      dll.NewProc("OpenTraceW"),
		processTrace:   dll.NewProc("ProcessTrace"),
		closeTrace:     dll.NewProc("CloseTrace"),
		queryAllTraces: dll.NewProc("QueryAllTracesW"),
		openLogger:     dll.NewProc("OpenTraceFromRealTimeLogger"),

		queryProcessing: dll.NewProc("QueryTraceProcessingHandle"),
		queryTrace:      dll.NewProc("TraceQueryInformation"),
	}
}

// check reports the first function that is missing.
func (a *api) check() error {
	for _, p := range []*windows.LazyProc{
		a.startTrace, a.controlTrace, a.enableTrace, a.openTrace, a.processTrace, a.closeTrace, a.queryAllTraces,
	} {
		if p.Find() != nil {
			return &CallError{Call: "look up " + p.Name, Code: errorNotFound}
		}
	}
	return nil
}

// properties is EVENT_TRACE_PROPERTIES with room for the names behind it.
type properties struct {
	eventTraceProperties
	name, file [1024]uint16
}

// newProperties returns properties that Windows can fill. ControlTrace writes the settings of the session into them:
// they are made anew for each call.
func newProperties() *properties {
	p := &properties{}
	p.Wnode.BufferSize = uint32(unsafe.Sizeof(*p))
	p.Wnode.Flags = wnodeFlagTracedGUID
	p.LoggerNameOffset = uint32(unsafe.Offsetof(p.name))
	p.LogFileNameOffset = uint32(unsafe.Offsetof(p.file))
	return p
}

// fail returns the error that a function has returned; what none of them uses is GetLastError.
func fail(call string, code uintptr) error {
	if code == 0 {
		return nil
	}
	return &CallError{Call: call, Code: uint32(code)}
}

// start starts a session.
func (a *api) start(name string, p *properties) (handle uint64, err error) {
	wide, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return 0, err
	}
	p.LogFileNameOffset = 0 // none is written
	code, _, _ := a.startTrace.Call(
		uintptr(unsafe.Pointer(&handle)), uintptr(unsafe.Pointer(wide)), uintptr(unsafe.Pointer(p)),
	)
	return handle, fail("start the session "+name, code)
}

// control queries or stops a session, by its handle or, where that is 0, by its name.
func (a *api) control(handle uint64, name string, code uintptr) (*properties, error) {
	wide, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return nil, err
	}
	p := newProperties()
	r, _, _ := a.controlTrace.Call(
		uintptr(handle), uintptr(unsafe.Pointer(wide)), uintptr(unsafe.Pointer(p)), code,
	)
	call := "query the session " + name
	if code == controlStop {
		call = "stop the session " + name
	}
	return p, fail(call, r)
}

// enable enables or disables a provider; parameters may be nil.
func (a *api) enable(
	handle uint64, provider *GUID, code uintptr, level uint8, keywords uint64, parameters *enableTraceParameters,
) uintptr {
	r, _, _ := a.enableTrace.Call(
		uintptr(handle), uintptr(unsafe.Pointer(provider)), code, uintptr(level), uintptr(keywords), 0, 0,
		uintptr(unsafe.Pointer(parameters)),
	)
	return r
}

// open opens a real-time session for reading.
func (a *api) open(name string, context unsafe.Pointer) (handle uint64, err error) {
	wide, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return 0, err
	}
	file := eventTraceLogfile{
		LoggerName:          wide,
		ProcessTraceMode:    processRealTime | processEventRecord | processRawTimestamp,
		EventRecordCallback: recordCallback(),
		Context:             context,
	}
	r, _, last := a.openTrace.Call(uintptr(unsafe.Pointer(&file)))
	return opened(name, r, last)
}

// openBuffers opens a real-time session for reading its buffers whole.
func (a *api) openBuffers(name string, context unsafe.Pointer) (handle uint64, err error) {
	if a.openLogger.Find() != nil {
		return 0, &CallError{Call: "read whole buffers of the session " + name, Code: errorNotFound}
	}
	wide, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return 0, err
	}
	options := openTraceOptions{
		ProcessTraceModes:     openRawTimestamp,
		BufferCallback:        bufferCallback(),
		BufferCallbackContext: context,
	}
	var header traceLogfileHeader
	r, _, last := a.openLogger.Call(
		uintptr(unsafe.Pointer(wide)), uintptr(unsafe.Pointer(&options)), uintptr(unsafe.Pointer(&header)),
	)
	return opened(name, r, last)
}

// opened returns the handle of a session that was opened, or why it was not.
func opened(name string, handle uintptr, last error) (uint64, error) {
	if uint64(handle) != invalidTrace {
		return uint64(handle), nil
	}
	code := uintptr(errorInstanceNotFound)
	if errno, ok := last.(windows.Errno); ok && errno != 0 { //nolint:errorlint // it is a number, never wrapped
		code = uintptr(errno)
	}
	return 0, fail("read the session "+name, code)
}

// process hands the records of a session to the callback until the session is stopped.
func (a *api) process(handle uint64, name string) error {
	r, _, _ := a.processTrace.Call(uintptr(unsafe.Pointer(&handle)), 1, 0, 0)
	return fail("read the session "+name, r)
}

// close ends the reading. That it ends only when the callback has returned is no error.
func (a *api) close(handle uint64) { _, _, _ = a.closeTrace.Call(uintptr(handle)) }

// dropped returns the time stamp of the last event that each stream of a session has lost, 0 for none. It is nil where
// Windows does not say.
func (a *api) dropped(trace uint64) []uint64 {
	const lastDroppedTimes = 3 // EtwQueryLastDroppedTimes
	if a.queryProcessing.Find() != nil {
		return nil
	}
	buffer := make([]byte, 4<<10)
	for {
		size := uint32(len(buffer))
		code, _, _ := a.queryProcessing.Call(
			uintptr(trace), lastDroppedTimes, 0, 0, uintptr(unsafe.Pointer(&buffer[0])), uintptr(size),
			uintptr(unsafe.Pointer(&size)),
		)
		switch {
		case code == 0:
			return parseDropped(buffer[:min(int(size), len(buffer))])
		case (code == errorInsufficient || code == errorBadLength) && len(buffer) < 64<<10:
			buffer = make([]byte, 2*len(buffer))
		default:
			return nil
		}
	}
}

// most returns how many sessions there may be, 0 where Windows does not say.
func (a *api) most() uint32 {
	const maxLoggersQuery = 19 // TraceMaxLoggersQuery
	var n uint32
	if a.queryTrace.Find() != nil {
		return 0
	}
	code, _, _ := a.queryTrace.Call(0, maxLoggersQuery, uintptr(unsafe.Pointer(&n)), unsafe.Sizeof(n), 0)
	if code != 0 {
		return 0
	}
	return n
}

// sessions lists the running sessions.
func (a *api) sessions() (names []string, err error) {
	list := make([]*properties, maxSessions)
	for i := range list {
		list[i] = newProperties()
	}
	var n uint32
	r, _, _ := a.queryAllTraces.Call(
		uintptr(unsafe.Pointer(&list[0])), uintptr(len(list)), uintptr(unsafe.Pointer(&n)),
	)
	for _, p := range list[:min(int(n), len(list))] {
		names = append(names, windows.UTF16ToString(p.name[:]))
	}
	const errorMoreData = 234 // there are more than fit
	if r == errorMoreData {
		r = 0
	}
	return names, fail("list the sessions", r)
}

// recordCallback is made once: Go never gives a callback back.
var recordCallback = sync.OnceValue(func() uintptr { return windows.NewCallback(onRecord) })

// onRecord takes a record from ProcessTrace, on the thread that called it. Whom it is for stands in the record.
func onRecord(r *eventRecord) uintptr {
	c := (*consumer)(r.UserContext)
	defer func() {
		if p := recover(); p != nil {
			c.fail(p) // a panic must not cross the frames of Windows
		}
	}()
	c.take(r)
	return 0
}

// bufferCallback is made once, as recordCallback.
var bufferCallback = sync.OnceValue(func() uintptr { return windows.NewCallback(onBuffer) })

// onBuffer takes a whole buffer from ProcessTrace. It returns TRUE, which lets ProcessTrace go on.
func onBuffer(buffer *byte, size uintptr, _, context unsafe.Pointer) uintptr {
	c := (*consumer)(context)
	defer func() {
		if p := recover(); p != nil {
			c.fail(p) // as in onRecord
		}
	}()
	c.takeBuffer(unsafe.Slice(buffer, uint32(size)))
	return 1
}
