package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// moreHeartbeats are further guises of late heartbeats, over TCP as well, and healthy flows that look like one.
func moreHeartbeats(beat func(parts ...string) []Expectation) []*Scenario {
	return []*Scenario{
		{Name: "heartbeat-tcp-missing", Doc: "a router that changes addresses loses one segment of a TCP heartbeat again " +
			"and again for 1.5 s", Expect: beat("was read", "late", "TCP lost a segment on the way"),
			Allow: []string{"packet-drop"}, Run: withOptions(tcpOptions{reads: true, nat: true}, oneSegment)},
		{Name: "heartbeat-tcp-resent", Doc: "the same, watched where it is sent",
			Expect: beat("TCP lost a segment and retransmitted it"), Also: beat("received nothing"),
			Allow: []string{"packet-drop"}, Run: withOptions(tcpOptions{nat: true}, oneSegment)},
		{Name: "heartbeat-tcp-cut", Doc: "a router that changes addresses loses all of a TCP heartbeat for 1.5 s, watched " +
			"where it is sent", Expect: beat("TCP lost a segment and retransmitted it"), Also: beat("received nothing"),
			Allow: []string{"packet-drop"}, Run: withOptions(tcpOptions{nat: true}, allSegments)},
		{Name: "heartbeat-tcp-missing-here", Doc: "a rule for forwarded packets of this host takes one segment of a TCP " +
			"heartbeat again and again for 1.5 s", Expect: beat("was read", "late", "this host dropped", "NETFILTER_DROP",
			"in network namespace"), Allow: []string{"packet-drop"}, Run: onReader(oneSegment)},
		{Name: "heartbeat-tcp-cut-here", Doc: "a rule for forwarded packets of this host takes all of a TCP heartbeat for " +
			"1.5 s, watched where it is sent", Expect: beat("did not leave this host", "this host dropped", "packets of it",
			"NETFILTER_DROP", "in network namespace"), Allow: []string{"packet-drop"}, Run: onSender(allSegments)},
		{Name: "heartbeat-tcp-window", Doc: "the reader of a TCP heartbeat is stopped for 3.5 s, watched where it is sent",
			Expect: beat("its peer's receive window"), Allow: []string{"heartbeat-loss"}, Run: windowStopped},
		{Name: "heartbeat-tcp-unread", Doc: "the reader of a TCP heartbeat does not read any more, watched where it is sent",
			Expect: beat("its peer's receive window"), Allow: []string{"heartbeat-loss"}, Run: windowForgotten},
		{Name: "heartbeat-tcp-dropped", Doc: "a firewall rule takes a TCP heartbeat for 1.5 s where it is read",
			Expect: beat("this host dropped", "NETFILTER_DROP"), Allow: []string{"packet-drop"}, Run: tcpDropped},
		{Name: "heartbeat-tcp-unanswered", Doc: "a firewall rule takes what the reader of a TCP heartbeat answers for 3 s",
			Expect: beat("received nothing new for", "of its answers at", "NETFILTER_DROP"), Allow: []string{"packet-drop"},
			Run: tcpUnanswered},
		{Name: "heartbeat-tcp-reader-stopped", Doc: "the reader of a TCP heartbeat is stopped for 1.5 s",
			Expect: beat("was read", "late", "was stopped"), Run: tcpStopped},
		{Name: "heartbeat-tcp-behind-realtime", Doc: "the same hogs on the CPU of the reader of a TCP heartbeat",
			Expect: beat("was read", "late", "no CPU behind"), Allow: []string{"heartbeat-loss"}, Run: tcpBehindRealtime},
		{Name: "heartbeat-tcp-reset", Doc: "the sender of a TCP heartbeat ends it by a reset, watched where it is read",
			Expect: beat("received nothing for", "its connection was reset by", "no other"),
			Run:    tcpReset},
		{Name: "heartbeat-tcp-rejected", Doc: "a router resets the connection of a TCP heartbeat, watched where it is sent",
			Expect: beat("sent for", "its connection was reset by", "no other"), Allow: []string{"packet-drop"},
			Run: onSender(tcpRejected)},
		{Name: "heartbeat-unsent", Doc: "a firewall rule takes heartbeats on their way out for 1.5 s",
			Expect: beat("did not leave this host", "this host dropped", "NETFILTER_DROP"), Allow: []string{"packet-drop"},
			Run: beatsUnsent},
		{Name: "heartbeat-tcp-unsent", Doc: "a firewall rule takes a TCP heartbeat on its way out for 1.5 s",
			Expect: beat("did not leave this host", "this host dropped", "NETFILTER_DROP"), Allow: []string{"packet-drop"},
			Run: tcpUnsent},

		{Name: "heartbeat-qdisc", Doc: "other packets fill the queueing discipline through which heartbeats leave",
			Expect: beat("was sent", "late", "held in the queueing discipline"), Run: beatsShaped(80)},
		{Name: "heartbeat-qdisc-tcp", Doc: "other packets fill the queueing discipline through which a TCP heartbeat leaves",
			Expect: beat("was sent", "late", "held in the queueing discipline"), Run: onSender(tcpShaped)},
		{Name: "heartbeat-qdisc-in-time", Doc: "other packets pass the queueing discipline through which heartbeats leave",
			Run: beatsShaped(5)},

		{Name: "heartbeat-sender-stopped", Doc: "the sender of heartbeats is stopped for 1.5 s, and its host watches it",
			Expect: beat("was sent", "late", "was stopped"), Run: senderStopped},
		{Name: "heartbeat-sender-frozen", Doc: "the control group of the sender of heartbeats is frozen for 1.5 s",
			Expect: beat("was sent", "late", "frozen"), Run: senderFrozen},
		{Name: "heartbeat-sender-throttled", Doc: "the sender of heartbeats has used up its CPU quota for 1.5 s",
			Expect: beat("was sent", "late", "throttled"), Run: senderThrottled},
		{Name: "heartbeat-sender-disk", Doc: "the sender of heartbeats waits for a disk for 1.5 s",
			Expect: beat("was sent", "late", "waited for the disk"), Run: senderDisk},
		{Name: "heartbeat-sender-behind-realtime", Doc: "a SCHED_FIFO task and another one hog the sender's CPU for 3 s",
			Expect: beat("was sent", "late", "no CPU behind"), Allow: []string{"heartbeat-loss"}, Run: senderBehindRealtime},
		{Name: "heartbeat-sender-busy", Doc: "the sender of heartbeats computes for 1.2 s",
			Expect: beat("was sent", "late", "busy with other work"), Run: senderBusy},
		{Name: "heartbeat-reader-throttled", Doc: "the reader of heartbeats has used up its CPU quota for 1.5 s",
			Expect: beat("was read", "late", "throttled"), Run: readerThrottled},
		{Name: "heartbeat-reader-disk", Doc: "the reader of heartbeats waits for a disk for 1.5 s",
			Expect: beat("was read", "late", "waited for the disk"), Run: readerDisk},
		{Name: "heartbeat-reader-busy", Doc: "the reader of heartbeats computes for 1.2 s",
			Expect: beat("was read", "late", "busy with other work"), Run: readerBusy},

		{Name: "heartbeat-two-faults", Doc: "a firewall takes heartbeats for 2 s, and meanwhile their reader is stopped",
			Expect: beat("this host dropped", "NETFILTER_DROP"), Allow: []string{"packet-drop"}, Run: twoFaults},
		{Name: "heartbeat-two-peers", Doc: "a firewall takes the heartbeats of one peer for 2 s, and meanwhile another " +
			"peer of the port is stopped", Expect: append(beat(senderAddr, "this host dropped", "NETFILTER_DROP"),
			beat(secondPeer, "no packet reached this host")...), Allow: []string{"packet-drop"}, Run: twoPeers},
		{Name: "heartbeat-stopped-and-killed", Doc: "the reader of heartbeats is stopped, and killed 1.5 s later",
			Expect: beat("until it exited", "was stopped"), Also: beat("was killed by SIGKILL"),
			Run: stoppedAndKilled},
		{Name: "heartbeat-device-gone", Doc: "the device is removed over which heartbeats come",
			Expect: beat("received nothing", "of this host was removed"), Run: deviceGone},
		{Name: "heartbeat-device-down", Doc: "the device over which heartbeats are sent is down for 3 s",
			Expect: beat("was not sent for", "of this host went down"), Also: beat("received nothing", "went down"),
			Run: deviceDown},
		{Name: "heartbeat-other-device-down", Doc: "the sender of heartbeats is stopped for 3 s as a bridge goes down over " +
			"which they do not come", Expect: beat("no packet reached this host"), Run: otherDeviceDown},

		{Name: "heartbeat-quiet-night", Doc: "heartbeats that come more and more rarely, then as before",
			Run: planned("30x100ms,6x160ms,5x250ms,4x400ms,3x600ms,20x100ms")},
		{Name: "heartbeat-new-period-and-back", Doc: "heartbeats with five times the period for a while",
			Run: planned("45x100ms,6x500ms,1x100ms")},
		{Name: "heartbeat-bursts", Doc: "heartbeats in bursts of five", Run: planned(
			strings.Repeat("4x1ms,1x400ms,", 40) + "1x400ms")},
		{Name: "heartbeat-peer-restarts", Doc: "the sender of heartbeats is restarted within the timeout", Run: peerRestarts},
		{Name: "heartbeat-program-restarts", Doc: "the reader of heartbeats is restarted", Run: readerRestarts},
		{Name: "heartbeat-two-flows", Doc: "two peers with periods of their own, one of which ends", Run: twoFlows},
		{Name: "heartbeat-tcp-ends", Doc: "a TCP heartbeat that ends by a FIN of its sender, whose reader goes on",
			Run: onReader(func(ctx context.Context, e *Env, p tcpPair) error { e.MarkFault(); return p.send.stop() })},
		{Name: "heartbeat-namespace-gone", Doc: "the network namespace of the reader of heartbeats goes away with it",
			Run: namespaceGone},
	}
}

// tcpPair is a TCP heartbeat over a router, and what has to be waited for after a fault.
type tcpPair struct {
	read, send       *Process
	router, receiver string
}

// routed is the address of the receiver behind the router, gateway that of the router for the sender.
const (
	routed  = "10.77.1.2"
	gateway = "10.77.0.254"
)

// tcpOptions are how a TCP heartbeat is set up: which end is followed, whether the router changes both addresses, and
// the options of both programs.
type tcpOptions struct {
	reads, nat     bool
	reader, sender []string
}

// tcpBeats starts a TCP heartbeat over a router, one end of it in a control group of its own, which is followed.
func (e *Env) tcpBeats(ctx context.Context, o tcpOptions) (p tcpPair, err error) {
	var names [3]string
	for i, suffix := range []string{"a", "r", "b"} {
		if names[i], err = e.Namespace(ctx, suffix); err != nil {
			return p, err
		}
	}
	from, to := names[0], names[2]
	p.router, p.receiver = names[1], to
	near, far := "lbr"+strings.TrimPrefix(e.sendDev, sendDevPrefix), "lbs"+strings.TrimPrefix(e.sendDev, sendDevPrefix)
	e.devices = append(e.devices, near, far)
	for _, line := range []string{
		"ip -n " + from + " link add " + e.sendDev + " type veth peer name " + near + " netns " + p.router,
		"ip -n " + to + " link add " + e.recvDev + " type veth peer name " + far + " netns " + p.router,
		"ip -n " + from + " addr add " + senderAddr + "/24 dev " + e.sendDev,
		"ip -n " + p.router + " addr add " + gateway + "/24 dev " + near,
		"ip -n " + p.router + " addr add 10.77.1.254/24 dev " + far,
		"ip -n " + to + " addr add " + routed + "/24 dev " + e.recvDev,
		"ip -n " + from + " link set " + e.sendDev + " up",
		"ip -n " + to + " link set " + e.recvDev + " up",
		"ip -n " + p.router + " link set " + near + " up",
		"ip -n " + p.router + " link set " + far + " up",
		"ip -n " + from + " route add default via " + gateway,
		"ip -n " + to + " route add default via 10.77.1.254",
	} {
		if err := e.command(ctx, "", nil, strings.Fields(line)...); err != nil {
			return p, err
		}
	}
	if err := e.Set(ctx, p.router, "/proc/sys/net/ipv4/ip_forward", "1"); err != nil {
		return p, err
	}
	if err := e.awaitLink(ctx, to, e.recvDev); err != nil {
		return p, err
	}
	target := fmt.Sprintf("%s:%d", routed, e.port())
	start := func(grouped bool, ns, role string, args ...string) (*Process, error) {
		if grouped {
			return e.StartGrouped(ctx, ns, role, args...)
		}
		return e.Start(ctx, ns, role, args...)
	}
	if p.read, err = start(o.reads, to, "tcpsink", append([]string{"-local", target}, o.reader...)...); err != nil {
		return p, err
	}
	if o.nat {
		for _, rule := range []string{
			"PREROUTING -p tcp -d " + gateway + " -j DNAT --to-destination " + routed, "POSTROUTING -p tcp -j MASQUERADE",
		} {
			line := "iptables -t nat -A " + rule
			if err := e.command(ctx, p.router, nil, strings.Fields(line)...); err != nil {
				return p, err
			}
		}
		target = fmt.Sprintf("%s:%d", gateway, e.port())
	}
	args := append([]string{"-to", target, "-every", heartbeatPeriod.String()}, o.sender...)
	if p.send, err = start(!o.reads, from, "tcpbeat", args...); err != nil {
		return p, err
	}
	wait(ctx, heartbeatSeen)
	return p, nil
}

// onReader runs a fault of a TCP heartbeat that is followed where it is read.
func onReader(fault tcpFault) func(context.Context, *Env) error {
	return withOptions(tcpOptions{reads: true}, fault)
}

// onSender runs one of a TCP heartbeat that is followed where it is sent.
func onSender(fault tcpFault) func(context.Context, *Env) error {
	return withOptions(tcpOptions{}, fault)
}

// tcpFault is a fault of a TCP heartbeat.
type tcpFault func(context.Context, *Env, tcpPair) error

// withOptions runs one.
func withOptions(o tcpOptions, fault tcpFault) func(context.Context, *Env) error {
	return func(ctx context.Context, e *Env) error {
		p, err := e.tcpBeats(ctx, o)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := fault(ctx, e, p); err != nil {
			return err
		}
		wait(ctx, e.Length-heartbeatSeen-time.Since(began))
		return nil
	}
}

// dropping drops packets in a namespace for a while.
func (e *Env) dropping(ctx context.Context, ns string, length time.Duration, chain string, match ...string) error {
	add, remove := e.rule(ctx, ns, chain, match...)
	return e.hold(ctx, length, add, remove)
}

// oneSegment loses one segment for a while, whenever it is sent.
func oneSegment(ctx context.Context, e *Env, p tcpPair) error {
	n := int(heartbeatSeen/heartbeatPeriod) + 4
	return e.dropping(ctx, p.router, 1900*time.Millisecond, "FORWARD", "-p", "tcp", "-m", "string", "--algo", "bm",
		"--string", fmt.Sprintf("<%d>", n))
}

// allSegments loses all data for a while.
func allSegments(ctx context.Context, e *Env, p tcpPair) error {
	return e.dropping(ctx, p.router, 1500*time.Millisecond, "FORWARD", "-p", "tcp", "-m", "string", "--algo", "bm",
		"--string", "heartbeat")
}

func tcpDropped(ctx context.Context, e *Env) error {
	return onReader(func(ctx context.Context, e *Env, p tcpPair) error {
		return e.dropping(ctx, p.receiver, 1500*time.Millisecond, "PREROUTING", "-p", "tcp", "--dport", fmt.Sprint(e.port()))
	})(ctx, e)
}

func tcpUnanswered(ctx context.Context, e *Env) error {
	return onReader(func(ctx context.Context, e *Env, p tcpPair) error {
		return e.dropping(ctx, p.receiver, 3*time.Second, "OUTPUT", "-p", "tcp", "--sport", fmt.Sprint(e.port()))
	})(ctx, e)
}

func tcpUnsent(ctx context.Context, e *Env) error {
	return onSender(func(ctx context.Context, e *Env, p tcpPair) error {
		return e.dropping(ctx, p.send.ns, 1500*time.Millisecond, "OUTPUT", "-p", "tcp", "--dport", fmt.Sprint(e.port()))
	})(ctx, e)
}

// tcpReset ends a TCP heartbeat without a FIN.
func tcpReset(ctx context.Context, e *Env) error {
	p, err := e.tcpBeats(ctx, tcpOptions{reads: true, sender: []string{"-abort"}})
	if err != nil {
		return err
	}
	e.MarkFault()
	if err := p.send.stop(); err != nil {
		return err
	}
	return e.untilEnd(ctx)
}

// tcpRejected rejects the segments of a TCP heartbeat in the name of their receiver.
func tcpRejected(ctx context.Context, e *Env, p tcpPair) error {
	e.MarkFault()
	return e.command(ctx, p.router, nil, "iptables", "-A", "FORWARD", "-p", "tcp", "--dport", fmt.Sprint(e.port()), "-j",
		"REJECT", "--reject-with", "tcp-reset")
}

func tcpStopped(ctx context.Context, e *Env) error {
	p, err := e.tcpBeats(ctx, tcpOptions{reads: true})
	if err != nil {
		return err
	}
	return e.during(ctx, 1500*time.Millisecond, p.read.suspend, p.read.resume)
}

func tcpBehindRealtime(ctx context.Context, e *Env) error {
	o := tcpOptions{reads: true, reader: []string{"-cpu", "1", "-nice", "19"}, sender: []string{"-cpu", "0"}}
	if _, err := e.tcpBeats(ctx, o); err != nil {
		return err
	}
	return e.hogs(ctx)
}

// full fill the small receive buffer of a reader within a few heartbeats.
var full = []string{"-size", "1200"}

// littleRoom is the size of that buffer.
const littleRoom = "8192"

func windowStopped(ctx context.Context, e *Env) error {
	p, err := e.tcpBeats(ctx, tcpOptions{reader: []string{"-buffer", littleRoom}, sender: full})
	if err != nil {
		return err
	}
	return e.during(ctx, 3500*time.Millisecond, p.read.suspend, p.read.resume)
}

func windowForgotten(ctx context.Context, e *Env) error {
	after := []string{"-buffer", littleRoom, "-after", heartbeatSeen.String()}
	if _, err := e.tcpBeats(ctx, tcpOptions{reader: after, sender: full}); err != nil {
		return err
	}
	return e.untilEnd(ctx)
}

// sendersBeats starts heartbeats whose sender is followed rather than their reader.
func (e *Env) sendersBeats(ctx context.Context, sender ...string) (send *Process, err error) {
	from, to, err := e.Pair(ctx)
	if err != nil {
		return nil, err
	}
	if _, err = e.Start(ctx, to, "sink", "-local", e.target()); err != nil {
		return nil, err
	}
	args := append([]string{"-to", e.target(), "-every", heartbeatPeriod.String()}, sender...)
	if send, err = e.StartGrouped(ctx, from, "beat", args...); err != nil {
		return nil, err
	}
	wait(ctx, heartbeatSeen)
	return send, nil
}

func beatsUnsent(ctx context.Context, e *Env) error {
	send, err := e.sendersBeats(ctx)
	if err != nil {
		return err
	}
	if err := e.dropping(ctx, send.ns, 1500*time.Millisecond, "OUTPUT", "-p", "udp", "--dport",
		fmt.Sprint(e.port())); err != nil {
		return err
	}
	wait(ctx, e.Length-heartbeatSeen-1500*time.Millisecond)
	return nil
}

func senderStopped(ctx context.Context, e *Env) error {
	send, err := e.sendersBeats(ctx)
	if err != nil {
		return err
	}
	return e.during(ctx, 1500*time.Millisecond, send.suspend, send.resume)
}

func senderFrozen(ctx context.Context, e *Env) error {
	send, err := e.sendersBeats(ctx)
	if err != nil {
		return err
	}
	if _, _, err := e.group("freezer", send.pid()); err != nil {
		return err
	}
	wait(ctx, time.Second)
	return e.during(ctx, 1500*time.Millisecond,
		func() error { return e.freeze(true) }, func() error { return e.freeze(false) })
}

// throttled gives a process hardly any CPU time for a while.
func (e *Env) throttled(ctx context.Context, p *Process) error {
	if err := e.quota(p.pid(), 90*time.Millisecond); err != nil {
		return err
	}
	wait(ctx, time.Second)
	return e.during(ctx, 1500*time.Millisecond,
		func() error { return e.setQuota(time.Millisecond) }, func() error { return e.setQuota(90 * time.Millisecond) })
}

func senderThrottled(ctx context.Context, e *Env) error {
	send, err := e.sendersBeats(ctx, "-spin", "12ms")
	if err != nil {
		return err
	}
	return e.throttled(ctx, send)
}

func readerThrottled(ctx context.Context, e *Env) error {
	read, _, err := e.beats(ctx, []string{"-spin", "12ms"}, nil)
	if err != nil {
		return err
	}
	return e.throttled(ctx, read)
}

// slowDisk makes a block device, and a function that makes a process wait for it for a while.
func (e *Env) slowDisk(ctx context.Context) (device string, slow func(*Process) error, err error) {
	file, err := e.lockFile()
	if err == nil {
		err = os.Truncate(file, 1<<20)
	}
	if err != nil {
		return "", nil, err
	}
	out, err := exec.CommandContext(ctx, "losetup", "--find", "--show", file).Output()
	if err != nil {
		return "", nil, fmt.Errorf("make a block device: %w", err)
	}
	device = strings.TrimSpace(string(out))
	e.undo = append(e.undo, func() error {
		return e.command(context.WithoutCancel(ctx), "", nil, "losetup", "--detach", device)
	})
	var stat unix.Stat_t
	if err := unix.Stat(device, &stat); err != nil {
		return "", nil, fmt.Errorf("look at %s: %w", device, err)
	}
	number := fmt.Sprintf("%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev))
	return device, func(p *Process) error {
		limit := func(bytes int) error {
			file, text := "blkio.throttle.write_bps_device", number+" "+strconv.Itoa(bytes)
			if e.unified {
				file, text = "io.max", number+" wbps="+strconv.Itoa(bytes)
			}
			err := os.WriteFile(filepath.Join(e.cgroup, file), []byte(text), 0)
			if err != nil {
				return fmt.Errorf("limit the writes to %s: %w", device, err)
			}
			return nil
		}
		if _, _, err := e.group("blkio", p.pid()); err != nil {
			return err
		}
		const plenty = 1 << 30
		if err := limit(plenty); err != nil {
			return err
		}
		wait(ctx, time.Second)
		// A block takes 1.4 s.
		return e.during(ctx, 700*time.Millisecond,
			func() error { return limit(3000) }, func() error { return limit(plenty) })
	}, nil
}

func senderDisk(ctx context.Context, e *Env) error {
	disk, slow, err := e.slowDisk(ctx)
	if err != nil {
		return err
	}
	send, err := e.sendersBeats(ctx, "-disk", disk)
	if err != nil {
		return err
	}
	return slow(send)
}

func readerDisk(ctx context.Context, e *Env) error {
	disk, slow, err := e.slowDisk(ctx)
	if err != nil {
		return err
	}
	read, _, err := e.beats(ctx, []string{"-disk", disk}, nil)
	if err != nil {
		return err
	}
	return slow(read)
}

// hogs has two tasks hog CPU 1 for 3 s: the kernel leaves others 5 % of a CPU that real-time ones hog, and the second
// one takes those.
func (e *Env) hogs(ctx context.Context) error {
	var hogs []*Process
	return e.during(ctx, 3*time.Second,
		func() error {
			for _, priority := range [][]string{nil, {"-fifo", "50"}} {
				hog, err := e.Start(ctx, "", "hog", append([]string{"-cpu", "1"}, priority...)...)
				if err != nil {
					return err
				}
				hogs = append(hogs, hog)
			}
			return nil
		},
		func() error { return errors.Join(hogs[0].stop(), hogs[1].stop()) })
}

func senderBehindRealtime(ctx context.Context, e *Env) error {
	if _, err := e.sendersBeats(ctx, "-cpu", "1", "-nice", "19"); err != nil {
		return err
	}
	return e.hogs(ctx)
}

// busyOnce are the options of a process that computes for a while once it has been watched.
var busyOnce = []string{"-busy", "1200ms", "-at", (heartbeatSeen + 100*time.Millisecond).String()}

func senderBusy(ctx context.Context, e *Env) error {
	if _, err := e.sendersBeats(ctx, busyOnce...); err != nil {
		return err
	}
	return e.untilEnd(ctx)
}

func readerBusy(ctx context.Context, e *Env) error {
	if _, _, err := e.beats(ctx, busyOnce, nil); err != nil {
		return err
	}
	return e.untilEnd(ctx)
}

func twoFaults(ctx context.Context, e *Env) error {
	reader, _, err := e.beats(ctx, nil, nil)
	if err != nil {
		return err
	}
	stopped := make(chan error, 1)
	go func() {
		wait(ctx, 500*time.Millisecond)
		err := reader.suspend()
		wait(ctx, time.Second)
		stopped <- errors.Join(err, reader.resume())
	}()
	err = e.dropping(ctx, reader.ns, 2*time.Second, "PREROUTING", "-p", "udp", "--dport", fmt.Sprint(e.port()))
	if err := errors.Join(err, <-stopped); err != nil {
		return err
	}
	wait(ctx, e.Length-heartbeatSeen-2*time.Second)
	return nil
}

// secondPeer is the address of another peer beside senderAddr.
const secondPeer = "10.77.0.4"

func twoPeers(ctx context.Context, e *Env) error {
	reader, sender, err := e.beats(ctx, nil, nil)
	if err != nil {
		return err
	}
	if err := e.command(ctx, sender.ns, nil, "ip", "addr", "add", secondPeer+"/24", "dev", e.sendDev); err != nil {
		return err
	}
	other, err := e.Start(ctx, sender.ns, "beat", "-to", e.target(), "-every", heartbeatPeriod.String(), "-local",
		secondPeer+":0")
	if err != nil {
		return err
	}
	wait(ctx, heartbeatSeen)
	add, remove := e.rule(ctx, reader.ns, "PREROUTING", "-p", "udp", "-s", senderAddr)
	return e.during(ctx, 2*time.Second,
		func() error { return errors.Join(other.suspend(), add()) },
		func() error { return errors.Join(remove(), other.resume()) })
}

func stoppedAndKilled(ctx context.Context, e *Env) error {
	reader, _, err := e.beats(ctx, nil, nil)
	if err != nil {
		return err
	}
	return e.during(ctx, 2500*time.Millisecond, reader.suspend, reader.stop)
}

func deviceGone(ctx context.Context, e *Env) error {
	reader, _, err := e.beats(ctx, nil, nil)
	if err != nil {
		return err
	}
	e.MarkFault()
	if err := e.command(ctx, "", nil, "ip", "-n", reader.ns, "link", "del", e.recvDev); err != nil {
		return err
	}
	wait(ctx, e.Length-heartbeatSeen)
	return nil
}

func deviceDown(ctx context.Context, e *Env) error {
	sender, err := e.sendersBeats(ctx)
	if err != nil {
		return err
	}
	set := func(state string) func() error {
		return func() error {
			return e.command(ctx, "", nil, "ip", "-n", sender.ns, "link", "set", e.sendDev, state)
		}
	}
	return e.during(ctx, 3*time.Second, set("down"), set("up"))
}

func otherDeviceDown(ctx context.Context, e *Env) error {
	reader, sender, err := e.beats(ctx, nil, nil)
	if err != nil {
		return err
	}
	const bridge = "lbbridge"
	ip := func(args ...string) error {
		return e.command(ctx, "", nil, append([]string{"ip", "-n", reader.ns, "link"}, args...)...)
	}
	if err := errors.Join(
		ip("add", bridge, "type", "bridge"), ip("add", "lbport", "master", bridge, "type", "veth", "peer", "lbother"),
		ip("set", "lbport", "up"), ip("set", "lbother", "up"), ip("set", bridge, "up"),
	); err != nil {
		return err
	}
	wait(ctx, 1500*time.Millisecond) // until they have been seen
	return e.during(ctx, 3*time.Second,
		func() error { return errors.Join(sender.suspend(), ip("set", bridge, "down")) },
		func() error { return errors.Join(ip("set", bridge, "up"), sender.resume()) })
}

// planned are heartbeats with a plan.
func planned(plan string) func(context.Context, *Env) error {
	return func(ctx context.Context, e *Env) error {
		if _, _, err := e.beats(ctx, nil, []string{"-plan", plan}); err != nil {
			return err
		}
		return e.untilEnd(ctx)
	}
}

func peerRestarts(ctx context.Context, e *Env) error {
	_, sender, err := e.beats(ctx, nil, nil)
	if err != nil {
		return err
	}
	e.MarkFault()
	if err := sender.stop(); err != nil {
		return err
	}
	wait(ctx, 700*time.Millisecond)
	if _, err := e.Start(
		ctx, sender.ns, "beat", "-to", e.target(), "-every", heartbeatPeriod.String(),
	); err != nil {
		return err
	}
	wait(ctx, e.Length-heartbeatSeen-700*time.Millisecond)
	return nil
}

func readerRestarts(ctx context.Context, e *Env) error {
	reader, _, err := e.beats(ctx, nil, nil)
	if err != nil {
		return err
	}
	e.MarkFault()
	if err := reader.terminate(); err != nil {
		return err
	}
	wait(ctx, 700*time.Millisecond)
	if _, err := e.StartGrouped(ctx, reader.ns, "sink", "-local", e.target()); err != nil {
		return err
	}
	wait(ctx, e.Length-heartbeatSeen-700*time.Millisecond)
	return nil
}

func twoFlows(ctx context.Context, e *Env) error {
	_, sender, err := e.beats(ctx, nil, nil)
	if err != nil {
		return err
	}
	other, err := e.Start(ctx, sender.ns, "beat", "-to", e.target(), "-every", "170ms")
	if err != nil {
		return err
	}
	e.MarkFault()
	wait(ctx, 3500*time.Millisecond)
	return other.stop()
}

func namespaceGone(ctx context.Context, e *Env) error {
	reader, sender, err := e.beats(ctx, nil, nil)
	if err != nil {
		return err
	}
	e.MarkFault()
	if err := errors.Join(reader.stop(), e.Delete(ctx, reader.ns), sender.stop()); err != nil {
		return err
	}
	wait(ctx, e.Length-heartbeatSeen)
	return nil
}
