package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"lostbeat/internal/testutil"
)

// The capabilities of the systemd unit are those that the probes need: with
// them, an ordinary user gets the same parts of every probe as root, but for
// what the unit says takes two more: other network namespaces (SYS_ADMIN), and
// the names of kernel functions (SYSLOG).
func TestLongServiceCapabilitiesSuffice(t *testing.T) {
	t.Parallel()
	testutil.Privileged(t)
	unit, err := os.ReadFile(filepath.Join(testutil.Root(t), "contrib", "lostbeat.service"))
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`(?m)^AmbientCapabilities=(.*)$`).FindSubmatch(unit)
	if match == nil {
		t.Fatal("the unit names no capabilities")
	}
	var caps []string
	for _, name := range strings.Fields(string(match[1])) {
		caps = append(caps, "+"+strings.ToLower(strings.TrimPrefix(name, "CAP_")))
	}
	list := strings.Join(caps, ",")
	states := func(cmd *exec.Cmd) map[string]string {
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", cmd.Args, err)
		}
		parts := map[string]string{}
		for line := range strings.Lines(string(out)) {
			var row doctorRow
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(row.Name, "probe ") {
				parts[row.Name] = row.State
			}
		}
		return parts
	}
	root := states(exec.Command(lostbeat(t), "doctor", "--json"))
	service := states(
		exec.Command(
			"setpriv",
			"--reuid=65534",
			"--regid=65534",
			"--clear-groups",
			"--inh-caps="+list,
			"--ambient-caps="+list,
			lostbeat(t),
			"doctor",
			"--json",
		),
	)
	if len(root) < 10 {
		t.Fatalf("only %d parts of probes: %v", len(root), root)
	}
	less := map[string]bool{"probe nic/namespaces": true, "probe port/listing": true, "probe stack": true}
	for name, state := range root {
		if got := service[name]; got != state && (got == "" || !less[name]) {
			t.Errorf("%s is %q for the service and %s for root", name, got, state)
		}
	}
}
