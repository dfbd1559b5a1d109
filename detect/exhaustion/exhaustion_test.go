package exhaustion_test

import (
	"fmt"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

type want = detecttest.Want

type verdict = detecttest.Verdict

func TestExhaustedForOneDestination(t *testing.T) {
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprintf("destination known %v", known), func(t *testing.T) { exhaustedForOneDestination(t, known) })
	}
}

func exhaustedForOneDestination(t *testing.T, known bool) {
	s := detecttest.New()
	s.Pool("ephemeral", model.ProtocolTCP, model.PoolEphemeral, 40000, 40199)
	other := detecttest.Dialer()
	other.Remote = "10.0.0.8"
	open := func(k detecttest.Socket) {
		port := uint16(40000)
		for i := range 200 {
			k.LPort = port + uint16(i)
			s.Acquire(time.Duration(i)*time.Millisecond, k)
		}
	}
	open(detecttest.Dialer())
	s.Acquire(
		time.Millisecond,
		detecttest.Socket{
			PID:      78,
			Process:  "other",
			Protocol: model.ProtocolTCP,
			How:      model.HowConnect,
			Local:    "10.0.0.1",
			Remote:   other.Remote,
			RPort:    80,
			LPort:    40007,
		},
	)
	fault := s.Now()
	s.Seconds(10, func(int) {
		s.Quiet()
		k := detecttest.Dialer()
		k.LPort = 0
		if !known {
			k.Remote, k.RPort = "", 0
		}
		s.Fail(500*time.Millisecond, k, 99, "EADDRNOTAVAIL")
	})
	detecttest.Check(
		t,
		s.Batch(),
		fault,
		want{Detector: "port-exhaustion", Severity: model.SeverityCritical, Within: 3 * time.Second,
			Contains: []string{
				"to 10.0.0.9:5432 are exhausted",
				"EADDRNOTAVAIL",
				"app[77] holds 200",
				"other destinations: they are not affected",
			}},
	)
}

// TestExhaustedByRest wants the words and the numbers to agree when no port is
// held any more and all of them rest.
func TestExhaustedByRest(t *testing.T) {
	s := detecttest.New()
	s.Pool("ephemeral", model.ProtocolTCP, model.PoolEphemeral, 40000, 40199)
	port := uint16(40000)
	held := s.Take(detecttest.Dialer(), 200, &port)
	for _, k := range held {
		s.Rest(999*time.Millisecond, time.Minute, k)
	}
	s.Seconds(10, func(int) { s.Quiet() })
	detecttest.Check(
		t,
		s.Batch(),
		detecttest.Start,
		want{Detector: "port-exhaustion", Severity: model.SeverityWarning, Within: 5 * time.Second,
			Contains: []string{
				"to 10.0.0.9:5432 are nearly exhausted: 200 of 200 ports in TIME_WAIT, none in use",
			}},
	)
}

// TestRestIsNoLeak uses up a pool by TIME_WAIT alone.
func TestRestIsNoLeak(t *testing.T) {
	s := detecttest.New()
	s.Pool("ephemeral", model.ProtocolTCP, model.PoolEphemeral, 32768, 33767)
	port := uint16(32768)
	s.Seconds(30, func(int) {
		s.Quiet()
		if port < 33700 {
			for i, k := range s.Take(detecttest.Dialer(), 40, &port) {
				s.Rest(990*time.Millisecond+time.Duration(i)*time.Microsecond, time.Minute, k)
			}
		}
	})
	detecttest.Judge(
		t,
		s.Batch(),
		detecttest.Start,
		verdict{Detector: "port-exhaustion", Contains: []string{"in TIME_WAIT", "Most of them are in TIME_WAIT"}},
	)
}

func TestExplicitPoolExhausted(t *testing.T) {
	s := detecttest.New()
	s.Pool("rpc", model.ProtocolUDP, model.PoolConfigured, 5000, 5099)
	for i := range 100 {
		s.Acquire(
			time.Duration(i)*time.Millisecond,
			detecttest.Socket{
				PID:      50 + int32(i%3),
				Process:  "rpc",
				Protocol: model.ProtocolUDP,
				How:      model.HowBindPort,
				LPort:    uint16(5000 + i),
			},
		)
	}
	s.Seconds(10, func(int) {
		s.Quiet()
		s.Fail(
			500*time.Millisecond,
			detecttest.Socket{PID: 60, Process: "late", Protocol: model.ProtocolUDP, How: model.HowBindPort, LPort: 5050},
			98,
			"EADDRINUSE",
		)
	})
	b := s.Batch()
	detecttest.Check(
		t,
		b,
		detecttest.Start,
		want{Detector: "port-exhaustion", Severity: model.SeverityCritical, Within: 3 * time.Second,
			Contains: []string{
				"Pool rpc (udp 5000-5099) is exhausted: 100 of 100 ports in use",
				"rpc[50] holds 34",
				"refused to late[60]",
			}},
	)
	last := detecttest.Latest(detecttest.Run(b, 0))[0]
	values := make(map[string]float64)
	for _, e := range last.Evidence {
		values[e.Name] = e.Value
	}
	if all, one := values["allocations refused (EADDRINUSE)"], values["refused to late[60]"]; all != one || all == 0 {
		t.Errorf("%v refused, to the only one that asks %v", all, one)
	}
}

func TestNotExhausted(t *testing.T) {
	s := detecttest.Ports()
	s.Pool("rpc", model.ProtocolUDP, model.PoolConfigured, 5000, 5099)
	s.Acquire(
		0,
		detecttest.Socket{PID: 50, Process: "a", Protocol: model.ProtocolUDP, How: model.HowBindPort, LPort: 5050},
	)
	s.Seconds(10, func(int) { // a conflict over one port is no exhaustion
		s.Fail(
			500*time.Millisecond,
			detecttest.Socket{PID: 60, Process: "b", Protocol: model.ProtocolUDP, How: model.HowBindPort, LPort: 5050},
			98,
			"EADDRINUSE",
		)
	})
	detecttest.Check(t, s.Batch(), 0)
}
