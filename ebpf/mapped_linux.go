package ebpf

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"unsafe"

	cebpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
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

// ClearMapped makes a map that was created with BPF_F_MMAPABLE zero, without a system call.
func ClearMapped(m *cebpf.Memory) error {
	var zeros [1 << 16]byte
	size := int(m.Size())
	for at := 0; at < size; at += len(zeros) {
		if _, err := m.WriteAt(zeros[:min(len(zeros), size-at)], int64(at)); err != nil {
			return fmt.Errorf("clear mapped memory: %w", err)
		}
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

// ReadIter walks what an iterator goes through and returns what it writes, an array of the struct that bpf2go
// generated for it. With an error it returns what came before.
func ReadIter[T any](it *link.Iter) ([]T, error) {
	r, err := it.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	size := int(unsafe.Sizeof(*new(T)))
	entries := make([]T, 0, len(raw)/size)
	for ; len(raw) >= size; raw = raw[size:] {
		entries = append(entries, *(*T)(unsafe.Pointer(&raw[0])))
	}
	return entries, err
}

// Addr reads an address of four words in network byte order, of which IPv4 has the first.
func Addr(words [4]uint32, family uint8) netip.Addr {
	raw := *(*[16]byte)(unsafe.Pointer(&words))
	if family == unix.AF_INET6 {
		return netip.AddrFrom16(raw)
	}
	return netip.AddrFrom4([4]byte(raw[:4]))
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
