package kernels

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"lostbeat/model"
)

// load is what keeps both CPUs of a healthy guest busy: timers of real-time threads that compute for a fiftieth of the
// time, packets over the loopback device that are read in time, heartbeats, processes that come and go, and programs
// that compute for most of the time.
var load = []string{
	"hog -cpu 0 -fifo 80 -on 100us -off 5ms", "hog -cpu 1 -fifo 80 -on 100us -off 5ms",
	"sink -local 127.0.0.1:9001 -buffer 1048576", "flood -to 127.0.0.1:9001 -rate 200 -size 600",
	"sink -local 127.0.0.1:9002", "beat -to 127.0.0.1:9002 -every 200ms",
	"tcpsink -local 127.0.0.1:9003", "tcpbeat -to 127.0.0.1:9003 -every 10ms -size 1000",
	"forks -rate 5", "hog -cpu 0 -on 300ms -off 150ms", "hog -cpu 1 -on 300ms -off 150ms",
}

// busyFor is how long a recording of the busy guest is.
const busyFor = 2 * time.Minute

// TestGuestBusy records a guest that is healthy and busy, and reports what is found.
func TestGuestBusy(t *testing.T) {
	inGuest(t)
	const path = "/tmp/busy.lostbeat"
	recorder, stop := inBackground(t, "record", "-o", path, "--max-cpu", "0", "--heartbeat", "udp:9002")
	await(t, recorder, "watching")
	var ends []func()
	for _, line := range load {
		said, end := inBackground(t, append([]string{"lab-child"}, strings.Fields(line)...)...)
		ends = append(ends, end)
		await(t, said, "ready") // readers are there before their senders
	}
	time.Sleep(busyFor)
	for _, end := range ends {
		end()
	}
	time.Sleep(2 * time.Second)
	stop()
	fmt.Print(recorder())

	out, err := exec.Command("/lostbeat", "findings", "--json", path).Output()
	if err != nil {
		t.Errorf("findings: %v", err)
	}
	r := row{Kind: kindHealthy, Name: fmt.Sprintf("busy for %v", busyFor), Result: "nothing found"}
	var titles []string
	for line := range strings.Lines(string(out)) {
		fmt.Print("finding: ", line)
		var f model.Finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		titles = append(titles, f.Detector+": "+f.Title)
	}
	if len(titles) > 0 {
		for _, kind := range []string{"cpu.time", "deferred.run"} {
			out, err := exec.Command("/lostbeat", "events", "--kind", kind, path).Output()
			fmt.Printf("%s: %v\n%s", kind, err, out)
		}
		r.Result, r.Detail, r.Wrong = fmt.Sprintf("%d findings", len(titles)), strings.Join(titles, "; "), true
	}
	fmt.Println(r)
}

// await waits until a process has said something.
func await(t *testing.T, said func() string, what string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !strings.Contains(said(), what); {
		if time.Now().After(deadline) {
			t.Fatalf("%q was not said: %s", what, said())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// inBackground starts a command of lostbeat. It returns what reads its output so far, and what ends it: processes of
// the lab end with their standard input, others by a signal.
func inBackground(t *testing.T, args ...string) (said func() string, end func()) {
	t.Helper()
	cmd := exec.Command("/lostbeat", args...)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := os.CreateTemp("", "busy")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said = func() string {
		text, err := os.ReadFile(output.Name())
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	end = sync.OnceFunc(func() {
		input.Close()
		if args[0] == "record" {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v: %s", args, err, said())
		}
		output.Close()
	})
	t.Cleanup(end)
	return said, end
}
