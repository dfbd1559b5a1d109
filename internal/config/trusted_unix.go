//go:build unix

package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"lostbeat/internal/hint"
)

// trusted refuses, for root, a file that other users could change or replace.
func trusted(f *os.File, path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read the settings: %w", err)
	}
	if why := changeable(info, info.Mode().IsRegular()); why != "" {
		return untrusted(path, path, why)
	}
	whole, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("read the settings: %w", err)
	}
	if target, err := filepath.EvalSymlinks(whole); err == nil { // a pipe has no path
		whole = target
	}
	for dir := filepath.Dir(whole); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("read the settings: %w", err)
		}
		if why := changeable(info, info.Mode()&fs.ModeSticky == 0); why != "" {
			return untrusted(path, dir, why)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// changeable says who beside root can change a file or folder, "" for nobody. modes says whether its
// permissions count.
func changeable(info fs.FileInfo, modes bool) string {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 {
		return fmt.Sprintf("belongs to user %d", stat.Uid)
	}
	switch {
	case !modes:
		return ""
	case info.Mode()&0o002 != 0:
		return "can be written by everybody"
	case info.Mode()&0o020 != 0:
		return "can be written by its group"
	}
	return ""
}

func untrusted(path, what, why string) error {
	return hint.New(
		fmt.Sprintf("the settings in %s are not read as root: %s %s, so that others decide what root does", path, what, why),
		fmt.Sprintf("chown root %s && chmod go-w %s, or name another file with --config", what, what),
	)
}
