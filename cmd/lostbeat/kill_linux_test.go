package main

import (
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil"
)

// A recorder that is killed loses the last second at most: an event that happened before is in the file, which opens.
func TestLongKilledRecorder(t *testing.T) {
	testutil.Privileged(t)
	const rounds = 8
	stamp := regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z`)
	worst := time.Duration(0)
	for range rounds {
		path := filepath.Join(t.TempDir(), "killed.lostbeat")
		cmd := exec.Command(lostbeat(t), "record", "-o", path, "--trace")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4*time.Second + rand.N(time.Second))
		killed := time.Now()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		lines, errs, status := execute(t, "events", path)
		stamps := stamp.FindAllString(lines[max(0, len(lines)-4096):], -1)
		if status != exitIncomplete || len(stamps) == 0 || !strings.Contains(errs, "not closed") {
			t.Fatalf("status %d, %d times: %s", status, len(stamps), errs)
		}
		last, err := time.Parse(time.RFC3339Nano, stamps[len(stamps)-1])
		if err != nil {
			t.Fatal(err)
		}
		worst = max(worst, killed.Sub(last))
	}
	t.Logf("of %d recorders that were killed, the last event in the file was %v old at most", rounds, worst)
	if worst > time.Second {
		t.Errorf("%v are missing", worst)
	}
}
