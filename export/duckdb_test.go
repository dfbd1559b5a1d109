package export

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// duckDB is the package with the second reader of Parquet.
const duckDB = "@duckdb/node-api@1.5.6-r.1"

// TestLongDuckDB lets DuckDB, a second reader, read every table. It takes 10 s, most of it to fetch DuckDB (70 MB).
func TestLongDuckDB(t *testing.T) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			testutil.Unavailable(t, "DuckDB runs in Node.js: %v", err)
		}
	}
	dir, _ := written(t, Formats[0])
	lab := t.TempDir()
	script, err := os.ReadFile("testdata/query.mjs")
	if err == nil {
		err = os.WriteFile(filepath.Join(lab, "query.mjs"), script, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	install := exec.Command("npm", "install", "--no-audit", "--no-fund", "--prefix", lab, duckDB)
	if out, err := install.CombinedOutput(); err != nil {
		testutil.Unavailable(t, "DuckDB cannot be fetched: %v\n%s", err, out)
	}
	queries, want := []string{}, []string{}
	ask := func(query, answer string) {
		queries, want = append(queries, strings.ReplaceAll(query, "TABLES", dir)), append(want, answer)
	}
	for _, s := range model.Specs {
		if s.Kind != model.KindFinding {
			ask(fmt.Sprintf("SELECT count(*)::INT n, max(epoch_ns(time))::VARCHAR t, max(flags) f FROM 'TABLES/%s.parquet'",
				TableName(&s)), `[{"n":2,"t":"1700000000123456000","f":"keyframe,shared"}]`)
		}
	}
	ask("SELECT cpu, pid, place, count::VARCHAR c, reason FROM 'TABLES/drop.parquet' WHERE dur_ns = 5",
		`[{"cpu":3,"pid":7,"place":"ring","c":"1099511627777","reason":"=drop 0\u001b\""}]`)
	ask("SELECT count(*)::INT n FROM 'TABLES/drop.parquet' WHERE cpu IS NULL AND flags IS NULL", `[{"n":1}]`)
	ask("SELECT len(run_buckets)::INT n, run_buckets[3].high_ns h, run_buckets[3].count::INT c FROM "+
		"'TABLES/deferred_hist.parquet' ORDER BY n", `[{"n":0,"h":null,"c":null},{"n":3,"h":null,"c":3}]`)
	ask("SELECT stack[1].addr::VARCHAR a, stack[2].name b FROM 'TABLES/port_acquire.parquet' WHERE len(stack) = 2",
		`[{"a":"9223372036854775808","b":"g"}]`)
	ask("SELECT capture, title, evidence, causes, advice, epoch_ns(end_time)::INT e FROM 'TABLES/findings.parquet'",
		`[{"capture":null,"title":"@late","evidence":[{"name":"n","value":1.5,"unit":"ratio"},`+
			`{"name":"none","value":null,"unit":"s"}],"causes":["a","b"],"advice":[],"e":0}]`)
	ask("SELECT value FROM parquet_kv_metadata('TABLES/drop.parquet') WHERE key = 'lostbeat.schema'",
		`[{"value":"lostbeat.export/1"}]`)
	run := exec.Command("node", append([]string{"query.mjs"}, queries...)...)
	run.Dir = lab
	var errs bytes.Buffer
	run.Stderr = &errs
	out, err := run.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &errs)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(queries) {
		t.Fatalf("%d answers to %d queries", len(lines), len(queries))
	}
	for i, line := range lines {
		if line != want[i] {
			t.Errorf("%s\n%s\nwant %s", queries[i], line, want[i])
		}
	}
}
