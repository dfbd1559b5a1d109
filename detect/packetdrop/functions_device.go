package packetdrop

import "lostbeat/model"

// deviceFunctions are kernel functions of devices and filters, by prefix.
var deviceFunctions = []Reason{
	{
		Name:    "veth_xmit",
		Meaning: "The other end of a veth did not take the packet: its ring was full, or the device was down.",
		Cause:   CauseProcessor,
		Confirm: []string{ReadNetdev},
		Signals: []model.Kind{model.KindSoftnet, model.KindDeferredHist},
		Advice: "Find what kept the receiver's NAPI or softirq from running. If the peer was down or is being " +
			"removed, bring it up (ip link).",
		Proven: "probes/drop TestLongThreadedRing",
		Gone:   true,
	},
	{
		Name:    "veth_xdp_rcv",
		Meaning: "An XDP program on a veth dropped the packet, or it could not be prepared for it.",
		Cause:   CauseFilter,
		Confirm: []string{ReadXDP},
		Advice:  "Find the program (ip link show dev DEVICE) and who attached it.",
		Proven:  "xdp_driver",
	},
	{
		Name: "____dev_forward_skb",
		Meaning: "A virtual device could not hand the packet to its other end: that was down, or its MTU was " +
			"smaller.",
		Cause:   CauseDevice,
		Confirm: []string{ReadMTU},
		Advice: "Bring the other end up if it is down (ip link), or give both ends the same MTU. No action is needed if " +
			"it was meant to go down.",
		Gone: true,
	},
	{
		Name: "__dev_forward_skb",
		Meaning: "A virtual device could not hand the packet to its other end: that was down, or its MTU was " +
			"smaller.",
		Cause:   CauseDevice,
		Confirm: []string{ReadMTU},
		Advice: "Bring the other end up if it is down (ip link), or give both ends the same MTU. No action is needed if " +
			"it was meant to go down.",
		Proven: "peer_down",
		Gone:   true,
	},
	{
		Name: "is_skb_forwardable",
		Meaning: "A virtual device could not hand the packet on: the other end was down, or its MTU was " +
			"smaller.",
		Cause:   CauseDevice,
		Confirm: []string{ReadMTU},
		Advice: "Bring the other end up if it is down (ip link), or give both ends the same MTU. No action is needed if " +
			"it was meant to go down.",
		Gone: true,
	},
	{
		Name:    "tun_net_xmit",
		Meaning: "A TUN or TAP device did not take the packet: its queue was full, or no program had it open.",
		Cause:   CauseProgram,
		Advice: "Find out why the program (VPN, hypervisor) does not read. Raise txqueuelen only if it had the " +
			"CPU and read in time.",
	},
	{
		Name:    "tun_get_user",
		Meaning: "What a program wrote into a TUN or TAP device was not a packet that the kernel accepts.",
		Cause:   CauseProgram,
		Advice:  "Check the program behind the device (VPN, hypervisor).",
	},
	{
		Name:    "macvlan_",
		Meaning: "A macvlan device did not pass the packet on.",
		Cause:   CauseDevice,
		Advice:  "Check that the device and the one below it are up (ip -d link).",
		Gone:    true,
	},
	{
		Name:    "ipvlan_",
		Meaning: "An ipvlan device did not pass the packet on.",
		Cause:   CauseDevice,
		Advice:  "Check the addresses of the device and that it is up (ip -d link).",
	},
	{
		Name:    "bond_",
		Meaning: "A bond had no member that could send the packet.",
		Cause:   CauseDevice,
		Advice:  "Check the members (cat /proc/net/bonding/DEVICE): all of them may have lost their link.",
		Gone:    true,
	},
	{
		Name:    "vlan_",
		Meaning: "A VLAN device did not pass the packet on.",
		Cause:   CauseDevice,
		Advice:  "Check that the device and the one below it are up (ip -d link).",
		Gone:    true,
	},
	{
		Name:    "br_flood",
		Meaning: "A bridge had no port to which it could forward the packet.",
		Cause:   CauseConfiguration,
		Advice: "Nothing on a bridge that is meant to be empty. Otherwise add the missing port, or check its " +
			"state (bridge link).",
		Healthy: true,
		Noise:   true,
	},
	{
		Name: "br_",
		Meaning: "A bridge did not forward the packet: no port took it, or its state, VLAN or table forbade " +
			"it.",
		Cause:   CauseConfiguration,
		Advice:  "Read bridge link, bridge vlan and bridge fdb. Nothing on a bridge that is meant to be empty.",
		Healthy: true,
		Noise:   true,
	},
	{
		Name:    "vxlan_",
		Meaning: "VXLAN dropped the packet: no other end was known for it, or its header was wrong.",
		Cause:   CauseConfiguration,
		Advice:  "Read bridge fdb show dev DEVICE, and compare the VNI of both ends.",
	},
	{
		Name:    "geneve_",
		Meaning: "Geneve dropped the packet: no other end was known for it, or its header was wrong.",
		Cause:   CauseConfiguration,
		Advice:  "Compare the settings of both ends (ip -d link).",
	},
	{
		Name:    "gre_",
		Meaning: "No GRE tunnel of this host matched the packet.",
		Cause:   CauseConfiguration,
		Advice:  "Compare addresses and keys of both ends (ip -d tunnel).",
	},
	{
		Name:    "ipgre_",
		Meaning: "A GRE tunnel did not take the packet.",
		Cause:   CauseConfiguration,
		Advice:  "Compare addresses and keys of both ends (ip -d tunnel).",
	},
	{
		Name:    "ipip_",
		Meaning: "No IPIP tunnel of this host matched the packet.",
		Cause:   CauseConfiguration,
		Advice:  "Compare the addresses of both ends (ip -d tunnel).",
	},
	{
		Name: "ip_tunnel_",
		Meaning: "A tunnel could not carry the packet: it had no route to the other end, or the packet was too " +
			"large.",
		Cause:   CauseConfiguration,
		Confirm: []string{ReadMTU},
		Advice:  "Check route and MTU to the other end (ip route get, ip -d link).",
	},
	{
		Name:    "wg_",
		Meaning: "WireGuard dropped the packet: no peer with that address, or no session with it.",
		Cause:   CauseConfiguration,
		Advice:  "Compare allowed IPs and the last handshake (wg show).",
	},
	{
		Name:    "esp",
		Meaning: "An IPsec packet could not be decrypted or encrypted.",
		Cause:   CauseConfiguration,
		Advice:  "Compare ip xfrm state on both ends; /proc/net/xfrm_stat names the fault.",
	},
	{
		Name:    "xfrm_",
		Meaning: "IPsec dropped the packet.",
		Cause:   CauseConfiguration,
		Advice:  "Compare ip xfrm policy and state on both ends; /proc/net/xfrm_stat names the fault.",
	},
	{
		Name:    "nfqnl_",
		Meaning: "The program that decides on packets in user space (NFQUEUE) did not take the packet.",
		Cause:   CauseProgram,
		Confirm: []string{ReadNft, ReadIPTables},
		Advice: "Check the program (IDS, firewall): its queue was full, or it was not running. Use queue bypass " +
			"if packets may pass without it.",
	},
	{
		Name:    "nf_queue",
		Meaning: "A rule handed the packet to a program (NFQUEUE), and no program serves that queue.",
		Cause:   CauseProgram,
		Confirm: []string{ReadNft, ReadIPTables},
		Advice: "Start the program (IDS, firewall) that serves the queue, or remove the rule. Use queue bypass if packets " +
			"may pass without it.",
	},
	{
		Name:    "nf_conntrack",
		Meaning: "The connection table did not take the packet.",
		Cause:   CauseFilter,
		Confirm: []string{ReadConntrack},
		Advice: "Compare nf_conntrack_count with nf_conntrack_max; raise the maximum only if the connections " +
			"are real.",
	},
	{
		Name:    "nf_",
		Meaning: "A firewall rule dropped the packet, or the table of connections was full.",
		Cause:   CauseFilter,
		Confirm: []string{ReadNft, ReadIPTables, ReadConntrack},
		Advice: "Compare the counters of the rules (nft list ruleset, iptables -nvL) before and after; leave a " +
			"rule that is meant to drop it. If no rule counts, compare nf_conntrack_count with " +
			"nf_conntrack_max.",
		Healthy: true,
	},
	{
		Name:    "nft_",
		Meaning: "A rule of nftables dropped the packet.",
		Cause:   CauseFilter,
		Confirm: []string{ReadNft, ReadIPTables},
		Advice: "Compare the counters of the rules (nft list ruleset) before and after. Leave a rule that is " +
			"meant to drop it.",
		Healthy: true,
	},
	{
		Name:    "ipt_",
		Meaning: "A rule of iptables dropped the packet.",
		Cause:   CauseFilter,
		Confirm: []string{ReadNft, ReadIPTables},
		Advice: "Compare the counters of the rules (iptables -nvL) before and after. Leave a rule that is meant " +
			"to drop it.",
		Healthy: true,
	},
	{
		Name:    "tcf_",
		Meaning: "A traffic-control action dropped the packet.",
		Cause:   CauseFilter,
		Confirm: []string{ReadTC},
		Advice:  "Read tc -s filter show dev DEVICE. Leave it if policing or the policy is meant.",
		Healthy: true,
	},
	{
		Name:    "sch_handle_",
		Meaning: "A traffic-control filter dropped the packet.",
		Cause:   CauseFilter,
		Confirm: []string{ReadTC},
		Advice: "Read tc -s filter show dev DEVICE, or bpftool net for a CNI's program. Leave it if the policy " +
			"is meant.",
		Healthy: true,
	},
	{
		Name:    "do_xdp_generic",
		Meaning: "An XDP program on the device dropped the packet.",
		Cause:   CauseFilter,
		Confirm: []string{ReadXDP},
		Advice:  "Find the program (ip link show dev DEVICE, bpftool net) and who attached it.",
		Healthy: true,
		Proven:  "xdp",
	},
	{
		Name:    "sk_filter",
		Meaning: "A filter that the program attached to its socket rejected the packet.",
		Cause:   CauseFilter,
		Advice:  "Check the filter if the program should have had the packet.",
		Healthy: true,
		Noise:   true,
	},
	{
		Name:    "enqueue_to_backlog",
		Meaning: "The backlog of a CPU was full: packets came faster than its softirq took them on.",
		Cause:   CauseProcessor,
		Confirm: []string{ReadNetdev},
		Signals: []model.Kind{model.KindSoftnet, model.KindDeferredHist},
		Advice: "Find what kept the CPU's NET_RX from running, or made each packet expensive; spread packets " +
			"over CPUs (RSS, RPS).",
	},
	{
		Name:    "netif_rx",
		Meaning: "The backlog of a CPU was full: packets came faster than its softirq took them on.",
		Cause:   CauseProcessor,
		Confirm: []string{ReadNetdev},
		Signals: []model.Kind{model.KindSoftnet, model.KindDeferredHist},
		Advice: "Find what kept the CPU's NET_RX from running, or made each packet expensive; spread packets " +
			"over CPUs (RSS, RPS).",
	},
	{
		Name:    "flush_backlog",
		Meaning: "The device was removed or taken down while its packets waited in a CPU's backlog.",
		Cause:   CauseNormal,
		Advice:  "Nothing, unless the device should not have gone.",
		Healthy: true,
		Gone:    true,
	},
	{
		Name:    "dev_deactivate",
		Meaning: "The device was taken down while packets waited in its queue.",
		Cause:   CauseNormal,
		Advice:  "Nothing, unless the device should not have gone down.",
		Healthy: true,
		Gone:    true,
	},
	{
		Name:    "qdisc_reset",
		Meaning: "The queue was emptied because the device or its queueing discipline was changed.",
		Cause:   CauseNormal,
		Confirm: []string{ReadQdisc},
		Advice:  "Nothing, unless the device should not have changed.",
		Healthy: true,
		Gone:    true,
	},
	{
		Name:    "__dev_xmit_skb",
		Meaning: "The queueing discipline of the device dropped the packet.",
		Cause:   CauseBuffer,
		Confirm: []string{ReadQdisc},
		Advice:  "Compare tc -s qdisc show dev DEVICE with the rate of the link.",
		Healthy: true,
		Gone:    true,
	},
	{
		Name:    "__dev_queue_xmit",
		Meaning: "The device was down when the packet was to be sent, or stacked devices formed a loop.",
		Cause:   CauseDevice,
		Advice:  "Bring the device up (ip link) or find out why it is down.",
		Gone:    true,
	},
	{
		Name:    "dev_hard_start_xmit",
		Meaning: "The driver did not take the packet.",
		Cause:   CauseDevice,
		Advice:  "Check the driver's log (dmesg) and counters (ethtool -S).",
		Gone:    true,
	},
	{
		Name:    "validate_xmit_",
		Meaning: "The packet could not be prepared for the device: its segments or its checksum.",
		Cause:   CauseDevice,
		Advice:  "Check the offloads of the device (ethtool -k).",
	},
	{
		Name: "__netif_receive_skb_core",
		Meaning: "Nothing on this host handled frames of that type, or the device belonged to a bond or VLAN " +
			"that refused them.",
		Cause: CauseConfiguration,
		Advice: "Find the type (tcpdump -e -i DEVICE not ip and not ip6). No action is needed if they are LLDP or " +
			"spanning tree.",
		Healthy: true,
		Noise:   true,
	},
	{
		Name: "packet_rcv",
		Meaning: "A capture (tcpdump, a DHCP client) filtered the packet out or did not keep up: its copy was " +
			"lost.",
		Cause:   CauseBuffer,
		Advice:  "Raise the buffer of the capture (tcpdump -B). The packet itself went on: nothing else lost it.",
		Healthy: true,
		Noise:   true,
	},
	{
		Name:    "tpacket_rcv",
		Meaning: "A capture (tcpdump, an IDS) did not keep up: its copy of the packet was lost.",
		Cause:   CauseBuffer,
		Advice:  "Raise the buffer of the capture (tcpdump -B). The packet itself went on: nothing else lost it.",
		Healthy: true,
		Noise:   true,
	},
	{
		Name:    "raw_rcv",
		Meaning: "A raw socket did not take its copy of the packet.",
		Cause:   CauseBuffer,
		Confirm: []string{ReadSockbuf},
		Signals: []model.Kind{model.KindSocketQueue},
		Advice:  "Find out whether the program (ping, keepalived) reads in time.",
	},
	{
		Name:    "__sock_queue_rcv_skb",
		Meaning: "The socket's receive buffer was full.",
		Cause:   CauseBuffer,
		Confirm: []string{ReadSockbuf},
		Signals: []model.Kind{model.KindSocketQueue},
		Advice:  "Find out whether the program had the CPU and read in time. Raise SO_RCVBUF only if it did.",
	},
	{
		Name:    "sock_queue_rcv_skb",
		Meaning: "The socket's receive buffer was full.",
		Cause:   CauseBuffer,
		Confirm: []string{ReadSockbuf},
		Signals: []model.Kind{model.KindSocketQueue},
		Advice:  "Find out whether the program had the CPU and read in time. Raise SO_RCVBUF only if it did.",
	},
}
