// Package packetdrop knows what the reasons mean for which hosts lose packets:
// what happened, what confirms it, what to do, and whether a healthy host shows
// it too. It is data alone; [Lookup] finds the entry of a drop event.
//
// Reasons are named as in drop events: as the kernel's enum skb_drop_reason
// names them, without its prefix, from Linux 6.1 to 6.18. Where the kernel gives
// none (NOT_SPECIFIED), the function that freed the packet decides. Names
// that are in no table fall back to their family, and then to an entry that
// says what is known.
//
// The kernel's counters are a second witness, not a better one: Linux 6.18 leaves
// Udp.MemErrors at 0 when it drops for udp_mem, and a first packet of a
// connection that finds the accept queue full is counted
// (TcpExt.ListenOverflows) but is no drop for the kernel.
package packetdrop
