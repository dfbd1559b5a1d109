package lab

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// killed makes the notes of j those of a process that is gone.
func killed(t *testing.T, j journal) {
	t.Helper()
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	err := j.edit(func(notes []note) ([]note, error) {
		for i := range notes {
			notes[i].PID = gone.Process.Pid
		}
		return notes, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What a killed run has changed is restored by the next, with the value from
// before its first change; what a run at work has changed is left to that.
func TestUndoJournal(t *testing.T) {
	const budget, weight = "/proc/sys/net/core/netdev_budget", "/proc/sys/net/core/dev_weight"
	j := journal{filepath.Join(t.TempDir(), "undo")}
	host := map[string]string{budget: "300", weight: "64"}
	write := func(path, value string) error { host[path] = value; return nil }
	set := func(path, value string) {
		t.Helper()
		if err := j.before(change{path, host[path]}); err != nil {
			t.Fatal(err)
		}
		host[path] = value
	}
	want := maps.Clone(host)

	set(budget, "2")
	set(budget, "3")
	set(weight, "2")
	if restored, err := j.apply(write); err != nil || len(restored) > 0 || host[budget] != "3" {
		t.Errorf("a run at work was undone: %v, %v, %v", restored, host, err)
	}
	killed(t, j)
	if restored, err := j.apply(write); err != nil || len(restored) != 3 || !maps.Equal(host, want) {
		t.Errorf("after a kill: %v, %v, %v", restored, host, err)
	}
	if _, err := os.Stat(j.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the journal is left behind: %v", err)
	}

	// A run that began beside one that was killed restores what was before both.
	set(budget, "2")
	killed(t, j)
	set(budget, "5")
	if restored, err := j.apply(write); err != nil || len(restored) > 0 || host[budget] != "5" {
		t.Errorf("%v, %v, %v", restored, host, err)
	}
	if err := j.restore(budget, write); err != nil || !maps.Equal(host, want) {
		t.Errorf("%v, %v", host, err)
	}

	// A setting that cannot be written stays in the journal.
	set(weight, "2")
	killed(t, j)
	refuse := errors.New("refused")
	if _, err := j.apply(func(string, string) error { return refuse }); !errors.Is(err, refuse) {
		t.Errorf("%v", err)
	}
	if restored, err := j.apply(write); err != nil || len(restored) != 1 || !maps.Equal(host, want) {
		t.Errorf("%v, %v, %v", restored, host, err)
	}
	// Nor does a journal that somebody else has written restore other files.
	if notes := parseNotes([]byte(`{"pid":1,"path":"/etc/passwd","old":""}` + "\n" +
		`{"pid":1,"path":"/proc/sys/../../etc/passwd","old":""}` + "\n" + `{"pid":1,"pa`)); len(notes) > 0 {
		t.Errorf("%v", notes)
	}
}
