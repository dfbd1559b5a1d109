package vmtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"lostbeat/internal/testutil"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Options say what runs in the guest.
type Options struct {
	// Kernel is the series of Debian's kernels to run: "6.1", "6.12".
	Kernel string
	// Flavour of the kernel: "cloud" when empty, or "rt".
	Flavour string
	// Arch is the architecture as Go calls it: "amd64" when empty, or "arm64".
	Arch string
	// MemoryMB is the guest's memory, 768 when 0.
	MemoryMB int
	// CPUs is the number of processors, 1 when 0.
	CPUs int
	// Package is the import path of the tests, which call Main in TestMain.
	Package string
	// Tests is the pattern of the tests to run, without spaces.
	Tests string
	// Modules are the modules to load; those that they need are loaded before them.
	Modules []string
	// Later are modules for the guest to load by itself, with Load.
	Later []string
	// Packages are packages of Debian, and Install the absolute paths of those of
	// their files that the guest gets; programs bring their libraries.
	Packages, Install []string
	// Programs are the import paths of commands to build for the guest, by their
	// names in its root folder.
	Programs map[string]string
	// TestPrograms are the import paths of packages whose tests are programs of the guest, by name.
	TestPrograms map[string]string
	// Built is a folder that Build has returned for the same options, so that
	// several guests start with one build; empty to build for this one.
	Built string
	// Device is the model of a network device for the guest, as QEMU calls it;
	// none when empty.
	Device string
	// Wire is a stream socket over which the device's frames pass, each after its
	// length in four bytes, the highest first.
	Wire *os.File
	// Clock is what the guest's hardware clock shows when it starts, in UTC as
	// "2026-03-01T10:00:00"; this host's time when empty.
	Clock string
	// Monitor is the path of a Unix socket to make for commands to QEMU, as "stop" and "cont"; none when empty.
	Monitor string
	// Disk are QEMU's arguments for a disk, /dev/vda with the module virtio_blk; none when empty.
	Disk []string
	// Kill ends the guest without warning when it is closed, as a loss of power does: its tests then need not pass.
	Kill <-chan struct{}
	// Line, when set, is told each line of the guest's console as it comes.
	Line func(line string)
	// Timeout bounds the guest's run.
	Timeout time.Duration
}

// Modes of what is in the guest.
const folder, file = 0o40755, 0o100755

// exitMark precedes the exit status of the tests on the guest's console.
const exitMark = "guest tests exit with status "

// Run runs tests in a guest and fails t when they fail. It returns what they
// printed. It skips t without QEMU or the kernel's package.
func Run(t testing.TB, o Options) string {
	t.Helper()
	m := machineFor(o.Arch)
	kernel := findKernel(t, m, o.Kernel, o.Flavour)
	dir := o.Built
	if dir == "" {
		dir = Build(t, o)
	}
	ctx, cancel := context.WithTimeout(t.Context(), o.Timeout)
	defer cancel()
	guest := m.start(ctx, kernel, dir, cmp.Or(o.CPUs, 1), cmp.Or(o.MemoryMB, 768), "-- -test.v -test.run="+o.Tests)
	if o.Device != "" {
		// The first of the extra files is descriptor 3.
		guest.Args = append(guest.Args, "-netdev", "socket,id=wire,fd=3", "-device", o.Device+",netdev=wire")
		guest.ExtraFiles = []*os.File{o.Wire}
	}
	if o.Clock != "" {
		guest.Args = append(guest.Args, "-rtc", "base="+o.Clock)
	}
	if o.Monitor != "" {
		guest.Args = append(guest.Args, "-monitor", "unix:"+o.Monitor+",server=on,wait=off")
	}
	guest.Args = append(guest.Args, o.Disk...)
	console := &console{line: o.Line}
	guest.Stdout, guest.Stderr = console, console
	err := guest.Start()
	killed := false
	if err == nil {
		ended := make(chan error, 1)
		go func() { ended <- guest.Wait() }()
		select {
		case err = <-ended:
		case <-o.Kill:
			killed = true
			err = errors.Join(guest.Process.Kill(), <-ended)
		}
	}
	text := console.text.String()
	switch {
	case killed:
	case ctx.Err() != nil:
		t.Fatalf("the guest has not ended within %v:\n%s", o.Timeout, text)
	case err != nil:
		t.Fatalf("%s: %v\n%s", m.emulator, err, text)
	case !strings.Contains(text, exitMark+"0\n"):
		t.Fatalf("the tests in the guest have failed:\n%s", text)
	}
	return text
}

// kernel is a kernel of Debian, unpacked.
type kernel struct {
	// root is the folder of its package, image the file to start.
	root, image string
}

// Nightly skips the test on a kernel other than the oldest where not everything is run.
func Nightly(t testing.TB, series string) {
	t.Helper()
	if series != "6.1" {
		testutil.Nightly(t, "between the oldest kernel and the one of this host, which are tried")
	}
}

// findKernel returns a kernel of a series; flavour may be empty. It skips t without QEMU or the kernel's package.
func findKernel(t testing.TB, m machine, series, flavour string) kernel {
	t.Helper()
	if _, err := exec.LookPath(m.emulator); err != nil {
		testutil.Unavailable(t, "no emulator: %v", err)
	}
	root, err := kernelPackage(t.Context(), m, series, cmp.Or(flavour, "cloud"))
	if err != nil {
		testutil.Unavailable(t, "no kernel %s: %v", series, err)
	}
	images, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		t.Fatalf("kernel in %s: %v, %v", root, images, err)
	}
	return kernel{root, images[0]}
}

// initramfsName is the name of what a guest starts with.
const initramfsName = "initramfs"

// Build builds what a guest starts with and returns the folder, which has the
// programs by their names, too. It skips t without QEMU or the kernel's package.
func Build(t testing.TB, o Options) (dir string) {
	t.Helper()
	m := machineFor(o.Arch)
	root := findKernel(t, m, o.Kernel, o.Flavour).root
	installed, err := packageFiles(t.Context(), m, o.Packages, o.Install)
	if err != nil {
		testutil.Unavailable(t, "nothing to install in the guest: %v", err)
	}
	dir = t.TempDir()
	if err := buildInitramfs(t.Context(), dir, root, o, installed); err != nil {
		t.Fatal(err)
	}
	return dir
}

// console takes what the guest prints.
type console struct {
	text strings.Builder
	part string
	line func(string)
}

// Write implements io.Writer.
func (c *console) Write(p []byte) (int, error) {
	text := strings.ReplaceAll(string(p), "\r", "")
	c.text.WriteString(text)
	if c.line == nil {
		return len(p), nil
	}
	lines := strings.Split(c.part+text, "\n")
	for _, line := range lines[:len(lines)-1] {
		c.line(line)
	}
	c.part = lines[len(lines)-1]
	return len(p), nil
}

// kernelPackage returns the folder of an unpacked kernel package, which is
// fetched when it is not there yet.
func kernelPackage(ctx context.Context, m machine, series, flavour string) (string, error) {
	cache := m.cacheFolder(series + "-" + flavour)
	if kernels, _ := filepath.Glob(filepath.Join(cache, "*", "boot", "vmlinuz-*")); len(kernels) > 0 {
		return filepath.Dir(filepath.Dir(kernels[0])), nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	apt, err := m.apt(ctx)
	if err != nil {
		return "", err
	}
	names, err := command(ctx, cache, "apt-cache", slices.Concat(apt, []string{"search", "--names-only",
		"^linux-image-" + regexp.QuoteMeta(series) + `[.+~].*-` + flavour + "-" + m.arch + "$"})...)
	if err != nil {
		return "", err
	}
	var name string
	for line := range strings.Lines(names) {
		// Signed packages only differ in the signature; any version will do.
		if candidate, _, _ := strings.Cut(line, " "); !strings.HasSuffix(candidate, "-dbg") {
			name = candidate
		}
	}
	if name == "" {
		return "", fmt.Errorf("apt knows no linux-image-%s*-%s-%s", series, flavour, m.arch)
	}
	return unpackPackage(ctx, m, cache, name)
}

// unpackPackage fetches a package of Debian and returns the folder that it is
// unpacked in, which is in cache.
func unpackPackage(ctx context.Context, m machine, cache, name string) (string, error) {
	apt, err := m.apt(ctx)
	if err != nil {
		return "", err
	}
	if _, err := command(ctx, cache, "apt-get", append(apt, "download", "-q", name)...); err != nil {
		return "", err
	}
	packages, err := filepath.Glob(filepath.Join(cache, name+"_*.deb"))
	if err != nil || len(packages) != 1 {
		return "", fmt.Errorf("downloaded packages: %v, %w", packages, errors.Join(err))
	}
	unpacked, err := os.MkdirTemp(cache, "unpack")
	if err != nil {
		return "", err
	}
	if _, err := command(ctx, cache, "dpkg", "-x", packages[0], unpacked); err != nil {
		return "", err
	}
	// In one step, so that a parallel or killed run leaves no half package.
	target := filepath.Join(cache, name)
	if err := os.Rename(unpacked, target); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return target, os.Remove(packages[0])
}

// buildInitramfs writes an initial RAM file system with the test binary as
// init.
func buildInitramfs(ctx context.Context, dir, root string, o Options, installed []cpioFile) error {
	var files []cpioFile
	build := func(name string, args ...string) error {
		binary := filepath.Join(dir, name)
		cmd := exec.CommandContext(ctx, "go", append(args[:1:1], append([]string{"-o", binary}, args[1:]...)...)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+machineFor(o.Arch).arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build the guest's %s: %w: %s", name, err, out)
		}
		program, err := os.ReadFile(binary)
		files = append(files, cpioFile{name, file, program})
		return err
	}
	if err := build("init", "test", "-c", o.Package); err != nil {
		return err
	}
	for name, path := range o.Programs {
		if err := build(name, "build", path); err != nil {
			return err
		}
	}
	for name, path := range o.TestPrograms {
		if err := build(name, "test", "-c", "-ldflags=-s -w", path); err != nil {
			return err
		}
	}
	for _, name := range []string{"proc", "sys", "dev", "tmp", "run", "modules", "modules/later"} {
		files = append(files, cpioFile{name, folder, nil})
	}
	modules, err := findModules(root, o.Modules)
	if err != nil {
		return err
	}
	for i, module := range modules {
		files = append(files, cpioFile{fmt.Sprintf("modules/%03d-%s.ko", i, module.name), file, module.data})
	}
	for _, name := range o.Later {
		data, err := findModule(root, name)
		if err != nil {
			return err
		}
		files = append(files, cpioFile{fmt.Sprintf("modules/later/%s.ko", name), file, data})
	}
	files = append(files, installed...)
	var archive bytes.Buffer
	if err := writeCPIO(&archive, files); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, initramfsName), archive.Bytes(), 0o644)
}

// packageFiles returns files of Debian's packages, and the libraries of those that
// are programs, with the folders that they are in. Libraries that are in none of
// the packages are this host's.
func packageFiles(ctx context.Context, m machine, packages, paths []string) ([]cpioFile, error) {
	var roots []string
	for _, name := range packages {
		cache := m.cacheFolder("packages")
		root := filepath.Join(cache, name)
		if _, err := os.Stat(root); err != nil {
			if err := os.MkdirAll(cache, 0o755); err != nil {
				return nil, err
			}
			if root, err = unpackPackage(ctx, m, cache, name); err != nil {
				return nil, err
			}
		}
		roots = append(roots, root)
	}
	found := make(map[string]string) // by path in the guest
	for _, path := range paths {
		for _, root := range roots {
			source := filepath.Join(root, path)
			if _, err := os.Stat(source); err != nil {
				continue
			}
			found[path] = source
			if err := m.addLibraries(ctx, roots, source, found); err != nil {
				return nil, err
			}
		}
		if found[path] == "" {
			return nil, fmt.Errorf("no %s in %v", path, packages)
		}
	}
	var files []cpioFile
	for _, path := range slices.Sorted(maps.Keys(found)) {
		data, err := os.ReadFile(found[path])
		if err != nil {
			return nil, err
		}
		files = append(files, cpioFile{path[1:], file, data})
	}
	return withFolders(files), nil
}

// command runs a program in a folder and returns what it prints.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf(
			"%s: %w: %s",
			strings.Join(slices.Concat([]string{name}, args), " "),
			err,
			bytes.TrimSpace(out),
		)
	}
	return string(out), nil
}
