package platform

import (
	"fmt"
	"strconv"
	"strings"
)

// maxCPU bounds the processor numbers that ParseCPUList accepts, so that a
// malformed list cannot ask for unbounded memory. Linux's limit is 8192.
const maxCPU = 1 << 16

// ParseCPUList parses a list of processors in the kernel's form, "0-3,8,10-11",
// with or without the end of the line. An empty list is valid.
func ParseCPUList[N int | int32](list string) ([]N, error) {
	list = strings.TrimSuffix(list, "\n")
	if list == "" {
		return nil, nil
	}
	var cpus []N
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		low, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("parse processor list %q: %w", list, err)
		}
		high := low
		if isRange {
			if high, err = strconv.ParseUint(last, 10, 16); err != nil {
				return nil, fmt.Errorf("parse processor list %q: %w", list, err)
			}
		}
		if high < low || len(cpus)+int(high-low) >= maxCPU {
			return nil, fmt.Errorf("parse processor list %q: range %s is not valid", list, part)
		}
		for cpu := low; cpu <= high; cpu++ {
			cpus = append(cpus, N(cpu))
		}
	}
	return cpus, nil
}
