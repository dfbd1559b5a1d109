package lab

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Rates of the queueing discipline through which heartbeats leave, and how many bytes may pass at once: one at which
// they and a little more pass, and one that is too low for them.
const (
	passing = "rate 400kbit burst 2000"
	tooSlow = "rate 1kbit burst 300"
)

// shape makes the packets of the sender leave at a rate at most.
func (e *Env) shape(ctx context.Context, ns, how, rate string) error {
	tc := "tc qdisc " + how + " dev " + e.sendDev + " root tbf " + rate + " limit 400000"
	return e.command(ctx, ns, nil, strings.Fields(tc)...)
}

// beatsShaped sends so many packets of 1000 bytes at once to another port while heartbeats leave at a limited rate.
func beatsShaped(packets int) func(context.Context, *Env) error {
	return func(ctx context.Context, e *Env) error {
		send, err := e.sendersBeats(ctx)
		if err != nil {
			return err
		}
		const other = otherAddr + ":7"
		if _, err := e.Start(ctx, e.receiver(), "sink", "-local", other); err != nil {
			return err
		}
		if err := e.shape(ctx, send.ns, "add", passing); err != nil {
			return err
		}
		wait(ctx, time.Second)
		e.MarkFault()
		if _, err := e.Start(ctx, send.ns, "flood", "-to", other, "-size", "1000", "-count", fmt.Sprint(packets), "-rate",
			"1000"); err != nil {
			return err
		}
		wait(ctx, e.Length-heartbeatSeen)
		return nil
	}
}

// slowDevice lets the packets of a TCP heartbeat leave too slowly for a while.
func slowDevice(ctx context.Context, e *Env, p tcpPair) error {
	if err := e.shape(ctx, p.send.ns, "add", passing); err != nil {
		return err
	}
	wait(ctx, time.Second)
	return e.hold(ctx, 1500*time.Millisecond,
		func() error { return e.shape(ctx, p.send.ns, "change", tooSlow) },
		func() error { return e.shape(ctx, p.send.ns, "change", passing) })
}
