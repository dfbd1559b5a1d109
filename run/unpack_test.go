package run

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/all"
	"lostbeat/model"
	"lostbeat/record"

	"github.com/klauspost/compress/zstd"
)

const (
	netstatText = "Active Connections\r\n\r\n  Proto  Local Address          Foreign Address        State           " +
		"PID\r\n" +
		"  TCP    192.0.2.15:49671       198.51.100.5:389       ESTABLISHED     772\r\n" +
		"  UDP    0.0.0.0:123            *:*                                    1088\r\n" +
		"  TCP    [::]:445               [::]:0                 LISTENING       4\r\n"
	softnetText = "0146533b 0074e740 002831c0 0 0 0 0 0 0 0 0 0 00000000\n"
	messages    = "Nov 28 21:02:44 node-a corosync[1]: [TOTEM ] Token has not been received in 750 ms\n" +
		"Nov 28 21:02:45 node-a systemd[1]: x\nNov 28 21:02:46 node-a systemd[1]: y\n"
)

// sosreport is a small one, as a tar.
func sosreport(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range [][2]string{
		{"date", "Sat Nov 28 21:02:44 UTC 2026\n"}, {"hostname", "node-a\n"}, {"proc/net/softnet_stat", softnetText},
		{"sos_commands/networking/netstat_-W_-neopa", netstatText}, {"var/log/messages", messages},
		{"sos_commands/networking/namespaces/ns1/ip_netns_exec_ns1_ss_-tunap", netstatText},
		{"etc/passwd", "root:x:0:0\n"}, {"proc/sys/net/ipv4/ip_local_port_range", "40000\t50000\n"},
		{"sos_commands/kernel/dmesg", messages}, {"var/log/sa/sa28", "\x96\xd5\x75\x21" + strings.Repeat("\x00", 600)},
	} {
		if err := w.WriteHeader(&tar.Header{Name: "sosreport-node-a/" + f[0], Size: int64(len(f[1])),
			Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// unpacked unpacks a path, and has everything removed at the end.
func unpacked(t *testing.T, path string) *Unpacked {
	t.Helper()
	u, err := Unpack(t.Context(), []string{path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		dir := u.dir
		if err := u.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dir); dir != "" && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", dir, err)
		}
	})
	return u
}

// formats are those of the paths, in order.
func formats(t *testing.T, u *Unpacked) (names []string) {
	t.Helper()
	for _, p := range u.Paths {
		f, err := FormatOf(p)
		if err != nil {
			t.Error(err)
		}
		names = append(names, f.Name)
	}
	slices.Sort(names)
	return names
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestUnpackSosreport opens what is useful of a sosreport, from an archive and from a folder, and lists the rest.
func TestUnpackSosreport(t *testing.T) {
	data := sosreport(t)
	archive := writeFile(t, "sosreport-node-a.tar.gz", gzipped(t, data))
	folder := filepath.Join(t.TempDir(), "sosreport-node-a")
	r := tar.NewReader(bytes.NewReader(data))
	for h, err := r.Next(); err == nil; h, err = r.Next() {
		path := filepath.Join(filepath.Dir(folder), h.Name)
		var text bytes.Buffer
		_, err := text.ReadFrom(r)
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, text.Bytes(),
			0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{archive, folder} {
		u := unpacked(t, path)
		want := []string{"linux", "linux", "log", "snapshot", "snapshot"}
		if got := formats(t, u); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
		if len(u.Bundles) != 1 || u.Bundles[0].Members != 10 || u.Bundles[0].HostFiles != 3 || len(u.Bundles[0].Left) != 3 {
			t.Errorf("%s: %+v", path, u.Bundles)
		}
		for _, p := range u.Paths {
			if !strings.HasPrefix(u.Name(p), path) {
				t.Errorf("%s is called %s", p, u.Name(p))
			}
		}
		groups := Groups(u, u.Paths)
		i := slices.IndexFunc(groups, func(g []string) bool { f, _ := FormatOf(g[0]); return f.Name == "linux" })
		c, err := OpenAll(groups[i], OpenOptions{Unpacked: u})
		if err != nil {
			t.Fatal(err)
		}
		j, err := Findings(t.Context(), c, all.Settings(), nil)
		if err != nil || len(j.Findings) != 1 || !strings.Contains(j.Findings[0].Title, "7,661,376") {
			t.Errorf("%s: %+v, %v", path, j.Findings, err)
		}
		c.Close()
	}
	// The tables of an archive are of the time of the bundle.
	u := unpacked(t, archive)
	groups := Groups(u, u.Paths)
	i := slices.IndexFunc(groups, func(g []string) bool { f, _ := FormatOf(g[0]); return f.Name == "snapshot" })
	c, err := OpenAll(groups[i], OpenOptions{Unpacked: u})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if start, _ := c.Span(); start.Std().Format(time.DateTime) != "2026-11-28 21:02:44" {
		t.Errorf("the table is of %v", start.Std())
	}
}

// TestUnpackArchive keeps what belongs to several hosts apart, opens what is in inner archives, and leaves the names.
func TestUnpackArchive(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	counters := "\"(PDH-CSV 4.0) (UTC)(0)\",\"\\\\SRV\\Processor(0)\\% DPC Time\"\r\n" +
		"\"11/28/2026 21:02:44.000\",\"1\"\r\n\"11/28/2026 21:02:45.000\",\"2\"\r\n"
	for _, f := range [][2]string{{`..\..\netstat_20261114_1200.txt`, netstatText}, {"a/perf.csv", counters},
		{"logs/cvp.log.gz", string(gzipped(t, []byte(strings.Repeat("2026-11-28 21:02:44.000 line\n", 20))))},
		{"readme.txt", "x"}} {
		m, err := w.Create(f[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	u := unpacked(t, writeFile(t, "MS_DATA.zip", b.Bytes()))
	if got := formats(t, u); !slices.Equal(got, []string{"log", "perfmon", "snapshot"}) {
		t.Errorf("%q", got)
	}
	for _, p := range u.Paths {
		if !strings.HasPrefix(p, u.dir+string(filepath.Separator)) {
			t.Errorf("%s is outside of %s", p, u.dir)
		}
	}
	if !slices.Equal(u.Bundles[0].Left, []string{"readme.txt"}) {
		t.Errorf("left %q", u.Bundles[0].Left)
	}
}

// TestUnpackRecordings tells recordings, which are zstd files, from bundles that are.
func TestUnpackRecordings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rec.lostbeat")
	w, err := record.Create(path, record.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b model.Builder
	b.AddMeta(model.Meta{Time: 1, Key: "host", Value: "a"})
	if err := errors.Join(w.Write(b.Take()), w.Close()); err != nil {
		t.Fatal(err)
	}
	if u := unpacked(t, path); len(u.Bundles) > 0 {
		t.Errorf("a recording is taken for a bundle: %+v", u.Bundles)
	}
	recording, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	m, err := z.Create("night/rec.lostbeat")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Write(recording); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if got := formats(t, unpacked(t, writeFile(t, "x.zip", out.Bytes()))); !slices.Equal(got, []string{"lostbeat"}) {
		t.Errorf("a recording in a zip: %q", got)
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"lostbeat.tar.zst": sosreport(t), "netstat.txt.zst": []byte(netstatText)} {
		if u := unpacked(t, writeFile(t, name, enc.EncodeAll(data, nil))); len(u.Bundles) != 1 {
			t.Errorf("%s is not unpacked", name)
		}
	}
}

// TestUnpackDamaged opens what is there of bundles that break off anywhere, and says that the rest is missing.
func TestUnpackDamaged(t *testing.T) {
	whole := gzipped(t, sosreport(t))
	opened := 0
	for n := len(whole) - 20; n > 100; n -= 97 {
		u, err := Unpack(t.Context(), []string{writeFile(t, "x.tar.gz", whole[:n])})
		if err != nil {
			if !strings.Contains(err.Error(), "none that lostbeat understands") && !strings.Contains(err.Error(), "EOF") {
				t.Errorf("cut at %d: %v", n, err)
			}
			continue
		}
		opened++
		if len(u.Bundles[0].Damage) == 0 {
			t.Errorf("cut at %d: nothing is said to be missing", n)
		}
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	}
	if opened < 3 {
		t.Errorf("%d bundles that are cut off could be opened", opened)
	}
}

// TestUnpackSameNames puts the folder before the names of logs of several nodes.
func TestUnpackSameNames(t *testing.T) {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, node := range []string{"node1", "node2"} {
		m, err := z.Create("crm_report/" + node + "/ha-log.txt")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Write([]byte(messages)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	u := unpacked(t, writeFile(t, "crm_report.zip", out.Bytes()))
	for i, want := range []string{"node1_ha-log.txt", "node2_ha-log.txt"} {
		if got := filepath.Base(u.Paths[i]); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestUnpackNothing leaves other paths alone, and says of an archive without anything that is understood what to do.
func TestUnpackNothing(t *testing.T) {
	text := writeFile(t, "netstat.txt", []byte(netstatText))
	if u := unpacked(t, text); !slices.Equal(u.Paths, []string{text}) || len(u.Bundles) > 0 || u.Name(text) != text {
		t.Errorf("%+v", u)
	}
	_, err := Unpack(t.Context(), []string{writeFile(t, "x.gz", gzipped(t, []byte("nothing of use")))})
	if err == nil || !strings.Contains(err.Error(), "none that lostbeat understands") {
		t.Errorf("%v", err)
	}
}

// TestUnpackOneBad opens the others, and has the one that cannot be unpacked be an error of its own.
func TestUnpackOneBad(t *testing.T) {
	good := writeFile(t, "good.tar.gz", gzipped(t, sosreport(t)))
	bad := writeFile(t, "bad.zip", []byte("PK\x03\x04damaged"))
	u, err := Unpack(t.Context(), []string{bad, good})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
	if len(u.Bundles) != 1 || len(u.Paths) < 3 || u.Paths[0] != bad {
		t.Fatalf("bundles %+v, paths %q", u.Bundles, u.Paths)
	}
	groups := Groups(u, u.Paths)
	if len(groups[0]) != 1 || groups[0][0] != bad {
		t.Errorf("groups %q", groups)
	}
	if _, err := OpenAll(groups[0], OpenOptions{Unpacked: u}); err == nil || !strings.Contains(err.Error(), "bad.zip") {
		t.Errorf("the bad one: %v", err)
	}
	if _, err := Unpack(t.Context(), []string{bad}); err == nil {
		t.Error("a bad one alone is no error")
	}
}

// TestStandardInputInterrupted ends when its context does, whatever standard input does.
func TestStandardInputInterrupted(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	stdin := os.Stdin
	os.Stdin = r
	defer func() { os.Stdin = stdin }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Unpack(ctx, []string{StandardInput}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
