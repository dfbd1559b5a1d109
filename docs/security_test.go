package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"lostbeat/internal/testutil"
)

var (
	namedTest   = regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)`")
	namedTarget = regexp.MustCompile("`make ([a-z-]+)`")
	testFunc    = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)\(`)
)

// What SECURITY.md names as the test of a defence exists.
func TestThreatModel(t *testing.T) {
	root := testutil.Root(t)
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	model, makefile := read("SECURITY.md"), read("Makefile")
	tests := make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range testFunc.FindAllSubmatch(text, -1) {
			tests[string(found[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := namedTest.FindAllStringSubmatch(model, -1)
	if len(named) == 0 {
		t.Error("SECURITY.md names no test")
	}
	for _, found := range named {
		if !tests[found[1]] {
			t.Errorf("SECURITY.md names %s, which is no test", found[1])
		}
	}
	for _, found := range namedTarget.FindAllStringSubmatch(model, -1) {
		if !strings.Contains(makefile, "\n"+found[1]+":") {
			t.Errorf("SECURITY.md names make %s, which is no target", found[1])
		}
	}
}
