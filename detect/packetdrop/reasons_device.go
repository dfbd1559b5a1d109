package packetdrop

import "lostbeat/model"

// deviceReasons are the reasons of devices, backlogs and memory.
var deviceReasons = []Reason{
	{
		Name:    "CPU_BACKLOG",
		Meaning: "The backlog of a CPU was full: packets came faster than its softirq took them on.",
		Cause:   CauseProcessor,
		Confirm: []string{ReadNetdev},
		Signals: []model.Kind{model.KindSoftnet, model.KindDeferredHist},
		Advice: "Find what kept the CPU's NET_RX from running, or made each packet expensive; spread packets " +
			"over CPUs (RSS, RPS). Raise net.core.netdev_max_backlog only for short bursts.",
		Proven: "probes/drop TestLongBacklog",
	},
	{
		Name: "FULL_RING",
		Meaning: "The queue of a TUN, TAP or similar device was full: the program behind it did not read fast " +
			"enough.",
		Cause:   CauseProgram,
		Confirm: []string{ReadSockbuf},
		Signals: []model.Kind{model.KindSocketQueue},
		Advice: "Find out why the program (VPN, hypervisor) does not read. Raise the device's txqueuelen only " +
			"if it had the CPU and read in time.",
		Proven: "tun_queue",
	},
	{
		Name:    "DEV_HDR",
		Meaning: "The device's driver found the packet's header faulty.",
		Cause:   CauseDevice,
		Advice:  "Check the driver's log (dmesg) and update it.",
	},
	{
		Name:    "DEV_READY",
		Meaning: "The device was not ready to send: down, or not yet set up.",
		Cause:   CauseDevice,
		Advice: "Bring the device up (ip link) or find out why it is down. A few while it starts or stops are " +
			"normal.",
		Healthy: true,
		Gone:    true,
	},
	{
		Name:    "NO_TX_TARGET",
		Meaning: "The device had nowhere to send the packet: no port, member or peer took it.",
		Cause:   CauseConfiguration,
		Advice: "Add the missing port, member or peer (ip -d link, bridge link). Nothing on a bridge that is " +
			"meant to be empty.",
		Healthy: true,
		Proven:  "empty_bridge",
		Gone:    true,
		Noise:   true,
	},
	{
		Name:     "PFMEMALLOC",
		Meaning:  "Memory was so short that the packet used the reserve kept for swapping.",
		Cause:    CauseMemory,
		Counters: []string{"TcpExt.PFMemallocDrop"},
		Advice:   "Free memory: find what uses it. Raise vm.min_free_kbytes only if the shortage is short.",
	},
	{
		Name:    "NOMEM",
		Meaning: "There was no memory for the packet.",
		Cause:   CauseMemory,
		Advice: "Free memory: find what uses it (dmesg shows failed allocations). Raise vm.min_free_kbytes only " +
			"if the shortage is short.",
	},
	{
		Name:    "RECURSION_LIMIT",
		Meaning: "The packet passed through too many devices stacked on each other, or went round in a loop.",
		Cause:   CauseConfiguration,
		Advice:  "Look for a loop of tunnels, bridges or redirects (ip -d link, tc filter show).",
	},
	{
		Name: "UNHANDLED_PROTO",
		Meaning: "Nothing on this host handled frames of that type, or the device belonged to a bond, bridge " +
			"or VLAN that refused them.",
		Cause: CauseConfiguration,
		Advice: "Find the type (tcpdump -e -i DEVICE not ip and not ip6). No action is needed if they are LLDP, spanning " +
			"tree or a VLAN that the host does not use.",
		Healthy: true,
		Proven:  "unknown_frames",
		Noise:   true,
	},
	{
		Name:    "SKB_CSUM",
		Meaning: "The checksum could not be computed, or was wrong.",
		Cause:   CauseCorruption,
		Advice:  "Compare with checksum offload off (ethtool -K DEVICE tx off rx off).",
	},
	{
		Name:    "SKB_GSO_SEG",
		Meaning: "A large packet could not be cut into segments for the device.",
		Cause:   CauseDevice,
		Confirm: []string{ReadMTU},
		Advice:  "Check MTU and segmentation offload of the device (ethtool -k), and its driver's log.",
	},
	{
		Name:    "SKB_BAD_GSO",
		Meaning: "A large packet had a segment size that was not valid.",
		Cause:   CauseDevice,
		Advice: "Find the sender: a virtual machine or a program with a raw socket. Compare with its " +
			"segmentation offload off.",
	},
	{
		Name:    "CAN_RX_INVALID_FRAME",
		Meaning: "A CAN frame was malformed.",
		Cause:   CauseCorruption,
		Advice:  "Check the CAN device and its peers.",
	},
	{
		Name:    "CANFD_RX_INVALID_FRAME",
		Meaning: "A CAN FD frame was malformed.",
		Cause:   CauseCorruption,
		Advice:  "Check the CAN device and its peers.",
	},
	{
		Name:    "CANXL_RX_INVALID_FRAME",
		Meaning: "A CAN XL frame was malformed.",
		Cause:   CauseCorruption,
		Advice:  "Check the CAN device and its peers.",
	},
	{
		Name:    "NOT_SPECIFIED",
		Meaning: "What the function was doing with the packet is not known to lostbeat.",
		Cause:   CauseUnknown,
		Advice: "Look the function up in the kernel's source, and compare with the counters of the device (ip " +
			"-s link, ethtool -S).",
		Healthy: true,
	},
}
