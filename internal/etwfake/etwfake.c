//go:build ignore

// SPDX-License-Identifier: see LICENSE
//
// A DLL that plays ETW: sessions with the real functions, structures and calling convention, whose events come from a
// file that package etwfake writes. It is for tests under Wine. Its settings are variables of its own environment:
//
//   ETWFAKE_EVENTS    the file with the events
//   ETWFAKE_LOG       a file that gets a line for each call that starts, stops or enables something
//   ETWFAKE_SESSIONS  names of sessions that run already, with a semicolon between them
//   ETWFAKE_BUFFER_MS events that are handed over later than this after their time are lost, as from full buffers;
//                     60000
//   ETWFAKE_END_MS    sessions end by themselves this long after their last event
//   ETWFAKE_FAIL      NAME=ERROR;...: StartTraceW fails for sessions whose name ends in NAME; enable, open, process,
//                     query and list are EnableTraceEx2, OpenTrace..., ProcessTrace, ControlTraceW and QueryAllTracesW
//   ETWFAKE_BUFFERS   an .etl file: who reads whole buffers gets those of the file as they are, not the events
//   ETWFAKE_FOREIGN   1: ProcessTrace calls back on a thread of its own
//
// EtwFakeReset forgets all sessions and reads the settings again.
#define UNICODE
#include <windows.h>
#define INITGUID
#include <evntrace.h>
#include <evntcons.h>
#include <stdio.h>
#include <wchar.h>

#define MAX_SESSIONS 64
#define MAX_PROVIDERS 16
#define MAX_IDS 64
#define NAME 1024
#define BUFFER (64 << 10)
#define BUFFER_HEADER 72

// ETW_OPEN_TRACE_OPTIONS and PETW_BUFFER_CALLBACK, which mingw's headers do not have yet.
typedef BOOL (WINAPI *buffer_callback)(const void *buffer, ULONG size, const void *info, void *context);

struct open_trace_options {
	ULONG modes;
	PEVENT_RECORD_CALLBACK event;
	void *event_context;
	buffer_callback buffer;
	void *buffer_context;
};

// struct entry is an event in the file, or a series of equal ones. Package etwfake writes it.
struct entry {
	UINT32 size;       // of the entry with its payload
	UINT32 session;    // 0 the system logger, 1 the other
	INT64 at_ns;       // after the start of the session
	UINT32 repeat;     // how many there are
	UINT32 every_ns;   // between two of them
	UINT16 time_at;    // where the payload has a time in ns after the start, 0xffff nowhere
	UINT16 lost;       // the session loses it, and which counter has that: enum lost
	UINT16 cpu;
	UINT16 length;     // of the payload
	EVENT_HEADER header;
	BYTE payload[];
};

// enum lost says which counter has the loss of an event.
enum lost {
	LOST_NOT,
	LOST_EVENTS,         // EventsLost
	LOST_RECORD,         // a record RT_LostEvent
	LOST_BUFFERS,        // RealTimeBuffersLost
	LOST_BUFFER_RECORD,  // a record RT_LostBuffer
	LOST_TIME,           // the time of the last event that was lost
};

static const GUID lost_class = {0x6a399ae0, 0x4bc6, 0x4de9, {0x87, 0x0b, 0x36, 0x57, 0xf8, 0x94, 0x7e, 0x7e}};

struct provider {
	GUID guid;
	UCHAR level;
	int ids;
	USHORT id[MAX_IDS];
};

struct session {
	BOOL used, stopping, failed;
	WCHAR name[NAME];
	ULONG mode;
	LARGE_INTEGER start;
	HANDLE stop;
	struct provider provider[MAX_PROVIDERS];
	int providers;
	volatile LONG64 produced, delivered, lost, buffers_lost, dropped;
	PEVENT_RECORD_CALLBACK callback;
	buffer_callback buffers;
	void *context;
	BYTE *buffer;     // is being filled
	ULONG filled, cpu;
	INT64 flushed;    // when the last one was handed over
	UINT64 sequence;
};

static struct session sessions[MAX_SESSIONS];
static CRITICAL_SECTION lock;
static BYTE *events, *buffers;
static SIZE_T events_size, buffers_size;
static char log_path[MAX_PATH];
static WCHAR fail[NAME];
static DWORD end_ms, buffer_ms;
static BOOL foreign;

static void say(const char *format, ...)
{
	va_list args;
	FILE *f;

	if (!log_path[0] || !(f = fopen(log_path, "a")))
		return;
	va_start(args, format);
	vfprintf(f, format, args);
	va_end(args);
	fclose(f);
}

static struct session *by_name(const WCHAR *name)
{
	for (int i = 0; i < MAX_SESSIONS; i++)
		if (sessions[i].used && !_wcsicmp(sessions[i].name, name))
			return &sessions[i];
	return NULL;
}

static struct session *by_handle(UINT64 handle)
{
	return handle >= 1 && handle <= MAX_SESSIONS && sessions[handle - 1].used ? &sessions[handle - 1] : NULL;
}

static struct session *new_session(const WCHAR *name)
{
	for (int i = 0; i < MAX_SESSIONS; i++)
		if (!sessions[i].used) {
			memset(&sessions[i], 0, sizeof(sessions[i]));
			sessions[i].used = TRUE;
			wcsncpy(sessions[i].name, name, NAME - 1);
			sessions[i].stop = CreateEventW(NULL, TRUE, FALSE, NULL);
			QueryPerformanceCounter(&sessions[i].start);
			return &sessions[i];
		}
	return NULL;
}

// failure returns the error that the environment asks for, 0 for none.
static ULONG failure(const WCHAR *name)
{
	for (const WCHAR *p = fail; *p;) {
		const WCHAR *equals = wcschr(p, L'='), *end = wcschr(p, L';');
		SIZE_T n = equals ? equals - p : 0, length = wcslen(name);

		if (!equals)
			return 0;
		if (length >= n && !wcsncmp(name + length - n, p, n))
			return wcstoul(equals + 1, NULL, 10);
		if (!end)
			return 0;
		p = end + 1;
	}
	return 0;
}

static void fill(struct session *s, EVENT_TRACE_PROPERTIES *p)
{
	p->LogFileMode = s->mode;
	p->EventsLost = (ULONG)s->lost;
	p->RealTimeBuffersLost = (ULONG)s->buffers_lost;
	p->Wnode.HistoricalContext = s - sessions + 1;
	if (p->LoggerNameOffset)
		wcsncpy((WCHAR *)((BYTE *)p + p->LoggerNameOffset), s->name, NAME - 1);
}

// started lets the tables of sockets that iphlpfake.c plays begin with the first session, whenever they are read.
static void started(void)
{
	WCHAR text[32];

	if (GetEnvironmentVariableW(L"ETWFAKE_STARTED", text, 32))
		return;
	swprintf(text, 32, L"%llu", GetTickCount64());
	SetEnvironmentVariableW(L"ETWFAKE_STARTED", text);
}

ULONG WINAPI fake_StartTraceW(TRACEHANDLE *handle, LPCWSTR name, EVENT_TRACE_PROPERTIES *p)
{
	struct session *s;
	ULONG code = 0;

	if (p->Wnode.BufferSize < sizeof(*p))
		return ERROR_BAD_LENGTH;
	if (!(p->Wnode.Flags & WNODE_FLAG_TRACED_GUID) || p->LoggerNameOffset < sizeof(*p))
		return ERROR_INVALID_PARAMETER;
	if ((p->LogFileMode & EVENT_TRACE_SYSTEM_LOGGER_MODE) && IsEqualGUID(&p->Wnode.Guid, &SystemTraceControlGuid))
		return ERROR_INVALID_PARAMETER;
	if (p->EnableFlags && !(p->LogFileMode & EVENT_TRACE_SYSTEM_LOGGER_MODE))
		return ERROR_INVALID_PARAMETER;
	if ((code = failure(name)))
		return code;
	EnterCriticalSection(&lock);
	if (by_name(name)) {
		code = ERROR_ALREADY_EXISTS;
	} else if (!(s = new_session(name))) {
		code = ERROR_NO_SYSTEM_RESOURCES;
	} else {
		s->mode = p->LogFileMode;
		*handle = s - sessions + 1;
		started();
		say("start %ls mode %lx flags %lx clock %lu buffers %lu x %lu KB\n", name, p->LogFileMode, p->EnableFlags,
		    p->Wnode.ClientContext, p->MinimumBuffers, p->BufferSize);
	}
	LeaveCriticalSection(&lock);
	return code;
}

ULONG WINAPI fake_ControlTraceW(TRACEHANDLE handle, LPCWSTR name, EVENT_TRACE_PROPERTIES *p, ULONG code)
{
	struct session *s;
	ULONG failed = code == EVENT_TRACE_CONTROL_QUERY ? failure(L"query") : 0;

	if (failed)
		return failed;
	EnterCriticalSection(&lock);
	s = handle ? by_handle(handle) : name ? by_name(name) : NULL;
	if (s && code == EVENT_TRACE_CONTROL_STOP) {
		fill(s, p);
		SetEvent(s->stop);
		s->stopping = TRUE;
		say("stop %ls\n", s->name);
		if (s->failed || (!s->callback && !s->buffers))
			s->used = FALSE; // nobody reads it
	} else if (s) {
		fill(s, p);
	}
	LeaveCriticalSection(&lock);
	// What is under way is counted before a stop returns, as Windows flushes the buffers.
	if (s && code == EVENT_TRACE_CONTROL_STOP) {
		for (int i = 0; i < 2000 && s->used; i++)
			Sleep(1);
		p->RealTimeBuffersLost = (ULONG)s->buffers_lost;
		p->EventsLost = (ULONG)s->lost;
	}
	return s ? ERROR_SUCCESS : ERROR_WMI_INSTANCE_NOT_FOUND;
}

ULONG WINAPI fake_EnableTraceEx2(TRACEHANDLE handle, LPCGUID guid, ULONG control, UCHAR level, ULONGLONG any,
				 ULONGLONG all, ULONG timeout, ENABLE_TRACE_PARAMETERS *parameters)
{
	struct session *s;
	struct provider *p;
	ULONG code = failure(L"enable");

	if (code)
		return code;
	EnterCriticalSection(&lock);
	if (!(s = by_handle(handle))) {
		code = ERROR_INVALID_PARAMETER;
	} else if (control == EVENT_CONTROL_CODE_ENABLE_PROVIDER) {
		if (s->mode & EVENT_TRACE_SYSTEM_LOGGER_MODE || s->providers == MAX_PROVIDERS) {
			code = ERROR_INVALID_PARAMETER;
		} else {
			p = &s->provider[s->providers];
			memset(p, 0, sizeof(*p));
			p->guid = *guid;
			p->level = level;
			if (parameters && parameters->FilterDescCount == 1) {
				struct _EVENT_FILTER_DESCRIPTOR *d = parameters->EnableFilterDesc;
				USHORT *list = (USHORT *)(ULONG_PTR)d->Ptr;

				if (parameters->Version != 2 || d->Type != 0x80000200 || d->Size != 4 + 2 * list[1] ||
				    list[1] > MAX_IDS || (list[0] & 0xff) != 1)
					code = ERROR_INVALID_PARAMETER;
				else
					for (p->ids = 0; p->ids < list[1]; p->ids++)
						p->id[p->ids] = list[2 + p->ids];
			}
			if (!code)
				s->providers++;
			say("enable %08lx on %ls level %u ids %d keywords %llx\n", guid->Data1, s->name, level, p->ids, any);
		}
	}
	LeaveCriticalSection(&lock);
	return code;
}

TRACEHANDLE WINAPI fake_OpenTraceW(EVENT_TRACE_LOGFILEW *file)
{
	struct session *s;
	TRACEHANDLE handle = INVALID_PROCESSTRACE_HANDLE;
	ULONG want = PROCESS_TRACE_MODE_REAL_TIME | PROCESS_TRACE_MODE_EVENT_RECORD | PROCESS_TRACE_MODE_RAW_TIMESTAMP;
	ULONG code = failure(L"open");

	EnterCriticalSection(&lock);
	if (code) {
		SetLastError(code);
	} else if (!(s = by_name(file->LoggerName))) {
		SetLastError(ERROR_WMI_INSTANCE_NOT_FOUND);
	} else if (file->ProcessTraceMode != want) {
		SetLastError(ERROR_INVALID_PARAMETER);
	} else {
		s->callback = file->EventRecordCallback;
		s->context = file->Context;
		handle = s - sessions + 1;
	}
	LeaveCriticalSection(&lock);
	return handle;
}

TRACEHANDLE WINAPI fake_OpenTraceFromRealTimeLogger(LPCWSTR name, const struct open_trace_options *options,
						    TRACE_LOGFILE_HEADER *header)
{
	struct session *s;
	TRACEHANDLE handle = INVALID_PROCESSTRACE_HANDLE;
	ULONG code = failure(L"open");

	EnterCriticalSection(&lock);
	if (code) {
		SetLastError(code);
	} else if (!(s = by_name(name))) {
		SetLastError(ERROR_WMI_INSTANCE_NOT_FOUND);
	} else if (options->modes != 1 || options->event || !options->buffer || !(s->buffer = malloc(BUFFER))) {
		SetLastError(ERROR_INVALID_PARAMETER);
	} else {
		s->buffers = options->buffer;
		s->context = options->buffer_context;
		s->filled = BUFFER_HEADER;
		handle = s - sessions + 1;
		memset(header, 0, sizeof(*header));
		header->BufferSize = BUFFER;
		header->PerfFreq.QuadPart = 10000000;
		say("buffers of %ls\n", name);
	}
	LeaveCriticalSection(&lock);
	return handle;
}

// flush hands over the buffer of a session. Its header is that of a file's buffers.
static void flush(struct session *s, INT64 now)
{
	BYTE *b = s->buffer;

	s->flushed = now;
	if (s->filled == BUFFER_HEADER)
		return;
	memset(b, 0, BUFFER_HEADER);
	*(UINT32 *)b = BUFFER;
	*(UINT32 *)(b + 0x04) = s->filled;
	*(INT64 *)(b + 0x10) = now;
	*(UINT64 *)(b + 0x18) = ++s->sequence;
	*(UINT16 *)(b + 0x28) = (UINT16)s->cpu;
	*(UINT32 *)(b + 0x30) = s->filled;
	*(UINT16 *)(b + 0x34) = 0x20; // the processor has 16 bits
	*(UINT16 *)(b + 0x36) = 1;
	memset(b + s->filled, 0xff, BUFFER - s->filled);
	s->buffers(b, BUFFER, NULL, s->context);
	s->filled = BUFFER_HEADER;
}

// pack adds an event to the buffer of a session, with the header that it has in a file.
static void pack(struct session *s, EVENT_RECORD *r)
{
	EVENT_HEADER *h = &r->EventHeader;
	BOOL classic = h->Flags & EVENT_HEADER_FLAG_CLASSIC_HEADER, wide = !(h->Flags & EVENT_HEADER_FLAG_32_BIT_HEADER);
	ULONG head = classic ? 48 : 80, size = head + r->UserDataLength, aligned = (size + 7) & ~7;
	INT64 now = h->TimeStamp.QuadPart;
	BYTE *b;

	if (aligned > BUFFER - s->filled || s->cpu != r->BufferContext.ProcessorNumber || now - s->flushed > 1000000)
		flush(s, now);
	s->cpu = r->BufferContext.ProcessorNumber;
	b = s->buffer + s->filled;
	memset(b, 0, aligned);
	if (classic) {
		b[4] = h->EventDescriptor.Opcode;
		b[5] = h->EventDescriptor.Level;
		b[6] = h->EventDescriptor.Version;
		memcpy(b + 8, &h->ThreadId, 32); // up to the class
	} else {
		memcpy(b, h, sizeof(*h));
	}
	*(UINT16 *)b = (UINT16)size;
	b[2] = classic ? wide ? 20 : 10 : wide ? 19 : 18;
	b[3] = 0xc0;
	memcpy(b + head, r->UserData, r->UserDataLength);
	s->filled += aligned;
}

// fake_QueryTraceProcessingHandle says when the last event was lost, on one processor.
ULONG WINAPI fake_QueryTraceProcessingHandle(TRACEHANDLE handle, int class, PVOID in, ULONG in_size, PVOID out,
						    ULONG size, PULONG returned)
{
	struct session *s = by_handle(handle);

	if (!s || class != 3)
		return ERROR_INVALID_PARAMETER;
	*returned = 16;
	if (size < 16)
		return ERROR_INSUFFICIENT_BUFFER;
	*(ULONG *)out = 1;
	*(INT64 *)((BYTE *)out + 8) = s->dropped;
	return ERROR_SUCCESS;
}

// fake_TraceQueryInformation says how many sessions there may be.
ULONG WINAPI fake_TraceQueryInformation(TRACEHANDLE handle, int class, PVOID out, ULONG size, PULONG returned)
{
	if (class != 19)
		return ERROR_NOT_SUPPORTED;
	if (size != sizeof(ULONG))
		return ERROR_BAD_LENGTH;
	*(ULONG *)out = MAX_SESSIONS;
	if (returned)
		*returned = sizeof(ULONG);
	return ERROR_SUCCESS;
}

// wanted reports whether the session gets an event.
static BOOL wanted(struct session *s, struct entry *e)
{
	BOOL system = !!(s->mode & EVENT_TRACE_SYSTEM_LOGGER_MODE);

	if (system)
		return e->session == 0;
	if (e->session != 1)
		return FALSE;
	for (int i = 0; i < s->providers; i++) {
		struct provider *p = &s->provider[i];

		if (!IsEqualGUID(&p->guid, &e->header.ProviderId) || e->header.EventDescriptor.Level > p->level)
			continue;
		if (!p->ids)
			return TRUE;
		for (int j = 0; j < p->ids; j++)
			if (p->id[j] == e->header.EventDescriptor.Id)
				return TRUE;
	}
	return FALSE;
}

static void play(struct session *s, struct entry *e)
{
	static __thread BYTE payload[65536];
	LARGE_INTEGER frequency, now;
	EVENT_RECORD r;
	INT64 own;

	QueryPerformanceFrequency(&frequency);
	for (UINT32 i = 0; i < e->repeat; i++) {
		INT64 ns = e->at_ns + (INT64)i * e->every_ns;
		INT64 due = s->start.QuadPart + ns / 1000 * frequency.QuadPart / 1000000;

		for (;;) {
			QueryPerformanceCounter(&now);
			if (now.QuadPart >= due || s->stopping)
				break;
			if (s->buffers && due - now.QuadPart > frequency.QuadPart / 10)
				flush(s, now.QuadPart);
			if (due - now.QuadPart > frequency.QuadPart / 500 &&
			    WaitForSingleObject(s->stop, (DWORD)((due - now.QuadPart) * 1000 / frequency.QuadPart)) == WAIT_OBJECT_0)
				break;
		}
		if (now.QuadPart < due)
			return;
		if (!wanted(s, e))
			return;
		s->produced++;
		if (e->lost == LOST_EVENTS || now.QuadPart - due > buffer_ms * frequency.QuadPart / 1000) {
			s->lost++;
			continue;
		}
		if (e->lost == LOST_BUFFERS || e->lost == LOST_TIME) {
			if (e->lost == LOST_BUFFERS)
				s->buffers_lost++;
			else
				s->dropped = due;
			continue;
		}
		memset(&r, 0, sizeof(r));
		r.EventHeader = e->header;
		r.EventHeader.TimeStamp.QuadPart = due;
		r.BufferContext.ProcessorNumber = (UCHAR)e->cpu;
		r.UserDataLength = e->length;
		r.UserData = payload;
		r.UserContext = s->context;
		if (e->lost) {
			memset(&r.EventHeader.EventDescriptor, 0, sizeof(r.EventHeader.EventDescriptor));
			r.EventHeader.ProviderId = lost_class;
			r.EventHeader.Flags |= EVENT_HEADER_FLAG_CLASSIC_HEADER;
			r.EventHeader.EventDescriptor.Opcode = e->lost == LOST_RECORD ? 32 : 33;
			r.UserDataLength = 0;
		}
		memcpy(payload, e->payload, e->length);
		if (e->time_at != 0xffff) {
			memcpy(&own, payload + e->time_at, 8);
			own += (INT64)i * e->every_ns;
			own = s->start.QuadPart + own / 1000 * frequency.QuadPart / 1000000;
			memcpy(payload + e->time_at, &own, 8);
		}
		if (!e->lost)
			s->delivered++;
		if (s->buffers)
			pack(s, &r);
		else
			s->callback(&r);
	}
}

// deliver hands over what a session has, on the thread of whoever calls it.
static DWORD WINAPI deliver(void *session)
{
	struct session *s = session;
	LARGE_INTEGER now;

	if (s->buffers && buffers_size) {
		for (SIZE_T at = 0; at + BUFFER_HEADER <= buffers_size;) {
			UINT32 size = *(UINT32 *)(buffers + at);

			if (size < BUFFER_HEADER || size > buffers_size - at)
				break;
			if (!s->buffers(buffers + at, size, NULL, s->context))
				break;
			at += size;
		}
		return 0;
	}
	for (SIZE_T at = 0; at + sizeof(struct entry) <= events_size && !s->stopping;) {
		struct entry *e = (struct entry *)(events + at);

		if (e->session == (s->mode & EVENT_TRACE_SYSTEM_LOGGER_MODE ? 0 : 1))
			play(s, e);
		at += e->size;
	}
	if (s->buffers) {
		QueryPerformanceCounter(&now);
		flush(s, now.QuadPart);
	}
	return 0;
}

ULONG WINAPI fake_ProcessTrace(TRACEHANDLE *handles, ULONG n, FILETIME *from, FILETIME *to)
{
	struct session *s = n == 1 ? by_handle(handles[0]) : NULL;

	ULONG code = failure(L"process");
	HANDLE thread;

	if (!s || (!s->callback && !s->buffers))
		return ERROR_INVALID_HANDLE;
	if (code) {
		s->failed = TRUE;
		return code;
	}
	if (foreign && (thread = CreateThread(NULL, 0, deliver, s, 0, NULL))) {
		WaitForSingleObject(thread, INFINITE);
		CloseHandle(thread);
	} else {
		deliver(s);
	}
	WaitForSingleObject(s->stop, end_ms);
	EnterCriticalSection(&lock);
	say("ended %ls produced %lld delivered %lld lost %lld\n", s->name, s->produced, s->delivered, s->lost);
	s->used = FALSE;
	free(s->buffer);
	LeaveCriticalSection(&lock);
	return ERROR_SUCCESS;
}

ULONG WINAPI fake_CloseTrace(TRACEHANDLE handle)
{
	return by_handle(handle) ? ERROR_CTX_CLOSE_PENDING : ERROR_SUCCESS;
}

ULONG WINAPI fake_QueryAllTracesW(EVENT_TRACE_PROPERTIES **list, ULONG room, ULONG *n)
{
	ULONG code = failure(L"list");

	*n = 0;
	if (code)
		return code;
	EnterCriticalSection(&lock);
	for (int i = 0; i < MAX_SESSIONS; i++)
		if (sessions[i].used) {
			if (*n < room)
				fill(&sessions[i], list[*n]);
			++*n;
		}
	LeaveCriticalSection(&lock);
	return *n > room ? ERROR_MORE_DATA : ERROR_SUCCESS;
}

// load reads the file that a variable names.
static BYTE *load(const char *variable, SIZE_T *size)
{
	char path[MAX_PATH];
	BYTE *data = NULL;
	FILE *f;

	*size = 0;
	if (!GetEnvironmentVariableA(variable, path, sizeof(path)) || !(f = fopen(path, "rb")))
		return NULL;
	fseek(f, 0, SEEK_END);
	*size = ftell(f);
	fseek(f, 0, SEEK_SET);
	data = malloc(*size);
	if (!data || fread(data, 1, *size, f) != *size)
		*size = 0;
	fclose(f);
	return data;
}

// number returns the value of a variable, or another where there is none.
static DWORD number(const WCHAR *variable, DWORD other)
{
	WCHAR text[32];

	return GetEnvironmentVariableW(variable, text, 32) ? wcstoul(text, NULL, 10) : other;
}

__declspec(dllexport) void WINAPI EtwFakeReset(void)
{
	static WCHAR names[MAX_SESSIONS * 80];

	memset(sessions, 0, sizeof(sessions));
	SetEnvironmentVariableW(L"ETWFAKE_STARTED", NULL);
	if (!GetEnvironmentVariableA("ETWFAKE_LOG", log_path, sizeof(log_path)))
		log_path[0] = 0;
	if (!GetEnvironmentVariableW(L"ETWFAKE_FAIL", fail, NAME))
		fail[0] = 0;
	end_ms = number(L"ETWFAKE_END_MS", INFINITE);
	buffer_ms = number(L"ETWFAKE_BUFFER_MS", 60000);
	foreign = number(L"ETWFAKE_FOREIGN", 0);
	if (GetEnvironmentVariableW(L"ETWFAKE_SESSIONS", names, sizeof(names) / sizeof(*names)))
		for (WCHAR *p = names, *end; p && *p; p = end ? end + 1 : NULL) {
			if ((end = wcschr(p, L';')))
				*end = 0;
			new_session(p);
		}
	free(events);
	free(buffers);
	events = load("ETWFAKE_EVENTS", &events_size);
	buffers = load("ETWFAKE_BUFFERS", &buffers_size);
}

BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, void *reserved)
{
	if (reason != DLL_PROCESS_ATTACH)
		return TRUE;
	InitializeCriticalSection(&lock);
	EtwFakeReset();
	return TRUE;
}
