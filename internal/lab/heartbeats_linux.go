package lab

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

// heartbeatPeriod is the period of the lab's heartbeats, heartbeatSeen how long they are watched before a fault: a
// period is learned from 16 gaps.
const (
	heartbeatPeriod = 100 * time.Millisecond
	heartbeatSeen   = 5 * time.Second
)

// heartbeatScenarios are heartbeats that are late or lost, each for another
// reason, and flows that only look as if.
func heartbeatScenarios() []*Scenario {
	beat := func(parts ...string) []Expectation {
		return []Expectation{{Detector: "heartbeat-loss", Contains: parts}}
	}
	list := []*Scenario{
		{Name: "heartbeat-peer-stops", Doc: "the sender of heartbeats is stopped for 1.5 s",
			Expect: beat("no packet reached this host"), Run: peerStops},
		{Name: "heartbeat-peer-delays", Doc: "the sender of heartbeats waits for a lock for 1.2 s, and its host watches it",
			Expect: beat("was sent", "late", "lock"), Allow: []string{"heartbeat-loss"}, Run: peerDelays},
		{Name: "heartbeat-dropped", Doc: "a firewall rule takes heartbeats for 1.5 s",
			Expect: beat("received nothing for", "this host dropped", "NETFILTER_DROP"), Allow: []string{"packet-drop"},
			Run: beatsDropped},
		{Name: "heartbeat-reader-stopped", Doc: "the reader of heartbeats is stopped by a signal for 1.5 s",
			Expect: beat("was read", "late", "was stopped"), Run: beatsUnread},
		{Name: "heartbeat-reader-frozen", Doc: "the control group of the reader of heartbeats is frozen for 1.5 s",
			Expect: beat("was read", "late", "frozen"), Run: beatsFrozen},
		{Name: "heartbeat-behind-realtime", Doc: "a SCHED_FIFO task and another one hog the reader's CPU for 3 s",
			Expect: beat("was read", "late", "no CPU behind"), Allow: []string{"heartbeat-loss"}, Run: beatsBehindRealtime},
		{Name: "heartbeat-reader-locked", Doc: "the reader of heartbeats waits for a file lock for 1.2 s",
			Expect: beat("was read", "late", "lock"), Run: beatsLocked},
		{Name: "heartbeat-ends", Doc: "a flow of heartbeats that ends: its sender, then its reader", Run: beatsEnd},
		{Name: "heartbeat-jitter", Doc: "heartbeats that are up to half a period late, by chance", Run: beatsJitter},
		{Name: "heartbeat-new-period", Doc: "heartbeats whose sender is restarted with three times the period",
			Run: beatsSlower},
	}
	list = append(list, moreHeartbeats(beat)...)
	for _, s := range list {
		s.Light, s.Heartbeat = true, true
		s.Length = 9 * time.Second
	}
	return append(list, deferredBeats()...)
}

// beats starts a reader of heartbeats and their sender, and watches them for a while.
func (e *Env) beats(ctx context.Context, reader, sender []string) (read, send *Process, err error) {
	from, to, err := e.Pair(ctx)
	if err != nil {
		return nil, nil, err
	}
	if read, err = e.StartGrouped(ctx, to, "sink", append([]string{"-local", e.target()}, reader...)...); err != nil {
		return nil, nil, err
	}
	args := append([]string{"-to", e.target(), "-every", heartbeatPeriod.String()}, sender...)
	if send, err = e.Start(ctx, from, "beat", args...); err != nil {
		return nil, nil, err
	}
	wait(ctx, heartbeatSeen)
	return read, send, nil
}

// hold makes a fault last for a while.
func (e *Env) hold(ctx context.Context, length time.Duration, begin, end func() error) error {
	if e.faultAt() == 0 {
		e.MarkFault()
	}
	if err := begin(); err != nil {
		return err
	}
	wait(ctx, length)
	return end()
}

// during makes a fault last for a while, and watches what follows.
func (e *Env) during(ctx context.Context, length time.Duration, begin, end func() error) error {
	if err := e.hold(ctx, length, begin, end); err != nil {
		return err
	}
	wait(ctx, e.Length-heartbeatSeen-length)
	return nil
}

// untilEnd watches heartbeats that have been seen for long enough until the scenario ends.
func (e *Env) untilEnd(ctx context.Context) error {
	e.MarkFault()
	wait(ctx, e.Length-heartbeatSeen)
	return nil
}

// rule returns what adds a rule to a namespace that drops packets, and what removes it.
func (e *Env) rule(ctx context.Context, ns, chain string, match ...string) (add, remove func() error) {
	table := "filter"
	if chain == "PREROUTING" {
		table = "raw"
	}
	change := func(how string) func() error {
		args := slices.Concat([]string{"iptables", "-t", table, how, chain}, match, []string{"-j", "DROP"})
		return func() error { return e.command(ctx, ns, nil, args...) }
	}
	return change("-A"), change("-D")
}

func peerStops(ctx context.Context, e *Env) error {
	_, sender, err := e.beats(ctx, nil, nil)
	if err != nil {
		return err
	}
	return e.during(ctx, 1500*time.Millisecond, sender.suspend, sender.resume)
}

// lockFile makes a file for locks.
func (e *Env) lockFile() (string, error) {
	file, err := os.CreateTemp("", "lostbeat-lab-lock")
	if err != nil {
		return "", err
	}
	file.Close()
	e.undo = append(e.undo, func() error { return os.Remove(file.Name()) })
	return file.Name(), nil
}

// lockFor has another process hold a lock for a while, and watches what follows.
func (e *Env) lockFor(ctx context.Context, lock string, length time.Duration) error {
	e.MarkFault()
	if _, err := e.Start(ctx, "", "locker", "-lock", lock, "-on", length.String(), "-off", "1h"); err != nil {
		return err
	}
	wait(ctx, e.Length-heartbeatSeen)
	return nil
}

func peerDelays(ctx context.Context, e *Env) error {
	lock, err := e.lockFile()
	if err != nil {
		return err
	}
	if _, err := e.sendersBeats(ctx, "-lock", lock); err != nil {
		return err
	}
	return e.lockFor(ctx, lock, 1200*time.Millisecond)
}

func beatsDropped(ctx context.Context, e *Env) error {
	reader, _, err := e.beats(ctx, nil, nil)
	if err != nil {
		return err
	}
	add, remove := e.rule(ctx, reader.ns, "PREROUTING", "-p", "udp", "--dport", fmt.Sprint(e.port()))
	return e.during(ctx, 1500*time.Millisecond, add, remove)
}

func beatsUnread(ctx context.Context, e *Env) error {
	reader, _, err := e.beats(ctx, nil, nil)
	if err != nil {
		return err
	}
	return e.during(ctx, 1500*time.Millisecond, reader.suspend, reader.resume)
}

func beatsFrozen(ctx context.Context, e *Env) error {
	reader, _, err := e.beats(ctx, nil, nil)
	if err != nil {
		return err
	}
	if _, _, err := e.group("freezer", reader.pid()); err != nil {
		return err
	}
	wait(ctx, time.Second)
	return e.during(ctx, 1500*time.Millisecond,
		func() error { return e.freeze(true) }, func() error { return e.freeze(false) })
}

func beatsBehindRealtime(ctx context.Context, e *Env) error {
	if _, _, err := e.beats(ctx, []string{"-cpu", "1", "-nice", "19"}, []string{"-cpu", "0"}); err != nil {
		return err
	}
	return e.hogs(ctx)
}

func beatsLocked(ctx context.Context, e *Env) error {
	lock, err := e.lockFile()
	if err != nil {
		return err
	}
	if _, _, err := e.beats(ctx, []string{"-lock", lock}, nil); err != nil {
		return err
	}
	return e.lockFor(ctx, lock, 1200*time.Millisecond)
}

func beatsEnd(ctx context.Context, e *Env) error {
	reader, sender, err := e.beats(ctx, nil, nil)
	if err != nil {
		return err
	}
	e.MarkFault()
	if err := sender.stop(); err != nil {
		return err
	}
	if err := reader.stop(); err != nil {
		return err
	}
	wait(ctx, e.Length-heartbeatSeen)
	return nil
}

func beatsJitter(ctx context.Context, e *Env) error {
	if _, _, err := e.beats(ctx, nil, []string{"-off", (heartbeatPeriod / 2).String()}); err != nil {
		return err
	}
	return e.untilEnd(ctx)
}

func beatsSlower(ctx context.Context, e *Env) error {
	_, sender, err := e.beats(ctx, nil, nil)
	if err != nil {
		return err
	}
	e.MarkFault()
	if err := sender.stop(); err != nil {
		return err
	}
	if _, err := e.Start(
		ctx, sender.ns, "beat", "-to", e.target(), "-every", (3 * heartbeatPeriod).String(),
	); err != nil {
		return err
	}
	wait(ctx, e.Length-heartbeatSeen)
	return nil
}
