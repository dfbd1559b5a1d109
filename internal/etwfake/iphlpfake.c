//go:build ignore

// SPDX-License-Identifier: see LICENSE
//
// A DLL that plays the tables of sockets of Windows, for tests under Wine: sockets that appear and vanish at times
// after the start of the first session, or without one after the first call, from the file that ETWFAKE_TABLES names
// and package etwfake writes. Without it the tables are Wine's.
#include <winsock2.h>
#include <windows.h>
#include <iphlpapi.h>
#include <stdio.h>
#include <stdlib.h>

#define NEVER MINLONGLONG

// struct row is a row of a table, from one time to another.
struct row {
	UINT32 kind;       // 0 UDP, 1 UDP of IPv6, 2 TCP, 3 TCP of IPv6
	UINT32 length;     // of the row
	INT64 from_ms;     // after the start; above 0 it is not in the first table that is read
	INT64 until_ms;
	INT64 created_ms;  // when it was bound, NEVER unknown
	UINT32 created_at; // where the row says that
	UINT32 size;       // of the entry with its row
	BYTE data[];
};

typedef DWORD(WINAPI *table_function)(PVOID, PDWORD, BOOL, ULONG, int, ULONG);

static BYTE *rows;
static SIZE_T rows_size;
static ULONGLONG start_ms;
static int reads[4]; // of each kind
static ULONGLONG start_time;

static table_function own(const char *name)
{
	return (table_function)(void *)GetProcAddress(LoadLibraryA("iphlpapiw.dll"), name);
}

static BOOL load(void)
{
	char path[MAX_PATH], started[32];
	FILETIME now;
	FILE *f;

	if (rows)
		return TRUE;
	if (!GetEnvironmentVariableA("ETWFAKE_TABLES", path, sizeof(path)) || !(f = fopen(path, "rb")))
		return FALSE;
	fseek(f, 0, SEEK_END);
	rows_size = ftell(f);
	fseek(f, 0, SEEK_SET);
	rows = malloc(rows_size + 1);
	if (fread(rows, 1, rows_size, f) != rows_size)
		rows_size = 0;
	fclose(f);
	start_ms = GetTickCount64();
	GetSystemTimeAsFileTime(&now);
	start_time = (ULONGLONG)now.dwHighDateTime << 32 | now.dwLowDateTime;
	if (GetEnvironmentVariableA("ETWFAKE_STARTED", started, sizeof(started))) { // by etwfake.c
		start_time -= (start_ms - strtoull(started, NULL, 10)) * 10000;
		start_ms = strtoull(started, NULL, 10);
	}
	return TRUE;
}

static DWORD table(UINT32 kind, BYTE *out, DWORD *size)
{
	INT64 now = GetTickCount64() - start_ms;
	DWORD need = 8, n = 0, room = *size;
	UINT64 created;

	for (int write = 0; write < 2; write++) {
		BYTE *to = out + 8;

		for (SIZE_T at = 0; at < rows_size;) {
			struct row *r = (struct row *)(rows + at);

			at += r->size;
			if (r->kind != kind || now < r->from_ms || now >= r->until_ms || (r->from_ms && !reads[kind]))
				continue;
			if (!write) {
				need += r->length;
				n++;
				continue;
			}
			memcpy(to, r->data, r->length);
			if (r->created_ms != NEVER) {
				created = start_time + r->created_ms * 10000;
				memcpy(to + r->created_at, &created, 8);
			}
			to += r->length;
		}
		*size = need;
		if (!out || room < need)
			return ERROR_INSUFFICIENT_BUFFER;
		*(DWORD *)out = n;
	}
	reads[kind]++;
	return NO_ERROR;
}

DWORD WINAPI fake_GetExtendedUdpTable(PVOID out, PDWORD size, BOOL order, ULONG family, int class, ULONG reserved)
{
	if (!load() || class != UDP_TABLE_OWNER_MODULE)
		return own("GetExtendedUdpTable")(out, size, order, family, class, reserved);
	return table(family == AF_INET ? 0 : 1, out, size);
}

DWORD WINAPI fake_GetExtendedTcpTable(PVOID out, PDWORD size, BOOL order, ULONG family, int class, ULONG reserved)
{
	if (!load() || class != TCP_TABLE_OWNER_MODULE_ALL)
		return own("GetExtendedTcpTable")(out, size, order, family, class, reserved);
	return table(family == AF_INET ? 2 : 3, out, size);
}
