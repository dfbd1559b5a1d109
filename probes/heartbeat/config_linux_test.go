package heartbeat

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lostbeat/internal/testutil"

	"golang.org/x/sys/unix"
)

// TestLimitsOfContainer has programs in mount and PID namespaces of their own, as containers have: the configuration
// that counts is theirs, by the host's PID, even where the host has a file of the same name.
func TestLimitsOfContainer(t *testing.T) {
	testutil.Privileged(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, protocol, folder, file, text string
		args                               []string
		want                               limits
	}{
		{name: "corosync", protocol: "corosync", folder: "/etc/corosync", file: "corosync.conf",
			text: "totem {\n  version: 2\n  token: 1700\n}\nnodelist {\n  node {\n  }\n  node {\n  }\n}\n",
			want: limits{timeout: 1700 * time.Millisecond}},
		{name: "keepalived", protocol: "keepalived", folder: "/etc/keepalived", file: "keepalived.conf",
			text: "vrrp_instance A {\n  priority 128\n  advert_int 2\n}\n",
			want: limits{6500 * time.Millisecond, 2 * time.Second}},
		{name: "etcd, a relative path", protocol: "etcd", folder: "/etc/lab-etcd", file: "e.yml",
			args: []string{"--config-file", "lab-etcd/e.yml"},
			text: "election-timeout: 3300\nheartbeat-interval: 330\n",
			want: limits{3300 * time.Millisecond, 330 * time.Millisecond}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			inside := filepath.Join(dir, strings.TrimPrefix(tt.folder, "/etc/"))
			if err := os.MkdirAll(inside, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(inside, tt.file), []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			// The program itself is the reader of other tests, by another name: what is read of it are its command line and
			// its files.
			script := "mount --make-rprivate / && mount --bind " + dir + " /etc && mount -t proc proc /proc && cd /etc && " +
				"echo $$ && exec -a " + tt.protocol + " " + self + ` "$@"`
			cmd := exec.Command("bash", append([]string{"-ec", script, "container"}, tt.args...)...)
			cmd.Env = append(os.Environ(), roleVariable+"=udp4 0 0s")
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
			}
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cmd.Process.Kill() // it may have ended
				_ = cmd.Wait()         // it was killed
			})
			lines := bufio.NewScanner(out)
			if !lines.Scan() || lines.Text() != "1" {
				t.Fatalf("its own PID is %q, not 1: it has no namespace of its own", lines.Text())
			}
			if !lines.Scan() { // what the reader says when it is ready
				t.Fatal("the program has ended")
			}
			pid := int32(cmd.Process.Pid)
			row := rowOf(t, tt.protocol)
			if got := row.limits(programOf("/proc", pid)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if own := row.limits(programOf("/proc", int32(os.Getpid()))); own == tt.want {
				t.Errorf("the host has the same limits: %v", own)
			}
		})
	}
}

// rowOf is the first row of a protocol.
func rowOf(t *testing.T, name string) *knownProtocol {
	t.Helper()
	for i := range known {
		if known[i].name == name {
			return &known[i]
		}
	}
	t.Fatalf("%s is not known", name)
	return nil
}
