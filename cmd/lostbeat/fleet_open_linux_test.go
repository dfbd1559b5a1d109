package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lostbeat/internal/platform"
)

// What cannot be written to standard output is an error.
func TestCutToFullOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	var errs strings.Builder
	cmd := exec.Command(lostbeat(t), "cut", sampleRecording(t), "--since", "+1s", "--until", "+2s", "-o", "-")
	cmd.Stdout, cmd.Stderr = full, &errs
	if err := cmd.Run(); err == nil || !strings.Contains(errs.String(), "no space left") {
		t.Errorf("%v: %s", err, errs.String())
	}
}

// The recording of a host comes by ssh, whose stand-in gives the words to a shell as a host's would.
func TestFleetOpen(t *testing.T) {
	program, folder := lostbeat(t), t.TempDir()
	recording := filepath.Join(folder, "it's.lostbeat")
	data, err := os.ReadFile(sampleRecording(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(recording, data, 0o600); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(folder, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"ssh": "#!/bin/sh\n[ \"$1 $2 $3\" = '-o ConnectTimeout=10 --' ] || exit 99\n" +
			"case $4 in unreachable) echo 'no route' >&2; exit 255;; esac\nexec sh -c \"$5\"\n",
		"sudo": "#!/bin/sh\n[ \"$1\" = -n ] || exit 98\nshift\nexec \"$@\"\n",
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(program, filepath.Join(bin, "lostbeat")); err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	// The worst finding of web-1 stands behind one that is worse on another host.
	mild := strings.ReplaceAll(fleetRow("web-1", "a"), "critical", "warning")
	rows.WriteString(mild + fleetRow("web-2", "a") + fleetRow("web-3", "a"))
	for _, host := range []string{"web-1", "unreachable", platform.ThisHost().Name} {
		row := strings.ReplaceAll(fleetRow(host, "ports leak"), "/var/lib/lostbeat/it's.lostbeat", recording)
		row = strings.ReplaceAll(row, "2026-03-01T12:00:00Z", "2026-03-01T12:30:00Z")
		rows.WriteString(strings.ReplaceAll(row, `"a"`, `"port-leak"`))
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, rows.String())
	}))
	defer server.Close()
	open := func(args ...string) (text string, err error) {
		cmd := exec.Command(program, append([]string{"fleet", "--logs", server.URL, "--utc"}, args...)...)
		cmd.Dir, cmd.Env = folder, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for host, file := range map[string]string{
		"web-1": "web-1-20260301T123000Z.lostbeat", platform.ThisHost().Name: "local.lostbeat",
	} {
		args := []string{"--open", host}
		if file == "local.lostbeat" {
			args = append(args, "-o", file)
		}
		if text, err := open(args...); err != nil || !strings.Contains(text, "port-leak") ||
			!strings.Contains(text, "cut from it's.lostbeat") {
			t.Errorf("%s: %v: %s", host, err, text)
		}
		if text, _, status := execute(t, "info", filepath.Join(folder, file)); status != exitOK {
			t.Errorf("%s: %s", file, text)
		}
	}
	for want, args := range map[string][]string{
		"hint: give another name with -o":                {"--open", "web-1"},
		"web-1-20260301T123000Z.lostbeat exists already": {"--open", "web-1"},
		"hint: ssh has to reach the host, and sudo":      {"--open", "unreachable"},
		"fetch the recording of unreachable":             {"--open", "unreachable"},
		"no finding of web-9 names a recording":          {"--open", "web-9"},
		"is not a valid host name":                       {"--open=-oProxyCommand=x"},
		"-o is for --open":                               {"-o", "x"},
		"--open prints no list":                          {"--open", "web-1", "--json"},
	} {
		if text, err := open(args...); err == nil || !strings.Contains(text, want) {
			t.Errorf("%q: %v: %s", args, err, text)
		}
	}
	left, err := filepath.Glob(filepath.Join(folder, "unreachable*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
}
