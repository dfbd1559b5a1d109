package nic

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// maxCPUs bounds the CPU numbers that are believed.
const maxCPUs = 1 << 16

// parseCPUMask turns a mask such as "00000003,00000000" (groups of 32 bits,
// highest first) into a list such as "32-33"; no bits set give "".
func parseCPUMask(mask string) (string, error) {
	groups := strings.Split(strings.TrimSpace(mask), ",")
	if len(groups) > maxCPUs/32 {
		return "", fmt.Errorf("CPU mask of %d groups", len(groups))
	}
	var cpus []int32
	for i := len(groups) - 1; i >= 0; i-- {
		word, err := strconv.ParseUint(groups[i], 16, 32)
		if err != nil {
			return "", fmt.Errorf("CPU mask %q: %w", mask, err)
		}
		for ; word != 0; word &= word - 1 {
			cpus = append(cpus, int32(32*(len(groups)-1-i)+bits.TrailingZeros64(word)))
		}
	}
	return formatCPUs(cpus), nil
}

// formatCPUs writes rising CPU numbers as a list: "0-3,8".
func formatCPUs(cpus []int32) string {
	var list strings.Builder
	for i := 0; i < len(cpus); {
		last := i
		for last+1 < len(cpus) && cpus[last+1] == cpus[last]+1 {
			last++
		}
		if list.Len() > 0 {
			list.WriteByte(',')
		}
		fmt.Fprintf(&list, "%d", cpus[i])
		if last > i {
			fmt.Fprintf(&list, "-%d", cpus[last])
		}
		i = last + 1
	}
	return list.String()
}
