// Package testutil has what the tests of several packages need.
package testutil

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"lostbeat/internal/platform"
)

// Environment variables that tests obey.
const (
	// requirePrivileged makes missing privileges a failure instead of a skip.
	requirePrivileged = "LOSTBEAT_REQUIRE_PRIVILEGED"
	// aloneLater makes tests that watch the host wait for a run of their own.
	aloneLater = "LOSTBEAT_ALONE_LATER"
	// everything is set to 1 by make nightly: what CI has no time for runs, too.
	everything = "LOSTBEAT_LARGE"
	// dataDir is the folder of captures that are not part of the repository.
	dataDir = "LOSTBEAT_DATA"
)

// update rewrites golden files: go test ./... -update.
var update = flag.Bool("update", false, "rewrite golden files")

// Privileged skips the test when this process may not trace the host, and
// fails it instead where LOSTBEAT_REQUIRE_PRIVILEGED=1 says that it must. It
// skips with -short, too: such tests make things happen on the host.
//
// Such tests also watch the whole host, so that no other may run beside them.
// Where LOSTBEAT_ALONE_LATER=1 says that others do, the test is skipped with
// words that .ci/test looks for: it runs all of those one at a time afterwards.
func Privileged(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("it makes things happen on the host: not with -short")
	}
	err := platform.CheckPrivileges()
	switch {
	case err == nil && os.Getenv(aloneLater) == "1":
		t.Skip("watches the host: runs alone, later")
	case err == nil:
	case os.Getenv(requirePrivileged) == "1":
		t.Fatalf("%s=1, but: %v", requirePrivileged, err)
	default:
		t.Skipf("needs privileges: %v", err)
	}
}

// Large says that everything is run, also what CI has no time for.
func Large() bool { return os.Getenv(everything) != "" }

// Nightly skips the test where not everything is run; why says what covers it there, or what it costs.
func Nightly(t testing.TB, why string) {
	t.Helper()
	if !Large() {
		t.Skipf("%s: %s=1 (make nightly) runs it", why, everything)
	}
}

// Unavailable skips the test because this machine lacks something that the
// tests' setup installs, and fails it instead where
// LOSTBEAT_REQUIRE_PRIVILEGED=1 says that everything is meant to run.
func Unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv(requirePrivileged) == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// DataDir returns the folder of captures, from LOSTBEAT_DATA or beside the
// repository, and skips the test when it is not there.
func DataDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv(dataDir)
	if dir == "" {
		dir = filepath.Join(Root(t), "..", "shared", "data")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no captures (%s names their folder): %v", dataDir, err)
	}
	return dir
}

// Root returns the root folder of the repository.
func Root(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("where is this file?")
	}
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Golden compares got with the file testdata/name, and rewrites that file
// under -update.
func Golden(t testing.TB, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", filepath.FromSlash(name))
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read golden file (-update writes it): %v", err)
	}
	if line, same := firstDifference(string(want), got); !same {
		t.Errorf("%s differs from line %d on (-update rewrites it)\n--- want\n%s\n--- got\n%s", path, line, want, got)
	}
}

// firstDifference returns the number of the first line that differs.
func firstDifference(want, got string) (line int, same bool) {
	if want == got {
		return 0, true
	}
	line = 1
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			break
		}
		if want[i] == '\n' {
			line++
		}
	}
	return line, false
}
