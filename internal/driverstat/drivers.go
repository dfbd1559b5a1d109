package driverstat

// Advice that several drivers share.
const (
	enlarge = "Spread the traffic over more queues (ethtool -L DEV combined N), move interrupts off a busy CPU, or " +
		"enlarge the ring (ethtool -G DEV rx N): the last helps against bursts only."
	relieve = "The adapter got rid of packets too slowly: look for a busy CPU or bus (lspci -vv, LnkSta), and let it " +
		"pause the sender (ethtool -A DEV rx on tx on) if the switch takes part."
	cable = "Check cable, transceiver and switch port (ethtool -m DEV, ethtool DEV): the frame was damaged before it " +
		"reached this host."
	length = "Compare the MTU of both ends (ip link show DEV); a sender or switch uses larger frames, or broken ones."
	memory = "Look for a shortage of memory when it happened (journalctl -k, grep 'allocation failure'), and raise " +
		"vm.min_free_kbytes."
)

// What statistics that several drivers have in common mean.
const (
	missedMeaning = "Packets lost because the adapter's receive buffer was full: the host took too long to empty the " +
		"ring."
	noBufferMeaning = "Packets that arrived while no descriptor was free; they wait in the adapter's buffer, and only " +
		"rx_missed_errors counts those that were lost there."
)

func one(class Class, name, meaning, advice string) Statistic {
	return Statistic{Names: []string{name}, Class: class, Meaning: meaning, Advice: advice}
}

// Statistics that most drivers have, each under its own name.

func wrongCRC(name string) Statistic {
	return one(Damaged, name, "Frames with a wrong checksum (CRC).", cable)
}

func tooShort(name string) Statistic {
	return one(Damaged, name, "Frames shorter than 64 bytes.", cable)
}

func tooLong(name string) Statistic {
	return one(Damaged, name, "Frames longer than the device takes.", length)
}

func fragments(name string) Statistic {
	return one(Damaged, name, "Frames shorter than 64 bytes with a wrong checksum.", cable)
}

func jabber(name string) Statistic {
	return one(Damaged, name, "Frames that were too long and had a wrong checksum.", cable)
}

func misaligned(name string) Statistic {
	return one(Damaged, name, "Frames that are not whole bytes long.", cable)
}

func noMemory(name string) Statistic {
	return one(Memory, name, "Packets that the driver dropped because it got no memory.", memory)
}

func noRingMemory(name string) Statistic {
	return one(Occasion, name, "Times that the driver got no memory for the ring and tried again.", "")
}

func pauseSent(name string) Statistic {
	return one(Pause, name, "Pause frames that this device has sent, because its buffer ran full.", "")
}

func pauseReceived(name string) Statistic {
	return one(Pause, name, "Pause frames that the switch has sent, which stop this device from sending.", "")
}

// intelMAC are the statistics that Intel's 1 and 10 Gbit/s drivers share.
func intelMAC(more ...Statistic) []Statistic {
	return append(more,
		one(Buffer, "rx_missed_errors", missedMeaning, relieve),
		one(Occasion, "rx_no_buffer_count", noBufferMeaning, ""),
		wrongCRC("rx_crc_errors"),
		tooLong("rx_long_length_errors"),
		tooShort("rx_short_length_errors"),
		one(Total, "rx_length_errors", "Frames of a wrong length; the too long and the too short ones are among them.", ""),
		one(Total, "rx_errors", "Damaged frames, which the other statistics count by kind.", ""),
		pauseSent("tx_flow_control_xoff"),
		pauseReceived("rx_flow_control_xoff"),
	)
}

// Drivers are the drivers whose statistics are known.
var Drivers = []Driver{
	{
		Name:   "ixgbe",
		Source: "drivers/net/ethernet/intel/ixgbe/ixgbe_ethtool.c and ixgbe_main.c, Linux 6.12.117",
		Statistics: intelMAC(
			one(Ring, "rx_no_dma_resources", "Packets lost because a receive queue had no free descriptor (QPRDC of 16 "+
				"queues); those of virtual functions are among them.", enlarge),
			noRingMemory("alloc_rx_page_failed"),
			one(Occasion, "alloc_rx_buff_failed", "Times that the driver got no buffer for a packet; it is tried again.", ""),
			one(Filtered, "fdir_miss", "Packets that no Flow Director filter has taken; they are received.", ""),
		),
	},
	{
		Name:   "i40e",
		Source: "drivers/net/ethernet/intel/i40e/i40e_ethtool.c and i40e_main.c, Linux 6.1.192 and 6.12.117",
		Note:   "the port's statistics are on the first function of a port only",
		Statistics: []Statistic{
			{
				Names:   []string{"rx_missed_errors", "rx_dropped"}, // the second where the first is missing
				Class:   Ring,
				Meaning: "Packets lost because a receive queue of the device had no free descriptor (GLV_RDPC).",
				Advice:  enlarge,
			},
			{
				Names:   []string{"port.rx_discards", "port.rx_dropped"},
				Class:   Buffer,
				Meaning: "Packets lost because the port's receive buffer was full.",
				Advice:  relieve,
			},
			wrongCRC("port.rx_crc_errors"),
			one(Damaged, "port.rx_length_errors", "Frames whose length does not agree with their header.", length),
			tooShort("port.rx_undersize"),
			fragments("port.rx_fragments"),
			tooLong("port.rx_oversize"),
			jabber("port.rx_jabber"),
			one(Total, "rx_errors", "Damaged frames, as rtnetlink's rx_errors.", ""),
			one(Total, "rx_crc_errors", "The port's frames with a wrong checksum.", ""),
			one(Total, "rx_length_errors", "The port's frames of a wrong length.", ""),
			one(Filtered, "rx_unknown_protocol", "Packets of a protocol that nobody asked for.", ""),
			one(Filtered, "rx_dropped", "Packets that the adapter discarded for other reasons than a lack of buffers "+
				"(GL_RXERR1).", ""),
			one(Occasion, "rx_alloc_fail", "Times that the driver got no buffer for a packet; it is tried again.", ""),
			noRingMemory("rx_pg_alloc_fail"),
			pauseSent("port.link_xoff_tx"),
			pauseReceived("port.link_xoff_rx"),
		},
	},
	{
		Name:   "ice",
		Source: "drivers/net/ethernet/intel/ice/ice_ethtool.c and ice_main.c, Linux 6.12.117",
		Statistics: []Statistic{
			one(Ring, "rx_dropped", "Packets lost because a receive queue of the device had no free descriptor "+
				"(GLV_RDPC).", enlarge),
			one(Buffer, "rx_dropped.nic", "Packets lost because the port's receive buffer was full (PRTRPB_RDPC).", relieve),
			wrongCRC("rx_crc_errors.nic"),
			tooShort("rx_undersize.nic"),
			fragments("rx_fragments.nic"),
			tooLong("rx_oversize.nic"),
			jabber("rx_jabber.nic"),
			one(Filtered, "rx_unknown_protocol", "Packets of a protocol that nobody asked for.", ""),
			one(Occasion, "rx_alloc_fail", "Times that the driver got no buffer for a packet; it is tried again.", ""),
			noRingMemory("rx_pg_alloc_fail"),
			pauseSent("link_xoff_tx.nic"),
			pauseReceived("link_xoff_rx.nic"),
		},
	},
	{
		Name: "mlx5_core",
		Source: "Documentation/networking/device_drivers/ethernet/mellanox/mlx5/counters.rst and " +
			"drivers/net/ethernet/mellanox/mlx5/core/en_stats.c, Linux 6.12.117",
		Note: "the names that end in _phy count for the port, and are not shown to virtual machines",
		Statistics: []Statistic{
			one(Ring, "rx_out_of_buffer", "Packets lost because a receive queue had no buffer for them.", enlarge),
			one(Buffer, "rx_discards_phy", "Packets lost because the port's receive buffer was full.", relieve),
			wrongCRC("rx_crc_errors_phy"),
			one(Damaged, "rx_symbol_err_phy", "Frames lost to coding errors on the link.", cable),
			one(Damaged, "rx_in_range_len_errors_phy", "Frames whose length does not agree with their header.", length),
			tooLong("rx_oversize_pkts_phy"),
			tooShort("rx_undersize_pkts_phy"),
			fragments("rx_fragments_phy"),
			jabber("rx_jabbers_phy"),
			one(Damaged, "rx_oversize_pkts_buffer", "Packets longer than the buffers of the receive queue.", length),
			one(Damaged, "rx%_oversize_pkts_sw_drop", "Packets longer than the MTU, which the driver dropped.", length),
			one(Total, "rx_oversize_pkts_sw_drop", "The sum of the queues' oversize_pkts_sw_drop.", ""),
			one(Total, "rx_prio%_discards", "The port's discards by priority.", ""),
			one(Total, "rx_prio%_buf_discard", "The port's discards by priority, for a lack of buffers.", ""),
			one(Occasion, "rx%_buff_alloc_err", "Times that the driver got no buffer, for the ring or for a packet; both "+
				"are in one number.", ""),
			one(Occasion, "rx_buff_alloc_err", "The sum of the queues' buff_alloc_err.", ""),
			one(Filtered, "rx_steer_missed_packets", "Packets that fit no flow of the adapter's table: not for this "+
				"host.", ""),
			one(Filtered, "rx_if_down_packets", "Packets that came while the interface was down.", ""),
			one(Filtered, "rx%_xdp_drop", "Packets that an XDP program dropped.", ""),
			one(Bus, "outbound_pci_buffer_overflow", "Packets that met a full buffer towards PCIe: the bus is slower than "+
				"the traffic.", ""),
			one(Bus, "outbound_pci_stalled_wr_events", "Seconds in which the device waited for PCIe for more than 30 % of "+
				"the time when it wrote.", ""),
			one(Bus, "outbound_pci_stalled_rd_events", "Seconds in which the device waited for PCIe for more than 30 % of "+
				"the time when it read.", ""),
			one(Bus, "rx_pci_signal_integrity", "Errors of signals on PCIe: try another slot.", ""),
			pauseSent("tx_pause_ctrl_phy"),
			pauseReceived("rx_pause_ctrl_phy"),
		},
	},
	{
		Name:   "bnxt_en",
		Source: "drivers/net/ethernet/broadcom/bnxt/bnxt_ethtool.c and bnxt.c, Linux 6.12.117",
		Statistics: []Statistic{
			{
				Names:   []string{"[%]: rx_discards", "[%]: rx_discard_pkts"},
				Class:   Ring,
				Meaning: "Packets lost because the receive ring had no free descriptor.",
				Advice:  enlarge,
			},
			{
				Names:   []string{"[%]: rx_errors", "[%]: rx_error_pkts"},
				Class:   Total,
				Meaning: "Packets of a ring that the device found faulty, which may be the port's again.",
			},
			noMemory("rx_total_oom_discards"),
			one(Total, "rx_total_ring_discards", "The sum of the rings' rx_discards.", ""),
			one(Total, "rx_stat_discard", "Discards of the port, which may be the rings' again.", ""),
			one(Total, "rx_stat_err", "Faulty frames of the port, which may be the rings' again.", ""),
			wrongCRC("rx_fcs_err_frames"),
			misaligned("rx_align_err_frames"),
			tooLong("rx_ovrsz_frames"),
			jabber("rx_jbr_frames"),
			tooShort("rx_undrsz_frames"),
			fragments("rx_runt_frames"),
			one(Buffer, "rx_discard_packets_cos%", "Packets lost in the port's buffer, by class of service.", relieve),
			one(Filtered, "rx_total_netpoll_discards", "Packets that the kernel's console has taken.", ""),
			one(Filtered, "rx_filter_miss", "Packets that fit no filter: not for this host.", ""),
			one(Occasion, "[%]: rx_buf_errors", "Times that a buffer of the ring was not usable.", ""),
			one(Occasion, "[%]: missed_irqs", "Interrupts that were lost and made up for by the driver's timer.", ""),
			pauseSent("tx_pause_frames"),
			pauseReceived("rx_pause_frames"),
		},
	},
	{
		Name:   "ena",
		Source: "drivers/net/ethernet/amazon/ena/ena_ethtool.c and ena_netdev.c, Linux 6.12.117",
		NoRing: "the driver's own list does not have what the device drops",
		Link:   true,
		Statistics: []Statistic{
			one(Provider, "conntrack_allowance_exceeded", "Packets dropped because the instance had more tracked "+
				"connections than its type allows.", "Use fewer or shorter connections, rules that need no tracking, or a "+
				"larger instance type."),
			one(Provider, "linklocal_allowance_exceeded", "Packets dropped because the instance asked the provider's "+
				"services (DNS, metadata, time) too often.", "Cache DNS on the host, and ask the metadata service less often."),
			one(Limit, "bw_in_allowance_exceeded", "Packets delayed or dropped because the instance received more than "+
				"its type allows.", ""),
			one(Limit, "bw_out_allowance_exceeded", "Packets delayed or dropped because the instance sent more than its "+
				"type allows.", ""),
			one(Limit, "pps_allowance_exceeded", "Packets delayed or dropped because the instance passed more packets in "+
				"a second than its type allows.", ""),
			noMemory("queue_%_rx_skb_alloc_fail"),
			noRingMemory("queue_%_rx_page_alloc_fail"),
			one(Occasion, "queue_%_rx_refil_partial", "Times that the driver could not fill the ring up.", ""),
			one(Occasion, "queue_%_rx_empty_rx_ring", "Times that the driver found its ring empty; what was lost then is "+
				"in rx_dropped.", ""),
			one(Occasion, "queue_%_rx_csum_bad", "Packets with a wrong checksum above IP; they are passed on.", ""),
			one(Filtered, "queue_%_rx_xdp_drop", "Packets that an XDP program dropped.", ""),
		},
	},
	{
		Name:   "gve",
		Source: "drivers/net/ethernet/google/gve/gve_ethtool.c, Linux 6.12.117",
		Note:   "the device's own statistics are counted only while the private flag report-stats is on",
		Statistics: []Statistic{
			one(Ring, "rx_no_buffers_posted[%]", "Packets lost because no buffer was in the ring.", enlarge),
			one(Damaged, "rx_drops_packet_over_mru[%]", "Packets longer than the device takes.", length),
			noMemory("rx_skb_alloc_fail"),
			one(Memory, "rx_desc_err_dropped_pkt", "Packets that the driver dropped because their descriptor was faulty.",
				"Update the kernel; look for resets of the device (ethtool -S DEV, reset_cnt)."),
			one(Total, "rx_dropped", "What the driver dropped, also for XDP.", ""),
			one(Total, "rx_dropped_pkt[%]", "What the driver dropped, by queue.", ""),
			one(Total, "rx_queue_drop_cnt[%]", "What the device dropped, by queue, for all reasons.", ""),
			noRingMemory("rx_buf_alloc_fail"),
			one(Filtered, "rx_drops_invalid_checksum[%]", "Packets with a wrong checksum above IP, which the device "+
				"dropped.", ""),
			one(Filtered, "rx_xdp_drop[%]", "Packets that an XDP program dropped.", ""),
		},
	},
	{
		Name:   "virtio_net",
		Source: "drivers/net/virtio_net.c, Linux 6.1.192 and 6.12.117",
		NoRing: "only the hypervisor counts frames that it could not put into a full ring",
		Statistics: []Statistic{
			{
				Names:   []string{"rx%_drops", "rx_queue_%_drops"},
				Less:    []string{"rx%_xdp_drops", "rx_queue_%_xdp_drops"},
				Class:   Memory,
				Meaning: "Packets that the driver dropped because it got no memory, or a buffer that was not valid.",
				Advice:  memory,
			},
			{
				Names:   []string{"rx%_xdp_drops", "rx_queue_%_xdp_drops"},
				Class:   Filtered,
				Meaning: "Packets that an XDP program dropped.",
			},
		},
	},
	{
		Name:   "vmxnet3",
		Source: "drivers/net/vmxnet3/vmxnet3_ethtool.c and vmxnet3_drv.c, Linux 6.12.117",
		Statistics: []Statistic{
			{
				Names:   []string{"pkts rx OOB"},
				Heading: "Rx Queue#",
				Class:   Ring,
				Meaning: "Packets lost because the receive ring had no buffer.",
				Advice:  enlarge,
			},
			{
				Names:   []string{"pkts rx err"},
				Heading: "Rx Queue#",
				Class:   Damaged,
				Meaning: "Packets that the hypervisor found faulty.",
				Advice:  cable,
			},
			{
				Names:   []string{"drv dropped rx total"},
				Heading: "Rx Queue#",
				Class:   Total,
				Meaning: "What the driver dropped; the drop probe sees these packets.",
			},
			{
				Names:   []string{"rx buf alloc fail"},
				Heading: "Rx Queue#",
				Class:   Occasion,
				Meaning: "Times that the driver got no buffer, for the ring or for a packet.",
			},
			{
				Names:   []string{"ring full"},
				Heading: "Tx Queue#",
				Class:   Occasion,
				Meaning: "Times that the transmit ring was full; the packets wait in the queueing discipline.",
			},
		},
	},
	{
		Name:   "hv_netvsc",
		Source: "drivers/net/hyperv/netvsc_drv.c and netvsc.c, Linux 6.12.117",
		NoRing: "the driver does not count ring losses; the hypervisor does",
		Statistics: []Statistic{
			noMemory("rx_no_memory"),
			one(Occasion, "rx_comp_busy", "Times that the driver had to tell the hypervisor later that a packet was taken.",
				""),
			one(Occasion, "tx_send_full", "Times that the buffer towards the hypervisor was full; the packet is sent "+
				"another way.", ""),
			one(Occasion, "stop_queue", "Times that the transmit queue was stopped because the ring was full.", ""),
		},
	},
	{
		Name:   "e1000e",
		Source: "drivers/net/ethernet/intel/e1000e/ethtool.c and netdev.c, Linux 6.12.117",
		Statistics: intelMAC(
			misaligned("rx_align_errors"),
			one(Occasion, "alloc_rx_buff_failed", "Times that the driver got no buffer; it is tried again.", ""),
			one(Occasion, "rx_dma_failed", "Times that a buffer could not be mapped; it is tried again.", ""),
			one(Filtered, "dropped_smbus", "Packets for the management controller that it did not take.", ""),
		),
	},
	{
		Name:   "igb",
		Source: "drivers/net/ethernet/intel/igb/igb_ethtool.c and igb_main.c, Linux 6.12.117",
		Statistics: intelMAC(
			one(Ring, "rx_queue_%_drops", "Packets lost because the queue had no free descriptor.", enlarge),
			misaligned("rx_align_errors"),
			one(Total, "rx_fifo_errors", "The sum of the queues' drops and rx_missed_errors.", ""),
			one(Occasion, "rx_queue_%_alloc_failed", "Times that the driver got no buffer; it is tried again.", ""),
			one(Occasion, "rx_queue_%_csum_err", "Packets with a wrong checksum above IP; they are passed on.", ""),
			one(Filtered, "dropped_smbus", "Packets for the management controller that it did not take.", ""),
		),
	},
	{
		Name:   "r8169",
		Source: "drivers/net/ethernet/realtek/r8169_main.c, Linux 6.12.117",
		Statistics: []Statistic{
			{
				Names:   []string{"rx_missed"},
				Bits:    16,
				Class:   Buffer,
				Meaning: missedMeaning,
				Advice:  relieve,
			},
			{
				Names:   []string{"rx_errors"},
				Bits:    32,
				Class:   Damaged,
				Meaning: "Frames that arrived damaged or with a wrong length.",
				Advice:  cable,
			},
			{
				Names:   []string{"align_errors"},
				Bits:    16,
				Class:   Total,
				Meaning: "Frames that are not whole bytes long, which may be among rx_errors.",
			},
		},
	},
	{
		Name:   "tg3",
		Source: "drivers/net/ethernet/broadcom/tg3.c, Linux 6.12.117",
		Note:   "chips 5717, 5762 and the first 5719 and 5720 count at most one loss for each reading",
		Statistics: []Statistic{
			one(Ring, "rx_discards", "Packets lost because no descriptor or no room in the device was free.", enlarge),
			wrongCRC("rx_fcs_errors"),
			misaligned("rx_align_errors"),
			tooLong("rx_frame_too_long_errors"),
			tooShort("rx_undersize_packets"),
			fragments("rx_fragments"),
			jabber("rx_jabbers"),
			one(Total, "rx_errors", "Faulty frames and packets of all kinds.", ""),
			one(Occasion, "rxbds_empty", "Times that the device found no free descriptor; the packet may have waited.", ""),
			one(Occasion, "mbuf_lwm_thresh_hit", "Times that the device's memory ran low; some chips repeat rx_discards "+
				"here.", ""),
			one(Bus, "dma_writeq_full", "Times that the queue towards the bus was full.", ""),
			pauseSent("tx_xoff_sent"),
			pauseReceived("rx_xoff_pause_rcvd"),
		},
	},
	{
		Name:       "e1000",
		Source:     "drivers/net/ethernet/intel/e1000/e1000_ethtool.c, Linux 6.12.117",
		Statistics: intelMAC(),
	},
	{
		Name:   "igc",
		Source: "drivers/net/ethernet/intel/igc/igc_ethtool.c, Linux 6.12.117",
		Statistics: intelMAC(
			one(Ring, "rx_queue_%_drops", "Packets lost because the queue had no free descriptor.", enlarge),
			one(Total, "rx_fifo_errors", "The sum of the queues' drops and rx_missed_errors.", ""),
		),
	},
	{
		Name:   "mlx4_en",
		Source: "drivers/net/ethernet/mellanox/mlx4/en_ethtool.c, Linux 6.12.117",
		Statistics: []Statistic{
			one(Ring, "rx%_dropped", "Packets lost because the receive ring had no buffer.", enlarge),
		},
	},
	{
		Name:   "bnx2x",
		Source: "drivers/net/ethernet/broadcom/bnx2x/bnx2x_ethtool.c, Linux 6.12.117",
		Statistics: []Statistic{
			one(Ring, "[%]: rx_discards", "Packets lost because the receive ring had no buffer.", enlarge),
			one(Total, "rx_discards", "The sum of the rings' rx_discards.", ""),
		},
	},
	{
		Name:   "bnx2",
		Source: "drivers/net/ethernet/broadcom/bnx2.c, Linux 6.12.117",
		Statistics: []Statistic{
			one(Ring, "rx_fw_discards", "Packets lost because the receive ring had no buffer.", enlarge),
		},
	},
	{
		Name:   "veth",
		Source: "drivers/net/veth.c, Linux 6.12.117",
		NoRing: "a full ring is counted as the peer's tx_dropped, and at veth_xmit by the drop probe",
	},
	{
		Name:   "vif",
		Source: "drivers/net/xen-netfront.c, Linux 6.12.117",
		NoRing: "the driver does not count ring losses; the hypervisor does",
	},
	{
		Name:   "tun",
		Source: "drivers/net/tun.c, Linux 6.12.117",
		NoRing: "a full queue is counted as tx_dropped, and at tun_net_xmit by the drop probe",
	},
}
