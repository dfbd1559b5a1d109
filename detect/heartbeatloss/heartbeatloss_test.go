package heartbeatloss_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

const ms = time.Millisecond

// fault is when the faults of these streams begin.
const fault = 12 * time.Second

func during(from, to time.Duration) func(time.Duration) bool {
	return func(at time.Duration) bool { return at >= from && at < to }
}

func held(state model.SchedState, length time.Duration) []detecttest.Held {
	return []detecttest.Held{{From: fault, To: fault + length, State: state}}
}

const flow = "udp/5405 of corosync[812] (knet from 10.0.0.2)"

// Who had the CPU is in the title, and the way of the packet in the evidence.
func TestNoCPU(t *testing.T) {
	h := held(model.SchedWaiting, 860*ms)
	h[0].Rival = detecttest.Hog()
	b := detecttest.Flowing(40, nil, detecttest.Heartbeat{Held: h, Timeout: time.Second})
	detecttest.Check(t, b, detecttest.Start.Add(fault), detecttest.Want{
		Detector: "heartbeat-loss", Severity: model.SeverityWarning, Within: 2 * time.Second, Closed: true,
		Contains: []string{
			"was read 860 ms late: its reader had no CPU behind rt-batch[900] (SCHED_FIFO 50) on CPU 1",
		},
	})
}
