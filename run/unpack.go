package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"lostbeat/internal/hint"
	"lostbeat/internal/words"
	"lostbeat/model/budget"
	"lostbeat/record"
	"lostbeat/source/bundle"
	"lostbeat/source/linuxhost"
)

// Unpacked are paths that were given, with what is in the bundles among them in their place.
type Unpacked struct {
	// Paths are those to open.
	Paths []string
	// Bundles are the archives, compressed files and folders that were unpacked.
	Bundles []Bundle
	// names are what the files that were unpacked are called.
	names map[string]string
	// failed are paths that could not be unpacked: opening them gives the error, and the others are opened.
	failed map[string]error
	// hosts are whose the tables of sockets among them are, runs those hosts by name and machine, from one start to the
	// next.
	hosts map[string]string
	runs  map[string][]linuxhost.BundleHost
	dir   string
	count int
}

// Bundle says what was found in an archive, a compressed file or a folder.
type Bundle struct {
	Path string `json:"file"`
	// Members is how many files it has, Opened the names of those that are opened, HostFiles how many were read for the
	// counters of a Linux host.
	Members   int      `json:"members"`
	Opened    []string `json:"opened"`
	HostFiles int      `json:"host_files"`
	// Left are files that were not understood or not needed, with the reason where there is one; LeftMore is how many
	// there are beyond those that are listed.
	Left     []string `json:"left"`
	LeftMore int      `json:"left_more,omitempty"`
	// Damage says what could not be read.
	Damage []string `json:"damage,omitempty"`
}

// maxLeft is how many files a Bundle lists that were not understood.
const maxLeft = 200

func (b *Bundle) leave(name, why string) {
	if len(b.Left) >= maxLeft {
		b.LeftMore++
		return
	}
	if why != "" {
		name += ": " + why
	}
	b.Left = append(b.Left, name)
}

// Unpack finds the bundles among paths and unpacks of them what can be opened, into a directory that Close removes. It
// needs as much room in the directory of temporary files as the members take that are opened.
func Unpack(ctx context.Context, paths []string) (*Unpacked, error) {
	boundReading(budget.Default)
	u := &Unpacked{
		names: map[string]string{}, failed: map[string]error{}, hosts: map[string]string{},
		runs: map[string][]linuxhost.BundleHost{},
	}
	for _, p := range paths {
		err := u.add(ctx, p)
		if err != nil && (len(paths) == 1 || ctx.Err() != nil) {
			return nil, errors.Join(err, u.Close())
		}
		if err != nil {
			u.failed[p] = err
			u.Paths = append(u.Paths, p)
		}
	}
	return u, nil
}

// failure is why a path could not be unpacked, nil where it was or did not have to be.
func (u *Unpacked) failure(path string) error {
	if u == nil {
		return nil
	}
	return u.failed[path]
}

// Close removes what was unpacked.
func (u *Unpacked) Close() error {
	if u == nil || u.dir == "" {
		return nil
	}
	return os.RemoveAll(u.dir)
}

// Name returns what a path is called: a member has its bundle's name before it.
func (u *Unpacked) Name(path string) string {
	if u == nil {
		return path
	}
	return cmp.Or(u.names[path], path)
}

// Member reports whether a path is that of a member of a bundle.
func (u *Unpacked) Member(path string) bool {
	return u != nil && u.names[path] != "" && filepath.Base(path) != "standard-input"
}

// StandardInput is the path of what is read from standard input.
const StandardInput = "-"

// input keeps standard input in a file: formats read from any place of one.
func (u *Unpacked) input(ctx context.Context) (path string, err error) {
	dir, err := u.tempDir()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, "standard-input")); err == nil {
		return "", hint.New("standard input is given twice", "it can be read once")
	}
	f, err := os.Create(filepath.Join(dir, "standard-input"))
	if err != nil {
		return "", err
	}
	// A read of standard input may never end, and cannot be interrupted: the goroutine that reads ends with it.
	stdin := os.Stdin
	r, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, stdin)
		w.CloseWithError(err)
	}()
	defer r.Close()
	defer context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })()
	n, err := io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	if n == 0 {
		return "", hint.New("standard input is empty", "pipe a file into it: lostbeat findings - < night.lostbeat")
	}
	u.names[f.Name()] = "standard input"
	return f.Name(), nil
}

// tempDir returns the directory that Close removes.
func (u *Unpacked) tempDir() (string, error) {
	if u.dir == "" {
		dir, err := os.MkdirTemp("", "lostbeat-")
		if err != nil {
			return "", fmt.Errorf("make a directory to unpack in: %w", err)
		}
		u.dir = dir
	}
	return u.dir, nil
}

// add takes a path as it is, or what is in it.
func (u *Unpacked) add(ctx context.Context, name string) error {
	if name == StandardInput {
		var err error
		if name, err = u.input(ctx); err != nil {
			return err
		}
	}
	info, err := os.Stat(name)
	if err == nil && info.IsDir() {
		name = realFolder(name)
		// A format that only joins the files of a folder does not claim the others.
		if format, err := claimed(name, errors.ErrUnsupported); err == nil && format.OpenAll == nil {
			u.Paths = append(u.Paths, name)
			return nil
		}
		return u.unpack(ctx, name, u.folder)
	}
	if err == nil && info.Mode().IsRegular() {
		if f, err := os.Open(name); err == nil {
			head := make([]byte, sniffBytes)
			n, _ := io.ReadFull(f, head)
			f.Close()
			if bundle.Detect(head[:n]) && !record.IsRecording(head[:n]) {
				return u.unpack(ctx, name, u.archive)
			}
		}
	}
	u.Paths = append(u.Paths, name)
	return nil
}

// realFolder returns the folder that a link is of, and the name of "." and "..": it says whose bundle it is.
func realFolder(name string) string {
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return name
	}
	if base := filepath.Base(real); base != "." && base != ".." {
		return real
	}
	if whole, err := filepath.Abs(real); err == nil {
		if whole, err = filepath.EvalSymlinks(whole); err == nil {
			return whole
		}
	}
	return real
}

// unpack reads a bundle with walk.
func (u *Unpacked) unpack(
	ctx context.Context, name string, walk func(ctx context.Context, p *unpacking, name string) error,
) error {
	if _, err := u.tempDir(); err != nil {
		return err
	}
	p := &unpacking{
		Unpacked: u, taken: map[string]bool{},
		b: &Bundle{Path: u.Name(name), Opened: []string{}, Left: []string{}},
	}
	err := walk(ctx, p, name)
	if err = errors.Join(err, p.closeHostFiles()); err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	p.reportLinks()
	p.choose()
	if err := p.distinguish(); err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	if err := p.ofHosts(); err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	if len(p.members) == 0 {
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			u.Paths = append(u.Paths, name) // who opens it says what is wrong
			return nil
		}
		text := fmt.Sprintf("%s has %s, and none that lostbeat understands", name, words.Plural(p.b.Members, "file"))
		if len(p.b.Damage) > 0 {
			text += " (" + p.b.Damage[0] + ")"
		}
		return hint.New(text, "docs/INPUTS.md lists what lostbeat opens; unpack the archive and give the file that "+
			"matters, or ask for a sosreport, a .etl, a .blg or the output of netstat -anoq")
	}
	for _, m := range p.members {
		u.Paths = append(u.Paths, m.path)
		u.names[m.path] = u.Name(name) + ": " + m.name
		p.b.Opened = append(p.b.Opened, m.name)
	}
	u.Bundles = append(u.Bundles, *p.b)
	return nil
}

// archive unpacks an archive or a compressed file.
func (u *Unpacked) archive(ctx context.Context, p *unpacking, name string) error {
	report, err := bundle.Walk(ctx, name, u.dir, bundle.Limits{Plain: record.IsRecording, Link: p.link},
		func(m bundle.Member, r io.Reader) error { return p.member(ctx, m, r, "") })
	p.b.Members = report.Members
	p.b.Damage = append(p.b.Damage, report.Damage...)
	if report.More > 0 {
		p.b.Damage = append(p.b.Damage, fmt.Sprintf("and %d more that could not be read", report.More))
	}
	return err
}

// maxInFolder is how many files of a folder are looked at.
const maxInFolder = 200_000

// folder looks at the files of a folder and its folders, which stay where they are. Links are not followed.
func (u *Unpacked) folder(ctx context.Context, p *unpacking, name string) error {
	return filepath.WalkDir(name, func(at string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			p.b.Damage = append(p.b.Damage, err.Error())
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !d.Type().IsRegular():
			return nil
		}
		if p.b.Members++; p.b.Members > maxInFolder {
			p.b.Damage = append(p.b.Damage, fmt.Sprintf("it has more than %d files: the rest was not looked at", maxInFolder))
			return fs.SkipAll
		}
		rel, err := filepath.Rel(name, at)
		if err != nil {
			rel = d.Name()
		}
		// The name of the folder says whose bundle it is, as the first folder in an archive does.
		m := bundle.Member{Name: filepath.ToSlash(filepath.Join(filepath.Base(filepath.Clean(name)), rel))}
		if info, err := d.Info(); err == nil {
			m.Modified = info.ModTime()
		}
		f, err := os.Open(at)
		if err != nil {
			p.b.Damage = append(p.b.Damage, err.Error())
			return nil
		}
		defer f.Close()
		return p.member(ctx, m, f, at)
	})
}
