package lab

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// backlogScenarios are losses at backlogs that deferred work does not explain by itself.
func backlogScenarios() []*Scenario {
	starvation := func(parts ...string) Expectation { return Expectation{Detector: "dpc-starvation", Contains: parts} }
	return []*Scenario{
		{
			Name:   "starved-ksoftirqd",
			Doc:    "programs that hold the CPU which receives bursts, so that ksoftirqd gets too little of it",
			Length: 8 * time.Second,
			Expect: []Expectation{starvation("CPU 0 and its softirqs", "its backlog", "ksoftirqd/0 waited")},
			Allow:  []string{"socket-drop"},
			Run: func(ctx context.Context, e *Env) error {
				return starveKsoftirqd(ctx, e, 6, 0.25, 2500, "-cpu", "0")
			},
		},
		{
			Name:   "starved-by-realtime",
			Doc:    "a SCHED_FIFO program that holds the CPU which receives",
			Length: 8 * time.Second,
			// How much NET_RX gets beside it depends on the host's interrupts: the title may name either.
			Expect: []Expectation{starvation("CPU 0", "packets lost", "SCHED_FIFO, priority 50")},
			Allow:  []string{"socket-drop"},
			Run: func(ctx context.Context, e *Env) error {
				return starveKsoftirqd(ctx, e, 1, 1.2, 16, "-cpu", "0", "-fifo", "50", "-on", "60ms", "-off", "10ms")
			},
		},
		{
			Name:   "backlog-of-ten",
			Doc:    "a netdev_max_backlog of 10 packets on a CPU that has time",
			Length: 8 * time.Second,
			Expect: []Expectation{starvation("netdev_max_backlog (10 packets) on CPU 0", "it is set to 10")},
			Run:    backlogOfTen,
		},
		{
			Name:   "short-burst",
			Doc:    "a flood of half a second",
			Length: 6 * time.Second,
			Expect: []Expectation{starvation("CPU 0", "packets lost", recvDevPrefix)},
			Run:    shortBurst,
		},
		{
			Name:   "two-floods",
			Doc:    "two floods at once, each of a device of its own to a CPU of its own",
			Length: 8 * time.Second,
			// The sender of the other flood has to live on what CPU 1 leaves it: that flood is not always too much.
			Expect: []Expectation{starvation("CPU 1", secondRecvPrefix)},
			Allow:  []string{"socket-drop", "packet-drop", "dpc-starvation"},
			Run:    twoFloods,
		},
	}
}

// starveKsoftirqd sends CPU 0 a load in bursts, beside hogs. A steady load of ordinary tasks does not starve it: each
// timer interrupt gives NET_RX 2 ms.
func starveKsoftirqd(ctx context.Context, e *Env, hogs int, load float64, burst int, args ...string) error {
	sender, receiver, cost, err := costlyPackets(ctx, e, beforeRouting, 100)
	if err != nil {
		return err
	}
	if err := setRPS(ctx, e, receiver, "1"); err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "sink", "-local", e.target(), "-cpu", "1"); err != nil {
		return err
	}
	for range hogs {
		if _, err := e.Start(ctx, "", "hog", args...); err != nil {
			return err
		}
	}
	if _, err := e.Start(
		ctx, sender, "flood", "-to", e.target(), "-rate", strconv.Itoa(int(load*float64(rateOf(cost)))),
		"-burst", strconv.Itoa(burst), "-flows", "16", "-cpu", "1",
	); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func backlogOfTen(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if err := setRPS(ctx, e, receiver, "1"); err != nil {
		return err
	}
	if err := e.Set(ctx, "", "/proc/sys/net/core/netdev_max_backlog", "10"); err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "sink", "-local", e.target(), "-cpu", "1", "-buffer", "8388608"); err != nil {
		return err
	}
	if _, err := e.Start(
		ctx, sender, "flood", "-to", e.target(), "-rate", "20000", "-burst", "40", "-cpu", "1",
	); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func shortBurst(ctx context.Context, e *Env) error {
	sender, receiver, cost, err := costlyPackets(ctx, e, beforeRouting, 300)
	if err != nil {
		return err
	}
	if err := setRPS(ctx, e, receiver, "1"); err != nil {
		return err
	}
	rate := 4 * rateOf(cost)
	e.MarkFault()
	if _, err := e.Start(
		ctx, sender, "flood", "-to", e.target(), "-rate", strconv.Itoa(rate), "-count", strconv.Itoa(rate/2),
		"-burst", "16", "-flows", "16", "-cpu", "1",
	); err != nil {
		return err
	}
	wait(ctx, e.Length)
	return nil
}

func twoFloods(ctx context.Context, e *Env) error {
	sender, receiver, cost, err := costlyPackets(ctx, e, beforeRouting, 300)
	if err != nil {
		return err
	}
	second, err := e.secondLink(ctx, sender, receiver)
	if err != nil {
		return err
	}
	if err := setRPS(ctx, e, receiver, "1"); err != nil {
		return err
	}
	if err := e.Set(ctx, receiver, "/sys/class/net/"+second+"/queues/rx-0/rps_cpus", "2"); err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "sink", "-local", ":"+strconv.Itoa(int(e.port()))); err != nil {
		return err
	}
	// Each sender shares its CPU with the packets of the other: as ordinary tasks they would hardly send.
	for cpu, addr := range []string{secondAddr, receiverAddr} {
		if _, err := e.Start(
			ctx, sender, "flood", "-to", addr+":"+strconv.Itoa(int(e.port())), "-rate", strconv.Itoa(3*rateOf(cost)),
			"-burst", "16", "-flows", "16", "-cpu", strconv.Itoa(cpu), "-fifo", "10",
		); err != nil {
			return err
		}
	}
	e.Hold(ctx)
	return nil
}

// rateOf is how many packets a second take all of a CPU.
func rateOf(cost time.Duration) int { return int(time.Second / cost) }

// Names and addresses of the second veth pair.
const (
	secondSendPrefix = "lbc"
	secondRecvPrefix = "lbd"
	secondAddr       = "10.78.0.2"
	secondMAC        = "02:00:0a:4e:00:02"
)

// secondLink joins the two namespaces of Pair once more, and returns the name of the receiver's end.
func (e *Env) secondLink(ctx context.Context, sender, receiver string) (string, error) {
	send, recv := secondSendPrefix+e.sendDev[len(sendDevPrefix):], secondRecvPrefix+e.recvDev[len(recvDevPrefix):]
	e.devices = append(e.devices, send, recv)
	for _, args := range [][]string{
		{"link", "add", send, "type", "veth", "peer", "name", recv, "address", secondMAC, "netns", receiver},
		{"addr", "add", "10.78.0.1/24", "dev", send},
		{"link", "set", send, "up"},
		{"neigh", "replace", secondAddr, "lladdr", secondMAC, "dev", send, "nud", "permanent"},
	} {
		if err := e.command(ctx, "", nil, append([]string{"ip", "-n", sender}, args...)...); err != nil {
			return "", err
		}
	}
	for _, args := range [][]string{{"addr", "add", secondAddr + "/24", "dev", recv}, {"link", "set", recv, "up"}} {
		if err := e.command(ctx, "", nil, append([]string{"ip", "-n", receiver}, args...)...); err != nil {
			return "", err
		}
	}
	return recv, e.awaitLink(ctx, sender, send)
}

// softnet is what all CPUs have handled and lost at their backlogs since the host started.
type softnet struct{ processed, dropped uint64 }

// readSoftnet reads the kernel's own counters.
func readSoftnet() (sum softnet, err error) {
	text, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		return sum, err
	}
	for line := range strings.Lines(string(text)) {
		var processed, dropped uint64
		if _, err := fmt.Sscanf(line, "%x %x", &processed, &dropped); err != nil {
			return sum, fmt.Errorf("read /proc/net/softnet_stat: %w", err)
		}
		sum.processed += processed
		sum.dropped += dropped
	}
	return sum, nil
}
