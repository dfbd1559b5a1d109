package testutil

import (
	"os"
	"testing"
)

// TempDir returns an empty folder, which the end of the test removes. Under Wine 8 it is left behind: Go 1.26 deletes
// trees by a call that it does not have, so that a test fails which has done nothing wrong.
func TempDir(t testing.TB) string {
	t.Helper()
	if !underWine() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("", "test")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Wine skips the test under Wine, which is not what it is about; on a real Windows it runs.
func Wine(t testing.TB, why string) {
	t.Helper()
	if underWine() {
		t.Skip("Wine: " + why)
	}
}
