// Command dashboard writes the Grafana dashboard contrib/grafana/lostbeat.json.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

//go:generate go run .

func main() {
	if err := write("../../../contrib/grafana/lostbeat.json"); err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

// graph is a panel of lines.
type graph struct{ title, unit, expr, legend, doc string }

// rows are the panels from top to bottom. $instance is a variable of the dashboard.
var rows = []struct {
	title  string
	graphs []graph
}{
	{"Verdicts", []graph{
		{"Active findings", "short", `lostbeat_findings_active{instance=~"$instance"} > 0`,
			"{{instance}} {{detector}} ({{severity}})", "On the host, lostbeat findings says what they are."},
		{"Findings per hour", "short", `increase(lostbeat_findings_total{instance=~"$instance"}[1h]) > 0`,
			"{{instance}} {{detector}} ({{severity}})", "Also those that were over before a scrape."},
	}},
	{"Packets", []graph{
		{"Packets lost by place", "pps", `rate(lostbeat_dropped_packets_total{instance=~"$instance"}[$__rate_interval])`,
			"{{instance}} {{place}}", "A drop by a filter is a decision, and no fault."},
		{"Late heartbeats", "short",
			`increase(lostbeat_heartbeat_late_total{instance=~"$instance"}[$__rate_interval])`,
			"{{instance}} {{service}} {{protocol}}:{{port}} {{direction}} {{peer}}", ""},
		{"Longest gap as a share of the timeout", "percentunit",
			`lostbeat_heartbeat_longest_gap_seconds{instance=~"$instance"}` +
				` / lostbeat_heartbeat_timeout_seconds{instance=~"$instance"}`,
			"{{instance}} {{service}} {{protocol}}:{{port}} {{direction}} {{peer}}", "At 100 %, the peer was given up."},
	}},
	{"Deferred work", []graph{
		{"99th percentile of waits", "s", quantile("lostbeat_deferred_wait_seconds_bucket"), "{{instance}} {{vector}}", ""},
		{"99th percentile of runs", "s", quantile("lostbeat_deferred_run_seconds_bucket"), "{{instance}} {{vector}}", ""},
	}},
	{"Ports", []graph{
		{"Ports taken", "percentunit",
			`(lostbeat_pool_used_ports{instance=~"$instance"} + lostbeat_pool_resting_ports{instance=~"$instance"})` +
				` / lostbeat_pool_size_ports{instance=~"$instance"}`, "{{instance}} {{pool}} {{protocol}} {{netns}}", ""},
		{"Time until a pool is exhausted", "s", `lostbeat_pool_exhaustion_seconds{instance=~"$instance"}`,
			"{{instance}} {{pool}} {{protocol}} {{netns}}", "Only of pools that fill steadily."},
		{"Refused ports", "short", `increase(lostbeat_port_refusals_total{instance=~"$instance"}[$__rate_interval])`,
			"{{instance}}", ""},
	}},
	{"lostbeat itself", []graph{
		{"CPU", "percentunit", `rate(lostbeat_process_cpu_seconds_total{instance=~"$instance"}[$__rate_interval])` +
			` + rate(lostbeat_kernel_cpu_seconds_total{instance=~"$instance"}[$__rate_interval])`, "{{instance}}",
			"The process, and an estimate of its programs in the kernel; of one CPU."},
		{"Memory", "bytes", `lostbeat_resident_memory_bytes{instance=~"$instance"}`, "{{instance}}", ""},
		{"Lost events", "short", `increase(lostbeat_lost_events_total{instance=~"$instance"}[$__rate_interval])`,
			"{{instance}} {{origin}}", ""},
	}},
}

// quantile is the 99th percentile of a histogram by vector.
func quantile(buckets string) string {
	return `histogram_quantile(0.99, sum by (instance, vector, le) (rate(` + buckets +
		`{instance=~"$instance"}[$__rate_interval])))`
}

// write writes the dashboard.
func write(path string) error {
	legend := common.NewVizLegendOptionsBuilder().ShowLegend(true).DisplayMode(common.LegendDisplayModeList).
		Placement(common.LegendPlacementBottom)
	source := common.DataSourceRef{Type: new("prometheus"), Uid: new("$datasource")}
	//nolint:staticcheck // older releases of Grafana do not read the second version of the schema
	b := dashboard.NewDashboardBuilder("lostbeat").Uid("lostbeat").Tags([]string{"lostbeat"}).Refresh("30s").
		Time("now-1h", "now").
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Type("prometheus")).
		WithVariable(dashboard.NewQueryVariableBuilder("instance").Datasource(source).Multi(true).IncludeAll(true).
			Query(dashboard.StringOrMap{String: new("label_values(lostbeat_build_info, instance)")}))
	for _, row := range rows {
		b.WithRow(dashboard.NewRowBuilder(row.title))
		width := uint32(24 / len(row.graphs))
		for _, g := range row.graphs {
			b.WithPanel(timeseries.NewPanelBuilder().Title(g.title).Description(g.doc).Unit(g.unit).Min(0).
				Span(width).Height(8).Datasource(source).Legend(legend).
				WithTarget(prometheus.NewDataqueryBuilder().RefId("A").Expr(g.expr).LegendFormat(g.legend)))
		}
	}
	d, err := b.Build()
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
