package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { vmtest.Main(m) }

// guestDisk is where a guest mounts its disk.
const guestDisk = "/tmp/disk"

func mountDisk(t *testing.T) {
	t.Helper()
	if err := errors.Join(os.Mkdir(guestDisk, 0o700), unix.Mount("/dev/vda", guestDisk, "ext4", 0, "")); err != nil {
		t.Fatal(err)
	}
}

// makeDisk makes an image with an empty ext4 file system.
func makeDisk(t *testing.T, size string) (image string) {
	t.Helper()
	image = filepath.Join(t.TempDir(), "disk.img")
	run(t, "mke2fs", "-q", "-t", "ext4", "-F", image, size)
	return image
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		testutil.Unavailable(t, "%v", err)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	var status *exec.ExitError
	if errors.As(err, &status) && name == "e2fsck" && status.ExitCode() <= 2 {
		err = nil // it has repaired something
	}
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// TestLongGuestLosesPower records in a guest whose disk writes down each write and each flush that reaches it, and then
// replays that: up to each entry, and with any part of what came after the last flush. Every ring opens, and nothing
// that was on disk at a flush is missing unless its place was needed. A minute, most of it in the guest.
func TestLongGuestLosesPower(t *testing.T) {
	testutil.Privileged(t) // it is slow, and belongs to the tests that are
	if vmtest.Guest() {
		writeInGuest(t)
		return
	}
	image := makeDisk(t, "48M")
	before, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	vmtest.Run(t, vmtest.Options{
		Kernel: "6.12", Package: "lostbeat/record", Tests: "TestLongGuestLosesPower", Modules: []string{"virtio_blk"},
		Timeout: 4 * time.Minute,
		Disk: []string{
			"-blockdev", "driver=file,node-name=image,filename=" + image,
			"-blockdev", "driver=file,node-name=log,filename=" + log,
			"-blockdev", "driver=blklogwrites,node-name=disk,file=image,log=log,log-sector-size=512",
			"-device", "virtio-blk-pci,drive=disk",
		},
	})
	place := ringBlocks(t, image)
	entries := readWriteLog(t, log)
	replayed := replay(t, before, entries, place)
	t.Logf("%d entries of the log, %d of them flushes; %d losses of power, %d of them through e2fsck",
		len(entries), replayed.flushes, replayed.states, replayed.checked)
	if replayed.states < 1000 {
		t.Errorf("only %d losses of power", replayed.states)
	}
}

// writeInGuest records some laps of a ring, with and without a suspicion, and leaves the ring behind.
func writeInGuest(t *testing.T) {
	mountDisk(t)
	f, err := NewFlight(guestDisk+"/fault.lostbeat", FlightOptions{
		Ring: LeastRing, BootID: "guest", Options: Options{Interval: 100 * time.Millisecond},
	})
	if err != nil || f.RingError() != nil {
		t.Fatal(err, f.RingError())
	}
	g := newTrace(20_000)
	began := time.Now()
	for time.Since(began) < 30*time.Second {
		if err := f.Write(g.batch(1000)); err != nil {
			t.Fatal(err)
		}
		if time.Since(began) > 10*time.Second {
			f.Suspect()
		}
		time.Sleep(50 * time.Millisecond)
	}
	s := f.Stats().Ring
	fmt.Printf("%d blocks, %+v\n", f.enc.seq, s)
	if s.Lost > 0 || s.Fault != nil || f.ring.ring.written < 100 {
		t.Errorf("%+v", s)
	}
}

// ringBlocks returns where on the image the ring is, in order.
func ringBlocks(t *testing.T, image string) (offsets []int64) {
	t.Helper()
	size := int64(1024)
	for line := range strings.Lines(run(t, "dumpe2fs", "-h", image)) {
		if value, ok := strings.CutPrefix(line, "Block size:"); ok {
			size, _ = strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	run(t, "e2fsck", "-fy", image)
	out, err := exec.Command("debugfs", "-R", "blocks /fault.ring", image).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range strings.Fields(string(out)) {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			t.Fatalf("blocks of the ring: %q", out)
		}
		for at := int64(0); at < size; at += sector {
			offsets = append(offsets, n*size+at)
		}
	}
	if len(offsets) != LeastRing/sector {
		t.Fatalf("the ring has %d sectors", len(offsets))
	}
	return offsets
}

// logged is an entry of a log of writes: data at an offset, or a flush.
type logged struct {
	offset int64
	data   []byte
	flush  bool
}

// readWriteLog reads the log of QEMU's blklogwrites, which is that of Linux' dm-log-writes.
func readWriteLog(t *testing.T, path string) (entries []logged) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const (
		magic            = 0x6a736677736872
		flush, fua, skip = 1, 2, 4
	)
	if len(data) < sector || binary.LittleEndian.Uint64(data) != magic {
		t.Fatalf("a log of %d bytes is none", len(data))
	}
	n := binary.LittleEndian.Uint64(data[16:])
	at := sector
	for range n {
		first, count := binary.LittleEndian.Uint64(data[at:]), binary.LittleEndian.Uint64(data[at+8:])
		flags := binary.LittleEndian.Uint64(data[at+16:])
		at += sector
		e := logged{offset: int64(first) * sector, flush: flags&(flush|fua) != 0}
		if flags&skip == 0 {
			e.data = data[at:][:count*sector]
			at += len(e.data)
		}
		entries = append(entries, e)
	}
	return entries
}

// replayed counts what was done.
type replayed struct{ states, flushes, checked int }

// replay loses power at each entry.
func replay(t *testing.T, image []byte, entries []logged, place []int64) (done replayed) {
	random := rand.New(rand.NewPCG(1, 2))
	index := map[int64]int{} // of the ring's sectors
	for i, at := range place {
		index[at] = i
	}
	flushed := bytes.Clone(image) // with all up to the last flush
	all := bytes.Clone(image)
	ringOf := func(image []byte) []byte {
		ring := make([]byte, 0, len(place)*sector)
		for _, at := range place {
			ring = append(ring, image[at:at+sector]...)
		}
		return ring
	}
	var durable map[uint64]bool // blocks on disk at the last flush
	var pending []sectorWrite   // those of the ring since then
	slots := func(ring []byte) (*ringContent, map[uint64]bool) {
		c, err := readRing(bytes.NewReader(ring), int64(len(ring)))
		if err != nil || !c.known {
			t.Fatalf("the ring does not open: %v", err)
		}
		there := map[uint64]bool{}
		for _, s := range c.slots {
			there[s.seq] = true
		}
		return c, there
	}
	check := func(ring []byte, now map[uint64]bool, how string, i int) {
		done.states++
		c, there := slots(ring)
		if len(durable) > 0 && (len(c.slots) == 0 || !c.slots[0].keyframe) {
			t.Fatalf("entry %d, %s: nothing can be read", i, how)
		}
		for seq := range durable {
			if now[seq] && !there[seq] {
				t.Fatalf("entry %d, %s: block %d was on disk at the last flush and is missing", i, how, seq)
			}
		}
	}
	last := []logged{}
	for i, e := range entries {
		copy(all[e.offset:], e.data)
		last = append(last, e)
		for at := 0; at < len(e.data); at += sector {
			if n, ok := index[e.offset+int64(at)]; ok {
				pending = append(pending, sectorWrite{int64(n) * sector, e.data[at : at+sector]})
			}
		}
		if e.flush {
			done.flushes++
			for _, w := range last {
				copy(flushed[w.offset:], w.data)
			}
			last, pending = last[:0], nil
		}
		ring := ringOf(all)
		if _, known, err := bytesKnown(ring); err != nil || !known {
			continue // it is being created
		}
		_, now := slots(ring)
		check(ring, now, "all of it", i)
		if e.flush {
			durable = now
		}
		base := ringOf(flushed)
		if len(pending) == 0 {
			continue
		}
		if _, known, _ := bytesKnown(base); !known {
			continue
		}
		check(base, now, "nothing since the last flush", i)
		for range 20 {
			some := bytes.Clone(base)
			share := random.Float64()
			for _, w := range pending {
				if random.Float64() < share {
					copy(some[w.offset:], w.data)
				}
			}
			check(some, now, "any of it", i)
		}
		if i%max(1, len(entries)/40) == 0 {
			done.checked++
			mounted(t, flushed, len(durable) > 0)
		}
	}
	return done
}

// bytesKnown says whether the header of a ring is there.
func bytesKnown(ring []byte) (c *ringContent, known bool, err error) {
	c, err = readRing(bytes.NewReader(ring), int64(len(ring)))
	return c, err == nil && c.known, err
}

// mounted opens the ring of an image as the next start of the host would find it.
func mounted(t *testing.T, image []byte, blocks bool) {
	t.Helper()
	dir := t.TempDir()
	path, ring := filepath.Join(dir, "disk.img"), filepath.Join(dir, "fault.ring")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "e2fsck", "-fy", path)
	run(t, "debugfs", "-R", "dump /fault.ring "+ring, path)
	if r, err := Open(ring); err == nil {
		r.Close()
	} else if blocks || !errors.Is(err, ErrEmpty) {
		t.Errorf("after a repair of the file system: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Error(err)
	}
}

// Lines of the guest's console.
const nowLine = "now "

// TestLongGuestReset switches a guest off while a recorder has a finding open, and starts it again: the next recorder
// finds the ring, says what was going on, and at most 1.2 s are missing. A minute a reset; 2 of them, 20 on one disk
// with LOSTBEAT_LARGE.
func TestLongGuestReset(t *testing.T) {
	testutil.Privileged(t) // it is slow, and belongs to the tests that are
	if vmtest.Guest() {
		recordInGuest(t)
		return
	}
	resets := 2
	if testutil.Large() {
		resets = 20
	}
	image := makeDisk(t, "96M")
	o := vmtest.Options{
		Kernel: "6.12", Package: "lostbeat/record", Tests: "TestLongGuestReset", Modules: []string{"virtio_blk"},
		Programs: map[string]string{"lostbeat": "lostbeat/cmd/lostbeat"}, Timeout: 4 * time.Minute,
		Disk: []string{
			"-blockdev", "driver=file,node-name=disk,filename=" + image, "-device", "virtio-blk-pci,drive=disk",
		},
	}
	o.Built = vmtest.Build(t, o)
	var missing []time.Duration
	var ended time.Time
	for i := range resets + 1 {
		recovered := make(chan string, 1)
		kill := make(chan struct{})
		var once sync.Once
		var now time.Time
		o.Kill = kill
		o.Line = func(line string) {
			if ns, ok := strings.CutPrefix(line, nowLine); ok {
				if n, err := strconv.ParseInt(ns, 10, 64); err == nil {
					now = time.Unix(0, n)
				}
				return
			}
			if strings.Contains(line, "did not end in order") {
				select {
				case recovered <- line:
				default:
				}
				if i == resets {
					once.Do(func() { close(kill) })
				}
			}
			if strings.Contains(line, "recording it to") {
				once.Do(func() {
					wait := 2*time.Second + time.Duration(rand.Int64N(int64(3*time.Second)))
					time.AfterFunc(wait, func() { close(kill) })
				})
			}
		}
		text := vmtest.Run(t, o)
		if i > 0 {
			select {
			case line := <-recovered:
				missing = append(missing, checkRecovered(t, line, ended))
			default:
				t.Fatalf("start %d has found nothing of the one before:\n%s", i, text)
			}
		}
		ended = now
	}
	slices.Sort(missing)
	t.Logf("%d resets under a fault: %v were missing at least, %v in the median, %v at most", resets, missing[0],
		missing[len(missing)/2], missing[len(missing)-1])
}

// checkRecovered returns how much is missing of what a recorder saw that ended at a time.
func checkRecovered(t *testing.T, line string, ended time.Time) time.Duration {
	t.Helper()
	const lead = "Its last event is of "
	_, rest, _ := strings.Cut(line, lead)
	last, err := time.Parse("2006-01-02 15:04:05.000 UTC", rest[:min(len(rest), 27)])
	if err != nil {
		t.Fatalf("%v: %q", err, line)
	}
	missing := ended.Sub(last)
	t.Logf("missing %v: %s", missing, line)
	if missing > 1200*time.Millisecond || !strings.Contains(line, "the host went down") ||
		!strings.Contains(line, "open findings: ") || !strings.Contains(line, "saved to ") {
		t.Errorf("missing %v: %q", missing, line)
	}
	return missing
}

// recordInGuest records a leak of ports, and prints the time.
func recordInGuest(t *testing.T) {
	mountDisk(t)
	recorder := exec.Command("/lostbeat", "record", "-o", guestDisk+"/fault.lostbeat", "--flight", "1m",
		"--flight-size", "4MiB", "--total-cap", "48MiB", "--probe", "port", "--pool", "lab=udp:21000-21999")
	recorder.Stdout, recorder.Stderr = os.Stdout, os.Stdout
	leak := exec.Command(
		"/lostbeat", "lab-child", "leak", "-mode", "port", "-rate", "40", "-count", "980", "-port", "21000",
	)
	stdin, err := leak.StdinPipe()
	if err == nil {
		defer stdin.Close()
		if err = recorder.Start(); err == nil {
			time.Sleep(8 * time.Second) // emulated, the probes take seconds to load
			err = leak.Start()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for {
		fmt.Printf("%s%d\n", nowLine, time.Now().UnixNano())
		time.Sleep(20 * time.Millisecond)
	}
}
