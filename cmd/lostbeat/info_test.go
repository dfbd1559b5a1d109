package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

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
	if err := json.Unmarshal([]byte(out), &info); err != nil || status != exitOK {
		t.Fatalf("%v, status %d: %s%s", err, status, out, errs)
	}
	return info
}

// TestInfoFromTheIndex compares what the index of a recording says with what
// reading all of it says.
func TestInfoFromTheIndex(t *testing.T) {
	for _, path := range []string{recording(t), longRecording(t)} {
		index, all := infoOf(t, path), infoOf(t, "--verify", path)
		if diff := cmp.Diff(all, index); diff != "" {
			t.Errorf("the whole file (-) and its index (+) differ:\n%s", diff)
		}
	}
	if info := infoOf(t, longRecording(t)); info.Lost != 12 || info.EventsTotal < 6000 || len(info.Probes) != 2 || info.Probes[0].State != "degraded" {
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
	if info.Lost != 13 || len(info.Notes) == 0 || info.EventsTotal >= infoOf(t, whole).EventsTotal || info.Host != "web-07" {
		t.Errorf("%+v", info)
	}
}
