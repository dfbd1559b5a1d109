package vmtest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/all"
	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
)

// packageSteps installs, upgrades, removes and purges the package, and prints after each step what is there.
const packageSteps = `#!/bin/sh
export DEBIAN_FRONTEND=noninteractive
state() {
	echo "UPTIME $(cut -d ' ' -f 1 /proc/uptime)"
	echo "STATE $1: $(systemctl is-enabled lostbeat 2>/dev/null || true) $(systemctl is-active lostbeat || true)"
}
main() { systemctl show --property MainPID --value lostbeat; }
recording() { # is asked for until there is one
	for i in $(seq 30); do
		sleep 1
		systemctl kill --kill-whom=main --signal=USR1 lostbeat
		! ls /var/lib/lostbeat/*.lostbeat >/dev/null 2>&1 || return 0
	done
}
echo "UPTIME $(cut -d ' ' -f 1 /proc/uptime)"
echo "VERSION before: $(lostbeat version 2>&1)"
dpkg --install /packages/1.deb || echo "STATE 1.deb cannot be installed"
state installed
recording
echo "VERSION 1: $(lostbeat version)"
echo "UNIT $(systemctl show --property FragmentPath --value lostbeat) $(readlink /proc/$(main)/exe)"
echo "DOCS $(ls /usr/share/man/man1/lostbeat*.gz | wc -l) $(ls /usr/share/doc/lostbeat | tr '\n' ' ')"
echo "CATALOG $(journalctl --list-catalog | grep -c ' lostbeat: ')"
echo 'utc = true' >>/etc/lostbeat.toml
old=$(main)
dpkg --install /packages/2.deb </dev/null || echo "STATE 2.deb cannot be installed"
state upgraded
[ "$(main)" != "$old" ] && echo "STATE restarted: yes"
echo "VERSION 2: $(lostbeat version)"
echo "SETTINGS $(tail -n 1 /etc/lostbeat.toml)"
dpkg --remove lostbeat
state removed
echo "LEFT removed: $(ls -d /usr/bin/lostbeat /etc/lostbeat.toml) $(ls /var/lib/lostbeat/*.lostbeat | head -n 1)"
journalctl --unit lostbeat --no-pager
dpkg --purge lostbeat
echo "LEFT purged: $(find / -xdev -name '*lostbeat*' -not -name lostbeat.service.d | tr '\n' ' ')"
echo "FAILED $(systemctl --failed --plain --no-legend | tr '\n' ' ')"
mkdir /chroot # the same files without /run, /proc and /sys
mount --bind / /chroot
chroot /chroot dpkg --install /packages/1.deb || echo "STATE 1.deb cannot be installed in a chroot"
state "in a chroot"
echo DONE
systemctl poweroff --no-block
`

// release builds a release for this system into a new folder and returns the folder.
func release(t *testing.T, version string) string {
	t.Helper()
	root, out := testutil.Root(t), filepath.Join(t.TempDir(), "release")
	tool := filepath.Join(root, "bin", "tools", "nfpm")
	for _, c := range [][]string{{"make", "--silent", tool}, {"sh", filepath.Join("scripts", "release"), out}} {
		cmd := exec.CommandContext(t.Context(), c[0], c[1:]...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(),
			"VERSION="+version, "TARGETS=linux/amd64", "SOURCE_DATE_EPOCH=1800000000", "NFPM="+tool)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c, err, text)
		}
	}
	return out
}

// packageOf returns the path of the only package of a kind in a folder.
func packageOf(t *testing.T, folder, kind string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "*."+kind))
	if err != nil || len(found) != 1 {
		t.Fatalf("packages: %v, %v", found, err)
	}
	return found[0]
}

// checkRPM wants of Debian's rpm that it reads the package, and that nothing keeps it from being installed.
func checkRPM(t *testing.T, path string) {
	t.Helper()
	rpm, err := exec.LookPath("rpm")
	if err != nil {
		testutil.Unavailable(t, "nothing to check the .rpm: %v", err)
	}
	run := func(args ...string) string {
		out, err := exec.Command(rpm, append([]string{"--dbpath", t.TempDir()}, append(args, path)...)...).CombinedOutput()
		if err != nil {
			t.Errorf("rpm %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	run("--checksig")
	run("--install", "--test", "--nodeps")
	list := run("--query", "--list", "--package")
	for _, want := range []string{
		"/usr/bin/lostbeat", "/usr/lib/systemd/system/lostbeat.service", "/usr/lib/systemd/catalog/lostbeat.catalog",
		"/usr/share/man/man1/lostbeat.1.gz", "/usr/share/zsh/site-functions/_lostbeat",
		"/usr/lib/supportconfig/plugins/lostbeat", "/usr/share/doc/lostbeat/LICENSES/THIRD-PARTY.txt",
	} {
		if !strings.Contains(list, want+"\n") {
			t.Errorf("the .rpm has no %s", want)
		}
	}
	if got := run("--query", "--configfiles", "--package"); got != "/etc/lostbeat.toml\n" {
		t.Errorf("settings files of the .rpm: %q", got)
	}
}

// The package is installed, upgraded, removed and purged as administrators do, and each step leaves the service, the
// settings and the recordings as Debian's policy wants them. It takes 90 s: two thirds are the guest, the rest builds
// what is installed.
func TestLongGuestPackages(t *testing.T) {
	files := map[string]string{
		"/usr/local/bin/steps": packageSteps,
		"/etc/systemd/system/steps.service": "[Unit]\nAfter=multi-user.target\n[Service]\nType=idle\n" +
			"ExecStart=/usr/local/bin/steps\nStandardOutput=tty\nStandardError=tty\nTTYPath=/dev/ttyS0\n",
		// An emulated guest on a busy machine takes its time.
		"/etc/systemd/system/lostbeat.service.d/slow.conf":   "[Service]\nTimeoutStopSec=100\n",
		"/etc/systemd/system/multi-user.target.d/steps.conf": "[Unit]\nWants=steps.service\n",
	}
	for path, version := range map[string]string{"/packages/1.deb": "v1.0.0", "/packages/2.deb": "v1.0.1"} {
		folder := release(t, version)
		checkRPM(t, packageOf(t, folder, "rpm"))
		data, err := os.ReadFile(packageOf(t, folder, "deb"))
		if err != nil {
			t.Fatal(err)
		}
		files[path] = string(data)
	}
	text := vmtest.Boot(t, vmtest.Systemd{
		Kernel:   "6.12",
		Package:  "lostbeat/internal/vmtest",
		Packages: []string{"nftables"}, // as for the unit: they share a disk
		Files:    files,
		Timeout:  5 * time.Minute,
	})
	t.Log(text)
	detectors, _ := all.Detectors()
	if !strings.Contains(text, "\nLEFT removed: /etc/lostbeat.toml /var/lib/lostbeat/fault-") {
		t.Error("removing the package has not kept settings and recordings alone")
	}
	for _, want := range []string{
		"STATE installed: enabled active",
		"VERSION 1: lostbeat v1.0.0",
		"UNIT /lib/systemd/system/lostbeat.service /usr/bin/lostbeat",
		fmt.Sprint("CATALOG ", len(detectors)),
		"STATE upgraded: enabled active",
		"STATE restarted: yes",
		"VERSION 2: lostbeat v1.0.1",
		"SETTINGS utc = true",
		"STATE removed:  inactive",
		"LEFT purged:",
		"FAILED",
		"STATE in a chroot: enabled inactive",
		"DONE",
	} {
		if !strings.Contains(text, "\n"+want+"\n") && !strings.Contains(text, "\n"+want+" \n") {
			t.Errorf("the guest has not printed %q", want)
		}
	}
}
