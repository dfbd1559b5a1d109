package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/etw/etl/etltest"
	"lostbeat/model"
	"lostbeat/record"

	"github.com/google/go-cmp/cmp"
)

// longRecording writes a recording of many blocks, with loss in it.
func longRecording(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "long.lostbeat")
	w, err := record.Create(path, record.Options{Tool: "lostbeat test"})
	if err != nil {
		t.Fatal(err)
	}
	at := model.TimeOf(time.Date(2026, 11, 22, 14, 3, 0, 0, time.UTC))
	for i := range 150 {
		var b model.Builder
		if i == 0 {
			b.AddMeta(model.Meta{Time: at, Key: "host", Value: "web-07"})
			b.AddMeta(model.Meta{Time: at, Key: "os", Value: "linux"})
			b.AddMeta(model.Meta{Time: at, Key: "kernel", Value: "6.18.0"})
			b.AddProbe(model.Probe{Time: at, State: model.ProbeOn, Name: "port", Part: "bind"})
			b.AddProbe(model.Probe{Time: at, State: model.ProbeOn, Name: "drop"})
		}
		for cpu := range int32(40) {
			b.AddCPUTime(model.CPUTime{Time: at, Dur: time.Second, CPU: cpu, Idle: time.Second})
		}
		switch i {
		case 50:
			b.AddLoss(model.Loss{Time: at, CPU: -1, Lost: 12, Origin: "ringbuf"})
		case 60:
			b.AddLoss(model.Loss{Time: at, CPU: -1, Lost: 5, Origin: model.OriginLate}) // came late, but came
		case 100:
			b.AddProbe(model.Probe{Time: at, State: model.ProbeDegraded, Name: "drop", Reason: "a part of it has failed"})
		}
		if err := w.Write(b.Take()); err != nil {
			t.Fatal(err)
		}
		at += second
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func infoOf(t *testing.T, args ...string) captureInfo {
	t.Helper()
	out, errs, status := execute(t, append([]string{"info", "--json"}, args...)...)
	var info captureInfo
	err := json.Unmarshal([]byte(out), &info)
	want := exitOK
	if !info.Complete {
		want = exitIncomplete
	}
	if err != nil || status != want {
		t.Fatalf("%v, status %d: %s%s", err, status, out, errs)
	}
	return info
}

// TestInfoFromTheIndex compares what the index of a recording says with what
// reading all of it says.
func TestInfoFromTheIndex(t *testing.T) {
	for _, path := range []string{sampleRecording(t), longRecording(t)} {
		index, all := infoOf(t, path), infoOf(t, "--verify", path)
		index.Integrity, all.Integrity = "", "" // the index does not say that all blocks can be read
		if diff := cmp.Diff(all, index); diff != "" {
			t.Errorf("the whole file (-) and its index (+) differ:\n%s", diff)
		}
	}
	if info := infoOf(t, longRecording(t)); info.Lost != 12 || info.EventsTotal < 6000 || len(info.Probes) != 2 ||
		info.Probes[0].State != "degraded" {
		t.Errorf("%+v", info)
	}
}

// TestInfoReadsTheEndsOnly damages a block in the middle: only a reading of the
// whole file can notice.
func TestInfoReadsTheEndsOnly(t *testing.T) {
	path := longRecording(t)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 64 {
		data[len(data)/3+i] ^= 0xff
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if info := infoOf(t, path); info.Lost != 12 {
		t.Errorf("%d lost by the index: blocks in the middle were read", info.Lost)
	}
	if info := infoOf(t, "--verify", path); info.Lost <= 12 {
		t.Errorf("%d lost: --verify did not notice the damaged block", info.Lost)
	}
}

// TestInfoOfAnUnclosedRecording reads all of a file without an index.
func TestInfoOfAnUnclosedRecording(t *testing.T) {
	whole := longRecording(t)
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cut.lostbeat")
	if err := os.WriteFile(path, data[:len(data)*2/3], 0o600); err != nil {
		t.Fatal(err)
	}
	info := infoOf(t, path)
	if info.Lost != 13 || len(info.Notes) == 0 || info.EventsTotal >= infoOf(t, whole).EventsTotal ||
		info.Host != "web-07" {
		t.Errorf("%+v", info)
	}
}

// windowsTrace writes a Windows trace.
func windowsTrace(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "capture.etl")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWhatCannotBeJudged lists the signals that a capture does not have: that
// nothing was found in it says nothing of them.
func TestWhatCannotBeJudged(t *testing.T) {
	for name, c := range map[string]struct {
		path   string
		judged []string
		not    []string
	}{
		"trace without events": {windowsTrace(t, etltest.New(etltest.Options{}).Bytes()), nil, []string{"deferred " +
			"work", "interrupts", "packets dropped", "ports"}},
		"DPC storm": {windowsTrace(t, etltest.DPCStorm(etltest.Options{})), []string{"deferred " +
			"work", "interrupts"}, []string{"packets dropped", "ports"}},
		"port leak": {
			windowsTrace(t, etltest.PortLeak(etltest.Options{})), []string{"packets dropped", "ports"},
			[]string{"deferred work", "interrupts"},
		},
		"recording": {sampleRecording(t), []string{"deferred work", "interrupts", "packets dropped", "ports"}, nil},
	} {
		out, errs, status := execute(t, "findings", c.path)
		_, not, _ := strings.Cut(out, "not judged, not in the capture: ")
		if status != exitOK {
			t.Errorf("%s: status %d, %s", name, status, errs)
		}
		for _, signal := range c.judged {
			if strings.Contains(not, signal) {
				t.Errorf("%s: %s are called not judged:\n%s", name, signal, out)
			}
		}
		for _, signal := range c.not {
			if !strings.Contains(not, signal) {
				t.Errorf("%s: %s are not said to be missing:\n%s", name, signal, out)
			}
		}
	}
}

// TestInfoOfATrace has the fields that scripts read.
func TestInfoOfATrace(t *testing.T) {
	path := windowsTrace(t, etltest.PortLeak(etltest.Options{}))
	out, errs, status := execute(t, "info", "--json", path, path)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if status != exitOK || len(lines) != 2 {
		t.Fatalf("status %d, %d lines, %s", status, len(lines), errs)
	}
	var info struct {
		File, Format, Host, OS, Kernel, Start, End string
		EventsTotal                                int `json:"events_total"`
		Processors, Lost                           *int
		Events                                     []struct {
			Provider, Event string
			Version, Count  int
		}
		Probes []probeInfo
	}
	if err := json.Unmarshal([]byte(lines[0]), &info); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, e := range info.Events {
		sum += e.Count
	}
	if info.File != path || info.Format != "etl" || info.OS != "windows" || info.Start == "" || info.End == "" ||
		info.Processors == nil ||
		info.Lost == nil ||
		sum != info.EventsTotal ||
		sum < 1000 ||
		len(info.Probes) < 5 {
		t.Errorf("%+v", info)
	}
}
