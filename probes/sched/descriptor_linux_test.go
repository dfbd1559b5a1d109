package sched

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// What an epoll descriptor waits for is listed where that is little and known.
func TestTargetsOfEpoll(t *testing.T) {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(poll)
	is := func(want string) {
		t.Helper()
		if got := readDescriptor("/proc", int32(os.Getpid()), uint64(poll)); got.what != want || got.cookie != 0 {
			t.Errorf("%+v, want %q", got, want)
		}
	}
	add := func(fd int) {
		t.Helper()
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
			t.Fatal(err)
		}
	}
	is("eventpoll")
	udp := must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
	if err := unix.Bind(udp, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	port := must(unix.Getsockname(udp)).(*unix.SockaddrInet4).Port
	add(udp)
	is(fmt.Sprintf("eventpoll [udp:%d]", port))
	add(must(unix.Eventfd(0, unix.EFD_CLOEXEC)))
	is(fmt.Sprintf("eventpoll [eventfd, udp:%d]", port))
	for range maxTargets {
		add(must(unix.Eventfd(0, unix.EFD_CLOEXEC)))
	}
	is("eventpoll")
}
