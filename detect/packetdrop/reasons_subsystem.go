package packetdrop

// subsystemReasons are the reasons of subsystems that number their own reasons.
var subsystemReasons = []Reason{
	{
		Name:    "OVS_DROP_LAST_ACTION",
		Meaning: "Open vSwitch had no further action for the packet: its flow table dropped it.",
		Cause:   CauseFilter,
		Advice: "Read ovs-dpctl dump-flows and ovs-ofctl dump-flows for the flow. Leave it if the policy is " +
			"meant.",
		Healthy: true,
	},
	{
		Name:    "OVS_DROP_ACTION_ERROR",
		Meaning: "An action of Open vSwitch failed.",
		Cause:   CauseConfiguration,
		Advice:  "Read ovs-dpctl dump-flows and the log of ovs-vswitchd.",
	},
	{
		Name:    "OVS_DROP_EXPLICIT",
		Meaning: "A flow of Open vSwitch said to drop the packet.",
		Cause:   CauseFilter,
		Advice:  "Read ovs-dpctl dump-flows for the flow. Leave it if the policy is meant.",
		Healthy: true,
	},
	{
		Name:    "OVS_DROP_EXPLICIT_WITH_ERROR",
		Meaning: "Open vSwitch dropped the packet because the flow could not be translated.",
		Cause:   CauseConfiguration,
		Advice:  "Read the log of ovs-vswitchd.",
	},
	{
		Name:    "OVS_DROP_METER",
		Meaning: "The rate was above the limit of an Open vSwitch meter.",
		Cause:   CauseFilter,
		Advice: "Compare the meter's rate (ovs-ofctl dump-meters) with the load. Leave it if the limit is " +
			"meant.",
		Healthy: true,
	},
	{
		Name:    "OVS_DROP_RECURSION_LIMIT",
		Meaning: "Open vSwitch recirculated the packet too often.",
		Cause:   CauseConfiguration,
		Advice:  "Look for a loop among its flows (ovs-dpctl dump-flows).",
	},
	{
		Name:    "OVS_DROP_DEFERRED_LIMIT",
		Meaning: "Open vSwitch had too many deferred actions for one packet.",
		Cause:   CauseConfiguration,
		Advice:  "Look for flows that clone or recirculate without end.",
	},
	{
		Name:    "OVS_DROP_FRAG_L2_TOO_LONG",
		Meaning: "Open vSwitch could not fragment the packet: its link-layer header was too long.",
		Cause:   CauseConfiguration,
		Confirm: []string{ReadMTU},
		Advice:  "Set an MTU that needs no fragments.",
	},
	{
		Name:    "OVS_DROP_FRAG_INVALID_PROTO",
		Meaning: "Open vSwitch could not fragment a packet of that protocol.",
		Cause:   CauseConfiguration,
		Confirm: []string{ReadMTU},
		Advice:  "Set an MTU that needs no fragments.",
	},
	{
		Name:    "OVS_DROP_CONNTRACK",
		Meaning: "The connection tracking of Open vSwitch rejected the packet.",
		Cause:   CauseFilter,
		Confirm: []string{ReadConntrack},
		Advice:  "Compare nf_conntrack_count with nf_conntrack_max, and read ovs-appctl dpctl/dump-conntrack.",
	},
	{
		Name:    "OVS_DROP_IP_TTL",
		Meaning: "The packet's time to live ran out in Open vSwitch.",
		Cause:   CauseRouting,
		Advice:  "Look for a routing loop; traceroute through it is normal.",
		Healthy: true,
	},
}
