package notify

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
)

// Webhook is a URL to which findings are sent by POST. The zero values of all but URL and Say are useful.
type Webhook struct {
	// URL is http or https.
	URL string
	// Agent is the User-Agent.
	Agent string
	// Say is told what could not be delivered.
	Say func(string)
	// Attempt is how long one attempt may take, 10 s when 0.
	Attempt time.Duration
	// Pause is how long is waited before the first repetition, each time twice as long, up to MaxPause; 1 s and 1 min
	// when 0.
	Pause, MaxPause time.Duration
	// Attempts is how often a message is tried, 8 when 0.
	Attempts int
	// Client sends, with the certificates of the system when nil.
	Client *http.Client
}

// ParseURL reads the URL of a webhook.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, hint.New("not the URL of a web server", "write it like https://alerts.example.com/lostbeat")
	}
	return u, nil
}

// Start returns a Notifier that sends to the webhook.
func (w Webhook) Start() (*Notifier, error) {
	u, err := ParseURL(w.URL)
	if err != nil {
		return nil, err
	}
	w.Attempt = cmp.Or(w.Attempt, 10*time.Second)
	w.Pause = cmp.Or(w.Pause, time.Second)
	w.MaxPause = cmp.Or(w.MaxPause, time.Minute)
	w.Attempts = cmp.Or(w.Attempts, 8)
	client := http.Client{}
	if w.Client != nil {
		client = *w.Client
	}
	client.CheckRedirect = stayOnHost
	name := "--webhook " + plain.Text(u.Redacted())
	return start(name, 1, w.Say, func(ctx context.Context, hurry <-chan struct{}, m message) error {
		return w.send(ctx, hurry, &client, m)
	}), nil
}

// maxRedirects is how many redirects of one message are followed.
const maxRedirects = 3

// stayOnHost refuses redirects that would take a finding to another server, or turn the POST into a GET.
func stayOnHost(r *http.Request, via []*http.Request) error {
	switch first := via[0].URL; {
	case r.URL.Host != first.Host || r.URL.Scheme != first.Scheme:
		return fmt.Errorf("it redirects to another server, %s", plain.Text(r.URL.Scheme+"://"+r.URL.Host))
	case r.Method != http.MethodPost:
		return errors.New("it redirects in a way that would not send the finding")
	case len(via) > maxRedirects:
		return errors.New("it redirects too often")
	}
	return nil
}

// send sends a message until it is taken, is refused for good, or was tried often enough.
func (w Webhook) send(ctx context.Context, hurry <-chan struct{}, client *http.Client, m message) error {
	pause := w.Pause
	for attempt := 1; ; attempt++ {
		wait, again, err := w.post(ctx, client, m.body)
		if err == nil {
			return nil
		}
		if attempt > 1 {
			err = fmt.Errorf("not delivered in %d attempts: %w", attempt, err)
		}
		if !again || attempt >= w.Attempts {
			return err
		}
		timer := time.NewTimer(min(w.MaxPause, max(pause, wait)))
		select {
		case <-timer.C:
		case <-hurry:
			timer.Stop()
			return err
		}
		pause *= 2
	}
}

// post makes one attempt. again says that another one may succeed, after the given time.
func (w Webhook) post(
	ctx context.Context, client *http.Client, body []byte,
) (wait time.Duration, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.Attempt)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return 0, false, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", w.Agent)
	answer, err := client.Do(r)
	if err != nil {
		err = plain.WithoutURL(err)
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %v", w.Attempt)
		}
		return 0, true, err
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, 64<<10) // so that the connection can be used again
	switch code := answer.StatusCode; {
	case code >= 200 && code < 300:
		return 0, false, nil
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
		return time.Duration(max(0, min(seconds, 3600))) * time.Second, true, fmt.Errorf("answer %s", answer.Status)
	case code >= 500 || code == http.StatusRequestTimeout || code == http.StatusTooEarly:
		return 0, true, fmt.Errorf("answer %s", answer.Status)
	default:
		return 0, false, fmt.Errorf("answer %s", answer.Status)
	}
}
