// Package drop observes the packets that the host loses: where, why, on which
// device and CPU, and whose they were.
//
// On Linux the source is the tracepoint skb:kfree_skb, which names a reason
// since 5.17. Counts are kept in the kernel, by socket, reason, function,
// device and CPU, and read once a second; a flood costs the host one hash
// lookup a packet and no record. What a CPU has dropped most of in the last
// second is counted even without that lookup, in the next. Reasons are named as
// the running kernel's BTF names them, because their numbers move between
// versions. [PlaceOf] turns reason and function into a place.
//
// Where a packet was meant for a socket that is known, the event carries its
// cookie, its local port and the process that holds it. The kernel tells that
// socket since 6.11; before, udp_fail_queue_rcv_skb and sock_rcvqueue_full tell
// it for receive queues that are full. Each packet is counted once. A sender's
// socket is known by its cookie only where something has asked for that before,
// as the port probe does. What TCP throws away in the life of a healthy
// connection is counted without the socket.
//
// A packet that came through a veth is charged to its sender until IP takes it.
// Such a socket lost nothing and is not named: the port is then the destination
// port of the packet's header. Flag transmit marks packets that were being sent;
// [Direction] tells it from reason and function, the packet itself where those
// do not say.
//
// The CPU is the one that freed the packet. A full backlog is found by the CPU
// that wanted to add to it, which with RPS is often another than its owner, and
// the tracepoint does not tell the owner: such drops carry CPU -1. Whose
// backlogs they were is in the softnet events of the same interval, which the
// kernel counts by owner.
//
// socket.queue events show the receive queues of sockets that have dropped, and
// of those that are more than half full. They come from one walk over the open
// files of all processes, which also finds the owners; it is made each second
// unless that would take more than a hundredth of a CPU. Sockets that the
// kernel itself holds have no file and are not seen.
//
// Not seen here: what a device loses before the kernel has a packet (package
// nic reads those counters), packets of UNIX and netlink sockets, and what a
// remote host or the hypervisor loses. A packet is an sk_buff: one that holds
// many segments counts once, as the kernel's own counters count it.
package drop
