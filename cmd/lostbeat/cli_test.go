package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/model"
	"lostbeat/record"
)

// execute runs the command line in this process.
func execute(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	status = command(t.Context(), args, &out, &errs)
	return out.String(), errs.String(), status
}

const second = model.Time(time.Second)

// sampleRecording writes a small recording with a leak of UDP ports of a pool in it.
func sampleRecording(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "leak.lostbeat")
	w, err := record.Create(path, record.Options{})
	if err != nil {
		t.Fatal(err)
	}
	start := model.TimeOf(time.Date(2026, 11, 22, 14, 3, 0, 0, time.UTC))
	var b model.Builder
	for key, value := range map[string]string{"host": "web-07", "os": "linux", "kernel": "6.18.0", "cpus": "2"} {
		b.AddMeta(model.Meta{Time: start, Key: key, Value: value})
	}
	b.AddProbe(model.Probe{Time: start, State: model.ProbeOn, Name: "port", Part: "bind"})
	b.AddPortPool(
		model.PortPool{
			Time:     start,
			Protocol: model.ProtocolUDP,
			Low:      5000,
			High:     5999,
			Size:     1000,
			Source:   model.PoolConfigured,
			Name:     "rpc",
		},
	)
	b.AddProcess(model.Process{Time: start, PID: 4312, TID: 4312, Name: "rpc-\x1b[31mclient"})
	for i := range 60 {
		at := start + model.Time(i)*second
		for j := range 5 {
			port := uint16(5000 + 5*i + j)
			b.AddPortAcquire(
				model.PortAcquire{
					Time:      at + model.Time(j),
					PID:       4312,
					TID:       4312,
					Cookie:    uint64(port),
					Protocol:  model.ProtocolUDP,
					LocalPort: port,
					How:       model.HowBindPort,
					LocalAddr: "0.0.0.0",
					Process:   "rpc-\x1b[31mclient",
				},
			)
		}
		b.AddCPUTime(model.CPUTime{Time: at + second/2, Dur: time.Second, CPU: 0, Idle: time.Second})
	}
	b.SortByTime()
	if err := w.Write(b.Take()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindings(t *testing.T) {
	path := sampleRecording(t)
	out, errs, status := execute(t, "findings", path)
	if status != exitOK || !strings.Contains(out, "port-leak") || !strings.Contains(out, "rpc") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	if strings.ContainsRune(out, '\x1b') {
		t.Error("a name from the host reached the terminal with its control characters")
	}
	if _, _, status := execute(t, "findings", "--exit-code", path); status != exitFinding {
		t.Errorf("--exit-code gave %d, want %d", status, exitFinding)
	}
	out, _, _ = execute(t, "findings", "--json", path)
	for line := range strings.Lines(out) {
		var f map[string]any
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		for _, key := range []string{
			"detector", "severity", "title", "start", "end", "subject", "evidence", "causes", "ruled_out", "advice",
			"loss",
		} {
			if _, ok := f[key]; !ok {
				t.Errorf("the JSON form has no %q", key)
			}
		}
	}
}

func TestThresholdsChangeVerdicts(t *testing.T) {
	path := sampleRecording(t)
	config := filepath.Join(t.TempDir(), "thresholds.toml")
	if err := os.WriteFile(config, []byte("[leak]\nmin_ports = 5000\nmin_ports_fast = 5000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, status := execute(t, "findings", "--config", config, path); status != exitOK ||
		strings.Contains(out, "port-leak") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	for _, args := range [][]string{
		{"findings", "--set", "leak.nonsense=1", path},
		{"findings", "--set", "leak.min_ports=many", path},
		{"findings", "--set", "leak.min_ports", path},
		{"findings", "--config", filepath.Join(t.TempDir(), "absent.toml"), path},
	} {
		if _, errs, status := execute(t, args...); status != exitError || errs == "" {
			t.Errorf("%v: status %d, %q", args, status, errs)
		}
	}
}

func TestMistakesHaveHints(t *testing.T) {
	path := sampleRecording(t)
	for _, args := range [][]string{
		{"record", "-o", filepath.Join(t.TempDir(), "x.lostbeat"), "--duration", "-2s"},
		{"watch", "--audit", "-1s"},
		{"findings"}, {"events"}, {"info"}, {"replay"}, {"replay", path, path},
	} {
		if _, errs, status := execute(t, args...); status != exitError || !strings.Contains(errs, "hint: ") {
			t.Errorf("%v: status %d, %q", args, status, errs)
		}
	}
}

func TestInfoOfARecordingCutInItsFirstBlock(t *testing.T) {
	data, err := os.ReadFile(sampleRecording(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cut.lostbeat")
	if err := os.WriteFile(path, data[:200], 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, status := execute(t, "info", path)
	if status != exitIncomplete || !strings.Contains(out, "torn") || strings.Contains(out, "1970") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
}

func TestPoolsOfACapture(t *testing.T) {
	path := sampleRecording(t)
	out, errs, status := execute(t, "findings", "--pool", "half=udp:5000-5499", path)
	if status != exitOK || !strings.Contains(out, "pool half") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	if _, errs, status := execute(t, "findings", "--pool", "half", path); status != exitError ||
		!strings.Contains(errs, "hint: ") {
		t.Errorf("status %d, %s", status, errs)
	}
}

func TestEvents(t *testing.T) {
	path := sampleRecording(t)
	count := func(args ...string) int {
		out, errs, status := execute(t, append([]string{"events", path}, args...)...)
		if status != exitOK {
			t.Fatalf("%v: %s", args, errs)
		}
		return strings.Count(out, "\n")
	}
	if n := count("--kind", "port.acquire"); n != 300 {
		t.Errorf("%d acquisitions, want 300", n)
	}
	if n := count("--kind", "port"); n != 301 {
		t.Errorf("%d port events, want 301", n)
	}
	if n := count("--kind", "port.acquire", "--since", "14:03:10", "--until", "14:03:19.9"); n != 50 {
		t.Errorf("%d acquisitions in ten seconds, want 50", n)
	}
	if n := count("--kind", "port.acquire", "--since", "+50s"); n != 50 {
		t.Errorf("%d acquisitions after 50 s, want 50", n)
	}
	out, _, _ := execute(t, "events", "--json", path)
	for line := range strings.Lines(out) {
		if !json.Valid([]byte(line)) {
			t.Fatalf("not JSON: %s", line)
		}
	}
}

func TestTextFormOpensAgain(t *testing.T) {
	path := sampleRecording(t)
	text, _, _ := execute(t, "events", path)
	twin := filepath.Join(t.TempDir(), "leak.txt")
	if err := os.WriteFile(twin, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want, _, _ := execute(t, "findings", "--json", path)
	got, errs, status := execute(t, "findings", "--json", twin)
	if status != exitOK || got != want {
		t.Errorf("the text form gives other findings: %s\n%s\nwant\n%s", errs, got, want)
	}
}

func TestInfo(t *testing.T) {
	out, errs, status := execute(t, "info", "--json", sampleRecording(t))
	var info struct {
		Host, OS, Kernel, Start, End string
		EventsTotal                  int `json:"events_total"`
		Events                       []struct {
			Kind  string
			Count int
		}
		Lost   *int
		Probes []struct{ Name, State string }
	}
	if err := json.Unmarshal([]byte(out), &info); err != nil || status != exitOK {
		t.Fatalf("%v, status %d: %s%s", err, status, out, errs)
	}
	sum := 0
	for _, k := range info.Events {
		sum += k.Count
	}
	if info.Host != "web-07" || info.OS != "linux" || info.Kernel != "6.18.0" || info.Start == "" || info.End == "" ||
		info.Lost == nil ||
		len(info.Probes) != 1 ||
		sum != info.EventsTotal ||
		sum < 300 {
		t.Errorf("got %s", out)
	}
}

func TestUnreadableFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, path := range []string{filepath.Join(dir, "absent"), dir, write("empty", ""), write("noise", "\x00\x01\x02 "+
		"this is no capture")} {
		for _, command := range []string{"findings", "events", "info", "replay"} {
			_, errs, status := execute(t, command, path)
			if status != exitError || !strings.HasPrefix(errs, "lostbeat: ") {
				t.Errorf("%s %s: status %d, %q", command, path, status, errs)
			}
		}
	}
}

// TestIncompleteInput wants a file that is cut off to be said by each command, and
// the other files to be read in spite of it.
func TestIncompleteInput(t *testing.T) {
	whole := sampleRecording(t)
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cut, noise := filepath.Join(dir, "cut.lostbeat"), filepath.Join(dir, "noise")
	if err := errors.Join(
		os.WriteFile(cut, data[:len(data)-40], 0o600), os.WriteFile(noise, []byte("no capture"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   []string
		status int
		// out and errs have to stand in the two outputs.
		out, errs string
	}{
		{[]string{"findings", cut}, exitIncomplete, "input: incomplete: ", ""},
		{[]string{"findings", whole}, exitOK, "input: complete: ", ""},
		{[]string{"findings", "--json", cut}, exitIncomplete, `"incomplete":"incomplete: `, "incomplete: "},
		{[]string{"findings", "--exit-code", cut}, exitFinding, "input: incomplete: ", ""},
		{[]string{"info", cut}, exitIncomplete, "incomplete: ", ""},
		{[]string{"info", "--json", cut}, exitIncomplete, `"complete":false`, "incomplete: "},
		{[]string{"events", cut}, exitIncomplete, "", "incomplete: "},
		{[]string{"findings", noise, whole}, exitError, "port-leak", "noise is neither"},
		{[]string{"info", noise, cut, whole}, exitError, "web-07", "noise is neither"},
		{[]string{"findings", cut, whole}, exitIncomplete, "input: complete: ", ""},
	} {
		out, errs, status := execute(t, test.args...)
		if status != test.status || !strings.Contains(out, test.out) || !strings.Contains(errs, test.errs) {
			t.Errorf("%v: status %d\n%s%s", test.args, status, out, errs)
		}
	}
}

// TestDamagedPart reads what is around a part that is damaged, names it, and ends as for every incomplete input.
func TestDamagedPart(t *testing.T) {
	const entry = `{"Id":4231,"ProviderName":"Tcpip","TimeCreated":"2026-11-14T11:20:02Z"}`
	const list = "[" + entry + `,{"Id":4231,"ProviderName":7,"TimeCreated":"2026-11-14T11:20:03Z"},` + entry + "]"
	var z bytes.Buffer
	w := zip.NewWriter(&z)
	for _, m := range []struct {
		method uint16
		text   string
	}{{zip.Store, "[" + entry + "]"}, {14, "not LZMA"}, {zip.Store, "cut off here"}} {
		to, err := w.CreateRaw(&zip.FileHeader{
			Name: fmt.Sprintf("log%d.json", m.method), Method: m.method, CompressedSize64: uint64(len(m.text)),
		})
		if err == nil {
			_, err = io.WriteString(to, m.text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	cut := z.Bytes()[:bytes.LastIndex(z.Bytes(), []byte("PK\x03\x04"))]
	dir := t.TempDir()
	for _, test := range []struct{ name, text, says string }{
		{"bad.json", list, "bad.json: entry 2 could not be read: its ProviderName is of another type (number)"},
		{"cut.zip", string(cut), "log14.json: its compression (method 14, LZMA) is not known"},
	} {
		path := filepath.Join(dir, test.name)
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"findings", "info"} {
			out, errs, status := execute(t, command, path)
			if status != exitIncomplete || !strings.Contains(out+errs, test.says) {
				t.Errorf("%s %s: status %d, want %q in\n%s%s", command, test.name, status, test.says, out, errs)
			}
		}
	}
}

func TestRecordingCutAnywhereOpens(t *testing.T) {
	path := sampleRecording(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.lostbeat")
	opened := 0
	for n := len(whole); n > 0; n -= 97 {
		if err := os.WriteFile(cut, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		out, errs, status := execute(t, "info", cut)
		switch {
		case status == exitOK && n == len(whole):
			opened++
		case status == exitIncomplete && strings.Contains(out, "incomplete: "):
			opened++
		case !strings.Contains(errs, "hint:"):
			t.Errorf("cut at %d of %d: status %d without a hint: %s", n, len(whole), status, errs)
		}
	}
	if opened == 0 {
		t.Error("no cut recording could be opened")
	}
}

// TestRotatedRecordingOpensAsOne opens the files of a recorder that rotates by
// the name that it was given, and by their directory.
func TestRotatedRecordingOpensAsOne(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "rec.lostbeat")
	w, err := record.Create(path, record.Options{RotateEvery: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	at := model.TimeOf(time.Date(2026, 11, 22, 14, 3, 0, 0, time.UTC))
	for i := range 60 {
		var b model.Builder
		b.AddCPUTime(model.CPUTime{Time: at + model.Time(i)*second, Dur: time.Second, CPU: 0, Idle: time.Second})
		if err := w.Write(b.Take()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if files, err := record.Files(dir); err != nil || len(files) < 4 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range []string{path, dir} {
		if info := infoOf(t, name); info.EventsTotal != 60 || info.Lost != 0 {
			t.Errorf("%s: %d events, %d lost", name, info.EventsTotal, info.Lost)
		}
	}
	if _, errs, status := execute(t, "info", t.TempDir()); status != exitError || !strings.Contains(errs, "hint:") {
		t.Errorf("a directory without recordings: status %d, %q", status, errs)
	}
}

func TestUnknownCommand(t *testing.T) {
	file := sampleRecording(t)
	for arg, want := range map[string]string{
		"replya": "did you mean 'lostbeat replay'", "findngs": "did you mean 'lostbeat findings'",
		"find": "did you mean 'lostbeat findings'", "zzz": "hint: 'lostbeat --help'", "foo": "hint: 'lostbeat --help'",
		file: "lostbeat replay " + file,
	} {
		if _, errs, status := execute(t, arg); status != exitError || !strings.Contains(errs, want) {
			t.Errorf("%s: status %d, %q", arg, status, errs)
		}
	}
}

// A mistyped name, and a file or time range that cannot be meant, are errors that say which.
func TestMistakesAreNamed(t *testing.T) {
	path := sampleRecording(t)
	empty := filepath.Join(t.TempDir(), "empty.lostbeat")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"did you mean 'lostbeat findings'?", []string{"help", "findigs"}},
		{"hint: 'lostbeat --help' lists", []string{"help", "foo"}},
		{"did you mean NETFILTER_DROP?", []string{"explain", "netfilter_drp"}},
		{"did you mean socket-drop?", []string{"explain", "socketdrop"}},
		{"did you mean starvation.late_wait?", []string{"explain", "starvation.late_wai"}},
		{empty + " is empty", []string{"findings", empty}},
		{"nothing to open", []string{"info", t.TempDir()}},
		{"--until is before --since", []string{"events", path, "--since", "+50s", "--until", "+40s"}},
		{"write --output FILE", []string{"record", "-o"}},
	} {
		if _, errs, status := execute(t, tt.args...); status != exitError || !strings.Contains(errs, tt.want) {
			t.Errorf("%v: status %d, %q, want %q", tt.args, status, errs, tt.want)
		}
	}
	out, errs, status := execute(t, "help", "findings")
	if status != exitOK || !strings.HasPrefix(out, "Run the detectors") {
		t.Errorf("help findings: status %d, %q, %q", status, out, errs)
	}
	if out, _, _ := execute(t, "record", "--help"); strings.Contains(out, "default 0B") || !strings.Contains(out, "8MiB") {
		t.Errorf("sizes in help:\n%s", out)
	}
}

func TestUsageErrorsHaveHints(t *testing.T) {
	for _, args := range [][]string{
		{"record"},
		{"record", "-o", "x", "--pool", "nonsense"},
		{"record", "--nonsense"},
		{"replay", "--speed", "0", sampleRecording(t)},
		{"events", sampleRecording(t), "--since", "yesterday"},
		{"events", sampleRecording(t), "--kind", "nonsense"},
		{"--probe", "nonsense"},
		{"nonsense"},
		{"watch", "nonsense"},
		{"record", "-o", t.TempDir()},
		{"record", "-o", "-"},
		{"record", "-o", "x", "--ring-size", "16M"},
		{"demo"},
	} {
		_, errs, status := execute(t, args...)
		if status != exitError || !strings.Contains(errs, "hint: ") {
			t.Errorf("%v: status %d, %q", args, status, errs)
		}
	}
}

func TestCut(t *testing.T) {
	path := sampleRecording(t)
	out := filepath.Join(t.TempDir(), "part.lostbeat")
	_, errs, status := execute(t, "cut", path, "--since", "+20s", "--until", "14:03:30", "--utc", "-o", out)
	span := "2026-11-22 14:03:20.000 UTC to 2026-11-22 14:03:30.000 UTC (10 s)"
	if status != exitOK || !strings.Contains(errs, span) || !strings.Contains(errs, "KiB, to "+out) {
		t.Errorf("status %d: %s", status, errs)
	}
	if text, _, _ := execute(t, "info", out); !strings.Contains(text, "cut from  leak.lostbeat (2026-11-22T14:03:00Z") {
		t.Error(text)
	}
	if text, _, _ := execute(t, "findings", out); !strings.Contains(text, "port-leak") ||
		!strings.Contains(text, "cut from leak.lostbeat") {
		t.Error(text)
	}
	if text, _, _ := execute(t, "findings", "--format", "md", out); !strings.Contains(text, "\n\nthis is a part, cut") {
		t.Error(text)
	}
	if text, _, _ := execute(t, "events", "--kind", "port.acquire", out); strings.Count(text, "\n") != 51 {
		t.Errorf("%d ports were taken in ten seconds, want 51", strings.Count(text, "\n"))
	}
	t.Setenv("TMPDIR", t.TempDir())
	piped, errs, status := execute(t, "cut", path, "--since", "+20s", "--until", "14:03:30", "--utc", "-o", "-")
	if status != exitOK || !strings.Contains(errs, "to standard output; findings: ") {
		t.Errorf("status %d: %s", status, errs)
	}
	same := filepath.Join(t.TempDir(), "same.lostbeat")
	if err := os.WriteFile(same, []byte(piped), 0o600); err != nil {
		t.Fatal(err)
	}
	want, _, _ := execute(t, "events", out)
	if got, _, _ := execute(t, "events", same); got != want || want == "" {
		t.Errorf("standard output has other events than the file:\n%s\nwant\n%s", got, want)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	_, errs, status = execute(t, "cut", path, "--finding", "port-leak", "--margin", "1s", "--force", "-o", out)
	if status != exitOK || !strings.Contains(errs, "findings: 1") {
		t.Errorf("status %d: %s", status, errs)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(t.TempDir(), "torn.lostbeat")
	if err := os.WriteFile(torn, data[:len(data)*3/4], 0o600); err != nil {
		t.Fatal(err)
	}
	tornPart := filepath.Join(t.TempDir(), "torn-part.lostbeat")
	if _, errs, status := execute(t, "cut", torn, "--until", "+5s", "-o", tornPart); status != exitIncomplete ||
		!strings.Contains(errs, "incomplete: ") {
		t.Errorf("of a torn recording: status %d: %s", status, errs)
	}
	for _, command := range []string{"findings", "info"} {
		if text, errs, status := execute(t, command, tornPart); status != exitIncomplete ||
			!strings.Contains(text+errs, "what this part was cut from is incomplete") {
			t.Errorf("%s: status %d: %s%s", command, status, text, errs)
		}
	}
	for _, c := range []struct {
		want string
		args []string
	}{
		{"file exists", []string{"--since", "+1s", "-o", out}},
		{"is outside the capture", []string{"--since", "13:00", "--utc", "-o", out, "--force"}},
		{"--until is before --since", []string{"--since", "+20s", "--until", "+10s", "-o", out, "--force"}},
		{"is also the input file", []string{"--since", "+1s", "-o", path, "--force"}},
		{"cut needs a time range", []string{"-o", out, "--force"}},
		{"cut needs an output file", []string{"--since", "+1s"}},
		{`there is no finding "nonsense"`, []string{"--finding", "nonsense", "-o", out, "--force"}},
		{"cannot be combined with --since or --until", []string{"--finding", "port", "--since", "+1s", "-o", out, "--force"}},
		{"negative", []string{"--finding", "port", "--margin", "-1s", "-o", out, "--force"}},
	} {
		if _, errs, status := execute(t, append([]string{"cut", path}, c.args...)...); status != exitError ||
			!strings.Contains(errs, c.want) {
			t.Errorf("%v: status %d, %s", c.args, status, errs)
		}
	}
}

func TestDiff(t *testing.T) {
	path := sampleRecording(t)
	out, errs, status := execute(t, "diff", path, path)
	if status != exitOK || !strings.Contains(out, "no difference found: ") ||
		!strings.Contains(out, "1 finding in both") || !strings.Contains(out, "method: ") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	part := filepath.Join(t.TempDir(), "part.lostbeat")
	if _, errs, status := execute(t, "cut", path, "--until", "+15s", "-o", part); status != exitOK {
		t.Fatal(errs)
	}
	out, errs, status = execute(t, "diff", "--json", part, path)
	var result struct {
		Schema      string
		Differences []struct{ Text string }
		Levels      []struct{ Text string }
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil || status != exitOK || result.Schema != diffSchema ||
		len(result.Differences) != 0 || len(result.Levels) == 0 {
		t.Errorf("status %d, %v\n%s%s", status, err, out, errs)
	}
	for _, args := range [][]string{{"diff"}, {"diff", path}, {"diff", path, path, path}, {"diff", path, "absent"}} {
		if _, errs, status := execute(t, args...); status != exitError || errs == "" {
			t.Errorf("%v: status %d, %s", args, status, errs)
		}
	}
}

// TestStandardInput reads files from standard input, and says what is wrong with them by that name.
func TestStandardInput(t *testing.T) {
	from := func(path string) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		os.Stdin = f
	}
	before := os.Stdin
	t.Cleanup(func() { os.Stdin = before })
	path := sampleRecording(t)
	for _, command := range []string{"findings", "info", "events"} {
		want, _, _ := execute(t, command, "--json", path)
		from(path)
		got, errs, status := execute(t, command, "--json", "-")
		if status != exitOK || strings.ReplaceAll(got, "standard input", path) != want {
			t.Errorf("%s: status %d\n%s%s", command, status, got, errs)
		}
	}
	noise := filepath.Join(t.TempDir(), "noise")
	if err := os.WriteFile(noise, []byte("no capture"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		os.DevNull: "standard input is empty", noise: "lostbeat: standard input is neither",
	} {
		from(file)
		if _, errs, status := execute(t, "info", "-"); status != exitError || !strings.Contains(errs, want) ||
			!strings.Contains(errs, "hint: ") {
			t.Errorf("status %d, %s; want %q", status, errs, want)
		}
	}
	from(path)
	if _, errs, status := execute(t, "findings", "-", "-"); status == exitOK || !strings.Contains(errs, "given twice") {
		t.Errorf("twice: status %d, %s", status, errs)
	}
}
