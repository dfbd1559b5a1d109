package port

import (
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"

	"golang.org/x/sys/unix"
)

// BenchmarkUse reports the time per run of the programs that a send and a
// receive pass, with the uses of UDP ports watched. The kernel's measuring is
// included: it reads the clock twice per run.
//
//	go test -run - -bench Use -benchtime 200000x ./probes/port
func BenchmarkUse(b *testing.B) {
	read := ebpftest.Costs(b, "port_")
	w := newWork(b)
	var held []int
	for range watchedPorts {
		fd := w.udp()
		w.check("bind", unix.Bind(fd, loop4))
		held = append(held, fd)
	}
	sender, receiver := w.udp(), held[0]
	w.check("connect", unix.Connect(sender, at4(int(portOf(receiver)))))
	defer func() {
		for _, fd := range append(held, sender) {
			unix.Close(fd)
		}
	}()
	// What was there at the start counts as old: the watch begins at once.
	s := ebpftest.Start(b, ebpf.Options{AuditInterval: time.Hour}, New())
	payload := []byte("heartbeat")
	var buffer [16]byte
	for b.Loop() {
		_, err := unix.Write(sender, payload)
		w.check("write", err)
		_, err = unix.Read(receiver, buffer[:])
		w.check("read", err)
	}
	costs := read()
	s.Stop()
	ebpftest.ReportCosts(
		b,
		map[string]ebpftest.Cost{"port_send": costs["port_send"], "port_use_receive": costs["port_use_receive"]},
		"port_",
	)
}
