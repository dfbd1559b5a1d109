package lab

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
)

// busyHost keeps every CPU busy with more programs than there are CPUs.
func busyHost(ctx context.Context, e *Env) error {
	for range runtime.NumCPU() + 1 {
		if _, err := e.Start(ctx, "", "hog"); err != nil {
			return err
		}
	}
	e.Hold(ctx)
	return nil
}

func pinnedIPv6(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if err := e.ExpensiveRules(ctx, receiver, input6, 300); err != nil {
		return err
	}
	to := fmt.Sprintf("[%s]:%d", receiverAddr6, e.port())
	cost, err := costOf(ctx, e, sender, to)
	if err != nil {
		return err
	}
	if err := setRPS(ctx, e, receiver, "1"); err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "sink", "-local", to); err != nil {
		return err
	}
	if err := floodTo(ctx, e, sender, to, 1, cost, 3, 16); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func pinnedLoopback(ctx context.Context, e *Env) error {
	ns, err := e.Namespace(ctx, "a")
	if err != nil {
		return err
	}
	e.loopback = true
	if err := e.ExpensiveRules(ctx, ns, input, 300); err != nil {
		return err
	}
	to := fmt.Sprintf("127.0.0.1:%d", e.port())
	if _, err := e.Start(ctx, ns, "sink", "-local", to); err != nil {
		return err
	}
	cost, err := costOf(ctx, e, ns, to)
	if err != nil {
		return err
	}
	if err := e.Set(ctx, ns, "/sys/class/net/lo/queues/rx-0/rps_cpus", "1"); err != nil {
		return err
	}
	if err := floodTo(ctx, e, ns, to, 1, cost, 3, 16); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func leakWorkers(ctx context.Context, e *Env) error {
	ns, err := e.Namespace(ctx, "a")
	if err != nil {
		return err
	}
	e.MarkFault()
	for range 3 {
		if _, err := e.Start(ctx, ns, "leak", "-mode", "bind", "-rate", "15", "-count", "2000"); err != nil {
			return err
		}
	}
	wait(ctx, e.Length)
	return nil
}

func leakInPassing(ctx context.Context, e *Env) error {
	ns, err := e.Namespace(ctx, "a")
	if err != nil {
		return err
	}
	e.MarkFault()
	leaker, err := e.Start(ctx, ns, "leak", "-mode", "bind", "-rate", "40", "-count", "2000")
	if err != nil {
		return err
	}
	wait(ctx, e.Length)
	if err := leaker.stop(); err != nil {
		return err
	}
	return e.Delete(ctx, ns)
}

// holding returns the recipe of a healthy program that holds ports for a while.
func holding(rate, burst, hold string) func(context.Context, *Env) error {
	return func(ctx context.Context, e *Env) error {
		ns, err := e.Namespace(ctx, "a")
		if err != nil {
			return err
		}
		e.MarkFault()
		if _, err := e.Start(ctx, ns, "steady", "-mode", "bind", "-rate", rate, "-burst", burst, "-hold", hold); err != nil {
			return err
		}
		wait(ctx, e.Length)
		return nil
	}
}

func heldConnections(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "accept", "-local", receiverAddr+":8080"); err != nil {
		return err
	}
	e.MarkFault()
	if _, err := e.Start(
		ctx, sender, "steady", "-mode", "dial", "-to", receiverAddr+":8080", "-rate", "30", "-hold", "8s",
	); err != nil {
		return err
	}
	wait(ctx, e.Length)
	return nil
}

func restingPorts(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if err := e.Set(ctx, sender, "/proc/sys/net/ipv4/ip_local_port_range", "40000 40199"); err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "accept", "-local", receiverAddr+":5432"); err != nil {
		return err
	}
	e.MarkFault()
	if _, err := e.Start(ctx, sender, "dial", "-to", receiverAddr+":5432", "-rate", "60"); err != nil {
		return err
	}
	wait(ctx, e.Length)
	return nil
}

func unreadTCP(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "idle", "-local", receiverAddr+":8080"); err != nil {
		return err
	}
	if _, err := e.Start(ctx, sender, "stream", "-to", receiverAddr+":8080"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func unreadLocal(ctx context.Context, e *Env) error {
	ns, err := e.Namespace(ctx, "a")
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, ns, "local", "-rate", strconv.Itoa(200)); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}
