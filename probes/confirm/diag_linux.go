package confirm

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"

	"lostbeat/model"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Sizes and values of the sock_diag protocol (linux/inet_diag.h).
const (
	diagByFamily    = 20
	diagRequestSize = 56 // struct inet_diag_req_v2
	diagMessageSize = 72 // struct inet_diag_msg
	tcpListen       = 10
)

// listener is a listening TCP socket.
type listener struct {
	address netip.AddrPort
	// waiting connections are to be accepted, limit is the most.
	waiting, limit uint32
	inode          uint32
}

// readListenQueues reads the accept queues, the fullest first.
func readListenQueues(q *answer) error {
	port := uint64(0)
	if q.argument != "" {
		var err error
		if port, err = strconv.ParseUint(q.argument, 10, 16); err != nil {
			return fmt.Errorf("the argument of listen_queue is a port, not %q", q.argument)
		}
	}
	var listeners []listener
	detail := ""
	err := q.inside(func() error {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			request := nl.NewNetlinkRequest(diagByFamily, unix.NLM_F_DUMP)
			request.AddRawData(listenRequest(family))
			err := request.ExecuteIter(unix.NETLINK_INET_DIAG, diagByFamily, func(message []byte) bool {
				if l, ok := parseListener(message); ok && (port == 0 || uint64(l.address.Port()) == port) {
					listeners = append(listeners, l)
				}
				return true
			})
			if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
				return fmt.Errorf("list listening sockets: %w", err)
			}
		}
		for _, name := range []string{
			"core/somaxconn", "ipv4/tcp_max_syn_backlog", "ipv4/tcp_syncookies", "ipv4/tcp_abort_on_overflow",
		} {
			v, err := sysctl(name)
			if err != nil {
				return err
			}
			detail += ", " + path.Base(name) + " " + v
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(listeners, func(a, b listener) int {
		return cmp.Or(cmp.Compare(uint64(b.waiting)*uint64(a.limit+1), uint64(a.waiting)*uint64(b.limit+1)),
			a.address.Compare(b.address))
	})
	for _, l := range listeners {
		q.add(model.Reading{
			Instance: l.address.String(), Value: float64(l.waiting), Limit: float64(l.limit), Unit: "connections",
			Detail: fmt.Sprintf("inode %d%s", l.inode, detail),
		})
	}
	if len(listeners) == 0 {
		return errors.New("nobody listens")
	}
	return nil
}

// listenRequest asks for the listening TCP sockets of an address family.
func listenRequest(family uint8) []byte {
	request := make([]byte, diagRequestSize)
	request[0], request[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(request[4:], 1<<tcpListen)
	return request
}

// parseListener reads a struct inet_diag_msg.
func parseListener(message []byte) (l listener, ok bool) {
	if len(message) < diagMessageSize || message[1] != tcpListen {
		return l, false
	}
	port := binary.BigEndian.Uint16(message[4:])
	address := netip.AddrFrom4([4]byte(message[8:12]))
	if message[0] == unix.AF_INET6 {
		address = netip.AddrFrom16([16]byte(message[8:24]))
	}
	return listener{
		address: netip.AddrPortFrom(address, port),
		waiting: binary.NativeEndian.Uint32(message[56:]),
		limit:   binary.NativeEndian.Uint32(message[60:]),
		inode:   binary.NativeEndian.Uint32(message[68:]),
	}, true
}
