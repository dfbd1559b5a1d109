package main

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"lostbeat/record"
	"lostbeat/run"
	"lostbeat/sink/tally"
)

// What a recording lacks is said in one sentence: how much, where and why.
func TestWhatIsSaidOfARecording(t *testing.T) {
	full := &record.Error{Op: "write", Path: "/x/out.lostbeat", Err: syscall.ENOSPC}
	for _, c := range []struct {
		name string
		done run.Recorded
		want string
	}{
		{
			"full at the end", run.Recorded{Stats: record.Stats{Lost: 900, Err: full, Fault: full}, Disk: full},
			"the recording is incomplete: 900 of 1,000 events (90.0 %) could not be written: write /x/out.lostbeat: " +
				"no space left on device",
		},
		{
			"full for a while", run.Recorded{Stats: record.Stats{Lost: 900, Fault: full}, Disk: full},
			"no space left on device; the disk has taken later ones",
		},
		{
			"too slow", run.Recorded{Stats: record.Stats{Path: "/x/out.lostbeat"}, Late: 10},
			"10 of 1,000 events (1.0 %) could not be written: the disk of /x/out.lostbeat is too slow, " +
				"or lostbeat gets too little CPU time",
		},
		{
			"not closed", run.Recorded{Disk: &record.Error{Op: "close", Path: "/x/out.lostbeat", Err: syscall.EIO}},
			"the recording may be incomplete: close /x/out.lostbeat: input/output error",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.done.Whole() {
				t.Error("it is whole")
			}
			err := notRecorded(c.done, 1000)
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q", err)
			}
			if c.done.Disk != nil && !errors.Is(err, c.done.Disk) {
				t.Error("the cause is not kept")
			}
		})
	}
	done := run.Recorded{Disk: full}
	if got := summary(done, &tally.Tally{}, true); strings.Contains(got, "no finding") {
		t.Errorf("a flight recorder on a full disk says %q", got)
	}
	if got := summary(run.Recorded{}, &tally.Tally{}, true); !strings.Contains(got, "no finding") {
		t.Errorf("a flight recorder without a finding says %q", got)
	}
	done = run.Recorded{Stats: record.Stats{Deleted: 3, DeletedEvents: 1234}}
	const want = "deleted 3 files (1,234 events of this run) to stay below --total-cap 100 KiB"
	if got := deleted(done, "100 KiB"); got != want {
		t.Errorf("got %q", got)
	}
}

// A ring has to be of a size that works, and to fit below the total cap; the default gives way to the cap.
func TestRingSize(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--flight-size", "1000KiB"}, "--flight-size 1000KiB is out of range"},
		{[]string{"--flight-size", "257MiB"}, "--flight-size 257MiB is out of range"},
		{[]string{"--flight-size", "3MiB", "--total-cap", "11MiB"}, "is more than a quarter of --total-cap 11MiB"},
	} {
		args := append([]string{"record", "-o", "x.lostbeat", "--flight", "1m"}, c.args...)
		_, stderr, status := execute(t, args...)
		if status != exitError || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: status %d: %s", c.args, status, stderr)
		}
	}
	for _, c := range []struct {
		ring, limit byteSize
		asked       bool
	}{
		{0, 1, true},
		{defaultRing, 1 << 20, false},
		{record.LeastRing, 0, true},
		{record.MostRing, 4 * record.MostRing, true},
	} {
		if err := checkRing(c.ring, c.limit, c.asked); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
