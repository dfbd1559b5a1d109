package nic

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// softnetCPU is one line of /proc/net/softnet_stat. The kernel keeps these
// counters in 32 bits, and they wrap.
type softnetCPU struct {
	cpu                                    int32
	processed, dropped, timeSqueeze        uint32
	receivedRPS, flowLimit, backlogPackets uint32
}

// Columns of /proc/net/softnet_stat. Those from receivedRPS on were added over
// time (2.6.39, 3.11, 5.10), as were two more that say what the backlog's length
// is made of.
const (
	columnProcessed   = 0
	columnDropped     = 1
	columnTimeSqueeze = 2
	columnReceivedRPS = 9
	columnFlowLimit   = 10
	columnBacklog     = 11
	columnCPU         = 12
	minSoftnetColumns = 9
)

// parseSoftnet reads /proc/net/softnet_stat. The file lists the CPUs that are
// online; before 5.10 it does not number them, and online does: the nth line is
// the nth of online, or n where online is shorter.
func parseSoftnet(r io.Reader, online []int32) ([]softnetCPU, error) {
	var cpus []softnetCPU
	for lines := bufio.NewScanner(r); ; {
		if !lines.Scan() {
			return cpus, lines.Err()
		}
		fields := strings.Fields(lines.Text())
		if len(fields) < minSoftnetColumns {
			return cpus, fmt.Errorf(
				"softnet_stat line %d: %d columns, want at least %d",
				len(cpus)+1,
				len(fields),
				minSoftnetColumns,
			)
		}
		values := make([]uint32, max(len(fields), columnCPU+1))
		for i, f := range fields {
			v, err := strconv.ParseUint(f, 16, 32)
			if err != nil {
				return cpus, fmt.Errorf("softnet_stat line %d column %d: %w", len(cpus)+1, i+1, err)
			}
			values[i] = uint32(v)
		}
		cpu := int32(len(cpus))
		switch {
		case len(fields) > columnCPU:
			cpu = int32(values[columnCPU])
		case len(cpus) < len(online):
			cpu = online[len(cpus)]
		}
		cpus = append(cpus, softnetCPU{cpu, values[columnProcessed], values[columnDropped], values[columnTimeSqueeze],
			values[columnReceivedRPS], values[columnFlowLimit], values[columnBacklog]})
	}
}
