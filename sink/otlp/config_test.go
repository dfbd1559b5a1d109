package otlp

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/hint"
	"lostbeat/model"
)

func TestRead(t *testing.T) {
	for _, test := range []struct {
		name, endpoint string
		env            map[string]string
		url            string
	}{
		{"nothing", "", nil, "http://localhost:4318/v1/logs"},
		{"flag", "https://c.example:4318/", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"},
			"https://c.example:4318/v1/logs"},
		{"all signals", "", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:9428/insert/opentelemetry"},
			"http://c:9428/insert/opentelemetry/v1/logs"},
		{"logs, taken as it is", "", map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://c/in",
		}, "http://c/in"},
	} {
		c, err := Read(Logs, Endpoint{"--otlp-endpoint", test.endpoint}, func(n string) string { return test.env[n] })
		if err != nil || c.URL.String() != test.url {
			t.Errorf("%s: %v, %v, want %s", test.name, c.URL, err, test.url)
		}
	}
}

func TestReadAll(t *testing.T) {
	env := map[string]string{
		"OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Basic%20c2VjcmV0, x-team = net", "OTEL_EXPORTER_OTLP_TIMEOUT": "2500",
		"OTEL_EXPORTER_OTLP_LOGS_COMPRESSION": "gzip", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
		"OTEL_RESOURCE_ATTRIBUTES": "site=Berlin%20Mitte,service.name=x,host.name=given", "OTEL_SERVICE_NAME": "edge",
	}
	c, err := Read(Logs, Endpoint{}, func(n string) string { return env[n] })
	if err != nil {
		t.Fatal(err)
	}
	if c.Headers.Get("authorization") != "Basic c2VjcmV0" || c.Headers.Get("X-Team") != "net" || !c.Gzip ||
		c.Timeout != 2500*time.Millisecond || c.Service != "edge" {
		t.Errorf("got %+v", c)
	}
	r, to := newReceiver(t), &said{}
	o := options(t, r.URL, t.TempDir(), to)
	c.URL = o.URL
	o.Config = c
	e := start(t, o)
	write(t, e, one(1, model.SeverityInfo, true))
	e.Close(5 * time.Second)
	if len(r.stored) != 1 || r.headers.Get("Authorization") != "Basic c2VjcmV0" ||
		r.headers.Get("Content-Encoding") != "gzip" || r.headers.Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("%d records, headers %v, said %s", len(r.stored), r.headers, to.all())
	}
	if got := r.resources[0]; got["site"] != "Berlin Mitte" || got[AttrService] != "edge" || got[AttrHost] != "given" {
		t.Errorf("resource %v", got)
	}
}

// What cannot be done is said with what can, and without passwords.
func TestReadErrors(t *testing.T) {
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
		"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/json", "OTEL_EXPORTER_OTLP_HEADERS": "hunter2",
		"OTEL_EXPORTER_OTLP_TIMEOUT": "10s", "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd",
		"OTEL_RESOURCE_ATTRIBUTES": "a=%zz", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/nonexistent/ca.pem",
		"OTEL_EXPORTER_OTLP_LOGS_HEADERS": "a=hunter2%0d%0aHost: x",
	} {
		_, err := Read(Logs, Endpoint{}, func(n string) string { return map[string]string{name: value}[n] })
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error()+hint.Of(err), "hunter2") {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
}

// A receiver with a certificate of its own authority is trusted when that is named, and no other.
func TestCertificate(t *testing.T) {
	t.Parallel()
	r, to := newReceiver(t), &said{}
	r.Server = httptest.NewTLSServer(http.HandlerFunc(r.serve))
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(r.Server.Close)
	o := options(t, r.URL, t.TempDir(), to)
	e := start(t, o)
	write(t, e, one(1, model.SeverityCritical, true))
	eventually(t, "a refusal", func() bool { return strings.Contains(to.all(), "certificate") })
	e.Close(time.Second)
	if r.found() != 0 {
		t.Error("an unknown certificate was trusted")
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}
	if err := os.WriteFile(ca, pem.EncodeToMemory(&block), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Read(Logs, Endpoint{URL: r.URL}, func(n string) string {
		return map[string]string{"OTEL_EXPORTER_OTLP_CERTIFICATE": ca}[n]
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Config = c
	e = start(t, o)
	e.Close(5 * time.Second)
	if r.found() != 1 {
		t.Errorf("not delivered: %s", to.all())
	}
}
