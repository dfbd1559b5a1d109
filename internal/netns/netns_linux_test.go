package netns

import (
	"errors"
	"net"
	"os/exec"
	"runtime"
	"testing"

	"lostbeat/internal/testutil"

	"golang.org/x/sys/unix"
)

func TestOwnIsFirst(t *testing.T) {
	all, err := List(100)
	if err != nil {
		t.Fatal(err)
	}
	own, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 || all[0] != own || own.Name != "" {
		t.Fatalf("own namespace %+v is not first in %+v", own, all)
	}
}

func TestDo(t *testing.T) {
	testutil.Privileged(t)
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	const name = "lbnetnsdo"
	ip("netns", "add", name)
	added := true
	t.Cleanup(func() {
		if added {
			ip("netns", "del", name)
		}
	})
	ip("-n", name, "link", "add", "lbdo0", "type", "veth", "peer", "name", "lbdo1")
	all, err := List(1000)
	if err != nil {
		t.Fatal(err)
	}
	var ns Namespace
	for _, n := range all {
		if n.Name == name {
			ns = n
		}
	}
	if ns.Inode == 0 {
		t.Fatalf("%s is not in %+v", name, all)
	}
	exists := func() error {
		_, err := net.InterfaceByName("lbdo0")
		return err
	}
	if err := ns.Do(exists); err != nil {
		t.Errorf("inside: %v", err)
	}
	if err := exists(); err == nil {
		t.Error("the device of the other namespace is seen outside of Do")
	}
	ip("netns", "del", name)
	added = false
	if err := ns.Do(exists); !errors.Is(err, ErrGone) {
		t.Errorf("after its removal: %v, want ErrGone", err)
	}
}

// A thread in a namespace of its own is in that one, whatever the first thread
// of the process is in: Do runs its function right there for it.
func TestOwnIsThatOfTheThread(t *testing.T) {
	testutil.Privileged(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocks: the thread ends with it
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		want, err := inodeOf("/proc/thread-self/ns/net")
		if err != nil {
			t.Error(err)
			return
		}
		all, err := List(1000)
		if err != nil || all[0].Inode != want || all[0].Name != "" {
			t.Errorf("in namespace %d: %+v, %v", want, all, err)
		}
		if f, err := all[0].Open(); err != nil {
			t.Error(err)
		} else {
			var stat unix.Stat_t
			if err := unix.Fstat(int(f.Fd()), &stat); err != nil || uint32(stat.Ino) != want {
				t.Errorf("opened %d, want %d: %v", stat.Ino, want, err)
			}
			f.Close()
		}
		if process, _ := inodeOf("/proc/self/ns/net"); process != want && len(all) < 2 {
			t.Errorf("the namespace of the process, %d, is not in %+v", process, all)
		}
	}()
	<-done
}
