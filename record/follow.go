package record

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"lostbeat/model"
)

// followPoll is how often a followed recording is looked at.
const followPoll = 100 * time.Millisecond

// Follower is a recording that is still being written, as a live source. It reads whole blocks: of one that is not
// written yet it waits for the rest. It ends when the recorder has closed the file and all of it is read.
type Follower struct{ path string }

// Follow returns the recording at path as a live source. The file may not exist yet.
func Follow(path string) *Follower { return &Follower{path} }

// Run implements source.Source.
func (f *Follower) Run(ctx context.Context, emit func(*model.Batch) error) error {
	u, err := newUnpacker()
	if err != nil {
		return err
	}
	defer u.close()
	r := &following{path: f.path, unpacker: u, pass: newPass(emit)}
	defer r.close()
	ticker := time.NewTicker(followPoll)
	defer ticker.Stop()
	for {
		done, err := r.look(ctx)
		if err != nil {
			return wrap("follow", f.path, err)
		}
		if done || ctx.Err() != nil {
			return r.pass.reportLoss(r.pass.last)
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// following is one run over a growing recording.
type following struct {
	path     string
	unpacker *unpacker
	pass     *pass
	file     *os.File
	in       *input
	// at is where the next frame begins, size how long the file is known to be.
	at, size int64
}

func (r *following) close() {
	if r.file != nil {
		r.file.Close()
	}
}

// errShorter says that somebody else writes the file now.
var errShorter = errors.New("it has become shorter: another recorder writes it")

// errFollowRing says that a file is no recording that grows.
var errFollowRing = errors.New("the ring of a flight recorder cannot be followed; open it to see what it holds now")

// look reads what was added; done says that the recording is closed and everything is read.
func (r *following) look(ctx context.Context) (done bool, err error) {
	if r.file == nil {
		if r.file, err = os.Open(r.path); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				err = nil
			}
			return false, err
		}
	}
	info, err := r.file.Stat()
	switch {
	case err != nil:
		return false, err
	case info.Size() < r.size:
		return false, errShorter
	}
	r.size = info.Size()
	w := &window{r: r.file, size: r.size}
	if r.in == nil {
		if ok, err := r.start(w); err != nil || !ok {
			return false, err
		}
	}
	r.in.size = r.size
	for ctx.Err() == nil && r.at < r.size {
		length, skippable, err := w.frameLength(r.at)
		switch {
		case errors.Is(err, errNotFrame):
			ok, err := r.resume(w)
			if err != nil || !ok {
				return false, err
			}
			continue
		case errors.Is(err, errTorn):
			return false, nil
		case err != nil:
			return false, err
		case skippable:
			return true, nil // the seek table
		}
		f := frame{offset: r.at, size: int(min(length, maxStored))}
		r.at += length
		if r.index(f) {
			continue
		}
		r.in.blocks = append(r.in.blocks, block{frame: f})
		if err := r.pass.block(r.in, len(r.in.blocks)-1); err != nil {
			return false, err
		}
	}
	return false, nil
}

// start reads the header; ok is false while it is not there.
func (r *following) start(w *window) (ok bool, err error) {
	if beginsRing(r.file, r.size) {
		return false, errFollowRing
	}
	header, err := readHeader(r.file, r.size)
	if errors.Is(err, ErrEmpty) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if r.at, _, err = w.frameLength(0); err != nil {
		return false, err
	}
	r.in = &input{path: r.path, r: r.file, header: header, unpacker: r.unpacker, close: func() error { return nil }}
	r.pass.session, r.pass.keyframe = string(header.Session), true
	return true, nil
}

// index reports whether a frame is the index, which comes when the recording is closed.
func (r *following) index(f frame) bool {
	if head, err := r.in.head(f); err == nil {
		if _, err := parseSummary(head, nil); err == nil {
			return false
		}
	}
	raw, err := r.in.read(f)
	if err == nil {
		_, err = find(raw, envelopeIndex)
	}
	return err == nil
}

// resume goes on behind what is no frame, as a write that has failed leaves it, once a block follows it.
func (r *following) resume(w *window) (ok bool, err error) {
	next, err := w.nextMagic(r.at + 1)
	for ; err == nil && next < r.size; next, err = w.nextMagic(next + 1) {
		length, _, frameErr := w.frameLength(next)
		if frameErr != nil {
			continue
		}
		if _, headErr := r.in.head(frame{offset: next, size: int(min(length, maxStored))}); headErr != nil {
			continue
		}
		r.pass.miss(1, fmt.Sprintf("%d bytes at %d of %s are not a block", next-r.at, r.at, filepath.Base(r.path)))
		r.at = next
		return true, nil
	}
	return false, err
}
