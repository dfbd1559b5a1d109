package port

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

const second = uint64(time.Second)

func newTestTracker() *tracker {
	return newTracker(&ebpf.Env{NamedProcess: func(_ int32, comm string) string { return comm }})
}

func acquire(at, cookie uint64, port, remote uint16, how model.How) []byte {
	r := bpfPortRecord{
		Cookie:     cookie,
		Owner:      7,
		LocalPort:  port,
		RemotePort: remote,
		Protocol:   uint8(model.ProtocolTCP),
		How:        uint8(how),
	}
	r.Head.TimeNs, r.Head.Pid, r.Tid, r.Stack = at, 7, 8, -1
	r.LocalAddr, r.RemoteAddr = mapped([4]byte{127, 0, 0, 1}), mapped([4]byte{127, 0, 0, 1})
	return ebpftest.Bytes(&r)
}

func release(at, cookie uint64, rests bool) []byte {
	r := bpfPortReleaseRecord{Cookie: cookie, How: uint8(model.HowClose)}
	r.Head.TimeNs = at
	if rests {
		r.Flags = flagRests
	}
	return ebpftest.Bytes(&r)
}

// story returns the kinds and ways of events, in short.
func story(b *model.Batch) (out []string) {
	if b == nil {
		return nil
	}
	for i := range b.Events {
		e := &b.Events[i]
		s := e.Kind.String()
		if v, ok := b.PortAcquire(e); ok {
			s += " " + v.How.String()
		}
		if v, ok := b.PortRelease(e); ok {
			s += " " + v.How.String()
		}
		out = append(out, s)
	}
	return out
}

func TestTracker(t *testing.T) {
	listed := func(cookie uint64, port uint16) *listing {
		return &listing{
			begin: model.Time(second), end: model.Time(second),
			sockets:    socketsOf(openSocket{cookie: cookie, localPort: port, protocol: model.ProtocolUDP, pid: 7}),
			namespaces: []namespace{{complete: true}},
		}
	}
	atRest := func() *listing {
		loop := mapped([4]byte{127, 0, 0, 1})
		l := listed(1, 80)
		l.resting = []timeWait{
			{tuple: tuple{local: loop, remote: loop, localPort: 5000, remotePort: 90}, cookie: 9, left: time.Minute},
		}
		return l
	}
	// tells ends an interval at the given second.
	tells := func(t *tracker, seconds uint64, b *model.Builder) {
		t.told = model.Time(seconds * second)
		t.announce(t.told, b)
		t.expire(t.told, b)
	}
	for _, c := range []struct {
		name string
		do   func(t *tracker, b *model.Builder)
		want []string
	}{
		{"released before it was told of, and read after", func(t *tracker, b *model.Builder) {
			t.begin(listed(1, 80))
			tells(t, 2, b)
			_ = t.decodeRelease(release(2*second-1, 1, false), b)
			_ = t.decodeAcquire(acquire(2*second-1, 1, 81, 0, model.HowConnect), b)
		}, []string{"port.active", "port.release close", "port.acquire connect"}},
		{"a rest that ends before it was told of, and is read after", func(t *tracker, b *model.Builder) {
			t.begin(atRest())
			tells(t, 2, b)
			_ = t.decodeAcquire(acquire(2*second-1, 2, 5000, 90, model.HowConnect), b)
		}, []string{"port.active", "port.active", "port.release rest_end", "port.acquire connect"}},
		{"the first listing finds the rest of a connection whose beginning is read " +
			"later", func(t *tracker, b *model.Builder) {
			t.begin(atRest())
			_ = t.decodeAcquire(acquire(second-2, 2, 5000, 90, model.HowConnect), b)
			_ = t.decodeRelease(release(second-1, 2, true), b)
			tells(t, 2, b)
			tells(t, 62, b)
		}, []string{"port.acquire connect", "port.rest", "port.active", "port.release rest_end"}},
		{"a socket takes another port while its last one rests", func(t *tracker, b *model.Builder) {
			_ = t.decodeAcquire(acquire(1, 1, 5000, 90, model.HowConnect), b)
			_ = t.decodeRelease(release(2, 1, true), b)
			_ = t.decodeAcquire(acquire(3, 1, 5001, 90, model.HowConnect), b)
			_ = t.decodeRelease(release(4, 1, true), b)
			tells(t, 61, b)
		}, []string{"port.acquire connect", "port.rest", "port.acquire connect", "port.rest", "port.release " +
			"rest_end", "port.release rest_end"}},
		{"bound, then connected with addresses at rest", func(t *tracker, b *model.Builder) {
			_ = t.decodeAcquire(acquire(1, 1, 5000, 90, model.HowConnect), b)
			_ = t.decodeRelease(release(2, 1, true), b)
			_ = t.decodeAcquire(acquire(3, 2, 5000, 0, model.HowBindPort), b)
			_ = t.decodeAcquire(acquire(4, 2, 5000, 90, model.HowConnect), b)
			_ = t.decodeRelease(release(5, 2, true), b)
			tells(t, 61, b)
		}, []string{"port.acquire connect", "port.rest", "port.acquire bind_port", "port.release rest_end",
			"port.activity", "port.rest", "port.release rest_end"}},
		{"acquired and released", func(t *tracker, b *model.Builder) {
			_ = t.decodeAcquire(acquire(1, 1, 80, 0, model.HowBindPort), b)
			_ = t.decodeRelease(release(2, 1, false), b)
			_ = t.decodeRelease(release(3, 1, false), b)
		}, []string{"port.acquire bind_port", "port.release close"}},
		{"told twice", func(t *tracker, b *model.Builder) {
			_ = t.decodeAcquire(acquire(1, 1, 80, 0, model.HowBindPort), b)
			_ = t.decodeAcquire(acquire(2, 1, 80, 90, model.HowConnect), b)
			_ = t.decodeAcquire(acquire(3, 1, 80, 90, model.HowConnect), b)
		}, []string{"port.acquire bind_port", "port.activity"}},
		{"a release was lost", func(t *tracker, b *model.Builder) {
			_ = t.decodeAcquire(acquire(1, 1, 80, 0, model.HowBindPort), b)
			_ = t.decodeAcquire(acquire(2, 1, 81, 0, model.HowBindPort), b)
		}, []string{"port.acquire bind_port", "port.release audit", "port.acquire bind_port"}},
		{"rest ends in time", func(t *tracker, b *model.Builder) {
			_ = t.decodeAcquire(acquire(1, 1, 80, 90, model.HowConnect), b)
			_ = t.decodeRelease(release(2, 1, true), b)
			t.expire(model.Time(59*second), b)
			t.expire(model.Time(61*second), b)
			t.expire(model.Time(62*second), b)
		}, []string{"port.acquire connect", "port.rest", "port.release rest_end"}},
		{"rest ends by reuse", func(t *tracker, b *model.Builder) {
			_ = t.decodeAcquire(acquire(1, 1, 80, 90, model.HowConnect), b)
			_ = t.decodeRelease(release(2, 1, true), b)
			_ = t.decodeAcquire(acquire(3, 2, 80, 90, model.HowConnect), b)
			t.expire(model.Time(61*second), b)
		}, []string{"port.acquire connect", "port.rest", "port.release rest_end", "port.acquire connect"}},
		{"rest is prolonged by an audit", func(t *tracker, b *model.Builder) {
			_ = t.decodeAcquire(acquire(1, 1, 80, 90, model.HowConnect), b)
			_ = t.decodeRelease(release(2, 1, true), b)
			l := &listing{begin: model.Time(second), end: model.Time(second), namespaces: []namespace{{complete: true}}}
			key := t.rests.queue[0].tuple
			l.resting = []timeWait{{tuple: key, left: 90 * time.Second}}
			t.reconcile(l, model.Time(2*second), b)
			t.expire(model.Time(61*second), b)
			t.expire(model.Time(92*second), b)
		}, []string{"port.acquire connect", "port.rest", "port.audit", "port.release rest_end"}},
		{"present, announced once", func(t *tracker, b *model.Builder) {
			t.begin(listed(1, 80))
			t.announce(2, b)
			t.announce(3, b)
		}, []string{"port.active"}},
		{"present, released before it was announced", func(t *tracker, b *model.Builder) {
			t.begin(listed(1, 80))
			_ = t.decodeRelease(release(2, 1, false), b)
			t.announce(3, b)
		}, []string{"port.active", "port.release close"}},
		{"present, but taken after the start", func(t *tracker, b *model.Builder) {
			t.begin(listed(1, 80))
			_ = t.decodeAcquire(acquire(2, 1, 80, 0, model.HowBindPort), b)
			t.announce(3, b)
		}, []string{"port.acquire bind_port"}},
		{"at rest before the start, taken again before it was announced", func(t *tracker, b *model.Builder) {
			key := tuple{mapped([4]byte{127, 0, 0, 1}), mapped([4]byte{127, 0, 0, 1}), 0, 80, 90}
			t.begin(&listing{end: 1, resting: []timeWait{{tuple: key, left: time.Second}}})
			_ = t.decodeAcquire(acquire(3, 2, 80, 90, model.HowConnect), b)
			t.announce(4, b)
		}, []string{"port.active", "port.release rest_end", "port.acquire connect"}},
		{"missed: found twice", func(t *tracker, b *model.Builder) {
			t.reconcile(listed(1, 80), model.Time(2*second), b)
			t.reconcile(listed(1, 80), model.Time(3*second), b)
		}, []string{"port.audit", "port.acquire audit", "port.audit"}},
		{"released while it was listed", func(t *tracker, b *model.Builder) {
			_ = t.decodeAcquire(acquire(1, 1, 80, 0, model.HowBindPort), b)
			for i := range 2 {
				t.auditBegins()
				_ = t.decodeRelease(release(2, 1, false), b)
				t.reconcile(listed(1, 80), model.Time(uint64(i+2)*second), b)
			}
		}, []string{"port.acquire bind_port", "port.release close", "port.audit", "port.audit"}},
		{"accepted by another process than the listener's", func(t *tracker, b *model.Builder) {
			_ = t.decodeAcquire(acquire(1, 1, 80, 90, model.HowAccept), b)
			t.reconcile(listed(1, 80), model.Time(2*second), b)
			t.reconcile(listed(1, 80), model.Time(3*second), b)
		}, []string{"port.acquire accept", "port.active", "port.audit", "port.audit"}},
		{"stale: absent twice", func(t *tracker, b *model.Builder) {
			_ = t.decodeAcquire(acquire(1, 1, 80, 0, model.HowBindPort), b)
			t.reconcile(listed(1, 0), model.Time(2*second), b)
			t.reconcile(listed(1, 0), model.Time(3*second), b)
		}, []string{"port.acquire bind_port", "port.audit", "port.release audit", "port.audit"}},
		{"not stale: taken after the listing began", func(t *tracker, b *model.Builder) {
			_ = t.decodeAcquire(acquire(2*second, 1, 80, 0, model.HowBindPort), b)
			t.reconcile(listed(1, 0), model.Time(2*second), b)
			t.reconcile(listed(1, 0), model.Time(3*second), b)
		}, []string{"port.acquire bind_port", "port.audit", "port.audit"}},
		{"not stale: the listing is incomplete", func(t *tracker, b *model.Builder) {
			_ = t.decodeAcquire(acquire(1, 1, 80, 0, model.HowBindPort), b)
			l := listed(1, 0)
			l.namespaces[0].complete = false
			t.reconcile(l, model.Time(2*second), b)
			t.reconcile(l, model.Time(3*second), b)
		}, []string{"port.acquire bind_port", "port.audit", "port.audit"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b model.Builder
			c.do(newTestTracker(), &b)
			// What an audit emits for a namespace comes before its sum.
			batch := b.Take()
			if got := story(batch); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if batch == nil {
				return
			}
			if err := model.Validate(batch); err != nil {
				t.Errorf("not valid: %v", err)
			}
		})
	}
}

func TestShortRecords(t *testing.T) {
	tr := newTestTracker()
	var b model.Builder
	for n := range int(unsafe.Sizeof(bpfPortReleaseRecord{})) {
		raw := make([]byte, n)
		for name, decode := range map[string]ebpf.Decoder{
			"acquire": tr.decodeAcquire, "fail": tr.decodeFail, "release": tr.decodeRelease,
		} {
			if decode(raw, &b) == nil {
				t.Errorf("%s: a record of %d bytes is accepted", name, n)
			}
		}
	}
}

func TestReservedIn(t *testing.T) {
	for _, c := range []struct {
		list  string
		ports uint64
		text  string
	}{
		{"", 0, ""},
		{"80", 0, ""},
		{"40000", 1, "40000"},
		{"80,40000-40009,50000", 11, "40000-40009,50000"},
		{"1-65535", 28232, "32768-60999"},
		{"60000-70000,nonsense,-,5-", 0, ""},
	} {
		if ports, text := reservedIn(c.list, 32768, 60999); ports != c.ports || text != c.text {
			t.Errorf("%q: %d %q, want %d %q", c.list, ports, text, c.ports, c.text)
		}
	}
}

// diagMessage returns a netlink message with a struct inet_diag_msg.
func diagMessage(family, state, timer uint8, port uint16, cookie uint64) []byte {
	m := make([]byte, unix.SizeofNlMsghdr+diagMessageSize)
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	binary.NativeEndian.PutUint16(m[4:], diagByFamily)
	body := m[unix.SizeofNlMsghdr:]
	body[0], body[1], body[2] = family, state, timer
	binary.BigEndian.PutUint16(body[4:], port)
	copy(body[8:], []byte{127, 0, 0, 1})
	binary.NativeEndian.PutUint32(body[44:], uint32(cookie))
	binary.NativeEndian.PutUint32(body[48:], uint32(cookie>>32))
	binary.NativeEndian.PutUint32(body[52:], 1500)
	return m
}

func TestParseDiag(t *testing.T) {
	done := make([]byte, unix.SizeofNlMsghdr)
	binary.NativeEndian.PutUint32(done, uint32(len(done)))
	binary.NativeEndian.PutUint16(done[4:], unix.NLMSG_DONE)
	data := slices.Concat(
		diagMessage(unix.AF_INET, 10, 0, 80, 1<<40|5),
		diagMessage(unix.AF_INET6, 6, diagTimerTimeWait, 81, 6),
		done,
	)
	var got []diagSocket
	ended, interrupted, err := parseDiag(data, func(s diagSocket) { got = append(got, s) })
	if !ended || interrupted || err != nil {
		t.Fatalf("%v, %v, %v; want the end", ended, interrupted, err)
	}
	if len(got) != 2 || got[0].cookie != 1<<40|5 || got[0].localPort != 80 ||
		got[0].state != tcpListen || got[0].timeWait ||
		got[0].local != mapped([4]byte{127, 0, 0, 1}) || !got[1].timeWait || got[1].expiresMS != 1500 ||
		got[1].local[0] != 127 {
		t.Errorf("got %+v", got)
	}
}

func FuzzParseDiag(f *testing.F) {
	fuzztest.Quick(f)
	f.Add(diagMessage(unix.AF_INET, 10, 0, 80, 5))
	f.Add(diagMessage(unix.AF_INET6, 6, diagTimerTimeWait, 81, 6)[:60])
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 20, 0, 0, 0})
	f.Add([]byte{16, 0, 0, 0, unix.NLMSG_ERROR, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		_, _, _ = parseDiag(data, func(diagSocket) { n++ })
		if n > len(data)/diagMessageSize {
			t.Errorf("%d sockets from %d bytes", n, len(data))
		}
	})
}

func FuzzParseMappings(f *testing.F) {
	fuzztest.Quick(f)
	f.Add("00400000-00452000 r-xp 00001000 08:02 173521 /usr/bin/a name\n")
	f.Add("tcp 2049\nudp 70000\n")
	f.Add("7ffc000-7ffd000 r-xp 00000000 00:00 0 [vdso]\n0-0 r-xp 0 0 0\n")
	f.Fuzz(func(t *testing.T, text string) {
		var end uint64
		for _, m := range parseMappings(strings.NewReader(text)) {
			if m.start < end || m.end <= m.start {
				t.Fatalf("mapping %+v after one that ends at %#x", m, end)
			}
			end = m.end
		}
		if n := len(parseServed([]byte(text))); n > strings.Count(text, "p") {
			t.Errorf("%d ports are served in %q", n, text)
		}
	})
}
