package all_test

import (
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// rpcHost is a live Windows whose tables of sockets are read, and whose RPC runtime has no port left of a range of 40.
// What was done with the ports before observation began is not known.
type rpcHost struct {
	protocol model.Protocol
	// open ports have a socket, resting ones are in TIME_WAIT.
	open, resting int
	// blind says that the tables are not read, config is the state of the configuration in the registry.
	blind  bool
	config string
	length int
}

func (h rpcHost) batch() *model.Batch {
	s := detecttest.NewWindows()
	s.Pool("RPC Internet ports", h.protocol, model.PoolRPC, 5000, 5039)
	s.Builder().AddReading(model.Reading{
		Time: s.Now(), Name: model.ReadingRPCPorts, Instance: h.config, Value: 40, Detail: "Ports 5000-5039",
	})
	for i := range h.open + h.resting {
		v := model.PortActive{
			Time: s.Now(), PID: rpcCaller, TID: -1, Cookie: uint64(1 + i), Protocol: h.protocol, LocalPort: uint16(5000 + i),
			LocalAddr: "0.0.0.0", How: model.HowPresent, Process: "cluster.exe",
		}
		if i >= h.open {
			v.PID, v.Process, v.Resting, v.RemotePort, v.RemoteAddr = -1, "", true, 445, "10.0.0.2"
		}
		s.Builder().AddPortActive(v)
	}
	s.Seconds(h.length, func(i int) {
		s.Quiet()
		if !h.blind && i%5 == 0 {
			s.Builder().AddReading(model.Reading{Time: s.Now(), Name: model.ReadingSocketTables, Value: 40})
		}
		k := detecttest.Socket{PID: rpcCaller, Process: "cluster.exe", Protocol: h.protocol, How: model.HowRPC}
		s.Fail(0, k, 1721, "RPC_S_OUT_OF_RESOURCES")
	})
	return s.Batch()
}

// TestRPCTables wants the ports of a range that have no open or resting socket to be said to be held inside the RPC
// runtime as soon as that is known, and not before.
func TestRPCTables(t *testing.T) {
	const held = "have no open or resting socket: probably held inside the RPC runtime (inferred)"
	for _, c := range []struct {
		name string
		rpcHost
		want, never string
	}{
		{
			"attached afterwards", rpcHost{protocol: model.ProtocolTCP, open: 2, config: model.RPCPortsValid, length: 6},
			"while 38 of 40 ports of the range RPC Internet ports (tcp 5000-5039) " + held +
				" ... the range is configured in the registry, and is valid ... open: 2 ports, cluster.exe[900] (2) ... never " +
				"seen with a socket: 38 ports; none had one when the tables of sockets were read first", "",
		},
		{
			"open and at rest",
			rpcHost{protocol: model.ProtocolTCP, open: 12, resting: 12, config: model.RPCPortsValid, length: 6},
			"while 16 of 40 ports ... open: 12 ports ... at rest: 12 ports", "",
		},
		{
			"too few for a verdict",
			rpcHost{protocol: model.ProtocolTCP, open: 12, resting: 13, config: model.RPCPortsValid, length: 6},
			"The RPC runtime refuses ... open: 12 ports ... at rest: 13 ports ... never seen with a socket: 15 ports", held,
		},
		{
			"at rest", rpcHost{protocol: model.ProtocolTCP, resting: 40, config: model.RPCPortsValid, length: 20},
			"is exhausted: 40 of 40 ports in TIME_WAIT, none in use", held,
		},
		{
			"tables not read",
			rpcHost{protocol: model.ProtocolTCP, open: 2, blind: true, config: model.RPCPortsValid, length: 20},
			"The RPC runtime refuses ... who held them before the recording began is unknown", held,
		},
		{
			"UDP, whose rests are in no table",
			rpcHost{protocol: model.ProtocolUDP, open: 2, config: model.RPCPortsValid, length: 238},
			"The RPC runtime refuses ... closed within the last 4 min: 38 ports, which may be at rest", held,
		},
		{
			"UDP, later", rpcHost{protocol: model.ProtocolUDP, open: 2, config: model.RPCPortsValid, length: 244},
			"while 38 of 40 ports of the range RPC Internet ports (udp 5000-5039) " + held, "",
		},
		{
			"not valid", rpcHost{protocol: model.ProtocolTCP, open: 2, config: model.RPCPortsInvalid, length: 20},
			"RPC servers get no port: the configured port range is not valid", held,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			latest := map[string]model.Finding{}
			for _, e := range detecttest.Run(c.batch(), 0) {
				latest[e.Finding.ID] = e.Finding
			}
			said, all := false, ""
			for _, f := range latest {
				text := f.Title + "; " + strings.Join(f.Causes, "; ")
				all += text + "\n"
				said = said || f.Ongoing && contains(text, c.want)
				if c.never != "" && strings.Contains(text, c.never) {
					t.Errorf("%q is said", c.never)
				}
			}
			if !said {
				t.Errorf("%q is not said:\n%s", c.want, all)
			}
		})
	}
}

// TestPolledTables wants a process that holds more and more ports to be found in tables that are read every 5 s, and
// one that opens and closes as many not to be.
func TestPolledTables(t *testing.T) {
	for _, leaks := range []bool{true, false} {
		s := detecttest.NewWindows()
		s.Pool("dynamic", model.ProtocolUDP, model.PoolEphemeral, 49152, 65535)
		cookie := uint64(0)
		s.Seconds(100, func(i int) {
			s.Quiet()
			if i%5 != 0 {
				return
			}
			s.Builder().AddReading(model.Reading{Time: s.Now(), Name: model.ReadingSocketTables, Value: 40})
			for n := range 10 {
				cookie++
				v := model.PortActive{
					Time: s.Now(), Dur: time.Second, PID: rpcCaller, TID: -1, Cookie: cookie, Protocol: model.ProtocolUDP,
					LocalPort: uint16(50000 + cookie), LocalAddr: "0.0.0.0", How: model.HowAudit, Process: "cluster.exe",
				}
				s.Builder().AddPortActive(v)
				if old := cookie - 10; !leaks && i > 0 {
					s.Builder().AddPortRelease(model.PortRelease{
						Time: s.Now().Add(time.Duration(n)), Dur: 5 * time.Second, PID: rpcCaller, TID: -1, Cookie: old,
						Protocol: model.ProtocolUDP, LocalPort: uint16(50000 + old), LocalAddr: "0.0.0.0", How: model.HowAudit,
						Process: "cluster.exe",
					})
				}
			}
		})
		found := false
		for _, e := range detecttest.Run(s.Batch(), 0) {
			f := &e.Finding
			found = found || strings.HasPrefix(f.Title, "cluster.exe[900] took") && f.Severity > model.SeverityInfo
		}
		if found != leaks {
			t.Errorf("leaks %v, found %v", leaks, found)
		}
	}
}
