package lab

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// healthyScenarios are loads of healthy hosts that look like faults; the last
// ones are hostile to the tracer itself.
func healthyScenarios() []*Scenario {
	const length = 8 * time.Second
	return []*Scenario{
		{Name: "firewall-noise", Doc: "a firewall that drops a scan beside regular traffic", Light: true, Length: length,
			Run: firewallNoise},
		{Name: "port-scan", Doc: "datagrams to a thousand closed ports, a few to each", Light: true, Length: length,
			Run: portScan},
		{Name: "fast-flow", Doc: "20,000 datagrams a second that are read in time", Length: length, Run: fastFlow},
		{Name: "bulk-tcp", Doc: "a TCP stream as fast as it goes", Length: length, Run: bulkTCP},
		{Name: "light-realtime", Doc: "a SCHED_FIFO task that takes a tenth of a CPU beside a reader", Light: true,
			Length: length, Run: lightRealtime},
		{Name: "throttled-batch", Doc: "a batch job that is throttled, beside a reader that is not", Light: true,
			Length: length, Run: throttledBatch},
		{Name: "paused-sender", Doc: "a sender that pauses for a second and then sends a burst that fits", Light: true,
			Length: length, Run: pausedSender},
		{Name: "shaped-within", Doc: "a shaper whose queue holds what comes", Light: true, Length: length, Run: shapedWithin},
		{Name: "restarted-server", Doc: "a server that restarts: its port is closed for a moment", Light: true,
			Length: length, Run: restartedServer},
		{Name: "fork-storm", Doc: "40 processes a second that start and end", Light: true, Length: length, Run: forkStorm},
		{Name: "device-churn", Doc: "veth pairs that come and go, twice a second", Light: true, Length: length,
			Run: deviceChurn},
		{Name: "socket-churn", Doc: "2,000 sockets a second that open and close at once", Light: true, Length: length,
			Run: socketChurn},
		{Name: "hostile-names", Doc: "processes whose names are terminal control sequences", Light: true, Length: length,
			Run: hostileNames},
	}
}

// regular starts a flow of rate datagrams a second that is read in time.
func regular(ctx context.Context, e *Env, rate int) (sender, receiver string, err error) {
	if sender, receiver, err = e.Pair(ctx); err != nil {
		return "", "", err
	}
	if _, err := e.Start(ctx, receiver, "sink", "-local", e.target(), "-buffer", "8388608"); err != nil {
		return "", "", err
	}
	_, err = e.Start(ctx, sender, "flood", "-to", e.target(), "-rate", strconv.Itoa(rate))
	return sender, receiver, err
}

func firewallNoise(ctx context.Context, e *Env) error {
	sender, receiver, err := regular(ctx, e, 2000)
	if err != nil {
		return err
	}
	rule := "iptables -A INPUT -p udp --dport 19 -j DROP"
	if err := e.command(ctx, receiver, nil, strings.Fields(rule)...); err != nil {
		return err
	}
	if _, err := e.Start(ctx, sender, "flood", "-to", receiverAddr+":19", "-rate", "15"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func portScan(ctx context.Context, e *Env) error {
	sender, _, err := regular(ctx, e, 500)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, sender, "scan", "-to", receiverAddr+":20000", "-rate", "100", "-count", "1000"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func fastFlow(ctx context.Context, e *Env) error {
	if _, _, err := regular(ctx, e, 20_000); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func bulkTCP(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "accept", "-local", e.target()); err != nil {
		return err
	}
	if _, err := e.Start(ctx, sender, "stream", "-to", e.target()); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func lightRealtime(ctx context.Context, e *Env) error {
	if _, _, err := regular(ctx, e, 500); err != nil {
		return err
	}
	if _, err := e.Start(ctx, "", "hog", "-cpu", "1", "-fifo", "50", "-on", "2ms", "-off", "18ms"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func throttledBatch(ctx context.Context, e *Env) error {
	if _, _, err := regular(ctx, e, 500); err != nil {
		return err
	}
	batch, err := e.Start(ctx, "", "hog")
	if err != nil {
		return err
	}
	if err := e.quota(batch.pid(), 10*time.Millisecond); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func pausedSender(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "sink", "-local", e.target(), "-buffer", "1048576"); err != nil {
		return err
	}
	if _, err := e.Start(ctx, sender, "flood", "-to", e.target(), "-rate", "200", "-burst", "200"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func shapedWithin(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "sink", "-local", e.target()); err != nil {
		return err
	}
	tc := "tc qdisc add dev " + e.sendDev + " root tbf rate 2mbit burst 20000 limit 400000"
	if err := e.command(ctx, sender, nil, strings.Fields(tc)...); err != nil {
		return err
	}
	if _, err := e.Start(ctx, sender, "flood", "-to", e.target(), "-rate", "300", "-burst", "30"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func restartedServer(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	server, err := e.Start(ctx, receiver, "sink", "-local", e.target())
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, sender, "flood", "-to", e.target(), "-rate", "100"); err != nil {
		return err
	}
	wait(ctx, e.Length/2)
	if err := server.stop(); err != nil {
		return err
	}
	wait(ctx, 300*time.Millisecond)
	if _, err := e.Start(ctx, receiver, "sink", "-local", e.target()); err != nil {
		return err
	}
	wait(ctx, e.Length/2)
	return nil
}

func forkStorm(ctx context.Context, e *Env) error {
	if _, err := e.Start(ctx, "", "forks", "-rate", "40"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func deviceChurn(ctx context.Context, e *Env) error {
	ns, err := e.Namespace(ctx, "churn")
	if err != nil {
		return err
	}
	e.MarkFault()
	for end := time.Now().Add(e.Length); time.Now().Before(end) && ctx.Err() == nil; wait(ctx, 500*time.Millisecond) {
		add := fmt.Sprintf("ip link add %s type veth peer name %s", e.sendDev, e.recvDev)
		if err := e.command(ctx, ns, nil, strings.Fields(add)...); err != nil {
			return err
		}
		if err := e.command(ctx, ns, nil, "ip", "link", "del", e.sendDev); err != nil {
			return err
		}
	}
	return nil
}

func socketChurn(ctx context.Context, e *Env) error {
	ns, err := e.Namespace(ctx, "churn")
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, ns, "steady", "-mode", "bind", "-rate", "2000", "-hold", "1ms"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func hostileNames(ctx context.Context, e *Env) error {
	if _, _, err := regular(ctx, e, 500); err != nil {
		return err
	}
	for _, name := range []string{"\x1b]0;x\a", "\x1b[2J\x1b[H", "a\nb\rc", "\u202eevil"} {
		if _, err := e.Start(ctx, "", "named", "-mode", name); err != nil {
			return err
		}
	}
	e.Hold(ctx)
	return nil
}
