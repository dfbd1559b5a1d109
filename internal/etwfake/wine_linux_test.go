package etwfake

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lostbeat/etw"
	"lostbeat/etw/etl/etltest"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/record"
)

// lab is a Windows of Wine with the fake, and the programs for both systems.
type lab struct {
	t      *testing.T
	prefix *Prefix
	// dir is for the files of one test.
	dir            string
	windows, linux string
}

// of returns the lab for a test of its own.
func (l *lab) of(t *testing.T) *lab {
	own := *l
	own.t, own.dir = t, t.TempDir()
	return &own
}

func newLab(t *testing.T) *lab {
	t.Helper()
	if missing := Missing(); missing != "" {
		testutil.Unavailable(t, "%s is not installed; .ci/setup installs it", missing)
	}
	dir := t.TempDir()
	l := &lab{t: t, dir: dir, windows: filepath.Join(dir, "lostbeat.exe"), linux: filepath.Join(dir, "lostbeat")}
	for _, build := range []struct{ system, path string }{{"windows", l.windows}, {"linux", l.linux}} {
		cmd := exec.Command("go", "build", "-trimpath", "-o", build.path, "./cmd/lostbeat")
		cmd.Dir = testutil.Root(t)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64", "GOOS="+build.system)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build for %s: %v: %s", build.system, err, out)
		}
	}
	prefix := filepath.Join(dir, "prefix")
	if err := os.Mkdir(prefix, 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := NewPrefix(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() }) // it fails when no process is left
	l.prefix = p
	return l
}

// run is a run of lostbeat.exe.
type run struct {
	out, err string
	status   int
	// log is what the fake has noted.
	log string
}

// lostbeat runs the Windows program over events; env are further settings of the fake.
func (l *lab) lostbeat(events []Event, env []string, args ...string) run {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 5*time.Minute)
	defer cancel()
	cmd, log := l.command(ctx, events, env, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		l.t.Fatalf("%v: %v: %s", args, err, errs.String())
	}
	noted, _ := os.ReadFile(log) // there is none when nothing was started
	return run{
		out: strings.ReplaceAll(out.String(), "\r", ""), err: strings.ReplaceAll(errs.String(), "\r", ""),
		status: cmd.ProcessState.ExitCode(), log: strings.ReplaceAll(string(noted), "\r", ""),
	}
}

// command returns a run of the Windows program over events, and where the fake notes what it was asked for.
func (l *lab) command(ctx context.Context, events []Event, env []string, args ...string) (cmd *exec.Cmd, log string) {
	l.t.Helper()
	file, log := filepath.Join(l.dir, "events"), filepath.Join(l.dir, "log")
	if err := errors.Join(os.WriteFile(file, Encode(events), 0o600), os.RemoveAll(log)); err != nil {
		l.t.Fatal(err)
	}
	env = append(env, "ETWFAKE_EVENTS="+Path(file), "ETWFAKE_LOG="+Path(log))
	return l.prefix.Command(ctx, env, append([]string{l.windows}, args...)...), log
}

// native runs the Linux program.
func (l *lab) native(args ...string) string {
	l.t.Helper()
	out, err := exec.Command(l.linux, args...).Output()
	if err != nil {
		l.t.Fatalf("%v: %v", args, err)
	}
	return string(out)
}

// record makes a recording under Wine.
func (l *lab) record(events []Event, env []string, seconds int, args ...string) (path string, r run) {
	l.t.Helper()
	path = filepath.Join(l.dir, fmt.Sprintf("rec%d.lostbeat", time.Now().UnixNano()))
	args = append([]string{"record", "-o", Path(path), "--duration", fmt.Sprintf("%ds", seconds)}, args...)
	r = l.lostbeat(events, env, args...)
	return path, r
}

// storm are the events of the scenario DPCStorm, with the names at the start.
func storm(t *testing.T) []Event {
	t.Helper()
	data := etltest.DPCStorm(etltest.Options{FlushTimer: true})
	events, err := FromETL(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// counts are what the fake has counted of each session.
func counts(t *testing.T, log string) (produced, delivered, lost uint64) {
	t.Helper()
	ended := regexp.MustCompile(`ended \S+ produced (\d+) delivered (\d+) lost (\d+)`)
	for _, m := range ended.FindAllStringSubmatch(log, -1) {
		for i, n := range []*uint64{&produced, &delivered, &lost} {
			v, err := strconv.ParseUint(m[i+1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			*n += v
		}
	}
	return produced, delivered, lost
}

// TestLongWine runs the program for Windows, as it is released, under Wine with the fake, and the tests of the packages
// that run on Windows.
func TestLongWine(t *testing.T) {
	l := newLab(t)
	type test struct {
		name string
		run  func(*testing.T, *lab)
	}
	group := func(name string, tests ...test) {
		t.Run(name, func(t *testing.T) {
			for _, test := range tests {
				t.Run(test.name, func(t *testing.T) {
					t.Parallel()
					test.run(t, l.of(t))
				})
			}
		})
	}
	// Most of these wait for the time to pass, and run beside each other.
	group("live",
		test{"storm", testStorm}, test{"raw", testRaw}, test{"ports", testPorts}, test{"losses", testLosses},
		test{"ended", testEnded}, test{"counters", testCounters}, test{"polled", testPolled}, test{"watch", testWatch},
		test{"once", testOnce}, test{"doctor", testDoctor}, test{"errors", testErrors}, test{"sessions", testSessions},
	)
	group("million", test{"million", testMillion})
	group("callback", test{"callback", testCallback})
	group("rpc", test{"rpc", testRPC}) // it changes the registry
	t.Run("samples", func(t *testing.T) { testSamples(t, l) })
	t.Run("packages", func(t *testing.T) { testPackages(t, l) })
}

// testStorm records a DPC storm: it is found under Wine, and in the recording on Linux.
func testStorm(t *testing.T, l *lab) {
	path, r := l.record(storm(t), nil, 20)
	if r.status != 0 {
		t.Fatalf("status %d: %s", r.status, r.err)
	}
	for _, want := range []string{"-system mode", "-user mode", "clock 1", "enable e53c6823", "enable 2f07e2ee"} {
		if !strings.Contains(r.log, want) {
			t.Errorf("the fake did not see %q:\n%s", want, r.log)
		}
	}
	validate(t, path)
	wine := l.lostbeat(nil, nil, "findings", Path(path))
	wine.out = strings.ReplaceAll(wine.out, " GMT,", " UTC,") // as Wine calls that zone
	native := l.native("findings", path)
	if d := cmp.Diff(strings.ReplaceAll(native, path, "FILE"), strings.ReplaceAll(wine.out, Path(path), "FILE")); d != "" {
		t.Errorf("findings on Linux and under Wine (-Linux +Wine):\n%s", d)
	}
	if !strings.Contains(native, "badnic.sys") {
		t.Errorf("the driver is not blamed:\n%s", native)
	}
	if text := l.native("events", path, "--kind", "packet"); strings.Count(text, "heartbeatd.exe") != 49 {
		t.Errorf("%d of 49 datagrams are in the recording", strings.Count(text, "heartbeatd.exe"))
	}
}

// testRaw records the same storm from whole buffers, and with a Windows that does not hand them over.
func testRaw(t *testing.T, l *lab) {
	path, r := l.record(storm(t), nil, 20, "--raw-buffers")
	if r.status != 0 || strings.Count(r.log, "buffers of lostbeat-") != 2 {
		t.Fatalf("status %d: %s\n%s", r.status, r.err, r.log)
	}
	validate(t, path)
	if findings := l.native("findings", path); !strings.Contains(findings, "badnic.sys") {
		t.Errorf("the driver is not blamed:\n%s", findings)
	}
	if n := strings.Count(l.native("events", path, "--kind", "packet"), "heartbeatd.exe"); n != 49 {
		t.Errorf("%d of 49 datagrams are in the recording", n)
	}
	if lost := losses(t, path); len(lost) != 0 {
		t.Errorf("lost %v", lost)
	}
}

// validate checks the stream of a recording.
func validate(t *testing.T, path string) {
	t.Helper()
	r, err := record.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var v model.Validator
	if err := r.Run(t.Context(), v.Check); err != nil {
		t.Error(err)
	}
	if err := v.Finish(); err != nil {
		t.Error(err)
	}
}

// testPorts records binds that fail.
func testPorts(t *testing.T, l *lab) {
	w := etltest.New(etltest.Options{})
	w.Process(1, 1e6, 700, "leaky.exe", "leaky.exe --rpc")
	for i := range int64(60) {
		at, key := 1e9+i*100e6, uint64(0xffffa00000001000)+uint64(i)*0x100
		w.Socket(0, at, key, 700)
		if i < 40 {
			w.Bind(0, at+1e6, key, 700, 0, 50000+uint16(i), 0)
		} else {
			w.Bind(0, at+1e6, key, 700, 0, 0, etltest.StatusTooManyAddresses)
		}
	}
	data := w.Bytes()
	events, err := FromETL(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	path, r := l.record(events, nil, 15)
	if r.status != 0 {
		t.Fatalf("status %d: %s", r.status, r.err)
	}
	// Wine's tables are those of this host: the listener of this test is there when the session begins.
	if held := l.native("events", path, "--kind", "port.active"); !strings.Contains(held, "local_port="+port+" ") {
		t.Errorf("the port %s, which was held before, is not there:\n%s", port, held)
	}
	for kind, want := range map[string]int{"port.acquire": 40, "port.fail": 20} {
		if n := strings.Count(l.native("events", path, "--kind", kind), "leaky.exe"); n != want {
			t.Errorf("%d events %s, want %d", n, kind, want)
		}
	}
}

// losses adds up the loss events of a recording by origin.
func losses(t *testing.T, path string) map[string]uint64 {
	t.Helper()
	r, err := record.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	lost := map[string]uint64{}
	if err := r.Run(t.Context(), func(b *model.Batch) error {
		for i := range b.Events {
			if v, ok := b.Loss(&b.Events[i]); ok {
				lost[v.Origin] += v.Lost
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return lost
}

// datagrams are n datagrams, a millisecond apart.
func datagrams(n uint32, at time.Duration, every time.Duration) Event {
	w := etltest.New(etltest.Options{})
	w.Datagram(0, 0, 43, 700, [4]byte{10, 0, 0, 2}, [4]byte{10, 0, 0, 1}, 5405, 5405)
	data := w.Bytes()
	events, err := FromETL(bytes.NewReader(data), int64(len(data)))
	if err != nil || len(events) != 1 {
		panic(fmt.Sprint(len(events), err))
	}
	e := events[0]
	e.At, e.Repeat, e.Every = at, n, every
	return e
}

// packets counts the packets of a recording.
func packets(t *testing.T, path string) (n uint64) {
	t.Helper()
	r, err := record.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, k := range r.Stat().Kinds {
		if k.Kind == model.KindPacket {
			n = k.Count
		}
	}
	return n
}

// testLosses checks that what a session loses is in the stream: received and lost are what was produced.
func testLosses(t *testing.T, l *lab) {
	lost := datagrams(1234, 2*time.Second, time.Millisecond)
	lost.Lost = LostEvents
	path, r := l.record([]Event{datagrams(1000, time.Second, time.Millisecond), lost}, nil, 12)
	produced, _, _ := counts(t, r.log)
	got, missed := packets(t, path), losses(t, path)["etw"]
	if got != 1000 || missed != 1234 || produced != got+missed {
		t.Errorf("%d received and %d lost of %d\n%s%s", got, missed, produced, r.err, r.log)
	}
}

// testMillion sends a million records a second for some seconds: each is received or counted as lost.
func testMillion(t *testing.T, l *lab) {
	const seconds = 10
	e := Event{
		Session: System, At: time.Second, Repeat: seconds * 1e6, Every: time.Microsecond,
		Record: etw.Record{
			Header: etw.HeaderPerfInfo, PointerSize: 8, Class: etw.ClassPerfInfo, ID: 68, Version: 2, PID: -1, TID: -1,
			Payload: make([]byte, 16),
		},
		Began: time.Second - 500*time.Nanosecond,
	}
	path, r := l.record([]Event{e}, []string{"ETWFAKE_BUFFER_MS=4000"}, seconds+8)
	produced, delivered, lost := counts(t, r.log)
	var decoded uint64
	in, err := record.Open(path)
	if err != nil {
		t.Fatalf("%v: %s", err, r.err)
	}
	defer in.Close()
	if err := in.Run(t.Context(), func(b *model.Batch) error {
		for i := range b.Events {
			if v, ok := b.DeferredHist(&b.Events[i]); ok {
				decoded += v.Count
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	missed := losses(t, path)
	t.Logf("%d produced, %d delivered, %d lost by the session; %d decoded, lost %v",
		produced, delivered, lost, decoded, missed)
	if produced != delivered+lost || decoded+missed["etw"]+missed[model.OriginMemory] != produced || decoded == 0 {
		t.Errorf("%d decoded and %v lost of %d\n%s", decoded, missed, produced, r.err)
	}
}

// testWatch reads a line of watch while the fault goes on, and kills it.
func testWatch(t *testing.T, l *lab) {
	cmd, _ := l.command(t.Context(), storm(t), nil, "watch")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found := ""
	for lines := bufio.NewScanner(out); found == "" && lines.Scan(); {
		if strings.Contains(lines.Text(), "badnic.sys") {
			found = lines.Text()
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	if found == "" {
		t.Error("watch does not name the driver")
	}
}

// testDoctor checks that doctor starts the sessions and says what was never tried.
func testDoctor(t *testing.T, l *lab) {
	r := l.lostbeat(nil, nil, "doctor")
	for _, want := range []string{
		"administrator rights", "tested on Windows", "never yet on a real Windows", "etw/system session", "etw/user session",
		"probe deferred", "probe port",
	} {
		if !strings.Contains(r.out, want) {
			t.Errorf("doctor does not say %q:\n%s%s", want, r.out, r.err)
		}
	}
	if strings.Count(r.log, "start ") != 2 || strings.Count(r.log, "stop ") != 2 {
		t.Errorf("sessions are left:\n%s", r.log)
	}
	if m := regexp.MustCompile(`(?m)^. probe .*\s(?:off|degraded)\s*$`).FindString(r.out); m != "" {
		t.Errorf("%q has no reason:\n%s", m, r.out)
	}
}

// testCounters records without rights: times of the processors and the network adapters, which Wine takes from this
// host.
func testCounters(t *testing.T, l *lab) {
	path, r := l.record(nil, []string{"ETWFAKE_FAIL=system=5;user=5"}, 8, "--probe", "counters")
	if r.status != 0 || r.log != "" {
		t.Fatalf("status %d: %s%s", r.status, r.err, r.log)
	}
	validate(t, path)
	times := l.native("events", path, "--kind", "cpu.time")
	if n := strings.Count(times, "cpu=0 "); n < 1 || n > 9 {
		t.Errorf("%d seconds of processor 0 in 8 s:\n%s", n, times)
	}
	if devices := l.native("events", path, "--kind", "device.stats"); !strings.Contains(devices, "GetIfTable2") {
		t.Errorf("no network adapters:\n%s", devices)
	}
	if said := l.native("events", path, "--kind", "probe"); !strings.Contains(said, "only counters are read") {
		t.Errorf("what is missing is not said:\n%s", said)
	}
}

// testEnded records while somebody else stops the sessions: that is said, and the recording goes on.
func testEnded(t *testing.T, l *lab) {
	path, r := l.record(nil, []string{"ETWFAKE_END_MS=2000"}, 10)
	if r.status != 0 {
		t.Fatalf("status %d: %s", r.status, r.err)
	}
	validate(t, path)
	said := l.native("events", path, "--kind", "probe")
	for _, session := range []string{"system session", "user session"} {
		if n := strings.Count(said, `probe name=etw part="`+session+`" reason=`); n != 1 { // off is no text
			t.Errorf("the end of the %s is said %d times:\n%s", session, n, said)
		}
	}
	if !strings.Contains(said, "stopped by someone else") {
		t.Errorf("it is not said why:\n%s", said)
	}
}

// testOnce runs the commands that answer once.
func testOnce(t *testing.T, l *lab) {
	events := storm(t)
	for _, test := range []struct {
		args   []string
		want   string
		status int
	}{
		{[]string{"version"}, "lostbeat ", 0},
		{[]string{"explain", "dpc-starvation"}, "DPCs", 0},
		{[]string{"check", "--since", "12s"}, "WARNING: CPU 1 spends", 1},
		{[]string{"top", "--for", "6s", "--ascii"}, "LIVE", 0},
	} {
		r := l.lostbeat(events, nil, test.args...)
		if r.status != test.status || !strings.Contains(r.out, test.want) {
			t.Errorf("%q: status %d, want %d and %q:\n%s%s", test.args, r.status, test.status, test.want, r.out, r.err)
		}
	}
}

// testErrors checks what is said of each error, and that the rest goes on.
func testErrors(t *testing.T, l *lab) {
	for _, test := range []struct {
		fail string
		want []string
		// on says that another session goes on.
		on bool
	}{
		{"system=5", []string{"access is denied", "elevated prompt"}, true},
		{"system=1450", []string{"too many trace sessions", "EtwMaxLoggers"}, true},
		{"system=87", []string{"does not accept the session's settings"}, true},
		{"user=1314", []string{"a privilege is missing"}, true},
		{"enable=5", []string{"enable the provider Microsoft-Windows-TCPIP", "access is denied"}, true},
		{"system=5;user=5", []string{"access is denied", "elevated prompt"}, false},
		{"system=4242;user=4242", []string{"error 4242"}, false},
	} {
		r := l.lostbeat(nil, []string{"ETWFAKE_FAIL=" + test.fail}, "doctor")
		for _, want := range test.want {
			if !strings.Contains(r.out, want) {
				t.Errorf("%s: doctor does not say %q:\n%s%s", test.fail, want, r.out, r.err)
			}
		}
		if !regexp.MustCompile(`probe sched\s+off\s+off by default`).MatchString(r.out) && test.on {
			t.Errorf("%s: the reason why there are no context switches is another one:\n%s", test.fail, r.out)
		}
		if on := regexp.MustCompile(`session\s+on`).MatchString(r.out); on != test.on {
			t.Errorf("%s: a session is on: %v, want %v\n%s", test.fail, on, test.on, r.out)
		}
		if started, stopped := strings.Count(r.log, "start "), strings.Count(r.log, "stop "); started != stopped {
			t.Errorf("%s: %d sessions started, %d stopped", test.fail, started, stopped)
		}
	}
	path, r := l.record(nil, []string{"ETWFAKE_FAIL=query=1460"}, 8)
	said := l.native("events", path, "--kind", "probe")
	if n := strings.Count(said, "Windows did not answer in time"); r.status != 0 || n != 2 {
		t.Errorf("status %d; that two sessions cannot be queried is said %d times:\n%s", r.status, n, said)
	}
	_, r = l.record(nil, []string{"ETWFAKE_FAIL=system=5;user=5"}, 2)
	if r.status != 2 || !strings.Contains(r.err, "access is denied") || !strings.Contains(r.err, "hint: ") {
		t.Errorf("record without rights: status %d: %s", r.status, r.err)
	}
}

// testSessions checks that what an earlier lostbeat left is stopped, and what is of others is left alone.
func testSessions(t *testing.T, l *lab) {
	names := []string{"NT Kernel Logger", "lostbeat-999999-system", "lostbeat-999999-user", "lostbeat", "lostbeats-5-user"}
	r := l.lostbeat(nil, []string{"ETWFAKE_SESSIONS=" + strings.Join(names, ";")}, "doctor")
	var stopped []string
	for _, m := range regexp.MustCompile(`stop (.*)`).FindAllStringSubmatch(r.log, -1) {
		if slices.Contains(names, m[1]) {
			stopped = append(stopped, m[1])
		}
	}
	if !slices.Equal(stopped, names[1:3]) {
		t.Errorf("stopped %q, want %q\n%s", stopped, names[1:3], r.log)
	}
	if !strings.Contains(r.out, "left behind by an earlier lostbeat") {
		t.Errorf("nothing is said of it:\n%s", r.out)
	}
}
