package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// journalPath is where the lab notes the host's settings before it changes
// them, so that the next run can restore what a killed one has left. The
// directory is emptied when the host starts, as the settings are.
const journalPath = "/run/lostbeat-lab.undo"

// change is a setting of the host that the lab has changed.
type change struct {
	// Path is the file below /proc/sys or /sys, Old what it held before.
	Path, Old string
}

// note is a line of the journal: a change that is not undone.
type note struct {
	// PID is the process that made the change, Started when that process
	// began, in clock ticks since boot: PIDs are used again.
	PID     int    `json:"pid"`
	Started string `json:"started"`
	Path    string `json:"path"`
	Old     string `json:"old"`
}

// journal is the file of changes that are to be undone.
type journal struct{ path string }

// hostJournal is that of this host.
func hostJournal() journal { return journal{journalPath} }

// edit locks the journal against other labs, lets f change its notes, and
// replaces the journal by a synced one: a kill leaves the old or the new.
func (j journal) edit(f func([]note) ([]note, error)) (err error) {
	lock, err := os.OpenFile(j.path+".lock", os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("open the lab's undo journal: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", j.path, err)
	}
	data, err := os.ReadFile(j.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the lab's undo journal: %w", err)
	}
	notes, failed := f(parseNotes(data))
	if err := j.replace(notes); err != nil {
		return errors.Join(failed, fmt.Errorf("write the lab's undo journal: %w", err))
	}
	return failed
}

// replace writes the journal anew, or removes it when there is nothing to undo.
func (j journal) replace(notes []note) error {
	if len(notes) == 0 {
		if err := os.Remove(j.path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	next := j.path + ".new"
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	out := json.NewEncoder(file)
	for _, n := range notes {
		err = errors.Join(err, out.Encode(n))
	}
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(next, j.path)
}

// parseNotes reads a journal; what is no note is left out.
func parseNotes(data []byte) (notes []note) {
	for line := range strings.Lines(string(data)) {
		var n note
		if json.Unmarshal([]byte(line), &n) == nil && hostSetting(n.Path) {
			notes = append(notes, n)
		}
	}
	return notes
}

// hostSetting reports whether a journal may restore path.
func hostSetting(path string) bool {
	return !strings.Contains(path, "..") && (strings.HasPrefix(path, "/proc/sys/") || strings.HasPrefix(path, "/sys/"))
}

// before notes that this process is about to change a setting.
func (j journal) before(c change) error {
	started, err := startTime(os.Getpid())
	if err != nil {
		return err
	}
	return j.edit(func(notes []note) ([]note, error) {
		return append(notes, note{os.Getpid(), started, c.Path, c.Old}), nil
	})
}

// restore writes what the last note of a setting by this process says, and drops it.
func (j journal) restore(path string, write func(path, value string) error) error {
	return j.edit(func(notes []note) ([]note, error) {
		for i := len(notes) - 1; i >= 0; i-- {
			if notes[i].PID != os.Getpid() || notes[i].Path != path {
				continue
			}
			if err := write(path, notes[i].Old); err != nil {
				return notes, err // the next run tries it again
			}
			return append(notes[:i:i], notes[i+1:]...), nil
		}
		return notes, fmt.Errorf("restore %s: the undo journal does not know it", path)
	})
}

// apply restores what processes that are gone have left, the last change first,
// with write, and returns what it has restored. A setting that a lab at work
// has changed as well is left to it: it gets the older value.
func (j journal) apply(write func(path, value string) error) (restored []change, err error) {
	if _, err := os.Lstat(j.path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	err = j.edit(func(notes []note) (left []note, err error) {
		gone := make([]bool, len(notes))
		for i, n := range notes {
			started, err := startTime(n.PID)
			gone[i] = err != nil || started != n.Started
		}
		for i := len(notes) - 1; i >= 0; i-- {
			if !gone[i] {
				continue
			}
			later := -1
			for k := i + 1; k < len(notes) && later < 0; k++ {
				if notes[k].Path == notes[i].Path && !gone[k] {
					later = k
				}
			}
			if later >= 0 {
				// That process found our change there and would bring it back.
				notes[later].Old = notes[i].Old
				continue
			}
			if e := write(notes[i].Path, notes[i].Old); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
				gone[i] = false // tried again by the next run
				continue
			}
			restored = append(restored, change{notes[i].Path, notes[i].Old})
		}
		for i, n := range notes {
			if !gone[i] {
				left = append(left, n)
			}
		}
		return left, err
	})
	return restored, err
}

// startTime is when a process began, in clock ticks since boot: field 22 of its stat.
func startTime(pid int) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", fmt.Errorf("read a process's start: %w", err)
	}
	// The name may hold spaces and brackets; what follows the last does not.
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return "", fmt.Errorf("read a process's start: /proc/%d/stat has %d fields", pid, len(fields))
	}
	return fields[19], nil
}

// writeSetting writes a host setting.
func writeSetting(path, value string) error {
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("restore %s: %w", path, err)
	}
	return nil
}

// Undo restores the host's settings that runs which were killed have left
// changed, and says for each what it has written.
func Undo() (lines []string, err error) {
	restored, err := hostJournal().apply(writeSetting)
	for _, c := range restored {
		lines = append(lines, fmt.Sprintf(
			"%s is %s again: a run of the lab that was killed had changed it", c.Path, strings.TrimSpace(c.Old),
		))
	}
	return lines, err
}
