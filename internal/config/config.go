// Package config reads settings files.
//
// A file is TOML. Keys at its top are settings by their own names, a table holds the settings of one detector:
//
//	heartbeat = ["auto"]
//	theme = "dark"
//
//	[starvation]
//	late_wait = "20ms"
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"lostbeat/internal/hint"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// MaxBytes is the size of the largest settings file that is read.
const MaxBytes = 1 << 20

// File is a settings file.
type File struct {
	// Path is where it was read from.
	Path string
	// Entries are its keys and tables, in the order of their lines.
	Entries []Entry
}

// Entry is one key of a settings file, or one table.
type Entry struct {
	// Name is the key, with its table in front: "theme", "starvation.late_wait".
	Name string
	// Path and Line are where it is.
	Path string
	Line int
	// Values are the value, or those of a list, as text.
	Values []string
	// List says that the value is a list, Table that this is the head of a table, which has no value.
	List, Table bool
}

// Place is the file and line of the entry.
func (e Entry) Place() string { return fmt.Sprintf("%s:%d", e.Path, e.Line) }

// Paths returns the settings files of the system and of the user, later ones first to be overridden. env is
// os.Getenv, system runtime.GOOS.
func Paths(system string, env func(string) string) (paths []string) {
	add := func(dir string, rest ...string) {
		if filepath.IsAbs(dir) {
			paths = append(paths, filepath.Join(append([]string{dir}, rest...)...))
		}
	}
	if system == "windows" {
		add(env("ProgramData"), "lostbeat", "config.toml")
		add(env("AppData"), "lostbeat", "config.toml")
		return paths
	}
	add("/etc", "lostbeat.toml")
	if dir := env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		add(dir, "lostbeat", "config.toml")
	} else {
		add(env("HOME"), ".config", "lostbeat", "config.toml")
	}
	return paths
}

// Open reads the settings file at path; "-" is stdin. A file that other users could change is an error for
// a process with privileges: whoever writes it decides what that process does. A file that does not exist is
// an error for which errors.Is(err, fs.ErrNotExist) holds.
func Open(path string, stdin io.Reader) (File, error) {
	if path == "-" {
		return Read("standard input", stdin)
	}
	f, err := os.Open(path)
	if err != nil {
		return File{}, fmt.Errorf("read the settings: %w", err)
	}
	defer f.Close()
	if err := trusted(f, path); err != nil {
		return File{}, err
	}
	return Read(path, f)
}

// Read reads a settings file.
func Read(path string, r io.Reader) (File, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return File{}, fmt.Errorf("read the settings: %w", err)
	}
	if len(text) > MaxBytes {
		return File{}, hint.New(fmt.Sprintf("%s is larger than 1 MiB", path), "a settings file has a line for each setting")
	}
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		return File{}, syntaxError(path, err)
	}
	b := builder{path: path, lines: lines(text)}
	if err := b.table("", tree); err != nil {
		return File{}, err
	}
	slices.SortStableFunc(b.entries, func(x, y Entry) int {
		return cmp.Or(cmp.Compare(x.Line, y.Line), cmp.Compare(x.Name, y.Name))
	})
	return File{Path: path, Entries: b.entries}, nil
}

// syntaxError says where a file is no TOML.
func syntaxError(path string, err error) error {
	message := strings.TrimPrefix(err.Error(), "toml: ")
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		row, _ := decode.Position()
		path = fmt.Sprintf("%s:%d", path, row)
	}
	return hint.New(fmt.Sprintf("%s: not TOML: %s", path, message),
		`write lines like theme = "dark", heartbeat = ["auto"], or late_wait = "20ms" below a line [starvation]`)
}

// builder turns a file's tree into entries.
type builder struct {
	path    string
	lines   map[string]int
	entries []Entry
}

// table adds the keys of a table with the given name, "" for the file.
func (b *builder) table(name string, tree map[string]any) error {
	for key, v := range tree {
		e := Entry{Name: key, Path: b.path}
		if name != "" {
			e.Name = name + "." + key
		}
		e.Line = b.lines[e.Name]
		switch v := v.(type) {
		case map[string]any:
			e.Table = true
			b.entries = append(b.entries, e)
			if err := b.table(e.Name, v); err != nil {
				return err
			}
			continue
		case []any:
			e.List = true
			for _, element := range v {
				text, ok := scalar(element)
				if !ok {
					return notText(e)
				}
				e.Values = append(e.Values, text)
			}
		default:
			text, ok := scalar(v)
			if !ok {
				return notText(e)
			}
			e.Values = []string{text}
		}
		b.entries = append(b.entries, e)
	}
	return nil
}

func notText(e Entry) error {
	return hint.New(
		fmt.Sprintf("%s: %s is neither a text, a number, true or false, nor a list of them", e.Place(), e.Name),
		`write times and dates in quotes`)
}

// scalar returns a value as a flag would be given it; it has no form for times and dates.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	}
	return "", false
}

// lines returns the line of each key and table of a file that is known to be TOML.
func lines(text []byte) map[string]int {
	at := map[string]int{}
	var p unstable.Parser
	p.Reset(text)
	// mark notes the line of a key below prefix and returns its full name.
	mark := func(prefix string, key unstable.Iterator) string {
		for key.Next() {
			if prefix != "" {
				prefix += "."
			}
			prefix += string(key.Node().Data)
			if _, ok := at[prefix]; !ok {
				at[prefix] = p.Shape(key.Node().Raw).Start.Line
			}
		}
		return prefix
	}
	var value func(name string, v *unstable.Node)
	value = func(name string, v *unstable.Node) {
		if v.Kind != unstable.InlineTable {
			return
		}
		for inner := v.Children(); inner.Next(); {
			value(mark(name, inner.Node().Key()), inner.Node().Value())
		}
	}
	table := ""
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = mark("", e.Key())
		case unstable.KeyValue:
			value(mark(table, e.Key()), e.Value())
		}
	}
	return at
}
