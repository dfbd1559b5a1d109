package port

import (
	"fmt"
	"slices"
	"testing"

	"lostbeat/model"

	"github.com/google/go-cmp/cmp"
)

// socketsOf is a table of the given sockets.
func socketsOf(sockets ...openSocket) (t socketTable) {
	for i := range sockets {
		t.add(&sockets[i])
	}
	return t
}

func TestSocketTable(t *testing.T) {
	const n = 3000
	var table socketTable
	var want []openSocket
	for i := range n {
		s := openSocket{
			cookie: uint64(
				(i*7)%n,
			)<<12 + 5, local: [16]byte{15: byte(i % 3)}, remote: [16]byte{14: byte(i >> 8), 15: byte(i)},
			netns: uint32(i % 2), localPort: uint16(i % 500),
			remotePort: uint16(
				i,
			), protocol: model.ProtocolTCP, state: 10, flags: flagReuse, now: uint32(i), used: uint32(i / 2),
			pid: int32(i%9) - 1, comm: fmt.Sprint("c", i%11),
		}
		if table.has(s.cookie) || table.share(s.cookie, 1) {
			t.Fatalf("cookie %d is listed before it was added", s.cookie)
		}
		table.add(&s)
		if i%10 == 0 {
			for pid := range int32(20) {
				table.share(s.cookie, 100+pid%15)
			}
			table.share(s.cookie, s.pid)
			s.sharers = []int32{100, 101, 102, 103, 104, 105, 106, 107}
		}
		if s.localPort != 0 {
			want = append(want, s)
		}
		if table.hasPort(s.cookie) != (s.localPort != 0) || !table.has(s.cookie) {
			t.Fatalf("cookie %d with port %d: not as it was added", s.cookie, s.localPort)
		}
	}
	slices.SortFunc(want, func(a, b openSocket) int { return int(a.cookie) - int(b.cookie) })
	i := 0
	for s := range table.inOrder() {
		if !cmp.Equal(*s, want[i], cmp.AllowUnexported(openSocket{})) {
			t.Fatalf("socket %d: %+v, want %+v", i, *s, want[i])
		}
		i++
	}
	if i != len(want) || table.n != n || (&socketTable{}).has(5) {
		t.Errorf("%d sockets in order of %d, want %d of %d", i, table.n, len(want), n)
	}
}
