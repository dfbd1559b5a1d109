package port

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// TestLongGuestNFS runs TestNFS in guests, with a real rpcbind, and a real NFS server
// and client.
func TestLongGuestNFS(t *testing.T) {
	testutil.Privileged(t) // it is slow, and belongs to the tests that are
	if vmtest.Guest() {
		t.Skip("this is the guest")
	}
	for _, kernel := range []string{"6.1", "6.12"} {
		t.Run(kernel, func(t *testing.T) {
			modules := []string{"fscache", "netfs"} // the one is a part of the other since 6.8
			if kernel != "6.1" {
				modules = modules[1:]
			}
			out := vmtest.Run(t, vmtest.Options{
				Kernel: kernel, Package: "lostbeat/probes/port", Tests: "TestNFS", Timeout: 8 * time.Minute,
				Modules: []string{"inet_diag", "tcp_diag", "udp_diag"},
				Later: slices.Concat([]string{"sunrpc", "grace", "lockd", "nfs_acl", "auth_rpcgss", "nfsd"}, modules,
					[]string{"nfs", "nfsv3"}),
				Packages: []string{
					"rpcbind", "nfs-kernel-server", "nfs-common", "libtirpc3", "libtirpc-common", "libwrap0", "libkeyutils1",
					"netbase",
				},
				Install: []string{
					"/sbin/rpcbind", "/usr/sbin/rpc.mountd", "/usr/sbin/rpc.nfsd", "/usr/sbin/exportfs", "/etc/netconfig",
					"/etc/services", "/etc/protocols", "/etc/rpc",
				},
			})
			if !strings.Contains(out, "--- PASS: TestNFS") {
				t.Errorf("the guest has not run the test:\n%s", out)
			}
		})
	}
}

// guestPatience is how long to wait in an emulated guest.
const guestPatience = 90 * time.Second

// nfs is a host that serves files and mounts them itself.
type nfs struct {
	t       *testing.T
	mounted string
}

func (n *nfs) check(what string, err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatalf("%s: %v", what, err)
	}
}

// daemon starts a program and returns its PID; it ends with the test.
func (n *nfs) daemon(name string, args ...string) int32 {
	n.t.Helper()
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	n.check("start "+name, cmd.Start())
	n.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
		if n.t.Failed() {
			n.t.Logf("%s: %s", name, out.String())
		}
	})
	return int32(cmd.Process.Pid)
}

func (n *nfs) run(name string, args ...string) {
	n.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		n.t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
}

func (n *nfs) write(path, content string) {
	n.t.Helper()
	n.check("make a folder", os.MkdirAll(filepath.Dir(path), 0o755))
	n.check("write "+path, os.WriteFile(path, []byte(content), 0o644))
}

// configure writes what the programs read.
func (n *nfs) configure() {
	n.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\n_rpc:x:100:100::/run/rpcbind:/bin/false\n")
	n.write("/etc/group", "root:x:0:\n_rpc:x:100:\n")
	n.write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
	for _, name := range []string{"etab", "rmtab", "state"} {
		n.write("/var/lib/nfs/"+name, "")
	}
	n.check("make the folder of rpcbind", os.MkdirAll("/run/rpcbind", 0o755))
	// Where the kernel looks for rpcbind, and mountd for what is mounted.
	n.check("link /var/run", os.Symlink("/run", "/var/run"))
	n.check("link /etc/mtab", os.Symlink("/proc/mounts", "/etc/mtab"))
}

// serve starts the server of /tmp/export and returns the PID of mountd.
func (n *nfs) serve() int32 {
	n.t.Helper()
	n.write("/tmp/export/file", "over the wire")
	n.check("mount the server's files", unix.Mount("nfsd", "/proc/fs/nfsd", "nfsd", 0, ""))
	n.write("/etc/exports", "/tmp/export *(rw,fsid=1,no_subtree_check,no_root_squash)\n")
	n.run("/usr/sbin/exportfs", "-r")
	mountd := n.daemon("/usr/sbin/rpc.mountd", "-F")
	n.run("/usr/sbin/rpc.nfsd", "-N", "4", "1")
	return mountd
}

// mount mounts the export over the loopback device, and reads from it.
func (n *nfs) mount() {
	n.t.Helper()
	n.mounted = "/tmp/mounted"
	n.check("make a folder", os.MkdirAll(n.mounted, 0o755))
	n.check("mount", unix.Mount("127.0.0.1:/tmp/export", n.mounted, "nfs", 0,
		"vers=3,proto=tcp,nolock,addr=127.0.0.1,mountproto=tcp,mountaddr=127.0.0.1"))
	content, err := os.ReadFile(n.mounted + "/file")
	if err != nil || string(content) != "over the wire" {
		n.t.Fatalf("read over NFS: %q, %v", content, err)
	}
}

// clientPort is the local port of the mount's connection as the kernel's own
// table of TCP shows it.
func (n *nfs) clientPort() uint16 {
	n.t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	n.check("read /proc/net/tcp", err)
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		var local, port uint32
		if len(fields) > 3 && strings.HasSuffix(fields[2], ":0801") && fields[3] == "01" {
			if _, err := fmt.Sscanf(fields[1], "%X:%X", &local, &port); err == nil {
				return uint16(port)
			}
		}
	}
	n.t.Fatalf("no connection to port 2049:\n%s", table)
	return 0
}

func (n *nfs) unmount() {
	n.t.Helper()
	n.check("unmount", unix.Unmount(n.mounted, 0))
}

// taken waits for the reserved port of the mount, which is the kernel's.
func (n *nfs) taken(s *ebpftest.Session) (port uint16, cookie uint64) {
	n.t.Helper()
	port = n.clientPort()
	if port < 665 || port > 1023 {
		n.t.Errorf("the mount's port is %d, and reserved ones are 665 to 1023", port)
	}
	s.WaitFor(guestPatience, "port of the mount", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.PortAcquire(e)
		if !ok || v.LocalPort != port || v.Protocol != model.ProtocolTCP || v.How != model.HowKernel {
			return false
		}
		if v.PID != 0 || v.Process != "" {
			n.t.Errorf("the kernel's port has an owner: %+v", v)
		}
		cookie = v.Cookie
		return true
	})
	return port, cookie
}

// released waits for the end of a port.
func (n *nfs) released(s *ebpftest.Session, cookie uint64) {
	n.t.Helper()
	s.WaitFor(guestPatience, "end of the mount's port", func(b *model.Batch, e *model.Event) bool {
		gone, ok := b.PortRelease(e)
		rests, ok2 := b.PortRest(e)
		return ok && gone.Cookie == cookie || ok2 && rests.Cookie == cookie
	})
}

// TestNFS serves files by NFS and mounts them, while the probe watches and
// sunrpc is not even loaded at first.
func TestNFS(t *testing.T) {
	if !vmtest.Guest() {
		t.Skip("runs in the guest of TestLongGuestNFS: it loads modules, and starts the services of a host")
	}
	if sunRPCRange("/proc/sys/sunrpc") != [2]uint16{} {
		t.Fatal("sunrpc is loaded already")
	}
	n := &nfs{t: t}
	n.configure()
	s := ebpftest.Start(t, ebpf.Options{AuditInterval: time.Second}, New())
	s.Intervals(2)
	n.check("load modules", vmtest.Load(laterModules(t)...))
	wait := func(what string, match func(b *model.Batch, e *model.Event) bool) {
		t.Helper()
		s.WaitFor(guestPatience, what, match)
	}
	wait("the pool of SunRPC", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.PortPool(e)
		return ok && v.Source == model.PoolReserved && v.Name == "sunrpc" && v.Low == 665 && v.High == 1023 && v.Size == 359
	})

	rpcbind := n.daemon("/sbin/rpcbind", "-f")
	registered := func(program string, version int64, protocol model.Protocol, port uint16, pid int32) {
		t.Helper()
		wait(program, func(b *model.Batch, e *model.Event) bool {
			v, ok := b.RPCEndpoint(e)
			return ok && v.Interface == program && v.Version == version && v.Protocol == protocol && v.PID == pid &&
				(v.LocalPort == port || port == 0 && v.LocalPort != 0) && !v.Removed
		})
	}
	registered("100000 portmapper", 2, model.ProtocolTCP, 111, rpcbind)
	registered("100000 portmapper", 4, model.ProtocolUDP, 111, rpcbind)
	mountd := n.serve()
	registered("100005 mountd", 3, model.ProtocolTCP, 0, mountd)
	registered("100005 mountd", 3, model.ProtocolUDP, 0, mountd)
	// rpc.nfsd makes the socket, hands it over to the kernel and ends; lockd's are the kernel's own.
	registered("100003 nfs", 3, model.ProtocolTCP, 2049, 0)
	registered("100021 nlockmgr", 4, model.ProtocolTCP, 0, 0)

	n.mount()
	port, cookie := n.taken(s)

	// Another session finds all of it there. It has the hooks of kernels without fentry.
	later := ebpftest.Start(t, ebpf.Options{AuditInterval: time.Second}, Probe{without: []string{"functions"}})
	found := map[string]bool{}
	later.WaitFor(guestPatience, "what was there at the start", func(b *model.Batch, e *model.Event) bool {
		if v, ok := b.PortActive(e); ok && v.Protocol == model.ProtocolTCP {
			switch {
			case v.LocalPort == port && v.RemotePort == 2049 && v.PID == 0:
				found["client"] = true
			case v.LocalPort == 2049 && v.RemotePort == 0 && v.PID == 0:
				found["server"] = true
			case v.LocalPort == 111 && v.RemotePort == 0 && v.PID == rpcbind:
				found["rpcbind"] = true
			}
		}
		if v, ok := b.RPCEndpoint(e); ok && v.Interface == "100003 nfs" && v.PID == 0 {
			found["nfs"] = true
		}
		return len(found) == 4
	})
	n.unmount()
	n.released(s, cookie)
	n.released(later, cookie)
	n.mount()
	_, cookie = n.taken(later)
	n.unmount()
	n.released(later, cookie)
	for _, b := range later.Stop() {
		for i := range b.Events {
			if v, ok := b.Probe(&b.Events[i]); ok && v.Part == partRPC && v.State != model.ProbeOn {
				t.Errorf("%+v", v)
			}
		}
	}

	n.run("/usr/sbin/rpc.nfsd", "0")
	wait("the end of the NFS server", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.RPCEndpoint(e)
		return ok && v.Interface == "100003 nfs" && v.Removed
	})
	n.check("end rpcbind", unix.Kill(int(rpcbind), unix.SIGKILL))
	wait("the end of rpcbind", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.RPCEndpoint(e)
		return ok && v.Interface == "100000 portmapper" && v.Removed
	})
	if err := model.Validate(s.Stop()...); err != nil {
		t.Error(err)
	}
}

// laterModules are the modules that the guest was given for later, in the order
// in which they need each other.
func laterModules(t *testing.T) (modules []string) {
	for _, name := range []string{
		"sunrpc", "grace", "lockd", "nfs_acl", "auth_rpcgss", "nfsd", "netfs", "fscache", "nfs", "nfsv3",
	} {
		if _, err := os.Stat("/modules/later/" + name + ".ko"); err == nil {
			modules = append(modules, name)
		}
	}
	if len(modules) < 9 {
		t.Fatalf("modules: %v", modules)
	}
	return modules
}
