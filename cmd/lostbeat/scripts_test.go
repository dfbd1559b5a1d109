package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"lostbeat/internal/testutil"
)

// TestScriptCommands checks that the commands of scripts/windows-check.ps1, which runs on real Windows only, are
// commands of this program.
func TestScriptCommands(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(testutil.Root(t), "scripts", "windows-check.ps1"))
	if err != nil {
		t.Fatal(err)
	}
	call := regexp.MustCompile(`(?:Invoke|Start)-Lostbeat '[^']+' @\((.*)\)`)
	argument := regexp.MustCompile(`'([^']*)'|"([^"]*)"|\$(\w+)|\(Join-Path \$work '([^']*)'\)`)
	variable := regexp.MustCompile(`\$\{?(\w+)\}?`)
	values := map[string]string{"Seconds": "60"}
	calls := call.FindAllSubmatch(script, -1)
	if written := regexp.MustCompile(`= (?:Invoke|Start)-Lostbeat `).FindAll(script, -1); len(calls) != len(written)-1 {
		t.Errorf("%d of %d calls are understood", len(calls), len(written)-1) // one is that of Invoke-Lostbeat itself
	}
	for _, m := range calls {
		var args []string
		for _, a := range argument.FindAllStringSubmatch(string(m[1]), -1) {
			args = append(args, variable.ReplaceAllStringFunc(strings.Join(a[1:], ""), func(name string) string {
				return values[strings.Trim(name, "${}")]
			}))
		}
		// With --help a command is parsed, and does nothing.
		if _, stderr, status := execute(t, append(args, "--help")...); status != 0 {
			t.Errorf("%q: status %d: %s", args, status, stderr)
		}
		if i := slices.Index(args, "--kind"); i >= 0 {
			if _, stderr, _ := execute(t, "events", os.DevNull, "--kind", args[i+1]); strings.Contains(stderr, "kind") {
				t.Errorf("%q: %s", args, stderr)
			}
		}
	}
}

// TestPacemakerAlert runs the alert agent as Pacemaker does, with a systemctl that writes down what it is asked for.
func TestPacemakerAlert(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil || runtime.GOOS == "windows" {
		testutil.Unavailable(t, "no shell: %v", err)
	}
	agent := filepath.Join(testutil.Root(t), "contrib", "pacemaker", "lostbeat-alert.sh")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"systemctl": "#!/bin/sh\necho \"$@\" >>" + dir + "/asked\n",
		"sudo":      "#!/bin/sh\nshift\nexec \"$@\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		env   []string
		asked bool
	}{
		{"a node is lost", []string{"CRM_alert_kind=node", "CRM_alert_node=a", "CRM_alert_desc=lost"}, true},
		{"fencing", []string{"CRM_alert_kind=fencing", "CRM_alert_rc=0"}, true},
		{"an action has failed", []string{"CRM_alert_kind=resource", "CRM_alert_rc=1", "CRM_alert_target_rc=0"}, true},
		{"an action was as expected", []string{"CRM_alert_kind=resource", "CRM_alert_rc=7", "CRM_alert_target_rc=7"}, false},
		{"an attribute", []string{"CRM_alert_kind=attribute"}, false},
	} {
		_ = os.Remove(filepath.Join(dir, "asked")) // of the case before
		cmd := exec.Command(shell, agent)
		cmd.Env = append([]string{"PATH=" + dir + ":" + os.Getenv("PATH")}, c.env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", c.name, err, out)
		}
		asked, _ := os.ReadFile(filepath.Join(dir, "asked"))
		if want := "kill --kill-whom=main --signal=USR1 lostbeat.service\n"; c.asked != (string(asked) == want) {
			t.Errorf("%s: systemctl was asked for %q", c.name, asked)
		}
	}
}
