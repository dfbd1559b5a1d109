package rpcbind

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil/fuzztest"
)

// xdr puts an answer together.
type xdr struct{ bytes.Buffer }

func (x *xdr) words(list ...uint32) *xdr {
	for _, w := range list {
		x.Write(binary.BigEndian.AppendUint32(nil, w))
	}
	return x
}

func (x *xdr) texts(list ...string) *xdr {
	for _, s := range list {
		x.words(uint32(len(s)))
		x.WriteString(s)
		x.Write(make([]byte, -len(s)&3))
	}
	return x
}

// accepted begins the answer to the call with an id.
func accepted(id, status uint32) *xdr {
	return new(xdr).words(id, messageReply, replyAccepted, 0, 0, status)
}

// encode is the answer with a list, in version 3.
func encode(id uint32, list []Registration) []byte {
	x := accepted(id, acceptSuccess)
	for _, r := range list {
		x.words(1, r.Program, r.Version).texts(r.Netid, r.Address, r.Owner)
	}
	return x.words(0).Bytes()
}

// records puts an answer into parts of a length.
func records(answer []byte, length int) (out []byte) {
	for part := range slices.Chunk(answer, length) {
		out = binary.BigEndian.AppendUint32(out, uint32(len(part)))
		out = append(out, part...)
	}
	return binary.BigEndian.AppendUint32(out, lastFragment)
}

var nfsHost = []Registration{
	{100000, 4, "tcp6", "::.0.111", "superuser"},
	{100000, 4, "local", "/run/rpcbind.sock", "superuser"},
	{100003, 3, "tcp", "0.0.0.0.8.1", "superuser"},
	{100005, 3, "udp", "0.0.0.0.3.10", ""},
}

// serve answers each call on a socket, by its id and version, and returns the
// path of the socket. An answer of nil is none: the server hangs.
func serve(t testing.TB, answer func(id, version uint32) []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rpcbind.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			asked := make([]byte, 44)
			if _, err := io.ReadFull(conn, asked); err == nil {
				word := func(i int) uint32 { return binary.BigEndian.Uint32(asked[4*i:]) }
				if word(0) != lastFragment|40 || word(4) != program || word(6) != procedureDump {
					t.Errorf("the call is % x", asked)
				}
				if out := answer(word(1), word(5)); out != nil {
					_, _ = conn.Write(out) // the client may have had enough
				} else {
					_, _ = io.Copy(io.Discard, conn) // until the client gives up
				}
			}
			conn.Close()
		}
	}()
	return path
}

func ask(t *testing.T, patience time.Duration, path string) ([]Registration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return Dump(ctx, "unix", path)
}

func TestDump(t *testing.T) {
	for _, part := range []int{7, 100, 1 << 20} {
		path := serve(t, func(id, version uint32) []byte { return records(encode(id, nfsHost), part) })
		if got, err := ask(t, time.Minute, path); err != nil || !slices.Equal(got, nfsHost) {
			t.Errorf("in parts of %d bytes: %+v, %v", part, got, err)
		}
	}
}

// TestDumpOfPortmap has a server that knows version 2 only.
func TestDumpOfPortmap(t *testing.T) {
	path := serve(t, func(id, version uint32) []byte {
		if version != versionPMAP {
			return records(accepted(id, acceptProgMismatch).words(2, 2).Bytes(), 1<<20)
		}
		return records(accepted(id, acceptSuccess).words(1, 100003, 3, protocolTCP, 2049).
			words(1, 100000, 2, protocolUDP, 111).words(1, 9, 1, 132, 70000).words(0).Bytes(), 1<<20)
	})
	got, err := ask(t, time.Minute, path)
	want := []Registration{
		{100003, 3, "tcp", "0.0.0.0.8.1", ""},
		{100000, 2, "udp", "0.0.0.0.0.111", ""},
		{9, 1, "protocol 132", "0.0.0.0.17.112", ""},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestDumpIsBounded has servers that hang, never end, or answer nonsense.
func TestDumpIsBounded(t *testing.T) {
	many := make([]Registration, MaxRegistrations+1)
	for i := range many {
		many[i] = Registration{Program: uint32(i), Netid: "tcp", Address: "0.0.0.0.1.1"}
	}
	reply := func(x *xdr) []byte { return records(x.Bytes(), 1<<20) }
	for name, c := range map[string]struct {
		answer func(id, version uint32) []byte
		want   string
	}{
		"hangs": {func(id, _ uint32) []byte { return nil }, context.DeadlineExceeded.Error()},
		"hangs in the middle": {
			func(id, _ uint32) []byte { return binary.BigEndian.AppendUint32(nil, 100) }, "unexpected EOF",
		},
		"a huge part":  {func(id, _ uint32) []byte { return []byte{0x7f, 0xff, 0xff, 0xff, 1} }, "more than 1048576 bytes"},
		"empty parts":  {func(id, _ uint32) []byte { return make([]byte, 4*maxFragments) }, "more than 1024 parts"},
		"too many":     {func(id, _ uint32) []byte { return records(encode(id, many), 1<<16) }, ErrTooMany.Error()},
		"another call": {func(id, _ uint32) []byte { return reply(accepted(id+1, 0)) }, "answers call"},
		"a call":       {func(id, _ uint32) []byte { return reply(new(xdr).words(id, messageCall)) }, "type 0"},
		"denied":       {func(id, _ uint32) []byte { return reply(new(xdr).words(id, messageReply, 1, 1)) }, "denied"},
		"no DUMP":      {func(id, _ uint32) []byte { return reply(accepted(id, 3)) }, "accept status 3"},
		"no version":   {func(id, _ uint32) []byte { return reply(accepted(id, acceptProgMismatch)) }, "accept status 2"},
		"a long text": {
			func(id, _ uint32) []byte { return reply(accepted(id, 0).words(1, 1, 1, 1<<30)) }, "text of 1073741824",
		},
		"a short text": {
			func(id, _ uint32) []byte { return reply(accepted(id, 0).words(1, 1, 1, 8, 0)) }, "ends within a text",
		},
		"a short entry": {func(id, _ uint32) []byte { return reply(accepted(id, 0).words(1, 1)) }, "ends within a number"},
		"no end":        {func(id, _ uint32) []byte { return reply(accepted(id, 0)) }, "ends within a number"},
		"a wrong word":  {func(id, _ uint32) []byte { return reply(accepted(id, 0).words(2)) }, "whether an entry follows"},
	} {
		t.Run(name, func(t *testing.T) {
			patience := time.Minute
			if name == "hangs" {
				patience = 50 * time.Millisecond
			}
			got, err := ask(t, patience, serve(t, c.answer))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%d registrations, %v", len(got), err)
			}
			if len(got) > MaxRegistrations || name == "too many" && len(got) != MaxRegistrations {
				t.Errorf("%d registrations", len(got))
			}
		})
	}
	if _, err := ask(t, time.Minute, filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no error without a server")
	}
}

// TestCancel checks that the end of the session does not wait for rpcbind.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	path := serve(t, func(uint32, uint32) []byte { cancel(); return nil })
	if _, err := Dump(ctx, "unix", path); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestEndpoint(t *testing.T) {
	for _, c := range []struct {
		r    Registration
		want string
		port uint16
	}{
		{Registration{Netid: "tcp", Address: "0.0.0.0.8.1"}, "tcp 0.0.0.0:2049", 2049},
		{Registration{Netid: "udp6", Address: "::.0.111"}, "udp6 [::]:111", 111},
		{Registration{Netid: "tcp6", Address: "fe80::1%eth0.255.255"}, "tcp6 [fe80::1%eth0]:65535", 65535},
		{Registration{Netid: "local", Address: "/run/a.1.1"}, "local /run/a.1.1", 0},
		{Registration{Netid: "tcp", Address: "0.0.0.0.8.256"}, "tcp 0.0.0.0.8.256", 0},
		{Registration{Netid: "tcp", Address: "1"}, "tcp 1", 0},
		{Registration{Netid: "tcp"}, "tcp ", 0},
	} {
		_, port, ok := c.r.HostPort()
		if got := c.r.Endpoint(); got != c.want || port != c.port || ok != (c.port != 0) {
			t.Errorf("%+v is %q, port %d, %t", c.r, got, port, ok)
		}
	}
}

func TestNames(t *testing.T) {
	names := Programs(filepath.Join(t.TempDir(), "none"))
	if got := names.Of(100003); got != "100003 nfs" {
		t.Errorf("built in: %q", got)
	}
	file := "# comment\nportmapper\t100000\tportmap sunrpc\n\nmine 536870912 # ours\nbroken\nx -1\nnfs4 100003\n"
	if err := names.read(strings.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	for program, want := range map[uint32]string{
		100000: "100000 portmapper", 536870912: "536870912 mine", 100003: "100003 nfs4", 7: "7",
	} {
		if got := names.Of(program); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if err := names.read(strings.NewReader(strings.Repeat("x", 1<<17))); err == nil {
		t.Error("no error for a line without an end")
	}
}

// BenchmarkDump asks a server that answers at once, with as many registrations as
// an NFS server has.
func BenchmarkDump(b *testing.B) {
	list := slices.Repeat(nfsHost, 15)
	path := serve(b, func(id, _ uint32) []byte { return records(encode(id, list), 1<<20) })
	for b.Loop() {
		if got, err := Dump(b.Context(), "unix", path); err != nil || len(got) != len(list) {
			b.Fatal(len(got), err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	fuzztest.Quick(f)
	f.Add(records(encode(7, nfsHost), 50), uint32(3))
	f.Add(records(accepted(7, 0).words(1, 100003, 3, protocolTCP, 2049).words(0).Bytes(), 1000), uint32(2))
	f.Add(records(accepted(7, acceptProgMismatch).words(2, 2).Bytes(), 1000), uint32(3))
	f.Fuzz(func(t *testing.T, data []byte, version uint32) {
		record, err := readRecord(bytes.NewReader(data))
		if err != nil {
			return
		}
		list, err := parseAnswer(record, 7, version)
		if len(list) > MaxRegistrations || 20*len(list) > len(record) {
			t.Errorf("%d registrations in %d bytes", len(list), len(record))
		}
		for i := range list {
			list[i].Endpoint()
		}
		if err != nil || version == versionPMAP {
			return
		}
		if again, err := parseAnswer(encode(7, list), 7, version); err != nil || !slices.Equal(again, list) {
			t.Errorf("%+v becomes %+v, %v", list, again, err)
		}
	})
}

func FuzzNames(f *testing.F) {
	fuzztest.Quick(f)
	f.Add("nfs 100003 nfsprog # NFS\n")
	f.Fuzz(func(t *testing.T, file string) {
		names := Names{}
		_ = names.read(strings.NewReader(file))
		if len(names) > maxNames {
			t.Errorf("%d names", len(names))
		}
		for number, name := range names {
			if name == "" || len(name) > maxText {
				t.Errorf("%d is %q", number, name)
			}
		}
	})
}
