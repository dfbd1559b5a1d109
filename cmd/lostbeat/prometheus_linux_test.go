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

// TestLongPrometheus has Debian's Prometheus scrape a confined lostbeat while a pool of ports is full: a query finds
// the finding, and the alert fires. promtool checks the metrics, and the rules with their unit tests. It takes about
// 27 s, and downloads 19 MB once.
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

	eventually(t, 40*time.Second, "the finding", func() bool {
		query := `lostbeat_findings_active{detector="port-exhaustion"} > 0`
		var answer struct {
			Data struct {
				Result []struct{ Metric map[string]string }
			}
		}
		text := answerOf("http://" + prometheus + "/api/v1/query?query=" + url.QueryEscape(query))
		return json.Unmarshal([]byte(text), &answer) == nil && len(answer.Data.Result) == 1 &&
			answer.Data.Result[0].Metric["job"] == "lostbeat"
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
	promtool(answerOf("http://"+address+"/metrics"), "check", "metrics")
	eventually(t, 40*time.Second, "the file", func() bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(text), `lostbeat_findings_active{detector="port-exhaustion"`) &&
			strings.Contains(string(text), fmt.Sprintf("{pool=\"test\",protocol=\"udp\",netns=\"\"} %d\n", last-first+1))
	})
}
