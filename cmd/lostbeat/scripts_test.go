package main

import (
	"os"
	"path/filepath"
	"regexp"
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
