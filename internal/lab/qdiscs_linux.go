package lab

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// beatsShaped has heartbeats leave by a queueing discipline that other packets fill.
func beatsShaped(packets int) func(context.Context, *Env) error {
	return func(ctx context.Context, e *Env) error {
		send, err := e.sendersBeats(ctx)
		if err != nil {
			return err
		}
		if err := e.fillQdisc(ctx, send.ns, e.receiver(), otherAddr, packets); err != nil {
			return err
		}
		wait(ctx, e.Length-heartbeatSeen)
		return nil
	}
}

// tcpShaped is the same for a TCP heartbeat.
func tcpShaped(ctx context.Context, e *Env, p tcpPair) error {
	return e.fillQdisc(ctx, p.send.ns, p.router, "10.77.0.254", 80)
}

// fillQdisc limits the rate at which a namespace sends, so that heartbeats and a little more pass, and sends so many
// packets of 1,000 bytes at once to an address in another one.
func (e *Env) fillQdisc(ctx context.Context, from, to, address string, packets int) error {
	address += ":7"
	if _, err := e.Start(ctx, to, "sink", "-local", address); err != nil {
		return err
	}
	tc := "tc qdisc add dev " + e.sendDev + " root tbf rate 400kbit burst 2000 limit 400000"
	if err := e.command(ctx, from, nil, strings.Fields(tc)...); err != nil {
		return err
	}
	wait(ctx, time.Second)
	e.MarkFault()
	_, err := e.Start(ctx, from, "flood", "-to", address, "-size", "1000", "-count", fmt.Sprint(packets), "-rate", "1000")
	return err
}
