package snapshot

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
	"lostbeat/source"
	"lostbeat/source/snapshot/snapshottest"
)

type socket = snapshottest.Socket

// host is a host with one of each: a listener for both families, a bound socket that is connected (two rows), others
// that are bound only, connections in TIME_WAIT and CLOSE_WAIT, UDP for both families.
func host() []socket {
	list := []socket{
		{State: "LISTENING", Local: "0.0.0.0", LocalPort: 135, PID: 900, Process: "rpcss"},
		{State: "LISTENING", Local: "0.0.0.0", LocalPort: 50000, PID: 900, Process: "rpcss"},
		{State: "LISTENING", Local: "::", LocalPort: 50000, PID: 900, Process: "rpcss"},
		{UDP: true, Local: "fe80::21b:44ff:fe11:3ab7", LocalPort: 50001, PID: 901, Process: "disc"},
	}
	for i := range 20 {
		port := 51000 + i
		if i < 5 {
			list = append(list, socket{State: "ESTABLISHED", Local: "192.0.2.1", LocalPort: port, Remote: "198.51.100.1",
				RemotePort: 443, PID: 77, Process: "app"})
		}
		list = append(list, socket{State: "BOUND", Local: "0.0.0.0", LocalPort: port, PID: 77, Process: "app"})
	}
	for i := range 30 {
		list = append(
			list,
			socket{State: "TIME_WAIT", Local: "192.0.2.1", LocalPort: 52000 + i, Remote: "198.51.100.2", RemotePort: 8443},
			socket{
				State:      "CLOSE_WAIT",
				Local:      "192.0.2.1",
				LocalPort:  53000 + i,
				Remote:     "198.51.100.3",
				RemotePort: 80,
				PID:        88,
				Process:    "web",
			},
			socket{UDP: true, Local: "0.0.0.0", LocalPort: 54000 + i, PID: 99, Process: "udp"},
			socket{UDP: true, Local: "::", LocalPort: 54000 + i, PID: 99, Process: "udp"},
		)
	}
	for i := range 3 {
		list = append(list, socket{State: "ESTABLISHED", Local: "192.0.2.1", LocalPort: 53900 + i, Remote: "198.51.100.2",
			RemotePort: 8443, PID: 88, Process: "web"})
	}
	return list
}

// write writes a file whose name has no time.
func write(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(testutil.TempDir(t), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run returns the stream of a source.
func run(t testing.TB, f source.File) *model.Batch {
	t.Helper()
	var stream []*model.Batch
	if err := f.Run(t.Context(), func(b *model.Batch) error { stream = append(stream, b); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := model.Validate(stream...); err != nil {
		t.Error(err)
	}
	var all model.Builder
	for _, b := range stream {
		for i := range b.Events {
			switch v := &b.Events[i]; v.Kind {
			case model.KindPortTable:
				e, _ := b.PortTable(v)
				all.AddPortTable(e)
			case model.KindPortHolder:
				e, _ := b.PortHolder(v)
				all.AddPortHolder(e)
			case model.KindPortDestination:
				e, _ := b.PortDestination(v)
				all.AddPortDestination(e)
			case model.KindPortActive:
				e, _ := b.PortActive(v)
				all.AddPortActive(e)
			case model.KindPortRelease:
				e, _ := b.PortRelease(v)
				all.AddPortRelease(e)
			case model.KindPortPool:
				e, _ := b.PortPool(v)
				all.AddPortPool(e)
			case model.KindLoss:
				e, _ := b.Loss(v)
				all.AddLoss(e)
			}
		}
	}
	return all.Take()
}

// facts are what a stream says of tables.
type facts struct {
	tables       []model.PortTable
	holders      []model.PortHolder
	destinations []model.PortDestination
	active       []model.PortActive
	releases     int
}

func factsOf(b *model.Batch) (f facts) {
	for i := range b.Events {
		e := &b.Events[i]
		if v, ok := b.PortTable(e); ok {
			f.tables = append(f.tables, v)
		}
		if v, ok := b.PortHolder(e); ok {
			f.holders = append(f.holders, v)
		}
		if v, ok := b.PortDestination(e); ok {
			f.destinations = append(f.destinations, v)
		}
		if v, ok := b.PortActive(e); ok {
			f.active = append(f.active, v)
		}
		if e.Kind == model.KindPortRelease {
			f.releases++
		}
	}
	return f
}

func (f *facts) holder(p model.Protocol, pid int32) model.PortHolder {
	for _, h := range f.holders {
		if h.Protocol == p && h.PID == pid {
			return h
		}
	}
	return model.PortHolder{}
}

// windowsRange is given beside tables of Linux, so that all forms have the same.
const windowsRange = "net.ipv4.ip_local_port_range = 49152\t65535\n"

// TestForms has one host in every form.
func TestForms(t *testing.T) {
	for _, form := range snapshottest.Forms {
		t.Run(form.Name, func(t *testing.T) {
			content := form.Write(host())
			path := write(t, "table.txt", content)
			if !Detect(content[:min(len(content), 128<<10)]) {
				t.Error("it is not recognised")
			}
			s, err := open([]string{path, write(t, "range.txt", []byte(windowsRange))}, source.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if i := s.Integrity(); !i.Complete() {
				t.Error(i.Damage)
			}
			f := factsOf(run(t, s))
			if len(f.tables) != 2 {
				t.Fatalf("%d tables", len(f.tables))
			}
			tcp, udp := f.tables[0], f.tables[1]
			bound := uint64(0)
			if form.Bound {
				bound = 15
			}
			// 50000 once, 5 connections, those that are bound, CLOSE_WAIT, 3 more.
			if want := 1 + 5 + bound + 30 + 3; tcp.Held != want || tcp.Resting != 30 || tcp.BoundSeen != form.Bound {
				t.Errorf("TCP holds %d (want %d), %d at rest, %v", tcp.Held, want, tcp.Resting, tcp.BoundSeen)
			}
			if udp.Held != 31 || udp.OwnersSeen != form.Owners || !udp.RangeKnown {
				t.Errorf("UDP %+v", udp)
			}
			if !form.Owners {
				return
			}
			if h := f.holder(model.ProtocolUDP, 99); h.Ports != 30 || h.Outside != 0 {
				t.Errorf("99 holds %+v", h)
			}
			if h := f.holder(model.ProtocolTCP, 77); form.Bound && (h.Ports != 20 || h.Bound != 15 || h.Connections != 5) {
				t.Errorf("77 holds %+v", h)
			}
			if h := f.holder(model.ProtocolTCP, 88); h.CloseWait != 30 || h.Connections != 33 || h.RemoteAddr != "198.51.100.3" {
				t.Errorf("88 holds %+v", h)
			}
			found := false
			for _, d := range f.destinations {
				if d.RemoteAddr == "198.51.100.2" {
					found = true
					if d.Held != 3 || d.Resting != 30 || d.PID != 88 || d.RemotePort != 8443 {
						t.Errorf("destination %+v", d)
					}
				}
			}
			if !found {
				t.Error("no destination")
			}
		})
	}
}

// TestCut cuts every form at many places: no form makes up a socket or panics, and what is missing is said.
func TestCut(t *testing.T) {
	for _, form := range snapshottest.Forms {
		content := form.Write(host())
		type key struct {
			local       string
			port, rport uint16
			pid         int32
			udp         bool
		}
		read := func(content []byte) map[key]bool {
			s := newSet(source.OpenOptions{})
			if err := s.readFrom(bytes.NewReader(content), "t.txt", model.TimeOf(time.Unix(1e9, 0))); err != nil {
				t.Fatal(err)
			}
			seen := map[key]bool{}
			if s.arrange() != nil {
				return seen
			}
			for _, v := range factsOf(run(t, s)).active {
				k := key{v.LocalAddr, v.LocalPort, v.RemotePort, v.PID, v.Protocol == model.ProtocolUDP}
				if form.Name == "PowerShell list" { // an object of which the state is cut off looks like one of UDP
					k.rport, k.udp = 0, false
				}
				seen[k] = true
			}
			return seen
		}
		whole := read(content)
		for n := range 12 {
			size := len(content) * (5*n + 3) / 60
			strange := 0
			for k := range read(content[:size]) {
				if k.pid >= 0 && !whole[k] {
					strange++
				}
			}
			if strange > 1 { // the number that the cut has shortened
				t.Errorf("%s, cut at %d: %d sockets that are none", form.Name, size, strange)
			}
		}
	}
}

// TestSeries has three tables: what is kept is counted, and what was given back is released.
func TestSeries(t *testing.T) {
	var paths []string
	at := time.Date(2026, 11, 14, 10, 0, 0, 0, time.UTC)
	for i := range 3 {
		var list []socket
		for n := range 100 + 50*i {
			if i == 2 && n < 10 {
				continue // given back
			}
			list = append(list, socket{UDP: true, Local: "0.0.0.0", LocalPort: 50000 + n, PID: 5, Process: "x"})
		}
		paths = append(paths, write(t, "u_"+at.Add(time.Duration(i)*10*time.Minute).Format("20060102_1504")+".txt",
			snapshottest.Netstat(nil, "CRLF")(list)))
	}
	s, err := open(paths, source.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f := factsOf(run(t, s))
	if len(f.holders) != 3 || f.holders[1].Kept != 100 || f.holders[2].Kept != 140 || f.holders[2].Ports != 190 {
		t.Errorf("holders %+v", f.holders)
	}
	if f.releases != 10 || len(f.active) != 200 {
		t.Errorf("%d released, %d taken", f.releases, len(f.active))
	}
	start, end := s.Span()
	if start != model.TimeOf(at) || end != model.TimeOf(at.Add(20*time.Minute)) ||
		f.tables[2].TimeFrom != "the file's name" {
		t.Errorf("%v to %v, from %s", start, end, f.tables[2].TimeFrom)
	}
	// From the middle on, the table before the moment is a keyframe.
	var active int
	err = s.RunFrom(t.Context(), model.TimeOf(at.Add(15*time.Minute)), func(b *model.Batch) error {
		for i := range b.Events {
			if b.Events[i].Kind == model.KindPortActive && b.Events[i].Flags&model.FlagKeyframe != 0 {
				active++
			}
		}
		return nil
	})
	if err != nil || active != 150 {
		t.Errorf("%d ports in the keyframe, %v", active, err)
	}
}

// TestTimes has the places that a table's time is taken from.
func TestTimes(t *testing.T) {
	row := "  UDP    0.0.0.0:50000          *:*                                    5\n"
	for _, tt := range []struct{ name, file, content, want, from string }{
		{"name", "netstat-2026-11-14T12-30-05.txt", row, "2026-11-14T12:30:05Z", "name"},
		{"line", "netstat_20200101_0000.txt", "Sat Nov 14 12:00:00 UTC 2026\n" + row, "2026-11-14T12:00:00Z", "line"},
		{"Get-Date", "x.txt", "Saturday, November 14, 2026 1:00:00 PM\n\n" + row, "2026-11-14T13:00:00Z", "line"},
		{"ISO", "x.txt", "=== netstat 2026-11-14 12:00:01 ===\n" + row, "2026-11-14T12:00:01Z", "line"},
		{"created", "x.csv", "LocalAddress,LocalPort,OwningProcess,CreationTime\n0.0.0.0,50000,5,13.11.2026 08:00:00\n" +
			"0.0.0.0,50001,5,12.11.2026 08:00:00\n", "2026-11-13T08:00:00Z", "CreationTime"},
		{"created, American", "x.csv", "LocalAddress,LocalPort,OwningProcess,CreationTime\n" +
			"0.0.0.0,50000,5,11/2/2026 8:00:00 PM\n" +
			"0.0.0.0,50001,5,11/13/2026 12:00:00 AM\n", "2026-11-13T00:00:00Z", "CreationTime"},
		{"modified", "x.txt", row, "2001-09-09T01:46:40Z", "modification"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.file, []byte(tt.content))
			if err := os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
				t.Fatal(err)
			}
			s, err := open([]string{path}, source.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			start, _ := s.Span()
			if got := start.Std().Format(time.RFC3339); got != tt.want || !strings.Contains(s.moments[0].from, tt.from) {
				t.Errorf("%s from %s, want %s", got, s.moments[0].from, tt.want)
			}
		})
	}
}

// TestMoments has tables that are of one moment, and those whose order in time is not known.
func TestMoments(t *testing.T) {
	udp := func(ports ...int) (text string) {
		for _, p := range ports {
			text += fmt.Sprintf("  UDP    0.0.0.0:%-14d *:*                                    5\n", p)
		}
		return text
	}
	tcp := func(port int, state string) string {
		return fmt.Sprintf("  TCP    192.0.2.1:%-12d 0.0.0.0:0              %-15s 5\n", port, state)
	}
	csv := "LocalAddress,LocalPort,OwningProcess,CreationTime\n0.0.0.0,50001,5,11/14/2026 8:00:00 AM\n" +
		"0.0.0.0,50000,5,11/14/2026 8:00:00 AM\n"
	list := "LocalAddress  : 0.0.0.0\nLocalPort     : 50000\nOwningProcess : 5\n\nLocalAddress  : 0.0.0.0\n" +
		"LocalPort     : 50001\nOwningProcess : 5\n"
	for _, tt := range []struct {
		name  string
		files map[string]string
		apart time.Duration
		// tables are how many each moment has, vague which moments nothing orders.
		tables []int
		vague  []bool
	}{
		{"with and without -q", map[string]string{"a.txt": tcp(50000, "LISTENING"),
			"b.txt": tcp(50000, "LISTENING") + tcp(50001, "BOUND")}, 50 * time.Microsecond, []int{2}, []bool{false}},
		{"copied", map[string]string{"a.txt": udp(50000), "b.txt": udp(50000, 50001)}, 2 * time.Second, []int{1, 1},
			[]bool{false, true}},
		{"made by a loop", map[string]string{"a.txt": udp(50000), "b.txt": udp(50000, 50001)}, 10 * time.Minute, []int{1, 1},
			[]bool{false, false}},
		{"two forms", map[string]string{"u_20261114_1200.csv": csv, "v_20261114_1200.txt": list}, 0, []int{1}, []bool{false}},
		{"two forms, the other way round", map[string]string{"v_20261114_1200.csv": csv, "u_20261114_1200.txt": list}, 0,
			[]int{1}, []bool{false}},
	} {
		var paths []string
		at := time.Unix(1_796_000_000, 0)
		for _, name := range slices.Sorted(maps.Keys(tt.files)) {
			path := write(t, name, []byte(tt.files[name]))
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
			paths, at = append(paths, path), at.Add(tt.apart)
		}
		s, err := open(paths, source.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var tables []int
		var vague []bool
		for _, m := range s.moments {
			tables, vague = append(tables, len(m.tables)), append(vague, m.vague)
		}
		if !slices.Equal(tables, tt.tables) || !slices.Equal(vague, tt.vague) {
			t.Errorf("%s: tables %v, vague %v; want %v, %v", tt.name, tables, vague, tt.tables, tt.vague)
		}
		if strings.HasPrefix(tt.name, "two forms") && s.moments[0].tables[0].rows[0].created == 0 {
			t.Errorf("%s: the times of creation are lost", tt.name)
		}
	}
}

// TestNames has the lists that name processes, and the ranges.
func TestNames(t *testing.T) {
	row := "  UDP    0.0.0.0:50000          *:*                                    5316\n"
	for _, tt := range []struct{ name, content, want string }{
		{"tasklist /fo csv", "\"Image Name\",\"PID\",\"Session Name\",\"Session#\",\"Mem Usage\"\r\n" +
			"\"System\",\"4\",\"Services\",\"0\",\"144 K\"\r\n" +
			"\"relayd.exe\",\"5316\",\"Services\",\"0\",\"412,876 K\"\r\n", "relayd.exe"},
		{"tasklist, German", "\r\nAbbildname                     PID Sitzungsname       Sitz.-Nr. Speichernutzung\r\n" +
			"========================= ======== ================ =========== ===============\r\n" +
			"System Idle Process              0 Services                   0             8 K\r\n" +
			"relay d.exe                   5316 Services                   0       412,876 K\r\n", "relay d.exe"},
		{"tasklist /svc", "\r\nImage Name                     PID Services\r\n" +
			"========================= ======== ============================================\r\n" +
			"svchost.exe                    968 RpcEptMapper, RpcSs\r\n" +
			"relayd.exe                    5316 N/A\r\n", "relayd.exe"},
		{"Get-Process", "\r\nHandles  NPM(K)    PM(K)      WS(K)     CPU(s)     Id  SI ProcessName\r\n" +
			"-------  ------    -----      -----     ------     --  -- -----------\r\n" +
			"    412      22    10128      20820       1.30   5316   0 relayd\r\n" +
			"    100      22    10128      20820                 4   0 System\r\n", "relayd"},
		{"ps aux", "USER         PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND\n" +
			"root           1  0.0  0.1 167340 11840 ?        Ss   Nov01   0:11 /sbin/init\n" +
			"root        5316  0.0  0.1 167340 11840 ?        Ss   Nov01   0:11 /usr/sbin/relayd -f\n", "relayd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !Detect([]byte(tt.content)) {
				t.Error("it is not recognised")
			}
			s, err := open([]string{write(t, "n.txt", []byte(tt.content)), write(t, "t.txt", []byte(row))},
				source.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if f := factsOf(run(t, s)); len(f.active) != 1 || f.active[0].Process != tt.want {
				t.Errorf("%+v", f.active)
			}
			_, err = open([]string{write(t, "n.txt", []byte(tt.content))}, source.OpenOptions{})
			if err == nil || !strings.Contains(err.Error(), "no table of sockets") {
				t.Errorf("alone: %v", err)
			}
		})
	}
	b := "TCP    0.0.0.0:50000    0.0.0.0:0    LISTENING    968\n  RpcSs\n [svchost.exe]\n"
	s, err := open([]string{write(t, "t.txt", []byte(b))}, source.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if f := factsOf(run(t, s)); f.active[0].Process != "svchost.exe" {
		t.Errorf("netstat -b: %+v", f.active[0])
	}
	for _, tt := range []struct {
		content   string
		low, high uint16
	}{
		{"\nProtocol udp Dynamic Port Range\n------\nStart Port      : 1025\nNumber of Ports : 3976\n", 1025, 5000},
		{"\nProtokoll udp Dynamischer Portbereich\n------\nStartport      : 49152\nAnzahl von Ports : 16384\n", 49152, 65535},
		{"\nプロトコル udp の動的ポートの範囲\n------\n開始ポート      : 10000\nポート数        : 1000\n", 10000, 10999},
		{"net.ipv4.ip_local_port_range = 2000\t3999\n", 2000, 3999},
	} {
		s, err := open([]string{write(t, "r.txt", []byte(tt.content)), write(t, "t.txt", []byte(row))}, source.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if r := s.ranges[model.ProtocolUDP]; r != (portRange{tt.low, tt.high, true}) {
			t.Errorf("%q: %+v", tt.content, r)
		}
		if !Detect([]byte(tt.content)) && !strings.Contains(tt.content, "sysctl") {
			t.Errorf("%q is not recognised", tt.content)
		}
	}
}

// TestSaid has what cannot be used: it is said.
func TestSaid(t *testing.T) {
	for _, tt := range []struct{ name, content, want string }{
		{"names", "  TCP    host:epmap    host:0    LISTENING    968\n" +
			"  TCP    host:135    host:0    LISTENING    968\n", "names instead"},
		{"no owner", "\nLocalAddress   LocalPort\n------------   ---------\n0.0.0.0        50000\n",
			"no column for the owner"},
		{"cut", "\nLocalAddress   LocalPort OwningP...\n------------   --------- ----------\n" +
			"fe80::1:2:3... 50000     12345678...\n",
			"of them"},
		{"wrapped heading", "\nLocalAddress LocalPort OwningPr\n" +
			"                       ocess   \n------------ --------- --------\n" +
			"0.0.0.0          50000     4312\nfe80::1:2...     50001     4312\n", "1 of them"},
		{"within a character", string(snapshottest.UTF16([]byte("  UDP    0.0.0.0:50000    *:*    5\n"+
			"  UDP    0.0.0.0:50001    *:*    53"),
			false, true)[:135]), "ends within a character"},
		{"torn", "  UDP    0.0.0.0:50000          *:*         5\n  UDP    0.0.0.0:50001   ", "ends within a row"},
	} {
		s, err := open([]string{write(t, "t.txt", []byte(tt.content))}, source.OpenOptions{})
		if err != nil {
			t.Fatal(tt.name, err)
		}
		said := strings.Join(append(s.Notes(), s.Integrity().Damage...), "\n")
		if !strings.Contains(said, tt.want) {
			t.Errorf("%s: %q", tt.name, said)
		}
	}
}

// TestNot has files that are no tables.
func TestNot(t *testing.T) {
	for name, content := range map[string]string{
		"log": strings.Repeat("2026-11-14 12:00:00 INFO TCP connection to 10.0.0.1:80 lost\n", 100),
		"log with a table": strings.Repeat("2026-11-14 12:00:00 INFO nothing happened here\n", 100) +
			"  UDP    0.0.0.0:50000          *:*         5\n",
		"perfmon": "\"(PDH-CSV 4.0) (UTC)(0)\",\"\\\\A\\Processor(0)\\% DPC Time\"\n\"11/14/2026 12:00:00.000\",\"1\"\n",
		"csv":     "a,b,c\n1,2,3\n4,5,6\n",
		"empty":   "",
		"go":      "package main\n\nfunc main() {}\n",
	} {
		if Detect([]byte(content)) {
			t.Errorf("%s is taken for a table", name)
		}
	}
}

// TestTwoHosts has tables of two hosts, which have their loopback addresses in common: no series.
func TestTwoHosts(t *testing.T) {
	var paths []string
	for i, local := range []string{"192.0.2.1", "192.0.2.2"} {
		path := write(t, []string{"a_20261114_1000.txt", "b_20261114_1100.txt"}[i], []byte("  TCP    "+local+
			":50000          198.51.100.1:443      ESTABLISHED     5\n"+
			"  TCP    127.0.0.1:50001        127.0.0.1:443          ESTABLISHED     5\n"+
			"  TCP    [::1]:50002            [::1]:443              ESTABLISHED     5\n"))
		paths = append(paths, path)
	}
	s, err := open(paths, source.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f := factsOf(run(t, s))
	if len(f.tables) != 2 || f.tables[1].Flags&model.FlagSecondary == 0 || len(s.notes) == 0 {
		t.Errorf("%+v, %v", f.tables, s.notes)
	}
}

// TestTwoCommands has netstat and ss of one host in a bundle, between which all connections have been replaced.
func TestTwoCommands(t *testing.T) {
	var netstat, ss strings.Builder
	for i := range 100 {
		fmt.Fprintf(&netstat, "tcp 0 0 192.0.2.1:%d 198.51.100.1:443 TIME_WAIT -\n", 40000+i)
		fmt.Fprintf(&ss, "tcp TIME-WAIT 0 0 192.0.2.1:%d 198.51.100.1:443\n", 41000+i)
	}
	ss.WriteString("tcp ESTAB 0 0 192.0.2.1:50000 198.51.100.1:443 users:((\"a\",pid=5,fd=3))\n")
	netstat.WriteString("udp 0 0 0.0.0.0:45000 0.0.0.0:* 7/b\n")
	const at = "2026-11-28T20:00:00Z\n"
	paths := []string{write(t, "netstat", []byte(at+netstat.String())), write(t, "ss", []byte(at+ss.String()))}
	s, err := open(paths, source.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.moments) != 1 {
		t.Fatalf("%d moments", len(s.moments))
	}
	count := map[model.Protocol]int{}
	for _, r := range s.sockets(s.moments[0]) {
		count[r.protocol]++
	}
	if count[model.ProtocolTCP] != 101 || count[model.ProtocolUDP] != 1 {
		t.Errorf("%v, want those of ss, and the one of UDP", count)
	}
}

// TestBudget has a table of 200,000 rows: below 2 s and 256 MiB.
func TestBudget(t *testing.T) {
	var list []socket
	for i := range 200_000 {
		list = append(
			list,
			socket{State: []string{"ESTABLISHED", "TIME_WAIT"}[i%2], Local: "192.0.2.1", LocalPort: 1024 + i%60000,
				Remote: "198.51.100." + string(rune('1'+i/60000)), RemotePort: 443, PID: 4 * (i % 2000)},
		)
	}
	path := write(t, "big.txt", snapshottest.Netstat(nil, "CRLF")(list))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	s, err := open([]string{path}, source.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := s.Run(t.Context(), func(b *model.Batch) error { n += len(b.Events); return nil }); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	t.Logf("%d events, %v, %d MiB allocated", n, took, (after.TotalAlloc-before.TotalAlloc)>>20)
	if n < 200_000 || after.TotalAlloc-before.TotalAlloc > 256<<20 {
		t.Errorf("%d events, %d bytes allocated", n, after.TotalAlloc-before.TotalAlloc)
	}
}

// TestRoom has less memory than rows: what is left out is counted.
func TestRoom(t *testing.T) {
	s := newSet(source.OpenOptions{})
	s.maxRows = 10
	if err := s.readFrom(bytes.NewReader(snapshottest.Netstat(nil, "LF")(host())), "t.txt", 1); err != nil {
		t.Fatal(err)
	}
	if err := s.arrange(); err != nil {
		t.Fatal(err)
	}
	lost := uint64(0)
	err := s.Run(t.Context(), func(b *model.Batch) error {
		for i := range b.Events {
			if v, ok := b.Loss(&b.Events[i]); ok {
				lost += v.Lost
			}
		}
		return nil
	})
	if err != nil || lost != uint64(len(host())-10) {
		t.Errorf("%d lost, %v", lost, err)
	}
	if i := s.Integrity(); i.Complete() || i.Read != 10 || i.Written != uint64(len(host())) {
		t.Errorf("what has no room is no gap of the file: %+v", i)
	}
}

// FuzzTables reads anything: no panic, bounded rows, a valid stream.
func FuzzTables(f *testing.F) {
	fuzztest.Quick(f)
	for _, form := range snapshottest.Forms {
		f.Add(form.Write(host()[:12]))
	}
	f.Add([]byte("Protocol udp Dynamic Port Range\n---\nStart Port : 1\nNumber of Ports : 65535\n"))
	f.Add([]byte("{\"value\":[{\"LocalPort\":1}],\"Count\":1}"))
	f.Fuzz(func(t *testing.T, content []byte) {
		Detect(content)
		s := newSet(source.OpenOptions{})
		s.maxRows = 10_000
		if err := s.readFrom(bytes.NewReader(content), "f_20261114_1000.txt", model.TimeOf(time.Unix(1e9, 0))); err != nil {
			t.Fatal(err)
		}
		if s.arrange() != nil {
			return
		}
		run(t, s)
	})
}
