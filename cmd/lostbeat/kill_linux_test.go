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

// A flight recorder that is killed leaves a ring that opens, also while it was written; the next one makes a recording
// of it and says what was going on. It takes half a minute.
func TestLongKilledFlight(t *testing.T) {
	testutil.Privileged(t)
	dir := t.TempDir()
	path, ring := filepath.Join(dir, "fault.lostbeat"), filepath.Join(dir, "fault.ring")
	args := []string{
		"record", "-o", path, "--flight", "1m", "--flight-size", "4MiB", "--probe", "port",
		"--pool", "lab=udp:22000-22999",
	}
	cmd := exec.Command(lostbeat(t), args...)
	var errs output
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	if lines, errs, status := execute(t, "events", ring); status != 0 || !strings.Contains(lines, "port") {
		t.Errorf("while it is written: status %d: %s", status, errs)
	}
	stop := leakPorts(t, 22000)
	eventually(t, 25*time.Second, "a finding", func() bool { return strings.Contains(errs.String(), "recording it to") })
	time.Sleep(time.Second)
	killed := time.Now()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	stop()
	_, said, status := execute(t, append(args, "--duration", "1s")...)
	match := regexp.MustCompile(
		`the process was killed\. Its last event is of (.* UTC); open findings: .*; saved to (\S+)`,
	).FindStringSubmatch(said)
	if status != 0 || match == nil {
		t.Fatalf("status %d: %s", status, said)
	}
	last, err := time.Parse("2006-01-02 15:04:05.000 UTC", match[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the last event was %v old when the recorder was killed", killed.Sub(last))
	if killed.Sub(last) > time.Second {
		t.Errorf("%v are missing", killed.Sub(last))
	}
	if lines, errs, status := execute(t, "findings", match[2]); status != 0 || !strings.Contains(lines, "22000") {
		t.Errorf("status %d: %s%s", status, lines, errs)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.ring*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
