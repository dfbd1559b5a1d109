//go:build unix

package notify

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/all"
	"lostbeat/model"
)

// received reads an entry of the journal's native protocol.
func received(t *testing.T, text []byte) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for len(text) > 0 {
		line, rest, ok := bytes.Cut(text, []byte("\n"))
		if !ok {
			t.Fatalf("the entry ends within a field: %q", text)
		}
		name, value, single := strings.Cut(string(line), "=")
		if !single {
			size := binary.LittleEndian.Uint64(rest)
			value, rest = string(rest[8:8+size]), rest[8+size:]
			if rest[0] != '\n' {
				t.Fatalf("%s does not end after %d bytes", name, size)
			}
			rest = rest[1:]
		}
		fields[name], text = value, rest
	}
	return fields
}

func TestJournal(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "socket")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	n := Journal{
		Socket: path, Say: func(line string) { t.Error(line) },
		Locate: func(f *model.Finding, deadline time.Time, _ <-chan struct{}) string {
			if left := time.Until(deadline); left <= 0 || left > locateWithin {
				t.Errorf("%v are left to locate it", left)
			}
			if f.Severity == model.SeverityInfo {
				return ""
			}
			return "/var/lib/fault-1.lostbeat"
		},
	}.Start()
	var b model.Builder
	f := model.Finding{
		ID: "socket-drop/1", Detector: "socket-drop", Severity: model.SeverityCritical, Ongoing: true,
		Title: "a title\x1b[31m", Causes: []string{"first", "second"}, Advice: []string{strings.Repeat("é", maxField)},
	}
	ended := f
	ended.Ongoing = false
	note := f
	note.ID, note.Severity = "socket-drop/2", model.SeverityInfo
	for _, c := range []struct {
		finding model.Finding
		want    map[string]string
	}{
		{f, map[string]string{
			"MESSAGE_ID": MessageID("socket-drop"), "PRIORITY": "2", "LOSTBEAT_DETECTOR": "socket-drop",
			"LOSTBEAT_FINDING": "socket-drop/1", "LOSTBEAT_SEVERITY": "critical", "LOSTBEAT_STATE": "active",
			"LOSTBEAT_CAUSES": "- first\n- second", "SYSLOG_IDENTIFIER": "lostbeat",
			"MESSAGE":            "a title·[31m (recorded in /var/lib/fault-1.lostbeat)",
			"LOSTBEAT_RECORDING": "/var/lib/fault-1.lostbeat",
		}},
		{ended, map[string]string{
			"PRIORITY": "5", "LOSTBEAT_STATE": "ended", "LOSTBEAT_RECORDING": "/var/lib/fault-1.lostbeat",
			"MESSAGE": "ended: a title·[31m (recorded in /var/lib/fault-1.lostbeat)",
		}},
		{note, map[string]string{"PRIORITY": "6", "LOSTBEAT_RECORDING": "", "MESSAGE": "a title·[31m"}},
	} {
		b.AddFinding(0, c.finding)
		write(t, n, b.Take())
		text := make([]byte, 1<<18)
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		size, err := conn.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		got := received(t, text[:size])
		for name, want := range c.want {
			if got[name] != want {
				t.Errorf("%s=%q, want %q", name, got[name], want)
			}
		}
		if n := len(got["LOSTBEAT_ADVICE"]); n < maxField || n > maxField+3 {
			t.Errorf("a field of %d bytes", n)
		}
	}
	n.Close(time.Second)
}

// A finding that the journal does not receive is said with its title and its recording: standard error is the journal,
// too.
func TestJournalRefuses(t *testing.T) {
	t.Parallel()
	var l log
	n := Journal{
		Socket: filepath.Join(t.TempDir(), "none"), Say: l.say,
		Locate: func(*model.Finding, time.Time, <-chan struct{}) string { return "x.lostbeat" },
	}.Start()
	write(t, n, found("socket-drop/1", model.SeverityWarning, true))
	n.Close(time.Second)
	if want := ": title of socket-drop/1 (recorded in x.lostbeat)\n"; !strings.Contains(l.all(), want) {
		t.Errorf("said %q, want %q", l.all(), want)
	}
}

// A journal that receives nothing delays neither the stream nor the end.
func TestJournalHangs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "socket")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	said := make(chan string, 2000)
	n := Journal{Socket: path, Say: func(line string) { said <- line }, Attempt: 50 * time.Millisecond}.Start()
	began := time.Now()
	const count = 1000
	for i := range count {
		write(t, n, found(fmt.Sprint("socket-drop/", i), model.SeverityWarning, true))
	}
	n.Close(100 * time.Millisecond)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if lost := n.lost.Load(); lost == 0 || int(lost) != len(said)-1 { // the last line is a summary
		t.Errorf("%d of %d findings are counted as lost, %d lines say so", lost, count, len(said))
	}
}

// Each detector has an identifier of its own, and it stays the same.
func TestMessageID(t *testing.T) {
	t.Parallel()
	names, _ := all.Detectors()
	seen := map[string]string{}
	for _, name := range names {
		id := MessageID(name)
		if other := seen[id]; other != "" || len(id) != 32 {
			t.Errorf("%s has the identifier %q, as %q", name, id, other)
		}
		seen[id] = name
	}
	if got, want := MessageID("socket-drop"), "b3b28e92d0904c08bcf5e1430202b4c7"; got != want {
		t.Errorf("the identifier of socket-drop has changed from %s to %s: journals are searched for it", want, got)
	}
}
