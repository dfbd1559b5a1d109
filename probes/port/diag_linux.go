package port

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Sizes and values of the sock_diag protocol (linux/inet_diag.h).
const (
	diagRequestSize = 56 // struct inet_diag_req_v2
	diagMessageSize = 72 // struct inet_diag_msg
	diagByFamily    = 20 // SOCK_DIAG_BY_FAMILY
	diagBufferSize  = 256 << 10
	// diagTimerTimeWait is the idiag_timer of a socket in TIME_WAIT, whatever
	// its state says: it may be waiting for the peer's FIN.
	diagTimerTimeWait = 3
	// tcpBoundInactive asks for sockets that are bound and nothing else, since Linux 6.8.
	tcpBoundInactive = 13
	tcpSynRecv       = 3
	tcpNewSynRecv    = 12
	tcpCloseWait     = 8
	tcpListen        = 10
)

// diagSocket is one socket of the kernel's tables.
type diagSocket struct {
	cookie        uint64
	inode         uint32
	expiresMS     uint32 // time left in TIME_WAIT
	local, remote [16]byte
	localPort     uint16
	remotePort    uint16
	state         uint8
	timeWait      bool
}

// dumpDiag calls add for each socket of a protocol and address family in the
// network namespace of the calling thread, read through a buffer of
// diagBufferSize. complete is false when the tables changed while they were read
// so that some may be missing.
func dumpDiag(family, protocol uint8, buffer []byte, add func(diagSocket)) (complete bool, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return false, fmt.Errorf("open sock_diag: %w", err)
	}
	defer unix.Close(fd)
	// A larger buffer spares system calls; the kernel may give less.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, diagBufferSize)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
		return false, fmt.Errorf("open sock_diag: %w", err)
	}
	if err := unix.Sendto(
		fd, diagRequest(family, protocol), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK},
	); err != nil {
		return false, fmt.Errorf("ask sock_diag: %w", err)
	}
	complete = true
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil {
			return false, fmt.Errorf("read sock_diag: %w", err)
		}
		done, interrupted, err := parseDiag(buffer[:n], add)
		complete = complete && !interrupted
		if done || err != nil {
			return complete && err == nil, err
		}
	}
}

// diagRequest asks for all sockets but half-open connections.
func diagRequest(family, protocol uint8) []byte {
	request := make([]byte, unix.SizeofNlMsghdr+diagRequestSize)
	states := ^uint32(0) &^ (1<<tcpSynRecv | 1<<tcpNewSynRecv)
	binary.NativeEndian.PutUint32(request[0:], uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], diagByFamily)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request[16], request[17] = family, protocol
	binary.NativeEndian.PutUint32(request[20:], states&(1<<(tcpBoundInactive+1)-1))
	return request
}

// parseDiag reads the messages of one datagram. done says that the dump has
// ended, interrupted that the tables changed meanwhile.
func parseDiag(data []byte, add func(diagSocket)) (done, interrupted bool, err error) {
	for offset := 0; offset+unix.SizeofNlMsghdr <= len(data); {
		length := int(binary.NativeEndian.Uint32(data[offset:]))
		if length < unix.SizeofNlMsghdr || length > len(data)-offset {
			return false, interrupted, fmt.Errorf(
				"read sock_diag: message of %d bytes at offset %d of %d",
				length,
				offset,
				len(data),
			)
		}
		kind := binary.NativeEndian.Uint16(data[offset+4:])
		interrupted = interrupted || binary.NativeEndian.Uint16(data[offset+6:])&unix.NLM_F_DUMP_INTR != 0
		body := data[offset+unix.SizeofNlMsghdr : offset+length]
		switch kind {
		case unix.NLMSG_DONE:
			return true, interrupted, nil
		case unix.NLMSG_ERROR:
			if len(body) < 4 {
				return false, interrupted, errors.New("read sock_diag: error message without a number")
			}
			return false, interrupted, fmt.Errorf("read sock_diag: %w", unix.Errno(-int32(binary.NativeEndian.Uint32(body))))
		case diagByFamily:
			if len(body) < diagMessageSize {
				return false, interrupted, fmt.Errorf("read sock_diag: socket of %d bytes, want %d", len(body), diagMessageSize)
			}
			add(parseDiagSocket(body))
		}
		offset += (length + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1)
	}
	return false, interrupted, nil
}

// parseDiagSocket reads a struct inet_diag_msg.
func parseDiagSocket(body []byte) diagSocket {
	s := diagSocket{
		state:      body[1],
		timeWait:   body[2] == diagTimerTimeWait,
		localPort:  binary.BigEndian.Uint16(body[4:]),
		remotePort: binary.BigEndian.Uint16(body[6:]),
		cookie:     uint64(binary.NativeEndian.Uint32(body[44:])) | uint64(binary.NativeEndian.Uint32(body[48:]))<<32,
		expiresMS:  binary.NativeEndian.Uint32(body[52:]),
		inode:      binary.NativeEndian.Uint32(body[68:]),
	}
	if body[0] == unix.AF_INET {
		s.local, s.remote = mapped([4]byte(body[8:])), mapped([4]byte(body[24:]))
	} else {
		s.local, s.remote = [16]byte(body[8:]), [16]byte(body[24:])
	}
	return s
}

// mapped returns the IPv6 form of an IPv4 address.
func mapped(v4 [4]byte) [16]byte {
	return [16]byte{10: 0xff, 11: 0xff, 12: v4[0], 13: v4[1], 14: v4[2], 15: v4[3]}
}
