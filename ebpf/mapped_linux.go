package ebpf

import (
	"bytes"
	"fmt"
	"unsafe"

	cebpf "github.com/cilium/ebpf"
)

// ReadMapped copies the beginning of a map that was created with
// BPF_F_MMAPABLE into dst, without a system call. T is a struct that bpf2go
// generated from the map's value; it holds no pointers. Counters are copied
// whole, but the copy is not one instant: differences of counters that only
// grow are right all the same.
func ReadMapped[T any](m *cebpf.Memory, dst []T) error {
	if len(dst) == 0 {
		return nil
	}
	size := int(unsafe.Sizeof(dst[0])) * len(dst)
	if _, err := m.ReadAt(unsafe.Slice((*byte)(unsafe.Pointer(&dst[0])), size), 0); err != nil {
		return fmt.Errorf("read mapped memory: %w", err)
	}
	return nil
}

// Record reads a record of the ringbuf as the struct that bpf2go generated for
// it; ok is false when raw is shorter.
func Record[T any](raw []byte) (record *T, ok bool) {
	if len(raw) < int(unsafe.Sizeof(*record)) {
		return nil, false
	}
	return (*T)(unsafe.Pointer(&raw[0])), true
}

// HistOf reads the generated form of struct lb_hist as Hist.
func HistOf[T any](generated *T) *Hist {
	if unsafe.Sizeof(*generated) != unsafe.Sizeof(Hist{}) {
		panic("ebpf: HistOf of a type that is not struct lb_hist")
	}
	return (*Hist)(unsafe.Pointer(generated))
}

// Comm returns the name in a record's comm field.
func Comm(comm []int8) string {
	text := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(comm))), len(comm))
	if end := bytes.IndexByte(text, 0); end >= 0 {
		text = text[:end]
	}
	return string(text)
}
