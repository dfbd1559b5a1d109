// Package board keeps the findings of a running recorder in a small file, where a check of the host reads them without
// watching by itself: FOLDER/PID.json, written whole at each change and every few seconds.
package board

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"lostbeat/model"
)

const (
	// refresh is how often the file is written when nothing has changed, stale how old it is at most of a recorder
	// that works.
	refresh = 5 * time.Second
	stale   = 3 * refresh
	// keptFor is for how long a finding that has ended stays, maxKept how many findings there are at most.
	keptFor = time.Hour
	maxKept = 256
)

// Folder is where the boards of this host's recorders are.
const Folder = "/run/lostbeat"

// State is what a board says.
type State struct {
	// PID is the recorder, Started when it began to watch, Written when it wrote this, by the wall clock.
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Written time.Time `json:"written"`
	// Findings are the latest states of those of the last hour.
	Findings []model.Finding `json:"findings"`
}

// Board is a sink for findings. Its methods may be called from any goroutine.
type Board struct {
	path string
	stop chan struct{}
	done chan struct{}

	mu    sync.Mutex
	state State
	list  model.FindingList
}

// New puts up the board of this process in a folder and keeps it up to date until Close.
func New(folder string) (*Board, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("findings for checks: %w", err)
	}
	b := &Board{
		path:  filepath.Join(folder, strconv.Itoa(os.Getpid())+".json"),
		state: State{PID: os.Getpid(), Started: time.Now()},
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	if err := b.write(); err != nil {
		return nil, err
	}
	go b.keep()
	return b, nil
}

// keep writes the board again and again: its age says that the recorder works.
func (b *Board) keep() {
	defer close(b.done)
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-tick.C:
			_ = b.write() // a check sees that it is old
		}
	}
}

// Write implements pipeline.Sink.
func (b *Board) Write(batch *model.Batch) error {
	changed := false
	b.mu.Lock()
	for i := range batch.Events {
		if f, ok := batch.Finding(&batch.Events[i]); ok {
			b.list.Add(f)
			changed = true
		}
	}
	b.mu.Unlock()
	if !changed {
		return nil
	}
	return b.write()
}

// write replaces the file.
func (b *Board) write() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.state.Written, b.state.Findings = now, nil
	for _, f := range b.list.All() {
		if f.Ongoing || model.TimeOf(now).Sub(f.End) < keptFor {
			b.state.Findings = append(b.state.Findings, f)
		}
	}
	if n := len(b.state.Findings); n > maxKept {
		b.state.Findings = b.state.Findings[n-maxKept:]
	}
	text, err := json.Marshal(&b.state)
	if err != nil {
		return fmt.Errorf("findings for checks: %w", err)
	}
	next := b.path + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return fmt.Errorf("findings for checks: %w", err)
	}
	if err := os.Rename(next, b.path); err != nil {
		return fmt.Errorf("findings for checks: %w", err)
	}
	return nil
}

// Close takes the board away.
func (b *Board) Close() error {
	close(b.stop)
	<-b.done
	return os.Remove(b.path)
}

// ErrNone says that no recorder runs on this host, as far as the boards tell.
var ErrNone = errors.New("no recorder is running")

// Read returns the board of the recorder that has watched longest; [ErrNone] when there is none, or only of recorders
// that have ended or no longer write.
func Read(folder string) (State, error) {
	paths, _ := filepath.Glob(filepath.Join(folder, "*.json")) // the pattern is good
	var best State
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended since
		}
		var s State
		if json.Unmarshal(text, &s) != nil || strconv.Itoa(s.PID) != strings.TrimSuffix(filepath.Base(path), ".json") {
			continue
		}
		age := time.Since(s.Written)
		if age > stale || age < -stale || !alive(s.PID) {
			continue
		}
		if best.PID == 0 || s.Started.Before(best.Started) {
			best = s
		}
	}
	if best.PID == 0 {
		return State{}, ErrNone
	}
	return best, nil
}

// alive says that there is a process with this PID.
func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	err = p.Signal(syscall.Signal(0))
	return err == nil || errors.Is(err, os.ErrPermission)
}

// Since returns the findings of the last d.
func (s *State) Since(d time.Duration) []model.Finding {
	var out []model.Finding
	now := model.TimeOf(time.Now())
	for _, f := range s.Findings {
		if f.Ongoing || now.Sub(f.End) < d {
			out = append(out, f)
		}
	}
	return out
}
