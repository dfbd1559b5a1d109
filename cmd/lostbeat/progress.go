package main

import (
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"lostbeat/internal/plain"
	"lostbeat/source"
)

const (
	// quietReading is for how long a file is read without saying so.
	quietReading = time.Second
	// progressEvery is the shortest time between two reports.
	progressEvery = 200 * time.Millisecond
)

// readingLine keeps a line on a terminal up to date on how far a file has been
// read. The nil readingLine says nothing.
type readingLine struct {
	w    io.Writer
	name string

	mu    sync.Mutex
	next  time.Time
	shown bool
	ended bool
}

// showReading begins the line of a file; nil where w is no terminal.
func showReading(w io.Writer, path string) *readingLine {
	if !isTerminal(w) {
		return nil
	}
	return &readingLine{w: w, name: plain.Text(filepath.Base(path)), next: time.Now().Add(quietReading)}
}

// progress returns what tells the line how far the file is read, nil for nobody.
func (l *readingLine) progress() source.Progress {
	if l == nil {
		return nil
	}
	return l.report
}

func (l *readingLine) report(done, total int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.ended || total <= 0 || now.Before(l.next) {
		return
	}
	l.next, l.shown = now.Add(progressEvery), true
	line := fmt.Sprintf("reading %s: %d %% · Ctrl-C stops", l.name, min(100, 100*max(done, 0)/total))
	fmt.Fprint(l.w, "\r\x1b[K", fit(line, columns(l.w)))
}

// end removes the line.
func (l *readingLine) end() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown && !l.ended {
		fmt.Fprint(l.w, "\r\x1b[K")
	}
	l.ended = true
}
