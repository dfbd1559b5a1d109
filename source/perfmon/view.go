package perfmon

import (
	"errors"
	"io"
	"sort"

	"lostbeat/etw"
	"lostbeat/etw/etl"
	"lostbeat/model"
)

// view is a binary log with a gap: its first bytes, then those from skip on.
// What it holds is a well-formed log again, so that reading can start anywhere.
type view struct {
	r io.ReaderAt
	// head is the length of the part before the gap, skip where it goes on, end where it stops.
	head, skip, end int64
}

func (v *view) size() int64 { return v.head + v.end - v.skip }

// ReadAt implements io.ReaderAt.
func (v *view) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset < v.head {
		n, err = v.r.ReadAt(p[:min(int64(len(p)), v.head-offset)], offset)
		if n == len(p) || err != nil {
			return n, err
		}
	}
	left := v.size() - offset - int64(n)
	if left <= 0 {
		return n, io.EOF
	}
	short := int64(len(p)-n) > left
	m, err := v.r.ReadAt(p[n:n+int(min(int64(len(p)-n), left))], offset+int64(n)-v.head+v.skip)
	if err == nil && short {
		err = io.EOF
	}
	return n + m, err
}

// buffers is how a binary log lies in its file: header bytes up to the first
// sample, then count buffers of one size.
type buffers struct {
	first, size int64
	count       int
}

// layout finds the buffers of a log. ok is false when they are not of one size,
// as far as three of them tell: then there is nothing to jump by.
func (b *binaryLog) layout() (buffers, bool) {
	size := int64(b.header.BufferSize)
	if size < 1<<10 || b.size < 2*size {
		return buffers{}, false
	}
	var head [4]byte
	for _, at := range [...]int64{0, size, b.size / size / 2 * size} {
		if at+4 > b.size {
			return buffers{}, false
		}
		if _, err := b.r.ReadAt(head[:], at); err != nil || int64(le.Uint32(head[:])) != size {
			return buffers{}, false
		}
	}
	out := buffers{size: size, count: int(b.size / size)}
	for i := 1; i < out.count; i++ {
		first, _, ok := b.samplesIn(int64(i)*size, int64(i+1)*size)
		if ok || first != 0 {
			out.first = int64(i)
			return out, true
		}
	}
	return buffers{}, false
}

// samplesIn returns the time of the first event and that of the last whole
// sample between two offsets that are buffer boundaries; ok is false when no
// sample begins and ends there.
func (b *binaryLog) samplesIn(start, end int64) (first, last model.Time, ok bool) {
	v := &view{r: b.r, head: b.head, skip: start, end: min(end, b.size)}
	var j joiner
	for record, err := range etl.Records(v, v.size()) {
		var damage *etl.Damage
		if errors.As(err, &damage) {
			j.reset()
			continue
		}
		if err != nil {
			return first, last, ok
		}
		if record.Class != classBLG || record.ID != recordSample {
			continue
		}
		at := etw.FileTime(record.Time).Add(-b.offset)
		if first == 0 {
			first = at
		}
		if _, whole := j.join(record); whole {
			last, ok = at, true
		}
	}
	return first, last, ok
}

// seek returns a view that leaves out what lies before the last whole sample
// that ends before from.
func (b *binaryLog) seek(from model.Time) (*view, bool) {
	lay, ok := b.layout()
	if !ok {
		return nil, false
	}
	n := lay.count - int(lay.first)
	at := func(i int) int64 { return (lay.first + int64(i)) * lay.size }
	k := sort.Search(n, func(i int) bool {
		first, _, _ := b.samplesIn(at(i), at(i+1))
		return first >= from
	})
	for back := 1; back < k; back *= 2 {
		if _, _, whole := b.samplesIn(at(k-1-back), at(k-1)); whole {
			return &view{r: b.r, head: at(1), skip: max(at(k-1-back), at(1)), end: b.size}, true
		}
	}
	return nil, false
}

// last returns the time of the last sample.
func (b *binaryLog) last() (model.Time, error) {
	size := int64(b.header.BufferSize)
	if _, ok := b.layout(); ok {
		count := (b.size + size - 1) / size
		for back := int64(1); back < count; back *= 2 {
			if _, last, ok := b.samplesIn((count-back)*size, b.size); ok {
				return last, nil
			}
		}
	}
	_, last, _ := b.samplesIn(b.head, b.size)
	return last, nil
}
