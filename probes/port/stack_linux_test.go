package port

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

//go:noinline
func leakyBind(w *work, fd int) { w.check("bind", unix.Bind(fd, any4)) }

//go:noinline
func leakyConnect(w *work, fd int) { w.check("connect", unix.Connect(fd, sink4)) }

//go:noinline
func leakySend(w *work, fd int) { w.check("sendto", unix.Sendto(fd, []byte("x"), 0, sink4)) }

//go:noinline
func leakyListen(w *work, fd int) { w.check("listen", unix.Listen(fd, 1)) }

//go:noinline
func failingBind(w *work, fd int) {
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 80, Addr: [4]byte{192, 0, 2, 1}}); err == nil {
		w.t.Error("bind to a foreign address has not failed")
	}
}

func TestStacks(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{Stacks: true}, New())
	w := newWork(t)
	want := make(map[uint64]string)
	for _, c := range []struct {
		name string
		fd   int
		do   func(w *work, fd int)
	}{
		{"leakyBind", w.udp(), leakyBind},
		{"leakyConnect", w.udp(), leakyConnect},
		{"leakySend", w.udp(), leakySend},
		{"leakyListen", w.tcp(), leakyListen},
		{"failingBind", w.udp(), failingBind},
	} {
		want[cookieOf(c.fd)] = c.name
		c.do(w, c.fd)
		defer unix.Close(c.fd)
	}
	s.Intervals(1)
	got := make(map[uint64]model.Stack)
	ebpftest.Each(s.Stop(), func(b *model.Batch, e *model.Event) {
		if v, ok := b.PortAcquire(e); ok {
			got[v.Cookie] = v.Stack
		}
		if v, ok := b.PortFail(e); ok {
			got[v.Cookie] = v.Stack
		}
	})
	for cookie, name := range want {
		var names []string
		for _, f := range got[cookie] {
			names = append(names, f.Name)
		}
		if !strings.Contains(strings.Join(names, "\n"), "port."+name+"\n") {
			t.Errorf("%s is not in the stack %q", name, names)
		}
	}
}

func TestModuleOfStrippedGo(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() { println(1) }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, flags := range map[string]string{"whole": "", "stripped": "-s -w"} {
		binary := filepath.Join(dir, name)
		cmd := exec.Command("go", "build", "-ldflags="+flags, "-o", binary, source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build: %v: %s", err, out)
		}
		m, err := openModule(binary)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, p := range m.segments {
			for offset := p.Off; offset < p.Off+p.Filesz && !found; offset += 16 {
				found = m.function(offset) == "main.main"
			}
		}
		if !found {
			t.Errorf("%s: main.main is not found", name)
		}
	}
}

func TestParseMappings(t *testing.T) {
	const maps = `00400000-00452000 r-xp 00001000 08:02 173521 /usr/bin/a name
00651000-00652000 r--p 00051000 08:02 173521 /usr/bin/a name
7f00-7f10 r-xp 00000000 00:00 0
7ffc000-7ffd000 r-xp 00000000 00:00 0 [vdso]
garbage
8000000-8001000 r-xp 00000000 08:02 9 /lib/gone.so (deleted)
`
	got := parseMappings(strings.NewReader(maps))
	want := []mapping{
		{0x400000, 0x452000, 0x1000, "/usr/bin/a name", moduleKey{"08:02", 173521}},
		{0x7ffc000, 0x7ffd000, 0, "[vdso]", moduleKey{}},
		{0x8000000, 0x8001000, 0, "/lib/gone.so", moduleKey{"08:02", 9}},
	}
	if len(got) != len(want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("mapping %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
}
