package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lostbeat/internal/platform"
	"lostbeat/internal/stats"
	"lostbeat/internal/testutil"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
)

// soakVariable is how long TestLongSoak lasts: 30m in make nightly.
const soakVariable = "LOSTBEAT_SOAK"

// churn makes and removes devices, network namespaces, processes, ports and control groups until its standard input
// ends. Its arguments are a name for all of them and the folder of a control group.
const churn = `
name=$1 groups=$2
cleanup() {
	for n in $(ip netns list | grep -o "^$name-[0-9]*"); do ip netns del "$n"; done
	find "$groups" -mindepth 1 -type d -name "$name*" -exec rmdir {} + 2>/dev/null
}
trap cleanup EXIT
i=0
while ! read -r -t 0.2; do
	n=$name-$((i % 4))
	ip netns del "$n" 2>/dev/null
	ip netns add "$n"
	ip link add "${name}v$((i % 100))" type veth peer name eth0 netns "$n"
	ip addr add "10.81.$((i % 4)).1/24" dev "${name}v$((i % 100))"
	ip link set "${name}v$((i % 100))" up
	ip -n "$n" addr add "10.81.$((i % 4)).2/24" dev eth0
	ip -n "$n" link set eth0 up
	ip -n "$n" link set lo up
	group=$groups/$name-$i
	mkdir "$group"
	(
		echo "$BASHPID" >"$group/cgroup.procs"
		exec ip netns exec "$n" bash -c '
			for p in {1..30}; do
				exec 3<>"/dev/udp/$0/$((9000 + p))"
				echo heartbeat >&3
				exec 3>&-
			done
			for p in {1..5}; do (exec 3<>"/dev/tcp/127.0.0.1/$((9000 + p))"); done' "10.81.$((i % 4)).1"
	) 2>/dev/null
	rmdir "$group"
	i=$((i + 1))
	echo "$i"
done
`

// soaked is what the recorder takes at one moment.
type soaked struct {
	rss, heap, descriptors, threads, goroutines, maps, mapBytes, entries float64
	// byMap are the entries by the map's name.
	byMap map[string]int
}

// quantities are what must not grow, and by how much it may in the second half of the test.
var quantities = []struct {
	name  string
	of    func(soaked) float64
	bound float64
}{
	{"resident memory, MiB", func(s soaked) float64 { return s.rss }, 3},
	{"open descriptors", func(s soaked) float64 { return s.descriptors }, 3},
	{"threads", func(s soaked) float64 { return s.threads }, 3},
	{"goroutines", func(s soaked) float64 { return s.goroutines }, 3},
	{"BPF maps", func(s soaked) float64 { return s.maps }, 0.5},
	{"memory of BPF maps, MiB", func(s soaked) float64 { return s.mapBytes }, 1},
}

// What the recorder takes stays what it is while devices, network namespaces, processes, ports and control groups come
// and go: over the second half, the growth with its uncertainty lies below a bound. It takes 3 minutes, or as long as
// LOSTBEAT_SOAK says.
func TestLongSoak(t *testing.T) {
	testutil.Privileged(t)
	length := 2*time.Minute + 30*time.Second
	if text := os.Getenv(soakVariable); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", soakVariable, err)
		}
	} else {
		testutil.Nightly(t, "growth shows after minutes: make soak")
	}
	root, err := platform.CgroupRoot()
	if err != nil {
		testutil.Unavailable(t, "%v", err)
	}
	log := filepath.Join(t.TempDir(), "log")
	t.Setenv(debugLog, log)
	rec := startRecorder(t, "--heartbeat", "auto", "--heartbeat", "udp:9999")
	before, err := soakSample(rec.cmd.Process.Pid, log)
	if err != nil {
		t.Fatal(err)
	}
	rounds := startChurn(t, root)
	stop := load(t)
	var samples []soaked
	for began := time.Now(); time.Since(began) < length; time.Sleep(time.Second) {
		s, err := soakSample(rec.cmd.Process.Pid, log)
		if err != nil {
			t.Fatal(err)
		}
		samples = append(samples, s)
	}
	sent := stop()
	made := rounds()
	if made < 50 || sent < 10000 {
		t.Errorf("%d rounds of churn and %d packets are too little", made, sent)
	}
	t.Logf("%v, %d rounds of churn, %d packets", length, made, sent)
	second := samples[len(samples)/2:]
	for _, q := range quantities {
		low, middle, high := growth(second, q.of)
		text := fmt.Sprintf("%s: %.1f at the half, %.1f at the end, growth over the second half %+.2f (%+.2f to %+.2f, "+
			"at most %v)", q.name, q.of(second[0]), q.of(second[len(second)-1]), middle, low, high, q.bound)
		if high > q.bound {
			t.Error(text)
		} else {
			t.Log(text)
		}
	}
	checkRest(t, rec.cmd.Process.Pid, log, before.entries)
	for name, n := range samples[len(samples)-1].byMap {
		if half := second[0].byMap[name]; n != half {
			t.Logf("entries of %s: %d at the half, %d at the end", name, half, n)
		}
	}
	checkSoaked(t, rec.stop())
}

// checkRest waits until the tables of what is gone have been emptied: as few entries are left as before the churn.
func checkRest(t *testing.T, pid int, log string, before float64) {
	t.Helper()
	const slack = 200 // what others on this host do meanwhile
	var s soaked
	for deadline := time.Now().Add(75 * time.Second); time.Now().Before(deadline); time.Sleep(time.Second) {
		var err error
		if s, err = soakSample(pid, log); err != nil {
			t.Fatal(err)
		}
		if s.entries <= before+slack {
			t.Logf("entries of BPF maps at rest: %.0f before the churn, %.0f after it", before, s.entries)
			return
		}
	}
	t.Errorf("entries of BPF maps at rest: %.0f before the churn, %.0f after it: %v", before, s.entries, s.byMap)
}

// growth is how much a quantity grows over samples: the median of the slopes between the means of 24 parts, and their
// quartiles, which are wider than the median's confidence interval of 95 % (Sen 1968: quantiles 0.36 and 0.64).
func growth(samples []soaked, of func(soaked) float64) (low, middle, high float64) {
	const parts = 24
	var means []float64
	for i := range parts {
		var part []float64
		for _, s := range samples[i*len(samples)/parts : (i+1)*len(samples)/parts] {
			part = append(part, of(s))
		}
		means = append(means, stats.Mean(part))
	}
	low, middle, high = stats.Slopes(means, 1)
	return low * parts, middle * parts, high * parts
}

// checkSoaked wants nothing that is critical, and events of all that came and went.
func checkSoaked(t *testing.T, batches []*model.Batch) {
	t.Helper()
	findings := map[string]model.Finding{}
	seen := map[model.Kind]int{}
	var cpu, kernel []float64
	for _, b := range batches {
		for i := range b.Events {
			e := &b.Events[i]
			seen[e.Kind]++
			if f, ok := b.Finding(e); ok {
				findings[f.ID] = f
			}
			if c, ok := b.Counter(e); ok && c.Name == "self.cpu" {
				cpu = append(cpu, c.Value)
			} else if ok && c.Name == "self.kernel_cpu" {
				kernel = append(kernel, c.Value)
			}
		}
	}
	for _, kind := range []model.Kind{
		model.KindDeviceEvent, model.KindPortAcquire, model.KindPortRelease, model.KindProcess, model.KindDrop,
	} {
		if seen[kind] == 0 {
			t.Errorf("there is no event of kind %v", kind)
		}
	}
	for _, f := range findings {
		if f.Severity == model.SeverityCritical {
			t.Errorf("critical: %s", f.Title)
		} else {
			t.Logf("%v: %s", f.Severity, f.Title)
		}
	}
	t.Logf("own CPU time: median %.2f %%, 90 %% of the seconds below %.2f %%; in the kernel, estimated, %.2f and %.2f %%",
		100*stats.Median(cpu), 100*stats.Quantile(cpu, 0.9), 100*stats.Median(kernel), 100*stats.Quantile(kernel, 0.9))
}

// startChurn begins the churn; rounds ends it and says how often everything was made and removed.
func startChurn(t *testing.T, root string) (rounds func() int) {
	t.Helper()
	cmd := exec.Command("bash", "-c", churn, "churn", "lbs"+strconv.Itoa(os.Getpid()%1000), root)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	rounds = func() int {
		if ended {
			return 0
		}
		ended = true
		_, err := io.WriteString(stdin, "\n")
		if err := errors.Join(err, stdin.Close(), cmd.Wait()); err != nil {
			t.Errorf("churn: %v: %s", err, errs.String())
		}
		return strings.Count(out.String(), "\n")
	}
	t.Cleanup(func() { rounds() })
	return rounds
}

// load sends heartbeats, datagrams to a socket that is read, and datagrams to a port that nobody has.
func load(t *testing.T) (stop func() int64) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:9999")
	if err != nil {
		t.Fatal(err)
	}
	var sent atomic.Int64
	done := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		buffer := make([]byte, 2048)
		for {
			if _, _, err := conn.ReadFrom(buffer); err != nil {
				return // it was closed
			}
		}
	})
	wait.Go(func() {
		nobody := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			for i := range 20 {
				to := conn.LocalAddr()
				if i%10 == 0 {
					to = nobody
				}
				if _, err := conn.WriteTo([]byte("beat"), to); err == nil {
					sent.Add(1)
				}
			}
		}
	})
	return func() int64 {
		close(done)
		conn.Close()
		wait.Wait()
		return sent.Load()
	}
}

var (
	debugGoroutines = regexp.MustCompile(`goroutines=(\d+) heap_bytes=(\d+)`)
	mapID           = regexp.MustCompile(`(?m)^map_id:\s+(\d+)$`)
	mapMemory       = regexp.MustCompile(`(?m)^memlock:\s+(\d+)$`)
)

// soakSample reads what a recorder takes: from /proc, its BPF maps, and what it says of itself in its log.
func soakSample(pid int, log string) (s soaked, err error) {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) > 1 && fields[0] == "VmRSS:":
			kib, _ := strconv.ParseFloat(fields[1], 64)
			s.rss = kib / 1024
		case len(fields) > 1 && fields[0] == "Threads:":
			s.threads, _ = strconv.ParseFloat(fields[1], 64)
		}
	}
	descriptors, err := os.ReadDir(filepath.Join(proc, "fdinfo"))
	if err != nil {
		return s, err
	}
	s.descriptors = float64(len(descriptors))
	ids := map[string]bool{}
	s.byMap = map[string]int{}
	for _, d := range descriptors {
		info, err := os.ReadFile(filepath.Join(proc, "fdinfo", d.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		id := mapID.FindSubmatch(info)
		if id == nil || ids[string(id[1])] {
			continue
		}
		ids[string(id[1])] = true
		s.maps++
		if m := mapMemory.FindSubmatch(info); m != nil {
			n, _ := strconv.ParseFloat(string(m[1]), 64)
			s.mapBytes += n / (1 << 20)
		}
		n, _ := strconv.Atoi(string(id[1]))
		name, entries := mapEntries(cebpf.MapID(n))
		s.byMap[name] += entries
		s.entries += float64(entries)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return s, err
	}
	if all := debugGoroutines.FindAllSubmatch(text, -1); len(all) > 0 {
		last := all[len(all)-1]
		s.goroutines, _ = strconv.ParseFloat(string(last[1]), 64)
		heap, _ := strconv.ParseFloat(string(last[2]), 64)
		s.heap = heap / (1 << 20)
	}
	return s, nil
}

// mapEntries counts the entries of a map that is no array.
func mapEntries(id cebpf.MapID) (name string, n int) {
	m, err := cebpf.NewMapFromID(id)
	if err != nil {
		return "", 0 // it was removed
	}
	defer m.Close()
	if info, err := m.Info(); err == nil {
		name = info.Name
	}
	if !slices.Contains([]cebpf.MapType{cebpf.Hash, cebpf.LRUHash, cebpf.PerCPUHash, cebpf.LRUCPUHash}, m.Type()) {
		return name, 0
	}
	key := make([]byte, m.KeySize())
	for err := m.NextKey(nil, key); err == nil && n < int(m.MaxEntries()); n++ {
		err = m.NextKey(slices.Clone(key), key)
	}
	return name, n
}

// TestGrowth tells a leak from noise and from a level.
func TestGrowth(t *testing.T) {
	flat, noisy, leak := make([]soaked, 100), make([]soaked, 100), make([]soaked, 100)
	seed := uint64(1)
	for i := range 100 {
		seed = seed*6364136223846793005 + 1442695040888963407
		noise := float64(seed>>40) / (1 << 24)
		flat[i].rss = 40
		noisy[i].rss = 40 + 4*noise
		leak[i].rss = 40 + 4*noise + 0.05*float64(i)
	}
	for name, c := range map[string]struct {
		samples   []soaked
		low, high float64
	}{"flat": {flat, 0, 0}, "noisy": {noisy, -2, 2}, "leak": {leak, 3, 7}} {
		low, middle, high := growth(c.samples, func(s soaked) float64 { return s.rss })
		if middle < c.low || middle > c.high || cmp.Compare(low, middle) > 0 || cmp.Compare(middle, high) > 0 {
			t.Errorf("%s: %v (%v to %v)", name, middle, low, high)
		}
	}
}
