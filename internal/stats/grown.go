package stats

import "math"

// Grown returns by how much a total grew; ok is false where it began anew. One that fits in 32 bits and falls by half
// their range or more has wrapped.
func Grown(earlier, later float64) (n float64, ok bool) {
	switch d := later - earlier; {
	case d >= 0:
		return d, true
	case earlier <= math.MaxUint32 && later >= 0 && d < -math.MaxInt32:
		return d + 1<<32, true
	}
	return 0, false
}
