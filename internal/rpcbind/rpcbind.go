package rpcbind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Port is the port that rpcbind listens on, by TCP and UDP.
const Port = 111

// MaxRegistrations bounds the registrations of an answer. A host with NFS server
// and client has some 50.
const MaxRegistrations = 1024

// ErrTooMany is returned with the first MaxRegistrations of a longer list.
var ErrTooMany = fmt.Errorf("more than %d RPC registrations", MaxRegistrations)

// Registration is one entry of rpcbind's list: a version of a program at an
// address of a transport.
type Registration struct {
	Program, Version uint32
	// Netid is the transport: "tcp", "udp", "tcp6", "udp6", "local", others.
	Netid string
	// Address is a universal address, whose last two numbers are the bytes of the
	// port ("0.0.0.0.8.1" is port 2049), or the path of a local socket.
	Address string
	// Owner is who registered it, as far as rpcbind says: "superuser", a number of
	// a user, "unknown"; empty from portmap.
	Owner string
}

// HostPort takes the universal address of an Internet transport apart; ok is
// false for any other one.
func (r *Registration) HostPort() (host string, port uint16, ok bool) {
	switch r.Netid {
	case "tcp", "udp", "tcp6", "udp6":
	default:
		return "", 0, false
	}
	rest, low, ok1 := cutLast(r.Address)
	host, high, ok2 := cutLast(rest)
	if !ok1 || !ok2 {
		return "", 0, false
	}
	upper, err1 := strconv.ParseUint(high, 10, 8)
	lower, err2 := strconv.ParseUint(low, 10, 8)
	if err1 != nil || err2 != nil {
		return "", 0, false
	}
	return host, uint16(upper<<8 | lower), true
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// Endpoint is the transport with the address in the usual form: "tcp 0.0.0.0:2049",
// "udp6 [::]:111", "local /run/rpcbind.sock".
func (r *Registration) Endpoint() string {
	address := r.Address
	if host, port, ok := r.HostPort(); ok {
		address = net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	return r.Netid + " " + address
}

// Dump asks the server at an address ("unix" and a path, "tcp" and host with
// port) for its registrations. ctx has to have a deadline, or nothing bounds how
// long a server that hangs is waited for.
func Dump(ctx context.Context, network, address string) ([]Registration, error) {
	list, err := dump(ctx, network, address, versionRPCB)
	var refused *refusedError
	if errors.As(err, &refused) && refused.version {
		list, err = dump(ctx, network, address, versionPMAP)
	}
	return list, err
}

func dump(ctx context.Context, network, address string, version uint32) ([]Registration, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("ask rpcbind: %w", err)
	}
	defer conn.Close()
	if tcp, ok := conn.(*net.TCPConn); ok {
		// Reset at the end: a port at rest after each question would be litter.
		if err := tcp.SetLinger(0); err != nil {
			return nil, fmt.Errorf("ask rpcbind: %w", err)
		}
	}
	stop := context.AfterFunc(ctx, func() {
		// It can only fail on a connection that is closed already.
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
	defer stop()
	const id = 0x6c6f7374
	if _, err = conn.Write(call(id, version)); err != nil {
		return nil, failed(ctx, err)
	}
	answer, err := readRecord(conn)
	if err != nil {
		return nil, failed(ctx, err)
	}
	return parseAnswer(answer, id, version)
}

// failed says what went wrong while rpcbind was asked: a deadline that was moved
// to end the wait is ctx's own end.
func failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("ask rpcbind: %w", err)
}
