package ebpftest

import (
	"testing"
	"unsafe"

	"lostbeat/model"
)

// Bytes returns a record as the ringbuf holds it.
func Bytes[T any](r *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(r)), unsafe.Sizeof(*r)) }

// Aligned returns a copy of raw that begins at a multiple of 8, as records of a ringbuf do.
func Aligned(raw []byte) []byte {
	words := make([]uint64, len(raw)/8+1)
	out := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(raw))
	copy(out, raw)
	return out
}

// Formed checks that each event that was made of any records has the form of its kind. Their order may be any,
// and times, PIDs and TIDs are taken as the kernel gives them.
func Formed(t *testing.T, b *model.Batch) {
	t.Helper()
	if b == nil {
		return
	}
	for i := range b.Events {
		one := *b
		e := b.Events[i]
		e.Time, e.Dur, e.PID, e.TID = max(e.Time, 0), max(e.Dur, 0), max(e.PID, -1), max(e.TID, -1)
		one.Events = []model.Event{e}
		v := model.Validator{Partial: true}
		if err := v.Check(&one); err != nil {
			t.Error(err)
		}
	}
}
