package metrics

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/fold"
	"lostbeat/internal/hint"
	"lostbeat/internal/testutil"
	"lostbeat/model"
)

func get(t *testing.T, url string) (status int, text string) {
	t.Helper()
	client := http.Client{Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

func serve(t *testing.T, m *Metrics) (s *Server, url string) {
	t.Helper()
	s, err := Listen(":0", m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, "http://" + s.Address()
}

func TestServer(t *testing.T) {
	m := New(Options{Version: "v1"})
	s, url := serve(t, m)
	status, text := get(t, url+"/metrics")
	if status != 200 || !strings.Contains(text, `lostbeat_build_info{version="v1"`) {
		t.Errorf("%d: %s", status, text)
	}
	if status, text := get(t, url+"/healthz"); status != 200 || text != "ok\n" {
		t.Errorf("%d: %s", status, text)
	}
	m.began = m.began.Add(-time.Minute)
	if status, text := get(t, url+"/healthz"); status != 503 || !strings.Contains(text, "no second was judged for 1m0s") {
		t.Errorf("%d: %s", status, text)
	}
	m.publish(&fold.Levels{At: second})
	if status, _ := get(t, url+"/healthz"); status != 200 {
		t.Errorf("%d after a second was judged", status)
	}
	if status, _ := get(t, url+"/other"); status != 404 {
		t.Errorf("%d", status)
	}
	if !strings.HasSuffix(s.Notice(), "/metrics, reachable from this host only") {
		t.Error(s.Notice())
	}
	if _, err := Listen(s.Address(), m); !strings.Contains(hint.Of(err), "another lostbeat") {
		t.Errorf("a port that is in use: %v, %s", err, hint.Of(err))
	}
	everyone, err := Listen("0.0.0.0:0", m)
	if err != nil {
		t.Fatal(err)
	}
	defer everyone.Close()
	if !strings.Contains(everyone.Notice(), "without authentication") {
		t.Error(everyone.Notice())
	}
}

// Scrapers that do not go on hold up neither the sink, nor what the detectors publish, nor the end; the fifth at a time
// is sent away.
func TestSlowScrapers(t *testing.T) {
	m := New(Options{})
	s, url := serve(t, m)
	for range 3 {
		half, err := net.Dial("tcp", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer half.Close()
		fmt.Fprint(half, "GET /metrics HTTP/1.1\r\n")
	}
	m.made.Lock() // as if a page took for ever
	statuses := make(chan int, maxScrapes)
	for range maxScrapes {
		go func() {
			status, _ := get(t, url+"/metrics")
			statuses <- status
		}()
	}
	for len(s.scrapes) < maxScrapes {
		time.Sleep(time.Millisecond)
	}
	if status, text := get(t, url+"/metrics"); status != 503 || !strings.Contains(text, "4 other scrapes") {
		t.Errorf("%d: %s", status, text)
	}
	if status, _ := get(t, url+"/healthz"); status != 200 {
		t.Errorf("health is %d meanwhile", status)
	}
	write(t, m, func(b *model.Builder) { b.AddPortFail(model.PortFail{Time: second}) })
	m.publish(&fold.Levels{At: second})
	m.made.Unlock()
	for range maxScrapes {
		if status := <-statuses; status != 200 {
			t.Errorf("a scrape was answered with %d", status)
		}
	}
	began := time.Now()
	s.Close()
	if took := time.Since(began); took > closeTimeout+500*time.Millisecond {
		t.Errorf("the end took %s", took)
	}
}

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:9746": "127.0.0.1:9746", ":9746": "127.0.0.1:9746", "9746": "127.0.0.1:9746",
		"0.0.0.0:9746": "0.0.0.0:9746", "[::]:9746": "[::]:9746", "localhost:0": "localhost:0",
		"": "", "host": "", "1.2.3.4:http": "", "1.2.3.4:65536": "", "http://127.0.0.1:9746": "",
	} {
		got, err := ParseAddress(in)
		if got != want || (err == nil) != (want != "") || err != nil && hint.Of(err) == "" {
			t.Errorf("%q is %q, %v", in, got, err)
		}
	}
}

// The file is there at once, whole at each moment, readable for others, and gone at the end.
func TestFile(t *testing.T) {
	folder := testutil.TempDir(t)
	path := filepath.Join(folder, "lostbeat.prom")
	m := New(Options{Version: "v1"})
	var said []string
	f, err := keep(path, m, func(err error) { said = append(said, fmt.Sprint(err)) }, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	var last os.FileInfo
	for range 200 {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := read(t, text)[nameBuild]; !ok {
			t.Fatalf("a part of the file: %s", text)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if last == nil || !os.SameFile(last, info) {
			changed++
		}
		last = info
	}
	if changed < 2 {
		t.Error("the file was not replaced")
	}
	if mode := last.Mode().Perm(); mode&0o444 != 0o444 {
		t.Errorf("its mode is %v", mode)
	}
	f.Close()
	left, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil || len(left) > 0 || len(said) > 0 {
		t.Errorf("left: %v, said: %v, %v", left, said, err)
	}
}

// A folder that goes is said once, and is no reason to end; that it is back is said as well.
func TestFileFails(t *testing.T) {
	folder := filepath.Join(testutil.TempDir(t), "gone")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	said := make(chan error, 100)
	f, err := keep(filepath.Join(folder, "x.prom"), New(Options{}), func(err error) { said <- err }, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := <-said; err == nil || !strings.HasPrefix(err.Error(), "write metrics: ") {
		t.Error(err)
	}
	time.Sleep(10 * time.Millisecond)
	if len(said) > 0 {
		t.Errorf("said again: %v", <-said)
	}
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := <-said; err != nil {
		t.Errorf("when it can be written again: %v", err)
	}
	time.Sleep(10 * time.Millisecond)
	f.Close()
	if len(said) > 0 {
		t.Errorf("said again: %v", <-said)
	}
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	if _, err := Keep(filepath.Join(folder, "x.prom"), New(Options{}), nil); err == nil {
		t.Error("a folder that is not there is no error")
	}
	if _, err := Keep("metrics.txt", New(Options{}), nil); !strings.Contains(hint.Of(err), ".prom") {
		t.Errorf("a name that node_exporter does not read: %v", err)
	}
}
