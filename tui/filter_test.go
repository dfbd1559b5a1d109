package tui

import (
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil/fuzztest"
)

// process is a row of the tables that filters are tried on.
type processRow struct {
	cpu       int
	process   string
	wait      time.Duration
	share     float64
	unit, why string
}

func processGrid() *grid[processRow] {
	return &grid[processRow]{
		id: "processes",
		rows: []processRow{
			{0, "redis[12]", 3 * time.Millisecond, 0.5, "redis.service", "waits for CPU 0"},
			{1, "redis-bench[13]", 900 * time.Microsecond, 0.25, "bench.service", ""},
			{10, "etcd[14]", 20 * time.Millisecond, 0.01, "etcd.service", "udp/7000 rps_cpus=1"},
		},
		ident: func(p processRow) string { return p.process },
		cols: []column[processRow]{
			numberColumn("cpu", 4, 0, func(p processRow) float64 { return float64(p.cpu) }, formatCount),
			textColumn("process", 10, 0, 0, func(p processRow) string { return p.process }),
			numberColumn("wait p99", 8, 0, func(p processRow) float64 { return float64(p.wait) }, formatNanos),
			numberColumn("share", 8, 0, func(p processRow) float64 { return p.share }, formatPercent),
			textColumn("systemd unit", 10, 0, 0, func(p processRow) string { return p.unit }),
			textColumn("why", 10, 0, 0, func(p processRow) string { return p.why }),
			sparkColumn("each bar 1 s", 10, 0, 0, plain, 0, func(processRow, int) []float32 { return nil }),
		},
	}
}

func TestFilter(t *testing.T) {
	for _, tt := range []struct{ filter, want string }{
		{"", "redis[12] redis-bench[13] etcd[14]"},
		{"redis", "redis[12] redis-bench[13]"},
		{"REDIS", "redis[12] redis-bench[13]"},
		{"redis bench", "redis-bench[13]"},
		{"!redis", "etcd[14]"},
		{"process=redis", "redis[12]"},
		{"proc=redis", "redis[12]"},
		{"proc=redis[12]", "redis[12]"},
		{"!proc=redis", "redis-bench[13] etcd[14]"},
		{"proc!=redis", "redis-bench[13] etcd[14]"},
		{"cpu=0", "redis[12]"},
		{"cpu=1", "redis-bench[13]"},
		{"cpu!=1", "redis[12] etcd[14]"},
		{"!cpu=1", "redis[12] etcd[14]"},
		{"cpu>=1", "redis-bench[13] etcd[14]"},
		{"wait>1ms", "redis[12] etcd[14]"},
		{"wait>1ms cpu=0", "redis[12]"},
		{"wait<=900µs", "redis-bench[13]"},
		{"waitp99>3ms", "etcd[14]"},
		{"share>=25%", "redis[12] redis-bench[13]"},
		{"share<0.02", "etcd[14]"},
		{"unit=etcd.service", "etcd[14]"},
		{"unit~^(redis|etcd)", "redis[12] etcd[14]"},
		{"!unit~^redis", "redis-bench[13] etcd[14]"},
		{"~^redis.*bench", "redis-bench[13]"},
		{`"waits for"`, "redis[12]"},
		{`why="waits for cpu 0"`, "redis[12]"},
		{`"rps_cpus=1"`, "etcd[14]"},
		{"udp/7000", "etcd[14]"},
		{"nobody", ""},
	} {
		g := processGrid()
		g.prepare(&listState{filter: tt.filter})
		var got []string
		for _, p := range g.rows {
			got = append(got, p.process)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("filter %q leaves %q, want %q (%v)", tt.filter, got, tt.want, g.wrong)
		}
	}
}

// What is wrong with a filter is said, and nothing is hidden by it.
func TestFilterErrors(t *testing.T) {
	for _, tt := range []struct{ filter, want string }{
		{"wait>", `"wait>" has no value to compare with`},
		{"wait>long", `"long" is not a number: write 5, 1.5k, 20%, 1ms or 2MiB`},
		{"colour=red", `there is no column "colour" here`},
		{"proc>5", `"process" holds text: compare it with =, != or ~`},
		{"wait=long", `"wait p99" holds numbers: compare it with a number`},
		{"wait~5", `"wait p99" holds numbers: compare it with a number`},
		{"~[", `"[" is not a regular expression: missing closing ]: ` + "`[`"},
	} {
		g := processGrid()
		g.prepare(&listState{filter: tt.filter})
		if len(g.rows) != 3 {
			t.Errorf("filter %q leaves %d rows, want all 3", tt.filter, len(g.rows))
		}
		if g.wrong == nil || g.wrong.Error() != tt.want {
			t.Errorf("filter %q: %v, want %q", tt.filter, g.wrong, tt.want)
		}
		g = processGrid()
		g.prepare(&listState{shared: tt.filter})
		if columnless := tt.filter == "colour=red"; columnless && (g.wrong != nil || len(g.rows) != 3) {
			t.Errorf("a shared filter on a column of other tables: %v, %d rows", g.wrong, len(g.rows))
		}
	}
}

func TestQuantities(t *testing.T) {
	for text, want := range map[string]float64{
		"5": 5, "1.5k": 1500, "2M": 2e6, "20%": 0.2, "1ms": 1e6, "1.5s": 1.5e9, "2min": 120e9, "10us": 10e3, "2KiB": 2048,
		"1,200": 1200,
	} {
		if got, ok := parseQuantity(text); !ok || got != want {
			t.Errorf("%q is %v, %v, want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "x", "k", "%", "5 apples"} {
		if got, ok := parseQuantity(text); ok {
			t.Errorf("%q is %v, want no number", text, got)
		}
	}
}

func FuzzFilter(f *testing.F) {
	fuzztest.Quick(f)
	for _, s := range []string{"cpu=0 wait>1ms !proc=redis", `"a b" ~x`, "a~[", "!", "!!x", "=", "a=\"b c\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g := processGrid()
		g.prepare(&listState{filter: text})
		if len(g.rows) > 3 || (g.wrong != nil && len(g.rows) != 3) {
			t.Errorf("filter %q: %d rows, %v", text, len(g.rows), g.wrong)
		}
	})
}
