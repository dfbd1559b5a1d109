package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Program is a program of the host that a scenario runs.
type Program struct {
	// Name is that of its file, Package that of Debian's package that has it.
	Name, Package string
}

// toInstall names the packages that a scenario needs and that are missing, empty when nothing is.
func (s *Scenario) toInstall() string {
	var missing []string
	for _, p := range s.Needs {
		if _, err := exec.LookPath(p.Name); err != nil && !slices.Contains(missing, p.Package) {
			missing = append(missing, p.Package)
		}
	}
	return strings.Join(missing, " ")
}

// victim is a program of the host, in a network namespace and a control group of its own, as a service is.
type victim struct {
	*Process
	// group is the folder of its control group, log the path of its own log.
	group, log string
}

// folder makes a folder for the files of the victims.
func (e *Env) folder() (string, error) {
	dir, err := os.MkdirTemp("", "lostbeat-lab")
	if err != nil {
		return "", err
	}
	e.undo = append(e.undo, func() error { return os.RemoveAll(dir) })
	return dir, nil
}

// addr is the address of a node, which no other scenario has: a host that has two of one address is another fault.
func (e *Env) addr(i int) string { return e.scenario.addr(i) }

// peer stands for the address of the second node in the flows that are followed.
const peer = "PEER"

// nodes makes the namespaces of a pair, joined by a veth pair.
func (e *Env) nodes(ctx context.Context) (spaces [2]string, err error) {
	for i, suffix := range []string{"a", "b"} {
		if spaces[i], err = e.Namespace(ctx, suffix); err != nil {
			return spaces, err
		}
	}
	for _, args := range [][]string{
		{"-n", spaces[0], "link", "add", e.sendDev, "type", "veth", "peer", "name", e.recvDev, "netns", spaces[1]},
		{"-n", spaces[0], "addr", "add", e.addr(1) + "/24", "dev", e.sendDev},
		{"-n", spaces[1], "addr", "add", e.addr(2) + "/24", "dev", e.recvDev},
		{"-n", spaces[0], "link", "set", e.sendDev, "up"},
		{"-n", spaces[1], "link", "set", e.recvDev, "up"},
	} {
		if err := e.command(ctx, "", nil, append([]string{"ip"}, args...)...); err != nil {
			return spaces, err
		}
	}
	return spaces, e.awaitLink(ctx, spaces[0], e.sendDev)
}

// run starts a program as a victim. The script prepares its mounts, which are its own. What the program prints goes to
// its log as well, where it has no other.
func (e *Env) run(name, ns, dir, script string) (*victim, error) {
	group, err := e.ownGroup()
	if err != nil {
		return nil, err
	}
	defer group.Close()
	v := &victim{group: group.Name(), log: filepath.Join(dir, name+".log")}
	out, err := os.OpenFile(filepath.Join(dir, name+".out"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	none, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("ip", "netns", "exec", ns, "sh", "-ec", script)
	cmd.Env = append(os.Environ(), "TZ=UTC0", "LOG="+v.log, "DIR="+dir)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL, UseCgroupFD: true, CgroupFD: int(group.Fd()),
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	v.Process = &Process{cmd: cmd, stdin: none, lines: make(chan string), ns: ns, role: name}
	close(v.lines)
	e.pids[int32(v.pid())] = len(e.pids) + 1
	e.processes = append(e.processes, v.Process)
	e.undo = append(e.undo, v.end)
	e.victims[name] = v
	return v, nil
}

// members are the processes in its control group.
func (v *victim) members() ([]int, error) {
	text, err := os.ReadFile(filepath.Join(v.group, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, field := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("processes of %s: %w", v.group, err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// adopt makes the processes that the victims have started those of the lab.
func (e *Env) adopt() error {
	for _, v := range e.victims {
		pids, err := v.members()
		if err != nil {
			return err
		}
		for _, pid := range pids {
			if e.pids[int32(pid)] == 0 {
				e.pids[int32(pid)] = len(e.pids) + 1
			}
		}
	}
	return nil
}

// signal sends a signal to all of its processes.
func (v *victim) signal(s syscall.Signal) error {
	pids, err := v.members()
	for _, pid := range pids {
		err = errors.Join(err, syscall.Kill(pid, s))
	}
	return err
}

func (v *victim) halt() error { return v.signal(syscall.SIGSTOP) }
func (v *victim) cont() error { return v.signal(syscall.SIGCONT) }

// freeze and thaw do so with its control group.
func (v *victim) freeze() error { return v.frozen("1") }
func (v *victim) thaw() error   { return v.frozen("0") }

func (v *victim) frozen(state string) error {
	return os.WriteFile(filepath.Join(v.group, "cgroup.freeze"), []byte(state), 0)
}

// end ends the victim and all that it has started.
func (v *victim) end() error {
	err := v.thaw()
	err = errors.Join(err, v.stop())
	for range 100 {
		pids, failed := v.members()
		if failed != nil || len(pids) == 0 {
			return errors.Join(err, failed)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.Join(err, fmt.Errorf("the processes of %s do not end", v.group))
}

// leave asks the victim to end, as an operator does, and waits until it has.
func (v *victim) leave(ctx context.Context) error {
	if err := v.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	for range 250 {
		if pids, err := v.members(); err != nil || len(pids) == 0 {
			return err
		}
		if state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", v.pid())); err == nil &&
			strings.Contains(string(state), ") Z ") {
			return nil // only it is left, and the lab waits for it at the end
		}
		wait(ctx, 20*time.Millisecond)
	}
	return fmt.Errorf("%s does not end", v.role)
}

// awaitLog waits until the log of a victim has a text.
func (v *victim) awaitLog(ctx context.Context, text string) error {
	for range 500 {
		if has, err := os.ReadFile(v.log); err == nil && strings.Contains(string(has), text) {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait(ctx, 20*time.Millisecond)
	}
	has, _ := os.ReadFile(v.log) // what there is
	out, _ := os.ReadFile(strings.TrimSuffix(v.log, ".log") + ".out")
	return fmt.Errorf("%s has not logged %q within 10 s:\n%s%s", v.role, text, has, out)
}

// The parts of a scenario with a victim: what is watched before a fault, how long one lasts, and what follows it.
const (
	victimSeen    = 10 * time.Second
	victimFault   = 2500 * time.Millisecond
	victimRecover = 5 * time.Second
)

// strike makes a fault of victims last for a while, and lets them recover.
func (e *Env) strike(ctx context.Context, length time.Duration, begin, end func() error) error {
	if err := e.hold(ctx, length, begin, end); err != nil {
		return err
	}
	wait(ctx, victimRecover)
	return nil
}

// dropped has a rule of a namespace take packets for a while.
func (e *Env) dropped(ctx context.Context, ns string, length time.Duration, match ...string) error {
	add, remove := e.rule(ctx, ns, "PREROUTING", match...)
	return e.strike(ctx, length, add, remove)
}

var (
	corosync   = Program{"corosync", "corosync"}
	keepalived = Program{"keepalived", "keepalived"}
	etcd       = Program{"etcd", "etcd-server"}
	curl       = Program{"curl", "curl"}
)

// victimScenarios are faults of programs that people run: what is said of them must agree with their own logs.
func victimScenarios() []*Scenario {
	list := []*Scenario{
		{
			Name: "corosync-pair", Follow: []string{"corosync"}, Needs: []Program{corosync}, Run: corosyncPair,
			Doc: "a corosync pair (knet): one node is stopped, the packets of the other dropped, then its group frozen",
			Expect: []Expectation{
				{
					Detector: "heartbeat-loss", Contains: []string{"udp/5405 of corosync", "read", "was stopped for"},
					Culprit: 1, Logs: []LogWord{
						{Victim: "n1", Pattern: "corosync/not-scheduled", Whole: true, Within: corosyncWithin},
						{Victim: "n2", Pattern: "corosync/token", Within: corosyncWithin},
					},
				},
				{
					Detector: "heartbeat-loss", Contains: []string{"received nothing for", "NETFILTER_DROP"}, Culprit: 2,
					Logs: []LogWord{{Victim: "n2", Pattern: "corosync/token", Within: corosyncWithin}},
				},
				{
					Detector: "heartbeat-loss", Contains: []string{"udp/5405 of corosync", "read", "frozen"}, Culprit: 2,
					Logs: []LogWord{
						{Victim: "n2", Pattern: "corosync/not-scheduled", Whole: true, Within: corosyncWithin},
						{Victim: "n1", Pattern: "corosync/token", Within: corosyncWithin},
					},
				},
			},
			Allow: []string{"packet-drop"},
			// The other end's view of the same silence.
			Also: []Expectation{{Detector: "heartbeat-loss", Contains: []string{"no packet reached this host"}}},
		},
		{
			Name: "corosync-multicast", Follow: []string{"corosync"}, Needs: []Program{corosync}, Run: corosyncMulticast,
			Doc: "a corosync pair that speaks UDP multicast, as older ones do: one node is stopped",
			Expect: []Expectation{{
				Detector: "heartbeat-loss", Contains: []string{"udp/5405 of corosync", "read", "was stopped for"}, Culprit: 1,
				Logs: []LogWord{{Victim: "n1", Pattern: "corosync/not-scheduled", Whole: true, Within: corosyncWithin}},
			}},
			// The same of its second socket, once enough has come to that one.
			Also: []Expectation{{Detector: "heartbeat-loss", Contains: []string{"was stopped for"}, Culprit: 1}},
		},
		{
			Name: "corosync-peer", Follow: []string{"udp:" + peer + ":5405"}, Needs: []Program{corosync},
			Doc: "a corosync whose peer, of which nothing else is watched, is frozen", Run: corosyncPeer,
			Expect: []Expectation{{
				Detector: "heartbeat-loss", Contains: []string{"no packet reached this host"}, Culprit: 1,
				Logs: []LogWord{{Victim: "n1", Pattern: "corosync/token", Within: corosyncWithin}},
			}},
		},
		{
			Name: "corosync-leaves", Follow: []string{"corosync"}, Needs: []Program{corosync}, Run: corosyncLeaves,
			Doc: "a corosync pair that starts, is healthy, and of which one node leaves",
		},
		{
			Name: "keepalived-pair", Follow: []string{"vrrp"}, Needs: []Program{keepalived}, Run: keepalivedPair,
			Doc: "a keepalived pair (multicast): the master is stopped, then its packets dropped at the other",
			Expect: []Expectation{
				{
					Detector: "heartbeat-loss", Contains: []string{"VRRP of keepalived", "sent", "was stopped for"},
					Logs: []LogWord{
						{Victim: "n1", Pattern: "keepalived/held-up", Whole: true, Within: keepalivedWithin},
						{Victim: "n2", Pattern: "keepalived/master-state", Within: keepalivedWithin},
					},
				},
				{
					Detector: "heartbeat-loss", Contains: []string{"VRRP of keepalived", "NETFILTER_DROP"},
					Logs: []LogWord{{Victim: "n2", Pattern: "keepalived/master-state", Within: keepalivedWithin}},
				},
			},
			Allow: []string{"packet-drop"},
		},
		{
			Name: "keepalived-unicast", Follow: []string{"vrrp"}, Needs: []Program{keepalived}, Run: keepalivedUnicast,
			Doc: "a keepalived pair with unicast peers: the group of the master is frozen",
			Expect: []Expectation{{
				Detector: "heartbeat-loss", Contains: []string{"VRRP of keepalived", "sent", "frozen"},
				Logs: []LogWord{
					{Victim: "n1", Pattern: "keepalived/held-up", Whole: true, Within: keepalivedWithin},
					{Victim: "n2", Pattern: "keepalived/master-state", Within: keepalivedWithin},
				},
			}},
		},
		{
			Name: "keepalived-leaves", Follow: []string{"vrrp"}, Needs: []Program{keepalived}, Run: keepalivedLeaves,
			Doc: "a keepalived pair that starts, is healthy, and whose master leaves",
		},
		{
			Name: "etcd-leader-stopped", Follow: []string{"etcd"}, Needs: []Program{etcd}, Run: etcdStruck(leaderStopped),
			Doc:    "three etcd over a bridge: the leader is stopped, and another takes over",
			Expect: etcdHeld("was stopped for", "follower", "etcd/lost-leader"),
		},
		{
			Name: "etcd-leader-frozen", Follow: []string{"etcd"}, Needs: []Program{etcd}, Run: etcdStruck(leaderFrozen),
			Doc:    "three etcd over a bridge: the control group of the leader is frozen",
			Expect: etcdHeld("was frozen for", "follower", "etcd/lost-leader"),
		},
		{
			Name: "etcd-leader-throttled", Follow: []string{"etcd"}, Needs: []Program{etcd}, Run: etcdLeaderThrottled,
			Doc:    "three etcd over a bridge: the leader has used up its CPU quota",
			Expect: etcdHeld("throttled", "follower", "etcd/lost-leader"),
			// Where events of its threads were lost.
			Also: []Expectation{{Detector: "heartbeat-loss", Contains: []string{"is unknown"}, Culprit: 1}},
		},
		{
			Name: "etcd-follower-stopped", Follow: []string{"etcd"}, Needs: []Program{etcd}, Run: etcdStruck(followerStopped),
			Doc: "three etcd over a bridge: a follower is stopped",
			Expect: []Expectation{{
				Detector: "heartbeat-loss", Contains: []string{"of etcd", "was stopped for"}, Culprit: 2, More: true,
			}},
		},
		{
			Name: "etcd-leader-cut", Follow: []string{"etcd"}, Needs: []Program{etcd}, Run: etcdLeaderCut,
			Doc: "three etcd over a bridge: a rule takes all that the leader receives",
			Expect: []Expectation{{
				Detector: "heartbeat-loss", Contains: []string{"of etcd", "this host dropped", "NETFILTER_DROP"}, Culprit: 1,
				More: true, Logs: []LogWord{{Victim: "leader", Pattern: "etcd/lost-leader", Within: etcdWithin}},
			}},
			// The followers send again what the leader does not acknowledge.
			Also:  []Expectation{{Detector: "heartbeat-loss", Contains: []string{"(to ", "TCP "}}},
			Allow: []string{"packet-drop"},
		},
		{
			Name: "etcd-moves", Follow: []string{"etcd"}, Needs: []Program{etcd, curl}, Run: etcdMoves,
			Doc: "three etcd over a bridge, of which another becomes the leader as it is asked to",
		},
		{
			Name: "etcd-leaves", Follow: []string{"etcd"}, Needs: []Program{etcd}, Run: etcdLeaves,
			Doc:   "three etcd that start, are healthy, and of which a follower leaves",
			Allow: []string{"packet-drop"}, // the others try to reach it
		},
	}
	for _, s := range list {
		s.Light = true
		s.Length = victimFault
	}
	return list
}

// How much the times of the victims' logs and of the findings may differ: corosync looks at its clock every third of a
// token's timeout, and its silence begins with the packet that does not come, as much later; keepalived logs whole
// seconds, etcd counts its heartbeats of 100 ms.
const (
	corosyncWithin   = 700 * time.Millisecond
	keepalivedWithin = 1200 * time.Millisecond
	etcdWithin       = 400 * time.Millisecond
)

// etcdHeld is that the leader is to blame for all that is late, in words that are about it, and nobody else.
func etcdHeld(why, victim, line string) []Expectation {
	return []Expectation{{
		Detector: "heartbeat-loss", Contains: []string{"of etcd", why}, Culprit: 1, More: true,
		Logs: []LogWord{{Victim: victim, Pattern: line, Within: etcdWithin}},
	}}
}

// startPair makes two nodes and a folder for their files, and starts a victim in each.
func (e *Env) startPair(ctx context.Context, start func(i int, name, ns, dir string) (*victim, error)) (
	nodes [2]*victim, err error,
) {
	spaces, err := e.nodes(ctx)
	if err != nil {
		return nodes, err
	}
	dir, err := e.folder()
	if err != nil {
		return nodes, err
	}
	for i, ns := range spaces {
		if nodes[i], err = start(i, fmt.Sprintf("n%d", i+1), ns, dir); err != nil {
			return nodes, err
		}
	}
	return nodes, nil
}

// corosyncs starts a pair of corosync and waits until they are a cluster.
func (e *Env) corosyncs(ctx context.Context, transport string) (n1, n2 *victim, err error) {
	nodes, err := e.startPair(ctx, func(_ int, name, ns, dir string) (*victim, error) {
		for _, sub := range []string{"/etc", "/var"} {
			if err := os.MkdirAll(filepath.Join(dir, name+sub), 0o755); err != nil {
				return nil, err
			}
		}
		conf := fmt.Sprintf(corosyncConf, transport, e.addr(1), e.addr(2), filepath.Join(dir, name+".log"))
		if err := os.WriteFile(filepath.Join(dir, name, "etc", "corosync.conf"), []byte(conf), 0o644); err != nil {
			return nil, err
		}
		return e.run(name, ns, dir, "mount -t tmpfs lab /run; mkdir /run/corosync; "+
			"mount -t tmpfs lab /dev/shm; mount --bind $DIR/"+name+"/etc /etc/corosync; "+
			"mount --bind $DIR/"+name+"/var /var/lib/corosync; exec corosync -f")
	})
	if err != nil {
		return nil, nil, err
	}
	for _, node := range nodes {
		if err := node.awaitLog(ctx, "Members[2]: 1 2"); err != nil {
			return nil, nil, err
		}
	}
	wait(ctx, victimSeen)
	return nodes[0], nodes[1], nil
}

const corosyncConf = `totem {
  version: 2
  cluster_name: lab
  transport: %s
  token: 1000
}
nodelist {
  node {
    ring0_addr: %s
    name: n1
    nodeid: 1
  }
  node {
    ring0_addr: %s
    name: n2
    nodeid: 2
  }
}
quorum {
  provider: corosync_votequorum
  two_node: 1
}
system {
  move_to_root_cgroup: no
}
logging {
  to_stderr: no
  to_syslog: no
  to_logfile: yes
  logfile: %s
  timestamp: hires
}
`

func corosyncPair(ctx context.Context, e *Env) error {
	n1, n2, err := e.corosyncs(ctx, "knet")
	if err != nil {
		return err
	}
	if err := e.strike(ctx, victimFault, n1.halt, n1.cont); err != nil {
		return err
	}
	if err := e.dropped(ctx, n2.ns, victimFault, "-p", "udp", "--dport", "5405"); err != nil {
		return err
	}
	return e.strike(ctx, victimFault, n2.freeze, n2.thaw)
}

func corosyncMulticast(ctx context.Context, e *Env) error {
	n1, _, err := e.corosyncs(ctx, "udp")
	if err != nil {
		return err
	}
	return e.strike(ctx, victimFault, n1.halt, n1.cont)
}

func corosyncPeer(ctx context.Context, e *Env) error {
	_, n2, err := e.corosyncs(ctx, "knet")
	if err != nil {
		return err
	}
	return e.strike(ctx, victimFault, n2.freeze, n2.thaw)
}

// healthyFor is how long healthy victims are watched.
const healthyFor = 20 * time.Second

// leaves watches healthy victims, of which one then leaves.
func (e *Env) leaves(ctx context.Context, who *victim) error {
	wait(ctx, healthyFor)
	e.MarkFault()
	if err := who.leave(ctx); err != nil {
		return err
	}
	wait(ctx, victimRecover)
	return nil
}

func corosyncLeaves(ctx context.Context, e *Env) error {
	_, n2, err := e.corosyncs(ctx, "knet")
	if err != nil {
		return err
	}
	return e.leaves(ctx, n2)
}

// keepaliveds starts a pair of keepalived, of which the first is the master.
func (e *Env) keepaliveds(ctx context.Context, unicast bool) (n1, n2 *victim, err error) {
	nodes, err := e.startPair(ctx, func(i int, name, ns, dir string) (*victim, error) {
		peers := ""
		if unicast {
			peers = "unicast_peer { " + e.addr(2-i) + " }"
		}
		conf := fmt.Sprintf(keepalivedConf, []string{e.sendDev, e.recvDev}[i], 200-50*i, peers,
			e.addr(100))
		if err := os.WriteFile(filepath.Join(dir, name+".conf"), []byte(conf), 0o644); err != nil {
			return nil, err
		}
		return e.run(name, ns, dir, "mount -t tmpfs lab /run; "+
			"exec keepalived --dont-fork --vrrp --log-console --no-syslog --log-detail -f $DIR/"+name+".conf "+
			">$LOG 2>&1")
	})
	if err != nil {
		return nil, nil, err
	}
	if err := nodes[0].awaitLog(ctx, "Entering MASTER STATE"); err != nil {
		return nil, nil, err
	}
	if err := nodes[1].awaitLog(ctx, "Entering BACKUP STATE"); err != nil {
		return nil, nil, err
	}
	wait(ctx, victimSeen)
	return nodes[0], nodes[1], e.adopt()
}

const keepalivedConf = `global_defs {
  vrrp_version 3
}
vrrp_instance lab {
  state BACKUP
  interface %s
  virtual_router_id 51
  priority %d
  advert_int 0.2
  %s
  virtual_ipaddress {
    %s/24
  }
}
`

func keepalivedPair(ctx context.Context, e *Env) error {
	n1, n2, err := e.keepaliveds(ctx, false)
	if err != nil {
		return err
	}
	if err := e.strike(ctx, victimFault, n1.halt, n1.cont); err != nil {
		return err
	}
	return e.dropped(ctx, n2.ns, victimFault, "-p", "112")
}

func keepalivedUnicast(ctx context.Context, e *Env) error {
	n1, _, err := e.keepaliveds(ctx, true)
	if err != nil {
		return err
	}
	return e.strike(ctx, victimFault, n1.freeze, n1.thaw)
}

func keepalivedLeaves(ctx context.Context, e *Env) error {
	n1, _, err := e.keepaliveds(ctx, false)
	if err != nil {
		return err
	}
	return e.leaves(ctx, n1)
}
