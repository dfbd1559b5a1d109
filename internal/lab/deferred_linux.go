package lab

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// deferredBeats are heartbeats that have reached the host and wait for its deferred work, and healthy ones on a busy
// host. They take all of a CPU.
func deferredBeats() []*Scenario {
	late := func(parts ...string) []Expectation {
		return []Expectation{{
			Detector: "heartbeat-loss", Contains: append([]string{"reached its socket", "deferred work on CPU 0"}, parts...),
		}}
	}
	// What is lost besides is the flood.
	allow := []string{"dpc-starvation", "packet-drop", "socket-drop"}
	list := []*Scenario{
		{Name: "heartbeat-behind-flood", Doc: "heartbeats wait at the backlog of a CPU behind a second of other packets",
			Expect: late("NET_RX"), Allow: allow, Run: behindFlood},
		{Name: "heartbeat-behind-ksoftirqd", Doc: "heartbeats wait for ksoftirqd, which six programs leave too little CPU",
			Expect: late(), Allow: allow, Run: behindKsoftirqd},
	}
	list = append(list, &Scenario{
		Name: "heartbeat-busy-host", Doc: "heartbeats beside programs that use every CPU, as a build does", Run: busyBeats,
		// On a host that has other work as well, that is true.
		Also: []Expectation{{Detector: "heartbeat-loss", Contains: []string{"no CPU behind"}}},
	})
	for _, s := range list {
		s.Heartbeat, s.Length = true, 9*time.Second
	}
	return list
}

// busyBeats are healthy: whoever sends or reads them waits for its CPU for some milliseconds.
func busyBeats(ctx context.Context, e *Env) error {
	if _, _, err := e.beats(ctx, nil, nil); err != nil {
		return err
	}
	return busyHost(ctx, e)
}

// backlogBeats starts heartbeats beside which other packets go to the backlog of CPU 0, and returns where those go and
// the time that each of them takes.
func (e *Env) backlogBeats(ctx context.Context, rules int) (sender, other string, cost time.Duration, err error) {
	sender, receiver, cost, err := costlyPackets(ctx, e, beforeRouting, rules)
	if err != nil {
		return "", "", 0, err
	}
	other = fmt.Sprintf("%s:%d", receiverAddr, e.port()+otherPort)
	if err := setRPS(ctx, e, receiver, "1"); err != nil {
		return "", "", 0, err
	}
	// Everything waits, and nothing is lost.
	if err := e.Set(ctx, "", "/proc/sys/net/core/netdev_max_backlog", "1000000"); err != nil {
		return "", "", 0, err
	}
	if _, err := e.Start(ctx, receiver, "sink", "-local", other, "-buffer", "8388608", "-cpu", "1"); err != nil {
		return "", "", 0, err
	}
	if _, err := e.StartGrouped(ctx, receiver, "sink", "-local", e.target()); err != nil {
		return "", "", 0, err
	}
	if _, err := e.Start(ctx, sender, "beat", "-to", e.target(), "-every", heartbeatPeriod.String()); err != nil {
		return "", "", 0, err
	}
	wait(ctx, heartbeatSeen)
	return sender, other, cost, nil
}

// manyRules make a packet so expensive to receive that it is sent in a small part of that time.
const manyRules = 1500

// otherPort is added to the port of heartbeats for packets beside them.
const otherPort = 1000

// pile sends packets that take CPU 0 so long, all at once: other programs do not hold the sender up.
func (e *Env) pile(ctx context.Context, sender, to string, cost, length time.Duration) error {
	_, err := e.Start(
		ctx, sender, "flood", "-to", to, "-count", strconv.Itoa(int(length/cost)), "-flows", "16", "-cpu", "1", "-fifo", "10",
	)
	return err
}

func behindFlood(ctx context.Context, e *Env) error {
	sender, other, cost, err := e.backlogBeats(ctx, manyRules)
	if err != nil {
		return err
	}
	e.MarkFault()
	if err := e.pile(ctx, sender, other, cost, 1250*time.Millisecond); err != nil {
		return err
	}
	wait(ctx, e.Length-heartbeatSeen)
	return nil
}

func behindKsoftirqd(ctx context.Context, e *Env) error {
	sender, other, cost, err := e.backlogBeats(ctx, manyRules)
	if err != nil {
		return err
	}
	var hogs []*Process
	return e.during(ctx, 3*time.Second,
		func() error {
			for range 6 {
				hog, err := e.Start(ctx, "", "hog", "-cpu", "0")
				if err != nil {
					return err
				}
				hogs = append(hogs, hog)
			}
			return e.pile(ctx, sender, other, cost, 500*time.Millisecond)
		},
		func() (err error) {
			for _, hog := range hogs {
				err = errors.Join(err, hog.stop())
			}
			return err
		})
}
