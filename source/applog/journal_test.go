package applog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/hint"
	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// exported is an entry of the journal in the export format.
func exported(at time.Time, text string) string {
	message := "MESSAGE=" + text + "\n"
	if strings.Contains(text, "\n") {
		n := len(text)
		message = "MESSAGE\n" + string([]byte{byte(n), byte(n >> 8), 0, 0, 0, 0, 0, 0}) + text + "\n"
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // journalctl --follow takes the present boot's alone
	return fmt.Sprintf("__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=1000\n_BOOT_ID=%s\n"+
		"_PID=4242\n_COMM=etcd\nSYSLOG_IDENTIFIER=etcd\n"+
		"_SYSTEMD_UNIT=etcd.service\n%s\n", at.UnixMicro(),
		strings.ReplaceAll(strings.TrimSpace(string(boot)), "-", ""), message)
}

func TestReadExport(t *testing.T) {
	at := time.UnixMicro(1795953600000123)
	long := strings.Repeat("x", 200<<10)
	text := exported(at, "one") + exported(at.Add(time.Second), "two\nlines") + "FIELD=" + long + "\n" +
		exported(at.Add(2*time.Second), long)
	for cut := range []int{0, 1, 2} {
		var got []journalEntry
		r := bufio.NewReaderSize(strings.NewReader(text[:len(text)-cut*70]), 64<<10)
		err := readExport(r, func(e journalEntry) error {
			got = append(got, e)
			return nil
		})
		if !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if len(got) < 2 || string(got[0].line) != "etcd[4242]: one" || !got[0].at.Equal(at) ||
			string(got[1].line) != "etcd[4242]: two\nlines" || got[1].pid != 4242 {
			t.Errorf("%d cut: %d entries", cut, len(got))
		}
	}
	err := readExport(bufio.NewReader(strings.NewReader("MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\x7f")), nil)
	if err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a field without an end: %v", err)
	}
}

// journalIn makes a journalctl in PATH, a shell script.
func journalIn(t *testing.T, script string) {
	t.Helper()
	dir := testutil.TempDir(t)
	if err := os.WriteFile(filepath.Join(dir, "journalctl"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// followJournal follows a journal until a line is found, or for 10 s, and returns it.
func followJournal(t *testing.T, write func()) (line *model.LogLine, last model.LogState) {
	t.Helper()
	var events []LiveEvent
	l, err := newLive(Followed{Path: "journal:etcd.service"}, func(e LiveEvent) { events = append(events, e) })
	if err != nil {
		t.Fatal(err)
	}
	now := func() model.Time { return model.TimeOf(time.Now()) }
	l.start(t.Context(), now)
	defer l.close()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline) && line == nil; {
		l.poll(now)
		for _, e := range events {
			if e.line != nil {
				line = e.line
				if late := time.Since(e.Wrote.Std()); late < 0 || late > 5*time.Second {
					t.Errorf("written %v ago", late)
				}
			}
			if e.state != nil {
				last = *e.state
			}
		}
		events = nil
		if write != nil && l.cadence.lines > 0 { // what is old has been read
			write()
			write = nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return line, last
}

// TestFollowJournal follows files of systemd's journal that its own tools write and read.
func TestFollowJournal(t *testing.T) {
	real, err := exec.LookPath("journalctl")
	remote := "/lib/systemd/systemd-journal-remote"
	if _, statErr := os.Stat(remote); err != nil || statErr != nil {
		testutil.Unavailable(t, "needs journalctl and systemd-journal-remote")
	}
	dir := testutil.TempDir(t)
	file := filepath.Join(dir, "x.journal")
	add := func(text string) {
		cmd := exec.Command(remote, "-o", file, "-")
		cmd.Stdin = bytes.NewReader([]byte(exported(time.Now(), text)))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	add("ready")
	journalIn(t, "exec "+real+" --directory "+dir+` "$@"`+"\n")
	line, state := followJournal(t, func() { add("peer 10.0.0.7\nmissed 3 heartbeats") })
	if line == nil || line.Text != "etcd[4242]: peer 10.0.0.7 missed 3 heartbeats" ||
		line.Pattern != "any/missed-heartbeats" {
		t.Errorf("found %+v; %+v", line, state)
	}
	if state.PID != 4242 || state.Process != "etcd" {
		t.Errorf("state %+v", state)
	}
}

// TestJournalEnds has a journalctl that fails, and none at all.
func TestJournalEnds(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a shell script plays journalctl, which Windows does not have")
	}
	journalIn(t, "echo 'Failed to add match' >&2; exit 1\n")
	l, err := newLive(Followed{Path: "journal"}, func(LiveEvent) {})
	if err != nil {
		t.Fatal(err)
	}
	now := func() model.Time { return model.TimeOf(time.Now()) }
	l.start(t.Context(), now)
	state, text := l.input.state()
	for deadline := time.Now().Add(5 * time.Second); state != model.LogMissing && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
		l.poll(now)
		state, text = l.input.state()
	}
	l.close()
	if state != model.LogMissing || text != "journalctl: Failed to add match" {
		t.Errorf("%v %q", state, text)
	}
	t.Setenv("PATH", testutil.TempDir(t))
	_, err = newLive(Followed{Path: "journal:x"}, nil)
	if err == nil || !strings.Contains(hint.Of(err), "systemd's journal") {
		t.Errorf("without journalctl: %v", err)
	}
}
