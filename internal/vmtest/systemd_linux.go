package vmtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"lostbeat/internal/testutil"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// systemdVariable makes the init process of a guest start systemd from a disk instead of tests. The kernel hands it on.
const systemdVariable = "LOSTBEAT_SYSTEMD"

// Systemd are the options of a guest that runs systemd.
type Systemd struct {
	// Kernel is the series of Debian's kernels to run: "6.12".
	Kernel string
	// Package is the import path of tests that call Main in TestMain: their binary starts the guest.
	Package string
	// Modules are the modules to load beside that of the disk; those that they need are loaded before them.
	Modules []string
	// Packages are packages of Debian to install beside systemd.
	Packages []string
	// Programs are the import paths of commands to build for the guest, by their absolute paths in it.
	Programs map[string]string
	// Files are files of the guest by their absolute paths; those in folders called bin are programs.
	Files map[string]string
	// Timeout bounds the guest's run.
	Timeout time.Duration
}

// Boot starts systemd in a guest and returns what its console has shown until it was powered off. Its disk is made by
// mmdebstrap once and kept; what the guest writes is not. It skips t without QEMU, mmdebstrap or the kernel's package.
func Boot(t testing.TB, o Systemd) string {
	t.Helper()
	m := machineFor("")
	kernel := findKernel(t, m, o.Kernel, "")
	disk, err := systemdDisk(t.Context(), o.Packages)
	if err != nil {
		testutil.Unavailable(t, "no disk with systemd: %v", err)
	}
	var files []cpioFile
	for path, text := range o.Files {
		mode := uint32(0o100644)
		if filepath.Base(filepath.Dir(path)) == "bin" {
			mode = 0o100755
		}
		files = append(files, cpioFile{overlayFolder + path, mode, []byte(text)})
	}
	dir := t.TempDir()
	programs := map[string]string{}
	for path, source := range o.Programs {
		programs[filepath.Base(path)] = source
		files = append(files, cpioFile{overlayFolder + path, 0o120777, []byte("/" + filepath.Base(path))})
	}
	options := Options{
		Package: o.Package, Programs: programs,
		Modules: append([]string{"virtio_blk"}, o.Modules...),
	}
	if err := buildInitramfs(t.Context(), dir, kernel.root, options, withFolders(files)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), o.Timeout)
	defer cancel()
	guest := m.start(ctx, kernel, dir, 1, 1024, "systemd.firstboot=off systemd.log_target=journal "+
		"systemd.show_status=off systemd.getty_auto=off "+systemdVariable+"=1")
	guest.Args = append(guest.Args, "-drive", "file="+disk+",if=virtio,format=raw,snapshot=on")
	var console console
	guest.Stdout, guest.Stderr = &console, &console
	err = guest.Run()
	text := console.text.String()
	if ctx.Err() != nil || err != nil {
		t.Fatalf("the guest has not ended well within %v: %v\n%s", o.Timeout, err, text)
	}
	return text
}

// overlayFolder is where the files are in the initial RAM file system that are copied onto the disk.
const overlayFolder = "overlay"

// systemdPackages are those of a minimal Debian with systemd.
const systemdPackages = "systemd,systemd-sysv,dbus,kmod,iproute2"

// systemdDisk returns the image of a disk with Debian and systemd, which is made if it is not there yet.
func systemdDisk(ctx context.Context, packages []string) (string, error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", err
	}
	name := regexp.MustCompile(`(?m)^VERSION_CODENAME=(\w+)$`).FindSubmatch(release)
	if name == nil {
		return "", errors.New("/etc/os-release names no release of Debian")
	}
	include := strings.Join(append([]string{systemdPackages}, packages...), ",")
	cache := machineFor("").cacheFolder("systemd-" + string(name[1]) + "-" + strings.Join(packages, "-"))
	disk := filepath.Join(cache, "disk.img")
	if _, err := os.Stat(disk); err == nil {
		return disk, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(cache, "make")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	tree, image := filepath.Join(work, "root"), filepath.Join(work, "disk.img")
	if _, err := command(
		ctx, work, "mmdebstrap", "--quiet", "--variant=minbase", "--include="+include, string(name[1]), tree,
	); err != nil {
		return "", err
	}
	id := []byte("0123456789abcdef0123456789abcdef\n") // or else systemd asks on the console
	if err := os.WriteFile(filepath.Join(tree, "etc/machine-id"), id, 0o444); err != nil {
		return "", err
	}
	if _, err := command(ctx, work, "mke2fs", "-q", "-t", "ext4", "-d", tree, image, "800M"); err != nil {
		return "", err
	}
	return disk, os.Rename(image, disk)
}

// startSystemd is init's part: it copies the files onto the disk, makes it the root, and becomes systemd.
func startSystemd() error {
	const disk, target = "/dev/vda", "/root"
	if err := errors.Join(os.MkdirAll(target, 0o755), unix.Mount("devtmpfs", "/dev", "devtmpfs", 0, "")); err != nil {
		return err
	}
	err := loadModules()
	if err != nil {
		return err
	}
	for range 100 { // the disk is found a moment later
		if err = unix.Mount(disk, target, "ext4", 0, ""); !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENXIO) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("mount %s: %w", disk, err)
	}
	if err := copyOverlay("/"+overlayFolder, target); err != nil {
		return err
	}
	if err := errors.Join(
		unix.Mount("/dev", target+"/dev", "", unix.MS_MOVE, ""), os.Chdir(target),
		unix.Mount(".", "/", "", unix.MS_MOVE, ""), unix.Chroot("."), os.Chdir("/"),
	); err != nil {
		return fmt.Errorf("change to the disk: %w", err)
	}
	return unix.Exec("/sbin/init", []string{"/sbin/init"}, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=dumb"})
}

// copyOverlay copies the files below a folder; links stand for files elsewhere.
func copyOverlay(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		at := to + strings.TrimPrefix(path, from)
		if d.IsDir() {
			return os.MkdirAll(at, 0o755)
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		return cmp.Or(err, os.WriteFile(at, data, info.Mode().Perm()))
	})
}
