package applog

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"lostbeat/internal/guard"
	"lostbeat/internal/hint"
	"lostbeat/internal/spawn"
	"lostbeat/model"
)

// journalName is the name of systemd's journal as a log; a unit may follow behind a colon.
const journalName = "journal"

// journalUnit reports whether path names the journal, and of which unit; empty for all.
func journalUnit(path string) (unit string, ok bool) {
	name, unit, named := strings.Cut(path, ":")
	return unit, name == journalName && (!named || unit != "")
}

const (
	// journalLines is how many entries that are there already are learned from.
	journalLines = 5000
	// maxField is how much of a field of an entry is kept, maxFields how many bytes an entry has at most.
	maxField  = 64 << 10
	maxFields = 64 << 20
	// journalWait is how long a journalctl that was ended may take.
	journalWait = 2 * time.Second
	// journalRetry is how long after its end journalctl is started again.
	journalRetry = 5 * time.Second
)

// journal follows systemd's journal through journalctl, whose format does not change with the versions of its files.
type journal struct {
	command  string
	args     []string
	programs spawn.Run
	entries  chan journalEntry
	cancel   context.CancelFunc
	done     guard.Background

	mu    sync.Mutex
	fault string

	pid  int32
	name string
	// several says that more than one process writes.
	several bool
}

// journalEntry is an entry of the journal.
type journalEntry struct {
	at   time.Time
	line []byte
	pid  int32
	name string
	// old says that it was there before the start.
	old bool
}

// HasJournal reports whether one of the logs, as they are given to --log, is systemd's journal.
func HasJournal(logs []string) bool {
	return slices.ContainsFunc(logs, func(s string) bool {
		_, ok := journalUnit(s)
		_, named, cut := strings.Cut(s, "=")
		if cut && !ok {
			_, ok = journalUnit(named)
		}
		return ok
	})
}

// JournalArguments are those with which the arguments of journalctl begin.
func JournalArguments() []string { return []string{"--output=export", "--follow"} }

// newJournal checks that the journal can be followed.
func newJournal(unit string, programs spawn.Run) (*journal, error) {
	command, err := exec.LookPath("journalctl")
	if err != nil {
		return nil, hint.New("--log journal: there is no journalctl in PATH",
			"systemd's journal is read through journalctl (Debian: package systemd); where logs are files, name the file: "+
				"--log /var/log/syslog")
	}
	args := append(JournalArguments(), "--lines="+strconv.Itoa(journalLines), "--no-pager")
	if unit != "" {
		args = append(args, "--unit="+unit)
	}
	return &journal{command: command, args: args, programs: programs, pid: -1}, nil
}

// start implements input.
func (j *journal) start(ctx context.Context, l *live) {
	ctx, j.cancel = context.WithCancel(ctx)
	j.entries = make(chan journalEntry, 4096)
	began := time.Now()
	j.done.Go("the journal", func() {
		for ctx.Err() == nil {
			err := j.run(ctx, began)
			if ctx.Err() != nil {
				return
			}
			j.fail(cmp.Or(err, errors.New("it has ended")))
			select {
			case <-ctx.Done():
			case <-time.After(journalRetry):
			}
		}
	})
	l.clock.known = false
}

func (j *journal) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fault = ""; err != nil {
		j.fault = "journalctl: " + err.Error()
	}
}

// run reads from one journalctl until that ends.
func (j *journal) run(ctx context.Context, began time.Time) error {
	var said bytes.Buffer
	out, ended := spawn.Output(ctx, j.programs, spawn.Command{
		Path: j.command, Args: j.args, Stderr: &limited{w: &said, left: 4 << 10}, WaitDelay: journalWait,
	})
	j.fail(nil)
	readErr := readExport(bufio.NewReaderSize(out, 64<<10), func(e journalEntry) error {
		e.old = e.at.Before(began)
		select {
		case j.entries <- e:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	out.Close()
	waitErr := <-ended
	if text := strings.TrimSpace(said.String()); text != "" {
		first, _, _ := strings.Cut(text, "\n")
		return errors.New(first)
	}
	if errors.Is(readErr, io.EOF) {
		readErr = nil
	}
	return cmp.Or(waitErr, readErr)
}

// limited keeps the first bytes that are written to it.
type limited struct {
	w    *bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.w.Write(p[:n])
	l.left -= n
	return len(p), nil
}

// readExport reads the entries of journalctl's export format
// (https://systemd.io/JOURNAL_EXPORT_FORMATS/) until r ends.
func readExport(r *bufio.Reader, take func(journalEntry) error) error {
	fields := map[string]string{}
	size := 0
	entry := func() error {
		defer clear(fields)
		size = 0
		micros, err := strconv.ParseInt(cmp.Or(fields["_SOURCE_REALTIME_TIMESTAMP"], fields["__REALTIME_TIMESTAMP"]), 10, 64)
		if err != nil {
			return nil // no entry
		}
		e := journalEntry{at: time.UnixMicro(micros), pid: -1, name: cmp.Or(fields["SYSLOG_IDENTIFIER"], fields["_COMM"])}
		if pid, err := strconv.ParseInt(fields["_PID"], 10, 32); err == nil {
			e.pid = int32(pid)
		}
		e.line = []byte(fields["MESSAGE"])
		if e.name != "" {
			e.line = fmt.Appendf(nil, "%s[%d]: %s", e.name, e.pid, fields["MESSAGE"])
		}
		return take(e)
	}
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if len(fields) > 0 && errors.Is(err, io.EOF) {
				return cmp.Or(entry(), err)
			}
			return err
		}
		if errors.Is(err, bufio.ErrBufferFull) { // a field that is too long: its beginning will do
			kept := bytes.Clone(line)
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = r.ReadSlice('\n')
			}
			if err != nil {
				return err
			}
			line = kept
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		if len(line) == 0 {
			if err := entry(); err != nil {
				return err
			}
			continue
		}
		name, value, ok := bytes.Cut(line, []byte("="))
		key := string(name)
		text := string(value[:min(len(value), maxField)])
		if !ok {
			if text, err = readBinary(r); err != nil {
				return err
			}
		}
		if size += len(text); size > maxFields {
			return errors.New("an entry that does not end")
		}
		switch key {
		case "__REALTIME_TIMESTAMP", "_SOURCE_REALTIME_TIMESTAMP", "MESSAGE", "_PID", "_COMM", "SYSLOG_IDENTIFIER":
			fields[key] = text
		}
	}
}

// readBinary reads the value of a field with line ends or control characters: its length and its bytes.
func readBinary(r *bufio.Reader) (string, error) {
	var length [8]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return "", err
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxFields<<4 {
		return "", fmt.Errorf("a field of %d bytes", n)
	}
	kept := make([]byte, min(n, maxField))
	if _, err := io.ReadFull(r, kept); err != nil {
		return "", err
	}
	if _, err := io.CopyN(io.Discard, r, int64(n)-int64(len(kept))+1); err != nil {
		return "", err
	}
	return string(kept), nil
}

// poll implements input.
func (j *journal) poll(l *live) {
	for range cap(j.entries) {
		select {
		case e := <-j.entries:
			j.take(l, &e)
		default:
			return
		}
	}
}

func (j *journal) take(l *live, e *journalEntry) {
	switch {
	case j.several || e.pid <= 0:
	case j.pid < 0:
		j.pid, j.name = e.pid, e.name
	case j.pid != e.pid && e.name == j.name:
		j.pid = e.pid // the program was started again
	case j.pid != e.pid:
		j.several, j.pid, j.name = true, -1, ""
	}
	wrote := l.moment(e.at)
	line := bytes.ReplaceAll(e.line, []byte("\n"), []byte(" "))
	if e.old {
		l.calm.line(wrote, &l.cadence)
		l.cadence.line(wrote, nil, line)
		return
	}
	l.grown = l.now
	l.stamped(line[:min(len(line), maxLine)], 0, wrote)
}

// writer is the process that writes, where it is one.
func (j *journal) writer() (pid int32, name string) { return j.pid, j.name }

// state implements input.
func (j *journal) state() (model.LogFileState, string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fault != "" {
		return model.LogMissing, j.fault
	}
	return model.LogFollowed, "dated by the journal"
}

// close implements input.
func (j *journal) close() {
	if j.cancel != nil {
		j.cancel()
		j.done.Wait()
	}
}
