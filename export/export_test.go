package export

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lostbeat/internal/hint"
	"lostbeat/model"

	"github.com/parquet-go/parquet-go"
)

// ofEveryKind is an event of each kind but findings, twice: with a value in every field, and with none.
func ofEveryKind() *model.Batch {
	var b model.Builder
	for _, s := range model.Specs {
		if s.Kind == model.KindFinding {
			continue
		}
		b.Add(model.NewEvent(s.Kind, 1_700_000_000_000_000_001))
		e := model.NewEvent(s.Kind, 1_700_000_000_123_456_789)
		e.Flags = model.FlagKeyframe | model.FlagShared
		if s.Span != "" {
			e.Dur = 5
		}
		if s.CPU {
			e.CPU = 3
		}
		if s.Task {
			e.PID, e.TID = 7, 8
		}
		if s.Netns {
			e.Netns = 4026532246
		}
		if s.Resource.Name != "" {
			e.Resource = math.MaxUint64
		}
		for i, f := range s.Args {
			switch e.Args[i] = uint64(1<<40 + i); f.Unit {
			case model.UnitFloat:
				e.Args[i] = math.Float64bits(-0.5)
			case model.UnitBool, model.UnitEnum:
				e.Args[i] = 1
			case model.UnitNumber:
				e.Args[i] = math.MaxUint64 // -1
			}
		}
		for i := range s.Strings {
			e.Str[i] = b.Intern(fmt.Sprintf("=%s %d\x1b\"", s.Name, i))
		}
		for i := range s.Hists {
			h := model.Histogram{Count: 6, Sum: 1 << 40, Max: 1 << 39, Buckets: []model.BucketCount{
				{Bucket: 2, Count: 1}, {Bucket: 40, Count: 2}, {Bucket: model.HistBuckets - 1, Count: 3},
			}}
			e.Hist[i] = b.InternHist(&h)
		}
		if s.Stack != "" {
			e.Stack = b.InternStack(model.Stack{{Addr: 1 << 63, Name: "f"}, {Name: "g"}})
		}
		b.Add(e)
	}
	return b.Take()
}

func finding() model.Finding {
	return model.Finding{
		ID: "x/1", Detector: "x", Severity: model.SeverityCritical, Title: "@late", Start: 5, End: 9, Ongoing: true,
		Subject: model.Subject{Kind: "cpu", CPU: 2, PID: -1}, Causes: []string{"a", "b"}, Loss: 4,
		Evidence: []model.Evidence{{Name: "n", Value: 1.5, Unit: "ratio"}, {Name: "none", Value: math.NaN(), Unit: "s"}},
	}
}

// written is a folder with all that there can be.
func written(t *testing.T, f Format) (dir string, done Done) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "out")
	to, err := Create(dir, Options{Format: f})
	if err != nil {
		t.Fatal(err)
	}
	b, found := ofEveryKind(), finding()
	for i := range b.Events {
		if ok, err := to.Write("night", b, &b.Events[i]); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	unknown := model.NewEvent(60000, 1)
	if ok, err := to.Write("night", b, &unknown); ok || err != nil {
		t.Fatal(ok, err)
	}
	err = to.Capture(&Capture{File: "night", Host: "h", Start: 1, End: 2, Rows: 4, Complete: true})
	if err == nil {
		err = to.Finding("", &found)
	}
	if err != nil {
		t.Fatal(err)
	}
	if done, err = to.Close(); err != nil {
		t.Fatal(err)
	}
	if err := to.Abort(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".lostbeat*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return dir, done
}

// rowsOf reads a Parquet file: for each row the values of each leaf, lists as lists.
func rowsOf(t *testing.T, path string) (rows []map[string][]parquet.Value, meta func(string) (string, bool)) {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	info, err := in.Stat()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parquet.OpenFile(in, info.Size())
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	names := file.Schema().Columns()
	for _, group := range file.RowGroups() {
		from := group.Rows()
		buffer := make([]parquet.Row, group.NumRows())
		if n, _ := from.ReadRows(buffer); int64(n) != group.NumRows() {
			t.Fatalf("%s: %d of %d rows", path, n, group.NumRows())
		}
		for _, row := range buffer {
			out := map[string][]parquet.Value{}
			for _, v := range row {
				name := strings.Join(names[v.Column()], ".")
				out[name] = append(out[name], v.Clone())
			}
			rows = append(rows, out)
		}
		if err := from.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return rows, file.Lookup
}

// asJSON is a leaf's value as 'lostbeat events --json' has it; decoded is what that has.
func asJSON(v parquet.Value, decoded any) any {
	text, isText := decoded.(string)
	switch {
	case v.IsNull():
		return nil
	case v.Kind() == parquet.ByteArray:
		return string(v.ByteArray())
	case v.Kind() == parquet.Boolean:
		return v.Boolean()
	case v.Kind() == parquet.Double:
		return v.Double()
	case isText && strings.HasPrefix(text, "0x"):
		return fmt.Sprintf("0x%x", v.Uint64())
	case isText:
		return model.Time(v.Int64()).String()
	case v.Kind() == parquet.Int32:
		return float64(v.Int32())
	}
	if n, ok := decoded.(float64); ok && n >= 0 {
		return float64(v.Uint64())
	}
	return float64(v.Int64())
}

// What is read back from Parquet is what 'lostbeat events --json' prints, for every field of every kind.
func TestParquetHasWhatEventsPrint(t *testing.T) {
	dir, done := written(t, Formats[0])
	b := ofEveryKind()
	if want := len(model.Specs) + 1; done.Tables != want || done.Rows != uint64(len(b.Events)+2) || done.Unknown != 1 {
		t.Errorf("%+v, want %d tables and %d rows", done, want, len(b.Events)+2)
	}
	for i := 0; i < len(b.Events); i += 2 {
		spec := model.SpecOf(b.Events[i].Kind)
		rows, lookup := rowsOf(t, filepath.Join(dir, TableName(spec)+".parquet"))
		if len(rows) != 2 {
			t.Fatalf("%s: %d rows", spec.Name, len(rows))
		}
		if described, _ := lookup(columnsKey); !strings.Contains(described, `"name":"time","unit":"time"`) {
			t.Errorf("%s: the columns are described as %s", spec.Name, described)
		}
		for n, row := range rows {
			e := &b.Events[i+n]
			var printed map[string]any
			if err := json.Unmarshal(model.AppendJSON(nil, b, e), &printed); err != nil {
				t.Fatal(err)
			}
			compareRow(t, spec, row, printed)
		}
	}
}

func compareRow(t *testing.T, spec *model.Spec, row map[string][]parquet.Value, printed map[string]any) {
	t.Helper()
	if got := string(row["capture"][0].ByteArray()); got != "night" {
		t.Errorf("%s: capture %q", spec.Name, got)
	}
	delete(row, "capture")
	delete(printed, "kind")
	equal := func(name string, v parquet.Value, want any) {
		t.Helper()
		if unknown, ok := want.(float64); ok && unknown == -1 && slices.Contains([]string{"cpu", "pid", "tid"}, name) {
			want = nil
		}
		if got := asJSON(v, want); got != want {
			t.Errorf("%s.%s: %v, events prints %v", spec.Name, name, got, want)
		}
	}
	if flags, ok := printed["flags"].([]any); ok {
		equal("flags", row["flags"][0], fmt.Sprintf("%s,%s", flags...))
	} else {
		equal("flags", row["flags"][0], nil)
	}
	delete(row, "flags")
	delete(printed, "flags")
	for key, value := range printed {
		switch value := value.(type) {
		case map[string]any: // a histogram
			for part, v := range value {
				if part != "buckets" {
					equal(key, row[key+"_"+part][0], v)
				}
			}
			compareList(t, row, key+"_buckets", value["buckets"].([]any))
		case []any:
			compareList(t, row, key, value)
		default:
			if leaf, ok := row[key]; ok {
				equal(key, leaf[0], value)
			} else if value != nil || !row[key+"_count"][0].IsNull() {
				t.Errorf("%s has no column %s", spec.Name, key)
			}
		}
	}
	for key := range row {
		base, _, nested := strings.Cut(key, ".list.")
		_, is := printed[base]
		histogram := slices.ContainsFunc(spec.Hists, func(f model.Field) bool { return strings.HasPrefix(key, f.Name+"_") })
		if !is && !histogram && (!nested || base != "stack") {
			t.Errorf("%s: events prints no %s", spec.Name, key)
		}
	}
}

// compareList compares a list of objects with the leaves of a list.
func compareList(t *testing.T, row map[string][]parquet.Value, name string, want []any) {
	t.Helper()
	for i, element := range want {
		for key, value := range element.(map[string]any) {
			leaf := row[name+".list.element."+key]
			if len(leaf) != len(want) {
				t.Fatalf("%s.%s: %d values, want %d", name, key, len(leaf), len(want))
			}
			if got := asJSON(leaf[i], value); got != value {
				t.Errorf("%s[%d].%s: %v, want %v", name, i, key, got, value)
			}
		}
	}
}

func TestFindings(t *testing.T) {
	dir, _ := written(t, Formats[0])
	rows, _ := rowsOf(t, filepath.Join(dir, "findings.parquet"))
	if len(rows) != 1 {
		t.Fatalf("%d rows", len(rows))
	}
	row := rows[0]
	texts := func(name string) (out []string) {
		for _, v := range row[name] {
			out = append(out, v.String())
		}
		return out
	}
	for name, want := range map[string][]string{
		"capture": {"<null>"}, "id": {"x/1"}, "severity": {"critical"}, "title": {"@late"}, "cpu": {"2"}, "pid": {"<null>"},
		"start_time": {"5"}, "end_time": {"9"}, "ongoing": {"true"}, "loss": {"4"}, "causes.list.element": {"a", "b"},
		"advice.list.element": {"<null>"}, "evidence.list.element.name": {"n", "none"},
		"evidence.list.element.value": {"1.5", "<null>"}, "evidence.list.element.unit": {"ratio", "s"},
	} {
		if got := texts(name); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// Text forms have the same columns, and a name cannot become a formula, a line or a command of a terminal.
func TestTextForms(t *testing.T) {
	csvDir, _ := written(t, Formats[1])
	jsonDir, _ := written(t, Formats[2])
	b := ofEveryKind()
	for i := 0; i < len(b.Events); i += 2 {
		table := Of(model.SpecOf(b.Events[i].Kind))
		raw, err := os.ReadFile(filepath.Join(csvDir, table.Name+".csv"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(string(raw), "\x1b\x00") || strings.Count(string(raw), "\r\n") != 3 {
			t.Errorf("%s.csv:\n%q", table.Name, raw)
		}
		cells, err := csv.NewReader(strings.NewReader(string(raw))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		lines, err := os.ReadFile(filepath.Join(jsonDir, table.Name+".jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		var object map[string]any
		if err := json.Unmarshal([]byte(strings.Split(string(lines), "\n")[1]), &object); err != nil {
			t.Fatalf("%v:\n%s", err, lines)
		}
		if len(object) != len(table.Columns) || len(cells[0]) != len(table.Columns) {
			t.Errorf("%s: %d and %d columns, want %d", table.Name, len(object), len(cells[0]), len(table.Columns))
		}
		for n, c := range table.Columns {
			value, ok := object[c.Name]
			if !ok || cells[0][n] != c.Name {
				t.Errorf("%s: no column %s", table.Name, c.Name)
			}
			compareCell(t, table.Name, c, cells[2][n], value)
		}
	}
}

func compareCell(t *testing.T, table string, c Column, cell string, value any) {
	t.Helper()
	switch value := value.(type) {
	case string:
		want := value
		if strings.HasPrefix(value, "=") {
			want = "'" + strings.ReplaceAll(value, "\x1b", "·")
		}
		if cell != want {
			t.Errorf("%s.%s: %q, want %q", table, c.Name, cell, want)
		}
	case float64:
		if got, err := strconv.ParseFloat(cell, 64); err != nil || got != value {
			t.Errorf("%s.%s: %q, want %v", table, c.Name, cell, value)
		}
	case []any:
		var list []any
		if err := json.Unmarshal([]byte(cell), &list); err != nil || len(list) != len(value) || len(list) == 0 {
			t.Errorf("%s.%s: %q, want %v", table, c.Name, cell, value)
		}
	}
}

// Columns have names of their own, which a language for queries takes.
func TestNames(t *testing.T) {
	tables := []Table{captures, findings}
	for _, s := range model.Specs {
		tables = append(tables, Of(&s))
	}
	seen := map[string]bool{}
	for _, table := range tables {
		if seen[table.Name] && table.Name != "finding" {
			t.Errorf("two tables %s", table.Name)
		}
		seen[table.Name] = true
		columns := map[string]bool{}
		for _, c := range table.Columns {
			if columns[c.Name] {
				t.Errorf("%s has two columns %s", table.Name, c.Name)
			}
			columns[c.Name] = true
			if c.Doc == "" || strings.Trim(c.Name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
				t.Errorf("%s: column %q: %q", table.Name, c.Name, c.Doc)
			}
		}
	}
}

// What is in the way is not lost.
func TestExisting(t *testing.T) {
	root := t.TempDir()
	try := func(name string, replace bool) error {
		f, err := Create(filepath.Join(root, name), Options{Replace: replace})
		if err != nil {
			return err
		}
		_, err = f.Close()
		return err
	}
	write := func(name string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("file")
	write("mine/letter.txt")
	write("both/drop.parquet")
	write("both/letter.parquet")
	write("old/drop.csv")
	if err := os.Mkdir(filepath.Join(root, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		replace bool
		hint    string
	}{
		{"new", false, ""}, {"new", false, "--force"}, {"new", true, ""}, {"empty", false, ""},
		{"file", true, "name of a new one"}, {"mine", true, "new folder"}, {"both", true, "new folder"},
		{"old", false, "--force"}, {"old", true, ""},
	} {
		err := try(c.name, c.replace)
		if c.hint == "" && err != nil || c.hint != "" && !strings.Contains(hint.Of(err), c.hint) {
			t.Errorf("%s, replace %t: %v, hint %q", c.name, c.replace, err, hint.Of(err))
		}
	}
	if _, err := os.Stat(filepath.Join(root, "old", "drop.csv")); err == nil {
		t.Error("the old table is still there")
	}
	for _, kept := range []string{"file", "mine/letter.txt", "both/drop.parquet"} {
		if _, err := os.Stat(filepath.Join(root, kept)); err != nil {
			t.Error(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(root, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// An export that is given up leaves nothing.
func TestAbort(t *testing.T) {
	root := t.TempDir()
	f, err := Create(filepath.Join(root, "out"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := ofEveryKind()
	if _, err := f.Write("c", b, &b.Events[0]); err != nil {
		t.Fatal(err)
	}
	if err := f.Abort(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(root); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
