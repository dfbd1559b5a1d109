package packetdrop

// qdiscReasons are the reasons of queueing disciplines.
var qdiscReasons = []Reason{
	{
		Name: "QDISC_DROP",
		Meaning: "The queueing discipline of the device dropped the packet: its queue was full or its rate " +
			"used up.",
		Cause:   CauseBuffer,
		Confirm: []string{ReadQdisc},
		Advice: "Compare tc -s qdisc show dev DEVICE with the rate of the link. Leave it if a shaper is meant " +
			"to limit; raise its rate or limit, or send less.",
		Healthy: true,
		Proven:  "shaper",
		Gone:    true,
	},
	{
		Name:    "QDISC_OVERLIMIT",
		Meaning: "The queue of the queueing discipline was at its limit.",
		Cause:   CauseBuffer,
		Confirm: []string{ReadQdisc},
		Advice: "Compare tc -s qdisc show dev DEVICE with the rate of the link. A longer queue helps bursts " +
			"only: it delays everything else.",
		Healthy: true,
	},
	{
		Name: "QDISC_CONGESTED",
		Meaning: "The queueing discipline dropped the packet to slow its sender down before the queue was full " +
			"(CoDel, RED).",
		Cause:   CauseNormal,
		Confirm: []string{ReadQdisc},
		Advice:  "Nothing: that is its job. Many: more is sent than the link carries.",
		Healthy: true,
	},
	{
		Name:    "CAKE_FLOOD",
		Meaning: "CAKE dropped packets of a flow that did not react to congestion.",
		Cause:   CauseNormal,
		Confirm: []string{ReadQdisc},
		Advice:  "Nothing: that is its job. Find the flow (tc -s qdisc) if it should be carried.",
		Healthy: true,
	},
	{
		Name:    "FQ_BAND_LIMIT",
		Meaning: "A priority band of the fq discipline was at its limit.",
		Cause:   CauseBuffer,
		Confirm: []string{ReadQdisc},
		Advice:  "Read tc -s qdisc show dev DEVICE; raise the limit of fq if the link is not at its rate.",
	},
	{
		Name:    "FQ_HORIZON_LIMIT",
		Meaning: "The packet asked to be sent later than the fq discipline accepted.",
		Cause:   CauseConfiguration,
		Confirm: []string{ReadQdisc},
		Advice:  "Check the clock that the program paces with (SO_TXTIME, fq horizon).",
	},
	{
		Name:    "FQ_FLOW_LIMIT",
		Meaning: "One flow had more packets in the fq discipline than its flow limit.",
		Cause:   CauseBuffer,
		Confirm: []string{ReadQdisc},
		Advice: "Find the flow; raise flow_limit only if it is meant to send so much at once and the link is " +
			"not at its rate.",
		Healthy: true,
	},
	{
		Name:    "DUALPI2_STEP_DROP",
		Meaning: "DualPI2 dropped a packet to slow its sender down: the queue was above its step.",
		Cause:   CauseNormal,
		Confirm: []string{ReadQdisc},
		Advice:  "Nothing: that is its job. Many: more is sent than the link carries.",
		Healthy: true,
	},
}
