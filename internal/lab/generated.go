package lab

import (
	"time"

	"lostbeat/model"
)

// boundedPool is an hour of a process that takes a port of a bounded pool every
// 2 s, for half a second, from a pool whose ports rest for 240 s after their
// close. From second leakFrom on (0: never) every fourth port is not given
// out again, although no socket holds it: what KB 814622 describes.
func boundedPool(size, leakFrom int) (b *model.Batch, fault model.Time) {
	const (
		start = model.Time(1_760_000_000_000_000_000)
		low   = 5000
		rest  = 240 * time.Second
	)
	var out model.Builder
	out.AddMeta(model.Meta{Time: start, Key: "os", Value: "windows"})
	out.AddMeta(model.Meta{Time: start, Key: "cpus", Value: "2"})
	out.AddProcess(model.Process{Time: start, PID: 900, TID: 900, Name: "caller"})
	out.AddPortPool(
		model.PortPool{
			Time:     start,
			Protocol: model.ProtocolUDP,
			Low:      low,
			High:     uint16(low + size - 1),
			Size:     uint64(size),
			Source:   model.PoolRPC,
			Name:     "rpc",
		},
	)
	lost := make([]bool, size)
	freeAt := make([]model.Time, size)
	next, cookie, taken := 0, uint64(0), 0
	for second := 0; second < 3600; second += 2 {
		now := start.Add(time.Duration(second) * time.Second)
		tries := 0
		for tries < size && (lost[next%size] || freeAt[next%size] > now) {
			next++
			tries++
		}
		if tries == size {
			out.AddPortFail(
				model.PortFail{
					Time:      now,
					PID:       900,
					TID:       900,
					Protocol:  model.ProtocolUDP,
					How:       model.HowRPC,
					Error:     1721,
					ErrorName: "RPC_S_OUT_OF_RESOURCES",
					Process:   "caller",
				},
			)
			continue
		}
		slot := next % size
		next++
		cookie++
		taken++
		port := uint16(low + slot)
		end := now.Add(500 * time.Millisecond)
		out.AddPortAcquire(
			model.PortAcquire{
				Time:      now,
				PID:       900,
				TID:       900,
				Cookie:    cookie,
				Protocol:  model.ProtocolUDP,
				LocalPort: port,
				How:       model.HowRPC,
				LocalAddr: "0.0.0.0",
				Process:   "caller",
			},
		)
		if leakFrom > 0 && second >= leakFrom && taken%4 == 0 {
			lost[slot] = true
			if fault == 0 {
				fault = now
			}
			out.AddPortRelease(
				model.PortRelease{
					Time:      end,
					Dur:       end.Sub(now),
					PID:       900,
					TID:       900,
					Cookie:    cookie,
					Protocol:  model.ProtocolUDP,
					LocalPort: port,
					How:       model.HowClose,
					LocalAddr: "0.0.0.0",
					Process:   "caller",
				},
			)
		} else {
			freeAt[slot] = end.Add(rest)
			out.AddPortRest(model.PortRest{
				Time: end, PID: 900, TID: 900, Cookie: cookie, Protocol: model.ProtocolUDP, LocalPort: port, Rest: rest,
				LocalAddr: "0.0.0.0", Process: "caller",
			})
		}
	}
	out.SortByTime()
	return out.Take(), fault
}
