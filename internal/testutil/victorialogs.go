package testutil

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Stores of VictoriaMetrics that tests send to. The store of metrics is the version whose packages that of logs has, so
// that they are built once; later ones need a later Go.
const (
	victoriaLogs    = "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs@v1.52.1"
	victoriaMetrics = "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics@" +
		"v1.146.1-0.20260630165203-c82127b6d4d1"
)

// VictoriaLogs builds VictoriaLogs, from the module proxy, and runs it until the test ends. The first build takes 17 s.
func VictoriaLogs(t testing.TB) (url string) {
	t.Helper()
	return store(t, victoriaLogs)
}

// VictoriaMetrics does the same with VictoriaMetrics, which takes OTLP metrics under the names of Prometheus. The first
// build takes 25 s.
func VictoriaMetrics(t testing.TB) (url string) {
	t.Helper()
	return store(t, victoriaMetrics, "-opentelemetry.usePrometheusNaming")
}

func store(t testing.TB, program string, args ...string) (url string) {
	t.Helper()
	folder := t.TempDir()
	build := exec.Command("go", "install", "-ldflags=-s -w", program)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOBIN="+folder, "GOFLAGS=")
	build.Dir = folder
	if out, err := build.CombinedOutput(); err != nil {
		Unavailable(t, "%s cannot be built: %v\n%s", program, err, out)
	}
	name, _, _ := strings.Cut(path.Base(program), "@")
	run := exec.Command(filepath.Join(folder, name), append(args, "-storageDataPath", filepath.Join(folder, "data"),
		"-httpListenAddr", "127.0.0.1:0", "-loggerFormat", "json", "-memory.allowedBytes", "256MiB")...)
	log := &started{begun: make(chan string, 1)}
	run.Stderr = log
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = run.Process.Kill(); _ = run.Wait() })
	select {
	case url = <-log.begun:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s did not start:\n%s", name, log.text())
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get(url + "/health")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return url
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not healthy: %v\n%s", name, err, log.text())
		}
	}
}

// started is a log in which a server says its address.
type started struct {
	mu    sync.Mutex
	all   bytes.Buffer
	begun chan string
}

func (s *started) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

func (s *started) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.Write(p)
	if _, rest, ok := strings.Cut(s.all.String(), "http://127.0.0.1:"); ok {
		if port, _, ok := strings.Cut(rest, "/"); ok && port != "0" {
			select {
			case s.begun <- "http://127.0.0.1:" + port:
			default:
			}
		}
	}
	return len(p), nil
}
