// Package confirm reads what a detector asks for while it suspects a fault: the
// fill of a table and its limit, a setting, the counter of a rule. Nothing is
// read, polled or attached unless it is asked for.
//
// A request (model.RequestReading) names the reading, the network namespace and,
// where it matters, the device. The answer is one reading event for each
// instance, at most 64, and comes within 0.2 s, of snmp within 1.3 s; or the
// request is refused with the reason: the name is unknown, the namespace or the
// device is gone, the kernel does not have it, or lostbeat may not read it.
//
// A reading has a name, an instance, a value with its unit, and a limit where
// there is one. Below, each is written as
//
//	name "instance": value of limit (unit); detail
//
//	conntrack "": connections of the maximum (entries); drop N, early_drop N, insert_failed N
//	neighbours "ipv4", "ipv6": entries of gc_thresh3 (entries);
//	    gc_thresh1 N, gc_thresh2 N, table_fulls N, in this namespace N
//	udp_mem "", tcp_mem "": in use of the maximum (pages); low N, pressure N, page of N bytes
//	listen_queue "ADDRESS:PORT": waiting of the backlog (connections);
//	    inode N, somaxconn N, tcp_max_syn_backlog N, tcp_syncookies N, tcp_abort_on_overflow N
//	rp_filter "all": 0, 1 or 2; off, strict or loose
//	rp_filter "DEVICE": the same; strict, in effect loose
//	xdp "DEVICE": program (program id), 0 none; no program, or native, program NAME (ID); generic, offloaded likewise
//	tc "DEVICE ingress", "DEVICE egress": number (filters);
//	    clsact: N dropped, in and out; or no clsact or ingress qdisc
//	tc "DEVICE ingress pref N KIND": drops where they are counted, else 0 (packets); actions, or
//	    program NAME (ID), direct-action, drops are not counted
//	tc "DEVICE ingress tcx": 0 (packets); program NAME (ID), drops are not counted
//	qdisc "DEVICE KIND PARENT": drops since it was set up (packets);
//	    sent N packets N bytes, overlimits N, requeues N
//	qdisc_backlog "DEVICE KIND PARENT": packets of the limit (packets); N bytes, and other limits
//	mtu "DEVICE": MTU of that of the other end of a veth (bytes);
//	    KIND, peer NAME in namespace INODE; or KIND, peer unknown: WHY
//	nft "": rules and policies that drop of all rules (rules); N rules, N chains[, N rules with verdict maps, ...]
//	nft "FAMILY TABLE CHAIN handle N", "FAMILY TABLE CHAIN policy": counter (packets);
//	    what it matches and does[ (no counter)]
//	iptables "": rules and policies that drop of all rules (rules); tables ip filter, ...; or no tables
//	iptables "FAMILY TABLE CHAIN rule N", "FAMILY TABLE CHAIN policy": counter (packets); what it matches and does
//	snmp "": length of the measurement (s)
//	snmp "Udp.RcvbufErrors", "TcpExt.ListenDrops", ...: rise (per second); rose by N to N
//	netdev "netdev_max_backlog", "netdev_budget", "dev_weight": setting (packets)
//	netdev "netdev_budget_usecs" (us), "dev_weight_rx_bias", "flow_limit_table_len" (flows)
//	netdev "flow_limit_cpu_bitmap": CPUs in it (cpus); the bitmap
//	sockbuf "rmem_default", "rmem_max", "wmem_default", "wmem_max": setting (bytes)
//
// Hooks are ingress and egress. A limit of 0 is unknown or none. A request for
// qdisc gets qdisc_backlog, too. Readings of devices carry their index; a request
// without one is about all devices, 32 at most. "listen_queue:8080" asks for one
// port. A listener's queue is full when more connections wait than its backlog.
//
// The tables of neighbours, the memory of sockets and the settings of netdev and
// sockbuf are the host's, in whatever namespace they are asked for. The counters
// of snmp are those that speak of losses, and only those that have ever risen.
// Of the listeners the fullest come first, of the rules those that dropped most.
//
// Rules of nftables and iptables are read by netlink and getsockopt, no program
// is executed. Their description covers addresses, ports, protocols and devices;
// of anything else it has the name of the match.
package confirm
