package packetdrop

// filterReasons are the reasons of filters of every kind.
var filterReasons = []Reason{
	{
		Name:    "NETFILTER_DROP",
		Meaning: "A firewall rule dropped the packet, or the table of connections was full.",
		Cause:   CauseFilter,
		Confirm: []string{ReadNft, ReadIPTables, ReadConntrack},
		Advice: "Find the rule whose counter grows (nft list ruleset, iptables -nvL, all tables) and remove or narrow " +
			"it; leave a rule that is meant to drop the packets. If no rule counts, compare nf_conntrack_count with " +
			"nf_conntrack_max.",
		Healthy: true,
		Proven:  "firewall, conntrack_full",
	},
	{
		Name: "IP_RPFILTER",
		Meaning: "The reverse path filter dropped the packet: an answer to its source would leave by another " +
			"device.",
		Cause:    CauseRouting,
		Confirm:  []string{ReadRPFilter},
		Counters: []string{"TcpExt.IPReversePathFilter"},
		Advice: "Add the missing route to the source, or set rp_filter to 2 (loose) on the device. No action is needed if " +
			"the sources are forged: then they are many, and not of your networks.",
		Proven: "rp_filter",
	},
	{
		Name:    "BPF_CGROUP_EGRESS",
		Meaning: "A BPF program on the control group of the sender refused the packet.",
		Cause:   CauseFilter,
		Advice: "Find the program (bpftool cgroup tree) and who attached it: systemd's IPAddressDeny, or a " +
			"container's policy. Leave it if the refusal is meant.",
		Proven: "cgroup_egress",
	},
	{
		Name:    "XDP",
		Meaning: "An XDP program on the device dropped the packet, or could not pass it on.",
		Cause:   CauseFilter,
		Confirm: []string{ReadXDP},
		Advice: "Find the program (ip link show dev DEVICE, bpftool net) and who attached it. Leave it if it " +
			"is there to drop, as load balancers and DDoS filters do.",
		Healthy: true,
	},
	{
		Name:    "TC_INGRESS",
		Meaning: "A traffic-control filter dropped the packet as it came in.",
		Cause:   CauseFilter,
		Confirm: []string{ReadTC},
		Advice: "Read tc -s filter show dev DEVICE ingress, or bpftool net for a CNI's program. Leave it if " +
			"policing or the policy is meant.",
		Healthy: true,
		Proven:  "tc_ingress",
	},
	{
		Name:    "TC_EGRESS",
		Meaning: "A traffic-control filter dropped the packet as it went out.",
		Cause:   CauseFilter,
		Confirm: []string{ReadTC},
		Advice: "Read tc -s filter show dev DEVICE egress, or bpftool net for a CNI's program. Leave it if " +
			"policing or the policy is meant.",
		Healthy: true,
		Proven:  "tc_egress",
	},
	{
		Name:    "TC_COOKIE_ERROR",
		Meaning: "Traffic control could not continue a classification that it had interrupted.",
		Cause:   CauseFilter,
		Confirm: []string{ReadTC},
		Advice: "Check the filter chains of the device (tc -s filter show dev DEVICE) and its hardware " +
			"offload.",
	},
	{
		Name:    "TC_CHAIN_NOTFOUND",
		Meaning: "A traffic-control filter referred to a chain that did not exist.",
		Cause:   CauseConfiguration,
		Confirm: []string{ReadTC},
		Advice:  "Correct the filters (tc filter show, tc chain show): an action goto chain has no target.",
	},
	{
		Name:    "TC_RECLASSIFY_LOOP",
		Meaning: "Traffic-control filters sent the packet round in a loop.",
		Cause:   CauseConfiguration,
		Confirm: []string{ReadTC},
		Advice:  "Correct the filters (tc filter show): an action reclassify comes back to itself.",
	},
	{
		Name:    "TAP_FILTER",
		Meaning: "The filter of a TAP device did not let the packet through to the virtual machine.",
		Cause:   CauseFilter,
		Advice: "Nothing, unless the machine should have had it: compare its MAC address with that of the " +
			"packet.",
		Healthy: true,
		Noise:   true,
	},
	{
		Name:    "TAP_TXFILTER",
		Meaning: "The transmit filter of a TAP device (attached by the hypervisor) rejected the packet.",
		Cause:   CauseFilter,
		Advice:  "Nothing, unless the machine should have had it: check the filter that the hypervisor sets.",
		Healthy: true,
		Noise:   true,
	},
	{
		Name:    "XFRM_POLICY",
		Meaning: "No IPsec policy or state admitted the packet.",
		Cause:   CauseConfiguration,
		Advice: "Compare ip xfrm policy and ip xfrm state on both ends; /proc/net/xfrm_stat names the fault. " +
			"Leave it if traffic without IPsec is meant to be refused.",
		Proven: "xfrm_policy",
	},
	{
		Name:    "PSP_INPUT",
		Meaning: "A packet of a connection that PSP encrypts could not be authenticated.",
		Cause:   CauseConfiguration,
		Advice:  "Check that both ends use the same PSP keys and that the device's PSP offload is on.",
	},
	{
		Name:    "PSP_OUTPUT",
		Meaning: "A packet of a connection that PSP encrypts could not be encrypted on its way out.",
		Cause:   CauseConfiguration,
		Advice:  "Check that the route leads to the device that holds the connection's PSP keys.",
	},
	{
		Name:    "ARP_PVLAN_DISABLE",
		Meaning: "A bridge in proxy-ARP mode for a private VLAN suppressed an ARP packet.",
		Cause:   CauseFilter,
		Advice:  "Nothing: isolated ports are kept apart on purpose.",
		Healthy: true,
		Noise:   true,
	},
	{
		Name:    "MAC_INVALID_SOURCE",
		Meaning: "The source MAC address was not valid: multicast, or all zero.",
		Cause:   CauseCorruption,
		Advice:  "Find the sender by its MAC address (tcpdump -e) and correct its configuration or driver.",
		Proven:  "multicast_source",
	},
	{
		Name:    "MAC_IEEE_MAC_CONTROL",
		Meaning: "The frame was for link-local control (pause, LACP, LLDP), which bridges do not forward.",
		Cause:   CauseNormal,
		Advice:  "Nothing: that is how bridges work.",
		Healthy: true,
		Proven:  "pause_frames",
	},
	{
		Name:    "BRIDGE_INGRESS_STP_STATE",
		Meaning: "The bridge port was not forwarding: spanning tree had it learning, listening or blocked.",
		Cause:   CauseConfiguration,
		Advice: "Wait for spanning tree, or set the forward delay to 0 on a bridge without loops (bridge link). " +
			"Leave a port that spanning tree blocks because of a loop.",
		Healthy: true,
		Proven:  "spanning_tree",
		Noise:   true,
	},
	{
		Name:    "LOCAL_MAC",
		Meaning: "The frame carried this host's own MAC address as its source: it came back.",
		Cause:   CauseNormal,
		Advice:  "Look for a loop or a duplicate MAC address if there are many; a few after a move are normal.",
		Healthy: true,
	},
}
