package etwfake

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// compiler makes DLLs for Windows.
const compiler = "x86_64-w64-mingw32-gcc"

// bundled is where Debian's Wine has its own DLLs.
const bundled = "/usr/lib/x86_64-linux-gnu/wine/x86_64-windows/"

//go:embed etwfake.c
var fakeSource []byte

//go:embed iphlpfake.c
var tablesSource []byte

// Go needs ProcessPrng, which Wine 8 lacks.
const randomSource = `#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE p, SIZE_T n) { return SystemFunction036(p, (ULONG)n); }
`

// replaced are the functions that the DLL has instead of Wine's.
var replaced = []string{
	"CloseTrace", "ControlTraceW", "EnableTraceEx2", "OpenTraceW", "ProcessTrace", "QueryAllTracesW", "StartTraceW",
}

// tables are the functions of iphlpapi.dll that are replaced.
var tables = []string{"GetExtendedTcpTable", "GetExtendedUdpTable"}

// added are those that Wine's does not have.
var added = []string{"OpenTraceFromRealTimeLogger", "QueryTraceProcessingHandle", "TraceQueryInformation"}

// Missing says what is not installed, "" nothing.
func Missing() string {
	for _, program := range []string{wine(), server, compiler, objdump} {
		if _, err := exec.LookPath(program); err != nil {
			return program
		}
	}
	if _, err := os.Stat(bundled + "advapi32.dll"); err != nil {
		return bundled + "advapi32.dll"
	}
	return ""
}

const objdump = "x86_64-w64-mingw32-objdump"

// wine is Debian's loader, which the package wine64 puts outside of the path.
func wine() string {
	if path, err := exec.LookPath("wine64"); err == nil {
		return path
	}
	return "/usr/lib/wine/wine64"
}

// Prefix is a Windows of Wine whose ETW is the DLL.
type Prefix struct{ dir string }

// NewPrefix makes a prefix in an empty directory: Windows 10, with ETW.
func NewPrefix(ctx context.Context, dir string) (*Prefix, error) {
	p := &Prefix{dir}
	if err := p.server(ctx, "-p"+serverStays); err != nil {
		return nil, err
	}
	for _, args := range [][]string{{"wineboot", "-i"}, {"winecfg", "-v", "win10"}} {
		if err := p.Command(ctx, nil, args...).Run(); err != nil {
			return nil, fmt.Errorf("%s: %w", strings.Join(args, " "), err)
		}
	}
	system := filepath.Join(dir, "drive_c", "windows", "system32")
	work, err := os.MkdirTemp(dir, "build")
	if err != nil {
		return nil, err
	}
	random := filepath.Join(work, "random.c")
	if err := os.WriteFile(random, []byte(randomSource), 0o600); err != nil {
		return nil, err
	}
	if err := compile(ctx, filepath.Join(system, "bcryptprimitives.dll"), random, "-ladvapi32"); err != nil {
		return nil, err
	}
	definition, err := rename(ctx, system, "advapi32", replaced)
	if err != nil {
		return nil, err
	}
	if err := fake(ctx, work, filepath.Join(system, "advapi32.dll"), definition); err != nil {
		return nil, err
	}
	if definition, err = rename(ctx, system, "iphlpapi", tables); err != nil {
		return nil, err
	}
	for _, name := range tables {
		definition += fmt.Sprintf("  %s = fake_%s\n", name, name)
	}
	if err := build(ctx, work, filepath.Join(system, "iphlpapi.dll"), "iphlpfake", tablesSource, definition); err != nil {
		return nil, err
	}
	return p, fake(ctx, work, p.DLL(), "LIBRARY etwfake.dll\nEXPORTS\n")
}

// rename puts Wine's own DLL into the system folder under another name, without the mark by which Wine prefers what it
// has built in. It returns the definition of a DLL that forwards all but some functions to it.
func rename(ctx context.Context, system, dll string, without []string) (definition string, err error) {
	own, err := os.ReadFile(bundled + dll + ".dll")
	if err != nil {
		return "", err
	}
	const markAt, mark = 0x40, "Wine builtin DLL"
	if !bytes.HasPrefix(own[markAt:], []byte(mark)) {
		return "", fmt.Errorf("%s%s.dll has no mark of Wine at %#x", bundled, dll, markAt)
	}
	clear(own[markAt : markAt+len(mark)])
	if err := os.WriteFile(filepath.Join(system, dll+"w.dll"), own, 0o600); err != nil {
		return "", err
	}
	exports, err := exports(ctx, dll)
	if err != nil {
		return "", err
	}
	definition = "LIBRARY " + dll + ".dll\nEXPORTS\n"
	for _, name := range exports {
		if !slices.Contains(without, name) {
			definition += fmt.Sprintf("  %s = %sw.%s\n", name, dll, name)
		}
	}
	return definition, nil
}

// fake makes a DLL with the functions of ETW, beside what a definition has.
func fake(ctx context.Context, work, dll, definition string) error {
	for _, name := range slices.Concat(replaced, added) {
		definition += fmt.Sprintf("  %s = fake_%s\n", name, name)
	}
	return build(ctx, work, dll, "etwfake", fakeSource, definition+"  EtwFakeReset\n")
}

// build makes a DLL of a source and a definition.
func build(ctx context.Context, work, dll, name string, text []byte, definition string) error {
	source, def := filepath.Join(work, name+".c"), filepath.Join(work, name+".def")
	err := errors.Join(os.WriteFile(source, text, 0o600), os.WriteFile(def, []byte(definition), 0o600))
	if err != nil {
		return err
	}
	return compile(ctx, dll, source, def)
}

// DLL is the path of the fake under a name of its own, for tests that load it themselves.
func (p *Prefix) DLL() string { return filepath.Join(p.dir, "drive_c", "etwfake.dll") }

// compile makes a DLL.
func compile(ctx context.Context, dll string, sources ...string) error {
	args := append([]string{"-Wall", "-O2", "-shared", "-static", "-o", dll}, sources...)
	if out, err := exec.CommandContext(ctx, compiler, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s: %w: %s", filepath.Base(dll), err, out)
	}
	return nil
}

// exports lists the names that a DLL of Wine exports.
func exports(ctx context.Context, dll string) (names []string, err error) {
	path := bundled + dll + ".dll"
	out, err := exec.CommandContext(ctx, objdump, "-p", path).Output()
	if err != nil {
		return nil, fmt.Errorf("list what %s exports: %w", path, err)
	}
	_, table, _ := strings.Cut(string(out), "[Ordinal/Name Pointer] Table")
	for line := range strings.Lines(table) {
		_, name, ok := strings.Cut(line, "] ")
		if !ok || !strings.HasPrefix(line, "\t[") {
			if len(names) > 0 {
				break
			}
			continue
		}
		names = append(names, strings.TrimSpace(name))
	}
	return names, nil
}

// Command returns a program in the prefix, with the DLL as ETW; env are further variables.
func (p *Prefix) Command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, wine(), args...)
	cmd.Env = append(os.Environ(),
		"WINEPREFIX="+p.dir, "WINEDLLOVERRIDES=mscoree,mshtml=;advapi32,iphlpapi=n,b;advapi32w,iphlpapiw=n",
		"WINEDEBUG=-all", "TZ=UTC", "DISPLAY=",
	)
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// Path returns the Windows path of a file of this system.
func Path(path string) string { return "Z:" + strings.ReplaceAll(path, "/", `\`) }

// Close ends the prefix's server.
func (p *Prefix) Close() error { return p.server(context.Background(), "-k") }

// server is the program that holds what the processes of a prefix share. It stays for so many seconds after the last of
// them has ended: otherwise the next one starts the services of Windows again, which keep its output open for minutes.
const (
	server      = "/usr/lib/wine/wineserver64"
	serverStays = "60"
)

func (p *Prefix) server(ctx context.Context, arg string) error {
	cmd := exec.CommandContext(ctx, server, arg)
	cmd.Env = append(os.Environ(), "WINEPREFIX="+p.dir)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", server, arg, err)
	}
	return nil
}
