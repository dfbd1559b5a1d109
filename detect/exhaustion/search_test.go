package exhaustion_test

import (
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// TestSearchInVain wants a range in which a process finds no free port to be
// found without being named, with its searcher, its holders and the refusals.
func TestSearchInVain(t *testing.T) {
	searcher := detecttest.Socket{PID: 50, Process: "mount.nfs", Protocol: model.ProtocolTCP, How: model.HowBindPort}
	holder := detecttest.Socket{PID: 60, Process: "hoarder", Protocol: model.ProtocolTCP, How: model.HowBindPort}
	const low, size = 665, 60
	// taken takes the first n ports of the range, which rest if it says so.
	taken := func(s *detecttest.Stream, n int, rest bool) {
		for i := range n {
			k := holder
			k.LPort = uint16(low + i)
			k = s.Acquire(time.Duration(i)*time.Millisecond, k)
			if rest {
				s.Rest(500*time.Millisecond+time.Duration(i)*time.Millisecond, time.Minute, k)
			}
		}
	}
	// tries asks for the ports from number first on, as many as are given, and wraps around.
	tries := func(s *detecttest.Stream, k detecttest.Socket, after time.Duration, first, n int, why string) {
		for i := range n {
			k.LPort = uint16(low + (first+i)%size)
			s.Fail(after+time.Duration(i)*50*time.Microsecond, k, 98, why)
		}
	}
	for _, c := range []struct {
		name     string
		live     func(s *detecttest.Stream)
		contains []string
		lacks    []string
	}{
		{"at rest", func(s *detecttest.Stream) {
			taken(s, size, true)
			s.Next()
			s.Seconds(5, func(i int) { tries(s, searcher, time.Millisecond, 7*i, size, "EADDRINUSE") })
		}, []string{
			"mount.nfs[50] found no free port in tcp 665-724: 60 of 60 ports " +
				"in TIME_WAIT, none in use", "SO_REUSEADDR", "refused to mount.nfs[50]",
		}, []string{"Stop or fix the process that holds the most"}},
		{"held, the error not known", func(s *detecttest.Stream) {
			taken(s, size, false)
			s.Next()
			s.Seconds(5, func(i int) { tries(s, searcher, time.Millisecond, 7*i, size, "unknown") })
		}, []string{
			"60 of 60 ports in use; 5 searches failed", "held by hoarder[60]", "hoarder[60] held 60 of them",
		}, nil},
		{"one process for each search", func(s *detecttest.Stream) {
			taken(s, size, false)
			s.Next()
			s.Seconds(6, func(i int) {
				k := searcher
				k.PID += int32(i)
				tries(s, k, time.Millisecond, 0, size, "EADDRINUSE")
			})
		}, []string{"5 other processes found no free port in tcp 665-724", "60 of 60 ports in use"}, nil},
		{"the last port is free", func(s *detecttest.Stream) {
			taken(s, size-1, false)
			s.Next()
			s.Seconds(8, func(int) {
				tries(s, searcher, time.Millisecond, 0, size-1, "EADDRINUSE")
				k := searcher
				k.LPort = low + size - 1
				s.Release(20*time.Millisecond, s.Acquire(10*time.Millisecond, k))
			})
		}, nil, nil},
		{"one port again and again", func(s *detecttest.Stream) {
			taken(s, size, false)
			s.Next()
			s.Seconds(8, func(int) {
				k := searcher
				k.LPort = low
				for n := range 50 {
					s.Fail(time.Duration(n)*10*time.Millisecond, k, 98, "EADDRINUSE")
				}
			})
		}, nil, nil},
		{"not permitted", func(s *detecttest.Stream) {
			s.Seconds(8, func(int) { tries(s, searcher, time.Millisecond, 0, size, "EACCES") })
		}, nil, nil},
		{"refused for a reason that is unknown, with all ports free", func(s *detecttest.Stream) {
			s.Seconds(8, func(int) { tries(s, searcher, time.Millisecond, 0, size, "unknown") })
		}, nil, nil},
		{"a few ports", func(s *detecttest.Stream) {
			taken(s, size, false)
			s.Next()
			s.Seconds(8, func(int) { tries(s, searcher, time.Millisecond, 0, 12, "EADDRINUSE") })
		}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := detecttest.Ports()
			c.live(s)
			s.Seconds(40, func(int) { s.Quiet() })
			if c.contains == nil {
				detecttest.Check(t, s.Batch(), 0)
				return
			}
			detecttest.Check(t, s.Batch(), detecttest.Start, want{
				Detector: "port-exhaustion", Severity: model.SeverityCritical, Within: 6 * time.Second, Closed: true,
				Contains: c.contains, Lacks: c.lacks,
			})
		})
	}
}

// TestSearchOfANamedPool wants a range that is named as a pool to be one finding.
func TestSearchOfANamedPool(t *testing.T) {
	s := detecttest.Ports()
	s.Pool("resv", model.ProtocolTCP, model.PoolConfigured, 665, 724)
	k := detecttest.Socket{PID: 60, Process: "hoarder", Protocol: model.ProtocolTCP, How: model.HowBindPort}
	for i := range uint16(60) {
		k.LPort = 665 + i
		s.Acquire(time.Duration(i)*time.Millisecond, k)
	}
	s.Next()
	k.PID, k.Process = 50, "rpc"
	s.Seconds(10, func(int) {
		for i := range uint16(60) {
			k.LPort = 665 + i
			s.Fail(time.Duration(i)*time.Millisecond, k, 98, "EADDRINUSE")
		}
	})
	list := detecttest.Latest(detecttest.Run(s.Batch(), 0))
	if len(list) != 1 || !strings.HasPrefix(list[0].Title, "Pool resv (tcp 665-724) is exhausted") {
		t.Errorf("%+v", list)
	}
}
