package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lostbeat/internal/guard"
	"lostbeat/internal/hint"

	"golang.org/x/net/netutil"
)

// Bounds of what scrapers may take.
const (
	maxConnections = 16
	maxScrapes     = 4
	readTimeout    = 5 * time.Second
	writeTimeout   = 10 * time.Second
	idleTimeout    = 2 * time.Minute // above the usual scrape interval, so that connections are used again
	maxHeader      = 8 << 10
	closeTimeout   = time.Second
	// healthyFor is how old the last judged second may be.
	healthyFor = 15 * time.Second
)

// DefaultPort is the port in the examples.
const DefaultPort = "9746"

// ParseAddress completes the address of --listen. Without a host it is the loopback address: that others can reach
// the metrics is only so when asked for.
func ParseAddress(s string) (string, error) {
	if _, err := strconv.ParseUint(s, 10, 16); err == nil {
		s = ":" + s
	}
	host, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return "", hint.New("not an address to listen on",
			"write it like 127.0.0.1:"+DefaultPort+", or 0.0.0.0:"+DefaultPort+" for all addresses of this host")
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// Server serves metrics by HTTP.
type Server struct {
	server   http.Server
	listener net.Listener
	scrapes  chan struct{}
	metrics  *Metrics
	running  guard.Background
}

// Listen serves the metrics at an address until Close.
func Listen(address string, m *Metrics) (*Server, error) {
	address, err := ParseAddress(address)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		text := "choose another port, or leave --listen out"
		if errors.Is(err, syscall.EADDRINUSE) {
			text = "another lostbeat may serve its metrics there; " + text
		}
		return nil, hint.New(fmt.Sprintf("serve metrics: %v", err), text)
	}
	s := &Server{
		listener: netutil.LimitListener(l, maxConnections), scrapes: make(chan struct{}, maxScrapes), metrics: m,
	}
	routes := http.NewServeMux()
	routes.HandleFunc("GET /metrics", s.serveMetrics)
	routes.HandleFunc("GET /healthz", s.serveHealth)
	s.server = http.Server{
		Handler: routes, ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: log.New(io.Discard, "", 0),
	}
	s.running.Go("the server of metrics", func() { _ = s.server.Serve(s.listener) })
	return s, nil
}

// Address is where the metrics are served.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Notice says in a sentence where the metrics are, and who can reach them.
func (s *Server) Notice() string {
	who := "reachable from this host only"
	if a, ok := s.listener.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		who = "reachable from other hosts, without authentication or encryption"
	}
	return fmt.Sprintf("metrics are at http://%s/metrics, %s", s.Address(), who)
}

// Close ends the server; requests under way have a second.
func (s *Server) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		_ = s.server.Close() // the process ends anyway
	}
	s.running.Wait()
	s.running.Rethrow()
}

func (s *Server) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	select {
	case s.scrapes <- struct{}{}:
		defer func() { <-s.scrapes }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, fmt.Sprintf("%d other scrapes are under way", maxScrapes), http.StatusServiceUnavailable)
		return
	}
	text, err := s.metrics.Text()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write(text) // a scraper that is gone misses nothing
}

func (s *Server) serveHealth(w http.ResponseWriter, _ *http.Request) {
	if age := s.metrics.Age(); age > healthyFor {
		http.Error(w, fmt.Sprintf("no second was judged for %s", age.Round(time.Second)), http.StatusServiceUnavailable)
		return
	}
	_, _ = strings.NewReader("ok\n").WriteTo(w)
}
