package metrics

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lostbeat/internal/guard"
	"lostbeat/internal/hint"
)

// fileEvery is how often the file is written.
const fileEvery = 10 * time.Second

// File keeps metrics in a file for node_exporter's textfile collector, which is replaced as a whole.
type File struct {
	path    string
	metrics *Metrics
	every   time.Duration
	stop    chan struct{}
	running guard.Background
	// report is told that it cannot be written, and with nil that it can again.
	report func(error)
}

// CheckPath refuses a path that node_exporter does not read.
func CheckPath(path string) error {
	if strings.HasSuffix(path, ".prom") {
		return nil
	}
	return hint.New("the file's name does not end in .prom",
		"node_exporter reads *.prom in its --collector.textfile.directory, e.g. /var/lib/node_exporter/lostbeat.prom")
}

// Keep writes the file now, and again and again until Close. report is told once when it can no longer be written, and
// with nil when it can again.
func Keep(path string, m *Metrics, report func(error)) (*File, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	return keep(path, m, report, fileEvery)
}

func keep(path string, m *Metrics, report func(error), every time.Duration) (*File, error) {
	f := &File{path: path, metrics: m, every: every, stop: make(chan struct{}), report: report}
	if err := f.write(); err != nil {
		return nil, err
	}
	f.running.Go("the file of metrics", f.run)
	return f, nil
}

func (f *File) run() {
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-f.stop:
			return
		case <-tick.C:
			if err := f.write(); (err != nil) != failing {
				failing = err != nil
				f.report(err)
			}
		}
	}
}

// fileMode lets node_exporter read the file, which runs as another user.
const fileMode = 0o644

// write replaces the file.
func (f *File) write() error {
	text, err := f.metrics.Text()
	if err != nil {
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".*")
	if err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	defer os.Remove(next.Name()) // of what could not be renamed
	_, err = next.Write(text)
	if err == nil {
		err = next.Chmod(fileMode)
	}
	if closed := next.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(next.Name(), f.path)
	}
	if err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}

// Close removes the file: nobody must take it for the present.
func (f *File) Close() {
	close(f.stop)
	f.running.Wait()
	f.running.Rethrow()
	_ = os.Remove(f.path) // node_exporter tells its age
}
