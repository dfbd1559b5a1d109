package record

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// stalling is a file in memory whose operations wait while it is stalled.
type stalling struct {
	faulty
	resume chan struct{} // closed when the disk responds again; nil while it does
}

func (s *stalling) wait() {
	if s.resume != nil {
		<-s.resume
	}
}

func (s *stalling) WriteAt(p []byte, off int64) (int, error) {
	s.wait()
	return s.faulty.WriteAt(p, off)
}

func (s *stalling) Close() error { s.wait(); return nil }

// blockedClose checks that closing gives up in time, and that Stats answers.
func blockedClose(t *testing.T, limit time.Duration, closeFile func() error, stats func() Stats) {
	t.Helper()
	began := time.Now()
	err := closeFile()
	var fault *Error
	if took := time.Since(began); took != limit || !errors.Is(err, ErrBlocked) || !errors.As(err, &fault) ||
		fault.Hint() == "" {
		t.Errorf("Close took %v: %v", took, err)
	}
	began = time.Now()
	if s := stats(); s.Blocks == 0 || time.Since(began) != 0 {
		t.Errorf("stats %+v after %v", s, time.Since(began))
	}
}

// A disk that stops responding in the middle of a write holds up neither Stats
// nor, beyond its timeout, Close; when it responds again, the file is complete.
func TestWriterOnABlockedDisk(t *testing.T) {
	for limit, want := range map[time.Duration]time.Duration{0: closeTimeout, 2 * time.Second: 2 * time.Second} {
		t.Run(limit.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &stalling{}
				w, err := Create("x", Options{CloseTimeout: limit, create: func(string) (storage, error) { return f, nil }})
				if err != nil {
					t.Fatal(err)
				}
				g := newTrace(1000)
				write := func() {
					for range 5 {
						if err := w.Write(g.batch(1000)); err != nil {
							return
						}
					}
				}
				write()
				f.resume = make(chan struct{})
				written := make(chan struct{})
				go func() { defer close(written); write() }()
				synctest.Wait() // now the writer waits for the disk
				select {
				case <-written:
					t.Fatal("the disk did not block")
				default:
				}
				blockedClose(t, want, w.Close, w.Stats)
				close(f.resume)
				<-written
				synctest.Wait()
				if got, losses, err := readAll(t, f.data); err != nil || losses != nil || got.n == 0 {
					t.Errorf("%d events, losses %v, %v", got.n, losses, err)
				}
			})
		})
	}
}

func TestCreateOnABlockedDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		resume := make(chan struct{})
		began := time.Now()
		_, err := Create("x", Options{create: func(string) (storage, error) { <-resume; return &faulty{}, nil }})
		if took := time.Since(began); !errors.Is(err, ErrBlocked) || took != closeTimeout {
			t.Errorf("Create took %v: %v", took, err)
		}
		close(resume)
	})
}

// The same of a flight recorder, whose memory can also be saved meanwhile.
func TestFlightOnABlockedDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now stalling
		saved := &faulty{}
		create := func(path string) (storage, error) {
			if path == "saved" {
				return saved, nil
			}
			return &now, nil
		}
		f, err := NewFlight("x", FlightOptions{Options: Options{create: create}, After: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		g := newTrace(1000)
		write := func() error {
			for range 5 {
				if err := f.Write(g.batch(1000)); err != nil {
					return err
				}
			}
			return nil
		}
		if err := errors.Join(write(), f.Trigger(g.now, time.Minute)); err != nil {
			t.Fatal(err)
		}
		now.resume = make(chan struct{})
		go func() { _ = write() }()
		synctest.Wait()
		blockedClose(t, closeTimeout, f.Close, f.Stats)
		close(now.resume)
		synctest.Wait()
	})
}

// Saving what is kept does not stop the stream, however slow that disk is.
func TestSaveOnABlockedDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &stalling{}
		r, err := NewFlight("x", FlightOptions{Options: Options{create: func(string) (storage, error) { return f, nil }}})
		if err != nil {
			t.Fatal(err)
		}
		g := newTrace(1000)
		first := g.batch(5000)
		if err := r.Write(first); err != nil {
			t.Fatal(err)
		}
		f.resume = make(chan struct{})
		saved := make(chan error, 1)
		go func() { saved <- r.Save("saved") }()
		synctest.Wait()
		began := time.Now()
		if err := errors.Join(r.Write(g.batch(5000)), r.Close()); err != nil || time.Since(began) != 0 {
			t.Errorf("the stream was held up for %v: %v", time.Since(began), err)
		}
		close(f.resume)
		if err := <-saved; err != nil {
			t.Error(err)
		}
		if got, losses, err := readAll(t, f.data); err != nil || losses != nil || got.n != len(first.Events) {
			t.Errorf("%d events, losses %v, %v", got.n, losses, err)
		}
	})
}
