package record

import (
	"bytes"
	"errors"
	"io"
	"lostbeat/internal/testutil"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"lostbeat/model"
	"lostbeat/record/recordpb"
)

// smallBatches is a short stream, four seconds long.
func smallBatches() (batches []*model.Batch) {
	g := newTrace(1)
	for second := range model.Time(4) {
		var b model.Builder
		if second == 0 {
			g.head(&b)
		}
		at := start + second*model.Time(time.Second)
		run := new(model.Histogram)
		for i := range model.Time(3) {
			b.AddDeferredRun(
				model.DeferredRun{
					Time:   at + 100*i,
					Dur:    1500,
					CPU:    int32(i),
					PID:    812,
					TID:    812,
					Class:  model.ClassSoftirq,
					Wait:   900,
					Vector: 3,
					Name:   "NET_RX",
					Task:   "nginx",
				},
			)
			run.Observe(1500)
		}
		b.AddPortAcquire(
			model.PortAcquire{
				Time:      at + 300,
				PID:       4711,
				TID:       4712,
				Cookie:    1000 + uint64(second),
				Protocol:  model.ProtocolUDP,
				LocalPort: 40000 + uint16(second),
				How:       model.HowBindAny,
				Process:   "asterisk",
				Stack:     model.Stack{{Addr: 0x55d0, Name: "rtp_open"}},
			},
		)
		b.AddDeferredHist(
			model.DeferredHist{
				Time:    at + 400,
				Dur:     time.Second,
				CPU:     0,
				Class:   model.ClassSoftirq,
				Count:   3,
				Busy:    4500,
				MaxRun:  1500,
				Name:    "NET_RX",
				RunHist: run,
			},
		)
		batches = append(batches, b.Take())
	}
	return batches
}

// smallRecording is a recording of four short blocks.
func smallRecording(t *testing.T) (data []byte, want string) {
	t.Helper()
	path, want := recording(t, Options{}, smallBatches()...)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data, want
}

// readAll reads a recording from memory and gives its events as text, without
// losses and keyframes, and the losses that the reader reported.
func readAll(t *testing.T, data []byte) (got *text, losses []model.Loss, err error) {
	t.Helper()
	in, err := newTestInput("test.lostbeat", bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, nil, err
	}
	r := &Reader{inputs: []*input{in}, unpacker: in.unpacker}
	defer r.Close()
	got = &text{t: t}
	got.AllowUnknown, got.Partial = true, true
	err = r.Run(t.Context(), func(b *model.Batch) error {
		if loss, ok := b.Loss(&b.Events[0]); ok && loss.Origin == model.OriginFile {
			losses = append(losses, loss)
			return got.Check(b)
		}
		return got.emit(b)
	})
	r.Span()
	r.Stat()
	return got, losses, err
}

// frameEnds returns where the frames of a recording end, from an independent
// reading of its seek table.
func frameEnds(t *testing.T, data []byte) []int {
	t.Helper()
	frames, err := readSeekTable(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var ends []int
	for _, f := range frames {
		ends = append(ends, int(f.offset)+f.size)
	}
	return ends
}

// TestCutAtEveryByte opens a recording that ends at each byte in turn: what
// was in whole blocks is there, and nothing else is lost.
func TestCutAtEveryByte(t *testing.T) {
	data, want := smallRecording(t)
	ends := frameEnds(t, data)
	// How much text there is by the end of each frame.
	var texts []string
	for _, end := range ends {
		got, _, err := readAll(t, data[:end])
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, got.String())
	}
	if texts[0] != "" || texts[len(texts)-1] != want {
		t.Fatal("whole frames do not give the whole stream")
	}
	for cut := range len(data) + 1 {
		got, losses, err := readAll(t, data[:cut])
		whole, onEdge := slices.BinarySearch(ends, cut)
		if onEdge {
			whole++
		}
		if whole == 0 {
			var fault *Error
			if !errors.Is(err, ErrEmpty) || !errors.As(wrap("open", "x", err), &fault) || fault.Hint() == "" {
				t.Fatalf("cut at %d, in the header: %v", cut, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if got.String() != texts[whole-1] {
			t.Fatalf("cut at %d: %d bytes of text, want those of %d frames", cut, got.Len(), whole)
		}
		torn := !onEdge && cut != len(data)
		if torn != (len(losses) == 1) {
			t.Fatalf("cut at %d: losses %v", cut, losses)
		}
	}
}

// TestFlipEveryByte damages each byte in turn. The rest of the recording has to
// be read, and what is missing has to be reported.
func TestFlipEveryByte(t *testing.T) {
	data, want := smallRecording(t)
	ends := frameEnds(t, data)
	wantLines := strings.SplitAfter(want, "\n")
	for i := ends[0]; i < len(data); i++ {
		damaged := bytes.Clone(data)
		damaged[i] ^= 0x55
		got, losses, err := readAll(t, damaged)
		if err != nil {
			t.Fatalf("byte %d: %v", i, err)
		}
		gotLines := strings.SplitAfter(got.String(), "\n")
		if got.String() != want && len(losses) == 0 {
			t.Fatalf("byte %d: events are missing and no loss says so", i)
		}
		// One block of four at most is gone.
		if len(gotLines) < len(wantLines)/2 {
			t.Fatalf("byte %d: %d lines of %d", i, len(gotLines), len(wantLines))
		}
		for _, line := range gotLines {
			if !slices.Contains(wantLines, line) {
				t.Fatalf("byte %d: an event that was never written: %s", i, line)
			}
		}
	}
}

func TestLostBlockIsCounted(t *testing.T) {
	g := newTrace(1000)
	path, want := recording(t, Options{}, g.batch(4000))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ends := frameEnds(t, data)
	data[ends[1]+30] ^= 0xff // in the second block
	got, losses, err := readAll(t, data)
	if err != nil || len(losses) != 1 {
		t.Fatalf("losses %v, error %v", losses, err)
	}
	missing := strings.Count(want, "\n") - strings.Count(got.String(), "\n")
	if losses[0].Lost != uint64(missing) || !strings.HasPrefix(losses[0].Detail, "block 1 of test.lostbeat: ") {
		t.Errorf("%d events are missing, reported: %+v", missing, losses[0])
	}
	if got.keyframes == 0 {
		t.Error("no keyframe after the loss")
	}
}

// withHeader replaces the header of a recording.
func withHeader(t *testing.T, data []byte, change func(*recordpb.Header)) []byte {
	t.Helper()
	h, err := readHeader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	change(h)
	body, err := proto.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	enc, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	ends := frameEnds(t, data)
	return append(enc.EncodeAll(appendEnvelope(nil, envelopeHeader, body), nil), data[ends[0]:ends[len(ends)-1]]...)
}

func TestVersions(t *testing.T) {
	data, want := smallRecording(t)
	_, _, err := readAll(t, withHeader(t, data, func(h *recordpb.Header) { h.FormatMajor++ }))
	var fault *Error
	if !errors.Is(err, ErrNewerFormat) || !errors.As(wrap("open", "x", err), &fault) || fault.Hint() == "" {
		t.Errorf("newer major version: %v", err)
	}
	// A newer minor version: unknown fields everywhere, unknown messages between the known ones.
	newer := withHeader(t, data, func(h *recordpb.Header) {
		h.FormatMinor = 7
		h.ProtoReflect().SetUnknown([]byte{0xfa, 0x06, 3, 'n', 'e', 'w'}) // field 111
	})
	enc, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	newer = append(newer, enc.EncodeAll(appendEnvelope(nil, 99, []byte("a message of the future")), nil)...)
	in, err := newTestInput("x", bytes.NewReader(newer), int64(len(newer)))
	if err != nil || len(in.notes) == 0 || !strings.Contains(in.notes[0], "1.7") {
		t.Fatalf("notes %v, error %v", in.notes, err)
	}
	got, _, err := readAll(t, newer)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, got.String(), want)
}

func TestOpenFaults(t *testing.T) {
	dir := testutil.TempDir(t)
	write := func(name, data string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	enc, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		want error
	}{
		{filepath.Join(dir, "missing"), os.ErrNotExist},
		{dir, ErrNotRecording},
		{write("empty", ""), ErrEmpty},
		{write("short", "\x28\xb5"), ErrEmpty},
		{write("text", "hello, this is no recording"), ErrNotRecording},
		{write("zstd", string(enc.EncodeAll([]byte("hello"), nil))), ErrNotRecording},
		{write("skippable", "\x50\x2a\x4d\x18\x01\x00\x00\x00x"), ErrNotRecording},
	} {
		r, err := Open(c.path)
		if r != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", filepath.Base(c.path), err, c.want)
		}
		var fault *Error
		if !errors.As(err, &fault) {
			t.Errorf("%s: %T is no *Error", filepath.Base(c.path), err)
		}
	}
}

// TestZstdReadsIt gives a recording to the zstd program.
func TestZstdReadsIt(t *testing.T) {
	program, err := exec.LookPath("zstd")
	if err != nil {
		testutil.Unavailable(t, "the zstd program is not installed")
	}
	g := newTrace(20000)
	path, _ := recording(t, Options{}, g.batch(30000), g.batch(30000))
	if out, err := exec.Command(program, "--test", "-q", path).CombinedOutput(); err != nil {
		t.Fatalf("zstd --test: %v\n%s", err, out)
	}
	raw, err := exec.Command(program, "-dc", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	// Read what came out with the generated code alone.
	events := uint64(0)
	blocks := 0
	for len(raw) > 0 {
		size, n := uint64(0), 0
		for shift := 0; ; shift += 7 {
			b := raw[n]
			n++
			if size |= uint64(b&0x7f) << shift; b < 0x80 {
				break
			}
		}
		var e recordpb.Envelope
		if err := proto.Unmarshal(raw[n:n+int(size)], &e); err != nil {
			t.Fatal(err)
		}
		raw = raw[n+int(size):]
		var block recordpb.Block
		if body := e.GetBlock(); body != nil {
			if err := proto.Unmarshal(body, &block); err != nil {
				t.Fatal(err)
			}
			blocks++
			for _, x := range block.Events {
				events += uint64(x.Count)
			}
		}
	}
	info := stat(t, path)
	if blocks != info.Blocks || events != info.Events || blocks < 2 {
		t.Errorf("%d blocks with %d events, Stat says %+v", blocks, events, info)
	}
}

// TestKill9 kills a process that records, at random moments.
func TestKill9(t *testing.T) {
	if path := os.Getenv("LOSTBEAT_TEST_RECORD"); path != "" {
		w, err := Create(path, Options{Interval: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		// Blocks follow each other as fast as can be, so that a kill finds every state.
		for g := newTrace(20000); ; {
			if err := w.Write(g.batch(100)); err != nil {
				t.Fatal(err)
			}
		}
	}
	random := rand.New(rand.NewPCG(5, 6))
	rounds, torn := 25, 0
	for round := range rounds {
		path := filepath.Join(testutil.TempDir(t), "rec.lostbeat")
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill9$")
		cmd.Env = append(os.Environ(), "LOSTBEAT_TEST_RECORD="+path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for {
			if info, err := os.Stat(path); err == nil && info.Size() > int64(round*round*100) {
				break
			}
		}
		time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the killed process ended well")
		}
		r := open(t, path)
		got := &text{t: t}
		losses := 0
		if err := r.Run(t.Context(), func(b *model.Batch) error {
			if loss, ok := b.Loss(&b.Events[0]); ok && loss.Origin == model.OriginFile {
				losses++
				return nil
			}
			return got.emit(b)
		}); err != nil {
			t.Fatal(err)
		}
		torn += losses
		// What is there is the beginning of what was written, without a gap.
		g, want := newTrace(20000), &text{t: t}
		for want.Len() < got.Len() {
			if err := want.emit(g.batch(100)); err != nil {
				t.Fatal(err)
			}
		}
		if losses > 1 || !strings.HasPrefix(want.String(), got.String()) {
			t.Errorf("round %d: %d bytes of text, %d losses: not the beginning of what was recorded", round, got.Len(), losses)
		}
	}
	t.Logf("%d of %d recordings ended in a torn frame", torn, rounds)
}

// newTestInput opens a file in memory.
func newTestInput(path string, r io.ReaderAt, size int64) (*input, error) {
	u, err := newUnpacker()
	if err != nil {
		return nil, err
	}
	return newInput(path, r, size, u)
}
