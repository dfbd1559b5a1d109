package nic

import (
	"strconv"
	"strings"
)

// irqQueue says which queue of a device an interrupt serves, from the name that
// the driver gave to its action. Drivers name them in their own ways:
//
//	virtio2-input.0, virtio2-output.0          virtio_net
//	eth0-TxRx-3, ice-eth0-TxRx-3               igb, ixgbe, i40e, ice, bnxt
//	eth0-rx-1, eth0-tx-1, eth0-rxtx-1          e1000e, vmxnet3
//	eth0-Tx-Rx-2                               ena
//	mlx5_comp3@pci:0000:00:05.0                mlx5
//	eth0-fp-2, eth0-2                          bnx2x, bnx2, tg3
//	eth0                                       one interrupt for all
//
// ok is false for interrupts that serve no queue: virtio2-config, mlx5_async0.
func irqQueue(action, device string) (queue int64, rx, tx, ok bool) {
	name, _, _ := strings.Cut(action, "@")
	if name == device {
		return 0, true, true, true
	}
	digits := len(name)
	for digits > 0 && name[digits-1] >= '0' && name[digits-1] <= '9' {
		digits--
	}
	queue, err := strconv.ParseInt(name[digits:], 10, 32)
	if err != nil {
		return 0, false, false, false
	}
	// What a device is called says nothing about its queues.
	role := strings.ToLower(strings.TrimRight(strings.ReplaceAll(name[:digits], device, ""), "-._"))
	rx = strings.HasSuffix(role, "rx") || strings.HasSuffix(role, "input") || strings.HasSuffix(role, "rxtx")
	tx = strings.HasSuffix(role, "tx") || strings.HasSuffix(role, "output") || strings.HasSuffix(role, "txrx") ||
		strings.HasSuffix(role, "tx-rx")
	if strings.HasSuffix(role, "txrx") || strings.HasSuffix(role, "tx-rx") || strings.HasSuffix(role, "rxtx") {
		rx, tx = true, true
	}
	if role == "mlx5_comp" || role == "fp" || role == "-fp" || role == "" && strings.HasPrefix(name, device) {
		rx, tx = true, true
	}
	return queue, rx, tx, rx || tx
}
