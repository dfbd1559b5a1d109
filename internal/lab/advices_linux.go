package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/lazyregexp"

	"golang.org/x/sys/unix"
)

// cheaper is the advice to a host whose packets pass too many rules: the first
// rule then takes what the flood consists of.
func cheaper(tool, chain, words string) *Advice {
	return &Advice{Words: []string{words}, Allow: more, Apply: func(ctx context.Context, e *Env) error {
		return e.command(ctx, e.receiver(), nil, append(append([]string{tool}, strings.Fields(chain)...),
			"-p", "udp", "--dport", strconv.Itoa(int(e.port())), "-j", "ACCEPT")...)
	}}
}

// more are detectors that may speak once more packets come through.
var more = []string{"socket-drop", "packet-drop"}

// Parts of the advice about rules: which of them is said depends on where the stacks were sampled.
const (
	rulesAdvice = "put the rule that matches most packets first|match by address and port before the string match|" +
		"make the packets cheaper"
	makeCheaper = "make the packets|spend less time on"
)

// restarted is the advice to end a program and start another, or the same with other options, in its place.
func restarted(words, role, newRole string, args ...string) *Advice {
	return &Advice{Words: []string{words}, Allow: []string{"socket-drop", "packet-drop"},
		Apply: func(ctx context.Context, e *Env) error { return e.restart(ctx, role, newRole, args...) }}
}

// unleaked is the advice to a program that leaks: to restart it, here as one that gives its ports back.
func unleaked(mode, rate string) *Advice {
	return restarted("restart the process", "leak", "steady", "-mode", mode, "-rate", rate, "-hold", "20ms")
}

// run is the advice that one command follows, in the receiver's namespace. DEVICE
// and PORT in it are the receiver's.
func run(words, command string) *Advice {
	return &Advice{Words: []string{words}, Apply: func(ctx context.Context, e *Env) error {
		text := strings.NewReplacer("DEVICE", e.recvDev, "PORT", strconv.Itoa(int(e.port()))).Replace(command)
		return e.command(ctx, e.receiver(), nil, strings.Fields(text)...)
	}}
}

// sysctl is the advice to change a setting of the host.
func sysctl(words, name, value string) *Advice {
	return &Advice{Words: []string{words}, Apply: func(ctx context.Context, e *Env) error {
		return e.Set(ctx, "", "/proc/sys/net/core/"+name, value)
	}}
}

// listening is the advice to start the program that a flow is for.
func listening(words, role string, six bool) *Advice {
	return &Advice{Words: []string{words}, Apply: func(ctx context.Context, e *Env) error {
		local := e.target()
		if six {
			local = fmt.Sprintf("[%s]:%d", receiverAddr6, e.port())
		}
		_, err := e.Start(ctx, e.receiver(), role, "-local", local)
		return err
	}}
}

// larger is the advice to enlarge a buffer.
var larger = &Advice{Words: []string{"enlarge the buffer: SO_RCVBUF"}, Allow: []string{"socket-drop", "packet-drop"},
	Apply: enlargeBuffer}

// advices are what the lab does about each fault, by scenario.
var advices = map[string]*Advice{
	"pinned-flood":    cheaper("iptables", "-t raw -I PREROUTING", rulesAdvice),
	"pinned-input":    cheaper("iptables", "-I INPUT", rulesAdvice),
	"pinned-ipv6":     cheaper("ip6tables", "-I INPUT", rulesAdvice),
	"pinned-loopback": cheaper("iptables", "-I INPUT", rulesAdvice),
	"two-floods":      cheaper("iptables", "-t raw -I PREROUTING", rulesAdvice),
	"long-vector":     cheaper("iptables", "-t raw -I PREROUTING", makeCheaper),
	"backlog-of-ten":  sysctl("raise net.core.netdev_max_backlog (default 1000", "netdev_max_backlog", "1000"),

	"small-buffer":     larger,
	"small-buffer-two": larger,
	"stopped-reader":   restarted("restart it", "sink", "sink", "-after", "0"),
	"slow-reader":      restarted("make the program read faster", "sink", "sink", "-every", "0"),
	"suspended-reader": {Words: []string{"kill -CONT"}, Apply: func(_ context.Context, e *Env) error {
		return e.each("sink", (*Process).resume)
	}},
	"reader-behind-realtime": {Words: []string{"a higher priority (chrt"}, Apply: func(_ context.Context, e *Env) error {
		return e.each("sink", func(p *Process) error { return p.realtime(60) })
	}},
	"reader-behind-hogs": {Words: []string{"a higher priority (chrt"}, Apply: func(_ context.Context, e *Env) error {
		return e.each("sink", func(p *Process) error { return p.realtime(10) })
	}},
	"reader-throttled": {Words: []string{"raise or remove the quota (cpu.max"}, Apply: func(_ context.Context,
		e *Env) error {
		return e.setQuota(400 * time.Millisecond)
	}},
	"reader-waits-for-lock": {Words: []string{"find out who holds the lock"},
		Apply: func(_ context.Context, e *Env) error { return e.each("locker", (*Process).stop) }},

	"leak-bind":      unleaked("bind", "40"),
	"leak-udp6":      unleaked("bind6", "30"),
	"leak-among-two": unleaked("bind", "25"),
	"leak-connect":   unleaked("connect", "40"),
	"leak-sendto":    unleaked("sendto", "40"),
	"leak-listen":    unleaked("listen", "25"),
	"leak-connect6":  unleaked("connect6", "30"),
	"leak-reuseport": unleaked("reuseport", "30"),
	"leak-workers": {Words: []string{"restart the process"}, Apply: func(ctx context.Context, e *Env) error {
		for range 3 {
			if err := e.restart(ctx, "leak", "steady", "-mode", "bind", "-rate", "15", "-hold", "20ms"); err != nil {
				return err
			}
		}
		return nil
	}},
	"exhausted-pool": {Words: []string{"stop or fix the process that holds the most"}, Apply: func(_ context.Context,
		e *Env) error {
		return e.each("fill", (*Process).stop)
	}},
	"resting-ports": {Words: []string{"net.ipv4.tcp_tw_reuse=1"}, Apply: func(ctx context.Context, e *Env) error {
		return e.Set(ctx, e.namespaces[0], "/proc/sys/net/ipv4/tcp_tw_reuse", "1")
	}},

	"closed-port":         listening("Start the program", "sink", false),
	"closed-port-tcp":     listening("Start the program", "accept", false),
	"closed-port-ipv6":    listening("Start the program", "sink", true),
	"accept-queue":        restarted("does not accept", "deaf", "accept"),
	"firewall-drop":       run("remove", "iptables -D INPUT -p udp --dport PORT -j DROP"),
	"firewall-drop-early": run("remove", "iptables -t raw -D PREROUTING -p udp --dport PORT -j DROP"),
	"reverse-path": {Words: []string{"set rp_filter to 2 (loose)"}, Apply: func(ctx context.Context, e *Env) error {
		// The sender of the spoofed packets is another program's: its answers would need the route.
		if _, err := e.Start(ctx, e.receiver(), "sink", "-local", e.target()); err != nil {
			return err
		}
		return e.Set(ctx, e.receiver(), "/proc/sys/net/ipv4/conf/"+e.recvDev+"/rp_filter", "2")
	}},
	"shaper-full": {Words: []string{"raise its rate or limit"}, Apply: func(ctx context.Context, e *Env) error {
		tc := "tc qdisc change dev " + e.sendDev + " root tbf rate 20mbit burst 20000 limit 400000"
		return e.command(ctx, e.namespaces[0], nil, strings.Fields(tc)...)
	}},
	"no-route": {Words: []string{"Add the route"}, Apply: func(ctx context.Context, e *Env) error {
		const dev = "lbroute"
		for _, c := range []string{
			"ip link add " + dev + " type veth peer name lbpeer", "ip link set lbpeer up", "ip link set " + dev + " up",
			"ip route add 10.78.200.0/24 dev " + dev,
			"ip neigh replace 10.78.200.1 lladdr " + receiverMAC + " dev " + dev + " nud permanent",
		} {
			if err := e.command(ctx, e.receiver(), nil, strings.Fields(c)...); err != nil {
				return err
			}
		}
		return nil
	}},
	"no-neighbour": {Words: []string{"the host is up"}, Apply: func(ctx context.Context, e *Env) error {
		if err := e.command(ctx, e.receiver(), nil, "ip", "addr", "add", "10.77.0.99/24", "dev", e.recvDev); err != nil {
			return err
		}
		_, err := e.Start(ctx, e.receiver(), "sink", "-local", fmt.Sprintf("10.77.0.99:%d", e.port()))
		return err
	}},
	"link-down": run("Bring the other end up", "ip link set DEVICE up"),
}

// receiver is the namespace that receives: the second of a pair, or the only one.
func (e *Env) receiver() string { return e.namespaces[min(1, len(e.namespaces)-1)] }

// each does something to every process of a role.
func (e *Env) each(role string, do func(*Process) error) error {
	n := 0
	for _, p := range e.processes {
		if p.role == role && p.alive() {
			n++
			if err := do(p); err != nil {
				return err
			}
		}
	}
	if n == 0 {
		return fmt.Errorf("no process of the lab is a %s", role)
	}
	return nil
}

// leastBuffer is the size that the advice to enlarge a buffer names.
var leastBuffer = lazyregexp.New(`to ([0-9,]+).bytes`)

// enlargeBuffer restarts the reader with the buffer that the advice asks for.
func enlargeBuffer(ctx context.Context, e *Env) error {
	for _, text := range e.advice {
		if m := leastBuffer.FindStringSubmatch(text); m != nil {
			// The kernel doubles what a program asks for, and the advice is about what it then has.
			size, err := strconv.Atoi(strings.ReplaceAll(m[1], ",", ""))
			if err != nil {
				return fmt.Errorf("the advice names no size: %w", err)
			}
			e.log(fmt.Sprintf("a buffer of %d bytes", size))
			return e.restart(ctx, "sink", "sink", "-buffer", strconv.Itoa(size/2))
		}
	}
	return errors.New("the advice names no size of the buffer")
}

// threads calls do with each thread of a process.
func (p *Process) threads(what string, do func(tid int) error) error {
	tasks, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(p.pid()), "task"))
	if err != nil {
		return fmt.Errorf("list the threads of a lab process: %w", err)
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if err := do(tid); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("%s of a lab process: %w", what, err)
		}
	}
	return nil
}

// realtime gives the process a real-time priority, as chrt -f -a does.
func (p *Process) realtime(priority uint32) error {
	return p.threads("set the scheduling", func(tid int) error {
		return unix.SchedSetAttr(tid, &unix.SchedAttr{
			Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: priority,
		}, 0)
	})
}
