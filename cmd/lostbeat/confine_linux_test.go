package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/confine"
	"lostbeat/internal/testutil"
)

// temporary are the names of folders for what is unpacked.
var temporary = regexp.MustCompile(`(/tmp\S*/lostbeat-\d+)+`)

// outcome is what a command has printed, and its status, and what it has written.
func outcome(t *testing.T, input, mode string, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "part.lostbeat")
	args = append(args, "--confine", mode)
	if args[0] == "cut" {
		args = append(args, "-o", out, "--since", "+0s", "--until", "+5s")
	}
	cmd := exec.Command(lostbeat(t), args...)
	if input != "" {
		f, err := os.Open(input)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.Stdin = f
	}
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	err := cmd.Run()
	if err != nil {
		text.WriteString(err.Error())
	}
	if args[0] == "cut" {
		events, err := exec.Command(lostbeat(t), "events", "--confine", "off", out).CombinedOutput()
		if err == nil {
			text.Write(events)
		}
	}
	return temporary.ReplaceAllString(strings.ReplaceAll(text.String(), filepath.Dir(out), ""), "")
}

// sameConfined runs a command confined and not, and compares.
func sameConfined(t *testing.T, input string, args ...string) {
	t.Helper()
	on, off := outcome(t, input, confineOn, args...), outcome(t, input, confineOff, args...)
	if on != off {
		t.Errorf("%q\nconfined:\n%.2000s\nnot confined:\n%.2000s", args, on, off)
	}
}

// Commands that are confined read the same as others: a recording, an archive of it, a folder, standard input, a
// rotated recording by its first name, and what is not there.
func TestConfinedCommands(t *testing.T) {
	t.Parallel()
	recording := sampleRecording(t)
	folder := filepath.Dir(recording)
	archive := filepath.Join(t.TempDir(), "case.tar.gz")
	pack := exec.Command("tar", "-C", folder, "-czf", archive, filepath.Base(recording))
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	log := filepath.Join(t.TempDir(), "app.log")
	lines := "2026-11-22 14:03:10 UTC begin\n2026-11-22 14:03:20 UTC end\n"
	if err := os.WriteFile(log, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"info", "findings", "events", "cut"} {
		sameConfined(t, "", command, archive)
	}
	sameConfined(t, "", "events", recording)
	sameConfined(t, "", "findings", folder)
	sameConfined(t, recording, "cut", "-")
	sameConfined(t, "", "findings", recording, "--log", log, "--log-time", "Europe/Berlin")
	sameConfined(t, "", "diff", recording, archive)
	sameConfined(t, "", "info", filepath.Join(folder, "missing.lostbeat"))
}

// A command is confined before it has read anything.
func TestCommandIsConfined(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(lostbeat(t), "findings", "-")
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		input.Close()
		if err := cmd.Wait(); err == nil {
			t.Error("empty standard input is no error")
		}
	}()
	status := ""
	for range 500 {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "status"))
		if err != nil {
			t.Fatal(err)
		}
		if status = string(text); strings.Contains(status, "Seccomp:\t2") && strings.Contains(status, "NoNewPrivs:\t1") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !confine.SeccompSupported() {
		t.Skip("this kernel has no filters of system calls")
	}
	t.Errorf("it is not confined while it waits for its input:\n%s", status)
}

// The same over real samples. It takes about a minute.
func TestLongConfinedSamples(t *testing.T) {
	t.Parallel()
	data := testutil.DataDir(t)
	n := 0
	err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		commands := []string{"info", "findings", "events", "cut"}
		sameConfined(t, "", commands[n%len(commands)], path)
		n++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(n, "samples")
}
