package record

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lostbeat/internal/testutil"
)

// lockTestEnv makes TestLock's own process a recorder that never ends.
const lockTestEnv = "LOSTBEAT_TEST_LOCK"

// Two recorders under one name: the second says who the first is. A kill leaves
// nothing behind that stops the next.
func TestLock(t *testing.T) {
	if path := os.Getenv(lockTestEnv); path != "" {
		_, err := Create(path, Options{RotateSize: 1 << 20})
		fmt.Println("begun", err)
		select {}
	}
	path := filepath.Join(testutil.TempDir(t), "rec.lostbeat")
	other := exec.Command(os.Args[0], "-test.run=^TestLock$")
	other.Env = append(os.Environ(), lockTestEnv+"="+path)
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "begun <nil>\n" {
		t.Fatalf("%q, %v", line, err)
	}
	who := fmt.Sprintf("PID %d", other.Process.Pid)
	var fault *Error
	for name, begin := range map[string]func() error{
		"rotated": func() error { _, err := Create(path, Options{RotateSize: 1 << 20}); return err },
		"replace": func() error { _, err := Create(path, Options{Overwrite: true}); return err },
		"flight":  func() error { _, err := NewFlight(path, FlightOptions{}); return err },
	} {
		err := begin()
		if !errors.Is(err, ErrLocked) || !errors.As(err, &fault) || fault.Hint() == "" ||
			!strings.Contains(err.Error(), who) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait() // it was killed
	for range 2 {
		w, err := Create(path, Options{RotateSize: 1 << 20})
		if err != nil {
			t.Fatalf("after a kill: %v", err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path + lockExtension); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the lock is left behind: %v", err)
		}
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, Options{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("existing file: %v", err)
	}
	if _, err := os.Stat(path + lockExtension); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lock of a recording that was not begun is left behind: %v", err)
	}
}
