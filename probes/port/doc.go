// Package port observes how local ports are taken and given back, who holds
// them, which pools there are, and which attempts fail.
//
// # Linux
//
// Identity is the socket cookie; the owner is the process that created the
// socket. There are two sets of hooks. Where the kernel allows fentry, the
// functions that take and give back ports are watched themselves, which shows
// the kernel's own sockets (NFS, SunRPC, tunnels) too and costs a send nothing.
// Elsewhere cgroup hooks and tracepoints see every case that a process can
// cause:
//
//	what happens                          seen by                          how
//	UDP and TCP bind, port 0 or given     cgroup/post_bind4,6              bind_any, bind_port
//	UDP sendto, sendmsg without bind,     sock_send_length (Linux 6.3),    send
//	  v4-mapped too                         else cgroup/sendmsg4,6
//	UDP connect without bind              sys_exit_connect                 connect
//	UDP connect to AF_UNSPEC              sys_exit_connect                 disconnect
//	TCP listen without bind               sockops TCP_LISTEN_CB            listen
//	TCP connect, also refused, also with  sockops TCP_CONNECT_CB           connect
//	  IP_BIND_ADDRESS_NO_PORT
//	TCP accept                            inet_sock_set_state              accept
//	TCP connection ends, disconnect       inet_sock_set_state              close, disconnect, rest
//	last close: close, exit, SIGKILL,     cgroup/sock_release              close
//	  after fork, dup and SCM_RIGHTS
//	creation: owner, network namespace    cgroup/sock_create
//	failed bind, listen, connect          sys_exit_bind, _listen, _connect fail, with errno
//	failed implicit bind of a send        sock_send_length, else fentry    fail, EAGAIN
//	use of a UDP port: send, receive      sock_send_length, sock_recv_length
//	                                        (Linux 6.3), else fexit inet_sendmsg, inet_recvmsg
//
//	with fentry, in place of post_bind, sockops and the send hooks
//	any acquisition                       fexit udp_lib_get_port, inet_csk_get_port,
//	                                        inet_hash_connect, inet6_hash_connect
//	UDP releases; TCP ones of the kernel  fentry udp_lib_unhash, inet_put_port
//
// A port that was taken without a port of the caller's choice goes back with
// connect to AF_UNSPEC and with the end of a TCP connection, while the socket is
// still open; one that was bound explicitly stays until the close. An accepted
// connection shares its listener's port and takes none: its acquisition says
// "accept". Its process is the listener's until an audit knows better.
//
// What exists at the start comes from the iterator task_file, which sees all
// processes of all network namespaces in one pass, and from sock_diag in each
// namespace that has a name or a process, for what no process has open. The
// hooks are attached first and the listing is taken then; what both saw is told
// once. Sockets that had no port get their cookie by the listing, so that what
// they do later can be joined.
//
// Every Options.AuditInterval the same listing is compared with what is
// tracked. A difference counts when two audits in a row find it, because the
// tables change while they are read; it is then corrected by an acquisition or
// release that says "audit". Ports of a creator that has ended are handed over
// to a process that has the socket open.
//
// Of the sockets that no process has open, those of the kernel itself (SunRPC,
// NFS, tunnels) are told by the flag sk_kern_sock, which the iterators tcp and udp
// read in a namespace that has such a socket, once for each; and those that rpc.nfsd
// has made for the kernel's NFS server by /proc/fs/nfsd/portlist. Their owner is PID
// 0. A socket that the kernel makes in a process's name (lockd's, during a mount)
// is that process's until it has ended.
//
// # RPC
//
// Every rpcEvery rpcbind is asked which programs are registered with it, over its
// local socket, or over the loopback device where that is missing (package
// rpcbind). What is new, was removed or has another owner is told: the owner is who
// holds the port. An answer is waited for no longer than rpcPatience, on a goroutine
// of its own, and what was told before counts until the next. rpcbind is asked only
// while a listing shows a process other than init on its port: where systemd
// listens in its place, a question would start it.
//
// The range of SunRPC's own ports (min_resvport to max_resvport) is read with each
// listing, since the module may be loaded, or removed, at any time.
//
// # Idle time
//
// Each audit tells which held ports are in use, that is were used within the
// last [model.IdleAfter], and since when the others are idle; only changes are
// told. Of a TCP connection the listing reads when data was last sent and
// received, which the kernel keeps (lsndtime, lrcvtime); a listener is used when
// it accepts; a port that is only bound, when it was taken. UDP sockets have no
// such time: the programs at sends and receives note it, once in 256 jiffies, in
// the table of sockets. A send passes its program anyway where there is no
// fentry; the other programs are attached while a process holds watchedPorts UDP
// ports for watchedAge, and detached watchFor later. Times from the kernel are
// in jiffies, whose length is measured between two listings.
//
// # What is not exact
//
//   - The end of TIME_WAIT has no event. Its start is concluded from the state
//     that the connection closed from (FIN_WAIT2 or CLOSING, without error); its
//     end is 60 s later, corrected by each audit with the time that the kernel
//     says is left, and told at the end of an interval. A rest that ends early
//     because its addresses are taken again (tcp_tw_reuse) ends at that moment;
//     one that ends early otherwise is found by the audit.
//   - Without fentry, releases by the kernel's own sockets are found by the audit
//     only, and before Linux 6.3 a send that fails, because the range is empty or
//     the datagram too long, does not show the port it failed to take or took.
//   - A UDP socket that connects through io_uring is seen when it first sends, or
//     by the audit; with fentry at once, but as "send". Bind through io_uring does
//     not say which port was asked for: how is unknown.
//   - MPTCP sockets hold their port through a subflow, a TCP socket of the kernel:
//     the cookie is the subflow's, not the one that SO_COOKIE returns.
//   - 32-bit programs on a 64-bit kernel pass none of the system call tracepoints.
//   - The connections of a listener that existed at the start are told from
//     outgoing ones by their port.
//   - Network namespaces without a name under /run/netns and without a process are
//     not listed, only watched; releases by kernel sockets in them come too early.
//   - Without cgroup2 the tracepoints stand in for bind, and audits every second
//     for the closes of UDP sockets; TCP connections that never get established
//     are not seen.
//   - Stacks follow frame pointers: code compiled without them ends the stack, and
//     sendmsg before Linux 6.3 has none. Names are looked up when the event is
//     read: a process that has ended by then has addresses only.
//   - The idle time of a UDP port is short by up to 256 jiffies, and counts from
//     when the watch of UDP ports began where no use was seen since.
//   - RPC programs are read in the network namespace of lostbeat only. Where
//     several sockets of one protocol, port and address family exist, at different
//     addresses, the owner of a registration is that of one of them.
//   - Raw, SCTP and ICMP sockets have no ports here; UDP-Lite is left out.
//
// # Cost
//
// Measured on a virtual machine with 2 processors and Linux 6.18 without fentry,
// other work beside it, by
//
//	go test -run - -bench Cost -benchtime 9x ./probes/port
//
// as medians of the calling thread's processor time, loopback delivery included,
// without and with the probe:
//
//	getppid (any system call)               181     239 ns
//	UDP send, connected                    2823    2983 ns
//	UDP sendto, bound to a chosen port     3381    3465 ns
//	UDP sendto, port taken implicitly      3337    3447 ns
//	UDP socket, close                      5304    6216 ns
//	UDP socket, bind, close                6967    8702 ns
//	UDP socket, connect, close             8176   10375 ns
//	TCP connect, accept, reset, close     32158   35577 ns
//
// The sends are from before a socket whose port is known was spared the look into
// the table of sockets: the program at a send took 128 ns then and 64 ns since,
// and the one at a receive, while it is attached, as much (BenchmarkUse, in which
// the kernel's measuring takes most).
//
// Repetitions differ by some 10 % of the first column. The price of every system
// call is that of any traced one: the kernel then leaves its fast path. A listing
// of 60,000 sockets in 4 processes took 0.14 s, on a goroutine of its own, and of
// 60,000 acquisitions in 0.7 s no record was lost (TestLongBurst); with 10,000
// processes and hardly a socket it took 0.14 s as well (BenchmarkListing).
//
// A question to rpcbind with 60 registrations took 0.2 ms, the server's part
// included (go test -run - -bench Dump ./internal/rpcbind).
//
// # Windows
//
// The decoding of AFD, TCPIP, RPC and RPCSS events is in the files etw*.go; see
// [NewETW].
package port
