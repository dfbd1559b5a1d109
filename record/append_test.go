package record

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// notesOf returns the notes of a recording, the number of its other events, and what a reader says of it.
func notesOf(t *testing.T, path string) (notes []model.Note, others int, info *Info) {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var v model.Validator
	err = r.Run(context.Background(), func(b *model.Batch) error {
		for i := range b.Events {
			if n, ok := b.Note(&b.Events[i]); ok {
				notes = append(notes, n)
				continue
			}
			others++
		}
		return v.Check(b)
	})
	if err != nil {
		t.Fatal(err)
	}
	return notes, others, stat(t, path)
}

func written(t *testing.T, seconds int, close bool) string {
	t.Helper()
	path := filepath.Join(testutil.TempDir(t), "notes"+Extension)
	w, err := Create(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b model.Builder
	for i := range seconds {
		b.AddMeta(model.Meta{Time: start + model.Time(i)*model.Time(time.Second), Key: "second", Value: "x"})
	}
	if err := w.Write(b.Take()); err != nil {
		t.Fatal(err)
	}
	if !close {
		t.Cleanup(func() { w.Close() })
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAppendNotes(t *testing.T) {
	path := written(t, 20, true)
	_, events, _ := notesOf(t, path)
	first := model.Note{About: start + 3, Text: "here it began"}
	second := model.Note{About: start + 5}
	for _, n := range []model.Note{first, second} {
		if err := AppendNotes(path, []model.Note{n}); err != nil {
			t.Fatal(err)
		}
	}
	notes, others, info := notesOf(t, path)
	if len(notes) != 2 || notes[0].About != first.About || notes[0].Text != first.Text || notes[1].About != second.About {
		t.Errorf("the notes are %+v", notes)
	}
	if others != events {
		t.Errorf("%d other events, want %d", others, events)
	}
	if end := start + 19*model.Time(time.Second); notes[0].Time != end {
		t.Errorf("a note has the time %v, want that of the last event, %v", notes[0].Time, end)
	}
	if len(info.Notes) != 0 {
		t.Errorf("a reader says %q of it", info.Notes)
	}
	if err := AppendNotes(path, nil); err != nil {
		t.Errorf("no notes: %v", err)
	}
}

// A jump past the notes finds what held before them.
func TestAppendNotesKeepsTheState(t *testing.T) {
	path := written(t, 20, true)
	if err := AppendNotes(path, []model.Note{{About: start, Text: "x"}}); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	keyframes := 0
	_, end := r.Span()
	err = r.RunFrom(context.Background(), end, func(b *model.Batch) error {
		for i := range b.Events {
			if m, ok := b.Meta(&b.Events[i]); ok && m.Flags&model.FlagKeyframe != 0 && m.Key == "second" {
				keyframes++
			}
		}
		return nil
	})
	if err != nil || keyframes != 1 {
		t.Errorf("%d facts of the state, %v, want 1", keyframes, err)
	}
}

func TestAppendNotesRefuses(t *testing.T) {
	note := []model.Note{{About: start}}
	if err := AppendNotes(written(t, 3, false), note); !errors.Is(err, ErrLocked) {
		t.Errorf("to a recording under way: %v, want %v", err, ErrLocked)
	}
	path := written(t, 3, true)
	if err := os.Truncate(path, stat(t, path).Bytes-10); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := AppendNotes(path, note); !errors.Is(err, ErrNotClosed) {
		t.Errorf("to a recording that was cut off: %v, want %v", err, ErrNotClosed)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("a refused note changed the file: %v", err)
	}
	if err := AppendNotes(filepath.Join(testutil.TempDir(t), "none"+Extension), note); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("to no file: %v", err)
	}
}
