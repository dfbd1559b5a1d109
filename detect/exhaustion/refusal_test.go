package exhaustion_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// TestRefusedPorts has a Windows capture in which ports are refused although
// nearly all of the assumed range is free as far as the capture shows.
func TestRefusedPorts(t *testing.T) {
	const tooMany = 0xc0000209
	stream := func(n int, status int64, name string, k detecttest.Socket) *model.Batch {
		s := detecttest.NewWindows()
		s.Pool("dynamic (assumed default)", model.ProtocolUDP, model.PoolEphemeral, 49152, 65535)
		s.Seconds(6, func(i int) {
			s.Acquire(
				0,
				detecttest.Socket{
					PID:      20,
					Process:  "dns.exe",
					Protocol: model.ProtocolUDP,
					LPort:    50000 + uint16(i),
					How:      model.HowBindAny,
				},
			)
			if i == 5 { // the last second of the capture
				for j := range n {
					s.Fail(time.Duration(j)*time.Millisecond, k, status, name)
				}
			}
		})
		return s.Batch()
	}
	udp := detecttest.Socket{PID: 900, Process: "cvp.exe", Protocol: model.ProtocolUDP, How: model.HowBindAny}
	fault := detecttest.Start.Add(5 * time.Second)
	detecttest.Check(
		t,
		stream(40, tooMany, "STATUS_TOO_MANY_ADDRESSES", udp),
		fault,
		want{Detector: "port-exhaustion", Severity: model.SeverityCritical,
			Contains: []string{
				"40 requests for a UDP port",
				"STATUS_TOO_MANY_ADDRESSES",
				"mostly to cvp.exe[900]",
				"udp 49152-65535",
				"held by dns.exe[20]",
				"netsh int ipv4 show dynamicport udp",
			}},
	)
	rpc := detecttest.Socket{PID: 900, Process: "cvp.exe", Protocol: model.ProtocolTCP, How: model.HowRPC}
	detecttest.Check(
		t,
		stream(40, 1721, "RPC_S_OUT_OF_RESOURCES", rpc),
		fault,
		want{Detector: "port-exhaustion", Severity: model.SeverityCritical,
			Contains: []string{
				"The RPC runtime refuses 40 requests",
				"RPC_S_OUT_OF_RESOURCES",
				"cvp.exe[900]",
				`Rpc\\Internet`,
			}},
	)
	detecttest.Check(t, stream(2, tooMany, "STATUS_TOO_MANY_ADDRESSES", udp), fault)
	detecttest.Check(t, stream(40, 0xc000020a, "STATUS_ADDRESS_ALREADY_EXISTS", udp), fault)
}

// TestRefusedCalls has calls that fail with 1721, each with the error records
// that RPC writes beside it: one failure is one refusal.
func TestRefusedCalls(t *testing.T) {
	s := detecttest.NewWindows()
	s.Seconds(8, func(i int) {
		for _, flags := range []model.Flags{0, model.FlagSecondary, model.FlagSecondary} {
			s.Builder().
				AddRPCCall(model.RPCCall{Time: s.End(), Flags: flags, PID: 7, TID: 8, Status: 1721, Process: "client.exe"})
		}
	})
	detecttest.Check(
		t,
		s.Batch(),
		detecttest.Start,
		want{
			Detector: "port-exhaustion",
			Severity: model.SeverityCritical,
			Contains: []string{"8 requests for a port", "client.exe[7]"},
		},
	)
}
