package lab

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"lostbeat/ebpf"
	"lostbeat/model"
)

// lossScenarios are packets that are lost elsewhere than at a ring, a backlog or a receive queue.
func lossScenarios() []*Scenario {
	loss := func(parts ...string) []Expectation { return []Expectation{{Detector: "packet-drop", Contains: parts}} }
	const length = 7 * time.Second
	return []*Scenario{
		{Name: "closed-port", Doc: "datagrams for a port that no program holds", Light: true, Length: length,
			Expect: loss("Nothing listens on udp/"), Run: closedPort},
		{Name: "closed-port-tcp", Doc: "connections to a port on which no program listens", Light: true, Length: length,
			Expect: loss("No program listens on tcp/"), Run: closedTCP},
		{Name: "firewall-drop", Doc: "a firewall rule that drops a flow", Light: true, Length: length,
			Expect: loss("netfilter", "NETFILTER_DROP"), Run: dropRule("INPUT")},
		{Name: "firewall-drop-early", Doc: "a rule in the raw table that drops a flow", Light: true, Length: length,
			Expect: loss("netfilter", "NETFILTER_DROP"), Run: dropRule("raw PREROUTING")},
		{Name: "accept-queue", Doc: "a listener that accepts nothing and has a backlog of one", Light: true, Length: length,
			Expect: loss("accept queue"), Allow: []string{"port-leak"}, Run: acceptQueue},
		{Name: "reverse-path", Doc: "packets whose source is reached by another device, with rp_filter", Light: true,
			Length: length, Expect: loss("IP_RPFILTER"), Run: reversePath},
		{Name: "closed-port-ipv6", Doc: "the closed port over IPv6", Light: true, Length: length,
			// The first packets may be lost while the neighbour is looked for.
			Expect: loss("Nothing listens on udp/"), Allow: []string{"packet-drop"}, Run: closedPort6},
		{Name: "shaper-full", Doc: "a shaper whose queue is full", Light: true, Length: length,
			Expect: loss("sent through "+sendDevPrefix, "QDISC"), Run: shaperFull},
		{Name: "no-route", Doc: "a router without a route", Light: true, Length: length,
			Expect: loss("cannot be routed"), Run: noRoute},
		{Name: "no-neighbour", Doc: "packets to an address that nobody answers for", Light: true, Length: length,
			// At first packets wait, and fail only when the search for the neighbour ends.
			Expect: loss("A next hop on " + sendDevPrefix), Run: noNeighbour},
		{Name: "empty-bridge", Doc: "packets into a bridge without ports: noise", Light: true, Length: length,
			Run: emptyBridge},
		{Name: "link-down", Doc: "the other end of a link is down", Light: true, Length: length,
			// On a busy host the link's end may come too late, or not at all, to join what was lost first.
			Expect: loss("The link of " + sendDevPrefix), Allow: []string{"packet-drop"}, Run: linkDown},
		{Name: "closed-port-removed", Doc: "a closed port behind a device that is then removed", Light: true,
			Length: length, Expect: loss("Nothing listens on udp/"), Run: closedThenRemoved},
		{Name: "leak-then-exit", Doc: "a leak whose process exits: what ends with it has not vanished", Light: true,
			Length: 16 * time.Second,
			Expect: []Expectation{{Detector: "port-leak", Contains: []string{"took", "bind to port 0"}}},
			Run:    leakThenExit},
		{Name: "resting-bound", Doc: "a small range of ports, all at rest after explicit binds", Light: true,
			Length: 10 * time.Second, Pools: []ebpf.Pool{{Name: "lab-resv", Protocol: model.ProtocolTCP, Low: 700, High: 739}},
			Expect: []Expectation{{Detector: "port-exhaustion", Contains: []string{"lab-resv", "in TIME_WAIT"}}},
			Run:    restingBound},
	}
}

// send starts a flow of rate datagrams a second to the pair's receiver.
func send(ctx context.Context, e *Env, rate int) (receiver string, err error) {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return "", err
	}
	_, err = e.Start(ctx, sender, "flood", "-to", e.target(), "-rate", strconv.Itoa(rate))
	return receiver, err
}

func closedPort(ctx context.Context, e *Env) error {
	if _, err := send(ctx, e, 200); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func closedTCP(ctx context.Context, e *Env) error {
	sender, _, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, sender, "knock", "-to", e.target(), "-rate", "150"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func dropRule(chain string) func(context.Context, *Env) error {
	return func(ctx context.Context, e *Env) error {
		receiver, err := send(ctx, e, 400)
		if err != nil {
			return err
		}
		if _, err := e.Start(ctx, receiver, "sink", "-local", e.target()); err != nil {
			return err
		}
		args := []string{"iptables"}
		if table, name, ok := strings.Cut(chain, " "); ok {
			args, chain = append(args, "-t", table), name
		}
		args = append(args, "-A", chain, "-p", "udp", "--dport", strconv.Itoa(int(e.port())), "-j", "DROP")
		e.MarkFault()
		if err := e.command(ctx, receiver, nil, args...); err != nil {
			return err
		}
		wait(ctx, e.Length)
		return nil
	}
}

func acceptQueue(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "deaf", "-local", e.target()); err != nil {
		return err
	}
	if _, err := e.Start(ctx, sender, "knock", "-to", e.target(), "-rate", "100"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func reversePath(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	const spoofed = "10.78.9.1"
	for _, c := range [][]string{
		{sender, "ip", "addr", "add", spoofed + "/32", "dev", e.sendDev},
		{receiver, "ip", "link", "set", "lo", "up"},
		{receiver, "ip", "route", "add", "10.78.9.0/24", "dev", "lo"},
	} {
		if err := e.command(ctx, c[0], nil, c[1:]...); err != nil {
			return err
		}
	}
	for _, dev := range []string{"all", e.recvDev} {
		if err := e.Set(ctx, receiver, "/proc/sys/net/ipv4/conf/"+dev+"/rp_filter", "1"); err != nil {
			return err
		}
	}
	if _, err := e.Start(ctx, sender, "flood", "-to", e.target(), "-rate", "200", "-local", spoofed+":0"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func closedPort6(ctx context.Context, e *Env) error {
	sender, _, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	to := fmt.Sprintf("[%s]:%d", receiverAddr6, e.port())
	if _, err := e.Start(ctx, sender, "flood", "-to", to, "-rate", "200"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func shaperFull(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "sink", "-local", e.target()); err != nil {
		return err
	}
	tc := "tc qdisc add dev " + e.sendDev + " root tbf rate 200kbit burst 2000 limit 4000"
	if err := e.command(ctx, sender, nil, strings.Fields(tc)...); err != nil {
		return err
	}
	if _, err := e.Start(ctx, sender, "flood", "-to", e.target(), "-rate", "800", "-size", "400"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

// through has the sender send to an address beyond the receiver.
func through(ctx context.Context, e *Env, to string) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if err := e.Set(ctx, receiver, "/proc/sys/net/ipv4/ip_forward", "1"); err != nil {
		return err
	}
	if err := e.command(ctx, sender, nil, "ip", "route", "add", "default", "via", receiverAddr); err != nil {
		return err
	}
	_, err = e.Start(ctx, sender, "flood", "-to", fmt.Sprintf("%s:%d", to, e.port()), "-rate", "200")
	return err
}

func noRoute(ctx context.Context, e *Env) error {
	if err := through(ctx, e, "10.78.200.1"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func noNeighbour(ctx context.Context, e *Env) error {
	sender, _, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	to := fmt.Sprintf("10.77.0.99:%d", e.port())
	if _, err := e.Start(ctx, sender, "flood", "-to", to, "-rate", "2000", "-size", "600"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func emptyBridge(ctx context.Context, e *Env) error {
	ns, err := e.Namespace(ctx, "bridge")
	if err != nil {
		return err
	}
	bridge := e.recvDev
	for _, c := range []string{
		"ip link add " + bridge + " type bridge", "ip addr add 10.77.5.1/24 dev " + bridge, "ip link set " + bridge + " up",
		"ip neigh add 10.77.5.2 lladdr " + receiverMAC + " dev " + bridge + " nud permanent",
	} {
		if err := e.command(ctx, ns, nil, strings.Fields(c)...); err != nil {
			return err
		}
	}
	if _, err := e.Start(ctx, ns, "flood", "-to", fmt.Sprintf("10.77.5.2:%d", e.port()), "-rate", "200"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func linkDown(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "sink", "-local", e.target()); err != nil {
		return err
	}
	if _, err := e.Start(ctx, sender, "flood", "-to", e.target(), "-rate", "500"); err != nil {
		return err
	}
	wait(ctx, 2*time.Second) // a device that was never seen up is not seen to go down
	e.MarkFault()
	if err := e.command(ctx, receiver, nil, "ip", "link", "set", e.recvDev, "down"); err != nil {
		return err
	}
	wait(ctx, e.Length)
	return nil
}

// closedThenRemoved removes the receiver's device while a flow for a closed port goes through it: what was lost before
// was lost for another reason.
func closedThenRemoved(ctx context.Context, e *Env) error {
	receiver, err := send(ctx, e, 200)
	if err != nil {
		return err
	}
	e.MarkFault()
	wait(ctx, e.Length-2*time.Second)
	if err := e.command(ctx, receiver, nil, "ip", "link", "del", e.recvDev); err != nil {
		return err
	}
	wait(ctx, 2*time.Second)
	return nil
}

func leakThenExit(ctx context.Context, e *Env) error {
	ns, err := e.Namespace(ctx, "leak")
	if err != nil {
		return err
	}
	p, err := e.Start(ctx, ns, "leak", "-mode", "bind", "-rate", "40", "-count", "2000")
	if err != nil {
		return err
	}
	e.MarkFault()
	wait(ctx, e.Length-4*time.Second)
	if err := p.stop(); err != nil {
		return err
	}
	wait(ctx, 4*time.Second)
	return nil
}

func restingBound(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "accept", "-local", e.target()); err != nil {
		return err
	}
	args := []string{"-to", e.target(), "-port", "700", "-count", "40", "-rate", "20"}
	if _, err := e.Start(ctx, sender, "reserved", args...); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}
