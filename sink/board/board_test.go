package board

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"lostbeat/model"
)

func finding(id string, ongoing bool, age time.Duration) model.Finding {
	end := model.TimeOf(time.Now()).Add(-age)
	return model.Finding{
		ID: id, Detector: "port-leak", Severity: model.SeverityWarning, Title: id, Start: end - 1, End: end, Ongoing: ongoing,
	}
}

func batch(findings ...model.Finding) *model.Batch {
	var b model.Builder
	for _, f := range findings {
		b.AddFinding(f.End, f)
	}
	return b.Take()
}

func TestBoard(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "run")
	if _, err := Read(folder); !errors.Is(err, ErrNone) {
		t.Errorf("without a recorder: %v", err)
	}
	b, err := New(folder)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Read(folder)
	if err != nil || s.PID != os.Getpid() || len(s.Findings) != 0 {
		t.Errorf("a new board: %+v, %v", s, err)
	}
	if err := b.Write(batch(finding("old", false, 2*time.Hour), finding("past", false, time.Minute),
		finding("now", true, 2*time.Hour))); err != nil {
		t.Fatal(err)
	}
	s, err = Read(folder)
	if err != nil || len(s.Findings) != 2 {
		t.Fatalf("the board has %+v, %v; want the finding of the last hour and the one that goes on", s.Findings, err)
	}
	if got := s.Since(30 * time.Second); len(got) != 1 || got[0].ID != "now" {
		t.Errorf("of the last 30 s: %+v", got)
	}
	if got := s.Since(2 * time.Minute); len(got) != 2 {
		t.Errorf("of the last two minutes: %+v", got)
	}
	if info, err := os.Stat(b.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(folder); !errors.Is(err, ErrNone) {
		t.Errorf("after its end: %v", err)
	}
}

// Boards of recorders that were killed, that no longer write, and damaged ones count as none.
func TestReadDistrusts(t *testing.T) {
	const gone = 1<<22 - 1 // no kernel gives it by default
	for name, s := range map[string]State{
		"killed":  {PID: gone, Written: time.Now()},
		"stuck":   {PID: os.Getpid(), Written: time.Now().Add(-time.Minute)},
		"renamed": {PID: os.Getpid() + 1, Written: time.Now()},
	} {
		folder := t.TempDir()
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		pid := os.Getpid()
		if name == "killed" {
			pid = gone
		}
		if err := os.WriteFile(filepath.Join(folder, strconv.Itoa(pid)+".json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "1.json"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(folder); !errors.Is(err, ErrNone) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
