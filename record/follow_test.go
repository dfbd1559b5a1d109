package record

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// recorded returns a recording of some seconds and its events as text.
func recorded(t *testing.T) (data []byte, want string) {
	t.Helper()
	path := filepath.Join(testutil.TempDir(t), "whole.lostbeat")
	write(t, path, 6)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var text strings.Builder
	if err := r.Run(t.Context(), func(b *model.Batch) error { return writeText(&text, b) }); err != nil {
		t.Fatal(err)
	}
	return data, text.String()
}

// write makes a recording of some seconds.
func write(t *testing.T, path string, seconds int) {
	t.Helper()
	w, err := Create(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	g := newTrace(2000)
	for range seconds {
		if err := w.Write(g.batch(2000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// grow lets a recording grow by pieces that end anywhere.
func grow(t *testing.T, data []byte, step int, check func(r *following)) string {
	t.Helper()
	path := filepath.Join(testutil.TempDir(t), "live.lostbeat")
	u, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.close)
	var text strings.Builder
	r := &following{path: path, unpacker: u, pass: newPass(func(b *model.Batch) error { return writeText(&text, b) })}
	t.Cleanup(r.close)
	random := rand.New(rand.NewPCG(1, 2))
	for n := 0; ; n = min(len(data), n+1+random.IntN(step)) {
		if n > 0 { // at first the file is not there
			if err := os.WriteFile(path, data[:n], 0o600); err != nil {
				t.Fatal(err)
			}
		}
		done, err := r.look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if done != (n == len(data)) {
			t.Fatalf("done = %v after %d of %d bytes", done, n, len(data))
		}
		if n == len(data) {
			break
		}
	}
	check(r)
	if err := r.pass.reportLoss(r.pass.last); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// TestFollow follows a recording while it is being written, and reads what is in it.
func TestFollow(t *testing.T) {
	data, want := recorded(t)
	for _, step := range []int{len(data) / 300, len(data) / 10} {
		got := grow(t, data, step, func(r *following) {
			if r.pass.unread.Read > 0 || len(r.pass.unread.Damage) > 0 {
				t.Errorf("damage: %+v", r.pass.unread)
			}
		})
		if got != want {
			t.Errorf("%d bytes of text were followed, %d are in the file", len(got), len(want))
		}
	}
}

// TestFollowDamage leaves out what is no block, and says so.
func TestFollowDamage(t *testing.T) {
	data, _ := recorded(t)
	frames, err := readSeekTable(strings.NewReader(string(data)), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	bad := append([]byte(nil), data...)
	for i := range 8 {
		bad[int(frames[3].offset)+i] = 0x55
	}
	got := grow(t, bad, len(data)/10, func(*following) {})
	if n := strings.Count(got, " loss "); n != 1 {
		t.Errorf("%d losses", n)
	}
}

// TestFollowShorter refuses a file that somebody else writes anew.
func TestFollowShorter(t *testing.T) {
	data, _ := recorded(t)
	path := filepath.Join(testutil.TempDir(t), "live.lostbeat")
	u, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	defer u.close()
	r := &following{path: path, unpacker: u, pass: newPass(func(*model.Batch) error { return nil })}
	defer r.close()
	for i, n := range []int{len(data) / 2, len(data) / 3} {
		if err := os.WriteFile(path, data[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.look(t.Context()); (err != nil) != (i == 1) || err != nil && !errors.Is(err, errShorter) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}
