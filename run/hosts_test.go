package run

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lostbeat/detect/detecttest"
	"lostbeat/internal/testutil"
	"lostbeat/source/linuxhost"
	"lostbeat/source/snapshot"
)

// tarOf makes an archive of pairs of path and content.
func tarOf(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i+1 < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Size: int64(len(files[i+1])), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// nodeFiles are what a host has in its folder.
func nodeFiles(folder, host, hour string, dropped int, more ...string) []string {
	files := []string{
		folder + "/date", "Sat Nov 28 " + hour + ":00:00 UTC 2026\n",
		folder + "/proc/net/softnet_stat", fmt.Sprintf("00ffffff %08x 00000000 0 0 0 0 0 0 0 0 0 00000000\n", dropped),
	}
	if host != "" {
		files = append(files, folder+"/hostname", host+"\n")
	}
	for i := 0; i+1 < len(more); i += 2 {
		files = append(files, folder+"/"+more[i], more[i+1])
	}
	return files
}

// judgedOf returns the titles of the findings of paths.
func judgedOf(t *testing.T, paths ...string) (titles []string) {
	t.Helper()
	u, err := Unpack(t.Context(), paths)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for _, group := range Groups(u, u.Paths) {
		c, err := OpenAll(group, OpenOptions{Unpacked: u})
		if err != nil {
			t.Error(err)
			continue
		}
		j := judgementOf(t, c)
		c.Close()
		for _, f := range j.Findings {
			f = detecttest.Blanks(f)
			titles = append(titles, f.Title)
		}
	}
	slices.Sort(titles)
	return titles
}

// TestHostsOfABundle keeps the hosts of one archive apart, and takes two folders of one host for two times of it.
func TestHostsOfABundle(t *testing.T) {
	inner := func(name string, files []string) []string {
		return []string{"collect/" + name + ".tar.gz", string(gzipped(t, tarOf(t, files...)))}
	}
	a, b := nodeFiles("sosreport-a-1", "node-a", "20", 10), nodeFiles("sosreport-b-1", "node-b", "21", 7777)
	later := nodeFiles("sosreport-a-2", "node-a", "21", 5010)
	for name, test := range map[string]struct{ files, want []string }{
		"folders":        {slices.Concat(a, b), []string{"of node-a dropped 10 ", "of node-b dropped 7,777 "}},
		"inner archives": {slices.Concat(inner("a", a), inner("b", b)), []string{"dropped 10 ", "dropped 7,777 "}},
		"one without counters": {slices.Concat(nodeFiles("sosreport-a-1", "node-a", "20", 0), b),
			[]string{"CPU 0 of node-b dropped 7,777"}},
		"before and after": {slices.Concat(a, later), []string{"dropped 5,000 packets at its backlog (softnet) between"}},
		"no names": {slices.Concat(nodeFiles("one", "", "20", 10), nodeFiles("two", "", "21", 5010)),
			[]string{"x.tar: one dropped 10 ", "x.tar: two dropped 5,010 "}},
		"without a folder": {nodeFiles(".", "node-a", "20", 10), []string{"CPU 0 dropped 10 "}},
		"a folder of its own": {append(nodeFiles("case", "node-a", "20", 0), "case/net/nstat_-az",
			"#kernel\nUdpRcvbufErrors 77 0.0\n"), []string{"Since boot UDP sockets lost 77 "}},
	} {
		t.Run(name, func(t *testing.T) {
			got := judgedOf(t, writeFile(t, "x.tar", tarOf(t, test.files...)))
			if len(got) != len(test.want) {
				t.Fatalf("%q, want %d", got, len(test.want))
			}
			for i, want := range test.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("%q is not in %q", want, got[i])
				}
			}
		})
	}
}

// sarXML is the output of sadf -x with its end, or without.
func sarXML(whole bool) string {
	text := `<?xml version="1.0" encoding="UTF-8"?><sysstat><host nodename="node-a"><statistics>` +
		`<timestamp date="2026-11-28" time="21:00:00" utc="1" interval="60"><cpu-load><cpu number="0" soft="1.00"/>` +
		`</cpu-load></timestamp>`
	if whole {
		text += "</statistics></host></sysstat>\n"
	}
	return text
}

const sarText = "Linux 6.18.1 (node-a)  11/28/26  _x86_64_ (2 CPU)\n\n" +
	"21:00:00        CPU      %usr     %nice      %sys   " +
	"%iowait    %steal      %irq     %soft    %guest    %gnice     %idle\n21:01:00          0      0.10      0.00      " +
	"0.10      0.00      0.00      0.00     10.00      0.00      0.00     89.80\n"

// TestSameSamples leaves out a file of sar only for a whole one of the same host and day.
func TestSameSamples(t *testing.T) {
	for name, test := range map[string]struct {
		xml, text string
		whole     bool
		left      int
	}{
		"the same":      {"sosreport-a/sos_commands/sar/sar28.xml", "sosreport-a/sos_commands/sar/sar28", true, 1},
		"broken off":    {"sosreport-a/sos_commands/sar/sar28.xml", "sosreport-a/sos_commands/sar/sar28", false, 0},
		"another month": {"sosreport-a/var/log/sa/sar20261128.xml", "sosreport-a/var/log/sa/sar20261028", true, 0},
		"another host":  {"c/sosreport-a/sos_commands/sar/sar28.xml", "c/sosreport-b/sos_commands/sar/sar28", true, 0},
	} {
		u := unpacked(t, writeFile(t, "x.tar", tarOf(t, test.xml, sarXML(test.whole), test.text, sarText)))
		if got := len(u.Bundles[0].Left); got != test.left || len(u.Paths) != 2-test.left {
			t.Errorf("%s: %q are left out, %d opened", name, u.Bundles[0].Left, len(u.Paths))
		}
	}
}

// leaking is a table of ss with n sockets of a process.
func leaking(n int, address string) string {
	var b strings.Builder
	b.WriteString("Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n")
	for i := range n {
		fmt.Fprintf(&b, "udp UNCONN 0 0 0.0.0.0:%d 0.0.0.0:* users:((\"relay\",pid=777,fd=%d)) ino:1 sk:1 <->\n"+
			"\t skmem:(r0,rb212992,t0,tb212992,f0,w0,o0,bl0,d0)\n", 32768+i, i)
	}
	fmt.Fprintf(&b, "tcp ESTAB 0 0 127.0.0.1:8080 127.0.0.1:40000 users:((\"web\",pid=5,fd=1))\n"+
		"tcp ESTAB 0 0 %s:22 198.51.100.9:50000 users:((\"sshd\",pid=6,fd=1))\n", address)
	return b.String()
}

const (
	ssPath    = "sos_commands/networking/ss_-peaonmi"
	rangePath = "proc/sys/net/ipv4/ip_local_port_range"
)

// TestSocketsOfABundle judges the ports of the output of ss in a sosreport, in an archive and in a folder, and those of
// the host's own network namespace only.
func TestSocketsOfABundle(t *testing.T) {
	files := nodeFiles("sosreport-a", "node-a", "20", 0, ssPath, leaking(2000, "192.0.2.1"), rangePath, "32768\t34777\n",
		"sos_commands/networking/namespaces/x/ip_netns_exec_x_ss_-peaonmi", leaking(500, "192.0.2.9"))
	folder := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(folder, files[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{writeFile(t, "x.tar", tarOf(t, files...)), filepath.Join(folder, "sosreport-a")} {
		got := judgedOf(t, path)
		if len(got) != 1 || !strings.Contains(got[0], "relay[777] holds 2,000 of the 2,010 ephemeral UDP ports") {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// TestSocketsOfSeveralHosts compares no tables of two hosts, whatever the addresses they have in common, and takes the
// range of the host of each.
func TestSocketsOfSeveralHosts(t *testing.T) {
	node := func(name, hour string, n int, ports, address string) string {
		return writeFile(t, name+hour+".tar", tarOf(t, nodeFiles("sosreport-"+name+"-1", name, hour, 0, ssPath,
			leaking(n, address), rangePath, ports)...))
	}
	const wide, small = "32768\t60999\n", "32768\t36767\n"
	a, b := node("node-a", "20", 1000, wide, "192.0.2.1"), node("node-b", "21", 3500, small, "192.0.2.2")
	c := node("node-c", "22", 9000, wide, "192.0.2.3")
	for _, paths := range [][]string{{a, b, c}, {c, b, a}} {
		if got := judgedOf(t, paths...); len(got) != 2 ||
			!strings.Contains(strings.Join(got, ";"), "holds 3,500 of the 4,000 ephemeral UDP ports; 500 are left") {
			t.Errorf("%q", got)
		}
	}
	same := []string{a, node("node-a", "21", 4000, wide, "192.0.2.1"), node("node-a", "22", 9000, wide, "192.0.2.1")}
	if got := judgedOf(t, same...); len(got) == 0 || !strings.Contains(got[0]+strings.Join(got, ""), "8,000") {
		t.Errorf("a series of one host: %q", got)
	}
	booted := func(name, hour, uptime string, n int) string {
		return writeFile(t, name, tarOf(t, nodeFiles("sosreport-node-a-1", "node-a", hour, 0, ssPath,
			leaking(n, "192.0.2.1"), rangePath, wide, "uptime", uptime+"\n")...))
	}
	first := booted("first.tar", "20", "up 3 days, 1:00", 1000)
	second, third := booted("second.tar", "21", "up 10 min", 4000), booted("third.tar", "22", "up 1:10", 9000)
	for _, tt := range []struct {
		paths []string
		runs  int
	}{{[]string{second, third}, 1}, {[]string{first, second}, 2}, {[]string{third, first, second}, 2}} {
		u, err := Unpack(t.Context(), tt.paths)
		if err != nil {
			t.Fatal(err)
		}
		hosts := map[string]bool{}
		for _, host := range u.hosts {
			hosts[host] = true
		}
		if len(hosts) != tt.runs {
			t.Errorf("tables of %v, want %d", hosts, tt.runs)
		}
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, title := range judgedOf(t, first, second, third) {
		if strings.Contains(title, "8,000") {
			t.Errorf("compared with a table from before a restart: %q", title)
		}
	}
	u, err := Unpack(t.Context(), []string{a, b})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	plain := writeFile(t, "ss.txt", []byte(leaking(20, "192.0.2.1")))
	of := func(list [][]string, path string) int {
		return slices.IndexFunc(list, func(g []string) bool { return slices.Contains(g, path) })
	}
	if groups := Groups(u, append(slices.Clone(u.Paths), plain)); len(groups[of(groups, plain)]) != 1 {
		t.Errorf("a file of no host is with those of one: %q", groups)
	}
	for i := range u.Paths {
		f, err := FormatOf(u.Paths[i])
		if err != nil || f.Name != snapshot.FormatName && f.Name != linuxhost.FormatName {
			t.Errorf("%s: %s, %v", u.Name(u.Paths[i]), f.Name, err)
		}
	}
}

// TestCompressedTables takes tables that are compressed one by one for a series, as those that are not, and those of
// archives that do not say their host for tables of several.
func TestCompressedTables(t *testing.T) {
	var single, archives []string
	for i, hour := range []string{"20", "21", "22"} {
		text := leaking(1000+i*4000, "192.0.2.1")
		name := "ss_20261128_" + hour + "0000.txt"
		single = append(single, writeFile(t, name+".gz", gzipped(t, []byte(text))))
		archives = append(archives, writeFile(t, hour+".tar", tarOf(t, "x/"+name, text, "x/readme", "x")))
	}
	if got := strings.Join(judgedOf(t, single...), "\n"); !strings.Contains(got, "8,000") {
		t.Errorf("compressed tables: %q", got)
	}
	if got := strings.Join(judgedOf(t, archives...), "\n"); strings.Contains(got, "8,000") {
		t.Errorf("archives: %q", got)
	}
}

// TestFolderByLink takes a folder for the same by a link to it and as the directory that one is in.
func TestFolderByLink(t *testing.T) {
	dir := t.TempDir()
	files := nodeFiles("sosreport-a", "node-a", "20", 10, "etc/passwd", "root:x:0:0\n",
		"sos_commands/kernel/dmesg", messages)
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("sosreport-a", link); err != nil {
		testutil.Unavailable(t, "links cannot be made here: %v", err)
	}
	for _, in := range []string{dir, filepath.Join(dir, "sosreport-a"), link} {
		t.Chdir(in)
		path := "."
		if in == dir {
			path = "link"
		}
		u := unpacked(t, path)
		if b := u.Bundles[0]; b.HostFiles != 3 || len(b.Opened) != 1 || len(b.Left) != 2 {
			t.Errorf("%s in %s: %+v", path, in, b)
		}
	}
}

// TestHardLink says of a hard link that is a host file that it was not read, unless its target was.
func TestHardLink(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range [][3]string{
		{"s/date", "Sat Nov 28 21:02:44 UTC 2026\n"}, {"s/proc/net/snmp", "Udp: InDatagrams\nUdp: 1\n"},
		{"s/x/copy", softnetText},
		{"s/proc/net/softnet_stat", "", "s/x/copy"}, {"s/net/snmp", "", "s/proc/net/snmp"}, {"s/x/third", "", "s/x/copy"},
	} {
		h := &tar.Header{Name: f[0], Size: int64(len(f[1])), Mode: 0o644, Typeflag: tar.TypeReg}
		if f[2] != "" {
			h.Typeflag, h.Linkname = tar.TypeLink, f[2]
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	u := unpacked(t, writeFile(t, "x.tar", b.Bytes()))
	if d := u.Bundles[0].Damage; len(d) != 1 ||
		d[0] != "s/proc/net/softnet_stat: it is a hard link to s/x/copy, which is not read under that name" {
		t.Errorf("%q", d)
	}
	if left := u.Bundles[0].Left; !slices.Contains(left, "s/x/third: a hard link to s/x/copy") {
		t.Errorf("%q", left)
	}
}
