package vmtest

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// module is a module of a kernel.
type module struct {
	name string
	data []byte
}

// findModules returns modules of a kernel's package, each after those that it needs.
func findModules(root string, names []string) (list []module, err error) {
	for _, name := range names {
		if slices.ContainsFunc(list, func(m module) bool { return m.name == name }) {
			continue
		}
		data, err := findModule(root, name)
		if err != nil && isBuiltIn(root, name) {
			continue
		}
		if err != nil {
			return nil, err
		}
		needed, err := neededModules(data)
		if err != nil {
			return nil, fmt.Errorf("module %s: %w", name, err)
		}
		before, err := findModules(root, needed)
		if err != nil {
			return nil, err
		}
		for _, m := range append(before, module{name, data}) {
			if !slices.ContainsFunc(list, func(other module) bool { return other.name == m.name }) {
				list = append(list, m)
			}
		}
	}
	return list, nil
}

// neededModules reads which modules a module needs, from its section .modinfo.
func neededModules(data []byte) ([]string, error) {
	image, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	section := image.Section(".modinfo")
	if section == nil {
		return nil, nil
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}

// isBuiltIn says that what is a module of other kernels is a part of this one.
func isBuiltIn(root, name string) bool {
	lists, _ := filepath.Glob(filepath.Join(root, "lib/modules/*/modules.builtin")) // the pattern is right
	for _, path := range lists {
		list, err := os.ReadFile(path)
		if err == nil && strings.Contains(strings.ReplaceAll(string(list), "-", "_"), "/"+name+".ko") {
			return true
		}
	}
	return false
}

// findModule returns a module, whose file may have its name with dashes.
func findModule(root, name string) (data []byte, err error) {
	err = filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil || data != nil {
			return err
		}
		base, isModule := strings.CutSuffix(strings.TrimSuffix(filepath.Base(path), ".xz"), ".ko")
		if !isModule || strings.ReplaceAll(base, "-", "_") != strings.ReplaceAll(name, "-", "_") {
			return nil
		}
		if strings.HasSuffix(path, ".xz") {
			data, err = exec.Command("xz", "-dc", path).Output()
		} else {
			data, err = os.ReadFile(path)
		}
		return err
	})
	if err == nil && data == nil {
		err = fmt.Errorf("no module %s in the kernel's package", name)
	}
	return data, err
}
