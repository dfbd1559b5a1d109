package record

import (
	"errors"
	"fmt"
	"os"

	"lostbeat/model"
)

// ErrNotClosed says that a recording lacks its end: it is still being written, or was cut off.
var ErrNotClosed = errors.New("the recording was not closed")

// AppendNotes adds notes to a finished recording, as a block of its own at its end: their time becomes that of its last
// event. A recording that is being written ([ErrLocked]) and one that was cut off ([ErrNotClosed]) take none. When the
// program is killed meanwhile, the recording has its events and lacks its index.
func AppendNotes(path string, notes []model.Note) error {
	if len(notes) == 0 {
		return nil
	}
	held, err := lockName(path)
	if err != nil {
		return wrap("add notes to", path, err)
	}
	defer held.release()
	u, err := newUnpacker()
	if err != nil {
		return wrap("add notes to", path, err)
	}
	defer u.close()
	in, err := openInput(path, u)
	if err != nil {
		return err
	}
	defer func() { _ = in.close() }() // it was only read
	return wrap("add notes to", path, in.append(notes))
}

// append writes a block with notes in the place of the index, and the index after it.
func (in *input) append(notes []model.Note) error {
	if !in.closed || len(in.blocks) == 0 {
		return ErrNotClosed
	}
	frames, err := readSeekTable(in.r, in.size)
	if err != nil {
		return err
	}
	end := frames[len(frames)-1] // the index
	raw, err := in.read(end)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	index, err := find(raw, envelopeIndex)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	b, last, err := in.notesBlock(notes)
	if err != nil {
		return err
	}
	s, err := os.OpenFile(in.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	out := &file{
		storage: s, path: in.path, size: end.offset, frames: frames[:len(frames)-1], index: append([]byte(nil), index...),
		zstd: last.zstd,
	}
	// The old index goes first: what is left of it would read as damage.
	if err := s.Truncate(end.offset); err != nil {
		return errors.Join(err, s.Close())
	}
	return errors.Join(out.block(b), out.finish())
}

// notesBlock makes a block of notes that goes on where the last block ends. It has no keyframe: what held then still
// holds.
func (in *input) notesBlock(notes []model.Note) (sealed, *blockEncoder, error) {
	enc, err := newBlockEncoder(keyframeEvery)
	if err != nil {
		return sealed{}, nil, err
	}
	var end model.Time
	for i := range in.blocks {
		enc.seq, end = max(enc.seq, in.blocks[i].seq+1), max(end, in.blocks[i].end)
	}
	enc.force, enc.keyframeSize, enc.lastKeyframe = false, 1, end
	var b model.Builder
	for _, n := range notes {
		n.Time = end
		b.AddNote(n)
	}
	batch := b.Take()
	enc.batch(batch)
	for i := range batch.Events {
		enc.add(batch, &batch.Events[i])
	}
	out, err := enc.seal()
	return out, enc, err
}
