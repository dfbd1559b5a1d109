package lab

import (
	"context"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// portScenarios are faults of local ports, and loads that look like them, whose
// end matters as much as their course.
func portScenarios() []*Scenario {
	leak := func(parts ...string) Expectation { return Expectation{Detector: "port-leak", Contains: parts} }
	exhaustion := func(parts ...string) Expectation {
		return Expectation{Detector: "port-exhaustion", Contains: parts}
	}
	return []*Scenario{
		{
			Name: "leak-ended", Doc: "a process that fills the ephemeral range and ends", Light: true, Length: 30 * time.Second,
			Expect: []Expectation{
				leak("took 400 udp ports", "kept them until it exited", "they are free again"),
				exhaustion("was exhausted: 400 of 400 ports in use"),
			},
			Run: leakEnded,
		},
		{
			Name:  "destination-ended",
			Doc:   "500 open connections use up the ports towards one destination, then their process ends",
			Light: true, Length: 14 * time.Second,
			Expect: []Expectation{exhaustion("exhausted: 500 of 500 ports in use", "holds 500 of them")},
			Allow:  []string{"port-leak"},
			Run:    destinationEnded,
		},
		{
			Name: "searched-range", Doc: "a program with a range of its own of which every port is held, which nobody has named",
			Light: true, Length: 8 * time.Second,
			Expect: []Expectation{exhaustion("no free port in tcp 15000-15059", "60 of 60 ports in use")},
			Allow:  []string{"port-leak"},
			Run:    searchedRange,
		},
		{
			Name: "close-wait", Doc: "connections that the peer closes and the program never does", Light: true,
			Length: 28 * time.Second,
			Expect: []Expectation{leak("(CLOSE_WAIT); the program never")},
			Run:    closeWait,
		},
		{
			Name: "bind-first", Doc: "connections that are bound before they are connected, until no port is left", Light: true,
			Length: 12 * time.Second,
			Expect: []Expectation{exhaustion("bound before connecting", "IP_BIND_ADDRESS_NO_PORT")},
			Allow:  []string{"port-leak"},
			Run:    bindFirst,
		},
		{
			Name: "slow-pure-leak", Doc: "a process that takes a port every second and gives none back", Light: true,
			Length: 60 * time.Second,
			Expect: []Expectation{leak("pool ephemeral (udp")},
			Run:    leaking("bind", 1),
		},
		{
			Name: "warming-pool", Doc: "a pool of 25 sockets that opens one a second and stays", Light: true,
			Length: 40 * time.Second, Run: warmingPool,
		},
		{
			Name: "two-programs", Doc: "two programs of one executable that leak, and have nothing to do with each other",
			Light: true, Length: 12 * time.Second,
			Expect: []Expectation{
				{Detector: "port-leak", Contains: []string{"bind to port 0"}, Culprit: 1},
				{Detector: "port-leak", Contains: []string{"connect"}, Culprit: 2},
			},
			Run: twoPrograms,
		},
		{
			// Not beside others: a namespace of theirs may take the number of one that has just gone, and its name with it.
			Name: "container-churn", Doc: "network namespaces that come and go, each with a few ports",
			Length: 15 * time.Second, Run: containerChurn,
		},
	}
}

// shortRange gives a namespace so many ephemeral ports.
func shortRange(ctx context.Context, e *Env, ns string, n int) error {
	return e.Set(ctx, ns, "/proc/sys/net/ipv4/ip_local_port_range", fmt.Sprintf("40000 %d", 40000+n-1))
}

func leakEnded(ctx context.Context, e *Env) error {
	ns, err := e.Namespace(ctx, "a")
	if err != nil {
		return err
	}
	if err := shortRange(ctx, e, ns, 400); err != nil {
		return err
	}
	e.MarkFault()
	leaker, err := e.Start(ctx, ns, "fill", "-mode", "bind", "-rate", "60")
	if err != nil {
		return err
	}
	wait(ctx, e.Length-6*time.Second)
	if err := leaker.stop(); err != nil {
		return err
	}
	wait(ctx, 6*time.Second)
	return nil
}

func destinationEnded(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if err := shortRange(ctx, e, sender, 500); err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "accept", "-local", receiverAddr+":5432"); err != nil {
		return err
	}
	e.MarkFault()
	client, err := e.Start(ctx, sender, "fill", "-mode", "dial", "-to", receiverAddr+":5432")
	if err != nil {
		return err
	}
	wait(ctx, e.Length-8*time.Second)
	if err := client.stop(); err != nil {
		return err
	}
	wait(ctx, 8*time.Second) // they rest now, which is not what used the ports up
	return nil
}

func searchedRange(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "accept", "-local", receiverAddr+":8080"); err != nil {
		return err
	}
	if _, err := e.Start(
		ctx, sender, "leak", "-mode", "listen-port", "-port", "15000", "-count", "60",
	); err != nil {
		return err
	}
	wait(ctx, time.Second)
	e.MarkFault()
	if _, err := e.Start(
		ctx, sender, "reserved", "-to", receiverAddr+":8080", "-port", "15000", "-count", "60", "-rate", "10",
	); err != nil {
		return err
	}
	wait(ctx, e.Length)
	return nil
}

func closeWait(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "accept", "-local", receiverAddr+":8080", "-mode", "close"); err != nil {
		return err
	}
	e.MarkFault()
	if _, err := e.Start(
		ctx, sender, "leak", "-mode", "dial", "-to", receiverAddr+":8080", "-rate", "40", "-count", "2000",
	); err != nil {
		return err
	}
	wait(ctx, e.Length)
	return nil
}

func bindFirst(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if err := shortRange(ctx, e, sender, 400); err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "accept", "-local", receiverAddr+":8080"); err != nil {
		return err
	}
	e.MarkFault()
	if _, err := e.Start(
		ctx, sender, "fill", "-mode", "bind-first", "-to", receiverAddr+":8080", "-local", senderAddr, "-rate", "60",
	); err != nil {
		return err
	}
	wait(ctx, e.Length)
	return nil
}

// bindPort makes a bind to an address take a port at once, as it does without
// the option that Go sets.
func bindPort(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 0)
	}); cerr != nil {
		return cerr
	}
	return err
}

func warmingPool(ctx context.Context, e *Env) error {
	ns, err := e.Namespace(ctx, "a")
	if err != nil {
		return err
	}
	e.MarkFault()
	if _, err := e.Start(ctx, ns, "leak", "-mode", "bind", "-rate", "1", "-count", "25"); err != nil {
		return err
	}
	wait(ctx, e.Length)
	return nil
}

func twoPrograms(ctx context.Context, e *Env) error {
	ns, err := e.Namespace(ctx, "a")
	if err != nil {
		return err
	}
	e.MarkFault()
	for _, mode := range []string{"bind", "connect"} {
		if _, err := e.Start(ctx, ns, "leak", "-mode", mode, "-rate", "20", "-count", "2000"); err != nil {
			return err
		}
	}
	wait(ctx, e.Length)
	return nil
}

func containerChurn(ctx context.Context, e *Env) error {
	e.MarkFault()
	end := time.Now().Add(e.Length)
	for i := 0; time.Now().Before(end) && ctx.Err() == nil; i++ {
		ns, err := e.Namespace(ctx, "c"+strconv.Itoa(i))
		if err != nil {
			return err
		}
		p, err := e.Start(ctx, ns, "leak", "-mode", "bind", "-count", "5")
		if err != nil {
			return err
		}
		wait(ctx, 300*time.Millisecond)
		if err := p.stop(); err != nil {
			return err
		}
		if err := e.Delete(ctx, ns); err != nil {
			return err
		}
	}
	return nil
}
