// Package docs tests what the documentation says.
package docs

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lostbeat/internal/testutil"
)

// additions are the examples of ADDING.md: what each adds to the copy.
var additions = []struct {
	name string
	// list is the one file that is changed, tests are the arguments of go test that show that it works.
	list  string
	tests [][]string
}{
	{"probe", "probes/probes.go", [][]string{{"./probes/load"}, {"./probes", "-run=TestCatalogue"}}},
	{"detector", "detect/all/all.go", [][]string{{"./detect/squeeze"}, {"./detect/all", "-run=TestDocumentation"}}},
	{"page", "tui/pages.go", [][]string{{"./tui", "-run=TestLosses"}}},
	{"format", "run/open.go", [][]string{{"./source/loadlog"}, {"./run", "-run=TestFormats"}}},
	{"output", "sink/sinks.go", [][]string{{"./sink", "./sink/titles"}}},
}

// TestLongAdding makes the additions that ADDING.md describes to a copy of the
// module, all together, builds and tests it, and uses what can be used. Each is
// new files and at most two lines, an import and an entry, in one list.
func TestLongAdding(t *testing.T) {
	testutil.Nightly(t, "a copy of the module is built and tested, for a minute and a half")
	dir := t.TempDir()
	copyModule(t, testutil.Root(t), dir)
	guide, err := os.ReadFile("ADDING.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range additions {
		path := filepath.Join("adding", a.name+".diff")
		if !strings.Contains(string(guide), "("+filepath.ToSlash(path)+")") {
			t.Errorf("ADDING.md does not link %s", path)
		}
		apply(t, path, dir, a.list)
	}
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	run("go", "generate", "./detect/all")
	if out := run("gofmt", "-l", "."); out != "" {
		t.Errorf("gofmt would change %s", out)
	}
	for _, a := range additions {
		for _, args := range a.tests {
			run("go", append([]string{"test"}, args...)...)
		}
	}
	program := filepath.Join(dir, "lostbeat")
	run("go", "build", "-o", program, "./cmd/lostbeat")
	log := filepath.Join(dir, "load.log")
	if err := os.WriteFile(log, []byte("load 1700000000 0.5\nload 1700000001 0.7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := run(program, "info", log); !strings.Contains(out, "(loadlog)") || !strings.Contains(out, "counter  2") {
		t.Errorf("the new format:\n%s", out)
	}
	if out := run(program, "watch", "--help"); !strings.Contains(out, "titles (the title of each finding, once)") {
		t.Errorf("the new output:\n%s", out)
	}
}

// copyModule copies the module's files.
func copyModule(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && (name == ".git" || name == "bin"):
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		case !d.Type().IsRegular(), name == ".git":
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// apply makes the changes of a diff that was made with one line of context:
// new files, and single lines that are added to list.
func apply(t *testing.T, path, dir, list string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(string(data), "diff --git "), "\ndiff --git ") {
		head, body, _ := strings.Cut(part, "\n@@ ")
		_, name, _ := strings.Cut(strings.Fields(head)[1], "/")
		lines := strings.Split(strings.TrimSuffix("@@ "+body, "\n"), "\n")
		if strings.Contains(head, "new file") {
			write(t, filepath.Join(dir, name), added(lines))
			continue
		}
		removes := slices.ContainsFunc(lines, func(l string) bool { return l[0] == '-' })
		if n := len(added(lines)); name != list || n > 2 || removes {
			t.Errorf("%s changes %d lines of %s; it should add an import and an entry to %s", path, n, name, list)
		}
		insert(t, filepath.Join(dir, name), lines)
	}
}

// added returns the lines that a diff adds.
func added(diff []string) (lines []string) {
	for _, l := range diff {
		if text, ok := strings.CutPrefix(l, "+"); ok {
			lines = append(lines, text)
		}
	}
	return lines
}

// insert adds to a file the lines that a diff adds, each after the line before it.
func insert(t *testing.T, path string, diff []string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	for i, l := range diff {
		text, ok := strings.CutPrefix(l, "+")
		if !ok {
			continue
		}
		at := slices.Index(lines, diff[i-1][1:])
		if at < 0 {
			t.Fatalf("%s has no line %q any more: renew the diff", path, diff[i-1][1:])
		}
		lines = slices.Insert(lines, at+1, text)
	}
	write(t, path, lines)
}

func write(t *testing.T, path string, lines []string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}
