//go:build ignore

// SPDX-License-Identifier: see LICENSE
//
// A DLL that plays ETW: sessions with the real functions, structures and calling convention, whose events come from a
// file that package etwfake writes. It is for tests under Wine. Its settings are variables of its own environment:
//
//   ETWFAKE_EVENTS    the file with the events
//   ETWFAKE_LOG       a file that gets a line for each call that starts, stops or enables something
//   ETWFAKE_SESSIONS  names of sessions that run already, with a semicolon between them
//   ETWFAKE_BUFFER_MS events that are handed over later than this after their time are lost, as from full buffers; 60000
//   ETWFAKE_END_MS    sessions end by themselves this long after their last event
//   ETWFAKE_FAIL      NAME=ERROR;...: StartTraceW fails for sessions whose name ends in NAME, EnableTraceEx2 for enable
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

// struct entry is an event in the file, or a series of equal ones. Package etwfake writes it.
struct entry {
	UINT32 size;       // of the entry with its payload
	UINT32 session;    // 0 the system logger, 1 the other
	INT64 at_ns;       // after the start of the session
	UINT32 repeat;     // how many there are
	UINT32 every_ns;   // between two of them
	UINT16 time_at;    // where the payload has a time in ns after the start, 0xffff nowhere
	UINT16 lost;       // 1: the session loses it
	UINT16 cpu;
	UINT16 length;     // of the payload
	EVENT_HEADER header;
	BYTE payload[];
};

struct provider {
	GUID guid;
	UCHAR level;
	int ids;
	USHORT id[MAX_IDS];
};

struct session {
	BOOL used, stopping;
	WCHAR name[NAME];
	ULONG mode;
	LARGE_INTEGER start;
	HANDLE stop;
	struct provider provider[MAX_PROVIDERS];
	int providers;
	volatile LONG64 produced, delivered, lost;
	PEVENT_RECORD_CALLBACK callback;
	void *context;
};

static struct session sessions[MAX_SESSIONS];
static CRITICAL_SECTION lock;
static BYTE *events;
static SIZE_T events_size;
static char log_path[MAX_PATH];
static WCHAR fail[NAME];
static DWORD end_ms = INFINITE, buffer_ms = 60000;

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
	p->Wnode.HistoricalContext = s - sessions + 1;
	if (p->LoggerNameOffset)
		wcsncpy((WCHAR *)((BYTE *)p + p->LoggerNameOffset), s->name, NAME - 1);
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
		say("start %ls mode %lx flags %lx clock %lu buffers %lu x %lu KB\n", name, p->LogFileMode, p->EnableFlags,
		    p->Wnode.ClientContext, p->MinimumBuffers, p->BufferSize);
	}
	LeaveCriticalSection(&lock);
	return code;
}

ULONG WINAPI fake_ControlTraceW(TRACEHANDLE handle, LPCWSTR name, EVENT_TRACE_PROPERTIES *p, ULONG code)
{
	struct session *s;

	EnterCriticalSection(&lock);
	s = handle ? by_handle(handle) : name ? by_name(name) : NULL;
	if (s && code == EVENT_TRACE_CONTROL_STOP) {
		fill(s, p);
		SetEvent(s->stop);
		s->stopping = TRUE;
		say("stop %ls\n", s->name);
		if (!s->callback)
			s->used = FALSE; // nobody reads it
	} else if (s) {
		fill(s, p);
	}
	LeaveCriticalSection(&lock);
	// What is under way is counted before a stop returns, as Windows flushes the buffers.
	if (s && code == EVENT_TRACE_CONTROL_STOP) {
		for (int i = 0; i < 2000 && s->used; i++)
			Sleep(1);
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

	EnterCriticalSection(&lock);
	if (!(s = by_name(file->LoggerName))) {
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
			if (due - now.QuadPart > frequency.QuadPart / 500 &&
			    WaitForSingleObject(s->stop, (DWORD)((due - now.QuadPart) * 1000 / frequency.QuadPart)) == WAIT_OBJECT_0)
				break;
		}
		if (now.QuadPart < due)
			return;
		if (!wanted(s, e))
			return;
		s->produced++;
		if (e->lost || now.QuadPart - due > buffer_ms * frequency.QuadPart / 1000) {
			s->lost++;
			continue;
		}
		memset(&r, 0, sizeof(r));
		r.EventHeader = e->header;
		r.EventHeader.TimeStamp.QuadPart = due;
		r.BufferContext.ProcessorNumber = (UCHAR)e->cpu;
		r.UserDataLength = e->length;
		r.UserData = payload;
		r.UserContext = s->context;
		memcpy(payload, e->payload, e->length);
		if (e->time_at != 0xffff) {
			memcpy(&own, payload + e->time_at, 8);
			own += (INT64)i * e->every_ns;
			own = s->start.QuadPart + own / 1000 * frequency.QuadPart / 1000000;
			memcpy(payload + e->time_at, &own, 8);
		}
		s->delivered++;
		s->callback(&r);
	}
}

ULONG WINAPI fake_ProcessTrace(TRACEHANDLE *handles, ULONG n, FILETIME *from, FILETIME *to)
{
	struct session *s = n == 1 ? by_handle(handles[0]) : NULL;

	if (!s || !s->callback)
		return ERROR_INVALID_HANDLE;
	for (SIZE_T at = 0; at + sizeof(struct entry) <= events_size && !s->stopping;) {
		struct entry *e = (struct entry *)(events + at);

		if (e->session == (s->mode & EVENT_TRACE_SYSTEM_LOGGER_MODE ? 0 : 1))
			play(s, e);
		at += e->size;
	}
	WaitForSingleObject(s->stop, end_ms);
	EnterCriticalSection(&lock);
	say("ended %ls produced %lld delivered %lld lost %lld\n", s->name, s->produced, s->delivered, s->lost);
	s->used = FALSE;
	LeaveCriticalSection(&lock);
	return ERROR_SUCCESS;
}

ULONG WINAPI fake_CloseTrace(TRACEHANDLE handle)
{
	return by_handle(handle) ? ERROR_CTX_CLOSE_PENDING : ERROR_SUCCESS;
}

ULONG WINAPI fake_QueryAllTracesW(EVENT_TRACE_PROPERTIES **list, ULONG room, ULONG *n)
{
	*n = 0;
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

static void load(void)
{
	char path[MAX_PATH];
	FILE *f;

	if (!GetEnvironmentVariableA("ETWFAKE_EVENTS", path, sizeof(path)) || !(f = fopen(path, "rb")))
		return;
	fseek(f, 0, SEEK_END);
	events_size = ftell(f);
	fseek(f, 0, SEEK_SET);
	events = malloc(events_size);
	if (!events || fread(events, 1, events_size, f) != events_size)
		events_size = 0;
	fclose(f);
}

BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, void *reserved)
{
	static WCHAR names[MAX_SESSIONS * 80];

	if (reason != DLL_PROCESS_ATTACH)
		return TRUE;
	InitializeCriticalSection(&lock);
	GetEnvironmentVariableA("ETWFAKE_LOG", log_path, sizeof(log_path));
	GetEnvironmentVariableW(L"ETWFAKE_FAIL", fail, NAME);
	if (GetEnvironmentVariableW(L"ETWFAKE_END_MS", names, NAME))
		end_ms = wcstoul(names, NULL, 10);
	if (GetEnvironmentVariableW(L"ETWFAKE_BUFFER_MS", names, NAME))
		buffer_ms = wcstoul(names, NULL, 10);
	if (GetEnvironmentVariableW(L"ETWFAKE_SESSIONS", names, sizeof(names) / sizeof(*names)))
		for (WCHAR *p = names, *end; p && *p; p = end ? end + 1 : NULL) {
			if ((end = wcschr(p, L';')))
				*end = 0;
			new_session(p);
		}
	load();
	return TRUE;
}
