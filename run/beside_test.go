package run

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/model"
	"lostbeat/source"
	"lostbeat/source/applog"
)

// besideStart is when the capture of the tests begins.
var besideStart = model.TimeOf(time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC))

// minuteFile is a capture of a minute of host web-07, an event a second, ten in a batch.
type minuteFile struct{ source.File }

func (minuteFile) Span() (start, end model.Time) { return besideStart, besideStart + 60*second }

func (f minuteFile) Run(ctx context.Context, emit source.Emit) error {
	return f.RunFrom(ctx, besideStart, emit)
}

func (minuteFile) RunFrom(_ context.Context, t model.Time, emit source.Emit) error {
	var b model.Builder
	b.AddMeta(model.Meta{Time: t, Key: "host", Value: "web-07"})
	for at := t; at <= besideStart+60*second; at += second {
		b.AddCPUTime(model.CPUTime{Time: at, Dur: time.Second, Idle: time.Second})
		if b.Len() >= 10 {
			if err := emit(b.Take()); err != nil {
				return err
			}
		}
	}
	if b.Len() == 0 {
		return nil
	}
	return emit(b.Take())
}

// writeBeside writes a log with a line a second for a time before the capture and into it; after the 20th second of the
// capture come the lines that are looked for, two in one second.
func writeBeside(t *testing.T, from, to int) string {
	t.Helper()
	var b strings.Builder
	for i := from; i < to; i++ {
		at := (besideStart + model.Time(i)*second + second/2).Std().Format("2006-01-02 15:04:05.000")
		b.WriteString(at + " routine\n")
		if i == 20 {
			b.WriteString(at + " peer 1 missed 3 heartbeats\n" + at + " peer 2 missed 3 heartbeats\n")
		}
	}
	path := filepath.Join(t.TempDir(), "app.log")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBeside checks that what a log says stands at its time in the stream of the capture, and whose it is.
func TestBeside(t *testing.T) {
	for _, tt := range []struct {
		name, host string
		from       model.Time
		lines      int
		want       string
	}{
		{"the capture's host", "", besideStart, 2, ""},
		{"the same host by name", "web-07", besideStart, 2, ""},
		{"another host", "web-08", besideStart, 2, "web-08"},
		{"from the middle on", "", besideStart + 10*second, 2, ""},
		{"from behind the lines on", "", besideStart + 30*second, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file, err := openBeside(minuteFile{}, []applog.Followed{{Path: writeBeside(t, -200, 60), Host: tt.host}})
			if err != nil {
				t.Fatal(err)
			}
			var last model.Time
			var texts, hosts []string
			events, states := 0, 0
			err = file.RunFrom(t.Context(), tt.from, func(b *model.Batch) error {
				for i := range b.Events {
					e := &b.Events[i]
					if e.Time < last {
						t.Errorf("%v after %v", e.Time, last)
					}
					last = e.Time
					if line, ok := b.LogLine(e); ok {
						texts, hosts = append(texts, line.Text), append(hosts, line.Host)
						if line.Time != besideStart+20*second+second/2 {
							t.Errorf("%q at %v", line.Text, line.Time)
						}
					} else if s, ok := b.LogState(e); ok {
						states, hosts = states+1, append(hosts, s.Host)
					} else if _, ok := b.CPUTime(e); ok {
						events++
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"peer 1 missed 3 heartbeats", "peer 2 missed 3 heartbeats"}[:tt.lines]
			if !slices.Equal(texts, want) || states != 1 {
				t.Errorf("lines %q, %d states", texts, states)
			}
			if all := int((besideStart+60*second-tt.from)/second) + 1; events != all {
				t.Errorf("%d events of the capture, want %d", events, all)
			}
			for _, host := range hosts {
				if host != tt.want {
					t.Errorf("host %q, want %q", host, tt.want)
				}
			}
			if out := file.(*besideLogs).Outside(); len(out) > 0 {
				t.Errorf("outside: %q", out)
			}
		})
	}
}

// TestBesideOutside checks that a log of another time is said to be one.
func TestBesideOutside(t *testing.T) {
	file, err := openBeside(minuteFile{}, []applog.Followed{{Path: writeBeside(t, -400, -200)}})
	if err != nil {
		t.Fatal(err)
	}
	out := file.(*besideLogs).Outside()
	if len(out) != 1 || !strings.Contains(out[0], "app.log has nothing of the time of the capture") {
		t.Errorf("%q", out)
	}
	if _, err := openBeside(minuteFile{}, []applog.Followed{{Path: "/no/such.log"}}); err == nil {
		t.Error("a log that does not exist was opened")
	}
}
