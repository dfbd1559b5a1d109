package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil"
)

// debianPrometheus returns the folder with Debian's prometheus and promtool, unpacked and not installed.
func debianPrometheus(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	target := filepath.Join(cache, "lostbeat-prometheus")
	if _, err := os.Stat(filepath.Join(target, "usr/bin/promtool")); err == nil {
		return filepath.Join(target, "usr/bin")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	work, err := os.MkdirTemp(cache, "prometheus")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	fetch := exec.Command("sh", "-c", "apt-get download -q prometheus && dpkg -x prometheus_*.deb unpacked")
	fetch.Dir = work
	if out, err := fetch.CombinedOutput(); err != nil {
		testutil.Unavailable(t, "Debian's prometheus cannot be fetched: %v: %s", err, out)
	}
	if err := os.Rename(filepath.Join(work, "unpacked"), target); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(target, "usr/bin")
}

// freeAddress returns an address of this host on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answerOf reads a URL, "" while it does not answer.
func answerOf(url string) string {
	r, err := http.Get(url)
	if err != nil {
		return ""
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		return ""
	}
	return string(text)
}

// start runs a program until the end of the test.
func start(t *testing.T, name string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("%s: %v\n%.3000s", name, err, &out)
		}
	})
}

// queryResult is a series that a query returns.
type queryResult struct{ Metric map[string]string }

// queried returns what Prometheus answers to a query.
func queried(t *testing.T, address, expression string) []queryResult {
	t.Helper()
	r, err := http.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(expression))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []queryResult }
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %v %s", expression, err, answer.Error)
	}
	return answer.Data.Result
}

// metricName is the name of one of lostbeat's metrics in a query.
var metricName = regexp.MustCompile(`\blostbeat_\w+`)

// checkDashboard runs the queries of Grafana's dashboard. Where their metrics have series, they have a value.
func checkDashboard(t *testing.T, query func(string) []queryResult) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testutil.Root(t), "contrib", "grafana", "lostbeat.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$instance", ".*", "$__rate_interval", "30s")
	queries, answered := 0, 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			queries++
			expression := fill.Replace(target.Expr)
			query(expression)
			missing := slices.ContainsFunc(metricName.FindAllString(expression, -1), func(name string) bool {
				return len(query(name)) == 0
			})
			if missing {
				t.Logf("%s: no series in this run", panel.Title)
				continue
			}
			answered++
			// What is 0 here is left out by its comparison only.
			expression = strings.TrimSuffix(expression, " > 0")
			eventually(t, 20*time.Second, panel.Title, func() bool { return len(query(expression)) > 0 })
		}
	}
	if queries < 10 || answered < 8 {
		t.Errorf("%d queries, of which %d have an answer", queries, answered)
	}
}

// TestLongPrometheus has Debian's Prometheus scrape a confined lostbeat while a pool of ports is full: a query finds
// the finding, the alert fires, and the queries of Grafana's dashboard have answers. promtool checks the metrics, and
// the rules with their unit tests. It takes about 27 s, and downloads 19 MB once.
func TestLongPrometheus(t *testing.T) {
	testutil.Privileged(t)
	bin := debianPrometheus(t)
	promtool := func(stdin string, args ...string) {
		t.Helper()
		cmd := exec.Command(filepath.Join(bin, "promtool"), args...)
		cmd.Stdin = strings.NewReader(stdin)
		if out, err := cmd.CombinedOutput(); err != nil || stdin != "" && len(out) > 0 {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	rules := filepath.Join(testutil.Root(t), "contrib", "prometheus")
	promtool("", "check", "rules", filepath.Join(rules, "lostbeat.rules.yml"))
	promtool("", "test", "rules", filepath.Join(rules, "lostbeat.rules_test.yml"))

	const first, last = 20100, 20220
	folder := t.TempDir()
	address, file := freeAddress(t), filepath.Join(folder, "lostbeat.prom")
	start(t, lostbeat(t), "watch", "--confine", "strict", "--listen", address, "--metrics-file", file,
		"--pool", fmt.Sprintf("test=udp:%d-%d", first, last))
	eventually(t, 40*time.Second, "lostbeat's metrics", func() bool {
		return strings.Contains(answerOf("http://"+address+"/metrics"), `lostbeat_pool_size_ports{pool="test"`)
	})
	for port := first; port <= last; port++ {
		c, err := net.ListenPacket("udp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}

	// A minute is long for a test.
	text, err := os.ReadFile(filepath.Join(rules, "lostbeat.rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs: [{job_name: lostbeat, static_configs: [{targets: ["%s"]}]}]
`, address)
	for name, content := range map[string]string{
		"rules.yml": strings.ReplaceAll(string(text), "for: 1m", "for: 2s"), "prometheus.yml": config,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	prometheus := freeAddress(t)
	start(t, filepath.Join(bin, "prometheus"), "--config.file="+filepath.Join(folder, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address="+prometheus)

	query := func(expression string) []queryResult {
		t.Helper()
		return queried(t, prometheus, expression)
	}
	eventually(t, 40*time.Second, "Prometheus", func() bool { return answerOf("http://"+prometheus+"/-/ready") != "" })
	eventually(t, 40*time.Second, "the finding", func() bool {
		found := query(`lostbeat_findings_active{detector="port-exhaustion"} > 0`)
		return len(found) == 1 && found[0].Metric["job"] == "lostbeat"
	})
	eventually(t, 40*time.Second, "the alert", func() bool {
		var answer struct {
			Data struct {
				Alerts []struct {
					State  string
					Labels map[string]string
				}
			}
		}
		if json.Unmarshal([]byte(answerOf("http://"+prometheus+"/api/v1/alerts")), &answer) != nil {
			return false
		}
		for _, a := range answer.Data.Alerts {
			if a.State == "firing" && a.Labels["detector"] == "port-exhaustion" &&
				strings.HasPrefix(a.Labels["alertname"], "Lostbeat") {
				return true
			}
		}
		return false
	})
	checkDashboard(t, query)
	promtool(answerOf("http://"+address+"/metrics"), "check", "metrics")
	eventually(t, 40*time.Second, "the file", func() bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(text), `lostbeat_findings_active{detector="port-exhaustion"`) &&
			strings.Contains(string(text), fmt.Sprintf("{pool=\"test\",protocol=\"udp\",netns=\"\"} %d\n", last-first+1))
	})
}
