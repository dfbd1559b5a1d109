package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil"
)

// browser is a headless Chromium that is driven over its DevTools pipe: messages in JSON, a zero byte after each.
type browser struct {
	t        *testing.T
	in       *os.File
	out      *bufio.Reader
	session  string
	sent     int
	requests []string
	errors   []string
}

// startBrowser starts Debian's Chromium with one empty page.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		testutil.Unavailable(t, "Debian's chromium is not installed: %v", err)
	}
	commandsOut, commands, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, answersIn, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--user-data-dir="+t.TempDir(), "--remote-debugging-pipe", "about:blank")
	cmd.ExtraFiles = []*os.File{commandsOut, answersIn}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	commandsOut.Close()
	answersIn.Close()
	deadline := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	b := &browser{t: t, in: commands, out: bufio.NewReader(answers)}
	t.Cleanup(func() {
		commands.Close()
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("chromium: %v\n%.2000s", err, &said)
		}
		deadline.Stop()
		answers.Close()
	})
	t.Cleanup(func() { b.call("", "Browser.close", nil, nil) })
	var target struct{ TargetID string }
	b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(b.session, domain+".enable", nil, nil)
	}
	return b
}

// devtools is a message from the browser: the answer to a call, or an event.
type devtools struct {
	ID     int
	Method string
	Params json.RawMessage
	Result json.RawMessage
	Error  *struct{ Message string }
}

// next reads a message, and notes what it says of requests and errors.
func (b *browser) next() (devtools, error) {
	var m devtools
	text, err := b.out.ReadBytes(0)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
		return m, err
	}
	switch m.Method {
	case "Network.requestWillBeSent":
		var p struct{ Request struct{ URL string } }
		if err := json.Unmarshal(m.Params, &p); err != nil {
			return m, err
		}
		b.requests = append(b.requests, p.Request.URL)
	case "Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled":
		b.errors = append(b.errors, string(m.Params))
	}
	return m, nil
}

// call sends a command and reads its result.
func (b *browser) call(session, method string, params, result any) {
	b.t.Helper()
	b.sent++
	message := map[string]any{"id": b.sent, "method": method}
	if session != "" {
		message["sessionId"] = session
	}
	if params != nil {
		message["params"] = params
	}
	text, err := json.Marshal(message)
	if err == nil {
		_, err = b.in.Write(append(text, 0))
	}
	for err == nil {
		var m devtools
		if m, err = b.next(); err != nil || m.ID != b.sent {
			continue
		}
		if m.Error != nil {
			err = errors.New(m.Error.Message)
		} else if result != nil {
			err = json.Unmarshal(m.Result, result)
		}
		break
	}
	if err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
}

// open shows a file in a window of a width, and waits until it is loaded.
func (b *browser) open(path string, width int) {
	b.t.Helper()
	b.call(b.session, "Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false,
	}, nil)
	b.call(b.session, "Page.navigate", map[string]any{"url": "file://" + path}, nil)
	for {
		m, err := b.next()
		if err != nil {
			b.t.Fatal(err)
		}
		if m.Method == "Page.loadEventFired" {
			return
		}
	}
}

// evaluate returns the value of an expression in the page.
func (b *browser) evaluate(expression string, value any) {
	b.t.Helper()
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	b.call(b.session, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &answer)
	if err := json.Unmarshal(answer.Result.Value, value); err != nil || answer.ExceptionDetails != nil {
		b.t.Fatalf("%s: %v %s", expression, err, answer.ExceptionDetails)
	}
}

// overflowing lists elements that reach beyond the window, unless something around them scrolls or hides the rest.
const overflowing = `[...document.querySelectorAll("body *")].filter(e => {
	if (e.getBoundingClientRect().right <= innerWidth + 1) return false
	for (let p = e.parentElement; p && p !== document.body; p = p.parentElement)
		if (getComputedStyle(p).overflowX !== "visible") return false
	return true
}).map(e => e.tagName + "." + (e.className.baseVal ?? e.className) + " " + (e.textContent ?? "").slice(0, 40))`

// pdfPage is a page of a PDF.
var pdfPage = regexp.MustCompile(`/Type /Page\b`)

// TestLongReportInBrowser opens reports in Debian's Chromium: nothing fails, nothing is requested, nothing overflows,
// and they print. It takes 10 s.
func TestLongReportInBrowser(t *testing.T) {
	b := startBrowser(t)
	for name, input := range map[string]string{"sample": sampleRecording(t), "private": privateRecording(t)} {
		page := filepath.Join(t.TempDir(), name+".html")
		if _, errs, status := execute(t, "report", "--utc", input, "-o", page); status != exitOK {
			t.Fatalf("status %d\n%s", status, errs)
		}
		b.requests, b.errors = nil, nil
		for _, width := range []int{1280, 400} {
			b.open(page, width)
			var drawn int
			b.evaluate(`document.querySelectorAll("canvas, svg").length`, &drawn)
			var wide int
			b.evaluate("document.documentElement.scrollWidth", &wide)
			var over []string
			b.evaluate(overflowing, &over)
			if drawn == 0 || wide > width || len(over) > 0 {
				t.Errorf("%s at %d px: %d pictures, %d px wide: %q", name, width, drawn, wide, over[:min(len(over), 10)])
			}
		}
		var printed struct{ Data []byte }
		b.call(b.session, "Page.printToPDF", map[string]any{"printBackground": true}, &printed)
		if pages := len(pdfPage.FindAll(printed.Data, -1)); !bytes.HasPrefix(printed.Data, []byte("%PDF-")) || pages == 0 {
			t.Errorf("%s: %d pages in %d bytes of PDF", name, pages, len(printed.Data))
		}
		b.requests = slices.DeleteFunc(b.requests, func(u string) bool {
			return u == "file://"+page || strings.HasPrefix(u, "data:")
		})
		if len(b.requests) > 0 || len(b.errors) > 0 {
			t.Errorf("%s: requests %q, errors %s", name, b.requests, fmt.Sprint(b.errors))
		}
	}
}
