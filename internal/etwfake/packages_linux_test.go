package etwfake

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"lostbeat/internal/testutil"
)

// testSamples opens every sample with both programs: they print the same.
func testSamples(t *testing.T, l *lab) {
	data, samples := testutil.DataDir(t), t.TempDir()
	err := filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(data, path)
		if err != nil || filepath.Ext(name) == ".md" {
			return err
		}
		to := filepath.Join(samples, strings.TrimSuffix(name, ".zst"))
		if err := copySample(path, to); err != nil {
			return err
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			commands := []string{"findings", "info", "events"}
			if filepath.Dir(name) == "verdicts" && !testutil.Large() { // of Linux hosts
				commands = commands[:1]
				if info, err := entry.Info(); err != nil || info.Size() > 64<<10 {
					testutil.Nightly(t, "a long recording of a Linux host")
				}
			}
			for _, command := range commands {
				l.same(t, filepath.Dir(to), command, filepath.Base(to))
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// Several files that belong together.
	for _, files := range []string{"tcp-bound", "udp-leak/csv", "udp-leak", "dns-by-design", "sosreport"} {
		t.Run(files, func(t *testing.T) {
			t.Parallel()
			l.same(t, filepath.Join(samples, "inputs"), "findings", files)
		})
	}
}

// copySample copies a file, decompressed where its name says that it is compressed. Its time, which some inputs are
// dated by, is one that both systems can keep: Windows has steps of 100 ns.
func copySample(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if filepath.Ext(from) == ".zst" {
		r, err := zstd.NewReader(nil)
		if err != nil {
			return err
		}
		defer r.Close()
		if data, err = r.DecodeAll(data, nil); err != nil {
			return fmt.Errorf("decompress %s: %w", from, err)
		}
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	at := info.ModTime().Truncate(time.Millisecond)
	return errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.WriteFile(to, data, 0o600), os.Chtimes(to, at, at))
}

// same runs a command with both programs in a folder.
func (l *lab) same(t *testing.T, dir string, args ...string) {
	t.Helper()
	native := exec.Command(l.linux, args...)
	native.Env = append(os.Environ(), "TZ=UTC")
	wine := l.prefix.Command(t.Context(), nil, append([]string{l.windows}, args...)...)
	native.Dir, wine.Dir = dir, dir
	want, _ := native.Output() // its status is compared
	got, _ := wine.Output()
	got = bytes.ReplaceAll(got, []byte(" GMT"), []byte(" UTC")) // as Wine calls that zone
	if a, b := native.ProcessState.ExitCode(), wine.ProcessState.ExitCode(); a != b || !bytes.Equal(want, got) {
		t.Errorf("%s: status %d on Linux and %d under Wine, %d and %d bytes of output:\n%s",
			args[0], a, b, len(want), len(got), firstDifference(want, got))
	}
}

// firstDifference returns the first lines in which two texts differ.
func firstDifference(want, got []byte) string {
	a, b := bytes.Split(want, []byte("\n")), bytes.Split(got, []byte("\n"))
	for i := range min(len(a), len(b)) {
		if !bytes.Equal(a[i], b[i]) {
			return fmt.Sprintf("line %d\nLinux %s\nWine  %s", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d and %d lines", len(a), len(b))
}

// skippedUnderWine are tests that take minutes under Wine, and run on Linux.
var skippedUnderWine = map[string]string{"record": "|^TestFaultSweep|^TestSaveFaultSweep"}

// testPackages runs the tests of packages that run on Windows, the binding's against the fake. What they do is the
// same on each system but for those that deal with the system itself, which CI runs.
func testPackages(t *testing.T, l *lab) {
	packages := []string{"./etw/...", "./record", "./source/linuxhost", "./source/bundle"}
	for _, same := range []string{"./model", "./fold", "./tui", "./detect/...", "./source/..."} {
		t.Run(strings.Trim(same, "./"), func(t *testing.T) {
			testutil.Nightly(t, "the same on each system, and tried with the samples")
			packages = append(packages, same)
		})
	}
	list := exec.Command("go", append([]string{
		"list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}",
	}, packages...)...)
	list.Dir, list.Env = testutil.Root(t), append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64", "GOOS=windows")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("list packages: %v", err)
	}
	for name, dir := range fields(string(out)) {
		name = strings.TrimPrefix(name, "lostbeat/")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			text, err := l.test(t, dir, "-test.v", "-test.short", "-test.skip=^TestLong"+skippedUnderWine[name])
			count := func(what string) int { return strings.Count("\n"+text, "\n--- "+what) }
			t.Logf("%.1f s: %d passed, %d failed, %d skipped", time.Since(began).Seconds(),
				count("PASS"), count("FAIL"), count("SKIP"))
			if err != nil || count("PASS") == 0 {
				t.Errorf("%v:\n%s", err, complaints(text))
			}
		})
	}
}

// test runs the tests of the package in a folder under Wine.
func (l *lab) test(t *testing.T, dir string, args ...string) (out string, err error) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), filepath.Base(dir)+".test.exe")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64", "GOOS=windows")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	// Nothing here is meant to be privileged: no test fails because it would be skipped.
	env := []string{"LOSTBEAT_REQUIRE_PRIVILEGED=", "LOSTBEAT_ETWFAKE=" + Path(l.prefix.DLL())}
	if data := os.Getenv("LOSTBEAT_DATA"); data != "" {
		env = append(env, "LOSTBEAT_DATA="+Path(data))
	}
	cmd := l.prefix.Command(t.Context(), env, append([]string{binary, "-test.timeout=4m"}, args...)...)
	cmd.Dir = dir
	text, err := cmd.CombinedOutput()
	return strings.ReplaceAll(string(text), "\r", ""), err
}

// testCallback measures what a record costs.
func testCallback(t *testing.T, l *lab) {
	out, err := l.test(t, filepath.Join(testutil.Root(t), "etw"), "-test.run=^$", "-test.bench=Callback",
		"-test.benchtime=3x")
	if n := strings.Count(out, "cpu-ns/record"); err != nil || n != 3 {
		t.Errorf("%d of 3 figures: %v", n, err)
	}
	t.Log(out)
}

// TestTempDir finds tests that Wine would fail although they have done nothing wrong, see testutil.TempDir.
func TestTempDir(t *testing.T) {
	for _, top := range []string{"etw", "model", "fold", "record", "tui", "detect", "source"} {
		err := filepath.WalkDir(filepath.Join(testutil.Root(t), top), func(path string, e fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "_linux_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if bytes.Contains(text, []byte("t.TempDir()")) {
				t.Errorf("%s: t.TempDir() in a test that runs under Wine: use testutil.TempDir(t)", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// fields returns the words of a text, two a line.
func fields(text string) map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			m[name] = value
		}
	}
	return m
}

// complaints returns the lines of a test's output that say what failed.
func complaints(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "=== ") && !strings.Contains(line, "--- PASS") {
			b.WriteString(line)
		}
		if strings.Contains(line, "TempDir RemoveAll cleanup") {
			b.WriteString("    (use testutil.TempDir: Wine cannot delete as t.TempDir does)\n")
		}
	}
	return b.String()
}
