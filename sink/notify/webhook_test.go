package notify

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lostbeat/model"
)

// receiver is a web server that keeps what it accepts. answer, where set, answers first; it returns false to accept.
type receiver struct {
	*httptest.Server
	answer func(n int, w http.ResponseWriter, r *http.Request) bool

	mu     sync.Mutex
	asked  int
	bodies [][]byte
}

func receive(t *testing.T, secure bool, answer func(n int, w http.ResponseWriter, r *http.Request) bool) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	if secure {
		r.Server = httptest.NewTLSServer(r)
	} else {
		r.Server = httptest.NewServer(r)
	}
	t.Cleanup(r.Close)
	return r
}

func (s *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.asked++
	n := s.asked
	s.mu.Unlock()
	if s.answer != nil && s.answer(n, w, r) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies = append(s.bodies, body)
}

func (s *receiver) got(t *testing.T) (messages []string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.bodies {
		messages = append(messages, describe(t, b))
	}
	return messages
}

// notifier starts a webhook with short pauses.
func (s *receiver) notifier(t *testing.T, l *log, change func(*Webhook)) *Notifier {
	t.Helper()
	w := Webhook{
		URL: s.URL + "/hook", Agent: "lostbeat/test", Say: l.say, Attempt: 200 * time.Millisecond,
		Pause: time.Millisecond, MaxPause: 4 * time.Millisecond, Client: s.Client(),
	}
	if change != nil {
		change(&w)
	}
	n, err := w.Start()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWebhook(t *testing.T) {
	for _, secure := range []bool{false, true} {
		var l log
		s := receive(t, secure, func(_ int, _ http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" ||
				r.UserAgent() != "lostbeat/test" || r.URL.Path != "/hook" {
				t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
			}
			return false
		})
		n := s.notifier(t, &l, nil)
		write(t, n, history("a")...)
		n.Close(5 * time.Second)
		if got := s.got(t); !slices.Equal(got, wantHistory("a")) || l.all() != "" {
			t.Errorf("got %q, said %q", got, l.all())
		}
	}
}

func TestWebhookTriesAgain(t *testing.T) {
	var l log
	s := receive(t, false, func(n int, w http.ResponseWriter, _ *http.Request) bool {
		switch n {
		case 1:
			w.WriteHeader(http.StatusBadGateway)
		case 2:
			w.Header().Set("Retry-After", "3600") // no more than MaxPause is waited
			w.WriteHeader(http.StatusTooManyRequests)
		case 3:
			time.Sleep(300 * time.Millisecond) // longer than an attempt may take
		default:
			return false
		}
		return true
	})
	n := s.notifier(t, &l, nil)
	write(t, n, found("a", model.SeverityWarning, true))
	waitFor(t, func() bool { return len(s.got(t)) == 1 })
	n.Close(5 * time.Second)
	if l.all() != "" {
		t.Errorf("said %q", l.all())
	}
}

// waitFor waits until something holds.
func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within 10 s")
		}
	}
}

// TestWebhookGivesUp wants what is not delivered to be said and counted.
func TestWebhookGivesUp(t *testing.T) {
	other := receive(t, false, nil)
	tests := []struct {
		name   string
		answer func(n int, w http.ResponseWriter, r *http.Request) bool
		asked  int
		said   string
	}{
		{
			"refused for good",
			func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusForbidden)
				return true
			},
			1, "answer 403 Forbidden (a)",
		},
		{
			"broken",
			func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusInternalServerError)
				return true
			},
			3, "not delivered in 3 attempts: answer 500 Internal Server Error (a)",
		},
		{
			"redirect to another server",
			func(_ int, w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, other.URL+"/hook", http.StatusTemporaryRedirect)
				return true
			},
			3, "it redirects to another server, " + other.URL,
		},
		{
			"redirect that drops the finding",
			func(_ int, w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, "/login", http.StatusFound)
				return true
			},
			3, "it redirects in a way that would not send the finding",
		},
		{
			"redirect without end",
			func(_ int, w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, r.URL.Path+"x", http.StatusPermanentRedirect)
				return true
			},
			12, "it redirects too often",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var l log
			s := receive(t, false, tt.answer)
			n := s.notifier(t, &l, func(w *Webhook) { w.Attempts = 3 })
			write(t, n, found("a", model.SeverityWarning, true))
			waitFor(t, func() bool { return l.all() != "" })
			n.Close(5 * time.Second)
			if !strings.Contains(l.all(), tt.said) || !strings.HasSuffix(l.all(), "1 of 1 messages were not delivered") {
				t.Errorf("said %q, want %q", l.all(), tt.said)
			}
			if s.asked != tt.asked {
				t.Errorf("asked %d times, want %d", s.asked, tt.asked)
			}
		})
	}
	if other.asked != 0 {
		t.Error("a redirect to another server was followed")
	}
}

func TestWebhookFollowsItsOwnServer(t *testing.T) {
	var l log
	s := receive(t, false, func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/hook" {
			http.Redirect(w, r, "/other", http.StatusPermanentRedirect)
			return true
		}
		return false
	})
	n := s.notifier(t, &l, nil)
	write(t, n, history("a")...)
	n.Close(5 * time.Second)
	if got := s.got(t); !slices.Equal(got, wantHistory("a")) {
		t.Errorf("got %q, said %q", got, l.all())
	}
}

// TestWebhookThatHangs wants nothing to wait for a server that does not answer: not the tracing, not the end.
func TestWebhookThatHangs(t *testing.T) {
	var l log
	release := make(chan struct{})
	var once sync.Once
	end := func() { once.Do(func() { close(release) }) }
	s := receive(t, false, func(int, http.ResponseWriter, *http.Request) bool { <-release; return true })
	t.Cleanup(end)
	n := s.notifier(t, &l, func(w *Webhook) { w.Attempt = time.Minute })
	const many = queueLength + 50
	for i := range many {
		write(t, n, found(strings.Repeat("x", i+1), model.SeverityWarning, true))
	}
	began := time.Now()
	n.Close(50 * time.Millisecond)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
	end()
	if want := "306 of 306 messages were not delivered"; !strings.HasSuffix(l.all(), want) {
		t.Errorf("the last lines are %q, want %q", l.all()[max(0, len(l.all())-300):], want)
	}
	if !strings.Contains(l.all(), "256 messages wait already") {
		t.Error("that the queue is full was not said")
	}
}

func TestWebhookKeepsItsPassword(t *testing.T) {
	var l log
	var right atomic.Bool
	s := receive(t, false, func(_ int, w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		right.Store(user == "u" && password == "secret")
		w.WriteHeader(http.StatusNotFound)
		return true
	})
	for _, url := range []string{strings.Replace(s.URL, "://", "://u:secret@", 1), "http://u:secret@127.0.0.1:1/"} {
		n := s.notifier(t, &l, func(w *Webhook) { w.URL, w.Attempts = url, 1 })
		write(t, n, found("a", model.SeverityWarning, true))
		n.Close(5 * time.Second)
	}
	if !right.Load() || strings.Contains(l.all(), "secret") || !strings.Contains(l.all(), "404") ||
		!strings.Contains(l.all(), "refused") {
		t.Errorf("sent with the password: %v; said %q", right.Load(), l.all())
	}
}

func TestParseURL(t *testing.T) {
	for _, text := range []string{
		"", "x", "ftp://a/", "http://", "https:///x", "file:///etc/passwd", "http://a b/", "://",
	} {
		if u, err := ParseURL(text); err == nil {
			t.Errorf("%q was accepted: %v", text, u)
		}
	}
}
