package packetdrop

import "lostbeat/model"

// socketReasons are the reasons of sockets, their queues and the protocols' memory.
var socketReasons = []Reason{
	{
		Name: "NO_SOCKET",
		Meaning: "No socket was open on the port; the sender gets ICMP \"port unreachable\" for UDP, a reset " +
			"for TCP.",
		Cause:    CauseProgram,
		Counters: []string{"Udp.NoPorts", "Udp6.NoPorts"},
		Advice: "Start the program, or correct the port or address that the sender uses. No action is needed if the " +
			"packets are late answers to a socket that has closed.",
		Healthy: true,
		Proven:  "no_socket",
		Noise:   true,
	},
	{
		Name:     "SOCKET_RCVBUFF",
		Meaning:  "The socket's receive buffer was full when the packet arrived.",
		Cause:    CauseBuffer,
		Confirm:  []string{ReadSockbuf},
		Signals:  []model.Kind{model.KindSocketQueue},
		Counters: []string{"Udp.RcvbufErrors", "Udp6.RcvbufErrors"},
		Advice: "Find out whether the program had the CPU and read in time. Raise SO_RCVBUF and " +
			"net.core.rmem_max only if it did; a program that does not read fills any buffer.",
		Proven: "receive_buffer",
	},
	{
		Name: "PROTO_MEM",
		Meaning: "All sockets of the protocol together had reached their memory limit (udp_mem or tcp_mem), or a TCP " +
			"socket's receive buffer had no room.",
		Cause:    CauseMemory,
		Confirm:  []string{ReadUDPMem, ReadTCPMem},
		Counters: []string{"Udp.MemErrors", "Udp6.MemErrors", "TcpExt.TCPRcvQDrop"},
		Advice: "Find the sockets that hold the memory (ss -uam, ss -tam) and what keeps their programs from " +
			"reading. Raise net.ipv4.udp_mem or tcp_mem only if all of them read in time; larger buffers " +
			"of single sockets make it worse.",
		Proven: "udp_mem",
	},
	{
		Name: "SOCKET_BACKLOG",
		Meaning: "Packets arrived while the program was inside a call on the same socket, more than the " +
			"socket's backlog takes.",
		Cause:    CauseProgram,
		Confirm:  []string{ReadSockbuf},
		Signals:  []model.Kind{model.KindSocketQueue},
		Counters: []string{"TcpExt.TCPBacklogDrop"},
		Advice: "Find out what keeps the program inside its socket calls: little CPU, or large copies. Raise " +
			"SO_RCVBUF or tcp_rmem only if the calls are short.",
	},
	{
		Name:     "TCP_LISTEN_OVERFLOW",
		Meaning:  "The queue of connections that wait to be accepted was full.",
		Cause:    CauseProgram,
		Confirm:  []string{ReadListenQueue},
		Counters: []string{"TcpExt.ListenOverflows", "TcpExt.ListenDrops"},
		Advice: "Find out why the program does not accept: no CPU, a lock, one slow thread. Raise the backlog " +
			"of listen() and net.core.somaxconn only if it accepts in time.",
		Proven: "listen_overflow",
	},
	{
		Name:     "TCP_ZEROWINDOW",
		Meaning:  "The receive buffer was full, and the peer sent data although it had been told so (window 0).",
		Cause:    CauseProgram,
		Confirm:  []string{ReadSockbuf},
		Signals:  []model.Kind{model.KindSocketQueue},
		Counters: []string{"TcpExt.TCPZeroWindowDrop"},
		Advice: "Find out why the program does not read. Probes of the peer are normal while a window is " +
			"closed: leave it alone if the queue empties.",
		Healthy: true,
	},
	{
		Name:     "TCP_OFO_QUEUE_PRUNE",
		Meaning:  "Segments that had arrived out of order were thrown away to make room in the receive buffer.",
		Cause:    CauseMemory,
		Confirm:  []string{ReadTCPMem, ReadSockbuf},
		Signals:  []model.Kind{model.KindSocketQueue},
		Counters: []string{"TcpExt.OfoPruned", "TcpExt.RcvPruned"},
		Advice: "Find out why the program reads late, and what loses segments on the way. Raise tcp_rmem only " +
			"if the program reads in time.",
	},
	{
		Name:    "TCP_OFO_DROP",
		Meaning: "A segment that had waited out of order was freed: its data had arrived in another segment since.",
		Cause:   CauseNormal,
		Advice:  "Nothing: a segment was retransmitted, and no data was lost.",
		Healthy: true,
	},
	{
		Name:    "SOCKET_FILTER",
		Meaning: "A filter that the program attached to its socket rejected the packet.",
		Cause:   CauseFilter,
		Advice: "Check the filter if the program should have had the packet. DHCP clients, ping and LLDP " +
			"daemons filter on purpose.",
		Healthy: true,
		Proven:  "socket_filter",
		Noise:   true,
	},
	{
		Name:    "PACKET_SOCK_ERROR",
		Meaning: "A capture (tcpdump, an IDS, a DHCP client) did not keep up: its copy of the packet was lost.",
		Cause:   CauseBuffer,
		Advice: "Raise the buffer of the capture (tcpdump -B) or narrow its filter. The packet itself went on: " +
			"nothing else lost it.",
		Healthy: true,
		Proven:  "capture",
		Noise:   true,
	},
	{
		Name:    "SOCKET_CLOSE",
		Meaning: "The socket was closed while packets were still in its queue.",
		Cause:   CauseNormal,
		Advice:  "Nothing, unless the program should have read them before it closed the socket.",
		Healthy: true,
	},
	{
		Name:    "QUEUE_PURGE",
		Meaning: "A queue was emptied because its socket or device went away.",
		Cause:   CauseNormal,
		Advice:  "Nothing, unless the program or device should not have gone.",
		Healthy: true,
	},
	{
		Name:    "SKB_UCOPY_FAULT",
		Meaning: "The packet could not be copied to the program: the memory that it gave was not valid.",
		Cause:   CauseProgram,
		Advice: "Look for a fault in the program that reads the device or socket (EFAULT); the network is not " +
			"at fault.",
	},
	{
		Name:    "SECURITY_HOOK",
		Meaning: "A security module (SELinux, AppArmor, Smack) refused the packet.",
		Cause:   CauseFilter,
		Advice:  "Read the audit log (ausearch -m AVC) and change the policy, unless the refusal is meant.",
	},
	{
		Name:    "UNIX_DISCONNECT",
		Meaning: "A message to a UNIX socket was discarded because the peer had disconnected.",
		Cause:   CauseNormal,
		Advice:  "Nothing: this is not a network packet.",
		Healthy: true,
	},
	{
		Name:    "UNIX_SKIP_OOB",
		Meaning: "A reader skipped urgent data in a UNIX socket.",
		Cause:   CauseNormal,
		Advice:  "Nothing: this is not a network packet.",
		Healthy: true,
	},
}
