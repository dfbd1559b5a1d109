package nic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"lostbeat/model"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// maxChanges bounds how many messages about links are read in an interval.
	maxChanges = 1024
	// changeBuffer is more than the largest message about a link.
	changeBuffer = 64 << 10
	// iflaNewNetnsID is IFLA_NEW_NETNSID: the device was moved, not removed.
	iflaNewNetnsID = 45
)

// linkChanges are the kernel's messages about links of one network namespace,
// so that what changes back within an interval is seen as well. The socket
// keeps its namespace in being, so that only the host's has one: another
// would outlive its container.
type linkChanges struct {
	socket *nl.NetlinkSocket
	buffer []byte
}

// subscribeLinks opens the subscription in the namespace of the calling thread.
func subscribeLinks() (*linkChanges, error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return nil, fmt.Errorf("subscribe to links: %w", err)
	}
	return &linkChanges{socket: socket, buffer: make([]byte, changeBuffer)}, nil
}

func (c *linkChanges) close() { c.socket.Close() }

// next returns the messages of one datagram, none when all have been read.
func (c *linkChanges) next() ([]syscall.NetlinkMessage, error) {
	n, _, err := unix.Recvfrom(c.socket.GetFd(), c.buffer, unix.MSG_DONTWAIT)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read about links: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(c.buffer[:n])
	if err != nil {
		return nil, fmt.Errorf("read about links: %w", err)
	}
	return messages, nil
}

// follow emits what the kernel says has changed since the last interval. An
// error, such as more messages than there was room for, costs changes that did
// not last: the listing that follows finds the others.
func (n *namespace) follow(now model.Time, b *model.Builder) {
	if n.changes == nil {
		return
	}
	for range maxChanges {
		messages, err := n.changes.next()
		if err != nil || len(messages) == 0 {
			return
		}
		for i := range messages {
			n.change(&messages[i], now, b)
		}
	}
}

// change takes one message about a link.
func (n *namespace) change(m *syscall.NetlinkMessage, now model.Time, b *model.Builder) {
	if len(m.Data) < unix.SizeofIfInfomsg || m.Data[0] != unix.AF_UNSPEC {
		return // a bridge speaks of its ports, which are still devices
	}
	index := int(int32(binary.NativeEndian.Uint32(m.Data[4:])))
	switch m.Header.Type {
	case unix.RTM_DELLINK:
		n.remove(index, movedDetail(m.Data[unix.SizeofIfInfomsg:]), now, b)
	case unix.RTM_NEWLINK:
		link, err := netlink.LinkDeserialize(nil, m.Data)
		if err != nil || !n.watches(link.Attrs()) || len(n.devices) >= maxDevices {
			return
		}
		n.link(link.Attrs(), now, b)
	}
}

// movedDetail says that a device which has left its namespace is in another
// one now, "" when it is gone.
func movedDetail(attributes []byte) string {
	list, err := nl.ParseRouteAttr(attributes)
	if err != nil {
		return ""
	}
	for _, a := range list {
		if a.Attr.Type == iflaNewNetnsID {
			return "moved to another network namespace"
		}
	}
	return ""
}
