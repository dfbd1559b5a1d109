package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestManPages wants a page for each command, with each of its flags.
func TestManPages(t *testing.T) {
	root := newRoot()
	pages := manPages(root, "2026-11-29")
	for _, cmd := range append(root.Commands(), root) {
		if cmd != root && !cmd.IsAvailableCommand() {
			continue
		}
		text := pages[manName(cmd)+".1"]
		for _, want := range []string{
			".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH EXIT STATUS", ".SH SEE ALSO",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %s", cmd.Name(), want)
			}
		}
		if takesSettings(cmd) != strings.Contains(text, ".SH FILES") {
			t.Errorf("%s: FILES is there where no file is read, or is missing", cmd.Name())
		}
	}
	watch := pages["lostbeat-watch.1"]
	for _, want := range []string{
		`\fI/etc/lostbeat.toml\fR`, `\fI\(ti/.config/lostbeat/config.toml\fR`, "LOSTBEAT_HEARTBEAT", "LOSTBEAT_WEBHOOK",
		"LOSTBEAT_FINDING_ID", `\fB\-\-exec\fR \fICOMMAND\fR`,
	} {
		if !strings.Contains(watch, want) {
			t.Errorf("lostbeat-watch(1): no %s", want)
		}
	}
	if strings.Contains(watch, `\fBLOSTBEAT_EXEC`) || strings.Contains(pages["lostbeat-findings.1"], `\fBLOSTBEAT_POOL`) {
		t.Error("a variable is listed that is not read")
	}
}

// TestManPagesRender lets the programs that show manual pages look for mistakes in them.
func TestManPagesRender(t *testing.T) {
	dir := t.TempDir()
	if _, errs, status := execute(t, "man", dir); status != exitOK {
		t.Fatal(errs)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d pages, %v", len(files), err)
	}
	tools := map[string][]string{
		"mandoc": {"-Tlint", "-Wwarning"},
		"groff":  {"-ww", "-man", "-Kutf8", "-Tutf8", "-z"},
	}
	ran := 0
	for tool, args := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			continue
		}
		ran++
		cmd := exec.Command(tool, append(args, files...)...)
		cmd.Env = append(os.Environ(), "MANWIDTH=80")
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", tool, err, out)
		}
	}
	if ran == 0 {
		t.Skip("neither mandoc nor groff is installed")
	}
}
