package run

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"lostbeat/detect/detecttest"
	"lostbeat/internal/testutil"
	"lostbeat/model"

	"github.com/klauspost/compress/zstd"
)

// untold are recordings of which the truth cannot be seen in what was recorded.
var untold = map[string]string{
	"conntrack-full": "the recording has no drop event: Each of the 12,000 packets that were sent was " +
		"received",
}

// truth returns the rows of a folder's table of truth, without the heading.
func truth(t *testing.T, folder string) (dir string, rows [][]string) {
	t.Helper()
	dir = filepath.Join(testutil.DataDir(t), folder)
	table, err := os.Open(filepath.Join(dir, "TRUTH.tsv"))
	if err != nil {
		t.Skipf("no table of truth: %v", err)
	}
	defer table.Close()
	r := csv.NewReader(table)
	r.Comma, r.LazyQuotes = '\t', true
	if rows, err = r.ReadAll(); err != nil {
		t.Fatal(err)
	}
	return dir, rows[1:]
}

// TestTruth judges the recordings with known truth, and the damaged files: one
// finding has to say what happened, and none what did not.
func TestTruth(t *testing.T) {
	for _, folder := range []string{"verdicts", "damaged"} {
		dir, rows := truth(t, folder)
		for _, row := range rows {
			t.Run(folder+"/"+row[0], func(t *testing.T) {
				if why := untold[row[0]]; why != "" {
					t.Log("not judged: " + why)
					return
				}
				checkTruth(t, truthFile(t, dir, row[0]), row)
			})
		}
	}
}

// truthFile is the file of a row: compressed text, or a file as it is.
func truthFile(t *testing.T, dir, name string) string {
	t.Helper()
	packed, err := os.Open(filepath.Join(dir, name+".txt.zst"))
	if err != nil {
		return filepath.Join(dir, name)
	}
	defer packed.Close()
	in, err := zstd.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	path := filepath.Join(t.TempDir(), name+".txt")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := in.WriteTo(out); err != nil {
		t.Fatal(err)
	}
	return path
}

// checkTruth holds the findings against a row: name, what happened, what a
// warning must say, what none may say.
func checkTruth(t *testing.T, path string, row []string) {
	t.Helper()
	c := opened(t, path, OpenOptions{})
	judged := judgementOf(t, c)
	said := []string{IntegrityLine(c.Integrity())}
	for _, f := range judged.Findings {
		f = detecttest.Blanks(f)
		if f.Severity > model.SeverityInfo {
			said = append(said, strings.Join(append(append([]string{f.Detector, f.Title}, f.Causes...), f.Advice...), " | "))
		}
	}
	must, never := row[2], row[3]
	right := must == "" && never == "" && len(said) == 1
	// (?=a)(?=b) is not known to package regexp: each part has to match.
	for _, text := range said {
		right = right || must != "" && matchesAll(must, text)
		if never != "" && matchesAll(never, text) {
			t.Errorf("%s: said wrongly: %s", row[1], text)
		}
	}
	if must != "" && !right {
		t.Errorf("%s: not said by %q", row[1], said)
	}
}

// lookahead is one demand of an expression that makes several.
var lookahead = regexp.MustCompile(`\(\?=\.\*((?:[^()]|\([^()]*\))*)\)`)

func matchesAll(expression, text string) bool {
	if parts := lookahead.FindAllStringSubmatch(expression, -1); parts != nil {
		for _, p := range parts {
			if !regexp.MustCompile("(?is)" + p[1]).MatchString(text) {
				return false
			}
		}
		return true
	}
	return regexp.MustCompile(expression).MatchString(text)
}

// TestInputTruth judges the samples of what support engineers are sent, each row's files together.
func TestInputTruth(t *testing.T) {
	dir, rows := truth(t, "inputs")
	for _, row := range rows {
		t.Run(row[0], func(t *testing.T) {
			if why := untold[row[0]]; why != "" {
				t.Log("not judged: " + why)
				return
			}
			var paths []string
			for part := range strings.SplitSeq(row[0], " + ") {
				found, err := filepath.Glob(filepath.Join(dir, part))
				if len(found) == 0 {
					found, err = filepath.Glob(filepath.Join(dir, "sosreport", part))
				}
				if err != nil || len(found) == 0 {
					t.Fatalf("no file %s: %v", part, err)
				}
				paths = append(paths, found...)
			}
			checkInputs(t, paths, row)
		})
	}
}

// checkInputs holds the warnings of files that are opened together against a row.
func checkInputs(t *testing.T, paths, row []string) {
	t.Helper()
	u, err := Unpack(t.Context(), paths)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	said := false
	var texts []string
	for _, group := range Groups(u, u.Paths) {
		c, err := OpenAll(group, OpenOptions{Unpacked: u})
		if err != nil {
			continue // a range of ports without a table
		}
		judged := judgementOf(t, c)
		c.Close()
		for _, f := range judged.Findings {
			f = detecttest.Blanks(f)
			if f.Severity == model.SeverityInfo {
				continue
			}
			text := strings.Join(append(append([]string{f.Title}, f.Causes...), f.Advice...), " | ")
			texts = append(texts, text)
			said = said || matchesAll(row[2], f.Detector+" | "+text)
			if row[3] != "" && matchesAll(row[3], text) {
				t.Errorf("%s: said wrongly: %s", row[1], text)
			}
		}
	}
	if row[2] != "" && !said {
		t.Errorf("%s: not said by %q", row[1], texts)
	}
}
