package vmtest_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
	"lostbeat/model"
	"lostbeat/sink/notify"
)

func TestMain(m *testing.M) { vmtest.Main(m) }

// faults makes faults beside the unit, and prints what the unit has made of them. The processes of the lab end with
// their standard input.
const faults = `#!/bin/sh
lostbeat=/usr/local/bin/lostbeat
lab() {
	systemd-run --quiet --collect $options /bin/sh -c "sleep 300 | $lostbeat lab-child $*"
}
step() { echo "STEP $(cut -d ' ' -f 1 /proc/uptime) $*"; }
step begin
sleep 8 # the unit attaches its probes
pid=$(systemctl show --property MainPID --value lostbeat)
echo "STATUS $(grep -hE '^(Cap(Eff|Bnd|Amb)|NoNewPrivs|Seccomp|Uid)' "/proc/$pid/status" | tr '\t\n' ' ;')"
lab sink -local 127.0.0.1:7001 -after 4s -buffer 65536
lab flood -to 127.0.0.1:7001 -rate 150
lab leak -mode bind -rate 20 -count 600
step nft
nft 'add table inet lb; add chain inet lb in { type filter hook input priority 0; }'
nft 'add rule inet lb in udp dport 7003 drop'
step sinks
lab sink -local 127.0.0.1:7003
lab flood -to 127.0.0.1:7003 -rate 100
lab sink -local 127.0.0.1:7005 -after 8s
lab beat -to 127.0.0.1:7005 -every 200ms
options=--property=CPUQuota=4%
lab sink -local 127.0.0.1:7006 -spin 20ms
options=
lab beat -to 127.0.0.1:7006 -every 200ms
step wait
sleep 20
step stop
systemctl stop lostbeat
echo "RESULT $(systemctl show --property Result --value lostbeat)"
journalctl --unit lostbeat --output cat --no-pager | sed 's/^/JOURNAL /'
journalctl --update-catalog
journalctl --unit lostbeat --catalog --no-pager | sed 's/^/EXPLAINED /'
journalctl --unit lostbeat --output json LOSTBEAT_DETECTOR=packet-drop | sed 's/^/ENTRY /'
$lostbeat findings --json /var/lib/lostbeat/*.lostbeat 2>/dev/null | sed 's/^/FINDING /'
$lostbeat events --kind probe --json /var/lib/lostbeat/*.lostbeat 2>/dev/null | sed 's/^/PROBE /'
echo DONE
systemctl poweroff --no-block
`

// The unit runs under systemd with its whole confinement, says what it does in the journal, and finds what goes wrong
// on its host. It takes 80 s on a machine that does nothing else, and as long once more when the guest's disk is made.
func TestLongGuestUnit(t *testing.T) {
	unit, err := os.ReadFile(filepath.Join(testutil.Root(t), "contrib", "lostbeat.service"))
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := os.ReadFile(filepath.Join(testutil.Root(t), "contrib", "lostbeat.catalog"))
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindSubmatch(unit)
	if command == nil {
		t.Fatal("the unit runs nothing")
	}
	start := string(command[1]) + " --heartbeat udp:7005 --heartbeat udp:7006"
	text := vmtest.Boot(t, vmtest.Systemd{
		Kernel:   "6.12",
		Package:  "lostbeat/internal/vmtest",
		Packages: []string{"nftables"},
		Modules:  []string{"nfnetlink", "libcrc32c", "nf_tables", "inet_diag", "tcp_diag", "udp_diag"},
		Programs: map[string]string{"/usr/local/bin/lostbeat": "lostbeat/cmd/lostbeat"},
		Files: map[string]string{
			"/etc/systemd/system/lostbeat.service":             string(unit),
			"/usr/lib/systemd/catalog/lostbeat.catalog":        string(catalog),
			"/etc/systemd/system/lostbeat.service.d/test.conf": "[Service]\nExecStart=\nExecStart=" + start + "\n",
			"/usr/local/bin/faults":                            faults,
			"/etc/systemd/system/faults.service": "[Unit]\nAfter=lostbeat.service multi-user.target\n" +
				"Wants=lostbeat.service\n[Service]\nType=idle\nExecStart=/usr/local/bin/faults\n" +
				"StandardOutput=tty\nStandardError=tty\nTTYPath=/dev/ttyS0\n",
			"/etc/systemd/system/multi-user.target.d/faults.conf": "[Unit]\nWants=faults.service\n",
		},
		Timeout: 175 * time.Second,
	})
	if !strings.Contains(text, "\nDONE\n") {
		t.Fatalf("the guest has not come to its end:\n%s", text)
	}
	t.Log(text)
	var found []model.Finding
	var status, result, confined string
	var journal, explained []string
	var entries []map[string]any
	for line := range strings.Lines(text) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch kind {
		case "STATUS":
			status = rest
		case "PROBE":
			if strings.Contains(rest, `"confinement"`) {
				confined = rest
			}
		case "RESULT":
			result = rest
		case "JOURNAL":
			journal = append(journal, rest)
		case "EXPLAINED":
			explained = append(explained, rest)
		case "ENTRY":
			var fields map[string]any
			if err := json.Unmarshal([]byte(rest), &fields); err != nil {
				t.Errorf("%v: %s", err, rest)
			}
			entries = append(entries, fields)
		case "FINDING":
			var f model.Finding
			if err := json.Unmarshal([]byte(rest), &f); err != nil {
				t.Errorf("%v: %s", err, rest)
			}
			found = append(found, f)
		}
	}
	for _, want := range []string{
		"NoNewPrivs: 1", "Seccomp: 2", "CapEff: 000000c000081004", "CapBnd: 000000c000081004",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("the unit's process has no %s: %s", want, status)
		}
	}
	if !strings.Contains(confined, `"on"`) {
		t.Errorf("the confinement of the unit: %s", confined)
	}
	if result != "success" {
		t.Errorf("the unit has ended with %q", result)
	}
	if !strings.Contains(strings.Join(journal, "\n"), "recorded") {
		t.Errorf("the journal has no summary: %q", journal)
	}
	for _, want := range []string{"Subject: packet-drop (", "Why:", "'lostbeat explain packet-drop' says"} {
		if !strings.Contains(strings.Join(explained, "\n"), want) {
			t.Errorf("journalctl --catalog does not say %q", want)
		}
	}
	if len(entries) == 0 {
		t.Error("the journal has no finding of packet-drop")
	}
	for _, e := range entries {
		if e["MESSAGE_ID"] != notify.MessageID("packet-drop") || e["_SYSTEMD_UNIT"] != "lostbeat.service" ||
			!slices.ContainsFunc(found, func(f model.Finding) bool { return f.ID == e["LOSTBEAT_FINDING"] }) {
			t.Errorf("an entry of no finding: %v", e)
		}
	}
	for name, want := range map[string]struct{ detector, text string }{
		"a reader that has stopped": {"socket-drop", "7001"},
		"a leak of ports":           {"port-leak", "lostbeat"},
		"a rule that drops":         {"packet-drop", "netfilter"},
		"a heartbeat that is not read": {
			"heartbeat-loss", "7005",
		},
		"a reader with a small quota": {"heartbeat-loss", "7006"},
	} {
		if !hasFinding(found, want.detector, want.text) {
			t.Errorf("%s was not found", name)
		}
	}
}

func hasFinding(found []model.Finding, detector, text string) bool {
	for _, f := range found {
		if f.Detector == detector && strings.Contains(f.Title, text) {
			return true
		}
	}
	return false
}
