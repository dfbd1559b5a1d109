package sched

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// descriptor is what a file descriptor of a process refers to.
type descriptor struct {
	// what is "udp:5405", "tcp:80", "unix", "pipe", a path; "eventpoll [udp:5405, pipe]"; "" unknown.
	what string
	// cookie is the socket's, 0 where it is none.
	cookie uint64
}

// maxDescriptors bounds the descriptors that are looked up in one interval.
const maxDescriptors = 64

// readDescriptor looks a descriptor up. A socket is asked itself, by a copy of
// the descriptor that exists for a moment only: that works in all network
// namespaces, and costs the same on a host with many sockets.
func readDescriptor(proc string, pid int32, fd uint64) descriptor {
	target, err := os.Readlink(filepath.Join(proc, strconv.Itoa(int(pid)), "fd", strconv.FormatUint(fd, 10)))
	if err != nil {
		return descriptor{}
	}
	kind, _, isSpecial := strings.Cut(target, ":[")
	switch {
	case kind == "socket" && isSpecial:
		return readSocket(pid, int(fd))
	case kind == "pipe" && isSpecial:
		return descriptor{what: "pipe"}
	case target == "anon_inode:[eventpoll]":
		return descriptor{what: "eventpoll" + readTargets(proc, pid, fd)}
	case strings.HasPrefix(target, "anon_inode:"):
		return descriptor{what: strings.Trim(strings.TrimPrefix(target, "anon_inode:"), "[]")}
	}
	return descriptor{what: target}
}

// maxTargets bounds the descriptors that are listed of those for which one epoll descriptor waits.
const maxTargets = 4

// readTargets lists what an epoll descriptor waits for; it returns an empty text
// where that is much, or not known of each.
func readTargets(proc string, pid int32, fd uint64) string {
	info, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(int(pid)), "fdinfo", strconv.FormatUint(fd, 10)))
	if err != nil {
		return ""
	}
	var list []string
	for line := range strings.Lines(string(info)) {
		rest, ok := strings.CutPrefix(line, "tfd:")
		if !ok {
			continue
		}
		fields := strings.Fields(rest)
		if len(fields) == 0 || len(list) == maxTargets {
			return ""
		}
		target, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil || target == fd {
			return ""
		}
		link, err := os.Readlink(filepath.Join(proc, strconv.Itoa(int(pid)), "fd", fields[0]))
		if err != nil || link == "anon_inode:[eventpoll]" {
			return "" // it was closed, or another one is inside of it
		}
		d := readDescriptor(proc, pid, target)
		if d.what == "" || d.what == "socket" {
			return ""
		}
		list = append(list, d.what)
	}
	slices.Sort(list) // the kernel lists them by address
	text := " [" + strings.Join(list, ", ") + "]"
	if len(list) == 0 || len("eventpoll"+text) > maxLink {
		return ""
	}
	return text
}

// readSocket asks a socket of another process for its protocol, port and cookie.
func readSocket(pid int32, fd int) descriptor {
	unknown := descriptor{what: "socket"}
	process, err := unix.PidfdOpen(int(pid), 0)
	if err != nil {
		return unknown
	}
	defer unix.Close(process)
	s, err := unix.PidfdGetfd(process, fd, 0)
	if err != nil {
		return unknown
	}
	defer unix.Close(s)
	protocol, err := unix.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil {
		return unknown
	}
	cookie, err := unix.GetsockoptUint64(s, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		cookie = 0
	}
	port := -1
	if address, err := unix.Getsockname(s); err == nil {
		switch a := address.(type) {
		case *unix.SockaddrInet4:
			port = a.Port
		case *unix.SockaddrInet6:
			port = a.Port
		case *unix.SockaddrUnix:
			return descriptor{"unix", cookie}
		case *unix.SockaddrNetlink:
			return descriptor{"netlink", cookie}
		case *unix.SockaddrLinklayer:
			return descriptor{"packet", cookie}
		}
	}
	switch {
	case port < 0:
		return descriptor{"socket", cookie}
	case protocol == unix.IPPROTO_UDP:
		return descriptor{fmt.Sprintf("udp:%d", port), cookie}
	case protocol == unix.IPPROTO_TCP, protocol == unix.IPPROTO_MPTCP:
		return descriptor{fmt.Sprintf("tcp:%d", port), cookie}
	}
	return descriptor{fmt.Sprintf("ip protocol %d", protocol), cookie}
}

// maxLink bounds how much of a path is shown.
const maxLink = 60

// clip keeps the end of a long path.
func clip(text string) string {
	if len(text) <= maxLink {
		return text
	}
	return "..." + text[len(text)-maxLink+3:]
}
