// Package netns finds the network namespaces of the host and runs code inside
// them.
//
// Nothing is held open between two uses: an open descriptor would keep a
// namespace, and its devices, alive after its last process has gone.
package netns

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespace is one network namespace.
type Namespace struct {
	// Inode identifies it for as long as it lives.
	Inode uint32
	// Name is its name under /run/netns, its inode number in decimal where it
	// has none, and empty for the namespace that this process is in.
	Name string
	// path leads to it: a named file, or a process's.
	path string
}

// ErrGone is returned for a namespace that no longer exists.
var ErrGone = errors.New("network namespace is gone")

// self leads to the namespace of the calling thread. That of the process, in
// /proc/self, is its first thread's, which may be in another one while code of
// this process runs there.
const self = "/proc/thread-self/ns/net"

// Own returns the namespace that the calling thread is in: that of this
// process, unless it is called inside of Do.
func Own() (Namespace, error) {
	inode, err := inodeOf(self)
	return Namespace{Inode: inode}, err
}

// List returns the namespaces that have a name under /run/netns or a process,
// this process's own first, the others by inode; at most limit of them. Those
// that only an open descriptor or a mount elsewhere keeps alive are not found.
func List(limit int) ([]Namespace, error) {
	return list("/run/netns", "/proc", limit)
}

// Of returns the namespace with the given inode, which one of the tasks (PIDs
// or TIDs) is in. It returns ErrGone when none of them is, or not any more.
func Of(inode uint32, tasks ...int32) (Namespace, error) {
	return of("/run/netns", "/proc", inode, tasks)
}

func of(named, proc string, inode uint32, tasks []int32) (Namespace, error) {
	n := Namespace{Inode: inode, Name: strconv.FormatUint(uint64(inode), 10)}
	for _, task := range tasks {
		path := filepath.Join(proc, strconv.Itoa(int(task)), "ns/net")
		if now, err := inodeOf(path); err == nil && now == inode {
			n.path = path
			break
		}
	}
	if n.path == "" {
		return Namespace{}, ErrGone
	}
	if own, err := Own(); err == nil && own.Inode == inode {
		return own, nil
	}
	// A host without named namespaces has no such directory.
	names, _ := os.ReadDir(named)
	for _, e := range names {
		var stat unix.Stat_t
		if path := filepath.Join(named, e.Name()); unix.Stat(path, &stat) == nil && uint32(stat.Ino) == inode &&
			isNamespace(path) {
			n.Name = e.Name()
			break
		}
	}
	return n, nil
}

func list(named, proc string, limit int) ([]Namespace, error) {
	own, err := Own()
	if err != nil {
		return nil, fmt.Errorf("find the network namespace of this process: %w", err)
	}
	found := map[uint32]Namespace{own.Inode: own}
	// A host without named namespaces has no such directory.
	names, _ := os.ReadDir(named)
	for _, e := range names {
		path := filepath.Join(named, e.Name())
		var stat unix.Stat_t
		if unix.Stat(path, &stat) != nil || !isNamespace(path) {
			continue
		}
		if _, ok := found[uint32(stat.Ino)]; !ok {
			found[uint32(stat.Ino)] = Namespace{Inode: uint32(stat.Ino), Name: e.Name(), path: path}
		}
	}
	processes, err := os.ReadDir(proc)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	for _, e := range processes {
		if name := e.Name(); name[0] < '0' || name[0] > '9' {
			continue
		}
		path := filepath.Join(proc, e.Name(), "ns/net")
		inode, err := inodeOf(path)
		if err != nil {
			continue // the process has ended, or is a zombie
		}
		if _, ok := found[inode]; !ok {
			found[inode] = Namespace{Inode: inode, Name: strconv.FormatUint(uint64(inode), 10), path: path}
		}
	}
	all := make([]Namespace, 0, len(found))
	for _, n := range found {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b Namespace) int {
		if (a.path == "") != (b.path == "") {
			return cmp.Compare(len(a.path), len(b.path))
		}
		return cmp.Compare(a.Inode, b.Inode)
	})
	return all[:min(len(all), limit)], nil
}

// isNamespace tells a bind-mounted namespace from the empty file that is left
// when it was not mounted.
func isNamespace(path string) bool {
	var stat unix.Statfs_t
	return unix.Statfs(path, &stat) == nil && stat.Type == unix.NSFS_MAGIC
}

// inodeOf reads the inode from a link such as "net:[4026531840]".
func inodeOf(path string) (uint32, error) {
	target, err := os.Readlink(path)
	if err != nil {
		return 0, err
	}
	text, ok := strings.CutPrefix(target, "net:[")
	if !ok {
		return 0, fmt.Errorf("%s is not a network namespace: %q", path, target)
	}
	inode, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 32)
	return uint32(inode), err
}

// Open opens a descriptor of the namespace, which keeps it alive until it is
// closed.
func (n Namespace) Open() (*os.File, error) {
	return os.Open(cmp.Or(n.path, self))
}

// Do runs f in the namespace, on a thread of its own where that is not the
// namespace of this process. It returns f's error, or ErrGone.
func (n Namespace) Do(f func() error) error {
	if n.path == "" {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err, clean := n.inside(f)
		if clean {
			runtime.UnlockOSThread()
		}
		// A thread that could not go back ends with this goroutine.
		done <- err
	}()
	return <-done
}

// inside reports in clean whether the thread is back in its own namespace.
func (n Namespace) inside(f func() error) (err error, clean bool) { //nolint:revive // the error belongs to f
	own, err := os.Open(self)
	if err != nil {
		return err, true
	}
	defer own.Close()
	target, err := os.Open(n.path)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrGone, true
	} else if err != nil {
		return err, true
	}
	defer target.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(target.Fd()), &stat); err != nil {
		return err, true
	}
	if uint32(stat.Ino) != n.Inode {
		return ErrGone, true
	}
	if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", n.Name, err), true
	}
	err = f()
	return err, unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil
}
