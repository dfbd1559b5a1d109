package all_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// rpcClient is a program that opens and closes RPC bindings in a range of ports
// that a firewall lets pass, as in Microsoft's KB 814622: each takes a port for half
// a second. Of every four ports, keep are not closed at all, and lose are closed but
// not given out again before the program ends; the others rest.
type rpcClient struct {
	windows bool
	// told says that the stream reports ports at rest, which captures of Windows do not.
	told       bool
	size       int
	keep, lose int
	// rate is bindings a second.
	rate int
	// stops is the second from which the program opens no more, ends that of its end; 0 never.
	stops, ends int
	length      int
	// seen says that the stream reports the end of the program.
	seen bool
	// pool leaves --pool out where it is false; shift is by how much the range that
	// is really used lies above the one that is named.
	pool  bool
	shift int
}

const (
	rpcLow    = 5000
	rpcCaller = 900
	rpcOther  = 950
)

// batch builds the stream.
func (c rpcClient) batch() *model.Batch {
	s, rest, protocol, name := detecttest.New(), time.Minute, model.ProtocolTCP, "cluster"
	if c.windows {
		s, rest, protocol, name = detecttest.NewWindows(), 4*time.Minute, model.ProtocolUDP, "cluster.exe"
		s.Pool("dynamic (assumed default)", protocol, model.PoolEphemeral, 49152, 65535)
		s.Builder().AddProcess(model.Process{
			Time: s.Now(), PID: rpcCaller, TID: -1, State: model.ProcessActive, Name: name,
		})
	} else {
		s.Pool("ephemeral", protocol, model.PoolEphemeral, 32768, 60999)
	}
	if c.pool {
		s.Pool("rpc", protocol, model.PoolConfigured, rpcLow, uint16(rpcLow+max(c.size, 1)-1))
	}
	freeAt := make([]model.Time, c.size)
	const never = model.Time(1 << 62)
	var kept []detecttest.Socket
	next, taken := 0, 0
	open := func(at time.Duration, k detecttest.Socket) {
		now := s.Now().Add(at)
		tries := 0
		for ; tries < c.size && freeAt[next%c.size] > now; tries++ {
			next++
		}
		if tries == c.size {
			if c.size == 0 && !c.windows { // no port of the range is left between the reserved ones
				k.How = model.HowBindAny
				s.Fail(at, k, 98, "EADDRINUSE")
				return
			}
			if c.windows {
				k.How = model.HowRPC
				s.Fail(at, k, 1721, "RPC_S_OUT_OF_RESOURCES")
				return
			}
			for i := range c.size {
				k.LPort = uint16(rpcLow + c.shift + i)
				s.Fail(at+time.Duration(i)*time.Microsecond, k, 98, "EADDRINUSE")
			}
			return
		}
		slot := next % c.size
		next++
		taken++
		k.LPort = uint16(rpcLow + c.shift + slot)
		k = s.Acquire(at, k)
		closes := at + 500*time.Millisecond
		switch of := taken % 4; {
		case k.PID == rpcCaller && of < c.keep:
			freeAt[slot] = never
			kept = append(kept, k)
		case k.PID == rpcCaller && of < c.keep+c.lose:
			freeAt[slot] = never
			s.Release(closes, k)
		case c.told:
			freeAt[slot] = s.Now().Add(closes + rest)
			s.Rest(closes, rest, k)
		default:
			freeAt[slot] = s.Now().Add(closes + rest)
			s.Release(closes, k)
		}
	}
	s.Seconds(c.length, func(i int) {
		s.Quiet()
		k := detecttest.Socket{PID: rpcCaller, Process: name, Protocol: protocol, How: model.HowBindPort}
		switch {
		case i == c.ends && c.ends > 0:
			for n, k := range kept {
				s.Release(100*time.Millisecond+time.Duration(n), k)
			}
			if c.seen {
				s.Builder().AddProcess(model.Process{
					Time: s.Now().Add(200 * time.Millisecond), PID: rpcCaller, TID: -1, State: model.ProcessExited, Name: name,
				})
			}
			for slot, at := range freeAt {
				if at == never {
					freeAt[slot] = 0
				}
			}
		case c.ends > 0 && i > c.ends:
			k.PID, k.Process = rpcOther, "other.exe"
			if i%2 == 0 {
				open(0, k)
			}
		case c.stops == 0 || i < c.stops:
			for n := range c.rate {
				open(time.Duration(n)*400*time.Millisecond/time.Duration(c.rate), k)
			}
		}
	})
	return s.Batch()
}

// moment is what is to be said at a second of a stream.
type moment struct {
	at int
	// ongoing are parts of the titles of the findings that go on, closed of those that have ended.
	ongoing, closed []string
}

// TestRPCPorts wants the ports of an RPC client to be judged right while they run
// out, after that, and after the client has ended: a leak, ports at rest, both, and
// a range that is too small, empty or not the one in use.
func TestRPCPorts(t *testing.T) {
	for _, c := range rpcCases {
		t.Run(c.name, func(t *testing.T) {
			out := detecttest.Run(c.batch(), 0)
			for _, e := range out {
				text := e.Finding.Title + strings.Join(append(e.Finding.Causes, e.Finding.Advice...), "\n")
				for _, never := range c.never {
					if strings.Contains(text, never) {
						t.Fatalf("%q is said: %s", never, text)
					}
				}
			}
			for _, m := range c.moments {
				m.check(t, out)
			}
		})
	}
}

func (m *moment) check(t *testing.T, out []detecttest.Emission) {
	t.Helper()
	latest := make(map[string]model.Finding)
	for _, e := range out {
		if e.At < detecttest.Start.Add(time.Duration(m.at)*time.Second) {
			latest[e.Finding.ID] = e.Finding
		}
	}
	for _, ongoing := range []bool{true, false} {
		wants, lines := m.closed, []string(nil)
		if ongoing {
			wants = m.ongoing
		}
		for _, id := range slices.Sorted(maps.Keys(latest)) {
			if f := latest[id]; f.Ongoing == ongoing {
				lines = append(lines, fmt.Sprintf("%s %s: %s; %s", f.Severity, f.Detector, f.Title, strings.Join(f.Causes, "; ")))
			}
		}
		all := strings.Join(lines, "\n")
		if len(lines) != len(wants) {
			t.Errorf("at %d s, ongoing %v: want %d findings:\n%s", m.at, ongoing, len(wants), all)
		}
		for _, want := range wants {
			if !slices.ContainsFunc(lines, func(line string) bool { return contains(line, want) }) {
				t.Errorf("at %d s, ongoing %v, nothing says %q:\n%s", m.at, ongoing, want, all)
			}
		}
	}
}

// contains says that a text has the parts of another, which are separated by an ellipsis, in this order.
func contains(text, parts string) bool {
	for part := range strings.SplitSeq(parts, " ... ") {
		_, rest, found := strings.Cut(text, part)
		if !found {
			return false
		}
		text = rest
	}
	return true
}

var rpcCases = []struct {
	name string
	rpcClient
	// never is not said by any finding.
	never   []string
	moments []moment
}{
	{
		name:      "windows, rest",
		rpcClient: rpcClient{windows: true, pool: true, size: 120, rate: 1, length: 400, ends: 250},
		never:     []string{"have vanished", "had vanished", "port-leak", "TIME_WAIT", "net.ipv4", "restart"},
		moments: []moment{
			{at: 115},
			{at: 230, ongoing: []string{
				"critical port-exhaustion: The RPC runtime refuses ... no port is left (RPC_S_OUT_OF_RESOURCES) ... " +
					"cluster.exe[900] ... of 120 ports of the pool were released within the last 4 min"}},
			{at: 320, closed: []string{"The RPC runtime refused 121 requests ... had been released within the last 4 min"}},
		},
	},
	{
		name:      "windows, rest that the stream reports",
		rpcClient: rpcClient{windows: true, told: true, pool: true, size: 120, rate: 1, length: 1200, ends: 900, seen: true},
		never:     []string{"vanished", "port-leak", "TIME_WAIT", "net.ipv4", "restart"},
		moments: []moment{
			{at: 110, ongoing: []string{"warning port-exhaustion: Pool rpc (udp 5000-5119) is nearly exhausted"}},
			{at: 230, ongoing: []string{
				"critical port-exhaustion: Pool rpc (udp 5000-5119) is exhausted: 120 of 120 ports at rest, none " +
					"in use, ... refused ... Most of them are at rest: ... stays unavailable for 4 min"}},
			{at: 1100, closed: []string{"Pool rpc (udp 5000-5119) was exhausted: 120 of 120 ports at rest"}},
		},
	},
	{
		name:      "windows, sockets kept open",
		rpcClient: rpcClient{windows: true, pool: true, size: 120, keep: 4, rate: 1, length: 1000, ends: 900, seen: true},
		never:     []string{"vanished", "net.ipv4"},
		moments: []moment{
			{at: 40, ongoing: []string{"info port-leak: cluster.exe[900] took ... has released none so far; too early"}},
			{at: 60, ongoing: []string{
				"critical port-leak: cluster.exe[900] took ... and released none; pool exhausted in about"}},
			{at: 800, ongoing: []string{
				"critical port-leak: cluster.exe[900] took 120 udp ports ... in 119 s and released none; the pool is exhausted",
				"critical port-exhaustion: Pool rpc (udp 5000-5119) is exhausted: 120 of 120 ports in use"}},
			{at: 910, closed: []string{
				"warning port-leak: cluster.exe[900] took 120 udp ports ... and kept them until it exited",
				"Pool rpc (udp 5000-5119) was exhausted: 120 of 120 ports in use, 780 allocations refused ... held 120"}},
			{at: 990, closed: []string{"port-leak", "port-exhaustion"}},
		},
	},
	{
		name:      "windows, closed sockets whose ports are lost",
		rpcClient: rpcClient{windows: true, pool: true, size: 120, lose: 4, rate: 1, length: 1000, ends: 900, seen: true},
		never:     []string{"TIME_WAIT", "net.ipv4", "they had not vanished"},
		moments: []moment{
			{at: 200, ongoing: []string{
				"The RPC runtime refuses ... ports that a runtime loses look the same until that time has passed"}},
			{at: 800,
				ongoing: []string{"critical port-leak: ... RPC reports no free port (RPC_S_OUT_OF_RESOURCES) while 120 of 120 " +
					"ports of the range rpc (udp 5000-5119) have no open or resting socket: probably held inside the RPC " +
					"runtime (inferred) ... closed and not taken again: 120 ports ... last held by cluster.exe[900] (120)"},
				closed: []string{"The RPC runtime refused"}},
			{at: 910, closed: []string{
				"critical port-leak: RPC reported no free port ... while 120 of 120 ports ... had no open or resting socket: " +
					"they were probably held inside the RPC runtime (inferred); cluster.exe[900] last held them, and has ended",
				"The RPC runtime refused"}},
			{at: 990, closed: []string{"120 of 120 ports ... were probably held", "The RPC runtime refused"}},
		},
	},
	{
		name: "windows, lost by a program that hangs then",
		rpcClient: rpcClient{
			windows: true, pool: true, size: 120, lose: 4, rate: 1, length: 1000, stops: 500, ends: 900, seen: true,
		},
		moments: []moment{
			{at: 890, ongoing: []string{"120 of 120 ports of the range rpc (udp 5000-5119) have no open or resting socket"},
				closed: []string{"The RPC runtime refused"}},
			{at: 910, closed: []string{"120 of 120 ports ... has ended", "The RPC runtime refused"}},
		},
	},
	{
		name: "windows, lost and at rest",
		rpcClient: rpcClient{
			windows: true, told: true, pool: true, size: 240, lose: 1, rate: 1, length: 1000, ends: 900, seen: true,
		},
		never: []string{"TIME_WAIT", "net.ipv4"},
		moments: []moment{
			{at: 230},
			{at: 880, ongoing: []string{"RPC reports no free port ... of 240 ports of the range rpc ... have no open or " +
				"resting socket ... at rest: ... closed and not taken again: ... last held by cluster.exe[900]"}},
			{at: 990, closed: []string{"of 240 ports ... had no open or resting socket ... has ended"}},
		},
	},
	{
		name: "windows, kept and at rest",
		rpcClient: rpcClient{
			windows: true, told: true, pool: true, size: 240, keep: 2, rate: 1, length: 1000, ends: 900, seen: true,
		},
		never: []string{"vanished"},
		moments: []moment{
			{at: 130, ongoing: []string{"critical port-leak: cluster.exe[900] took ... does not release them; pool " +
				"exhausted in"}},
			{at: 890, ongoing: []string{"critical port-leak: cluster.exe[900] took", "is exhausted: ... in use " +
				"and ... at rest"}},
			{at: 920, closed: []string{"kept them until it exited", "was exhausted: ... at rest"}},
		},
	},
	{
		name:      "windows, range not the one in use",
		rpcClient: rpcClient{windows: true, pool: true, size: 120, shift: 2000, rate: 1, length: 250},
		never:     []string{"vanished"},
		moments: []moment{{at: 240, ongoing: []string{
			"The RPC runtime refuses ... No port of the pool rpc (udp 5000-5119) was taken while it was observed: " +
				"the range in use is a different one, is empty"}}},
	},
	{
		name:      "windows, range empty",
		rpcClient: rpcClient{windows: true, pool: true, rate: 1, length: 60, ends: 30, seen: true},
		moments: []moment{{at: 20, ongoing: []string{
			"The RPC runtime refuses ... No port of the pool rpc (udp 5000-5000) was taken while it was observed"}}},
	},
	{
		name:      "windows, no range known",
		rpcClient: rpcClient{windows: true, rate: 1, length: 60},
		moments:   []moment{{at: 50, ongoing: []string{"The RPC runtime refuses ... set it with --pool rpc=udp:LOW-HIGH"}}},
	},
	{
		name:      "windows, range too small",
		rpcClient: rpcClient{windows: true, pool: true, size: 8, keep: 4, rate: 1, length: 120, ends: 100, seen: true},
		moments: []moment{
			{at: 50, ongoing: []string{"Pool rpc (udp 5000-5007) is exhausted: 8 of 8 ports in use"}},
			{at: 110, closed: []string{"Pool rpc (udp 5000-5007) was exhausted: 8 of 8 ports in use"}},
		},
	},
	{
		name:      "linux, rest",
		rpcClient: rpcClient{told: true, pool: true, size: 40, rate: 1, length: 400, stops: 200, ends: 300, seen: true},
		never:     []string{"vanished", "port-leak", "restart"},
		moments: []moment{
			{at: 190, ongoing: []string{
				"critical port-exhaustion: Pool rpc (tcp 5000-5039) is exhausted: 40 of 40 ports in TIME_WAIT, none in use ... " +
					"stays unavailable for 60 s"}},
			{at: 290, closed: []string{"was exhausted: 40 of 40 ports in TIME_WAIT"}},
		},
	},
	{
		name:      "linux, sockets kept open",
		rpcClient: rpcClient{told: true, pool: true, size: 40, keep: 4, rate: 1, length: 300, ends: 200, seen: true},
		never:     []string{"vanished", "stopped growing"},
		moments: []moment{
			{at: 20, ongoing: []string{"critical port-leak: cluster[900] took ... and released none; pool exhausted in"}},
			{at: 190, ongoing: []string{
				"critical port-leak: cluster[900] took 40 tcp ports ... in 39 s and released none; the pool is exhausted",
				"critical port-exhaustion: Pool rpc (tcp 5000-5039) is exhausted: 40 of 40 ports in use"}},
			{at: 210, closed: []string{"kept them until it exited", "was exhausted"}},
		},
	},
	{
		name:      "linux, kept and at rest",
		rpcClient: rpcClient{told: true, pool: true, size: 80, keep: 1, rate: 1, length: 330, ends: 300, seen: true},
		never:     []string{"vanished", "stopped growing"},
		moments: []moment{
			{at: 135, ongoing: []string{
				"critical port-leak: cluster[900] took ... and does not release them; pool exhausted in",
				"warning port-exhaustion: Pool rpc (tcp 5000-5079) is nearly exhausted"}},
			{at: 290, ongoing: []string{
				"critical port-leak: cluster[900] took", "is exhausted: 80 of 80 ports taken, ... in use and ... in TIME_WAIT"}},
			{at: 320, closed: []string{"kept them until it exited", "was exhausted: 80 of 80 ports taken"}},
		},
	},
	{
		name:      "linux, kept and at rest in a range that only the search reveals",
		rpcClient: rpcClient{told: true, size: 80, keep: 1, rate: 1, length: 360, ends: 300, seen: true},
		never:     []string{"vanished", "stopped growing"},
		moments: []moment{
			{at: 270, ongoing: []string{
				"critical port-leak: cluster[900] took",
				"cluster[900] finds no free port in tcp 5000-5079: 80 of 80 ports taken"}},
			{at: 340, closed: []string{"kept them until it exited", "found no free port in tcp 5000-5079"}},
		},
	},
	{
		name: "linux, range not the one in use",
		rpcClient: rpcClient{
			told: true, pool: true, size: 40, keep: 4, shift: 2000, rate: 1, length: 200, ends: 150, seen: true,
		},
		never: []string{"stopped growing", "Pool rpc"},
		moments: []moment{
			{at: 100, ongoing: []string{
				"critical port-leak: cluster[900] took 40 tcp ports in 39 s and released none; its port range is exhausted",
				"cluster[900] finds no free port in tcp 7000-7039: 40 of 40 ports in use"}},
			{at: 190, closed: []string{"kept them until it exited", "found no free port in tcp 7000-7039"}},
		},
	},
	{
		name:      "linux, range empty",
		rpcClient: rpcClient{told: true, rate: 1, length: 60},
		never:     []string{"Windows", "netsh", "Registry"},
		moments: []moment{{at: 50, ongoing: []string{
			"The kernel refuses ... requests for a TCP port ... (EADDRINUSE), mostly to cluster[900] ... No port of the " +
				"pool ephemeral (tcp 32768-60999) was taken while it was observed ... net.ipv4.ip_local_reserved_ports"}}},
	},
	{
		name:      "linux, range too small",
		rpcClient: rpcClient{told: true, pool: true, size: 8, keep: 4, rate: 1, length: 120, ends: 100, seen: true},
		moments: []moment{
			{at: 50, ongoing: []string{"Pool rpc (tcp 5000-5007) is exhausted: 8 of 8 ports in use"}},
			{at: 110, closed: []string{"Pool rpc (tcp 5000-5007) was exhausted: 8 of 8 ports in use"}},
		},
	},
	{
		// Refusals of a few ports look like those of a program that tries some well-known ones.
		name:      "linux, few ports searched",
		rpcClient: rpcClient{told: true, size: 8, keep: 4, rate: 1, length: 100},
		moments:   []moment{{at: 90}},
	},
}
