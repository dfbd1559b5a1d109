package lab

import (
	"context"
	"time"
)

// advisedScenarios are faults that last until their advice is followed, where no other scenario has one of their kind.
func advisedScenarios() []*Scenario {
	one := func(detector string, parts ...string) []Expectation {
		return []Expectation{{Detector: detector, Contains: parts}}
	}
	return []*Scenario{
		{
			Name:   "pinned-flows",
			Doc:    "many flows on one CPU of two, as much as one cannot and two can receive",
			Length: 8 * time.Second,
			Expect: one("dpc-starvation", "CPU 0", "NET_RX", recvDevPrefix),
			Run:    pinnedFlows,
			Advice: &Advice{Words: []string{"spread it with RPS: echo"}, Apply: func(ctx context.Context, e *Env) error {
				return setRPS(ctx, e, e.receiver(), "3")
			}},
		},
		{
			Name:   "reader-left-frozen",
			Doc:    "a reader whose control group is frozen and stays so",
			Light:  true,
			Length: 6 * time.Second,
			Expect: one("socket-drop", "frozen", "did not read"),
			Run:    leftFrozen,
			Advice: &Advice{Words: []string{"thaw"}, Apply: func(_ context.Context, e *Env) error { return e.freeze(false) }},
		},
		{
			Name:   "narrow-range",
			Doc:    "a program that needs 700 connections to one destination, and a range of 500 ports",
			Light:  true,
			Length: 8 * time.Second,
			Expect: one("port-exhaustion", "to "+receiverAddr, "EADDRNOTAVAIL"),
			Allow:  []string{"port-leak"},
			Run:    narrowRange,
			Advice: &Advice{Words: []string{"widen net.ipv4.ip_local_port_range|widen the pool (net.ipv4.ip_local_port_range"},
				Within: 12 * time.Second, // a refusal counts for 10 s
				Apply: func(ctx context.Context, e *Env) error {
					return e.Set(ctx, e.namespaces[0], "/proc/sys/net/ipv4/ip_local_port_range", "40000 44999")
				}},
		},
	}
}

func pinnedFlows(ctx context.Context, e *Env) error {
	sender, receiver, cost, err := costlyPackets(ctx, e, beforeRouting, 300)
	if err != nil {
		return err
	}
	if err := setRPS(ctx, e, receiver, "1"); err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "sink", "-local", e.target(), "-buffer", "8388608"); err != nil {
		return err
	}
	if err := floodAt(ctx, e, sender, 1, cost, 1.3, 64); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func leftFrozen(ctx context.Context, e *Env) error {
	reader, err := readBy(ctx, e, 1000)
	if err != nil {
		return err
	}
	if _, _, err := e.group("freezer", reader.pid()); err != nil {
		return err
	}
	wait(ctx, time.Second)
	e.MarkFault()
	e.undo = append(e.undo, func() error { return e.freeze(false) }) // or it could not be ended
	if err := e.freeze(true); err != nil {
		return err
	}
	wait(ctx, e.Length)
	return nil
}

func narrowRange(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if err := e.Set(ctx, sender, "/proc/sys/net/ipv4/ip_local_port_range", "40000 40499"); err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "accept", "-local", receiverAddr+":5432"); err != nil {
		return err
	}
	e.MarkFault()
	if _, err := e.Start(ctx, sender, "fill", "-mode", "dial", "-to", receiverAddr+":5432", "-count", "700"); err != nil {
		return err
	}
	wait(ctx, e.Length)
	return nil
}

// threadedNAPI has the pair's receiving end polled by a kernel thread.
func (e *Env) threadedNAPI(ctx context.Context, sender, receiver string) error {
	// veth uses NAPI when GRO is on, and only for packets that its peer does
	// not segment itself.
	for _, args := range [][]string{
		{sender, "ethtool", "-K", e.sendDev, "tso", "off", "gso", "off"},
		{receiver, "ethtool", "-K", e.recvDev, "gro", "on"},
	} {
		if err := e.command(ctx, args[0], nil, args[1:]...); err != nil {
			return err
		}
	}
	return e.Set(ctx, receiver, "/sys/class/net/"+e.recvDev+"/threaded", "1")
}
