package config

import (
	"errors"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"lostbeat/internal/hint"
	"lostbeat/internal/testutil/fuzztest"

	"github.com/google/go-cmp/cmp"
)

func TestRead(t *testing.T) {
	f, err := Read("a.toml", strings.NewReader(`# a comment
theme = "dark"
utc = true
heartbeat = [
  "auto",
  'udp:7000=2s',
]
leak.min_ports = 5_000
"ring-size" = "16MiB"

[starvation]
busy_share = 0.9
late_wait = "20ms"
"packet-drop" = { a = 1, b.c = 2 }
`))
	if err != nil {
		t.Fatal(err)
	}
	for i := range f.Entries {
		if f.Entries[i].Path != "a.toml" {
			t.Errorf("%s is in %q", f.Entries[i].Name, f.Entries[i].Path)
		}
		f.Entries[i].Path = ""
	}
	want := []Entry{
		{Name: "theme", Line: 2, Values: []string{"dark"}},
		{Name: "utc", Line: 3, Values: []string{"true"}},
		{Name: "heartbeat", Line: 4, Values: []string{"auto", "udp:7000=2s"}, List: true},
		{Name: "leak", Line: 8, Table: true},
		{Name: "leak.min_ports", Line: 8, Values: []string{"5000"}},
		{Name: "ring-size", Line: 9, Values: []string{"16MiB"}},
		{Name: "starvation", Line: 11, Table: true},
		{Name: "starvation.busy_share", Line: 12, Values: []string{"0.9"}},
		{Name: "starvation.late_wait", Line: 13, Values: []string{"20ms"}},
		{Name: "starvation.packet-drop", Line: 14, Table: true},
		{Name: "starvation.packet-drop.a", Line: 14, Values: []string{"1"}},
		{Name: "starvation.packet-drop.b", Line: 14, Table: true},
		{Name: "starvation.packet-drop.b.c", Line: 14, Values: []string{"2"}},
	}
	if diff := cmp.Diff(want, f.Entries); diff != "" {
		t.Error(diff)
	}
}

func TestReadRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"a = 1\nb = \n":                          "x.toml:2: not TOML",
		"a = 1\n\na = 2\n":                       "not TOML",
		"at = 2026-11-29\n":                      "x.toml:1: at is neither",
		"a = 1\nb = [1, [2]]\n":                  "x.toml:2: b is neither",
		"[[pool]]\nname = \"x\"\n":               "x.toml:1: pool is neither",
		strings.Repeat("# long\n", MaxBytes/7+1): "larger than 1 MiB",
	} {
		if _, err := Read("x.toml", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) ||
			hint.Of(err) == "" {
			t.Errorf("%.30q: got %v, hint %q; want %q", text, err, hint.Of(err), want)
		}
	}
}

func TestOpen(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "absent"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	f, err := Open("-", strings.NewReader("utc = true"))
	if err != nil || f.Path != "standard input" || len(f.Entries) != 1 {
		t.Errorf("standard input: %+v, %v", f, err)
	}
}

func TestPaths(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("paths of other systems are not absolute here")
	}
	tests := []struct {
		env  map[string]string
		want []string
	}{
		{nil, []string{"/etc/lostbeat.toml"}},
		{map[string]string{"HOME": "/root"}, []string{"/etc/lostbeat.toml", "/root/.config/lostbeat/config.toml"}},
		{
			map[string]string{"HOME": "/root", "XDG_CONFIG_HOME": "/c"},
			[]string{"/etc/lostbeat.toml", "/c/lostbeat/config.toml"},
		},
		{
			map[string]string{"HOME": "/root", "XDG_CONFIG_HOME": "c"}, // the specification ignores relative paths
			[]string{"/etc/lostbeat.toml", "/root/.config/lostbeat/config.toml"},
		},
	}
	for _, tt := range tests {
		if got := Paths("linux", func(name string) string { return tt.env[name] }); !slices.Equal(got, tt.want) {
			t.Errorf("%v: got %v, want %v", tt.env, got, tt.want)
		}
	}
	windows := map[string]string{"ProgramData": "/pd", "AppData": "/ad"}
	if got := Paths("windows", func(name string) string { return windows[name] }); !slices.Equal(got,
		[]string{"/pd/lostbeat/config.toml", "/ad/lostbeat/config.toml"}) {
		t.Errorf("windows: %v", got)
	}
}

func FuzzRead(f *testing.F) {
	fuzztest.Quick(f)
	f.Add([]byte("a = 1\n[t]\nb.c = [\"x\", 2.5, true]\nd = {e = 1}\n"))
	f.Add([]byte("\"a\\u0041\" = '''x\ny'''\n[[q]]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Read("x", strings.NewReader(string(text)))
		if err != nil {
			return
		}
		for _, e := range file.Entries {
			if e.Line < 1 || !e.Table && !e.List && len(e.Values) != 1 {
				t.Errorf("%+v", e)
			}
		}
	})
}
