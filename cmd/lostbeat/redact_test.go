package main

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/redact"
	"lostbeat/model"
	"lostbeat/record"
	"lostbeat/run"

	"github.com/klauspost/compress/zstd"
)

// secrets are what privateRecording has in it that must not be read in what is redacted.
var secrets = []string{
	"db-prod-17", "corp.example", "billingd", "acme", "s3cret", "10.11.12.13", "10.11.12.99", "2a02:1234", "/opt/",
	"customer", "mx-9",
}

// privateRecording writes a recording with names of all kinds, and findings that quote them.
func privateRecording(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db-prod-17-customer.lostbeat")
	w, err := record.Create(path, record.Options{})
	if err != nil {
		t.Fatal(err)
	}
	start := model.TimeOf(time.Date(2026, 11, 22, 14, 3, 0, 0, time.UTC))
	var b model.Builder
	for key, value := range map[string]string{
		"host": "db-prod-17.corp.example", "os": "linux", "kernel": "6.18.0", "cpus": "2", "boot_id": "acme-boot",
		"command": "/opt/acme/record --host db-prod-17", "note.1": "captured at 10.11.12.13 by db-prod-17",
	} {
		b.AddMeta(model.Meta{Time: start, Key: key, Value: value})
	}
	b.AddProbe(model.Probe{Time: start, State: model.ProbeOn, Name: "port", Part: "bind"})
	b.AddProbe(model.Probe{Time: start, State: model.ProbeOn, Name: "drop", Part: "packets"})
	b.AddProbe(model.Probe{
		Time: start, State: model.ProbeOff, Name: "sched", Reason: "cannot open /opt/acme/probe", Hint: "ask 10.11.12.13",
	})
	b.AddPortPool(model.PortPool{
		Time: start, Protocol: model.ProtocolUDP, Low: 5000, High: 5999, Size: 1000, Source: model.PoolConfigured,
		Name: "rpc", NetnsName: "customer-net",
	})
	b.AddProcess(model.Process{
		Time: start, PID: 4312, TID: 4312, Name: "billingd", Cmdline: "/opt/acme/billingd --token s3cret",
		Cgroup: "/acme.slice/billing.service", Unit: "acme-billing.service",
	})
	b.AddLogState(model.LogState{
		Time: start, Log: "/opt/acme/app.log", Process: "billingd", Clock: "as db-prod-17 has it",
	})
	for i := range 60 {
		at := start + model.Time(i)*second
		for j := range 5 {
			port := uint16(5000 + 5*i + j)
			b.AddPortAcquire(model.PortAcquire{
				Time: at + model.Time(j), PID: 4312, TID: 4312, Cookie: uint64(port), Protocol: model.ProtocolUDP,
				LocalPort: port, How: model.HowBindPort, LocalAddr: "10.11.12.13", RemoteAddr: "2a02:1234::5",
				Process: "billingd", Stack: model.Stack{{Addr: 0x1000, Name: "billingd+0x10"}},
			})
		}
		b.AddDrop(model.Drop{
			Time: at + 9, Dur: time.Second, CPU: 0, PID: 4312, TID: -1, Place: model.PlaceSocket, Reason: "SOCKET_RCVBUFF",
			Protocol: model.ProtocolUDP, LocalPort: 7000, Process: "billingd", Device: "eth0", Count: 500,
		})
		b.AddCPUTime(model.CPUTime{Time: at + second/2, Dur: time.Second, CPU: 0, Idle: time.Second})
	}
	b.AddLogLine(model.LogLine{
		Time: start + 30*second, Log: "/opt/acme/app.log",
		Text: "lost db-prod-17 (10.11.12.99) of billingd, see /opt/customer/core and 127.0.0.1",
	})
	b.AddLogLine(model.LogLine{Time: start + 31*second, Log: "peer.log", Host: "mx-9", Text: "mx-9 gave up 10.11.12.13"})
	b.AddNote(model.Note{Time: start + 32*second, About: start + 30*second, Text: "asked mx-9 about billingd"})
	b.SortByTime()
	if err := w.Write(b.Take()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRedact reads in no output what the recording has, and all of it in some output without --redact.
func TestRedact(t *testing.T) {
	path := privateRecording(t)
	part := filepath.Join(t.TempDir(), "part.lostbeat")
	_, errs, status := execute(t, "cut", "--redact", path, "--since", "+5s", "--until", "+50s", "-o", part)
	if status != exitOK {
		t.Fatal(errs)
	}
	raw, err := os.ReadFile(part)
	if err != nil {
		t.Fatal(err)
	}
	plainText, _, _ := execute(t, "events", path)
	redacted := map[string]string{"the bytes of the part": string(raw)}
	for _, args := range [][]string{
		{"report", "--redact"}, {"report", "--redact", "--md"}, {"report", "--redact", "--json"}, {"events", "--redact"},
		{"events", "--redact", "--json"}, {"events", "--redact", "--format", "csv"},
		{"events", "--redact", "--since", "+40s"},
	} {
		out, errs, status := execute(t, append(args, path)...)
		if status != exitOK {
			t.Fatalf("%v: %s", args, errs)
		}
		redacted[strings.Join(args, " ")] = out + errs
	}
	for _, args := range [][]string{{"events"}, {"findings"}, {"report", "--json"}, {"info"}} {
		out, errs, status := execute(t, append(args, part)...)
		if status != exitOK {
			t.Fatalf("%v of the part: %s", args, errs)
		}
		redacted[args[0]+" of the part"] = out
	}
	for _, secret := range secrets {
		if !strings.Contains(plainText+path, secret) {
			t.Errorf("%s is not in the recording", secret)
		}
		for what, out := range redacted {
			if at := strings.Index(strings.ToLower(out), secret); at >= 0 {
				t.Errorf("%s in %s: …%s…", secret, what, out[max(0, at-60):min(len(out), at+60)])
			}
		}
	}
	for _, stays := range []string{"127.0.0.1", "eth0", "udp/7000", "process-1[4312]", "host-1", "198.18."} {
		if !strings.Contains(redacted["report --redact"], stays) {
			t.Errorf("%s has gone from the report", stays)
		}
	}
	want, _, _ := execute(t, "findings", "--json", path)
	got, _, _ := execute(t, "report", "--redact", "--json", path)
	if n := strings.Count(want, `"detector":`); n < 2 || strings.Count(got, `"detector":`) != n {
		t.Errorf("%d findings, with pseudonyms %d", n, strings.Count(got, `"detector":`))
	}
	again, _, _ := execute(t, "report", "--redact", path)
	if again != redacted["report --redact"] {
		t.Error("the pseudonyms differ from run to run")
	}
}

// originals are the names that a file has in fields that hold names.
func originals(t *testing.T, path string) []string {
	t.Helper()
	c, err := run.Open(path, run.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	names := map[string]bool{}
	err = c.Run(t.Context(), func(b *model.Batch) error {
		for i := range b.Events {
			e := &b.Events[i]
			spec := model.SpecOf(e.Kind)
			for n, f := range spec.Strings {
				switch f.Name {
				case "local_addr", "remote_addr", "process", "task", "victim", "blocker", "host", "cmdline", "cgroup",
					"netns_name", "log":
					names[b.String(e.Str[n])] = true
				case "name", "unit":
					if e.Kind == model.KindProcess {
						names[b.String(e.Str[n])] = true
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	delete(names, "")
	return slices.Sorted(maps.Keys(names))
}

// TestLongRedactShared looks in what is written of real recordings for each of their names. It takes a minute.
func TestLongRedactShared(t *testing.T) {
	var files []string
	for _, pattern := range []string{"verdicts/*.zst", "etl/*.etl", "perfmon/*.blg", "inputs/evtx-text/*"} {
		some, _ := filepath.Glob(filepath.Join(os.Getenv("LOSTBEAT_DATA"), pattern))
		files = append(files, some...)
	}
	if len(files) == 0 {
		t.Skip("no recordings: LOSTBEAT_DATA names the folder with them")
	}
	page, _, _ := execute(t, "report", sampleRecording(t))
	object, _, _ := execute(t, "report", "--json", sampleRecording(t))
	own, total := page+object, 0
	for _, file := range files {
		path := file
		if name, packed := strings.CutSuffix(filepath.Base(file), ".zst"); packed {
			path = filepath.Join(t.TempDir(), name)
			unpack(t, file, path)
		}
		names := originals(t, path)
		var out string
		for _, args := range [][]string{{"report", "--redact"}, {"report", "--redact", "--json"}, {"events", "--redact"}} {
			if info, err := os.Stat(path); err != nil || args[0] == "events" && info.Size() > 2<<20 {
				continue // the report has what there is to find
			}
			text, errs, status := execute(t, append(args, path)...)
			if status != exitOK {
				t.Fatalf("%s: %v: %s", file, args, errs)
			}
			out += text
		}
		for _, name := range names {
			if stays(name) || !strings.Contains(out, name) {
				total++
				continue
			}
			word := regexp.MustCompile(`(^|[^\w.-])` + regexp.QuoteMeta(name) + `([^\w.-]|$)`)
			if word.MatchString(own) {
				continue // a word of the page
			}
			if at := word.FindStringIndex(out); at != nil {
				t.Errorf("%s: %q is still there: …%s…", filepath.Base(file), name, out[max(0, at[0]-60):min(len(out), at[1]+60)])
			}
		}
	}
	if total < 50 {
		t.Errorf("only %d names were looked for", total)
	}
}

// stays says that a name is not replaced in fields for such names: it is that of a kernel thread, loopback or the like.
func stays(name string) bool {
	var b model.Builder
	b.AddPortAcquire(model.PortAcquire{Time: 1, LocalAddr: name})
	b.AddProcess(model.Process{Time: 2, Name: name, Cgroup: name})
	b.AddPortPool(model.PortPool{Time: 3, NetnsName: name})
	out := redact.New().Batch(b.Take())
	for i := range out.Events {
		for _, id := range out.Events[i].Str {
			if id != 0 && out.String(id) == name {
				return true
			}
		}
	}
	return false
}

// unpack writes a file that is compressed by Zstandard.
func unpack(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	r, err := zstd.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		t.Fatal(err)
	}
}
