package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/plain"

	"google.golang.org/protobuf/encoding/protowire"
)

// client makes single requests.
type client struct {
	config Config
	agent  string
	http   *http.Client
}

func newClient(c Config, agent string) *client {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: c.TLS, MaxIdleConns: 1, IdleConnTimeout: 90 * time.Second,
		ForceAttemptHTTP2: true, ResponseHeaderTimeout: c.Timeout,
	}
	return &client{config: c, agent: agent, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is what has become of a request.
type answer struct {
	// err is why the request was not taken, nil when it was.
	err error
	// again says that the same request may be taken later, and after is how long the receiver asks to wait.
	again bool
	after time.Duration
	// split says that parts of the request may be taken: it was refused for its size, or for one of its records.
	split bool
	// rejected is the number of records that the receiver has left out, and message its reason.
	rejected int64
	message  string
}

// Limits of what a receiver's answer may take.
const (
	maxAnswer     = 64 << 10
	maxRetryAfter = time.Hour
	maxMessage    = 200
)

// post makes one request within the timeout of the configuration.
func (c *client) post(ctx context.Context, body []byte) answer {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	if c.config.Gzip {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		_, err := w.Write(body)
		if err = errors.Join(err, w.Close()); err != nil {
			return answer{err: err}
		}
		body = packed.Bytes()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.config.URL.String(), bytes.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	for name, values := range c.config.Headers {
		r.Header[name] = values
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("User-Agent", c.agent)
	if c.config.Gzip {
		r.Header.Set("Content-Encoding", "gzip")
	}
	response, err := c.http.Do(r)
	if err != nil {
		err = plain.WithoutURL(err)
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %v", c.config.Timeout)
		}
		return answer{err: err, again: true}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil && response.StatusCode/100 == 2 {
		return answer{err: fmt.Errorf("read the answer: %w", err), again: true}
	}
	return read(response, text)
}

// read reads an answer: which statuses may be repeated is the specification of OTLP over HTTP.
func read(response *http.Response, body []byte) answer {
	code := response.StatusCode
	if code/100 == 2 {
		rejected, message := partialSuccess(body)
		return answer{rejected: rejected, message: message}
	}
	a := answer{err: fmt.Errorf("answer %s", plain.Text(response.Status))}
	switch code {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		a.again, a.after = true, retryAfter(response.Header.Get("Retry-After"), response.Header.Get("Date"))
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		a.split = true
	}
	return a
}

// retryAfter reads how long a receiver asks to wait: seconds, or a date, which counts from the receiver's own clock.
func retryAfter(text, date string) time.Duration {
	if seconds, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	until, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(date)
	if err != nil {
		return 0
	}
	return min(max(0, until.Sub(now)), maxRetryAfter)
}

// Fields of ExportLogsServiceResponse and ExportLogsPartialSuccess.
const (
	fieldPartialSuccess = 1
	fieldRejected       = 1
	fieldMessage        = 2
)

// partialSuccess reads how many records the receiver has left out, and why. An answer that is not understood confirms
// everything, as an empty one does.
func partialSuccess(body []byte) (rejected int64, message string) {
	inner, ok := lookUp(body, fieldPartialSuccess)
	if !ok {
		return 0, ""
	}
	for len(inner) > 0 {
		number, kind, n := protowire.ConsumeTag(inner)
		if n < 0 {
			return max(0, rejected), message
		}
		inner = inner[n:]
		switch {
		case number == fieldRejected && kind == protowire.VarintType:
			v, n := protowire.ConsumeVarint(inner)
			if n < 0 {
				return max(0, rejected), message
			}
			rejected, inner = int64(v), inner[n:]
		case number == fieldMessage && kind == protowire.BytesType:
			v, n := protowire.ConsumeBytes(inner)
			if n < 0 {
				return max(0, rejected), message
			}
			message, inner = plain.Text(string(v[:min(len(v), maxMessage)])), inner[n:]
		default:
			n := protowire.ConsumeFieldValue(number, kind, inner)
			if n < 0 {
				return max(0, rejected), message
			}
			inner = inner[n:]
		}
	}
	return max(0, rejected), message
}

// lookUp returns the last field of that number that holds bytes.
func lookUp(body []byte, wanted protowire.Number) (value []byte, ok bool) {
	for len(body) > 0 {
		number, kind, n := protowire.ConsumeTag(body)
		if n < 0 {
			return value, ok
		}
		body = body[n:]
		if number == wanted && kind == protowire.BytesType {
			v, n := protowire.ConsumeBytes(body)
			if n < 0 {
				return value, ok
			}
			value, ok, body = v, true, body[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(number, kind, body); n < 0 {
			return value, ok
		}
		body = body[n:]
	}
	return value, ok
}
