package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"lostbeat/internal/platform"
	"lostbeat/model"
)

// Addresses of the two ends of an Env's veth pair.
const (
	senderAddr    = "10.77.0.1"
	receiverAddr  = "10.77.0.2"
	otherAddr     = "10.77.0.3" // a second address of the receiver
	senderAddr6   = "fd00:77::1"
	receiverAddr6 = "fd00:77::2"
	senderMAC     = "02:00:0a:4d:00:01"
	receiverMAC   = "02:00:0a:4d:00:02"
)

// floodPort is the UDP port that floods go to; the scenario's number is added.
const floodPort = 7000

// ownName is how the kernel calls the lab's processes.
func ownName() string {
	name, _ := os.ReadFile("/proc/self/comm") // without it they are listed as others
	return strings.TrimSpace(string(name))
}

// Beginnings of the names of the veth pair's ends; the process's PID and the
// scenario's number follow.
const (
	sendDevPrefix = "lba"
	recvDevPrefix = "lbb"
)

// nsPrefix begins the name of every namespace of the lab.
const nsPrefix = "lb-lab-"

// ownPrefix begins the names of this process's namespaces.
func ownPrefix() string { return fmt.Sprintf("%s%d-", nsPrefix, os.Getpid()) }

// Env is what a scenario works in: namespaces, devices, settings and processes,
// all undone by close.
type Env struct {
	// Length is how long the fault shall last.
	Length time.Duration

	log  func(string)
	undo []func() error
	// scenario is which one runs. Its number tells those apart that run at a time.
	scenario *Scenario
	// pids are the processes that it has started, numbered from 1 on; processes are they in that order.
	pids      map[int32]int
	processes []*Process
	// namespaces are the names of those that it has made, deleted those of them
	// that are gone again.
	namespaces, deleted []string
	// sendDev and recvDev are the two ends of the veth pair, named so that
	// findings about other labs on the host are told apart.
	sendDev, recvDev string
	// devices are further ones that it has made.
	devices []string
	// loopback says that the fault is in a namespace's loopback device.
	loopback bool

	// cgroup is the control group that it has made, unified says of which version.
	cgroup  string
	unified bool
	// advice is what the expected findings advise, once it is to be followed.
	advice []string

	// shared says that another lab was at work when the fault began or ended.
	shared bool

	// victims are the programs of the host that it has started, by name.
	victims map[string]*victim

	// allowed are detectors that may speak as the host's own counters show what they speak of.
	allowed []string

	mu    sync.Mutex
	fault model.Time
}

// PrivilegeError says what the lab needs.
type PrivilegeError struct{ Err error }

func (e *PrivilegeError) Error() string { return "the fault lab cannot run: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *PrivilegeError) Unwrap() error { return e.Err }

// Hint says how to give it.
func (e *PrivilegeError) Hint() string {
	return "run it as root, with iproute2 and iptables installed"
}

func newEnv(s *Scenario, length time.Duration, log func(string)) (*Env, error) {
	if os.Geteuid() != 0 {
		return nil, &PrivilegeError{errors.New("it makes network namespaces, which needs root")}
	}
	for _, tool := range []string{"ip", "iptables-restore"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, &PrivilegeError{err}
		}
	}
	if log == nil {
		log = func(string) {}
	}
	sweep()
	lines, err := Undo()
	for _, line := range lines {
		log(line)
	}
	if err != nil {
		return nil, err
	}
	id := fmt.Sprintf("%d-%d", os.Getpid(), s.number)
	return &Env{
		Length:   length,
		log:      log,
		scenario: s,
		pids:     make(map[int32]int),
		victims:  make(map[string]*victim),
		sendDev:  sendDevPrefix + id,
		recvDev:  recvDevPrefix + id,
	}, nil
}

// sweep removes namespaces that killed runs have left behind.
func sweep() {
	names, _ := filepath.Glob("/run/netns/" + nsPrefix + "*")
	for _, path := range names {
		rest := strings.TrimPrefix(filepath.Base(path), nsPrefix)
		pid, _, _ := strings.Cut(rest, "-")
		if n, err := strconv.Atoi(pid); err == nil && syscall.Kill(n, 0) == syscall.ESRCH {
			// A name that cannot be removed now is tried again by the next run.
			_ = exec.Command("ip", "netns", "del", filepath.Base(path)).Run()
		}
	}
}

// close stops the processes and undoes everything, the last first.
func (e *Env) close() error {
	var errs []error
	for i := len(e.undo) - 1; i >= 0; i-- {
		errs = append(errs, e.undo[i]())
	}
	e.undo = nil
	return errors.Join(errs...)
}

// MarkFault says that the fault begins now.
func (e *Env) MarkFault() {
	e.mu.Lock()
	e.fault = model.TimeOf(time.Now())
	e.mu.Unlock()
}

func (e *Env) faultAt() model.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.fault
}

// concerns says whether a finding is about the lab rather than about another
// namespace, process or device of the host, which may be those of another lab.
func (e *Env) concerns(f *model.Finding) bool {
	switch {
	case e.pids[f.Subject.PID] > 0:
		return true // its namespace may have the number, and for a moment the name, of one that is gone
	case f.Subject.Netns != "":
		return slices.Contains(e.namespaces, f.Subject.Netns)
	case f.Subject.PID > 0:
		return e.pids[f.Subject.PID] > 0
	case f.Subject.Port != 0 && f.Subject.Kind == "socket":
		return f.Subject.Port == e.port() // its process was not seen
	case f.Subject.Device != "":
		return f.Subject.Device == e.sendDev || f.Subject.Device == e.recvDev ||
			e.loopback && f.Subject.Device == "lo" || slices.Contains(e.devices, f.Subject.Device)
	}
	return true
}

// besideOthers says that another lab is at work on the host: a finding about a
// CPU alone may be of either.
func (e *Env) besideOthers() bool {
	names, _ := filepath.Glob("/run/netns/" + nsPrefix + "*") // the pattern is well formed
	return slices.ContainsFunc(
		names,
		func(path string) bool { return !slices.Contains(e.namespaces, filepath.Base(path)) },
	)
}

// Namespace makes a network namespace and returns its name.
func (e *Env) Namespace(ctx context.Context, suffix string) (string, error) {
	name := fmt.Sprintf("%s%d-%s", ownPrefix(), e.scenario.number, suffix)
	if err := e.command(ctx, "", nil, "ip", "netns", "add", name); err != nil {
		return "", err
	}
	e.namespaces = append(e.namespaces, name)
	e.undo = append(e.undo, func() error {
		if slices.Contains(e.deleted, name) {
			return nil
		}
		// ctx may be done: what was made must be undone all the same.
		return e.command(context.WithoutCancel(ctx), "", nil, "ip", "netns", "del", name)
	})
	return name, e.command(ctx, name, nil, "ip", "link", "set", "lo", "up")
}

// Delete makes a namespace vanish before the scenario ends.
func (e *Env) Delete(ctx context.Context, ns string) error {
	e.deleted = append(e.deleted, ns)
	return e.command(ctx, "", nil, "ip", "netns", "del", ns)
}

// port is the UDP port that this scenario's packets go to.
func (e *Env) port() uint16 { return e.scenario.port() }

// target is where they go: the receiver's end of the pair.
func (e *Env) target() string { return fmt.Sprintf("%s:%d", receiverAddr, e.port()) }

// Pair makes two namespaces joined by a veth pair: sendDev in the sender's,
// recvDev in the receiver's.
func (e *Env) Pair(ctx context.Context) (sender, receiver string, err error) {
	if sender, err = e.Namespace(ctx, "a"); err != nil {
		return "", "", err
	}
	if receiver, err = e.Namespace(ctx, "b"); err != nil {
		return "", "", err
	}
	for _, args := range [][]string{
		{
			"ip", "-n", sender, "link", "add", e.sendDev, "address", senderMAC, "type", "veth", "peer", "name",
			e.recvDev, "address", receiverMAC, "netns", receiver,
		},
		{"ip", "-n", sender, "addr", "add", senderAddr + "/24", "dev", e.sendDev},
		{"ip", "-n", receiver, "addr", "add", receiverAddr + "/24", "dev", e.recvDev},
		{"ip", "-n", receiver, "addr", "add", otherAddr + "/24", "dev", e.recvDev},
		{"ip", "-n", sender, "addr", "add", senderAddr6 + "/64", "dev", e.sendDev, "nodad"},
		{"ip", "-n", receiver, "addr", "add", receiverAddr6 + "/64", "dev", e.recvDev, "nodad"},
		{"ip", "-n", sender, "link", "set", e.sendDev, "up"},
		{"ip", "-n", receiver, "link", "set", e.recvDev, "up"},
		// Without permanent neighbours the first second of a flood waits for ARP.
		{"ip", "-n", sender, "neigh", "replace", receiverAddr, "lladdr", receiverMAC, "dev", e.sendDev, "nud", "permanent"},
		{"ip", "-n", sender, "neigh", "replace", otherAddr, "lladdr", receiverMAC, "dev", e.sendDev, "nud", "permanent"},
		{"ip", "-n", sender, "neigh", "replace", receiverAddr6, "lladdr", receiverMAC, "dev", e.sendDev, "nud", "permanent"},
		{"ip", "-n", receiver, "neigh", "replace", senderAddr, "lladdr", senderMAC, "dev", e.recvDev, "nud", "permanent"},
	} {
		if err := e.command(ctx, "", nil, args...); err != nil {
			return "", "", err
		}
	}
	return sender, receiver, e.awaitLink(ctx, sender, e.sendDev)
}

// awaitLink waits until a device's carrier has been seen: before that its
// packets are dropped.
func (e *Env) awaitLink(ctx context.Context, ns, device string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		out, err := exec.CommandContext(ctx, "ip", "-n", ns, "-o", "link", "show", device).Output()
		if err != nil {
			return fmt.Errorf("wait for %s: %w", device, err)
		}
		if strings.Contains(string(out), "state UP") {
			return nil
		}
		wait(ctx, 20*time.Millisecond)
	}
}

// Set writes a file below /proc/sys or /sys as it is seen inside a namespace
// ("" for the host's) and restores the host's files at the end, or by the next
// run when this one is killed.
func (e *Env) Set(ctx context.Context, ns, path, value string) error {
	if ns != "" {
		return e.command(ctx, ns, strings.NewReader(value), "tee", path)
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if err := hostJournal().before(change{path, string(old)}); err != nil {
		return err
	}
	e.undo = append(e.undo, func() error { return hostJournal().restore(path, writeSetting) })
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("set %s to %s: %w", path, value, err)
	}
	return nil
}

// Chains of iptables, with their tables.
const (
	beforeRouting = "raw PREROUTING"
	input         = "filter INPUT"
	// input6 is the same for IPv6.
	input6 = "filter6 INPUT"
)

// ExpensiveRules makes every UDP packet that a namespace receives pass n string
// matches of a chain, none of which matches.
func (e *Env) ExpensiveRules(ctx context.Context, ns, chain string, n int) error {
	table, chain, _ := strings.Cut(chain, " ")
	tool := "iptables-restore"
	if plain, six := strings.CutSuffix(table, "6"); six {
		table, tool = plain, "ip6tables-restore"
	}
	var rules strings.Builder
	fmt.Fprintf(&rules, "*%s\n", table)
	for i := range n {
		fmt.Fprintf(&rules, "-A %s -p udp -m string --algo bm --string lostbeat-lab-%06d -j ACCEPT\n", chain, i)
	}
	rules.WriteString("COMMIT\n")
	return e.command(ctx, ns, strings.NewReader(rules.String()), tool, "--noflush")
}

// command runs a program, in a namespace when ns is not empty.
func (e *Env) command(ctx context.Context, ns string, stdin io.Reader, args ...string) error {
	if ns != "" {
		args = append([]string{"ip", "netns", "exec", ns}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin = stdin
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Process is one process of the lab.
type Process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines chan string

	// ns, role and args are what it was started with.
	ns, role string
	args     []string
}

// Start starts a role (see Child) in a namespace ("" for the host's) and waits
// until it is ready. The process ends with the lab, or when it has finished.
func (e *Env) Start(ctx context.Context, ns, role string, args ...string) (*Process, error) {
	return e.start(ctx, nil, ns, role, args...)
}

// StartGrouped is Start in a control group of version 2 that only this process is in, as a service is.
func (e *Env) StartGrouped(ctx context.Context, ns, role string, args ...string) (*Process, error) {
	group, err := e.ownGroup()
	if err != nil {
		return nil, err
	}
	defer group.Close()
	return e.start(ctx, group, ns, role, args...)
}

// ownGroup makes the control group of version 2 for the process that is started next.
func (e *Env) ownGroup() (*os.File, error) {
	root, err := platform.CgroupRoot()
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(root, fmt.Sprintf("lostbeat-lab-%d-%d-%d", os.Getpid(), e.scenario.number, len(e.processes)))
	if err := os.Mkdir(folder, 0o755); err != nil {
		return nil, fmt.Errorf("make a control group: %w", err)
	}
	e.undo = append([]func() error{func() error { return os.Remove(folder) }}, e.undo...) // once its process has ended
	return os.Open(folder)
}

// start starts a role, in a control group when one is given.
func (e *Env) start(ctx context.Context, group *os.File, ns, role string, args ...string) (*Process, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own binary: %w", err)
	}
	argv := append([]string{binary, childArg, role}, args...)
	if ns != "" {
		argv = append([]string{"ip", "netns", "exec", ns}, argv...)
	}
	// Not CommandContext: the process is ended by closing its input, or by close.
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"=1", "GOMAXPROCS=2")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if group != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
	}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	p := &Process{cmd: cmd, stdin: stdin, lines: make(chan string, 16), ns: ns, role: role, args: args}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	e.pids[int32(cmd.Process.Pid)] = len(e.pids) + 1
	e.processes = append(e.processes, p)
	e.undo = append(e.undo, p.stop)
	select {
	case line := <-p.lines:
		if line != readyLine {
			return nil, fmt.Errorf("start %s: it said %q", role, line)
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return p, nil
}

// Await waits until the process has done what it was started for and returns
// its last line.
func (p *Process) Await() (string, error) {
	last := ""
	for line := range p.lines {
		last = line
	}
	p.stdin.Close()
	if err := p.cmd.Wait(); err != nil {
		return last, fmt.Errorf("lab process: %w", err)
	}
	return last, nil
}

// suspend stops the process by a signal.
func (p *Process) suspend() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("suspend lab process %d: %w", p.cmd.Process.Pid, err)
	}
	return nil
}

// resume lets a suspended process go on.
func (p *Process) resume() error {
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("resume lab process %d: %w", p.cmd.Process.Pid, err)
	}
	return nil
}

// alive says that the process has not been waited for.
func (p *Process) alive() bool { return p.cmd.ProcessState == nil }

// pid is the process's id.
func (p *Process) pid() int { return p.cmd.Process.Pid }

// stop ends the process whatever it does.
func (p *Process) stop() error {
	if p.cmd.ProcessState != nil {
		return nil
	}
	p.stdin.Close()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end lab process %d: %w", p.cmd.Process.Pid, err)
	}
	for range p.lines {
	}
	_ = p.cmd.Wait() // it was killed
	return nil
}

// terminate ends a process as an administrator does, and waits for it.
func (p *Process) terminate() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("end lab process %d: %w", p.cmd.Process.Pid, err)
	}
	for range p.lines {
	}
	_ = p.cmd.Wait() // a signal ended it
	return nil
}

// Hold lets the fault last for its length.
func (e *Env) Hold(ctx context.Context) {
	e.MarkFault()
	wait(ctx, e.Length)
}
