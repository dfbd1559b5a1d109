package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"lostbeat/etw"
	"lostbeat/etw/etl"
	"lostbeat/model"
	"lostbeat/probes"
	"lostbeat/record"
	"lostbeat/source"
	"lostbeat/source/perfmon"

	"github.com/spf13/cobra"
)

// captureFlags are the flags of every command that opens files.
type captureFlags struct {
	utcOffset string
	codePage  string
	names     []string
	trace     bool
	pools     []string
	// everything asks for what no detector reads, too: uninterpreted records
	// of a trace, every counter of a performance log.
	everything bool
}

func (f *captureFlags) register(cmd *cobra.Command) {
	cmd.Flags().
		StringVar(&f.utcOffset, "utc-offset", "", "`OFFSET` of the captured machine's clock from UTC, e.g. +01:00, for "+
			"performance logs that do not say it")
	cmd.Flags().
		StringVar(&f.codePage, "code-page", "", "ANSI `CODEPAGE` of the names in a performance log, e.g. cp1251, where "+
			"it is not recognised")
	cmd.Flags().
		StringArrayVar(
			&f.names, "counter-name", nil,
			`what a counter of a performance log is in English, as 'OBJECT\COUNTER=OBJECT/COUNTER', e.g. 'Procesor\Czas DPC=Processor/% DPC Time' (repeatable)`,
		)
	cmd.Flags().
		BoolVar(&f.trace, "trace", false, "emit every single DPC and ISR of a Windows capture, not only those above the "+
			"threshold")
}

// registerPools adds the flag of the commands that judge ports.
func (f *captureFlags) registerPools(cmd *cobra.Command) {
	cmd.Flags().
		StringArrayVar(&f.pools, "pool", nil, "a `NAME=PROTOCOL:LOW-HIGH` range of ports to judge as a pool, e.g. "+
			"rpc=udp:5000-5100 (repeatable)")
}

// offset parses --utc-offset; nil when it was not given.
func (f *captureFlags) offset() (*time.Duration, error) {
	if f.utcOffset == "" {
		return nil, nil
	}
	t, err := time.Parse("Z07:00", f.utcOffset)
	if err != nil {
		return nil, &usageError{
			fmt.Sprintf("--utc-offset %q is no offset", f.utcOffset),
			"write it like +01:00, -05:30 or Z",
		}
	}
	_, seconds := t.Zone()
	d := time.Duration(seconds) * time.Second
	return &d, nil
}

// counterNames parses --counter-name.
func (f *captureFlags) counterNames() (map[string]string, error) {
	names := make(map[string]string)
	for _, s := range f.names {
		local, english, ok := strings.Cut(s, "=")
		if !ok || !strings.Contains(local, `\`) || !strings.Contains(english, "/") {
			return nil, &usageError{
				fmt.Sprintf("--counter-name %q names no counter", s),
				`write it like --counter-name 'Procesor\Czas DPC=Processor/% DPC Time'`,
			}
		}
		names[local] = english
	}
	return names, nil
}

// fileKind is what a file holds, told by its first bytes.
type fileKind string

const (
	kindRecording fileKind = "lostbeat"
	kindText      fileKind = "lostbeat text"
	kindETL       fileKind = "etl"
	kindPerfmon   fileKind = "perfmon"
)

// unknownFileError is a file of no kind that lostbeat reads.
type unknownFileError struct{ path string }

func (e *unknownFileError) Error() string {
	return e.path + " is neither a lostbeat recording nor a Windows capture"
}

// Hint says what can be opened.
func (e *unknownFileError) Hint() string {
	return "lostbeat opens its own recordings, Windows traces (.etl) and performance logs (.blg, .csv, .tsv)"
}

// detectKind reads the first bytes of a file. A directory of recordings, and
// the name under which a recorder has rotated its files, are one recording.
func detectKind(path string) (fileKind, error) {
	f, err := os.Open(path)
	if err != nil {
		if files, _ := record.Files(path); len(files) > 0 { // the name that a recorder that rotates was given
			return kindRecording, nil
		}
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		if files, _ := record.Files(path); len(files) > 0 {
			return kindRecording, nil
		}
		return "", &usageError{
			path + " is a directory without recordings",
			"name the captures in it, or give a directory of " + record.Extension + " files",
		}
	}
	head := make([]byte, 128<<10)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	head = head[:n]
	switch {
	case looksLikeRecording(head):
		return kindRecording, nil
	case looksLikeText(head):
		return kindText, nil
	case perfmon.Detect(head): // before etl: a .blg is an ETL container too
		return kindPerfmon, nil
	case etl.Detect(head):
		return kindETL, nil
	}
	return "", &unknownFileError{path}
}

// capture is an opened file.
type capture struct {
	source.Seekable
	io.Closer
	kind  fileKind
	path  string
	flags captureFlags
	// reading is told how far it is read, nil for nobody.
	reading *readingLine
}

// openCapture opens a file of any kind.
func openCapture(path string, flags captureFlags, progress source.Progress) (*capture, error) {
	kind, err := detectKind(path)
	if err != nil {
		return nil, err
	}
	pools, err := parsePools(flags.pools)
	if err != nil {
		return nil, err
	}
	c := &capture{kind: kind, path: path, flags: flags}
	switch kind {
	case kindRecording:
		var r *record.Reader
		if r, err = record.Open(path); err == nil {
			c.Seekable, c.Closer = r, r
		}
	case kindText:
		var t *textCapture
		if t, err = openText(path); err == nil {
			c.Seekable, c.Closer = t, t
		}
	case kindETL:
		var f *etl.File
		if f, err = etl.Open(
			path,
			etl.Options{
				Options: etw.Options{Trace: flags.trace, SkipRaw: !flags.everything}, Probes: probes.ETW,
				Progress: progress,
			},
		); err == nil {
			c.Seekable, c.Closer = f, f
		}
	case kindPerfmon:
		var offset *time.Duration
		if offset, err = flags.offset(); err != nil {
			return nil, err
		}
		var names map[string]string
		if names, err = flags.counterNames(); err != nil {
			return nil, err
		}
		var l *perfmon.Log
		if l, err = perfmon.Open(
			path,
			perfmon.Options{
				UTCOffset: offset, CodePage: flags.codePage, Names: names, AllCounters: flags.everything,
				Progress: progress,
			},
		); err == nil {
			c.Seekable, c.Closer = l, l
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if len(pools) > 0 {
		c.Seekable = &pooled{c.Seekable, pools}
	}
	return c, nil
}

// pooled is a capture to which the user has added port pools.
type pooled struct {
	source.Seekable
	pools []portPool
}

// Run implements source.Source.
func (p *pooled) Run(ctx context.Context, emit source.Emit) error {
	return p.Seekable.Run(ctx, p.afterFirst(emit))
}

// RunFrom implements source.Seekable.
func (p *pooled) RunFrom(ctx context.Context, t model.Time, emit source.Emit) error {
	return p.Seekable.RunFrom(ctx, t, p.afterFirst(emit))
}

// afterFirst emits the pools after the first batch, which may be a keyframe
// that replaces all state.
func (p *pooled) afterFirst(emit source.Emit) source.Emit {
	first := true
	return func(b *model.Batch) error {
		if err := emit(b); err != nil || !first || len(b.Events) == 0 {
			return err
		}
		first = false
		var add model.Builder
		for _, pool := range p.pools {
			add.AddPortPool(
				model.PortPool{
					Time:     b.Events[len(b.Events)-1].Time,
					Protocol: pool.protocol,
					Low:      pool.low,
					High:     pool.high,
					Size:     uint64(pool.high-pool.low) + 1,
					Source:   model.PoolConfigured,
					Name:     pool.name,
				},
			)
		}
		return emit(add.Take())
	}
}

// eachCapture opens the files in turn and calls do with each. A terminal is
// told how far a long one has been read.
func eachCapture(
	ctx context.Context,
	paths []string,
	flags captureFlags,
	terminal io.Writer,
	do func(*capture) error,
) error {
	for _, path := range paths {
		if ctx.Err() != nil {
			return nil
		}
		line := showReading(terminal, path)
		c, err := openCapture(path, flags, line.progress())
		if err != nil {
			line.end()
			return err
		}
		c.reading = line
		err = do(c)
		line.end()
		if closeErr := c.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}
