package linuxhost

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ulikunitz/xz"
	"golang.org/x/text/encoding/unicode"

	"lostbeat/internal/testutil"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
	"lostbeat/source"
)

// start is the time before the first sample.
var start = time.Date(2026, 11, 28, 23, 58, 0, 0, time.UTC)

// sarData is what a host did: the share of CPU 1 and packets dropped there in each minute.
type sarData struct {
	soft, dropped []float64
}

// storm is five minutes over midnight, of which the third is bad.
var storm = sarData{[]float64{1, 2, 97.5, 2, 1}, []float64{0, 0, 1234.5, 0, 0}}

func (d sarData) at(i int) time.Time { return start.Add(time.Duration(i+1) * time.Minute) }

// xml is the output of sadf -x.
func (d sarData) xml() string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?><sysstat xmlns="http://x"><host nodename="node-a">
<release>6.18.1</release>
<timezone>Europe/Berlin</timezone><statistics>`)
	for i := range d.soft {
		fmt.Fprintf(&b, `<timestamp date="%s" time="%s" utc="1" interval="60"><cpu-load>
<cpu number="all" soft="0.00"/><cpu number="0" soft="1.00" irq="0.00" steal="0.00"/>
<cpu number="1" soft="%.2f" irq="0.00" steal="0.00"/></cpu-load>
<network per="second"><net-dev iface="eth0" rxpck="500.00" txpck="1.00"/>
<net-edev iface="eth0" rxerr="0.00" rxdrop="%.2f" rxfifo="0.00"/>
<net-sock totsck="90" tcpsck="20" udpsck="7"/><net-udp idgm="10.00" odgm="0.00" noport="0.00" idgmerr="3.00"/>
<softnet cpu="all" total="9.00" dropd="%.2f" squeezd="0.00"/>
<softnet cpu="1" total="9.00" dropd="%.2f" squeezd="0.00"/></network></timestamp>
`, d.at(i).Format(time.DateOnly), d.at(i).Format(time.TimeOnly), d.soft[i], d.dropped[i], d.dropped[i], d.dropped[i])
	}
	b.WriteString(`</statistics><restarts><boot date="2026-11-28" time="20:00:00" utc="1"/></restarts></host></sysstat>`)
	return b.String()
}

// json is the output of sadf -j.
func (d sarData) json() string {
	type object = map[string]any
	var list []object
	for i := range d.soft {
		list = append(list, object{
			"timestamp": object{"date": d.at(i).Format(time.DateOnly), "time": d.at(i).Format(time.TimeOnly), "utc": 1,
				"interval": 60},
			"cpu-load": []object{{"cpu": "all", "soft": 0}, {"cpu": "0", "soft": 1.0, "irq": 0, "steal": 0},
				{"cpu": "1", "soft": d.soft[i], "irq": "0.00", "steal": 0}},
			"network": object{
				"net-dev":  []object{{"iface": "eth0", "rxpck": 500, "txpck": 1}},
				"net-edev": []object{{"iface": "eth0", "rxerr": 0, "rxdrop": d.dropped[i], "rxfifo": 0}},
				"net-sock": object{"totsck": 90, "tcpsck": 20, "udpsck": 7},
				"net-udp":  object{"idgm": 10, "idgmerr": 3, "noport": 0},
				"softnet": []object{{"cpu": "all", "total": 9, "dropd": d.dropped[i]},
					{"cpu": "1", "total": 9, "dropd": d.dropped[i], "squeezd": 0}},
			},
		})
	}
	text, err := json.MarshalIndent(object{"sysstat": object{"hosts": []object{{
		"nodename": "node-a", "release": "6.18.1", "statistics": list,
		"restarts": []object{{"boot": object{"date": "2026-11-28", "time": "20:00:00"}}},
	}}}}, "", "  ")
	if err != nil {
		panic(err)
	}
	return string(text)
}

// text is the output of sar -A; clock writes times, date the day, and dot is the decimal point.
func (d sarData) text(date string, clock func(time.Time) string, dot string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Linux 6.18.1 (node-a) \t%s \t_x86_64_\t(2 CPU)\n\n20:00:00     LINUX RESTART\t(2 CPU)\n", date)
	table := func(names string, rows func(i int) []string) {
		fmt.Fprintf(&b, "\n%s  %s\n", clock(start), names)
		for i := range d.soft {
			if i == 3 { // sar names the columns again after some rows
				fmt.Fprintf(&b, "\n%s  %s\n", clock(d.at(i-1)), names)
			}
			for _, r := range rows(i) {
				fmt.Fprintf(&b, "%s  %s\n", clock(d.at(i)), strings.ReplaceAll(r, ".", dot))
			}
		}
		fmt.Fprintf(&b, "Durchschn.:  %s\n", names)
	}
	table("CPU  %usr %nice %sys %iowait %steal %irq %soft %guest %gnice %idle", func(i int) []string {
		return []string{"all 0.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00 99.00",
			"0 0.00 0.00 0.00 0.00 0.00 0.00 1.00 0.00 0.00 99.00",
			fmt.Sprintf("1 0.00 0.00 0.00 0.00 0.00 0.00 %.2f 0.00 0.00 1.00", d.soft[i])}
	})
	table("proc/s cswch/s", func(int) []string { return []string{"1.00 2.00"} })
	table("IFACE rxpck/s txpck/s rxkB/s txkB/s rxcmp/s txcmp/s rxmcst/s %ifutil", func(int) []string {
		return []string{"eth0 500.00 1.00 0.00 0.00 0.00 0.00 0.00 0.00"}
	})
	table("IFACE rxerr/s txerr/s coll/s rxdrop/s txdrop/s txcarr/s rxfram/s rxfifo/s txfifo/s", func(i int) []string {
		return []string{fmt.Sprintf("eth0 0.00 0.00 0.00 %.2f 0.00 0.00 0.00 0.00 0.00", d.dropped[i])}
	})
	table("totsck tcpsck udpsck rawsck ip-frag tcp-tw", func(int) []string { return []string{"90 20 7 0 0 0"} })
	table("idgm/s odgm/s noport/s idgmerr/s", func(int) []string { return []string{"10.00 0.00 0.00 3.00"} })
	table("CPU total/s dropd/s squeezd/s rx_rps/s flw_lim/s blg_len", func(i int) []string {
		return []string{fmt.Sprintf("all 9.00 %.2f 0.00 0.00 0.00 0", d.dropped[i]),
			fmt.Sprintf("1 9.00 %.2f 0.00 0.00 0.00 0", d.dropped[i])}
	})
	return b.String()
}

func hours24(t time.Time) string { return t.Format("15:04:05") }

func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(testutil.TempDir(t), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// counters returns the events of files, each in a line, in order; the stream must be valid.
func counters(t testing.TB, o source.OpenOptions, paths ...string) (lines []string, set *Set) {
	t.Helper()
	for _, p := range paths {
		head, err := os.ReadFile(p)
		if err != nil || !Detect(head[:min(len(head), 128<<10)]) {
			t.Fatalf("%s is not recognised: %v", p, err)
		}
	}
	set, err := Open(paths, o)
	if err != nil {
		t.Fatal(err)
	}
	var batches []*model.Batch
	if err := set.Run(t.Context(), func(b *model.Batch) error { batches = append(batches, b); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	for _, b := range batches {
		for i := range b.Events {
			if c, ok := b.Counter(&b.Events[i]); ok {
				lines = append(lines, fmt.Sprintf("%s %s cpu%d %s %.4f %v %s%s", c.Time.Std().Format("02T15:04:05"), c.Name, c.CPU,
					c.Instance, c.Value, c.Dur, c.Mode, c.Host))
			}
		}
	}
	slices.Sort(lines)
	return lines, set
}

// TestForms wants the same events from every form that sar writes.
func TestForms(t *testing.T) {
	want, set := counters(t, source.OpenOptions{}, write(t, "sa28.xml", storm.xml()))
	if len(set.Assumed()) > 0 || !set.integrity.Complete() {
		t.Errorf("assumed %q, %+v", set.Assumed(), set.integrity)
	}
	for _, line := range []string{
		"29T00:01:00 softnet/dropped cpu1  1234.5000 1m0s rate", "29T00:01:00 cpu/softirq cpu1  0.9750 1m0s share",
		"29T00:01:00 device/rx_dropped cpu-1 eth0 1234.5000 1m0s rate", "28T20:00:00 host/restart cpu-1  1.0000 0s gauge",
		"29T00:03:00 sockets/udp cpu-1  7.0000 0s gauge", "28T23:59:00 udp/errors cpu-1  3.0000 1m0s rate",
	} {
		if !slices.Contains(want, line) {
			t.Errorf("%q is not among\n%s", line, strings.Join(want, "\n"))
		}
	}
	wide, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(storm.text("11/28/26", hours24,
		"."))
	if err != nil {
		t.Fatal(err)
	}
	hours12 := func(t time.Time) string { return t.Format("03:04:05 PM") }
	for name, text := range map[string]string{
		"sa28.json": storm.json(), "sar28": storm.text("11/28/26", hours24, "."),
		"iso.txt":       storm.text("2026-11-28", hours24, "."),
		"german.txt":    storm.text("28.11.2026", hours24, ","),
		"japanese.txt":  storm.text("2026年11月28日", func(t time.Time) string { return t.Format("15時04分05秒") }, "."),
		"chinese.txt":   storm.text("2026年11月28日", func(t time.Time) string { return t.Format("15时04分05秒") }, "."),
		"12 h":          storm.text("11/28/2026", hours12, "."),
		"windows.txt":   strings.ReplaceAll(storm.text("11/28/26", hours24, "."), "\n", "\r\n"),
		"utf-16.txt":    wide,
		"with mark.xml": "\ufeff" + storm.xml(),
	} {
		got, _ := counters(t, source.OpenOptions{}, write(t, name, text))
		if !slices.Equal(got, want) {
			t.Errorf("%s gives\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	// The same samples in several files count once.
	both, _ := counters(t, source.OpenOptions{}, write(t, "sa28.json", storm.json()), write(t, "sa28.xml", storm.xml()))
	if !slices.Equal(both, want) {
		t.Errorf("two files of the same samples give %d values, one %d", len(both), len(want))
	}
}

// TestDayFirst decides the order of day and month of a title by the file's name.
func TestDayFirst(t *testing.T) {
	for name, want := range map[string]string{"sar05": "2026-04-05", "sar04": "2026-05-04", "x": "2026-04-05"} {
		s := newSet(source.OpenOptions{})
		day, ok := s.dayOf("04/05/26", name)
		if !ok || day.Format(time.DateOnly) != want || (len(s.Assumed()) > 0) != (name == "x") {
			t.Errorf("%s: %v, %v, assumed %q", name, day, ok, s.Assumed())
		}
	}
}

// TestZone has the zone of whoever ran sar only where it is said.
func TestZone(t *testing.T) {
	path := write(t, "sar28", storm.text("11/28/26", hours24, "."))
	_, set := counters(t, source.OpenOptions{}, path)
	if len(set.Assumed()) != 1 {
		t.Errorf("assumed %q", set.Assumed())
	}
	offset := time.Hour
	_, set = counters(t, source.OpenOptions{UTCOffset: &offset}, path)
	if _, end := set.Span(); len(set.Assumed()) > 0 || end.Std().Format("15:04") != "23:03" {
		t.Errorf("the last sample is of %v; assumed %q", end.Std(), set.Assumed())
	}
}

// TestCut reads what there is of files that are cut off anywhere, and says so.
func TestCut(t *testing.T) {
	for name, text := range map[string]string{"sa28.xml": storm.xml(), "sa28.json": storm.json()} {
		set, err := Open([]string{write(t, name, text[:len(text)*3/4])}, source.OpenOptions{})
		if err != nil || set.integrity.Complete() || set.samples < 2 {
			t.Errorf("%s: %v, %+v", name, err, set)
		}
	}
	text := storm.text("11/28/26", hours24, ".")
	if set, err := Open([]string{write(t, "sar28", text[:len(text)/2])}, source.OpenOptions{}); err != nil ||
		set.samples < 2 {
		t.Errorf("text: %v", err)
	}
}

// TestBadSamples reads the samples around one that is damaged, and what there is of that one, and says which it is.
func TestBadSamples(t *testing.T) {
	whole, _ := counters(t, source.OpenOptions{}, write(t, "sa28.xml", storm.xml()))
	one := func(count func(string) bool) (n int) {
		for _, line := range whole {
			if count(line) {
				n++
			}
		}
		return n
	}
	// The second sample is of midnight; zeros of sparse series are left out there.
	second := one(func(line string) bool { return strings.HasPrefix(line, "29T00:00:00") })
	for _, test := range []struct {
		form, text, old, value, says string
		lost                         int
	}{
		{"json", storm.json(), `"time": "00:00:00"`, `"time": 5`, "sample 2 could not be read in full: its Timestamp.Time " +
			"is of another type (number)", second},
		{"json", storm.json(), `"time": "00:00:00"`, `"time": "noon"`, `sample 2 could not be read in full: "2026-11-29" ` +
			`"noon" is not a valid time`, second},
		{"json", storm.json(), `"soft": 2,`, `"soft": [2],`, `sample 2 could not be read in full: its cpu-load soft "[2]" ` +
			"is not a number", 1},
		{"json", storm.json(), `"soft": 2,`, `"soft": null,`, `its cpu-load soft "<nil>" is not a number`, 1},
		{"json", storm.json(), `"soft": 2,`, `"soft": "NaN",`, "", 1},
		{"json", storm.json(), `"time": "20:00:00"`, `"time": 20`, "restart 1 could not be read: its Boot.Time is of", 1},
		{"json", storm.json(), `"time": "20:00:00"`, `"time": ""`, "restart 1 could not be read: ", 1},
		{"xml", storm.xml(), `time="00:00:00"`, `time="noon"`, `sample 2 could not be read in full: "2026-11-29" "noon" is ` +
			"not a valid time", second},
		{"xml", storm.xml(), `soft="2.00"`, `soft="x"`, `sample 2 could not be read in full: its cpu soft "x" is not`, 1},
		{"xml", storm.xml(), `time="20:00:00"`, `time=""`, "restart 1 could not be read: ", 1},
	} {
		text := strings.Replace(test.text, test.old, test.value, 1)
		got, set := counters(t, source.OpenOptions{}, write(t, "sa28."+test.form, text))
		damage := strings.Join(set.integrity.Damage, "; ")
		if text == test.text || len(whole)-len(got) != test.lost || !strings.Contains(damage, test.says) ||
			(damage == "") != (test.says == "") || len(set.integrity.Damage) > 1 {
			t.Errorf("%s with %s: %d of %d values, %d should be lost; %q", test.form, test.value, len(got), len(whole),
				test.lost, damage)
		}
	}
	// A list with an element that is no object, and one of a network that is none.
	text := strings.ReplaceAll(storm.json(), `"cpu-load": [`, `"cpu-load": [7,`)
	got, set := counters(t, source.OpenOptions{}, write(t, "sa28.json", text))
	if !slices.Equal(got, whole) || len(set.integrity.Damage) != 1 || !strings.Contains(set.integrity.Damage[0],
		"5 of its samples could not be read in full; the first is sample 1: its cpu-load is not made of objects") {
		t.Errorf("%d of %d values, %q", len(got), len(whole), set.integrity.Damage)
	}
	text = strings.ReplaceAll(storm.json(), `"network": {`, `"network": 7, "x": {`)
	got, set = counters(t, source.OpenOptions{}, write(t, "sa28.json", text))
	if n := one(func(line string) bool { return strings.Contains(line, "cpu/") || strings.Contains(line, "host/") }); len(
		got) != n || len(set.integrity.Damage) != 1 || !strings.Contains(set.integrity.Damage[0], "5 of its samples") {
		t.Errorf("%d values, want %d; %q", len(got), n, set.integrity.Damage)
	}
	// A date in the middle of sar's text that is not one.
	text = storm.text("11/28/26", hours24, ".")
	_, set = counters(t, source.OpenOptions{}, write(t, "sar28", text+strings.Replace(text, "11/28/26", "13/32/26", 1)))
	if len(set.integrity.Damage) != 1 || !strings.Contains(set.integrity.Damage[0], "13/32/26") {
		t.Errorf("%q", set.integrity.Damage)
	}
}

// TestJSONOfAnotherType leaves out a sample whose fields have another type, says which, and reads the others.
func TestJSONOfAnotherType(t *testing.T) {
	text := storm.json()
	whole, err := Open([]string{write(t, "sa28.json", text)}, source.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wrong := strings.Replace(text, `"timestamp":`, `"timestamp": 7, "other":`, 1)
	set, err := Open([]string{write(t, "sa28.json", wrong)}, source.OpenOptions{})
	if err != nil || set.samples != whole.samples-1 ||
		!strings.Contains(fmt.Sprint(set.integrity), "sa28.json: sample 1 could not be read in full: its Timestamp") {
		t.Errorf("%d samples of %d, %v, %+v", set.samples, whole.samples, err, set)
	}
}

// TestBinary says which command converts a binary file, or has it converted.
func TestBinary(t *testing.T) {
	path := write(t, "sa28", "\x96\xd5\x75\x21"+strings.Repeat("\x00", 600))
	_, err := Open([]string{path}, source.OpenOptions{})
	var hinter interface{ Hint() string }
	if !errors.As(err, &hinter) || !strings.Contains(hinter.Hint(), "sadf -x -- -A sa28") {
		t.Errorf("%v", err)
	}
}

// hostFilesOf writes host files as a bundle has them; pairs of path and content.
func hostFilesOf(t testing.TB, bundle string, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, bundle)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(files); i += 2 {
		if !IsHostFile(files[i]) {
			t.Errorf("%s is no host file", files[i])
		}
		at := time.Date(2026, 11, 28, 21, 3, 31, 0, time.UTC)
		if unread, err := w.Add(files[i], at, strings.NewReader(files[i+1])); err != nil || unread != nil {
			t.Fatal(unread, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return write(t, "1.hostfiles", b.String())
}

const (
	softnet13 = "016fa8f7 00cb4a16 002831c0 0 0 0 0 0 0 0001ba5a 00000000 00000000 00000003 00000000 00000000\n"
	ssDrops   = "Failed to find cgroup2 mount\nNetid State Recv-Q Send-Q Local Address:Port Peer Address:PortProcess\n" +
		"nl UNCONN 0 0 0:0 * sk=0 skmem:(r0,rb1,t0,tb1,f0,w0,o0,bl0,d9)\n" +
		"udp UNCONN 192192 0 0.0.0.0:9000 0.0.0.0:* users:((\"flood\",pid=4077,fd=4)) ino:1 sk:1 <->\n" +
		"\t skmem:(r212992,rb212992,t0,tb212992,f0,w0,o0,bl0,d1346463)\n"
	ipLink = "2: hb0@if2: <UP> mtu 1500\n    link/ether f6:f9:bd:54:02:a1\n    RX:  bytes packets errors dropped  " +
		"missed   mcast\n" +
		"     287069620 2710298      0 5661397       7       0\n    TX:  bytes packets errors dropped carrier collsns\n " +
		"922 13 0 1 0 0\n"
)

// TestHostFiles reads the counters of a sosreport by the paths of its members.
func TestHostFiles(t *testing.T) {
	path := hostFilesOf(t, "sosreport-x.tar.xz",
		"s/sos_commands/date/date", "Sat Nov 28 21:03:31 UTC 2026\n", "s/sos_commands/host/hostname", "node-a\n",
		"s/proc/net/softnet_stat", softnet13,
		"s/proc/softirqs", "                    CPU0       CPU1\n      NET_RX:   12771115   51525355\n",
		"s/proc/stat", "cpu  1 2 3 4 5 6 7 8 0 0\ncpu1 53265 127090 125287 187525 3351 10 17369 513 0 0\n",
		"s/sos_commands/networking/namespaces/hb/ip_netns_exec_hb_ip_-s_-d_link", ipLink,
		"s/sos_commands/networking/namespaces/hb/ip_netns_exec_hb_ss_-peaonmi", ssDrops,
		"s/sos_commands/networking/namespaces/hb/proc_net/snmp",
		"Ip: Forwarding\nIp: 1\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 31953 0 2678333 0 "+
			"2678333\n",
		"s/sos_commands/networking/namespaces/hb/ip_netns_exec_hb_nstat_-zas", "#kernel\nUdpRcvbufErrors 2678333 0.0\n",
		"s/sos_commands/networking/ethtool_-S_eth0", "NIC statistics:\n     rx_missed_errors: 12\n     rx_bytes: 9\n",
		"s/proc/net/dev", "Inter-| Receive | Transmit\n face |bytes packets\n  eth0:5 6 7 8 9 0 0 0 1 2 3 4 5 6 7 8\n",
	)
	got, set := counters(t, source.OpenOptions{}, path)
	for _, want := range []string{
		"softnet/dropped cpu3  13322774.0000 0s total", "softnet/squeezed cpu3  2634176.0000 0s total",
		"softirq/NET_RX cpu1  51525355.0000 0s total", "cpu/softirq cpu1  173.6900 0s total",
		"device/rx_dropped cpu-1 hb/hb0 5661397.0000 0s total", "device/rx_missed cpu-1 hb/hb0 7.0000 0s total",
		"socket/dropped cpu-1 UDP 0.0.0.0:9000 in namespace hb of flood (4077) 1346463.0000 0s total",
		"udp/buffer_errors cpu-1 hb 2678333.0000 0s total", "device/rx_missed_errors cpu-1 eth0 12.0000 0s total",
		"device/rx_dropped cpu-1 eth0 8.0000 0s total", "device/rx_fifo cpu-1 eth0 9.0000 0s total",
	} {
		if !slices.Contains(got, "28T21:03:31 "+want) {
			t.Errorf("%q is not among\n%s", want, strings.Join(got, "\n"))
		}
	}
	if len(got) != 24 || len(set.Assumed()) > 0 || set.hosts[0] != "node-a" {
		t.Errorf("%d values, hosts %q, assumed %q", len(got), set.hosts, set.Assumed())
	}
}

// TestWhenABundleWasMade takes the time of a bundle from date, with the zone from where one is said.
func TestWhenABundleWasMade(t *testing.T) {
	const softnet = "s/proc/net/softnet_stat"
	for name, test := range map[string]struct {
		files   []string
		want    string
		assumed bool
	}{
		"UTC":      {[]string{"s/date", "Sat Nov 28 21:03:31 UTC 2026"}, "21:03:31", false},
		"12 h":     {[]string{"s/date", "Sat Nov 28 09:03:31 PM UTC 2026"}, "21:03:31", false},
		"by files": {[]string{"s/date", "Sat Nov 28 22:03:30 CET 2026"}, "21:03:30", false},
		"timedatectl": {[]string{"s/date", "Sat Nov 28 16:03:30 EST 2026", "s/timedatectl",
			"      Local time: x\n       Time zone: America/New_York (EST, -0500)\n"}, "21:03:30", false},
		"date --utc": {[]string{"s/date", "Sat 28 Nov 2026 10:00:00 PM XYZ", "s/sos_commands/date/date_--utc",
			"Sat Nov 28 21:00:00 UTC 2026"}, "21:00:00", false},
		"of no use": {[]string{"s/date", "Sat Nov 28 21:20:31 XYZ 2026"}, "21:20:31", true},
		"none":      {nil, "21:03:31", false},
	} {
		path := hostFilesOf(t, "x", append(test.files, softnet, softnet13)...)
		got, set := counters(t, source.OpenOptions{}, path)
		if !strings.HasPrefix(got[0], "28T"+test.want) || (len(set.Assumed()) > 0) != test.assumed {
			t.Errorf("%s: %s, assumed %q", name, got[0], set.Assumed())
		}
	}
}

// TestTextInABundle reads sar's text in the zone of the host that the bundle says.
func TestTextInABundle(t *testing.T) {
	text := write(t, "sar28", storm.text("11/28/26", hours24, "."))
	files := hostFilesOf(t, "a", "s/hostname", "node-a", "s/date", "Sat Nov 28 22:03:30 CET 2026",
		"s/proc/net/softnet_stat",
		softnet13)
	_, set := counters(t, source.OpenOptions{}, text, files)
	if _, end := set.Span(); end.Std().Format("15:04") != "23:03" || len(set.Assumed()) > 0 {
		t.Errorf("the last sample is of %v, assumed %q", end.Std(), set.Assumed())
	}
	if h := Hosts(files); len(h) != 1 || h[0].Made.Format("15:04:05") != "21:03:30" || h[0].Name != "node-a" {
		t.Errorf("%+v", h)
	}
}

// TestZoneOfAnotherHost reads text of a host in no zone but its own, and says that it is not known.
func TestZoneOfAnotherHost(t *testing.T) {
	text := write(t, "sar28", storm.text("11/28/26", hours24, "."))
	node := func(host, zone string) string {
		return hostFilesOf(t, zone, "s/hostname", host, "s/date", "Sat Nov 28 22:03:30 "+zone+" 2026", "s/timedatectl",
			"  Time zone: X ("+zone+", "+map[string]string{"CET": "+0100", "CST": "-0600"}[zone]+")\n",
			"s/proc/net/softnet_stat", softnet13)
	}
	for name, test := range map[string]struct {
		files   []string
		want    string
		assumed int
	}{
		"another host":       {[]string{node("node-b", "CET")}, "00:03", 1},
		"with a domain":      {[]string{node("node-a.example", "CET")}, "23:03", 0},
		"two hosts":          {[]string{node("node-b", "CST"), node("node-a", "CET")}, "23:03", 0},
		"two of the name":    {[]string{node("node-a", "CST"), node("node-a", "CET")}, "00:03", 1},
		"three of the name":  {[]string{node("node-a", "CST"), node("node-a", "CET"), node("node-a", "CET")}, "00:03", 1},
		"of the same, twice": {[]string{node("node-a", "CET"), node("node-a", "CET")}, "23:03", 0},
	} {
		got, set := counters(t, source.OpenOptions{}, append(test.files, text)...)
		last := ""
		for _, line := range got {
			if strings.Contains(line, "sockets/udp") {
				last = line[3:11]
			}
		}
		if !strings.HasPrefix(last, test.want) || len(set.Assumed()) != test.assumed {
			t.Errorf("%s: the last sample is of %s, want %s; assumed %q", name, last, test.want, set.Assumed())
		}
	}
}

// TestRestartAfterMidnight keeps the day of a table that goes on after a restart, and takes the restarts of all tables
// for the same.
func TestRestartAfterMidnight(t *testing.T) {
	var b strings.Builder
	b.WriteString("Linux 6.1.0 (node-a) 11/28/26 _x86_64_ (2 CPU)\n20:00:00 LINUX RESTART (2 CPU)\n")
	for _, table := range [][2]string{{"CPU %usr %soft", "0 1.00 5.00"}, {"totsck tcpsck udpsck", "9 8 7"}} {
		fmt.Fprintf(&b, "\n23:50:00 %s\n23:51:00 %s\n23:58:00 %s\n00:30:00 LINUX RESTART (2 CPU)\n\n00:40:00 %s\n"+
			"00:41:00 %s\nAverage: %s\n", table[0], table[1], table[1], table[0], table[1], table[1])
	}
	got, _ := counters(t, source.OpenOptions{}, write(t, "sar28", b.String()))
	var at []string
	for _, line := range got {
		if f := strings.Fields(line); f[1] == "host/restart" || f[1] == "cpu/softirq" || f[1] == "sockets/udp" {
			at = append(at, f[0]+" "+f[1])
		}
	}
	want := []string{
		"28T20:00:00 host/restart", "28T23:51:00 cpu/softirq", "28T23:51:00 sockets/udp", "28T23:58:00 cpu/softirq",
		"28T23:58:00 sockets/udp", "29T00:30:00 host/restart", "29T00:41:00 cpu/softirq", "29T00:41:00 sockets/udp",
	}
	if !slices.Equal(at, want) {
		t.Errorf("%q, want %q", at, want)
	}
}

// TestLogZone gives the zone of the host to its logs, where it is known.
func TestLogZone(t *testing.T) {
	const softnet = "s/proc/net/softnet_stat"
	utc := hostFilesOf(t, "a", "s/hostname", "a", "s/date", "Sat Nov 28 21:03:31 UTC 2026", softnet, softnet13)
	east := hostFilesOf(t, "b", "s/hostname", "b", "s/date", "Sat Nov 28 22:03:30 CET 2026", softnet, softnet13)
	unknown := hostFilesOf(t, "c", "s/hostname", "c", softnet, softnet13)
	for want, paths := range map[string][]string{"+0000": {utc}, "+0100": {east}, "": {utc, east}, "none": {unknown}} {
		_, set := counters(t, source.OpenOptions{}, paths...)
		zone := set.LogZone()
		if zone == nil {
			if len(want) == 5 {
				t.Errorf("no zone, want %s", want)
			}
		} else if got := start.In(zone).Format("-0700"); got != want {
			t.Errorf("%s, want %q", got, want)
		}
	}
}

// TestSeveralHosts keeps the counters of two hosts apart.
func TestSeveralHosts(t *testing.T) {
	a := hostFilesOf(t, "a", "s/hostname", "node-a", "s/proc/net/softnet_stat", softnet13)
	b := hostFilesOf(t, "b", "s/hostname", "node-b", "s/proc/net/softnet_stat", softnet13)
	got, _ := counters(t, source.OpenOptions{}, a, b)
	if len(got) != 6 || !strings.HasSuffix(got[0], "node-a") || !strings.HasSuffix(got[1], "node-b") {
		t.Errorf("%q", got)
	}
}

// TestMachines takes two machines of one name, and those that have the name of every machine, for different hosts.
func TestMachines(t *testing.T) {
	one, two := strings.Repeat("1", 32), strings.Repeat("2", 32)
	for _, test := range []struct {
		name, machineA, machineB string
		hosts                    int
	}{
		{"node-a", "", "", 1}, {"node-a", one, "", 1}, {"node-a", one, one, 1}, {"node-a", one, two, 2},
		{"localhost.localdomain", "", "", 2}, {"localhost", one, two, 2}, {"localhost", one, one, 1},
		{"localhost4.localdomain4", "", "", 2}, {"(none)", "", "", 2},
	} {
		file := func(bundle, machine string) string {
			return hostFilesOf(t, bundle, "s/hostname", test.name, "s/proc/net/softnet_stat", softnet13, "s/etc/machine-id",
				machine+"\n")
		}
		if _, set := counters(t, source.OpenOptions{}, file("a", test.machineA), file("b", test.machineB)); len(
			set.hosts) != test.hosts {
			t.Errorf("%+v: %q", test, set.hosts)
		}
	}
}

// TestBootTime takes when a host was started from /proc/stat, else from its uptime.
func TestBootTime(t *testing.T) {
	uptime := []string{"s/date", "Sat Nov 28 21:03:31 UTC 2026", "s/uptime", " 21:03:31 up 1 day,  1:03,  1 user"}
	for want, files := range map[string][]string{
		"host/boot_time cpu-1  1795809631.0000 0s gauge": uptime,
		"host/boot_time cpu-1  1795809777.0000 0s gauge": append(uptime, "s/proc/stat", "cpu  1 2\nbtime 1795809777\n"),
	} {
		got, _ := counters(t, source.OpenOptions{}, hostFilesOf(t, "a", append(files, "s/proc/net/softnet_stat",
			softnet13)...))
		if !slices.ContainsFunc(got, func(line string) bool { return strings.HasSuffix(line, want) }) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
}

// TestRootOf finds the folder of the files of one host.
func TestRootOf(t *testing.T) {
	for name, want := range map[string]string{
		"sosreport-a/sos_commands/networking/ss_-peaonmi":           "sosreport-a",
		"c/sosreport-a.tar/sosreport-a-1/date":                      "c/sosreport-a.tar/sosreport-a-1",
		"case/a.tar/proc/net/snmp":                                  "case/a.tar",
		"case/a/sos_commands/networking/namespaces/n/proc_net/snmp": "case/a",
		"scc_a/network.txt/ip_-s_link":                              "scc_a",
		"a/b/netstat.txt":                                           "a/b",
		"proc/net/snmp":                                             "",
		"date":                                                      "",
	} {
		if got := RootOf(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestReuseport adds up the sockets that share an address and a process.
func TestReuseport(t *testing.T) {
	text := ""
	for range 10 {
		text += "udp UNCONN 5 0 0.0.0.0:9000 0.0.0.0:* users:((\"w\",pid=7,fd=4))\n\t skmem:(r10,rb100,t0,d1000)\n"
	}
	got, _ := counters(t, source.OpenOptions{}, hostFilesOf(t, "a", "s/sos_commands/networking/ss_-peaonmi", text))
	for _, want := range []string{"socket/dropped cpu-1 UDP 0.0.0.0:9000 of w (7) 10000.0000",
		"socket/queued_bytes cpu-1 UDP 0.0.0.0:9000 of w (7) 100.0000"} {
		if !strings.Contains(strings.Join(got, "\n"), want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
}

// TestLongHostFile says that a file was cut.
func TestLongHostFile(t *testing.T) {
	w, err := NewWriter(io.Discard, "x")
	if err != nil {
		t.Fatal(err)
	}
	for n, whole := range map[int]bool{MaxHostFile: true, MaxHostFile + 1: false} {
		unread, err := w.Add("s/date", time.Time{}, io.LimitReader(zeros{}, int64(n)))
		if err != nil || (unread == nil) != whole {
			t.Errorf("%d bytes: %v, %v", n, unread, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestSections takes a file of a supportconfig apart.
func TestSections(t *testing.T) {
	text := "=====\n#==[ Command ]===#\n# /sbin/ip -stats link\n" + ipLink +
		"\n#==[ Command ]===#\n# /usr/sbin/ethtool -S eth0\n" +
		"NIC statistics:\n     rx_missed_errors: 12\n#==[ Configuration File ]===#\n# /proc/net/softnet_stat\n" + softnet13 +
		"#==[ Log File ]===#\n# /var/log/messages - Last 500 Lines\nNov 28 line\n" + strings.Repeat("x", 100_000)
	if !IsSections([]byte(text)) {
		t.Error("not recognised")
	}
	got := map[string]int{}
	var order []string
	err := Sections(strings.NewReader(text), func(command string, r io.Reader) error {
		var b bytes.Buffer
		_, err := b.ReadFrom(r)
		got[command], order = b.Len(), append(order, command)
		return err
	})
	want := []string{"ip_-stats_link", "ethtool_-S_eth0", "proc/net/softnet_stat", "var_log_messages"}
	if err != nil || !slices.Equal(order, want) || got["ip_-stats_link"] != len(ipLink)+1 ||
		got["var_log_messages"] < 100_000 {
		t.Errorf("%q, %v, %v", order, got, err)
	}
	for _, name := range want[:3] {
		if !IsHostFile("scc_x/network.txt/" + name) {
			t.Errorf("%s is not known", name)
		}
	}
}

// TestMemory bounds what is kept of a file, whatever it has.
func TestMemory(t *testing.T) {
	long := sarData{make([]float64, 2000), make([]float64, 2000)}
	set, err := Open([]string{write(t, "x.xml", long.xml())}, source.OpenOptions{Memory: 64 << 10})
	if err != nil || len(set.entries) > 1<<10 || set.left == 0 {
		t.Fatalf("%v", err)
	}
	lost := uint64(0)
	err = set.Run(context.Background(), func(b *model.Batch) error {
		for i := range b.Events {
			if v, ok := b.Loss(&b.Events[i]); ok {
				lost += v.Lost
			}
		}
		return nil
	})
	if err != nil || lost != set.left {
		t.Errorf("%d of %d are counted as lost, %v", lost, set.left, err)
	}
}

func FuzzOpen(f *testing.F) {
	fuzztest.Quick(f)
	for _, text := range []string{storm.xml(), storm.json(), storm.text("11/28/26", hours24, "."),
		storm.text("28.11.2026", hours24, ",")} {
		f.Add([]byte(text))
	}
	for _, path := range []string{hostFilesOf(f, "x", "s/date", "Sat Nov 28 21:03:31 UTC 2026", "s/proc/net/softnet_stat",
		softnet13, "s/ss_-peaonmi", ssDrops, "s/proc/net/dev", "eth0:1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6\n"),
		hostFilesOf(f, "x", "a/hostname", "n", "a/proc/stat", "btime 1795809777\n", "a/b/nstat_-az", "UdpRcvbufErrors 7 0\n",
			"c/hostname", "n", "c/etc/machine-id", strings.Repeat("a", 32), "c/uptime", "up 3 min", "c/date",
			"Sat Nov 28 21:03:31 UTC 2026\n", "c/proc/net/softnet_stat", softnet13)} {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if isBinary(data) || !Detect(data[:min(len(data), 128<<10)]) {
			return
		}
		set, err := Open([]string{write(t, "x", string(data))}, source.OpenOptions{Memory: 1 << 20})
		if err != nil {
			return
		}
		var stream []*model.Batch
		err = set.Run(t.Context(), func(b *model.Batch) error { stream = append(stream, b); return nil })
		if err != nil {
			t.Fatal(err)
		}
		start, end := set.Span()
		if start > end {
			t.Errorf("from %v to %v", start, end)
		}
		if err := model.Validate(stream...); err != nil {
			t.Error(err)
		}
	})
}

// TestEndless reads what is before a part of a file that does not end, and keeps little of that.
func TestEndless(t *testing.T) {
	const sample = `{"sysstat": {"hosts": [{"nodename": "a", "statistics": [`
	for name, text := range map[string]string{
		"space in XML":     "<sysstat><host nodename=\"a\">" + strings.Repeat(" ", 2*maxPart),
		"depth of XML":     "<sysstat>" + strings.Repeat("<x>", 2*maxDepth),
		"a string in JSON": `{"sysstat": {"hosts": [{"nodename": "` + strings.Repeat("a", 2*maxSample),
		"a sample in JSON": sample + strings.Repeat(`{"x":`, maxSample/5+1),
		"depth of JSON":    `{"sysstat": ` + strings.Repeat("[", 2*maxDepth),
	} {
		s := newSet(source.OpenOptions{})
		read := s.readJSON
		if strings.HasPrefix(text, "<") {
			read = s.readXML
		}
		if err := read(strings.NewReader(text), "x"); err != nil || s.integrity.Complete() {
			t.Errorf("%s: %v, %+v", name, err, s.integrity)
		}
		if strings.Contains(s.integrity.Damage[0], "in the middle") {
			t.Errorf("%s was read to its end: %v", name, s.integrity.Damage)
		}
	}
}

// TestUnreadFile says that one of several files could not be read, and which error it was when all could not.
func TestUnreadFile(t *testing.T) {
	t.Setenv("PATH", testutil.TempDir(t)) // no sadf
	good := write(t, "sar.xml", storm.xml())
	binary := write(t, "sa28", "\x96\xd5\x75\x21"+strings.Repeat("\x00", 600))
	gone := filepath.Join(filepath.Dir(good), "gone")
	for path, damage := range map[string]string{binary: "sa28 is a binary file of sar", gone: "gone"} {
		set, err := Open([]string{path, good}, source.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if i := set.Integrity(); i.Complete() || !strings.Contains(i.Damage[0], damage) || i.Read == 0 {
			t.Errorf("%s: %+v", path, i)
		}
		_, err = Open([]string{path, path}, source.OpenOptions{})
		if err == nil || !strings.Contains(err.Error(), damage) {
			t.Errorf("%s twice: %v", path, err)
		}
	}
}

// TestBinaryBySadf reads the binary file in a real sosreport with the installed sadf as the XML that the host made of
// it.
func TestBinaryBySadf(t *testing.T) {
	if _, err := exec.LookPath("sadf"); err != nil {
		t.Skip("sadf (package sysstat) is not installed")
	}
	bundles, err := filepath.Glob(filepath.Join(testutil.DataDir(t), "inputs", "sosreport", "*after.tar.xz"))
	if err != nil || len(bundles) != 1 {
		t.Skip("no sosreport in LOSTBEAT_DATA")
	}
	f, err := os.Open(bundles[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	packed, err := xz.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	sets := map[string]*Set{}
	for r := tar.NewReader(packed); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := path.Base(h.Name)
		if name != "sa28" && name != "sa28.xml" {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if sets[name], err = Open([]string{write(t, name, string(data))}, source.OpenOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	binary, text := sets["sa28"], sets["sa28.xml"]
	if binary == nil || text == nil {
		t.Fatal("the sosreport has no file of sar")
	}
	if binary.samples != text.samples || len(binary.entries) != len(text.entries) || text.samples == 0 {
		t.Errorf("%d samples with %d values, want %d with %d",
			binary.samples, len(binary.entries), text.samples, len(text.entries))
	}
}
