package lab

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/ebpf"
	"lostbeat/model"
)

// Scenarios returns every scenario, in the order in which the lab runs them.
func Scenarios() []*Scenario {
	starvation := func(parts ...string) []Expectation {
		return []Expectation{{Detector: "dpc-starvation", Contains: parts}}
	}
	socket := func(parts ...string) []Expectation { return []Expectation{{Detector: "socket-drop", Contains: parts}} }
	leak := func(parts ...string) []Expectation { return []Expectation{{Detector: "port-leak", Contains: parts}} }
	exhaustion := func(parts ...string) []Expectation {
		return []Expectation{{Detector: "port-exhaustion", Contains: parts}}
	}
	all := []*Scenario{
		{Name: "quiet", Doc: "a quiet host for a minute", Length: time.Minute, Run: quiet},
		{
			Name:   "pinned-flood",
			Doc:    "all receive work pinned to one CPU by RPS, expensive filter rules and a flood",
			Length: 10 * time.Second,
			Expect: starvation("CPU 0", "NET_RX", recvDevPrefix),
			Run:    pinnedFlood,
		},
		{
			Name:   "pinned-input",
			Doc:    "the same on CPU 1, with the rules where packets reach the host (INPUT)",
			Length: 10 * time.Second,
			Expect: starvation("CPU 1", "NET_RX", recvDevPrefix),
			Run:    pinnedInput,
		},
		{
			Name:   "spread-flood",
			Doc:    "a load that is too much for one CPU, spread over the CPUs",
			Length: 10 * time.Second,
			Allow:  []string{"packet-drop"}, // the cost of a packet is measured where no program listens
			Run:    spreadFlood,
		},
		{
			Name:   "small-budget",
			Doc:    "netdev_budget and dev_weight of 2, while programs compete with ksoftirqd for the CPU",
			Length: 10 * time.Second,
			Expect: starvation("CPU 0", "NET_RX"),
			Run:    smallBudget,
		},
		{
			Name:   "long-vector",
			Doc:    "single NET_RX runs of tens of milliseconds that delay TIMER and the other vectors",
			Length: 10 * time.Second,
			Expect: starvation("Long runs of NET_RX", "CPU 0"),
			Run:    longVector,
		},
		{
			Name:   "napi-thread",
			Doc:    "a NAPI thread that cannot keep up: the veth ring overflows while NET_RX looks idle",
			Length: 8 * time.Second,
			Expect: starvation("NAPI thread", recvDevPrefix),
			Run:    napiThread,
		},
		{
			Name:   "small-buffer",
			Doc:    "bursts that overflow a small receive buffer which the program empties in time",
			Light:  true,
			Length: 8 * time.Second,
			Expect: socket("too small"),
			Run:    smallBuffer,
		},
		{Name: "stopped-reader", Doc: "a program that stops reading its socket", Light: true, Length: 8 * time.Second,
			Expect: socket("not read"), Run: stoppedReader},
		{Name: "suspended-reader", Doc: "a program that is stopped by a signal", Light: true, Length: 8 * time.Second,
			Expect: socket("not read"), Run: suspendedReader},
		{
			Name:   "slow-reader",
			Doc:    "a program that reads more slowly than packets arrive",
			Light:  true,
			Length: 8 * time.Second,
			Expect: socket("more slowly"),
			Run:    slowReader,
		},
		{
			Name:   "leak-bind",
			Doc:    "a process that binds UDP ports and keeps them",
			Light:  true,
			Length: 12 * time.Second,
			Expect: leak("bind to port 0"),
			Run:    leaking("bind", 40),
		},
		{
			Name:   "leak-udp6",
			Doc:    "the same over IPv6",
			Light:  true,
			Length: 12 * time.Second,
			Expect: leak("bind to port 0"),
			Run:    leaking("bind6", 30),
		},
		{
			Name:   "leak-among-two",
			Doc:    "two processes of one pool: one opens and closes, one leaks",
			Light:  true,
			Length: 12 * time.Second,
			Expect: []Expectation{{Detector: "port-leak", Contains: []string{"bind to port 0"}, Culprit: 2}},
			Run:    leakAmongTwo,
		},
		{
			Name:   "leak-connect",
			Doc:    "a process that connects UDP sockets and keeps them",
			Light:  true,
			Length: 12 * time.Second,
			Expect: leak("connect"),
			Run:    leaking("connect", 40),
		},
		{
			Name:   "leak-sendto",
			Doc:    "a process that sends from new UDP sockets and keeps them",
			Light:  true,
			Length: 12 * time.Second,
			Expect: leak("sending without bind"),
			Run:    leaking("sendto", 40),
		},
		{
			Name:   "leak-listen",
			Doc:    "a process that opens TCP listeners and keeps them",
			Light:  true,
			Length: 12 * time.Second,
			Expect: leak("listen"),
			Run:    leaking("listen", 25),
		},
		{
			Name:   "slow-leak",
			Doc:    "a leak of one port a second among heavy healthy churn",
			Light:  true,
			Length: 35 * time.Second,
			Expect: leak("bind"),
			Run:    slowLeak,
		},
		{
			Name:   "connect-storm",
			Doc:    "a storm of short connections that leaves TIME_WAIT behind",
			Light:  true,
			Length: 12 * time.Second,
			Run:    connectStorm,
		},
		{
			Name:   "settling-pool",
			Doc:    "connection pools of 60 and 100 that grow to their size and stay there",
			Light:  true,
			Length: 20 * time.Second,
			Run:    settlingPool,
		},
		{
			Name:   "ports-at-start",
			Doc:    "a program that opens 200 ports at its start and keeps them",
			Light:  true,
			Length: 10 * time.Second,
			Run:    portsAtStart,
		},
		{
			Name:   "exhausted-destination",
			Doc:    "every ephemeral port used towards one destination, while another can still be reached",
			Light:  true,
			Length: 8 * time.Second,
			Expect: exhaustion(
				"to "+receiverAddr,
				"EADDRNOTAVAIL",
			),
			Allow: []string{"port-leak"},
			Run:   exhaustedDestination,
		},
		{
			Name:   "exhausted-pool",
			Doc:    "a small range of ports, all bound",
			Light:  true,
			Length: 8 * time.Second,
			Pools:  []ebpf.Pool{{Name: "lab", Protocol: model.ProtocolUDP, Low: 15000, High: 15099}},
			Expect: exhaustion("Pool lab", "15000-15099"),
			Allow:  []string{"port-leak"},
			Run:    exhaustedPool,
		},
		{
			Name:     "resting-pool",
			Doc:      "a bounded pool whose ports rest for 240 s after their close (generated)",
			Length:   time.Hour,
			Generate: func() (*model.Batch, model.Time) { return boundedPool(400, 0) },
		},
		{
			Name:     "vanishing-ports",
			Doc:      "the same pool, from which ports vanish without an open socket, as in KB 814622 (generated)",
			Length:   time.Hour,
			Expect:   leak("RPC reports no free port", "no open or resting socket"),
			Generate: func() (*model.Batch, model.Time) { return boundedPool(400, 900) },
		},
		{Name: "cpu-hog", Doc: "a program that burns a CPU in user space", Length: 8 * time.Second, Run: cpuHog},
		{Name: "busy-host", Doc: "programs that use every CPU, as a build does", Length: 20 * time.Second, Run: busyHost},
		{Name: "pinned-ipv6", Doc: "the pinned flood over IPv6", Length: 8 * time.Second,
			Expect: starvation("CPU 0", "NET_RX", recvDevPrefix), Run: pinnedIPv6},
		{
			Name:   "pinned-loopback",
			Doc:    "a flood through the loopback device, all of it received on one CPU",
			Length: 8 * time.Second,
			Expect: starvation("CPU 0", "NET_RX", "lo"),
			Run:    pinnedLoopback,
		},
		{
			Name:   "leak-connect6",
			Doc:    "a process that connects UDP sockets over IPv6 and keeps them",
			Light:  true,
			Length: 12 * time.Second,
			Expect: leak("connect"),
			Run:    leaking("connect6", 30),
		},
		{
			Name:   "leak-reuseport",
			Doc:    "a process that opens TCP listeners with SO_REUSEPORT and keeps them",
			Light:  true,
			Length: 12 * time.Second,
			Expect: leak("bind to port 0"),
			Run:    leaking("reuseport", 30),
		},
		{
			Name:   "leak-workers",
			Doc:    "three processes of one name that all leak",
			Light:  true,
			Length: 12 * time.Second,
			Expect: leak("3 processes of"),
			Run:    leakWorkers,
		},
		{
			Name:   "leak-in-passing",
			Doc:    "a leak whose namespace vanishes with it",
			Light:  true,
			Length: 12 * time.Second,
			Expect: leak("bind to port 0"),
			Run:    leakInPassing,
		},
		{
			Name:   "held-3s",
			Doc:    "a program that opens 50 sockets a second and closes each after 3 s",
			Light:  true,
			Length: 20 * time.Second,
			Run:    holding("50", "1", "3s"),
		},
		{
			Name:   "held-5s",
			Doc:    "a program that opens 40 sockets a second and closes each after 5 s",
			Light:  true,
			Length: 20 * time.Second,
			Run:    holding("40", "1", "5s"),
		},
		{
			Name:   "held-9s",
			Doc:    "a program that opens 10 sockets a second and closes each after 9 s",
			Light:  true,
			Length: 25 * time.Second,
			Run:    holding("10", "1", "9s"),
		},
		{
			Name:   "held-connections",
			Doc:    "a program that opens 30 connections a second and closes each after 8 s",
			Light:  true,
			Length: 25 * time.Second,
			Run:    heldConnections,
		},
		{
			Name:   "bursts",
			Doc:    "a resolver that asks 100 questions at once, every 3 s",
			Light:  true,
			Length: 15 * time.Second,
			Run:    holding("33", "100", "50ms"),
		},
		{Name: "resting-ports", Doc: "an ephemeral pool used up by TIME_WAIT alone", Light: true, Length: 12 * time.Second,
			Expect: exhaustion("to "+receiverAddr, "in TIME_WAIT"), Run: restingPorts},
		{
			Name:   "unread-tcp",
			Doc:    "a program that stops reading a TCP connection: the sender waits, nothing is lost",
			Light:  true,
			Length: 10 * time.Second,
			Run:    unreadTCP,
		},
		{
			Name:   "unread-local",
			Doc:    "a local (unix) socket that nobody reads",
			Light:  true,
			Length: 8 * time.Second,
			Run:    unreadLocal,
		},
	}
	all = append(all, readerScenarios()...)
	all = append(all, lossScenarios()...)
	all = append(all, portScenarios()...)
	all = append(all, heartbeatScenarios()...)
	all = append(all, victimScenarios()...)
	all = append(all, healthyScenarios()...)
	all = append(all, backlogScenarios()...)
	all = append(all, advisedScenarios()...)
	for i, s := range all {
		s.number = i
		s.Advice = cmp.Or(s.Advice, advices[s.Name])
		if slices.ContainsFunc(s.Expect, func(x Expectation) bool { return x.Detector == "dpc-starvation" }) {
			s.Allow = append(s.Allow, "packet-drop") // floods go where no program listens, too
		}
	}
	return all
}

func quiet(ctx context.Context, e *Env) error {
	e.Hold(ctx)
	return nil
}

// costlyPackets joins two namespaces and makes packets to the second expensive. It
// returns the time that one packet takes.
func costlyPackets(
	ctx context.Context,
	e *Env,
	chain string,
	rules int,
) (sender, receiver string, cost time.Duration, err error) {
	if sender, receiver, err = e.Pair(ctx); err != nil {
		return
	}
	if err = e.ExpensiveRules(ctx, receiver, chain, rules); err != nil {
		return
	}
	cost, err = costOf(ctx, e, sender, e.target())
	return sender, receiver, cost, err
}

// costOf returns the time that a packet takes to a destination, as long as
// there is no RPS: the sender itself then handles what it sends.
func costOf(ctx context.Context, e *Env, sender, to string) (time.Duration, error) {
	flood, err := e.Start(ctx, sender, "flood", "-to", to, "-count", "4000", "-cpu", "1")
	if err != nil {
		return 0, err
	}
	line, err := flood.Await()
	if err != nil {
		return 0, err
	}
	_, best, _ := strings.Cut(line, " ")
	ns, err := strconv.Atoi(best)
	if err != nil || ns <= 0 {
		return 0, fmt.Errorf("calibration gave %q", line)
	}
	cost := time.Duration(ns)
	e.log(fmt.Sprintf("a packet takes %v", cost))
	return cost, nil
}

func setRPS(ctx context.Context, e *Env, ns, cpus string) error {
	return e.Set(ctx, ns, "/sys/class/net/"+e.recvDev+"/queues/rx-0/rps_cpus", cpus)
}

// floodAt sends UDP from one CPU at a rate that takes the given share of a CPU to receive.
func floodAt(ctx context.Context, e *Env, sender string, cpu int, cost time.Duration, load float64, flows int) error {
	return floodTo(ctx, e, sender, e.target(), cpu, cost, load, flows)
}

func floodTo(
	ctx context.Context,
	e *Env,
	sender, to string,
	cpu int,
	cost time.Duration,
	load float64,
	flows int,
) error {
	rate := int(load * float64(time.Second) / float64(cost))
	e.log(fmt.Sprintf("flooding with %d packets/s", rate))
	_, err := e.Start(
		ctx,
		sender,
		"flood",
		"-to",
		to,
		"-rate",
		strconv.Itoa(rate),
		"-flows",
		strconv.Itoa(flows),
		"-burst",
		"16",
		"-cpu",
		strconv.Itoa(cpu),
	)
	return err
}

func pinnedFlood(ctx context.Context, e *Env) error { return pinned(ctx, e, beforeRouting, 0) }

func pinnedInput(ctx context.Context, e *Env) error { return pinned(ctx, e, input, 1) }

// pinned floods from one CPU of two what is received on the other.
func pinned(ctx context.Context, e *Env, chain string, cpu int) error {
	sender, receiver, cost, err := costlyPackets(ctx, e, chain, 300)
	if err != nil {
		return err
	}
	if err := setRPS(ctx, e, receiver, strconv.Itoa(1<<cpu)); err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "sink", "-local", e.target()); err != nil {
		return err
	}
	if err := floodAt(ctx, e, sender, 1-cpu, cost, 3, 16); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func spreadFlood(ctx context.Context, e *Env) error {
	sender, receiver, cost, err := costlyPackets(ctx, e, beforeRouting, 300)
	if err != nil {
		return err
	}
	if err := setRPS(ctx, e, receiver, "3"); err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "sink", "-local", e.target(), "-buffer", "8388608"); err != nil {
		return err
	}
	before, err := readSoftnet()
	if err != nil {
		return err
	}
	// Pinned to one CPU this would be more than it can handle.
	if err := floodAt(ctx, e, sender, 1, cost, 1.1, 64); err != nil {
		return err
	}
	e.Hold(ctx)
	after, err := readSoftnet()
	if err != nil {
		return err
	}
	// Beside other work two CPUs may be too few: then the load is none that the host handles.
	lost, handled := after.dropped-before.dropped, after.processed-before.processed
	if lost >= 100 && lost >= (lost+handled)/64 {
		e.log(fmt.Sprintf("the host had too little time: %d packets lost at backlogs, %d handled", lost, handled))
		e.allowed = append(e.allowed, "dpc-starvation", "socket-drop")
	}
	return nil
}

func smallBudget(ctx context.Context, e *Env) error {
	sender, receiver, cost, err := costlyPackets(ctx, e, beforeRouting, 100)
	if err != nil {
		return err
	}
	if err := setRPS(ctx, e, receiver, "1"); err != nil {
		return err
	}
	// A poll takes up to dev_weight packets whatever the budget is.
	for _, name := range []string{"netdev_budget", "dev_weight"} {
		if err := e.Set(ctx, "", "/proc/sys/net/core/"+name, "2"); err != nil {
			return err
		}
	}
	// What NET_RX leaves waits for ksoftirqd, which is one task among these.
	for range 4 {
		if _, err := e.Start(ctx, "", "hog", "-cpu", "0"); err != nil {
			return err
		}
	}
	if err := floodAt(ctx, e, sender, 1, cost, 0.9, 16); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func longVector(ctx context.Context, e *Env) error {
	sender, receiver, cost, err := costlyPackets(ctx, e, beforeRouting, 3000)
	if err != nil {
		return err
	}
	if err := setRPS(ctx, e, receiver, "1"); err != nil {
		return err
	}
	// A poll takes up to 64 packets and looks at no clock meanwhile: bursts of
	// 64 make runs of 64 times the cost, at a load that the CPU bears.
	rate := int(0.4 * float64(time.Second) / float64(cost))
	if _, err := e.Start(
		ctx, sender, "flood", "-to", e.target(), "-rate", strconv.Itoa(rate), "-burst", "64", "-cpu", "1",
	); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func napiThread(ctx context.Context, e *Env) error {
	sender, receiver, cost, err := costlyPackets(ctx, e, beforeRouting, 300)
	if err != nil {
		return err
	}
	if err := e.threadedNAPI(ctx, sender, receiver); err != nil {
		return err
	}
	if err := floodAt(ctx, e, sender, 1, cost, 4, 16); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func smallBuffer(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "sink", "-local", e.target(), "-buffer", "4096", "-cpu", "1"); err != nil {
		return err
	}
	if _, err := e.Start(
		ctx, sender, "flood", "-to", e.target(), "-rate", "2000", "-burst", "200", "-cpu", "1",
	); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func stoppedReader(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "sink", "-local", e.target(), "-after", "3s", "-buffer", "65536"); err != nil {
		return err
	}
	if _, err := e.Start(ctx, sender, "flood", "-to", e.target(), "-rate", "500"); err != nil {
		return err
	}
	wait(ctx, 3*time.Second)
	e.Hold(ctx)
	return nil
}

func suspendedReader(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	reader, err := e.Start(ctx, receiver, "sink", "-local", e.target())
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, sender, "flood", "-to", e.target(), "-rate", "700", "-size", "600"); err != nil {
		return err
	}
	wait(ctx, time.Second)
	if err := reader.suspend(); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func slowReader(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "sink", "-local", e.target(), "-every", "5ms", "-buffer", "65536"); err != nil {
		return err
	}
	if _, err := e.Start(ctx, sender, "flood", "-to", e.target(), "-rate", "1000"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

// leaking returns the recipe of a process that takes ports at a rate.
func leaking(mode string, rate int) func(context.Context, *Env) error {
	return func(ctx context.Context, e *Env) error {
		ns, err := e.Namespace(ctx, "a")
		if err != nil {
			return err
		}
		e.MarkFault()
		if _, err := e.Start(ctx, ns, "leak", "-mode", mode, "-rate", strconv.Itoa(rate), "-count", "2000"); err != nil {
			return err
		}
		wait(ctx, e.Length)
		return nil
	}
}

func leakAmongTwo(ctx context.Context, e *Env) error {
	ns, err := e.Namespace(ctx, "a")
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, ns, "leak", "-mode", "bind", "-count", "5", "-churn", "300", "-hold", "20ms"); err != nil {
		return err
	}
	e.MarkFault()
	if _, err := e.Start(ctx, ns, "leak", "-mode", "bind", "-rate", "25", "-count", "2000"); err != nil {
		return err
	}
	wait(ctx, e.Length)
	return nil
}

func slowLeak(ctx context.Context, e *Env) error {
	ns, err := e.Namespace(ctx, "a")
	if err != nil {
		return err
	}
	e.MarkFault()
	if _, err := e.Start(ctx, ns, "leak", "-mode", "bind", "-rate", "1", "-churn", "300", "-hold", "2ms"); err != nil {
		return err
	}
	wait(ctx, e.Length)
	return nil
}

func connectStorm(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "accept", "-local", receiverAddr+":8080"); err != nil {
		return err
	}
	if _, err := e.Start(ctx, sender, "dial", "-to", receiverAddr+":8080", "-rate", "400"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func settlingPool(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	pools := []struct{ to, rate, size string }{{receiverAddr + ":5432", "12", "100"}, {otherAddr + ":6379", "25", "60"}}
	for _, p := range pools {
		if _, err := e.Start(ctx, receiver, "accept", "-local", p.to); err != nil {
			return err
		}
	}
	e.MarkFault()
	for _, p := range pools {
		if _, err := e.Start(
			ctx, sender, "leak", "-mode", "dial", "-to", p.to, "-rate", p.rate, "-count", p.size,
		); err != nil {
			return err
		}
	}
	wait(ctx, e.Length)
	return nil
}

func portsAtStart(ctx context.Context, e *Env) error {
	ns, err := e.Namespace(ctx, "a")
	if err != nil {
		return err
	}
	e.MarkFault()
	if _, err := e.Start(ctx, ns, "leak", "-mode", "bind", "-count", "200"); err != nil {
		return err
	}
	wait(ctx, e.Length)
	return nil
}

func exhaustedDestination(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if err := e.Set(ctx, sender, "/proc/sys/net/ipv4/ip_local_port_range", "40000 40499"); err != nil {
		return err
	}
	for _, addr := range []string{receiverAddr, otherAddr} {
		if _, err := e.Start(ctx, receiver, "accept", "-local", addr+":5432"); err != nil {
			return err
		}
	}
	e.MarkFault()
	if _, err := e.Start(
		ctx, sender, "fill", "-mode", "dial", "-to", receiverAddr+":5432", "-local", otherAddr+":5432",
	); err != nil {
		return err
	}
	wait(ctx, e.Length)
	return nil
}

func exhaustedPool(ctx context.Context, e *Env) error {
	ns, err := e.Namespace(ctx, "a")
	if err != nil {
		return err
	}
	e.MarkFault()
	if _, err := e.Start(ctx, ns, "fill", "-mode", "port", "-port", "15000", "-count", "100"); err != nil {
		return err
	}
	wait(ctx, e.Length)
	return nil
}

func cpuHog(ctx context.Context, e *Env) error {
	if _, err := e.Start(ctx, "", "hog", "-cpu", "0"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}
