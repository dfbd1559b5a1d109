package vmtest

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// machine is what QEMU emulates.
type machine struct {
	// arch is the architecture as Go and Debian call it.
	arch     string
	emulator string
	args     []string
	console  string
	// libraries is the folder of libraries.
	libraries string
}

// machineFor returns the machine of an architecture; amd64 for none.
func machineFor(arch string) machine {
	if arch == "arm64" {
		return machine{
			arch:     arch,
			emulator: "qemu-system-aarch64",
			// Pointer authentication by its real algorithm takes most of the emulator's time.
			args:      []string{"-machine", "virt", "-cpu", "max,pauth-impdef=on"},
			console:   "ttyAMA0",
			libraries: "lib/aarch64-linux-gnu",
		}
	}
	return machine{
		arch: "amd64", emulator: "qemu-system-x86_64", args: []string{"-cpu", "max"}, console: "ttyS0",
		libraries: "lib/x86_64-linux-gnu",
	}
}

// start returns the command that starts a guest with what is built in dir; init is what the kernel's command line says
// to it.
func (m machine) start(ctx context.Context, k kernel, dir string, cpus, memoryMB int, init string) *exec.Cmd {
	// One thread: text patching under multi-threaded emulation is unsafe.
	return exec.CommandContext(ctx, m.emulator, slices.Concat(m.args, []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", "tcg,thread=single", "-smp", strconv.Itoa(cpus), "-m", strconv.Itoa(memoryMB),
		"-serial", "stdio", "-kernel", k.image, "-initrd", filepath.Join(dir, initramfsName),
		"-append", "console=" + m.console + " quiet panic=-1 rdinit=/init " + init,
	})...)
}

// cacheFolder is a folder for packages.
func (m machine) cacheFolder(name string) string {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	if m.arch != runtime.GOARCH {
		name = m.arch + "-" + name
	}
	return filepath.Join(cache, "lostbeat-vmtest", name)
}

// apt returns the options by which apt's programs know the packages of the machine's architecture: none for this
// host's. Those of another one have lists of their own, so that this host's package system stays as it is.
func (m machine) apt(ctx context.Context) ([]string, error) {
	if m.arch == runtime.GOARCH {
		return nil, nil
	}
	dir := m.cacheFolder("apt")
	status := filepath.Join(dir, "status")
	options := []string{
		"-o", "APT::Architecture=" + m.arch, "-o", "APT::Architectures=" + m.arch, "-o", "APT::Sandbox::User=root",
		"-o", "Acquire::Languages=none", "-o", "Dir::State=" + dir, "-o", "Dir::State::status=" + status,
		"-o", "Dir::Cache=" + dir,
	}
	if _, err := os.Stat(status); err == nil {
		return options, nil
	}
	for _, folder := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return nil, err
		}
	}
	// The list of what is installed: nothing. It is also the sign that the lists are complete.
	fresh := status + ".new"
	if err := os.WriteFile(fresh, nil, 0o644); err != nil {
		return nil, err
	}
	update := append(options, "-o", "Dir::State::status="+fresh, "update", "-qq")
	if _, err := command(ctx, dir, "apt-get", update...); err != nil {
		return nil, err
	}
	return options, os.Rename(fresh, status)
}

// addLibraries finds the libraries of a program, if it is one.
func (m machine) addLibraries(ctx context.Context, roots []string, program string, found map[string]string) error {
	image, err := elf.Open(program)
	if err != nil {
		return nil // it is no program
	}
	defer image.Close()
	if m.arch != runtime.GOARCH {
		return m.addForeign(roots, image, found)
	}
	var search []string
	for _, root := range roots {
		search = append(search, filepath.Join(root, m.libraries), filepath.Join(root, "usr", m.libraries))
	}
	list, err := command(ctx, "/", "env", "LD_LIBRARY_PATH="+strings.Join(search, ":"), "ldd", program)
	if err != nil {
		return err
	}
	for line := range strings.Lines(list) {
		// "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)", "/lib64/ld-linux-x86-64.so.2 (0x...)"
		fields := strings.Fields(line)
		switch {
		case strings.Contains(line, "not found"):
			return fmt.Errorf("%s needs %s", program, fields[0])
		case len(fields) == 4:
			found[filepath.Join("/", m.libraries, fields[0])] = fields[2]
		case len(fields) == 2 && fields[0][0] == '/':
			found[fields[0]] = fields[0]
		}
	}
	return nil
}

// addForeign finds the libraries of a program of another architecture, which are all in the packages.
func (m machine) addForeign(roots []string, image *elf.File, found map[string]string) error {
	needed, err := image.ImportedLibraries()
	if err != nil {
		return err
	}
	paths := make(map[string]string) // in the guest, by library
	for _, library := range needed {
		paths[library] = filepath.Join("/", m.libraries, library)
	}
	if section := image.Section(".interp"); section != nil {
		interpreter, err := section.Data()
		if err != nil {
			return err
		}
		path := strings.TrimRight(string(interpreter), "\x00")
		paths[filepath.Base(path)] = path
	}
	for library, path := range paths {
		if found[path] != "" {
			continue
		}
		source := ""
		for _, root := range roots {
			for _, folder := range []string{m.libraries, filepath.Join("usr", m.libraries), "lib"} {
				if candidate := filepath.Join(root, folder, library); source == "" && isFile(candidate) {
					source = candidate
				}
			}
		}
		if source == "" {
			return fmt.Errorf("no %s for %s in the packages", library, m.arch)
		}
		found[path] = source
		more, err := elf.Open(source)
		if err != nil {
			return err
		}
		if err := errors.Join(m.addForeign(roots, more, found), more.Close()); err != nil {
			return err
		}
	}
	return nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
