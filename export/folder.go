package export

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/model"
)

// table takes the rows of one table.
type table interface {
	write(row []Value) error
	close() error
}

// Format is a format of tables.
type Format struct {
	// Name is what users call it.
	Name string
	// Extension is that of its files.
	Extension string
	begin     func(w io.Writer, t Table) (table, error)
}

// Formats are the formats of tables.
var Formats = []Format{
	{"parquet", ".parquet", newParquet}, {"csv", ".csv", newCSV}, {"jsonl", ".jsonl", newJSON},
}

// Options are how to write tables. The zero Options write Parquet.
type Options struct {
	// Format is one of Formats.
	Format Format
	// Replace replaces a folder that holds nothing but tables.
	Replace bool
}

// Done is what was written.
type Done struct {
	// Tables is how many files there are, Rows how many rows in them, Bytes their size. A trace has Tracks instead, and
	// a row is a slice, an instant or a value of a counter.
	Tables, Tracks int
	Rows           uint64
	Bytes          int64
	// Unknown is how many events were left out because this version does not know their kinds.
	Unknown uint64
	// Trackless is how many events are of kinds that a trace has no track for; LeftOut is how much else of a trace was
	// left out, because there was no room for it or its time was not possible.
	Trackless, LeftOut uint64
}

// Folder is a folder of tables that is being written. It has its name when it is complete.
type Folder struct {
	path, temporary string
	opts            Options
	tables          map[string]*file
	specs           map[model.Kind]*kindTable
	done            Done
}

// kindTable is the table of a kind.
type kindTable struct {
	spec *model.Spec
	file *file
}

// file is the file of a table.
type file struct {
	table
	f      *os.File
	buffer *bufio.Writer
	row    []Value
}

// Create begins a folder. What is at path is left as it is until Close.
func Create(path string, o Options) (*Folder, error) {
	if o.Format.begin == nil {
		o.Format = Formats[0]
	}
	path = filepath.Clean(path)
	if err := checkFolder(path, o.Replace); err != nil {
		return nil, err
	}
	temporary, err := os.MkdirTemp(filepath.Dir(path), ".lostbeat-export-*")
	if err != nil {
		return nil, err
	}
	return &Folder{
		path: path, temporary: temporary, opts: o, tables: map[string]*file{}, specs: map[model.Kind]*kindTable{},
	}, nil
}

// checkFolder refuses a path at which there is something that would be lost.
func checkFolder(path string, replace bool) error {
	info, err := os.Stat(path)
	if err != nil {
		return nil // nothing there
	}
	shown := plain.Text(path)
	if !info.IsDir() {
		return hint.New(shown+" is a file", "tables are written to a folder, a file each: give the name of a new one")
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		switch {
		case !isTable(entry.Name()):
			return hint.New(shown+" holds other files: "+plain.Text(entry.Name()), "give the name of a new folder")
		case !replace:
			return hint.New(shown+" has tables already", "--force replaces them")
		}
	}
	return nil
}

// isTable says that a file is one that a Folder writes.
func isTable(name string) bool {
	for _, f := range Formats {
		base, ok := strings.CutSuffix(name, f.Extension)
		if ok && (base == captures.Name || base == findings.Name || slices.ContainsFunc(model.Specs,
			func(s model.Spec) bool { return TableName(&s) == base })) {
			return true
		}
	}
	return false
}

// Begin begins a capture. Tables need to know nothing of it before its end.
func (f *Folder) Begin(*Capture, model.Time, model.Time) error { return nil }

// Skip takes an event that is not to be written. A table has nothing but what is written.
func (f *Folder) Skip(string, *model.Batch, *model.Event) error { return nil }

// Write writes an event of b, which is from a capture, and reports whether there is a table for it. Events of findings
// have none: see Finding.
func (f *Folder) Write(capture string, b *model.Batch, e *model.Event) (written bool, err error) {
	k := f.specs[e.Kind]
	if k == nil {
		spec := model.SpecOf(e.Kind)
		if spec == nil {
			f.done.Unknown++
			return false, nil
		}
		if e.Kind == model.KindFinding {
			return false, nil
		}
		file, err := f.open(Of(spec))
		if err != nil {
			return false, err
		}
		k = &kindTable{spec, file}
		f.specs[e.Kind] = k
	}
	k.file.row = appendRow(k.file.row[:0], capture, k.spec, b, e)
	f.done.Rows++
	return true, k.file.write(k.file.row)
}

// Finding writes a finding of a capture, or of several together when capture is empty.
func (f *Folder) Finding(capture string, found *model.Finding) error {
	file, err := f.open(findings)
	if err != nil {
		return err
	}
	f.done.Rows++
	return file.write(findingRow(capture, found))
}

// Capture writes what there is to know of a capture.
func (f *Folder) Capture(c *Capture) error {
	file, err := f.open(captures)
	if err != nil {
		return err
	}
	f.done.Rows++
	return file.write(c.row())
}

// open returns the file of a table.
func (f *Folder) open(t Table) (*file, error) {
	if known := f.tables[t.Name]; known != nil {
		return known, nil
	}
	out, err := os.OpenFile(filepath.Join(f.temporary, t.Name+f.opts.Format.Extension),
		os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	n := &file{f: out, buffer: bufio.NewWriterSize(out, 64<<10)}
	if n.table, err = f.opts.Format.begin(n.buffer, t); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	f.tables[t.Name] = n
	return n, nil
}

// Abort removes what was written. After Close it does nothing.
func (f *Folder) Abort() error {
	if f.temporary == "" {
		return nil
	}
	var err error
	for _, t := range f.tables {
		err = errors.Join(err, t.f.Close())
	}
	err = errors.Join(err, os.RemoveAll(f.temporary))
	f.temporary = ""
	return err
}

// Close completes the files and gives the folder its name. There is a table of findings even if there are none.
func (f *Folder) Close() (Done, error) {
	if _, err := f.open(findings); err != nil {
		return f.done, err
	}
	for _, t := range f.tables {
		if err := errors.Join(t.close(), t.buffer.Flush()); err != nil {
			return f.done, err
		}
		info, err := t.f.Stat()
		if err = errors.Join(err, t.f.Close()); err != nil {
			return f.done, err
		}
		f.done.Bytes += info.Size()
		f.done.Tables++
	}
	f.tables = nil
	return f.done, f.rename()
}

// rename puts the folder in the place of what is there.
func (f *Folder) rename() error {
	old := ""
	if _, err := os.Stat(f.path); err == nil {
		if err := checkFolder(f.path, f.opts.Replace); err != nil {
			return err
		}
		if old, err = os.MkdirTemp(filepath.Dir(f.path), ".lostbeat-old-*"); err != nil {
			return err
		}
		if err := os.Rename(f.path, filepath.Join(old, "tables")); err != nil {
			return errors.Join(fmt.Errorf("replace %s: %w", f.path, err), os.Remove(old))
		}
	}
	if err := os.Rename(f.temporary, f.path); err != nil {
		if old != "" {
			err = errors.Join(err, os.Rename(filepath.Join(old, "tables"), f.path), os.Remove(old))
		}
		return err
	}
	f.temporary = ""
	if old == "" {
		return nil
	}
	return os.RemoveAll(old)
}
