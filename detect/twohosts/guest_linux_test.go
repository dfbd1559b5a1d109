package twohosts

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lostbeat/internal/plain"
	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
	"lostbeat/model"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Getenv(beatVariable) != "" {
		if err := beat(os.Getenv(beatVariable)); err != nil {
			fmt.Println("beat:", err)
			os.Exit(1)
		}
		return
	}
	vmtest.Main(m)
}

// The two guests: what they are told apart by, and how they beat.
const (
	beatVariable = "LOSTBEAT_TEST_BEAT"
	beatPort     = 7000
	beatEvery    = 300 * time.Millisecond
	macOf        = "52:54:00:00:00:0%d"
	addressOf    = "192.0.2.%d"
)

// What happens when, since both guests record: packets of the first guest are lost, those of the second held up; the
// program of the first is stopped; that of the second does not read. Each for long; before the first one the period is
// learned, of which an emulated processor now and then misses one.
const (
	loseAt = 12 * time.Second
	holdAt = 18 * time.Second
	stopAt = 24 * time.Second
	deafAt = 30 * time.Second
	endAt  = 36 * time.Second
	long   = 2 * time.Second
)

// wayThere and wayBack are how long frames are on the wire.
const (
	wayThere = 15 * time.Millisecond
	wayBack  = 5 * time.Millisecond
)

// Lines of the guests.
const (
	recordingLine = "guest: recording"
	faultLine     = "guest: go"
	fileLine      = "guest: file "
)

// TestLongGuestPair has two guests whose clocks differ exchange heartbeats over a wire that loses and delays what it is
// told to, each recorded by the command. Joined, the recordings name the right side, and the clocks' difference lies
// within its stated error of what the wire knows.
func TestLongGuestPair(t *testing.T) {
	testutil.Privileged(t) // it is slow, and belongs to the tests that are
	if vmtest.Guest() {
		guest(t)
		return
	}
	guests := vmtest.Options{
		Kernel: "6.12", Package: "lostbeat/detect/twohosts", Tests: "^TestLongGuestPair$", Timeout: 2 * time.Minute,
		Modules:  []string{"failover", "net_failover", "virtio_net"},
		Programs: map[string]string{"lostbeat": "lostbeat/cmd/lostbeat"},
	}
	guests.Built = vmtest.Build(t, guests)
	w := newWire(t)
	var files [2]string
	t.Run("guests", func(t *testing.T) {
		for i, clock := range []string{"2026-03-01T10:00:00", "2026-03-01T10:07:00"} {
			t.Run(fmt.Sprint(i+1), func(t *testing.T) {
				t.Parallel()
				o := guests
				o.Device, o.Wire = "virtio-net-pci,romfile=,mac="+fmt.Sprintf(macOf, i+1), w.far[i]
				o.Clock = clock
				o.Line = func(line string) {
					if line == recordingLine {
						w.recording()
					}
					if text, ok := strings.CutPrefix(line, fileLine); ok {
						files[i] += strings.TrimSpace(text)
					}
				}
				vmtest.Run(t, o)
			})
		}
	})
	w.close()
	lostbeat := filepath.Join(guests.Built, "lostbeat")
	dir := t.TempDir()
	var paths []string
	for i, text := range files {
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(data) == 0 {
			t.Fatalf("the recording of guest %d: %d bytes, %v", i+1, len(data), err)
		}
		paths = append(paths, filepath.Join(dir, fmt.Sprintf("guest-%d.lostbeat", i+1)))
		if err := os.WriteFile(paths[i], data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(lostbeat, append([]string{"findings", "--json"}, paths...)...).Output()
	if err != nil {
		t.Fatal(err, string(out))
	}
	var found []model.Finding
	for line := range strings.Lines(string(out)) {
		var f model.Finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if f.Detector == "heartbeat-loss" {
			found = append(found, f)
			t.Log(f.Title)
		}
	}
	low, high := w.truth()
	t.Logf("the wire says that the second clock is ahead by %v to %v", low, high)
	checkGuests(t, found, low, high)
}

// checkGuests wants a finding for each fault, and the clocks' true difference within the stated error in all of them.
func checkGuests(t *testing.T, found []model.Finding, low, high time.Duration) {
	t.Helper()
	for _, want := range [][]string{
		{"udp/7000 from guest-1 to guest-2: nothing received for", "were lost between the hosts"},
		{"udp/7000 from guest-2 to guest-1: nothing received for", "were on the way between the hosts for"},
		{"guest-1", "the program was stopped for"},
		{"guest-2: udp/7000 of", "was read", "late", "guest-1 had sent it in time"},
	} {
		n := 0
		for _, f := range found {
			all := true
			for _, part := range want {
				all = all && strings.Contains(plain.Blanks(text(f)), part)
			}
			if all {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d findings say %q", n, want)
		}
	}
	if len(found) != 4 {
		t.Errorf("%d findings, want 4", len(found))
	}
	for _, f := range found {
		if strings.Contains(text(f), "so the peer or the network") {
			t.Errorf("one host alone is believed:\n%s", text(f))
		}
		ahead, err := math.NaN(), math.NaN()
		for _, e := range f.Evidence {
			switch {
			case strings.HasPrefix(e.Name, "clock of guest-2 fast"):
				ahead = e.Value
			case strings.HasPrefix(e.Name, "clock of guest-1 fast"):
				ahead = -e.Value
			case strings.HasPrefix(e.Name, "uncertainty"):
				err = e.Value
			}
		}
		t.Logf("%s: the second clock is ahead by %v, give or take %v", f.Start, time.Duration(ahead), time.Duration(err))
		if !(ahead-err <= float64(high) && ahead+err >= float64(low)) || !(err < float64(wayThere+wayBack)*3) {
			t.Errorf("ahead by %v ± %v, and it is %v to %v", time.Duration(ahead), time.Duration(err), low, high)
		}
	}
}

// wire connects the two guests.
type wire struct {
	t         *testing.T
	near, far [2]*os.File
	write     [2]sync.Mutex
	wg        sync.WaitGroup

	mu    sync.Mutex
	ready int
	began time.Time // when both guests recorded
	// read is when a heartbeat of a guest came, written when it was given to the other, by its number.
	written [2]map[uint64]time.Time
	// low and high are what each guest's clock is ahead of this host's at least and at most.
	low, high [2]time.Duration
}

func newWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{t: t}
	for i := range w.near {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		w.near[i], w.far[i] = os.NewFile(uintptr(pair[0]), "near"), os.NewFile(uintptr(pair[1]), "far")
		w.written[i] = map[uint64]time.Time{}
		w.low[i], w.high[i] = math.MinInt64, math.MaxInt64
	}
	for i := range w.near {
		w.wg.Go(func() { w.carry(i) })
	}
	return w
}

func (w *wire) close() {
	for i := range w.near {
		w.near[i].Close()
		w.far[i].Close()
	}
	w.wg.Wait()
}

// recording takes up that a guest records; when both do, they are told to begin.
func (w *wire) recording() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ready++; w.ready == 2 {
		w.began = time.Now()
	}
}

// since is the time since both guests record, negative before.
func (w *wire) since() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.began.IsZero() {
		return -1
	}
	return time.Since(w.began)
}

type due struct {
	at    time.Time
	frame []byte
}

// carry takes the frames of a guest to the other one.
func (w *wire) carry(from int) {
	delayed := make(chan due, 4096)
	defer close(delayed)
	w.wg.Go(func() {
		for d := range delayed {
			time.Sleep(time.Until(d.at))
			w.send(1-from, d.frame)
		}
	})
	in := bufio.NewReader(w.near[from])
	for {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return // closed
		}
		frame := make([]byte, 4+binary.BigEndian.Uint32(size[:]))
		copy(frame, size[:])
		if _, err := io.ReadFull(in, frame[4:]); err != nil {
			return
		}
		now := time.Now()
		b := beatIn(frame)
		if b == nil {
			w.send(1-from, frame)
			continue
		}
		w.learn(from, b, now)
		at := now.Add([2]time.Duration{wayThere, wayBack}[from])
		switch t := w.since(); {
		case from == 0 && t >= loseAt && t < loseAt+long:
			continue
		case from == 1 && t >= holdAt && t < holdAt+long:
			at = now.Add(holdAt + long - t)
		}
		// It tells the guests since when both record.
		if t := w.since(); t >= 0 {
			binary.BigEndian.PutUint64(b[beatSince:], uint64(t))
			clearChecksum(frame)
		}
		delayed <- due{at, frame}
	}
}

func (w *wire) send(to int, frame []byte) {
	w.write[to].Lock()
	defer w.write[to].Unlock()
	if b := beatIn(frame); b != nil {
		w.mu.Lock()
		w.written[to][binary.BigEndian.Uint64(b[beatSeq:])] = time.Now()
		w.mu.Unlock()
	}
	if _, err := w.near[to].Write(frame); err != nil && !errors.Is(err, os.ErrClosed) && !errors.Is(err, unix.EPIPE) {
		w.t.Error(err)
	}
}

// learn compares a guest's clock with this host's.
func (w *wire) learn(from int, b []byte, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := int64(binary.BigEndian.Uint64(b[beatSent:]))
	w.low[from] = max(w.low[from], time.Duration(sent-now.UnixNano()))
	peer, read := binary.BigEndian.Uint64(b[beatPeer:]), int64(binary.BigEndian.Uint64(b[beatRead:]))
	if at, ok := w.written[from][peer]; ok && read > 0 {
		w.high[from] = min(w.high[from], time.Duration(read-at.UnixNano()))
	}
}

// truth is by how much the second guest's clock is ahead of the first one's, at least and at most.
func (w *wire) truth() (low, high time.Duration) {
	return w.low[1] - w.high[0], w.high[1] - w.low[0]
}

// Offsets in a heartbeat: its number, when it was sent, the number of the last one that was read and when, and since
// when both guests record, which the wire writes.
const (
	beatSeq   = 0
	beatSent  = 8
	beatPeer  = 16
	beatRead  = 24
	beatSince = 136
	beatSize  = 160 // the part that tells packets apart ends before what the wire writes
)

// beatIn returns the payload of a heartbeat in a frame behind its length, nil for any other.
func beatIn(frame []byte) []byte {
	const headers = 4 + 14 + 20 + 8
	if len(frame) < headers+beatSize || frame[16] != 8 || frame[17] != 0 || frame[18] != 0x45 ||
		frame[27] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(frame[40:]) != beatPort {
		return nil
	}
	return frame[headers:]
}

func clearChecksum(frame []byte) { frame[44], frame[45] = 0, 0 }

// guest is what each guest does.
func guest(t *testing.T) {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	me := 1
	if link.Attrs().HardwareAddr.String() == fmt.Sprintf(macOf, 2) {
		me = 2
	}
	address, err := netlink.ParseAddr(fmt.Sprintf(addressOf, me) + "/24")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		netlink.AddrAdd(link, address), netlink.LinkSetUp(link), unix.Sethostname(fmt.Appendf(nil, "guest-%d", me)),
		os.Mkdir("/sys/fs/cgroup/beat", 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	group, err := os.Open("/sys/fs/cgroup/beat")
	if err != nil {
		t.Fatal(err)
	}
	program := exec.Command("/proc/self/exe")
	program.Env = append(os.Environ(), fmt.Sprintf("%s=%d", beatVariable, me))
	program.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	program.Stderr = os.Stdout
	lines, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = program.Process.Kill() }()
	record := exec.Command("/lostbeat", "record", "--probe", "heartbeat,drop,nic,sched", "--heartbeat", "udp:7000",
		"-o", "/tmp/guest.lostbeat")
	var output bytes.Buffer // its progress would be in the lines that the host waits for
	record.Stdout, record.Stderr = &output, &output
	if err := record.Start(); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		if info, err := os.Stat("/tmp/guest.lostbeat"); err == nil && info.Size() > 0 { // it writes once it runs
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatal("the recording has not begun")
		}
	}
	time.Sleep(3 * time.Second) // the probes are attached, and the flow is found
	fmt.Println(recordingLine)
	// The program says when both guests record.
	said := bufio.NewScanner(lines)
	for said.Scan() && said.Text() != faultLine {
	}
	began := time.Now()
	go func() { _, _ = io.Copy(os.Stdout, lines) }()
	until := func(at time.Duration) { time.Sleep(at - time.Since(began)) }
	if me == 1 {
		until(stopAt)
		_ = program.Process.Signal(unix.SIGSTOP)
		until(stopAt + long)
		_ = program.Process.Signal(unix.SIGCONT)
	} else {
		until(deafAt)
		_ = program.Process.Signal(unix.SIGUSR1)
	}
	until(endAt)
	if err := record.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := record.Wait(); err != nil {
		t.Fatal(err, output.String())
	}
	data, err := os.ReadFile("/tmp/guest.lostbeat")
	if err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(data)
	var out bytes.Buffer
	for len(text) > 0 {
		n := min(len(text), 4000)
		fmt.Fprintf(&out, "\n%s%s\n", fileLine, text[:n])
		text = text[n:]
	}
	_, _ = os.Stdout.Write(out.Bytes())
}

// beat is the program that sends and reads heartbeats.
func beat(which string) error {
	other := map[string]int{"1": 2, "2": 1}[which]
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: beatPort})
	if err != nil {
		return err
	}
	deaf := make(chan os.Signal, 1)
	signal.Notify(deaf, unix.SIGUSR1)
	var mu sync.Mutex
	var peer, read, since uint64
	go func() {
		told := false
		buffer := make([]byte, 2048)
		for {
			select {
			case <-deaf:
				time.Sleep(long)
			default:
			}
			n, _, err := conn.ReadFromUDP(buffer)
			if err != nil || n < beatSize {
				continue
			}
			mu.Lock()
			peer, read = binary.BigEndian.Uint64(buffer[beatSeq:]), uint64(time.Now().UnixNano())
			since = binary.BigEndian.Uint64(buffer[beatSince:])
			if since > 0 && !told {
				told = true
				fmt.Println(faultLine)
			}
			mu.Unlock()
		}
	}()
	to := &net.UDPAddr{IP: net.ParseIP(fmt.Sprintf(addressOf, other)), Port: beatPort}
	payload := make([]byte, beatSize)
	ticker := time.NewTicker(beatEvery)
	for seq := uint64(1); ; seq++ {
		<-ticker.C
		mu.Lock()
		binary.BigEndian.PutUint64(payload[beatPeer:], peer)
		binary.BigEndian.PutUint64(payload[beatRead:], read)
		mu.Unlock()
		binary.BigEndian.PutUint64(payload[beatSeq:], seq)
		binary.BigEndian.PutUint64(payload[beatSent:], uint64(time.Now().UnixNano()))
		if _, err := conn.WriteToUDP(payload, to); err != nil {
			fmt.Println("send:", err)
		}
	}
}
