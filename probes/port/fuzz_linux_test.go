package port

import (
	"testing"

	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
)

// FuzzRecords gives a tracker any records, in any order: the first byte of each 96 says which decoder gets it.
func FuzzRecords(f *testing.F) {
	fuzztest.Quick(f)
	const size = 96
	add := func(records ...[]byte) {
		var data []byte
		for _, r := range records {
			part := make([]byte, size)
			copy(part[1:], r)
			if len(r) == len(release(0, 0, false)) {
				part[0] = 1
			}
			data = append(data, part...)
		}
		f.Add(data)
	}
	taken := acquire(second, 5, 40000, 80, model.HowConnect)
	add(taken, taken, release(2*second, 5, true), release(3*second, 5, false))
	add(release(second, 9, false), acquire(2*second, 9, 53, 0, model.HowAccept))
	f.Add(taken[:30])
	f.Fuzz(func(t *testing.T, data []byte) {
		tracker := newTestTracker()
		var b model.Builder
		for n := 0; len(data) > 0 && n < 64; n++ {
			record := data[:min(size, len(data))]
			data = data[len(record):]
			decode := tracker.decodeAcquire
			switch record[0] % 3 {
			case 1:
				decode = tracker.decodeRelease
			case 2:
				decode = tracker.decodeFail
			}
			_ = decode(ebpftest.Aligned(record[1:]), &b)
		}
		tracker.announce(model.Time(3*second), &b)
		tracker.expire(model.Time(100*second), &b)
		ebpftest.Formed(t, b.Take())
	})
}
