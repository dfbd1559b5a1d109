package testutil

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Collector is an OpenTelemetry collector: its processes one after the other, at the same address.
type Collector struct {
	// URL takes OTLP by HTTP.
	URL string

	t       testing.TB
	program string
	config  string
	running *exec.Cmd
}

// NewCollector builds a collector from the module in the folder collector, with modules from the proxy. It is not
// running yet. The first build takes 80 s of CPU time.
func NewCollector(t testing.TB) *Collector {
	t.Helper()
	folder := t.TempDir()
	c := &Collector{t: t, program: filepath.Join(folder, "collector"), config: filepath.Join(folder, "config.yaml")}
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", c.program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	build.Dir = filepath.Join(Root(t), "internal", "testutil", "collector")
	if out, err := build.CombinedOutput(); err != nil {
		Unavailable(t, "the OpenTelemetry collector cannot be built: %v\n%s", err, out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.URL = "http://" + free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	return c
}

// Start runs the collector with a configuration in which ADDRESS is where it listens, and waits until it does.
func (c *Collector) Start(config string) {
	c.t.Helper()
	address := strings.TrimPrefix(c.URL, "http://")
	if err := os.WriteFile(c.config, []byte(strings.ReplaceAll(config, "ADDRESS", address)), 0o600); err != nil {
		c.t.Fatal(err)
	}
	log, err := os.Create(c.config + ".log")
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	c.running = exec.Command(c.program, "--config", c.config)
	c.running.Stderr = log
	if err := c.running.Start(); err != nil {
		c.t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if answer, err := http.Get(c.URL); err == nil {
			answer.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log.Name())
			c.t.Fatalf("the collector did not start:\n%s", said)
		}
	}
}

// Kill ends the collector without a warning.
func (c *Collector) Kill() {
	if c.running == nil {
		return
	}
	_ = c.running.Process.Kill()
	_ = c.running.Wait()
	c.running = nil
}
