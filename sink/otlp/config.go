package otlp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
)

// Config says where a signal is sent to, and how. Read makes one.
type Config struct {
	// URL takes the signal by POST.
	URL *url.URL
	// Headers are sent with each request. They may hold passwords and are never printed.
	Headers http.Header
	// Timeout bounds each request.
	Timeout time.Duration
	// Gzip compresses the bodies of requests.
	Gzip bool
	// TLS has the certificates; nil uses those of the system.
	TLS *tls.Config
	// Service is the service.name, and Attributes are those of the resource that the user has given.
	Service    string
	Attributes []Attribute
	// Interval is the time between two exports of metrics.
	Interval time.Duration
}

// Attribute is a name with its value.
type Attribute struct{ Name, Value string }

// Defaults of the specification of OTLP exporters.
const (
	defaultEndpoint = "http://localhost:4318"
	defaultTimeout  = 10 * time.Second
	defaultInterval = time.Minute
)

// Bounds of what variables may ask for.
const (
	maxTimeout  = 10 * time.Minute
	minInterval = time.Second
	maxInterval = 24 * time.Hour
)

// Signal is what is sent: log events or metrics.
type Signal struct {
	// path is added to a base URL, and name is in the names of variables.
	path, name string
}

// Signals.
var (
	Logs    = Signal{"v1/logs", "LOGS_"}
	Metrics = Signal{"v1/metrics", "METRICS_"}
)

// Endpoint is a base URL that a user has given with a flag; the zero value is none.
type Endpoint struct{ Flag, URL string }

// Read makes the Config of a signal of the variables that OpenTelemetry specifies, as the given function returns them.
// The given endpoint takes the place of OTEL_EXPORTER_OTLP_ENDPOINT and that of the signal.
func Read(signal Signal, endpoint Endpoint, getenv func(string) string) (Config, error) {
	c := Config{Timeout: defaultTimeout, Service: "lostbeat"}
	const all = "OTEL_EXPORTER_OTLP_"
	own := all + signal.name
	// of returns a variable of the signal or, when that is not set, of all signals.
	of := func(name string) (value, variable string) {
		for _, prefix := range []string{own, all} {
			if v := strings.TrimSpace(getenv(prefix + name)); v != "" {
				return v, prefix + name
			}
		}
		return "", all + name
	}
	base, variable := of("ENDPOINT")
	switch {
	case endpoint.URL != "":
		base, variable = endpoint.URL, endpoint.Flag
	case base == "":
		base = defaultEndpoint
	}
	u, err := ParseURL(base)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", variable, err)
	}
	if variable != own+"ENDPOINT" { // which is the whole URL
		u = u.JoinPath(signal.path)
	}
	c.URL = u
	if protocol, variable := of("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return Config{}, hint.New(fmt.Sprintf("%s: lostbeat does not send by %s", variable, plain.Text(protocol)),
			"set it to http/protobuf; collectors take it on port 4318")
	}
	if text, variable := of("HEADERS"); text != "" {
		pairs, err := parsePairs(text)
		if err != nil {
			return Config{}, fmt.Errorf("%s: %w", variable, err)
		}
		c.Headers = http.Header{}
		for _, p := range pairs {
			if !validHeader(p) {
				return Config{}, hint.New(variable+": not a header of HTTP", "write it like api-key=SECRET,team=net")
			}
			c.Headers.Set(p.Name, p.Value)
		}
	}
	if text, variable := of("TIMEOUT"); text != "" {
		if c.Timeout, err = parseMilliseconds(text, time.Millisecond, maxTimeout); err != nil {
			return Config{}, fmt.Errorf("%s: %w", variable, err)
		}
	}
	switch text, variable := of("COMPRESSION"); text {
	case "", "none":
	case "gzip":
		c.Gzip = true
	default:
		return Config{}, hint.New(variable+": there is no compression "+plain.Text(text), "set it to gzip or none")
	}
	if c.TLS, err = readCertificates(of); err != nil {
		return Config{}, err
	}
	if signal == Metrics {
		if c.Interval, err = readMetrics(getenv); err != nil {
			return Config{}, err
		}
	}
	const attributes = "OTEL_RESOURCE_ATTRIBUTES"
	pairs, err := parsePairs(getenv(attributes))
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", attributes, err)
	}
	for _, p := range pairs {
		if p.Name == "service.name" {
			c.Service = p.Value
			continue
		}
		c.Attributes = append(c.Attributes, p)
	}
	if name := getenv("OTEL_SERVICE_NAME"); name != "" {
		c.Service = name
	}
	return c, nil
}

// readMetrics reads what is specified of metrics only. What lostbeat does not do is an error.
func readMetrics(getenv func(string) string) (interval time.Duration, err error) {
	for _, v := range []struct{ name, only, hint string }{
		{"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative",
			"set it to cumulative; the processor cumulativetodelta of a collector makes deltas"},
		{"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "explicit_bucket_histogram",
			"set it to explicit_bucket_histogram"},
	} {
		if text := strings.TrimSpace(getenv(v.name)); text != "" && !strings.EqualFold(text, v.only) {
			return 0, hint.New(v.name+": lostbeat does not send "+plain.Text(text), v.hint)
		}
	}
	const variable = "OTEL_METRIC_EXPORT_INTERVAL"
	text := strings.TrimSpace(getenv(variable))
	if text == "" {
		return defaultInterval, nil
	}
	if interval, err = parseMilliseconds(text, minInterval, maxInterval); err != nil {
		return 0, fmt.Errorf("%s: %w", variable, err)
	}
	return interval, nil
}

// parseMilliseconds reads a time in milliseconds.
func parseMilliseconds(text string, least, most time.Duration) (time.Duration, error) {
	ms, err := strconv.ParseUint(text, 10, 32)
	if d := time.Duration(ms) * time.Millisecond; err == nil && d >= least && d <= most {
		return d, nil
	}
	return 0, hint.New(fmt.Sprintf("not a number of milliseconds from %d to %d", least.Milliseconds(),
		most.Milliseconds()), "write it like 10000")
}

// ParseURL reads the base URL of a receiver.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, hint.New("not the URL of an OTLP receiver", "write it like http://localhost:4318 or "+
			"https://collector.example.com:4318")
	}
	return u, nil
}

// readCertificates reads the files that the variables name.
func readCertificates(of func(string) (value, variable string)) (*tls.Config, error) {
	authority, variable := of("CERTIFICATE")
	certificate, _ := of("CLIENT_CERTIFICATE")
	key, _ := of("CLIENT_KEY")
	if authority == "" && certificate == "" && key == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if authority != "" {
		text, err := os.ReadFile(authority)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", variable, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, hint.New(variable+": "+plain.Text(authority)+" has no certificate", "it is a file in PEM form")
		}
	}
	if certificate != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and _CLIENT_KEY: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// maxPairs bounds the attributes and headers of a variable.
const maxPairs = 128

// parsePairs reads name=value,name=value with percent-encoded values, as W3C Baggage has them.
func parsePairs(text string) (pairs []Attribute, err error) {
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		name, nameErr := url.PathUnescape(strings.TrimSpace(name))
		value, valueErr := url.PathUnescape(strings.TrimSpace(value))
		if !ok || name == "" || errors.Join(nameErr, valueErr) != nil {
			return nil, hint.New("not a list of names with values", "write it like team=net,site=Berlin%20Mitte")
		}
		if len(pairs) == maxPairs {
			return nil, fmt.Errorf("more than %d names", maxPairs)
		}
		pairs = append(pairs, Attribute{name, strings.ToValidUTF8(value, "\ufffd")})
	}
	return pairs, nil
}

// validHeader reports whether a pair can be a header of HTTP.
func validHeader(p Attribute) bool {
	for _, r := range p.Name {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) {
			return false
		}
	}
	return !strings.ContainsFunc(p.Value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
