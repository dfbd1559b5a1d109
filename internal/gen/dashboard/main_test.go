package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The dashboard in contrib is what this program writes.
func TestDashboardIsCurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lostbeat.json")
	if err := write(path); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../../../contrib/grafana/lostbeat.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("contrib/grafana/lostbeat.json is stale: go generate ./internal/gen/dashboard")
	}
}

// The library of dashboards is not part of the program.
func TestNotInTheProgram(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "lostbeat/cmd/lostbeat").Output()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out, []byte("grafana")) || !bytes.Contains(out, []byte("lostbeat/sink/metrics")) {
		t.Error("the program imports the library of dashboards, or no metrics")
	}
}
