package kernels

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/all"
	"lostbeat/internal/lab"
	"lostbeat/internal/platform"
	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
)

// Variables of a run: where the page is to be written, for which all kernels are run; whether that is a short run,
// without the packages' tests and with the scenarios that are run with each change; and which of the guests' tests are
// run, as for -test.run: "^TestGuestScenarios$/^napi-thread$". Their results then replace those of earlier runs only.
const (
	pageVariable  = "LOSTBEAT_KERNELS"
	shortVariable = "LOSTBEAT_KERNELS_SHORT"
	testsVariable = "LOSTBEAT_KERNELS_TESTS"
)

func TestMain(m *testing.M) {
	if handled, status := lab.Child(os.Args[1:]); handled {
		os.Exit(status)
	}
	vmtest.Main(m)
}

// scenarios are those that an emulated machine with two CPUs can make; the first ones are run with each change.
var scenarios = []string{
	"leak-bind", "exhausted-pool", "firewall-drop",
	"stopped-reader", "reader-throttled", "closed-port", "napi-thread", "backlog-of-ten", "heartbeat-dropped",
}

const everyChange = 3

// left are the other scenarios, by the beginning of their names, and why they are not run.
var left = [][2]string{
	{
		"pinned-*, spread-flood, two-floods, fast-flow, bulk-tcp, long-vector, small-budget",
		"floods: an emulated CPU sends too few packets to overload another one",
	},
	{
		"exhausted-destination, resting-*, destination-ended, bind-first, narrow-range",
		"thousands of sockets take minutes to open",
	},
	{
		"*-behind-realtime, *-behind-hogs, starved-*, cpu-hog, busy-host, heartbeat-behind-*",
		"both CPUs are one thread of the emulator: what competes for a CPU there is the host's to decide",
	},
	{"corosync-*, keepalived-*, etcd-*", "the programs are not in the guest"},
	{"small-buffer", "its bursts are shorter than the pauses of an emulated CPU, and were not recognised"},
	{"heartbeat-*-disk", "the guest has no disk"},
	{"all others", "variants of those that are run"},
}

// testPackages are the packages whose privileged tests run in the guest, by the name of the program.
var testPackages = map[string]string{
	"tests-deferred": "lostbeat/probes/deferred", "tests-drop": "lostbeat/probes/drop",
	"tests-interrupt": "lostbeat/probes/interrupt", "tests-nic": "lostbeat/probes/nic", "tests-all": "lostbeat/probes",
}

// tools are the packages of Debian that the lab and the tests use, with their libraries where those are not this
// host's, and the files of them that the guest gets.
var (
	tools     = []string{"iproute2", "iptables", "ethtool", "dash", "coreutils", "procps"}
	toolLibs  = strings.Fields("libc6 libbpf1 libbsd0 libmd0 libcap2 libelf1 zlib1g libmnl0 libxtables12 libnftnl11")
	toolFiles = []string{
		"/bin/ip", "/sbin/tc", "/usr/sbin/xtables-nft-multi", "/sbin/ethtool", "/bin/dash", "/bin/sleep", "/usr/bin/tee",
		"/sbin/sysctl", "/bin/true",
	}
	// toolModules are the modules of the kernel.
	toolModules = strings.Fields("crc32c_generic veth inet_diag tcp_diag udp_diag unix_diag nf_tables nft_compat " +
		"x_tables xt_string ts_bm xt_tcpudp sch_tbf sch_fq_codel")
)

// machine is a kernel to run.
type machine struct{ series, flavour, arch string }

func (m machine) String() string {
	return m.series + map[string]string{"rt": "-rt"}[m.flavour] + " " + m.arch
}

// TestLongGuestKernels runs the probes and some scenarios on the preemptible kernel: two minutes. With the path of a
// page in LOSTBEAT_KERNELS, it runs all tests and scenarios on all kernels, which takes half an hour or more.
func TestLongGuestKernels(t *testing.T) {
	testutil.Privileged(t) // it is slow, and belongs to the tests that are
	if vmtest.Guest() {
		t.Skip("this is the guest")
	}
	path, short := os.Getenv(pageVariable), os.Getenv(shortVariable) != ""
	folder := filepath.Join(testutil.Root(t), "bin", "kernels")
	machines := []machine{{"6.12", "rt", "amd64"}}
	if path != "" {
		machines = []machine{{"6.12", "rt", "amd64"}, {"6.1", "cloud", "arm64"}, {"6.1", "cloud", "amd64"},
			{"6.12", "cloud", "amd64"}}
	}
	var names []string
	for _, m := range machines {
		names = append(names, m.String())
	}
	for _, m := range machines {
		t.Run(m.String(), func(t *testing.T) {
			k := kernel{Name: m.String(), Day: time.Now().UTC().Format(time.DateOnly), Short: short || path == ""}
			defer func() { // also when the guest's tests have failed
				if path == "" {
					return
				}
				if err := cmp.Or(k.save(folder, os.Getenv(testsVariable) != ""), write(path, folder, names)); err != nil {
					t.Error(err)
				}
			}()
			guest(t, m, &k)
			if len(k.Rows) == 0 {
				t.Error("no test was run")
			}
			if os.Getenv(testsVariable) == "" &&
				!slices.ContainsFunc(k.Rows, func(r row) bool { return r.Kind == kindScenario }) {
				t.Error("no scenario was run")
			}
			for _, r := range k.Rows {
				if r.Wrong {
					t.Errorf("%s %s: %s: %s", r.Kind, r.Name, r.Result, r.Detail)
				}
			}
		})
	}
}

// write writes the page with the kernels whose results are in folder.
func write(path, folder string, names []string) error {
	results, err := saved(folder, names)
	if err != nil {
		return err
	}
	why := left
	if slices.ContainsFunc(results, func(k kernel) bool { return k.Short }) {
		tests := strings.Join(slices.Sorted(maps.Values(testPackages)), ", ")
		why = slices.Concat([][2]string{
			{strings.Join(scenarios[everyChange:], ", "), "not in short runs (" + shortVariable + ")"},
			{"the tests of " + tests, "the same"},
		}, left)
	}
	return os.WriteFile(path, []byte(page(results, why)), 0o644)
}

// guest runs everything on one kernel, and notes the rows that the guest reports. When something is wrong, it logs what
// the guest has printed.
func guest(t *testing.T, m machine, k *kernel) {
	t.Helper()
	packages := tools
	install := slices.Clone(toolFiles)
	folder := "x86_64-linux-gnu"
	if m.arch == "arm64" {
		packages = slices.Concat(tools, toolLibs)
		folder = "aarch64-linux-gnu"
	}
	for _, extension := range []string{"string", "standard", "udp", "tcp", "comment"} {
		install = append(install, "/usr/lib/"+folder+"/xtables/libxt_"+extension+".so")
	}
	o := vmtest.Options{
		Kernel: m.series, Flavour: m.flavour, Arch: m.arch, CPUs: 2, MemoryMB: 2048, Package: "lostbeat/internal/kernels",
		Tests: "^TestGuest(Doctor|Scenarios)$", Modules: toolModules, Packages: packages, Install: install,
		Programs: map[string]string{"lostbeat": "lostbeat/cmd/lostbeat"}, Timeout: 8 * time.Minute,
		Line: func(line string) {
			if release, ok := strings.CutPrefix(line, releaseLine); ok {
				k.Release = release
			}
			if r, ok := parseRow(line); ok {
				t.Log(r)
				k.Rows = append(k.Rows, r)
			}
		},
	}
	if !k.Short {
		o.TestPrograms, o.Tests, o.Timeout = testPackages, "^TestGuest", time.Hour
	}
	o.Tests = cmp.Or(os.Getenv(testsVariable), o.Tests)
	text := vmtest.Run(t, o)
	if slices.ContainsFunc(k.Rows, func(r row) bool { return r.Wrong }) {
		t.Log(text)
	}
}

// releaseLine precedes the kernel's release and version on the console.
const releaseLine = "kernel: "

// inGuest skips a test elsewhere, and completes the guest's files.
func inGuest(t *testing.T) {
	t.Helper()
	if !vmtest.Guest() {
		t.Skip("runs in the guest of TestLongGuestKernels")
	}
	h := platform.ThisHost()
	version, err := os.ReadFile("/proc/sys/kernel/version")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s%s, %s\n", releaseLine, h.Kernel, strings.TrimSpace(string(version)))
	// iproute2 keeps namespaces in /var/run, and iptables is a name of the program for nftables.
	if err := os.MkdirAll("/var", 0o755); err != nil {
		t.Fatal(err)
	}
	links := map[string]string{"/var/run": "/run", "/bin/sh": "dash"}
	for _, name := range []string{"iptables", "iptables-restore", "ip6tables", "ip6tables-restore"} {
		links["/usr/sbin/"+name] = "xtables-nft-multi"
	}
	for name, target := range links {
		if err := os.Symlink(target, name); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
}

// TestGuestDoctor reports what `lostbeat doctor` says of each part.
func TestGuestDoctor(t *testing.T) {
	inGuest(t)
	out, err := exec.Command("/lostbeat", "doctor", "--json").Output()
	if err != nil {
		t.Errorf("doctor: %v", err)
	}
	parts := 0
	for line := range strings.Lines(string(out)) {
		var check struct{ Name, State, Detail string }
		if err := json.Unmarshal([]byte(line), &check); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		r := row{Kind: kindCheck, Name: check.Name, Result: check.State}
		withoutReads = withoutReads || check.Name == "probe drop/reads" && check.State == "off"
		if name, isPart := strings.CutPrefix(check.Name, "probe "); isPart {
			parts++
			r.Kind, r.Name = kindPart, name
		}
		if check.State != "on" && check.State != "yes" {
			r.Detail = check.Detail
		}
		fmt.Println(r)
	}
	if parts == 0 {
		t.Errorf("doctor names no part of a probe: %s", out)
	}
}

// withoutReads says that the kernel does not tell when a program reads its socket: before Linux 6.3, without fexit.
var withoutReads bool

// TestGuestScenarios plays scenarios one after the other.
func TestGuestScenarios(t *testing.T) {
	inGuest(t)
	names := scenarios
	if tests, err := filepath.Glob("/tests-*"); err != nil || len(tests) == 0 {
		names = scenarios[:everyChange]
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) { fmt.Println(play(t, name)) })
	}
}

// play makes a fault happen and says what came of it.
func play(t *testing.T, name string) row {
	t.Helper()
	r := row{Kind: kindScenario, Name: name}
	fail := func(result, detail string) row {
		r.Wrong, r.Result, r.Detail = true, result, detail
		return r
	}
	list, err := lab.Find([]string{name})
	if err != nil {
		return fail("unknown", err.Error())
	}
	list[0].Advice = nil // whether it helps is tried on this host
	if withoutReads {
		for _, x := range list[0].Expect {
			for i, part := range x.Contains {
				if part == "not read" {
					x.Contains[i] = "lost at its full receive queue"
				}
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	results, err := lab.Run(ctx, list, lab.Options{Settings: all.Settings(), Patience: 2 * time.Minute,
		Length: list[0].Length, Log: func(line string) { fmt.Println("lab:", line) }})
	if err != nil || len(results) != 1 {
		return fail("not ended", fmt.Sprint(err))
	}
	result := results[0]
	switch {
	case result.Err != nil:
		return fail("error", result.Err.Error())
	case result.NotRun != "":
		return fail("not run", "install "+result.NotRun)
	}
	var said []string
	for _, f := range slices.Concat(result.Findings, result.False) {
		fmt.Printf("lab: %s: %s\n", f.Detector, f.Title)
	}
	for _, x := range list[0].Expect {
		said = append(said, x.Detector)
	}
	others := make(map[string]bool)
	for _, f := range result.False {
		others[f.Detector] = true
	}
	r.Result = fmt.Sprintf("%s after %v", strings.Join(said, ", "), result.Verdict.Round(100*time.Millisecond))
	if len(others) > 0 {
		r.Detail = "Further findings: " + strings.Join(slices.Sorted(maps.Keys(others)), ", ") + "."
	}
	if missing := cmp.Or(expected("missing", result.Missing), expected("not while it lasted", result.Early),
		expected("not just after it", result.After), strings.Join(result.Changed, "; ")); missing != "" {
		for _, f := range slices.Concat(result.Findings, result.False) {
			fmt.Printf("lab: %+v\n", f)
		}
		return fail("wrong", missing)
	}
	return r
}

// expected names expectations that were not met, empty for none.
func expected(how string, list []lab.Expectation) string {
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf("%s: %s (%q)", how, list[0].Detector, list[0].Contains)
}

// TestGuestTests runs the privileged tests of the probes' packages.
func TestGuestTests(t *testing.T) {
	inGuest(t)
	for _, name := range slices.Sorted(maps.Keys(testPackages)) {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			// Tests of captures (TestETW...) need files that the guest does not have.
			cmd := exec.CommandContext(
				ctx, "/"+name, "-test.v", "-test.run=^Test", "-test.skip=^Test(Long|ETW)", "-test.timeout=4m",
			)
			// What the guest lacks is skipped.
			cmd.Env = append(os.Environ(), "LOSTBEAT_REQUIRE_PRIVILEGED=0")
			out, err := cmd.CombinedOutput()
			fmt.Println(countTests(testPackages[name], out, err))
		})
	}
}

// countTests adds up what a program of tests has printed.
func countTests(name string, out []byte, err error) row {
	r := row{Kind: kindTests, Name: strings.TrimPrefix(name, "lostbeat/")}
	var passed int
	var failed, skipped []string
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 || fields[0] != "---" || lines.Text()[0] == ' ' {
			continue
		}
		switch fields[1] {
		case "PASS:":
			passed++
		case "FAIL:":
			failed = append(failed, fields[2])
		case "SKIP:":
			skipped = append(skipped, fields[2])
		}
	}
	r.Result = fmt.Sprintf("%d passed", passed)
	if len(skipped) > 0 {
		r.Result += fmt.Sprintf(", %d skipped", len(skipped))
		r.Detail = "Skipped: " + strings.Join(skipped, ", ") + "."
	}
	if len(failed) > 0 {
		r.Result += fmt.Sprintf(", %d failed", len(failed))
		r.Detail = strings.TrimSpace("Failed: " + strings.Join(failed, ", ") + ". " + r.Detail)
	}
	if r.Wrong = err != nil; r.Wrong {
		fmt.Printf("tests of %s: %v\n%s\n", name, err, out)
		if len(failed) == 0 {
			r.Result, r.Detail = "did not end", err.Error()
		}
	}
	return r
}
