package etl

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lostbeat/etw"
	"lostbeat/etw/etl/etltest"
	"lostbeat/etw/xca"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/probes"
)

// flushed is a session of some seconds whose buffers are written each second, as those of a session with a flush timer.
func flushed(o etltest.Options, seconds int) []byte {
	o.Processors, o.FlushTimer = 2, true
	w := etltest.New(o)
	w.Process(3, 0, 700, "heartbeatd.exe", "heartbeatd.exe")
	w.Thread(3, 0, 700, 704)
	w.Images(3, 0)
	for second := range int64(seconds) {
		for i := range int64(40) {
			at := second*1e9 + i*24e6
			w.ISR(0, 67, at+1e6, at+1_100_000, etltest.Drivers[1].Base+8, 0x61)
			w.DPC(1, 68, at+2e6, at+5e6, etltest.Drivers[3].Base+0x1234)
			w.Datagram(0, at+6e6, 43, 700, [4]byte{10, 0, 0, 2}, [4]byte{10, 0, 0, 1}, 5405, 5405)
		}
	}
	return w.Bytes()
}

// grown is a file that grows under a follower, with a clock of its own.
type grown struct {
	t    *testing.T
	path string
	r    *following
	now  time.Time
	done bool
	got  []*model.Batch
}

func newGrown(t *testing.T) *grown {
	t.Helper()
	g := &grown{t: t, path: filepath.Join(testutil.TempDir(t), "live.etl"), now: time.Unix(1e9, 0)}
	if err := os.WriteFile(g.path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(g.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	g.r = &following{
		path: g.path, file: file, options: Options{Probes: probes.ETW, Options: etw.Options{SkipRaw: true}},
		clock: func() time.Time { return g.now },
	}
	return g
}

// write puts the first n bytes of data into the file, as far as they are not there.
func (g *grown) write(data []byte) {
	g.t.Helper()
	if err := os.WriteFile(g.path, data, 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func (g *grown) look() {
	g.t.Helper()
	done, err := g.r.look(g.t.Context(), func(b *model.Batch) error {
		g.got = append(g.got, b)
		return nil
	})
	if err != nil {
		g.t.Fatal(err)
	}
	g.done = done
}

// lines are the events of a stream but for those that say how it was read.
func lines(batches []*model.Batch) (out []string) {
	for _, b := range batches {
		for i := range b.Events {
			switch e := &b.Events[i]; e.Kind {
			case model.KindMeta, model.KindClock, model.KindProbe:
			default:
				out = append(out, string(model.AppendText(nil, b, e)))
			}
		}
	}
	slices.Sort(out)
	return out
}

// TestFollow lets files of all kinds grow by pieces that end anywhere. What is read of them is what is in them.
func TestFollow(t *testing.T) {
	for name, o := range map[string]etltest.Options{
		"plain":      {},
		"32 bits":    {PointerSize: 4},
		"system":     {Clock: etw.ClockSystem},
		"cycles":     {Clock: etw.ClockCycles},
		"compressed": {Compression: xca.Xpress},
		"large":      {BufferSize: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			whole := flushed(o, 6)
			o.Unfinalised = true
			data := flushed(o, 6)
			if len(data) != len(whole) {
				t.Fatal("the two files differ in more than their header")
			}
			random := rand.New(rand.NewPCG(1, 2))
			g := newGrown(t)
			for n := 0; n < len(data); {
				g.write(data[:n])
				g.look()
				n += 1 + random.IntN(len(data)/40)
			}
			g.write(data)
			g.look()
			if g.done {
				t.Error("a session that goes on counts as stopped")
			}
			g.write(whole)
			if g.look(); !g.done {
				t.Error("the end of the session is not seen")
			}
			if err := g.r.end(); err != nil {
				t.Fatal(err)
			}
			if err := model.Validate(g.got...); err != nil {
				t.Error(err)
			}
			f, err := New(bytes.NewReader(whole), int64(len(whole)), g.r.options)
			if err != nil {
				t.Fatal(err)
			}
			var want []*model.Batch
			if err := f.Run(t.Context(), func(b *model.Batch) error { want = append(want, b); return nil }); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(lines(want), lines(g.got)); d != "" {
				t.Errorf("followed and read whole (-whole +followed):\n%s", d)
			}
		})
	}
}

// TestFollowTicks checks that seconds end when nothing is written.
func TestFollowTicks(t *testing.T) {
	g := newGrown(t)
	g.write(flushed(etltest.Options{Unfinalised: true}, 2))
	g.look()
	count := func() (n int) {
		for _, b := range g.got {
			for i := range b.Events {
				if b.Events[i].Kind == model.KindClock {
					n++
				}
			}
		}
		return n
	}
	before := count()
	for range 50 {
		g.now = g.now.Add(100 * time.Millisecond)
		g.look()
	}
	if n := count() - before; n < 5 || n > 6 {
		t.Errorf("%d seconds end in 5 s without records", n)
	}
	if err := model.Validate(g.got...); err != nil {
		t.Error(err)
	}
}

// TestFollowWaits checks what is waited for, and what is not.
func TestFollowWaits(t *testing.T) {
	data := flushed(etltest.Options{Unfinalised: true}, 3)
	size := 8 << 10
	head := len(data) % size
	losses := func(g *grown) (out []string) {
		for _, l := range lines(g.got) {
			if strings.Contains(l, " loss ") {
				out = append(out, l)
			}
		}
		return out
	}
	t.Run("space that is reserved", func(t *testing.T) {
		g := newGrown(t)
		g.write(append(slices.Clone(data[:head+2*size]), make([]byte, 4*size)...))
		g.look()
		g.write(data)
		g.look()
		if err := g.r.end(); err != nil {
			t.Fatal(err)
		}
		if l := losses(g); len(l) > 0 || g.r.at != int64(len(data)) {
			t.Errorf("%d of %d bytes read, %q", g.r.at, len(data), l)
		}
	})
	t.Run("a damaged buffer", func(t *testing.T) {
		g := newGrown(t)
		bad := slices.Clone(data)
		copy(bad[head+size:], bytes.Repeat([]byte{0x55}, 72))
		g.write(bad)
		g.look()
		if err := g.r.end(); err != nil {
			t.Fatal(err)
		}
		if l := losses(g); len(l) != 1 || !strings.Contains(l[0], "no buffer header") || g.r.at != int64(len(data)) {
			t.Errorf("%d of %d bytes read, %q", g.r.at, len(data), l)
		}
		if err := model.Validate(g.got...); err != nil {
			t.Error(err)
		}
	})
	t.Run("a file that becomes shorter", func(t *testing.T) {
		g := newGrown(t)
		g.write(data)
		g.look()
		g.write(data[:head])
		if _, err := g.r.look(t.Context(), func(*model.Batch) error { return nil }); err == nil {
			t.Error("no error")
		}
	})
	t.Run("a circular file", func(t *testing.T) {
		g := newGrown(t)
		g.write(flushed(etltest.Options{Mode: modeCircular, Unfinalised: true}, 1))
		_, err := g.r.look(t.Context(), func(*model.Batch) error { return nil })
		if !errors.Is(err, errNotFollowed) {
			t.Error(err)
		}
	})
}
