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

// Config says where findings are sent to, and how. Read makes one.
type Config struct {
	// URL takes log events by POST.
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
}

// Attribute is a name with its value.
type Attribute struct{ Name, Value string }

// Defaults of the specification of OTLP exporters.
const (
	defaultEndpoint = "http://localhost:4318"
	defaultTimeout  = 10 * time.Second
	logsPath        = "v1/logs"
)

// maxTimeout bounds what a variable may ask for.
const maxTimeout = 10 * time.Minute

// Read makes a Config of the variables that OpenTelemetry specifies, as the given function returns them. endpoint
// takes the place of OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_LOGS_ENDPOINT; "" is none.
func Read(endpoint string, getenv func(string) string) (Config, error) {
	c := Config{Timeout: defaultTimeout, Service: "lostbeat"}
	// of returns a variable of log events or, when that is not set, of all signals.
	of := func(name string) (value, variable string) {
		for _, prefix := range []string{"OTEL_EXPORTER_OTLP_LOGS_", "OTEL_EXPORTER_OTLP_"} {
			if v := strings.TrimSpace(getenv(prefix + name)); v != "" {
				return v, prefix + name
			}
		}
		return "", "OTEL_EXPORTER_OTLP_" + name
	}
	base, variable := of("ENDPOINT")
	switch {
	case endpoint != "":
		base, variable = endpoint, "--otlp-endpoint"
	case base == "":
		base = defaultEndpoint
	}
	u, err := ParseURL(base)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", variable, err)
	}
	if variable != "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT" { // which is the whole URL
		u = u.JoinPath(logsPath)
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
		ms, err := strconv.ParseUint(text, 10, 32)
		if err != nil || ms == 0 || time.Duration(ms)*time.Millisecond > maxTimeout {
			return Config{}, hint.New(variable+": not a number of milliseconds up to 10 minutes", "write it like 10000")
		}
		c.Timeout = time.Duration(ms) * time.Millisecond
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
