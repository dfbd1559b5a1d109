package run

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/all"
	"lostbeat/detect/detecttest"
	"lostbeat/etw/etl"
	"lostbeat/etw/etl/etltest"
	"lostbeat/etw/xca"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/record"
	"lostbeat/source/perfmon/perfmontest"
)

// damages are ways in which a file comes to harm between two machines.
var damages = []struct {
	name string
	harm func(b []byte, r *rand.Rand) []byte
	// whole says that nothing is lost by it and it need not be noticed.
	whole bool
}{
	{"cut in half", func(b []byte, _ *rand.Rand) []byte { return b[:len(b)/2] }, false},
	{"cut at a border", func(b []byte, _ *rand.Rand) []byte {
		return b[:max(len(b)/2&^0xffff, min(len(b), 8192))]
	}, false},
	{"cut short by a few bytes", func(b []byte, _ *rand.Rand) []byte { return b[:len(b)-min(100, len(b)/2)] }, false},
	{"a page of zeros", func(b []byte, r *rand.Rand) []byte { return fill(b, place(b, r), 4096, 0) }, false},
	{"a chunk of zeros", func(b []byte, r *rand.Rand) []byte { return fill(b, place(b, r)&^0xffff, 65536, 0) }, false},
	{"a sector of noise", func(b []byte, r *rand.Rand) []byte { return noise(b, place(b, r)&^0x1ff, 512, r) }, false},
	{"a page of noise", func(b []byte, r *rand.Rand) []byte { return noise(b, place(b, r)&^0xfff, 4096, r) }, false},
	{"flipped bits", func(b []byte, r *rand.Rand) []byte {
		for range 20 {
			b[place(b, r)] ^= 1 << r.IntN(8)
		}
		return b
	}, false},
	{"a few bytes missing", func(b []byte, r *rand.Rand) []byte {
		at := place(b, r)
		return slices.Delete(b, at, min(at+13, len(b)))
	}, false},
	{"a sector missing", func(b []byte, r *rand.Rand) []byte {
		at := place(b, r) &^ 0x1ff
		return slices.Delete(b, at, min(at+512, len(b)))
	}, false},
	{"a chunk missing", func(b []byte, r *rand.Rand) []byte {
		at := place(b, r) &^ 0xffff
		return slices.Delete(b, at, min(at+65536, len(b)))
	}, false},
	{"bytes inserted", func(b []byte, r *rand.Rand) []byte {
		return slices.Insert(b, place(b, r), bytes.Repeat([]byte{0x5a}, 100)...)
	}, false},
	{"a chunk twice", func(b []byte, r *rand.Rand) []byte {
		at := place(b, r) &^ 0xffff
		return slices.Insert(b, at, bytes.Clone(b[at:min(at+65536, len(b))])...)
	}, false},
	{"two chunks swapped", func(b []byte, r *rand.Rand) []byte {
		i, j := place(b, r)&^0xffff, place(b, r)&^0xffff
		if i+65536 > len(b) || j+65536 > len(b) || i == j {
			return b
		}
		c := bytes.Clone(b[i : i+65536])
		copy(b[i:i+65536], b[j:j+65536])
		copy(b[j:], c)
		return b
	}, true},
	{"appended to itself", func(b []byte, _ *rand.Rand) []byte { return append(b, b...) }, true},
	{"zeros behind the end", func(b []byte, _ *rand.Rand) []byte { return append(b, make([]byte, 5000)...) }, true},
	{"noise behind the end", func(b []byte, r *rand.Rand) []byte {
		return noise(append(b, make([]byte, 5000)...), len(b), 5000, r)
	}, true},
}

// place is somewhere behind the header of a file.
func place(b []byte, r *rand.Rand) int {
	first := min(8192, len(b)/4)
	return first + r.IntN(len(b)-first)
}

func fill(b []byte, at, n int, with byte) []byte {
	at = max(at, min(8192, len(b)/4))
	for i := at; i < min(at+n, len(b)); i++ {
		b[i] = with
	}
	return b
}

func noise(b []byte, at, n int, r *rand.Rand) []byte {
	at = max(at, min(8192, len(b)/4))
	for i := at; i < min(at+n, len(b)); i++ {
		b[i] = byte(r.Uint32())
	}
	return b
}

// damageFiles are intact files of all formats: generated ones, and the real ones of the data directory.
func damageFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{
		"storm.etl":   etltest.DPCStorm(etltest.Options{BufferSize: 8 << 10}),
		"packed.etl":  etltest.DPCStorm(etltest.Options{BufferSize: 8 << 10, Compression: xca.Xpress}),
		"mixture.etl": etltest.Mixture(etltest.Options{}, 4000),
	}
	log := perfmontest.Scenario{
		Machine: "H", Start: time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC), Samples: 900, Cores: 4,
		UDPErrors: func(i int) int { return i % 50 / 49 },
	}
	files["log.csv"] = log.Text(perfmontest.Text{Zone: " (x)(0)"}).Bytes()
	files["log.blg"] = log.Binary(&perfmontest.BLG{BufferSize: 16384, Start: log.Start}, true).Bytes()
	files["recording.lostbeat"] = damageRecording(t)
	if os.Getenv("LOSTBEAT_DATA") == "" {
		t.Log("without LOSTBEAT_DATA, generated files only")
		return files
	}
	for _, pattern := range []string{"etl/*.etl", "perfmon/*.blg"} {
		paths, err := filepath.Glob(filepath.Join(testutil.DataDir(t), pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(data) > 16<<10 && len(data) < 4<<20 {
				files[filepath.Base(path)] = data
			}
		}
	}
	return files
}

// reading is what was read of a file.
type reading struct {
	events   uint64
	complete bool
	line     string
	findings []string
}

func readFile(t *testing.T, path string) (r reading, err error) {
	t.Helper()
	c, err := Open(path, OpenOptions{})
	if err != nil {
		return r, err
	}
	defer c.Close()
	judged, err := Findings(t.Context(), c, all.Settings(), nil)
	if err != nil {
		return r, err
	}
	for _, f := range judged.Findings {
		f = detecttest.Blanks(f)
		if f.Severity > model.SeverityInfo {
			r.findings = append(r.findings, fmt.Sprintf("%s %s %d", f.Detector, f.Subject.Kind, f.Subject.CPU))
		}
	}
	if f, ok := c.File.(*etl.File); ok {
		v, err := f.Inventory(t.Context())
		if err != nil {
			return r, err
		}
		r.events = v.EventsTotal
	} else if err := c.Run(t.Context(), func(b *model.Batch) error {
		for i := range b.Events {
			if k := b.Events[i].Kind; k != model.KindLoss && k != model.KindMeta && k != model.KindProbe {
				r.events++
			}
		}
		return nil
	}); err != nil {
		return r, err
	}
	i := c.Integrity()
	r.complete, r.line = i.Complete(), IntegrityLine(i)
	return r, nil
}

// TestDamage harms files of each kind in each way: whatever is then missing is
// said, nothing counts twice, and no finding arises that the whole file does not have.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, data := range damageFiles(t) {
		intact, err := readFile(t, write(name, data))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !intact.complete {
			t.Errorf("%s is intact, but: %s", name, intact.line)
		}
		for n, d := range damages {
			t.Run(name+"/"+d.name, func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(n), uint64(len(data))))
				harmed := d.harm(bytes.Clone(data), r)
				if bytes.Equal(harmed, data) {
					return
				}
				got, err := readFile(t, write("harmed"+filepath.Ext(name), harmed))
				if err != nil {
					t.Logf("cannot be opened: %v", err)
					return
				}
				switch {
				case got.events > intact.events:
					t.Errorf("%d events, %d in the intact file: %s", got.events, intact.events, got.line)
				case got.events < intact.events && got.complete:
					t.Errorf("%d of %d events, and no word of it: %s", got.events, intact.events, got.line)
				}
				for _, f := range got.findings {
					if d.name == "flipped bits" && filepath.Ext(name) != record.Extension {
						break // a number that another took the place of looks like any other
					}
					if !slices.Contains(intact.findings, f) {
						t.Errorf("a finding that the intact file does not have: %s", f)
					}
				}
				t.Logf("%d of %d events; %s", got.events, intact.events, strings.ReplaceAll(got.line, "\n", " "))
			})
		}
	}
}

// damageRecording is a recording of 10 minutes with many blocks.
func damageRecording(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "whole.lostbeat")
	w, err := record.Create(path, record.Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := model.TimeOf(time.Date(2026, 11, 22, 14, 3, 0, 0, time.UTC))
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 600 {
		var b model.Builder
		for cpu := range int32(16) {
			busy := time.Duration(r.Int64N(int64(time.Second)))
			b.AddCPUTime(model.CPUTime{
				Time: at + model.Time(i)*model.Time(time.Second), Dur: time.Second, CPU: cpu,
				User: busy, Idle: time.Second - busy,
			})
		}
		if err := w.Write(b.Take()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
