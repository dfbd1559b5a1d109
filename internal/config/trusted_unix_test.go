//go:build unix

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRootTrustsNoFileOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: only root refuses files")
	}
	dir := t.TempDir()
	inner := filepath.Join(dir, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	path, link := filepath.Join(inner, "config.toml"), filepath.Join(dir, "link.toml")
	if err := os.WriteFile(path, []byte("utc = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name      string
		file, dir os.FileMode
		owner     int
		want      string // "" when the file is read
	}{
		{"of root", 0o644, 0o755, 0, ""},
		{"written by the group", 0o664, 0o755, 0, "can be written by its group"},
		{"written by everybody", 0o646, 0o755, 0, "can be written by everybody"},
		{"of a user", 0o600, 0o755, 65534, "belongs to user 65534"},
		{"in a folder that everybody writes", 0o600, 0o777, 0, "inner can be written by everybody"},
		{"in a folder like /tmp", 0o600, 0o777 | os.ModeSticky, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, err := range []error{os.Chown(path, tt.owner, 0), os.Chmod(path, tt.file), os.Chmod(inner, tt.dir)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, p := range []string{path, link} {
				_, err := Open(p, nil)
				if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
					t.Errorf("%s: got %v, want %q", p, err, tt.want)
				}
			}
		})
	}
}
