package port

import (
	"runtime"
	"slices"
	"testing"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"

	"golang.org/x/sys/unix"
)

// BenchmarkCost measures system calls with and without the probe, in turns, and
// reports the medians in ns and their ratio. It counts the processor time of
// its thread, in which the kernel's receive work for loopback is included, so
// that other work on the host disturbs it less.
//
//	go test -run - -bench Cost -benchtime 5x ./probes/port
func BenchmarkCost(b *testing.B) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	w := newWork(b)
	server := w.listener()
	defer unix.Close(server)
	receiver, bound, auto, connected := w.udp(), w.udp(), w.udp(), w.udp()
	w.check("bind", unix.Bind(receiver, loop4))
	to := at4(int(portOf(receiver)))
	w.check("bind", unix.Bind(bound, at4(w.freePort(unix.SOCK_DGRAM))))
	w.check("connect", unix.Connect(connected, to))
	defer func() {
		for _, fd := range []int{receiver, bound, auto, connected} {
			unix.Close(fd)
		}
	}()
	to2 := at4(int(portOf(server)))
	payload := []byte("heartbeat")
	operations := []struct {
		name string
		n    int
		do   func()
	}{
		{"getppid", 300000, func() { unix.Getppid() }},
		{"sendto_bound", 60000, func() { w.check("sendto", unix.Sendto(bound, payload, unix.MSG_DONTWAIT, to)) }},
		{"sendto_implicit", 60000, func() { w.check("sendto", unix.Sendto(auto, payload, unix.MSG_DONTWAIT, to)) }},
		{"send_connected", 60000, func() { _, _ = unix.Write(connected, payload) }},
		{"udp_open_close", 30000, func() { unix.Close(w.udp()) }},
		{"udp_bind", 30000, func() {
			fd := w.udp()
			w.check("bind", unix.Bind(fd, any4))
			unix.Close(fd)
		}},
		{"udp_connect", 30000, func() {
			fd := w.udp()
			w.check("connect", unix.Connect(fd, to))
			unix.Close(fd)
		}},
		{"tcp_connect_accept", 3000, func() {
			client := w.tcp()
			w.check("connect", unix.Connect(client, to2))
			conn, _, err := unix.Accept4(server, unix.SOCK_CLOEXEC)
			w.check("accept", err)
			// A reset: TIME_WAIT would use up the range.
			w.check("linger", unix.SetsockoptLinger(client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
			unix.Close(client)
			unix.Close(conn)
		}},
	}
	var took [2]map[string][]float64
	took[0], took[1] = map[string][]float64{}, map[string][]float64{}
	measure := func(into map[string][]float64) {
		for _, o := range operations {
			began := threadTime(b)
			for range o.n {
				o.do()
			}
			into[o.name] = append(into[o.name], float64(threadTime(b)-began)/float64(o.n))
		}
	}
	measure(map[string][]float64{}) // warm
	for b.Loop() {
		measure(took[0])
		s := ebpftest.Start(b, ebpf.Options{}, New())
		measure(took[1])
		s.Stop()
	}
	median := func(v []float64) float64 {
		slices.Sort(v)
		return v[len(v)/2]
	}
	b.ReportMetric(0, "ns/op")
	for _, o := range operations {
		without, with := median(took[0][o.name]), median(took[1][o.name])
		b.ReportMetric(without, o.name+"_without_ns")
		b.ReportMetric(with, o.name+"_with_ns")
		b.ReportMetric(with/without, o.name+"_ratio")
	}
}

// threadTime returns the processor time that the calling thread has used, in ns.
func threadTime(b *testing.B) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		b.Fatal(err)
	}
	return ts.Nano()
}

// BenchmarkListing measures one listing of this host's sockets, as each audit
// takes it.
func BenchmarkListing(b *testing.B) {
	listed := make(chan struct{})
	s := ebpftest.Start(b, ebpf.Options{}, hooked{before: func(a *attached) {
		select {
		case <-listed:
			return
		default:
		}
		var l *listing
		for b.Loop() {
			l = a.lister.list()
		}
		b.ReportMetric(float64(l.sockets.n), "sockets")
		b.ReportMetric(float64(len(l.namespaces)), "namespaces")
		close(listed)
	}})
	<-listed
	s.Stop()
}
