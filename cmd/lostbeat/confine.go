package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"lostbeat/internal/confine"
	"lostbeat/internal/hint"
	"lostbeat/internal/rpcbind"
	"lostbeat/internal/spawn"
	"lostbeat/model"
	"lostbeat/record"
	"lostbeat/run"
	"lostbeat/sink/board"
	"lostbeat/source/applog"
	"lostbeat/source/bundle"

	"github.com/spf13/cobra"
)

// Values of --confine.
const (
	confineOn     = "on"
	confineStrict = "strict"
	confineOff    = "off"
)

// ownProcessKey is the key of a context's value that says that this process runs one command and ends: it may be
// confined for good.
type ownProcessKey struct{}

func withOwnProcess(ctx context.Context) context.Context {
	return context.WithValue(ctx, ownProcessKey{}, true)
}

// isOwnProcess reports whether this process may be confined: on Linux only.
func isOwnProcess(ctx context.Context) bool {
	return runtime.GOOS == "linux" && ctx.Value(ownProcessKey{}) != nil
}

// confineFlag is the flag --confine. It implements pflag.Value.
type confineFlag struct {
	value   string
	allowed []string
}

// register adds the flag to a command with the values that it takes, the default first.
func (f *confineFlag) register(cmd *cobra.Command, help string, allowed ...string) {
	f.value, f.allowed = allowed[0], allowed
	cmd.Flags().Var(f, "confine", help)
	complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return allowed, cobra.ShellCompDirectiveNoFileComp
	}
	if err := cmd.RegisterFlagCompletionFunc("confine", complete); err != nil {
		panic(fmt.Sprintf("completion of --confine of %s: %v", cmd.Name(), err)) // registered twice
	}
}

// Set implements pflag.Value.
func (f *confineFlag) Set(s string) error {
	if !slices.Contains(f.allowed, s) {
		return hint.New("there is no such confinement here", "give one of: "+strings.Join(f.allowed, ", "))
	}
	f.value = s
	return nil
}

// String implements pflag.Value.
func (f *confineFlag) String() string { return f.value }

// Type implements pflag.Value.
func (f *confineFlag) Type() string { return "MODE" }

// runPrograms runs this process as a helper that runs programs, where args say so.
func runPrograms(args []string) (handled bool, status int) {
	return spawn.Child(args, func(rules []byte) {
		var files confine.Files
		if len(rules) > 0 && json.Unmarshal(rules, &files) == nil {
			confine.Converter(files)
		}
	})
}

// registerConfine adds the flag to a command that opens files.
func (f *captureFlags) registerConfine(cmd *cobra.Command) {
	f.confinement.register(cmd, "what this process may do when it reads the files, which others have made: on (no "+
		"network, no programs, no other files) or off, if something is refused by mistake", confineOn, confineOff)
}

// confine leaves to this process what reading the inputs takes, before anything of them is understood: their files and
// a folder for what is unpacked of them, the folders of outputs, and the terminal. What the kernel lacks, 'lostbeat
// doctor' says. The returned function removes the folder.
func (f *captureFlags) confine(cmd *cobra.Command, inputs []string, outputs ...string) (done func()) {
	done = func() {}
	if !isOwnProcess(cmd.Context()) || f.confinement.value == confineOff {
		return done
	}
	files := confine.Files{Read: []string{"/proc/self"}, Write: outputs}
	if f.scratch != "" {
		files.Empty = append(files.Empty, filepath.Dir(f.scratch))
	}
	unpacks := false
	for _, path := range inputs {
		unpacks = addInput(&files, path) || unpacks
	}
	for _, log := range f.logs {
		files.Read = append(files.Read, log)
		if _, path, ok := strings.Cut(log, "="); ok {
			files.Read = append(files.Read, path)
		}
	}
	if f.rpcPorts != "" {
		files.Read = append(files.Read, f.rpcPorts)
	}
	if unpacks {
		done = unpackingFolder(&files)
	}
	if helper := converter(files); helper != nil {
		f.programs = helper.Run
		remove := done
		done = func() { helper.Close(); remove() }
	}
	confine.Reader(files)
	return done
}

// addInput lets the process read an input, and reports whether that may have to be unpacked.
func addInput(files *confine.Files, path string) (unpacks bool) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		files.List = append(files.List, filepath.Dir(path)) // for the files of a rotated recording
	}
	switch {
	case path == run.StandardInput:
		return true
	case err != nil:
		rotated, _ := record.Files(path) // what is not there is said when it is opened
		files.Read = append(files.Read, rotated...)
		return false
	}
	files.Read = append(files.Read, path)
	return info.IsDir() || bundle.Detect(firstBytes(path))
}

// firstBytes returns the first bytes of a file, by which archives are known.
func firstBytes(path string) []byte {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return head[:n]
}

// unpackingFolder makes the folder of temporary files one of this process alone. The returned function removes it.
func unpackingFolder(files *confine.Files) (remove func()) {
	parent := os.TempDir()
	folder, err := os.MkdirTemp(parent, "lostbeat-")
	if err != nil {
		return func() {} // said when something is unpacked
	}
	if err := os.Setenv("TMPDIR", folder); err != nil {
		return func() { os.Remove(folder) }
	}
	files.Write = append(files.Write, folder)
	files.Empty = append(files.Empty, parent)
	signal.Ignore(syscall.SIGPIPE) // a reader that ends is an error like others, after which the folder is removed
	return func() { os.RemoveAll(folder) }
}

// converter starts the helper that runs sadf, which reads binary files of sar: this process cannot start it later. It
// is nil where there is no sadf.
func converter(files confine.Files) *spawn.Helper {
	path, err := exec.LookPath("sadf")
	if err != nil {
		return nil
	}
	rules := confine.Files{
		Read:    append(append([]string{"/proc/self", "/etc/ld.so.cache", "/etc/sysstat"}, files.Read...), files.Write...),
		Execute: []string{path, "/usr", "/lib", "/lib64", "/bin", "/nix/store"},
	}
	text, err := json.Marshal(rules)
	if err != nil {
		return nil
	}
	helper, err := spawn.Start(text, spawn.Program{Path: path, Args: []string{"-x"}})
	if err != nil {
		return nil // a file that needs it says that the program could not be run
	}
	return helper
}

// besideRecording are the folders in which notes about a recording are written: its own, for the lock.
func besideRecording(inputs []string) []string {
	if len(inputs) != 1 || inputs[0] == run.StandardInput || !strings.HasPrefix(string(firstBytes(inputs[0])), zstdMagic) {
		return nil
	}
	return []string{filepath.Dir(inputs[0])}
}

// zstdMagic is what recordings begin with, as all that is compressed by Zstandard.
const zstdMagic = "\x28\xb5\x2f\xfd"

// registerConfine adds the flag to a command that traces this host.
func (f *liveFlags) registerConfine(cmd *cobra.Command) {
	f.confinement.register(cmd, "what this process may do once the probes are attached: on (only the capabilities and "+
		"system calls that the probes use, no programs), strict (no other files either, nor a look into other processes; "+
		"'lostbeat doctor' says what is then not seen) or off, if something is refused by mistake",
		confineOn, confineStrict, confineOff)
}

// programs starts the helper that runs journalctl for --log journal, where this process will be confined; nil without.
func (f *liveFlags) programs(cmd *cobra.Command) (spawn.Run, error) {
	if !f.confines(cmd) || !applog.HasJournal(f.logs) {
		return nil, nil
	}
	path, err := exec.LookPath("journalctl")
	if err != nil {
		return nil, nil // said by the log
	}
	return startPrograms(spawn.Program{Path: path, Args: applog.JournalArguments()})
}

func (f *liveFlags) confines(cmd *cobra.Command) bool {
	return isOwnProcess(cmd.Context()) && f.confinement.value != confineOff
}

// startPrograms starts a helper for programs of the user. It ends with this process.
func startPrograms(programs ...spawn.Program) (spawn.Run, error) {
	helper, err := spawn.Start(nil, programs...)
	if err != nil {
		return nil, err
	}
	return helper.Run, nil
}

// confiner returns what confines this process once the probes are attached, nil where it is not confined. writes are
// folders that are written into later, urls are those of servers that findings are sent to.
func (f *liveFlags) confiner(cmd *cobra.Command, writes, urls []string) func() model.Probe {
	if !f.confines(cmd) {
		return nil
	}
	return func() model.Probe {
		status := model.Probe{Name: "engine", Part: "confinement", State: model.ProbeOn}
		tracing := confine.Tracing{}
		f.metrics.confine(&tracing)
		tracing.Keep, tracing.Loads = confine.Kept(f.probes)
		if mustOverride(writes) {
			tracing.Keep = append(tracing.Keep, "CAP_DAC_OVERRIDE")
		}
		if f.confinement.value == confineStrict {
			tracing.Keep = confine.Strict(tracing.Keep)
			tracing.Files = &confine.Files{Read: f.readLater(), Write: append(writes, board.Folder)}
			tracing.Ports = append([]uint16{rpcbind.Port}, portsOf(urls)...)
			status.State, status.Reason = model.ProbeDegraded, "not seen: "+strings.Join(confine.Unseen(), "; ")
			status.Hint = "--confine on sees it"
		}
		if result := confine.Tracer(tracing); len(result.Off) > 0 {
			status.State, status.Reason = model.ProbeDegraded, strings.Join(append(result.Off, status.Reason), "; ")
			status.Reason = strings.TrimSuffix(status.Reason, "; ")
		}
		return status
	}
}

// portsOf returns the ports of URLs, of the proxies on the way to them, and of name servers.
func portsOf(urls []string) []uint16 {
	if len(urls) == 0 {
		return nil
	}
	const names = 53
	ports := []uint16{names}
	add := func(u *url.URL) {
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		switch {
		case err == nil:
			ports = append(ports, uint16(port))
		case u.Scheme == "http":
			ports = append(ports, 80)
		case u.Scheme == "https":
			ports = append(ports, 443)
		}
	}
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			continue
		}
		add(u)
		if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u}); err == nil && proxy != nil {
			add(proxy)
		}
	}
	return ports
}

// readLater are the files that a confined tracer opens after its start.
func (f *liveFlags) readLater() []string {
	files := []string{
		"/proc", "/sys", "/run", "/dev", "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/rpc", "/etc/ssl",
		"/etc/pki", "/usr/share/ca-certificates",
	}
	for _, log := range f.logs {
		_, path, ok := strings.Cut(log, "=")
		if !ok {
			path = log
		}
		files = append(files, filepath.Dir(path))
	}
	return files
}

// mustOverride reports whether one of the folders can be written only because root may write everything.
func mustOverride(folders []string) bool {
	for _, folder := range folders {
		info, err := os.Stat(folder)
		if err != nil {
			continue
		}
		owner, ok := ownerOf(info)
		if ok && (owner != os.Geteuid() || info.Mode().Perm()&0o300 != 0o300) {
			return true
		}
	}
	return false
}
