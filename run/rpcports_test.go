package run

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/etw"
	"lostbeat/etw/etl/etltest"
	"lostbeat/model"
)

// rpcTrace is a server that takes a port of a range of 40 each second. That of an .etl are UDP ports, whose rests
// nothing reports.
func rpcTrace(length, rest time.Duration) etltest.RPCServer {
	return etltest.RPCServer{
		Low: 5000, Ports: 40, Every: time.Second, Open: 500 * time.Millisecond, Rest: rest, Length: length,
	}
}

var rpcRange = etw.RPCInternet{Ports: []string{"5000-5039"}, PortsAvailable: "Y", UsePorts: "Y"}

// TestRPCPortsTrace judges traces of servers that get no port of the range for RPC: ports that were lost inside of the
// RPC runtime, ports that only rest, and a configuration that is not valid. Each has another verdict, and says which
// facts it has.
func TestRPCPortsTrace(t *testing.T) {
	invalid := rpcRange
	invalid.Ports = []string{"5000-5039", "6100-6000"}
	refused := etltest.RPCServer{Every: time.Second, Open: time.Millisecond, Length: 20 * time.Second, Status: 1720}
	for name, c := range map[string]struct {
		server etltest.RPCServer
		config *etw.RPCInternet
		// title is that of the only critical finding that is ongoing at the end, facts what it says, never what no
		// finding says.
		title        string
		facts, never []string
	}{
		"lost inside of the RPC runtime": {
			rpcTrace(300*time.Second, 0), &rpcRange,
			"RPC reports no free port (RPC_S_OUT_OF_RESOURCES) while 40 of 40 ports of the range RPC Internet ports " +
				"(udp 5000-5039) have no open or resting socket: probably held inside the RPC runtime (inferred)",
			[]string{
				"the range is configured in the registry, and is valid: Ports 5000-5039",
				"RPC_S_OUT_OF_RESOURCES (1721) says that a resource was used up, not which one",
				"has probably lost track of these ports",
				"closed and not taken again: 40 ports, from 12:00:01 to 12:00:40, last held by cluster.exe[700] (40)",
				"rests are not reported here; no port was closed within the last 4 min",
				"closed and not taken again (5000-5039) 40",
			},
			[]string{"is not valid", "never seen with a socket:"},
		},
		"only at rest": {
			rpcTrace(230*time.Second, 240*time.Second), &rpcRange,
			"The RPC runtime refuses 189 requests for a port in 3.1 min: no port is left (RPC_S_OUT_OF_RESOURCES), mostly to " +
				"cluster.exe[700]",
			[]string{
				"40 of 40 ports of the pool were released within the last 4 min",
				"closed within the last 4 min: 40 ports, which may be at rest",
				"closed so lately that they may rest (5000-5039) 40",
			},
			[]string{"probably held inside", "vanished", "is not valid"},
		},
		"not valid": {
			refused, &invalid,
			"RPC servers get no port: the configured port range is not valid, and Windows rejects all of it; 19 requests " +
				"refused",
			[]string{`Ports has "6100-6000": no range of ports`, "a lack of ports"},
			[]string{"probably held inside", "vanished", "at rest", "is exhausted", "a resource was used up"},
		},
		"held before the recording began": {
			etltest.RPCServer{Every: time.Second, Open: time.Millisecond, Length: 20 * time.Second}, &rpcRange,
			"The RPC runtime refuses 19 requests for a port",
			[]string{
				"never seen with a socket: 40 ports; who held them before the recording began is unknown, so they are not " +
					"counted as idle",
				"RPC_S_OUT_OF_RESOURCES (1721) says that a resource was used up, not which one",
				"The capture does not show who holds the range",
			},
			[]string{"probably held inside", "vanished", "The status itself says"},
		},
		"no configuration given": {
			refused, nil, "", nil, []string{"is not valid", "probably held inside"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, "rpc.etl", c.server.Trace(etltest.Options{}))
			var critical []string
			for _, f := range judgementOf(t, opened(t, path, OpenOptions{RPCPorts: c.config})).Findings {
				f = detecttest.Blanks(f)
				text := f.Title + "\n" + strings.Join(append(append(f.Causes, f.RuledOut...), f.Advice...), "\n")
				for _, e := range f.Evidence {
					text += fmt.Sprintf("\n%s %v", e.Name, e.Value)
				}
				for _, never := range c.never {
					if strings.Contains(text, never) {
						t.Errorf("%q is said:\n%s", never, text)
					}
				}
				if f.Severity != model.SeverityCritical || !f.Ongoing {
					continue // the verdict before the rests were over
				}
				critical = append(critical, text)
				for _, fact := range append(c.facts, c.title) {
					if !strings.Contains(text, fact) {
						t.Errorf("%q is not said:\n%s", fact, text)
					}
				}
			}
			if want := min(len(c.title), 1); len(critical) != want {
				t.Errorf("%d critical findings, want %d:\n%s", len(critical), want, strings.Join(critical, "\n\n"))
			}
		})
	}
}
