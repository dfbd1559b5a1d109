package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/model"
	"lostbeat/sink/otlp"
)

// Finding is the last revision of a finding of one host, as far as a list needs it.
type Finding struct {
	Host     string `json:"host"`
	BootID   string `json:"boot_id"`
	ID       string `json:"id"`
	Revision int64  `json:"revision"`
	Detector string `json:"detector"`
	Severity string `json:"severity"`
	State    string `json:"state"`
	Title    string `json:"title"`
	// Cause and Advice are the first ones, empty for none.
	Cause  string `json:"cause,omitempty"`
	Advice string `json:"advice,omitempty"`
	// Start is when the fault began and End when it ended or was last seen, by the clock of the host.
	Start model.Time `json:"start"`
	End   model.Time `json:"end"`
	// Recording is the file on the host that has more, empty for none.
	Recording string `json:"recording,omitempty"`
	// Subject has the parts of the subject that hosts may have in common.
	Subject string `json:"-"`
}

// Answer is what a store has.
type Answer struct {
	Findings []Finding
	// Records is how many the store has returned, with all revisions and repetitions.
	Records int
	// Damaged is how many of them were not understood, LeftOut how many findings there was no room for.
	Damaged, LeftOut int
	// Lost is how many findings hosts could not deliver, by host.
	Lost map[string]int64
	// Cut says that the answer was too long to be read to its end.
	Cut bool
}

// Query asks a store.
type Query struct {
	// URL is the base of VictoriaLogs' interface.
	URL *url.URL
	// Since is how far back.
	Since time.Duration
	// Agent is the User-Agent.
	Agent string
}

// Bounds of an answer, whatever the store sends.
const (
	maxLine     = 256 << 10
	maxAnswer   = 1 << 30
	maxFindings = 200_000
	maxText     = 1 << 10
)

// fields are those that are asked for, by the names of LogsQL.
var fields = []string{
	"_time", "_msg", "event_name", "severity_text", otlp.AttrHost, otlp.AttrBoot, otlp.AttrID, otlp.AttrRevision,
	otlp.AttrDetector, otlp.AttrState, otlp.AttrStart, otlp.AttrEnd, otlp.AttrCause, otlp.AttrAdvice, otlp.AttrRecording,
	otlp.AttrLost, otlp.AttrSubject + "kind", otlp.AttrSubject + "vector", otlp.AttrSubject + "driver",
	otlp.AttrSubject + "pool", otlp.AttrSubject + "protocol", otlp.AttrSubject + "port",
}

// LogsQL is the query.
func (q *Query) LogsQL() string {
	var quoted []string
	for _, f := range fields {
		quoted = append(quoted, strconv.Quote(f))
	}
	return fmt.Sprintf("event_name:in(%q, %q) _time:%dms | fields %s", otlp.EventFinding, otlp.EventLoss,
		q.Since.Milliseconds(), strings.Join(quoted, ", "))
}

// Read asks the store until ctx is done. An answer that ends early is returned with the error.
func (q *Query) Read(ctx context.Context) (*Answer, error) {
	form := url.Values{"query": {q.LogsQL()}}
	u := q.URL.JoinPath("select/logsql/query")
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("ask the store: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("User-Agent", q.Agent)
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", plain.Text(u.Host), plain.WithoutURL(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxText)) // what the store says of it, as far as it comes
		return nil, hint.New(fmt.Sprintf("%s: answer %s: %s", plain.Text(u.Host), plain.Text(response.Status),
			plain.Text(strings.TrimSpace(string(text)))),
			"--logs is the base URL of VictoriaLogs, e.g. http://logs.example.com:9428")
	}
	a, err := read(response.Body)
	if err != nil {
		return a, fmt.Errorf("read the answer of %s: %w", plain.Text(u.Host), err)
	}
	return a, nil
}

// id is what all revisions of a finding share.
type id struct{ boot, id string }

// read reads a store's answer: JSON lines. Of each finding the highest revision is kept.
func read(from io.Reader) (*Answer, error) {
	limited := &io.LimitedReader{R: from, N: maxAnswer}
	lines := bufio.NewReaderSize(limited, maxLine)
	a := &Answer{Lost: map[string]int64{}}
	known := map[id]int{}
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) { // no record of ours: the rest of it is skipped
			a.Records++
			a.Damaged++
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = lines.ReadSlice('\n')
			}
		} else if len(strings.TrimSpace(string(line))) > 0 {
			a.Records++
			a.add(known, line)
		}
		switch {
		case errors.Is(err, io.EOF):
			a.Cut = limited.N <= 0
			return a, nil
		case err != nil:
			a.Cut = true
			return a, err
		}
	}
}

// add takes a line of the answer.
func (a *Answer) add(known map[id]int, line []byte) {
	var row map[string]any
	if json.Unmarshal(line, &row) != nil {
		a.Damaged++
		return
	}
	text := func(name string) string {
		s, _ := row[name].(string)
		return shorten(s)
	}
	host := text(otlp.AttrHost)
	if text("event_name") == otlp.EventLoss {
		n, err := strconv.ParseInt(text(otlp.AttrLost), 10, 64)
		if err != nil || n < 0 {
			a.Damaged++
		} else if _, ok := a.Lost[host]; ok || len(a.Lost) < maxFindings {
			a.Lost[host] = max(a.Lost[host], n)
		}
		return
	}
	f := Finding{
		Host: host, BootID: text(otlp.AttrBoot), ID: text(otlp.AttrID), Detector: text(otlp.AttrDetector),
		Severity: text("severity_text"), State: text(otlp.AttrState), Title: text("_msg"), Cause: text(otlp.AttrCause),
		Advice: text(otlp.AttrAdvice), Recording: text(otlp.AttrRecording),
	}
	var err error
	f.Revision, err = strconv.ParseInt(text(otlp.AttrRevision), 10, 64)
	if err != nil || f.ID == "" || f.Detector == "" {
		a.Damaged++
		return
	}
	for name, to := range map[string]*model.Time{otlp.AttrStart: &f.Start, otlp.AttrEnd: &f.End} {
		if to.UnmarshalText([]byte(text(name))) != nil && to.UnmarshalText([]byte(text("_time"))) != nil {
			a.Damaged++
			return
		}
	}
	for _, part := range []string{"kind", "vector", "driver", "pool", "protocol", "port"} {
		f.Subject += text(otlp.AttrSubject+part) + "\x00"
	}
	key := id{f.BootID, f.ID}
	at, ok := known[key]
	switch {
	case ok && f.Revision >= a.Findings[at].Revision:
		a.Findings[at] = f
	case ok:
	case len(a.Findings) >= maxFindings:
		a.LeftOut++
	default:
		known[key] = len(a.Findings)
		a.Findings = append(a.Findings, f)
	}
}

// shorten bounds a text, between two characters.
func shorten(s string) string {
	if len(s) <= maxText {
		return s
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
