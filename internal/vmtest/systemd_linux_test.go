package vmtest_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/confine"
	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
	"lostbeat/model"
	"lostbeat/sink/notify"
)

func TestMain(m *testing.M) { vmtest.Main(m) }

// unitShell is what scripts in the guest have in common: they make faults beside the unit, and print what it has made
// of them. The processes of the lab end with their standard input.
const unitShell = `#!/bin/sh
lostbeat=/usr/local/bin/lostbeat
lab() {
	systemd-run --quiet --collect $options /bin/sh -c "sleep 600 | $lostbeat lab-child $*"
}
step() { echo "STEP $(cut -d ' ' -f 1 /proc/uptime) $*"; }
own() { journalctl --no-pager "$@" "_SYSTEMD_INVOCATION_ID=$(cat /run/invocation)"; }
await() { # the unit says something in the journal, within a minute
	for i in $(seq 30); do
		if own --output cat | grep --quiet "$1"; then
			step "$1"
			return
		fi
		sleep 1
	done
	step "not said: $1"
}
started() {
	systemctl show --property InvocationID --value lostbeat >/run/invocation
	pid=$(systemctl show --property MainPID --value lostbeat)
	await watching
	echo "$1STATUS $(grep -hE '^(Cap(Eff|Bnd|Amb)|NoNewPrivs|Seccomp|Uid)' "/proc/$pid/status" | tr '\t\n' ' ;')"
}
stopped() {
	step stop
	systemctl stop lostbeat
	echo "$1RESULT $(systemctl show --property Result --value lostbeat)"
	own --output cat | sed "s/^/$1JOURNAL /"
	own --output json LOSTBEAT_DETECTOR=packet-drop | sed "s/^/$1ENTRY /"
	$lostbeat findings --json /var/lib/lostbeat/*.lostbeat 2>/dev/null | sed "s/^/$1FINDING /"
}
`

// faults are made first beside the unit with all of its rights, then beside the one with the least.
const faults = unitShell + `
step begin
started
lab sink -local 127.0.0.1:7001 -after 4s -buffer 65536
lab flood -to 127.0.0.1:7001 -rate 150
lab leak -mode bind -rate 20 -count 6000
nft 'add table inet lb; add chain inet lb in { type filter hook input priority 0; }'
nft 'add rule inet lb in udp dport 7003 drop'
lab sink -local 127.0.0.1:7003
lab flood -to 127.0.0.1:7003 -rate 100
lab sink -local 127.0.0.1:7005 -after 8s
lab beat -to 127.0.0.1:7005 -every 200ms
options=--property=CPUQuota=4%
lab sink -local 127.0.0.1:7006 -spin 20ms
options=
lab beat -to 127.0.0.1:7006 -every 200ms
step made
for what in 'read udp/7001' 'udp ports of pool' 'netfilter drops' udp/7005 udp/7006; do
	await "$what"
done
stopped
journalctl --update-catalog
own --catalog | sed 's/^/EXPLAINED /'
step least # the faults go on
rm -r /var/lib/private/lostbeat /etc/systemd/system/lostbeat.service.d/test.conf
cp /etc/least.conf /etc/systemd/system/lostbeat.service.d/
systemctl daemon-reload
systemctl start lostbeat
sleep 3
systemctl kill --kill-whom=main --signal=USR1 lostbeat # while the probes are attached
started LEAST-
for what in 'read udp/7001' 'udp ports in' 'netfilter drops'; do
	await "$what"
done
stopped LEAST-
echo DONE
systemctl poweroff --no-block
`

// moreFaults are further kinds, on the loopback device of a guest with one CPU.
const moreFaults = unitShell + `
named() { # UNIT: a process of the lab in a unit that can be stopped
	options="$options --unit=$1"
	shift
	lab "$@"
	options=
}
pair() { # PORT: heartbeats, whose reader has further options
	port=$1
	shift
	named "r$port" sink -local "127.0.0.1:$port" "$@"
	named "s$port" beat -to "127.0.0.1:$port" -every 200ms
}
flow() { # PORT: datagrams, whose reader has further options
	port=$1
	shift
	named "r$port" sink -local "127.0.0.1:$port" -buffer 16384 "$@"
	named "s$port" flood -to "127.0.0.1:$port" -rate 50 -size 600
}
step begin
echo '40000 40999' >/proc/sys/net/ipv4/ip_local_port_range
touch /tmp/beat /tmp/read
nft 'add table inet lb'
nft 'add chain inet lb in { type filter hook input priority 0; }'
nft 'add chain inet lb out { type filter hook output priority 0; }'
started

for port in 7011 7012 7013 7014 7015 7016; do
	pair "$port"
done
pair 7017 -lock /tmp/beat
named r7019 tcpsink -local 127.0.0.1:7019
named s7019 tcpbeat -to 127.0.0.1:7019 -every 200ms
named r7018 sink -local 127.0.0.1:7018
options=--property=CPUQuota=90%
named s7018 beat -to 127.0.0.1:7018 -every 200ms -spin 12ms
for port in 7020 7021; do
	named "r$port" tcpsink -local "127.0.0.1:$port"
	named "s$port" tcpbeat -to "127.0.0.1:$port" -every 200ms
done
sleep 6
step heartbeats
nft 'add rule inet lb in udp dport 7011 drop; add rule inet lb out udp dport 7012 drop'
nft 'add rule inet lb in tcp dport 7020 drop; add rule inet lb out tcp dport 7021 drop'
systemctl set-property --runtime s7018 CPUQuota=1%
systemctl kill --signal=STOP r7013 s7014 r7019
systemctl freeze r7015 s7016
lab locker -lock /tmp/beat -on 4s -off 1h
sleep 4
nft 'flush chain inet lb in; flush chain inet lb out'
systemctl kill --signal=CONT r7013 s7014 r7019
systemctl thaw r7015 s7016
systemctl set-property --runtime s7018 CPUQuota=90%
sleep 8
systemctl stop 's70*' 'r70*'

step readers
flow 7031 -every 50ms
flow 7032
flow 7033
options=--property=CPUQuota=4%
flow 7034 -spin 10ms
flow 7035 -lock /tmp/read
lab locker -lock /tmp/read -on 900ms -off 300ms
named r7036 sink -local 127.0.0.1:7036 -buffer 8192
named s7036 flood -to 127.0.0.1:7036 -rate 100 -burst 100 -size 600
sleep 2
systemctl freeze r7032
systemctl kill --signal=STOP r7033
sleep 4
systemctl thaw r7032
systemctl kill --signal=CONT r7033
sleep 8
systemctl stop 's70*' 'r70*'

step losses
lab flood -to 127.0.0.1:7041 -rate 150
lab knock -to 127.0.0.1:7042 -rate 100
lab deaf -local 127.0.0.1:7043
lab knock -to 127.0.0.1:7043 -rate 20
sleep 12

step ports
lab accept -local 127.0.0.1:7051
lab accept -local 127.0.0.1:7052 -mode close
lab leak -mode listen-port -port 15000 -count 60
lab reserved -to 127.0.0.1:7051 -port 15000 -count 60 -rate 10
lab leak -mode dial -to 127.0.0.1:7052 -rate 15 -count 2000
sleep 25
lab fill -mode bind -rate 80
sleep 25
stopped
echo DONE
systemctl poweroff --no-block
`

// The unit runs under systemd with its whole confinement, says what it does in the journal, and finds what goes wrong
// on its host; then the one with the least rights does, and says what it cannot see. It takes 2 minutes on a machine
// that does nothing else, and 80 s more when the guest's disk is made.
func TestLongGuestUnit(t *testing.T) {
	text := bootUnit(t, 10*time.Minute, faults, "", []string{"udp:7005", "udp:7006"})
	full, least := readReport(t, text, ""), readReport(t, text, "LEAST-")
	full.check(t, "000000c000081004", map[string][]string{
		"a reader that has stopped":    {"socket-drop", "7001"},
		"a leak of ports":              {"port-leak", "lostbeat"},
		"a rule that drops":            {"packet-drop", "netfilter"},
		"a heartbeat that is not read": {"heartbeat-loss", "7005"},
		"a reader with a small quota":  {"heartbeat-loss", "7006"},
	})
	least.check(t, "000000c000001004", map[string][]string{
		"a reader that has stopped": {"socket-drop", "7001"},
		"a leak of ports":           {"port-leak", "lostbeat"},
		"a rule that drops":         {"packet-drop", "netfilter"},
	})
	for _, want := range []string{
		"asked for by SIGUSR1: it will be recorded once the probes are attached",
		"asked for by SIGUSR1: recording it to /var/lib/lostbeat/fault-",
	} {
		if !strings.Contains(least.journal, want) {
			t.Errorf("the journal does not say %q:\n%s", want, least.journal)
		}
	}
	for _, want := range []string{"Subject: packet-drop (", "Why:", "'lostbeat explain packet-drop' says"} {
		if !strings.Contains(full.explained, want) {
			t.Errorf("journalctl --catalog does not say %q", want)
		}
	}
	const confinement = "engine/confinement is "
	if strings.Contains(full.journal, confinement) {
		t.Error("the unit says that its confinement is not whole, or hides something")
	}
	for _, what := range confine.Unseen() {
		if _, said, _ := strings.Cut(least.journal, confinement+"degraded: not seen: "); !strings.Contains(said, what) {
			t.Errorf("the unit with the least rights does not say that it does not see %s", what)
		}
	}
}

// The unit finds in a guest more of what the lab's scenarios make: late heartbeats, readers that do not read in time,
// lost packets, ports that are used up. It takes 4 minutes beside other tests.
func TestLongGuestUnitVerdicts(t *testing.T) {
	testutil.Nightly(t, "TestLongGuestUnit tries some verdicts under the unit")
	var follow []string
	for port := 7011; port <= 7018; port++ {
		follow = append(follow, fmt.Sprint("udp:", port))
	}
	// The bound is for a CPU of a host: on an emulated one, what held readers up is not seen with it.
	text := bootUnit(t, 15*time.Minute, moreFaults, " --max-cpu 0", append(follow, "tcp:7019", "tcp:7020", "tcp:7021"))
	report := readReport(t, text, "")
	report.finds(t, map[string][]string{
		"a rule that drops heartbeats":               {"heartbeat-loss", "7011", "this host dropped"},
		"a rule that drops them on their way out":    {"heartbeat-loss", "7012", "did not leave this host"},
		"a stopped reader of heartbeats":             {"heartbeat-loss", "7013", "read", "was stopped"},
		"a stopped sender":                           {"heartbeat-loss", "7014", "sent", "was stopped"},
		"a frozen reader":                            {"heartbeat-loss", "7015", "read", "frozen"},
		"a frozen sender":                            {"heartbeat-loss", "7016", "sent", "frozen"},
		"a reader that waits for a lock":             {"heartbeat-loss", "7017", "read", "lock"},
		"a sender that is throttled":                 {"heartbeat-loss", "7018", "sent", "throttled"},
		"a stopped reader of a TCP heartbeat":        {"heartbeat-loss", "7019", "was stopped"},
		"a rule that drops a TCP heartbeat":          {"heartbeat-loss", "7020", "dropped", "on the way to its peer"},
		"a rule that drops one on its way out":       {"heartbeat-loss", "7021", "did not leave this host"},
		"a reader that is too slow":                  {"socket-drop", "7031", "full receive queue"},
		"a reader that is frozen":                    {"socket-drop", "7032", "frozen"},
		"a reader that is stopped":                   {"socket-drop", "7033", "stopped"},
		"a reader that is throttled":                 {"socket-drop", "7034", "throttled"},
		"a reader that waits for a lock (datagrams)": {"socket-drop", "7035", "waited for a lock"},
		"a small buffer":                             {"socket-drop", "7036", "too small"},
		"a closed port":                              {"packet-drop", "7041", "Nothing listens"},
		"a closed TCP port":                          {"packet-drop", "7042", "No program listens"},
		"a full accept queue":                        {"packet-drop", "7043", "accept queue"},
		"a range of ports of a program's own":        {"port-exhaustion", "tcp 15000-15059"},
		"connections that are never closed":          {"port-leak", "CLOSE_WAIT"},
		"a leak":                                     {"port-leak", "udp"},
		"a pool that is exhausted":                   {"port-exhaustion", "udp", "1,000 of 1,000"},
	})
}

// bootUnit runs a script in a guest beside the unit, which has further options and follows the given flows. It returns
// what the console has shown.
func bootUnit(t *testing.T, limit time.Duration, script, options string, follow []string) string {
	t.Helper()
	contrib := func(name string) string {
		text, err := os.ReadFile(filepath.Join(testutil.Root(t), "contrib", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	unit := contrib("lostbeat.service")
	command := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindStringSubmatch(unit)
	if command == nil {
		t.Fatal("the unit runs nothing")
	}
	start := command[1] + options
	for _, flow := range follow {
		start += " --heartbeat " + flow
	}
	text := vmtest.Boot(t, vmtest.Systemd{
		Kernel:   "6.12",
		Package:  "lostbeat/internal/vmtest",
		Packages: []string{"nftables"},
		Modules:  []string{"nfnetlink", "libcrc32c", "nf_tables", "inet_diag", "tcp_diag", "udp_diag"},
		Programs: map[string]string{"/usr/local/bin/lostbeat": "lostbeat/cmd/lostbeat"},
		Files: map[string]string{
			"/etc/systemd/system/lostbeat.service":             unit,
			"/usr/lib/systemd/catalog/lostbeat.catalog":        contrib("lostbeat.catalog"),
			"/etc/systemd/system/lostbeat.service.d/test.conf": "[Service]\nExecStart=\nExecStart=" + start + "\n",
			// Half of an emulated CPU takes too long to attach the probes.
			"/etc/systemd/system/lostbeat.service.d/quota.conf": "[Service]\nCPUQuota=\n",
			"/etc/least.conf":       contrib("lostbeat-least.conf"),
			"/usr/local/bin/faults": script,
			"/etc/systemd/system/faults.service": "[Unit]\nAfter=lostbeat.service multi-user.target\n" +
				"Wants=lostbeat.service\n[Service]\nType=idle\nExecStart=/usr/local/bin/faults\n" +
				"StandardOutput=tty\nStandardError=tty\nTTYPath=/dev/ttyS0\n",
			"/etc/systemd/system/multi-user.target.d/faults.conf": "[Unit]\nWants=faults.service\n",
		},
		Timeout: limit,
	})
	if !strings.Contains(text, "\nDONE\n") {
		t.Fatalf("the guest has not come to its end:\n%s", text)
	}
	t.Log(text)
	return text
}

// unitReport is what the guest has printed of a run of the unit.
type unitReport struct {
	// name is the prefix of its lines.
	name, status, result, journal, explained string
	findings                                 []model.Finding
	// entries are those of packet-drop in the journal.
	entries []map[string]any
}

// readReport reads the lines of a run, which begin with its name.
func readReport(t *testing.T, text, name string) unitReport {
	t.Helper()
	r := unitReport{name: name}
	object := func(line string, to any) {
		if err := json.Unmarshal([]byte(line), to); err != nil {
			t.Errorf("%v: %s", err, line)
		}
	}
	for line := range strings.Lines(text) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch kind {
		case name + "STATUS":
			r.status = rest
		case name + "RESULT":
			r.result = rest
		case name + "JOURNAL":
			r.journal += rest + "\n"
		case name + "EXPLAINED":
			r.explained += rest + "\n"
		case name + "ENTRY":
			var fields map[string]any
			object(rest, &fields)
			r.entries = append(r.entries, fields)
		case name + "FINDING":
			var f model.Finding
			object(rest, &f)
			r.findings = append(r.findings, f)
		}
	}
	return r
}

// check wants the unit to have had the given capabilities and no others, to have found the faults, which are detectors
// and words of titles, and to have said it in the journal.
func (r *unitReport) check(t *testing.T, capabilities string, faults map[string][]string) {
	t.Helper()
	for _, want := range []string{
		"NoNewPrivs: 1", "Seccomp: 2", "CapEff: " + capabilities, "CapBnd: " + capabilities,
	} {
		if !strings.Contains(r.status, want) {
			t.Errorf("%sthe unit's process has no %s: %s", r.name, want, r.status)
		}
	}
	if r.result != "success" {
		t.Errorf("%sthe unit has ended with %q", r.name, r.result)
	}
	for _, want := range []string{"watching; ", "recorded "} {
		if !strings.Contains(r.journal, want) {
			t.Errorf("%sthe journal does not say %q:\n%s", r.name, want, r.journal)
		}
	}
	r.finds(t, faults)
	if lines := strings.Count(r.journal, "netfilter drops"); lines != len(r.entries) {
		t.Errorf("%s%d lines of the journal are about %d entries:\n%s", r.name, lines, len(r.entries), r.journal)
	}
	if len(r.entries) == 0 {
		t.Errorf("%sthe journal has no finding of packet-drop", r.name)
	}
	for _, e := range r.entries {
		file, _ := e["LOSTBEAT_RECORDING"].(string)
		message, _ := e["MESSAGE"].(string)
		if e["MESSAGE_ID"] != notify.MessageID("packet-drop") || e["_SYSTEMD_UNIT"] != "lostbeat.service" ||
			!strings.HasPrefix(file, "/var/lib/lostbeat/fault-") || !strings.HasSuffix(message, " (recorded in "+file+")") ||
			!slices.ContainsFunc(r.findings, func(f model.Finding) bool { return f.ID == e["LOSTBEAT_FINDING"] }) {
			t.Errorf("%san entry of no finding: %v", r.name, e)
		}
	}
}

// finds wants findings of detectors with the given words in their sentences.
func (r *unitReport) finds(t *testing.T, faults map[string][]string) {
	t.Helper()
	for name, want := range faults {
		if !slices.ContainsFunc(r.findings, func(f model.Finding) bool {
			text := f.Title + "\n" + strings.Join(f.Causes, "\n")
			return f.Detector == want[0] && !slices.ContainsFunc(want[1:], func(word string) bool {
				return !strings.Contains(text, word)
			})
		}) {
			t.Errorf("%s%s was not found", r.name, name)
		}
	}
}
