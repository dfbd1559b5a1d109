package nic

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/procfs"
)

// procText returns a file of this host's /proc.
func procText(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("/proc", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// procAt is a /proc with one file: two parsers of it read the same.
func procAt(t *testing.T, name, text string) procfs.FS {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	fs, err := procfs.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// Another parser reads the same of softnet_stat, of this kernel and of others.
func TestSoftnetAgainstProcfs(t *testing.T) {
	const name = "net/softnet_stat"
	for kernel, text := range map[string]string{"this": procText(t, name), "6.18": softnet618} {
		got, err := parseSoftnet(strings.NewReader(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		want, err := procAt(t, name, text).NetSoftnetStat()
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) || len(got) == 0 {
			t.Fatalf("kernel %s: %d CPUs, procfs has %d", kernel, len(got), len(want))
		}
		for i, w := range want {
			g := got[i]
			if g.cpu != int32(w.Index) || g.processed != w.Processed || g.dropped != w.Dropped ||
				g.timeSqueeze != w.TimeSqueezed || g.receivedRPS != w.ReceivedRps || g.flowLimit != w.FlowLimitCount ||
				g.backlogPackets != w.SoftnetBacklogLen {
				t.Errorf("kernel %s: %+v, procfs has %+v", kernel, g, w)
			}
		}
	}
}

// Another parser reads the same of snmp, netstat and snmp6.
func TestSNMPAgainstProcfs(t *testing.T) {
	values := func(parse func(string) ([]counter, error), name string) map[string]uint64 {
		t.Helper()
		list, err := parse(procText(t, name))
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]uint64{}
		for _, c := range list {
			out[c.protocol+c.name] = c.value
		}
		return out
	}
	text := func(s string) ([]counter, error) { return parseSNMP(strings.NewReader(s)) }
	text6 := func(s string) ([]counter, error) { return parseSNMP6(strings.NewReader(s)) }
	// procfs reads these of a process: each pass reads the live files again, so
	// that what counts meanwhile may be ahead of what was read before.
	self := func() procfs.Proc {
		p, err := procfs.Self()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	before, before6 := values(text, "self/net/snmp"), values(text6, "self/net/snmp6")
	v4, err := self().Snmp()
	if err != nil {
		t.Fatal(err)
	}
	v6, err := self().Snmp6()
	if err != nil {
		t.Fatal(err)
	}
	after, after6 := values(text, "self/net/snmp"), values(text6, "self/net/snmp6")
	compared := 0
	check := func(name string, low, high map[string]uint64, procfsValue *float64) {
		t.Helper()
		if procfsValue == nil {
			return
		}
		compared++
		if v := uint64(*procfsValue); v < low[name] || v > high[name] {
			t.Errorf("%s: procfs has %d, not from %d to %d", name, v, low[name], high[name])
		}
	}
	check("UdpInDatagrams", before, after, v4.Udp.InDatagrams)
	check("UdpNoPorts", before, after, v4.Udp.NoPorts)
	check("UdpInErrors", before, after, v4.Udp.InErrors)
	check("UdpRcvbufErrors", before, after, v4.Udp.RcvbufErrors)
	check("UdpSndbufErrors", before, after, v4.Udp.SndbufErrors)
	check("UdpInCsumErrors", before, after, v4.Udp.InCsumErrors)
	check("TcpInSegs", before, after, v4.Tcp.InSegs)
	check("TcpOutSegs", before, after, v4.Tcp.OutSegs)
	check("TcpRetransSegs", before, after, v4.Tcp.RetransSegs)
	check("TcpInErrs", before, after, v4.Tcp.InErrs)
	check("TcpAttemptFails", before, after, v4.Tcp.AttemptFails)
	check("Udp6InDatagrams", before6, after6, v6.Udp6.InDatagrams)
	check("Udp6NoPorts", before6, after6, v6.Udp6.NoPorts)
	check("Udp6InErrors", before6, after6, v6.Udp6.InErrors)
	check("Udp6RcvbufErrors", before6, after6, v6.Udp6.RcvbufErrors)
	check("Udp6SndbufErrors", before6, after6, v6.Udp6.SndbufErrors)
	if compared < 12 {
		t.Errorf("only %d counters were compared", compared)
	}
}
