package etwfake

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lostbeat/etw/etl/etltest"
	"lostbeat/model"
)

// rpcServer is a server that takes a TCP port of a range of 20 every 100 ms, and gets none from 2 s on.
func rpcServer(rest time.Duration) etltest.RPCServer {
	return etltest.RPCServer{
		Low: 5000, Ports: 20, TCP: true, Every: 100 * time.Millisecond, Open: 50 * time.Millisecond, Rest: rest,
		Length: 12 * time.Second,
	}
}

// rpcRun is a recording of a server, with the tables of sockets that Windows has meanwhile.
type rpcRun struct {
	server etltest.RPCServer
	tables []Row
	// want is the title of an ongoing finding, facts are what it says; never is what none says.
	want         string
	facts, never []string
}

// record makes the recording under Wine and returns what is found in it on Linux.
func (r *rpcRun) record(t *testing.T, l *lab, name string, seconds int) (findings, recording string, err error) {
	w := etltest.New(etltest.Options{})
	r.server.Write(w)
	data := w.Bytes()
	events, err := FromETL(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return "", "", err
	}
	dir := filepath.Join(l.dir, name)
	file, tables, out := filepath.Join(dir, "events"), filepath.Join(dir, "tables"), filepath.Join(dir, "out.lostbeat")
	if err := errors.Join(
		os.Mkdir(dir, 0o700), os.WriteFile(file, Encode(events), 0o600), os.WriteFile(tables, EncodeTables(r.tables), 0o600),
	); err != nil {
		return "", "", err
	}
	cmd := l.prefix.Command(t.Context(), []string{"ETWFAKE_EVENTS=" + Path(file), "ETWFAKE_TABLES=" + Path(tables)},
		l.windows, "record", "-o", Path(out), "--duration", fmt.Sprintf("%ds", seconds))
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("record: %w: %s", err, said)
	}
	return l.native("findings", out), out, nil
}

// setRPCPorts writes the configuration of the ports of RPC into the prefix's registry.
func (l *lab) setRPCPorts(t *testing.T, ports string) {
	t.Helper()
	const key = `HKLM\Software\Microsoft\Rpc\Internet`
	for _, value := range [][]string{
		{"Ports", "REG_MULTI_SZ", ports}, {"PortsInternetAvailable", "REG_SZ", "Y"}, {"UseInternetPorts", "REG_SZ", "Y"},
	} {
		args := []string{"reg", "add", key, "/v", value[0], "/t", value[1], "/d", value[2], "/f"}
		if out, err := l.prefix.Command(t.Context(), nil, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
}

// testRPC records servers that get no port of the range for RPC: one whose ports the runtime has lost, one whose ports
// only rest, and one whose configuration is not valid. Each has another verdict.
func testRPC(t *testing.T, l *lab) {
	local := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port) }
	// One port of the range was open before, by another program.
	open := Row{
		Protocol: model.ProtocolTCP, Local: local(5020), PID: 4, State: StateListen, Age: time.Hour,
	}
	rests := []Row{open}
	for _, c := range rpcServer(4 * time.Minute).Write(etltest.New(etltest.Options{})) {
		rests = append(rests, Row{
			Protocol: model.ProtocolTCP, Local: local(c.Port), Remote: netip.MustParseAddrPort("10.0.0.2:445"),
			State: StateTimeWait, From: c.At,
		})
	}
	const ranged = "Ports 5000-5020, PortsInternetAvailable Y, UseInternetPorts Y"
	held := "probably held inside the RPC runtime"
	runs := map[string]*rpcRun{
		"lost": {
			rpcServer(0), []Row{open},
			"RPC reports no free port (RPC_S_OUT_OF_RESOURCES) while 20 of 21 ports of the range RPC Internet ports " +
				"(tcp 5000-5020) have no open or resting socket: " + held + " (inferred)",
			[]string{
				"the range is configured in the registry, and is valid: " + ranged, "open: 1 port, ",
				"closed and not taken again: 20 ports, ", "last held by cluster.exe[700] (20)",
				"RPC_S_OUT_OF_RESOURCES (1721) says that a resource was used up, not which one",
			},
			[]string{"is not valid", "in TIME_WAIT"},
		},
		"rest": {
			rpcServer(4 * time.Minute), rests,
			"Pool RPC Internet ports (tcp 5000-5020) is exhausted: 21 of 21 ports taken, 1 in use and 20 in TIME_WAIT",
			[]string{"Most of them are in TIME_WAIT"}, []string{held, "is not valid", "vanished"},
		},
	}
	l.setRPCPorts(t, "5000-5020")
	var wait sync.WaitGroup
	for name, r := range runs {
		wait.Go(func() { r.check(t, l, name, 16) })
	}
	wait.Wait()
	l.setRPCPorts(t, "5100-5000")
	if r := l.lostbeat(nil, nil, "doctor"); !strings.Contains(r.out, `Ports has "5100-5000": no range of ports`) {
		t.Errorf("doctor does not say that the range is wrong:\n%s", r.out)
	}
	invalid := rpcRun{
		etltest.RPCServer{TCP: true, Every: 200 * time.Millisecond, Open: time.Millisecond, Length: 5 * time.Second}, nil,
		"RPC servers get no port: the configured port range is not valid, and Windows rejects all of it",
		[]string{`Ports has "5100-5000": no range of ports`, "ruled out a lack of ports"},
		[]string{held, "at rest", "is exhausted"},
	}
	invalid.check(t, l, "invalid", 8)
}

// check records a run and looks at what is found.
func (r *rpcRun) check(t *testing.T, l *lab, name string, seconds int) {
	found, path, err := r.record(t, l, name, seconds)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	validate(t, path)
	// A line of a finding may be wrapped.
	text := strings.Join(strings.Fields(strings.ReplaceAll(found, "\u00a0", " ")), " ")
	for _, want := range append(r.facts, r.want) {
		if !strings.Contains(text, want) {
			t.Errorf("%s: %q is not said:\n%s", name, want, found)
		}
	}
	for _, never := range r.never {
		if strings.Contains(text, never) {
			t.Errorf("%s: %q is said:\n%s", name, never, found)
		}
	}
}

// testPolled follows a process that takes more and more ports in the tables alone, as somebody without administrator
// rights can.
func testPolled(t *testing.T, l *lab) {
	var rows []Row
	for i := range 100 {
		rows = append(rows, Row{
			Protocol: model.ProtocolUDP, Local: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(50000+i)), PID: 4242,
			From: time.Duration(i) * 100 * time.Millisecond, Asked: true,
		})
	}
	tables, out := filepath.Join(l.dir, "tables"), filepath.Join(l.dir, "polled.lostbeat")
	if err := os.WriteFile(tables, EncodeTables(rows), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := l.prefix.Command(t.Context(), []string{"ETWFAKE_TABLES=" + Path(tables), "ETWFAKE_FAIL=system=5;user=5"},
		l.windows, "record", "-o", Path(out), "--duration", "18s", "--probe", "counters")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("record: %v: %s", err, said)
	}
	validate(t, out)
	held := l.native("events", out, "--kind", "port.active")
	if n := strings.Count(held, "pid=4242 "); n != 100 || strings.Count(held, "how=audit") < 90 {
		t.Errorf("%d of 100 ports are followed:\n%s", n, held)
	}
}
