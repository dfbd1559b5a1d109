package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lostbeat/export"

	"github.com/parquet-go/parquet-go"
)

// rowsOf counts the rows of the tables of an export.
func rowsOf(t *testing.T, dir, extension string) map[string]int {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"+extension))
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	rows := map[string]int{}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(path), extension)
		if extension != ".parquet" {
			rows[name] = strings.Count(string(raw), "\n")
			continue
		}
		file, err := parquet.OpenFile(strings.NewReader(string(raw)), int64(len(raw)))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		rows[name] = int(file.NumRows())
	}
	return rows
}

// An export has a row for each event that events prints, and for each finding that findings prints.
func TestExport(t *testing.T) {
	path := sampleRecording(t)
	printed, _, _ := execute(t, "events", "--json", path)
	want := map[string]int{"captures": 1}
	for line := range strings.Lines(printed) {
		var e struct{ Kind string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Kind != "finding" {
			want[strings.ReplaceAll(e.Kind, ".", "_")]++
		}
	}
	found, _, _ := execute(t, "findings", "--json", path)
	want["findings"] = strings.Count(found, "\n")
	if len(want) < 6 || want["findings"] == 0 {
		t.Fatalf("the recording has %v", want)
	}
	for _, f := range export.Formats {
		out := filepath.Join(t.TempDir(), f.Name)
		_, errs, status := execute(t, "export", "--"+f.Name, path, "-o", out)
		if status != exitOK || !strings.Contains(errs, "rows in") {
			t.Fatalf("%s: status %d\n%s", f.Name, status, errs)
		}
		got := rowsOf(t, out, f.Extension)
		if f.Name == "csv" {
			for name := range got {
				got[name]-- // the line of the names
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", f.Name, got, want)
		}
		if _, errs, status = execute(t, "export", "--format", f.Name, path, "-o", out); status != exitError ||
			!strings.Contains(errs, "--force") {
			t.Errorf("%s again: status %d\n%s", f.Name, status, errs)
		}
		if _, errs, status = execute(t, "export", "--format", f.Name, path, "-o", out, "--force"); status != exitOK {
			t.Errorf("%s with --force: %s", f.Name, errs)
		}
	}
}

// A part has the events of its time and kinds, and the findings that fall into it.
func TestExportPart(t *testing.T) {
	path := sampleRecording(t)
	out := filepath.Join(t.TempDir(), "part")
	args := []string{"--kind", "port.acquire", "--since", "+10s", "--until", "+20s", path}
	_, errs, status := execute(t, append([]string{"export", "--jsonl", "-o", out}, args...)...)
	if status != exitOK {
		t.Fatal(errs)
	}
	printed, _, _ := execute(t, append([]string{"events", "--json"}, args...)...)
	got := rowsOf(t, out, ".jsonl")
	if want := strings.Count(printed, "\n"); want == 0 || got["port_acquire"] != want || got["findings"] == 0 {
		t.Errorf("%v, want %d", got, want)
	}
	if tables := slices.Sorted(maps.Keys(got)); !slices.Equal(tables, []string{"captures", "findings", "port_acquire"}) {
		t.Errorf("tables %v", tables)
	}
}

// Two files are told apart by their names, and one that is damaged is exported as far as it can be read.
func TestExportSeveral(t *testing.T) {
	one, two := sampleRecording(t), sampleRecording(t)
	raw, err := os.ReadFile(two)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(two, raw[:len(raw)*2/3], 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "two")
	_, errs, status := execute(t, "export", "--jsonl", one, two, "-o", out)
	if status != exitIncomplete {
		t.Fatalf("status %d\n%s", status, errs)
	}
	raw, err = os.ReadFile(filepath.Join(out, "captures.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	trace, errs, status := execute(t, "export", "--perfetto", one, two, "-o", "-")
	for _, want := range []string{one, two, "the file is incomplete"} {
		if status != exitIncomplete || strings.Count(trace, want) != 1 {
			t.Errorf("status %d, %d times %q\n%s", status, strings.Count(trace, want), want, errs)
		}
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], one) || !strings.Contains(lines[0], `"complete":true`) ||
		!strings.Contains(lines[1], two) || !strings.Contains(lines[1], `"complete":false`) {
		t.Errorf("captures:\n%s", raw)
	}
}

// What cannot be exported leaves nothing behind.
func TestExportMistakes(t *testing.T) {
	path := sampleRecording(t)
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	for _, args := range [][]string{
		{path}, {path, "-o", "-"}, {path, "-o", "."}, {path, "-o", out, "--csv", "--jsonl"},
		{path, "-o", out + ".pftrace", "--csv", "--perfetto"}, {path, "-o", path, "--perfetto", "--force"},
		{path, "-o", dir, "--perfetto", "--force"}, {path, "-o", filepath.Join(dir, "absent", "x.pftrace")},
		{path, "-o", out, "--csv", "--format", "jsonl"}, {path, "-o", out, "--kind", "nothing"},
		{path, "-o", out, "--since", "never"}, {path, "-o", filepath.Join(dir, "absent", "out")},
		{"absent.lostbeat", "-o", out}, {path, "-o", path},
	} {
		_, errs, status := execute(t, append([]string{"export"}, args...)...)
		if status != exitError || errs == "" {
			t.Errorf("%v: status %d\n%s", args, status, errs)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// An export with --redact has none of the names, in no format.
func TestExportRedacted(t *testing.T) {
	path := privateRecording(t)
	for _, f := range append(slices.Clone(export.Formats), export.Format{Name: export.Perfetto}) {
		out := filepath.Join(t.TempDir(), f.Name)
		_, errs, status := execute(t, "export", "--redact", "--"+f.Name, path, "-o", out)
		if status != exitOK {
			t.Fatal(errs)
		}
		text := ""
		switch f.Name {
		case "parquet":
			text = parquetText(t, out)
		case export.Perfetto:
			raw, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			text = string(raw)
		default:
			for name := range rowsOf(t, out, f.Extension) {
				raw, err := os.ReadFile(filepath.Join(out, name+f.Extension))
				if err != nil {
					t.Fatal(err)
				}
				text += string(raw)
			}
		}
		for _, secret := range secrets {
			if at := strings.Index(strings.ToLower(text), secret); at >= 0 {
				t.Errorf("%s in %s: …%s…", secret, f.Name, text[max(0, at-60):min(len(text), at+60)])
			}
		}
		for _, there := range []string{"process-1[4312]", "198.18.", "file-1.lostbeat"} {
			if !strings.Contains(text, there) {
				t.Errorf("%s: no %s", f.Name, there)
			}
		}
	}
}

// A trace is chosen by its name or by a flag, is the same on standard output, and is not replaced by mistake.
func TestExportTrace(t *testing.T) {
	path := sampleRecording(t)
	out := filepath.Join(t.TempDir(), "night.pftrace")
	_, errs, status := execute(t, "export", path, "-o", out)
	if status != exitOK || !strings.Contains(errs, "entries on ") {
		t.Fatalf("status %d\n%s", status, errs)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	found, _, _ := execute(t, "findings", "--json", path)
	var finding struct{ Title string }
	if err := json.Unmarshal([]byte(strings.SplitN(found, "\n", 2)[0]), &finding); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{finding.Title, path, "ports", "held"} {
		if want == "" || !strings.Contains(string(raw), want) {
			t.Errorf("no %q in the trace", want)
		}
	}
	for _, args := range [][]string{{"--perfetto"}, {"--format", "perfetto"}} {
		printed, errs, status := execute(t, append([]string{"export", path, "-o", "-"}, args...)...)
		if status != exitOK || printed != string(raw) {
			t.Errorf("%v: %d bytes, want %d; status %d\n%s", args, len(printed), len(raw), status, errs)
		}
	}
	_, errs, status = execute(t, "export", path, "-o", out)
	if status != exitError || !strings.Contains(errs, "--force") {
		t.Errorf("again: status %d\n%s", status, errs)
	}
	if _, errs, status := execute(t, "export", path, "-o", out, "--force"); status != exitOK {
		t.Errorf("with --force: status %d\n%s", status, errs)
	}
	if _, errs, status := execute(t, "export", "--jsonl", path, "-o", out+".d/"); status != exitOK {
		t.Errorf("tables beside it: status %d\n%s", status, errs)
	}
	part := filepath.Join(t.TempDir(), "part.pftrace")
	_, errs, status = execute(t, "export", "--since", "+10s", "--until", "+20s", path, "-o", part)
	if status != exitOK {
		t.Fatal(errs)
	}
	if less, err := os.ReadFile(part); err != nil || len(less) == 0 || len(less) >= len(raw) {
		t.Errorf("%d of %d bytes, %v", len(less), len(raw), err)
	}
}

// parquetText is all values of the tables in a folder.
func parquetText(t *testing.T, dir string) string {
	t.Helper()
	paths, _ := filepath.Glob(filepath.Join(dir, "*.parquet"))
	var text strings.Builder
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parquet.OpenFile(strings.NewReader(string(raw)), int64(len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		for _, group := range file.RowGroups() {
			rows := make([]parquet.Row, group.NumRows())
			from := group.Rows()
			_, _ = from.ReadRows(rows)
			for _, row := range rows {
				for _, v := range row {
					text.WriteString(v.String() + "\n")
				}
			}
			if err := from.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return text.String()
}
