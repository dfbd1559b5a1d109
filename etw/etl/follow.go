package etl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"os"
	"time"

	"lostbeat/etw"
	"lostbeat/model"
	"lostbeat/source"
)

const (
	// followPoll is how often a followed file is looked at.
	followPoll = 100 * time.Millisecond
	// followBytes is what waits for its turn, followBurst how much of the file is read before that is looked at.
	followBytes = 192 << 20
	followBurst = 4 << 20
)

// Follower is an event trace log that a session is still writing, as a live source. It reads whole buffers: of one that
// is not written yet it waits for the rest. It ends when the session has stopped and all of the file is read.
type Follower struct {
	path    string
	options Options
	// poll is followPoll but in tests.
	poll time.Duration
}

// Follow returns the file at path as a live source. The file may not exist yet.
func Follow(path string, o Options) *Follower {
	return &Follower{path: path, options: o, poll: followPoll}
}

// Run implements source.Source.
func (f *Follower) Run(ctx context.Context, emit source.Emit) error {
	file, err := f.open(ctx)
	if file == nil {
		return err
	}
	defer file.Close()
	r := &following{path: f.path, file: file, options: f.options, clock: time.Now}
	ticker := time.NewTicker(f.poll)
	defer ticker.Stop()
	for {
		done, err := r.look(ctx, emit)
		if err != nil {
			return err
		}
		if done || ctx.Err() != nil {
			return r.end()
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// open waits for the file.
func (f *Follower) open(ctx context.Context) (*os.File, error) {
	ticker := time.NewTicker(f.poll)
	defer ticker.Stop()
	for {
		file, err := os.Open(f.path)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("follow capture: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-ticker.C:
		}
	}
}

// following is one run over a growing file.
type following struct {
	path    string
	file    *os.File
	options Options
	header  Header
	// at is where the next buffer begins, size how long the file is known to be.
	at, size int64
	live     *etw.LiveDecoder
	stream   *etw.Stream
	out      model.Builder
	walker   walker
	// newest is the latest time stamp of the file, seen when that was read.
	newest uint64
	seen   time.Time
	// clock is time.Now but in tests.
	clock func() time.Time
	// burst is how many bytes were read since the last step.
	burst int64
}

// start reads the log header; ok is false while it is not there.
func (r *following) start(emit source.Emit) (ok bool, err error) {
	var first [bufferHeaderSize]byte
	if r.size < bufferHeaderSize {
		return false, nil
	}
	if err := readFull(r.file, first[:], 0); err != nil {
		return false, err
	}
	if length := int64(binary.LittleEndian.Uint32(first[:])); length > r.size || length == 0 {
		return false, nil
	}
	if r.header, err = ReadHeader(r.file, r.size); err != nil {
		return false, fmt.Errorf("follow capture %s: %w", r.path, err)
	}
	if r.header.LogFileMode&modeCircular != 0 {
		return false, fmt.Errorf("follow capture %s: %w", r.path, errNotFollowed)
	}
	var probes []etw.Probe
	if r.options.Probes != nil {
		probes = r.options.Probes()
	}
	st := etw.NewLiveState()
	m := etw.NewMerger(followBytes)
	r.stream = m.Stream()
	r.live = &etw.LiveDecoder{
		Decoder: etw.NewDecoder(r.options.Options, r.header.Clock, st, &r.out, probes...),
		Merger:  m,
		Emit:    emit,
		EverySecond: func(t model.Time) {
			r.out.AddClock(r.header.clockAt(t))
		},
	}
	r.walker = walker{r: r.file, header: &r.header}
	r.header.introduce(&r.out, r.header.Start, r.path, st, model.Probe{Name: "etw", State: model.ProbeOn}, probes)
	r.newest, r.seen = r.header.Clock.Origin, r.clock()
	return true, nil
}

var errNotFollowed = errors.New("a circular file cannot be followed: open it after the session has stopped")

// look reads what was added; done says that the session has stopped and everything is read.
func (r *following) look(ctx context.Context, emit source.Emit) (done bool, err error) {
	if err := r.measure(); err != nil {
		return false, err
	}
	if r.live == nil {
		if ok, err := r.start(emit); err != nil || !ok {
			return false, err
		}
	}
	// A session that has stopped writes no more: what is there after that was seen is all.
	h, err := ReadHeader(r.file, r.size)
	stopped := err == nil && h.End != 0
	if err := r.measure(); err != nil {
		return false, err
	}
	for ctx.Err() == nil {
		ok, err := r.buffer(stopped)
		if err != nil {
			return false, err
		}
		if !ok {
			break
		}
		if r.burst >= followBurst {
			if err := r.step(r.newest); err != nil {
				return false, err
			}
		}
	}
	if stopped {
		return true, nil
	}
	// Without records, time goes on as that of this machine does.
	passed := etw.Clock{Type: r.header.Clock.Type, Frequency: r.header.Clock.Frequency, Origin: r.newest}
	if passed.Type == etw.ClockSystem {
		passed.Start = r.header.Clock.Time(r.newest)
	}
	return false, r.step(passed.Ticks(passed.Start.Add(r.clock().Sub(r.seen))))
}

// measure finds out how long the file is.
func (r *following) measure() error {
	info, err := r.file.Stat()
	if err != nil {
		return fmt.Errorf("follow capture: %w", err)
	}
	if info.Size() < r.size {
		return fmt.Errorf("follow capture %s: the file shrank: another session is writing it", r.path)
	}
	r.size = info.Size()
	return nil
}

// step hands on what is old enough. What waits may not fill the memory: then less of it waits.
func (r *following) step(now uint64) error {
	r.burst = 0
	hold := r.live.Hold
	defer func() { r.live.Hold = hold }()
	for r.live.Hold = etw.DefaultHold; ; r.live.Hold /= 2 {
		if err := r.live.Step(now); err != nil || !r.live.Merger.Filling() || r.live.Hold <= 1 {
			return err
		}
	}
}

// buffer reads the next buffer if it is there. last says that the session has stopped, so that what is there is all.
func (r *following) buffer(last bool) (ok bool, err error) {
	if r.size-r.at < bufferHeaderSize {
		return false, nil
	}
	var raw [bufferHeaderSize]byte
	if err := readFull(r.file, raw[:], r.at); err != nil {
		return false, err
	}
	length := int64(binary.LittleEndian.Uint32(raw[:]))
	compressed := r.header.LogFileMode&modeCompressed != 0
	most := int64(max(r.header.BufferSize, 1024)) + bufferHeaderSize
	if r.at == 0 {
		most = maxBuffer
	}
	switch {
	case blank(raw[:]):
		return false, nil // space that the session has reserved, or a header that is still to be written
	case length < bufferHeaderSize || length > most:
		return r.damaged(last, compressed)
	case r.at+length > r.size && !last:
		return false, nil
	}
	b, ok := parseBuffer(raw[:], r.at, r.size)
	if !ok {
		return r.damaged(last, compressed)
	}
	if b.filled > bufferHeaderSize && !last {
		// The file may have been made longer before the data came.
		var head [minRecord]byte
		if err := readFull(r.file, head[:], r.at+bufferHeaderSize); err != nil {
			return false, err
		}
		if blank(head[:]) {
			return false, nil
		}
	}
	r.read(&b)
	r.at += length
	r.burst += length
	return true, nil
}

// damaged leaves out a buffer whose header makes no sense. Where buffers have sizes of their own, nothing says where
// the next one is.
func (r *following) damaged(last, compressed bool) (ok bool, err error) {
	size := int64(r.header.BufferSize)
	if !compressed && size >= bufferHeaderSize && r.at+size > r.size && !last {
		return false, nil // it may be written yet
	}
	if compressed || size < bufferHeaderSize {
		size = r.size - r.at
		if !last {
			return false, fmt.Errorf("follow capture %s: offset %d: no buffer header", r.path, r.at)
		}
	}
	size = min(size, r.size-r.at)
	d := &Damage{Offset: r.at, Bytes: size, Reason: "no buffer header"}
	r.live.Lose(d.loss(r.now()))
	r.at += size
	return true, nil
}

// now is the time of what was read last.
func (r *following) now() model.Time { return r.header.Clock.Time(r.newest) }

// read hands the records of a buffer to the stream.
func (r *following) read(b *buffer) {
	if b.flags&(flagEventsLost|flagBufferLost) != 0 {
		r.live.Lose(r.header.flagged(b, r.now()))
	}
	r.walker.buffer(b, func(record *etw.Record) bool {
		if record.Time > r.newest {
			r.newest, r.seen = record.Time, r.clock()
		}
		r.stream.Put(record)
		return true
	}, func(d *Damage) bool {
		r.live.Lose(d.loss(r.now()))
		return true
	})
}

// end hands on everything that is left.
func (r *following) end() error {
	if r.live == nil {
		return nil
	}
	if h, err := ReadHeader(r.file, r.size); err == nil {
		lost := func(n uint32, origin, detail string) {
			if n > 0 {
				r.live.Lose(model.Loss{
					Time: r.now(), Dur: max(r.now().Sub(h.Start), 0), CPU: -1, Lost: uint64(n), Origin: origin, Detail: detail,
				})
			}
		}
		lost(h.EventsLost, "etw", "events that the session counted as lost, at times that are not known")
		lost(h.BuffersLost, "etw-buffer", "buffers that the session counted as lost, at times that are not known")
	}
	return r.live.End(r.newest)
}
