package record

import (
	"errors"
	"fmt"
	"slices"

	"lostbeat/record/recordpb"
)

// Save writes what is kept in memory to a new recording at path. It takes as
// long as the disk takes for Options.MaxBytes at most; the stream goes on being
// kept meanwhile.
func (f *Flight) Save(path string) error {
	kept, h, err := f.copy(path)
	if err != nil {
		return err
	}
	s, err := f.opts.create(path)
	if err != nil {
		return wrap("create", path, err)
	}
	out, err := startFile(s, path, h, f.enc.zstd)
	for i := 0; i < len(kept) && err == nil; i++ {
		var frame []byte
		if frame, err = f.frame(kept[i]); err == nil {
			err = out.block(sealed{frame, kept[i].raw, kept[i].summary})
		}
	}
	switch {
	case err == nil:
		return wrap("close", path, out.finish())
	case out.blocks == 0:
		return wrap("write", path, errors.Join(err, s.Close(), f.opts.remove(path)))
	}
	// What the disk has taken is worth more than nothing.
	err = errors.Join(err, out.finish())
	return wrap("write", path, fmt.Errorf("%w; %d of %d blocks were saved", err, out.blocks, len(kept)))
}

// copy returns what is kept, and the header of a recording of it.
func (f *Flight) copy(path string) ([]*keptBlock, *recordpb.Header, error) {
	f.take()
	defer f.give()
	if f.closed {
		return nil, nil, wrap("write", path, ErrClosed)
	}
	f.flush()
	return slices.Clone(f.kept), &recordpb.Header{
		FormatMajor: FormatMajor,
		FormatMinor: FormatMinor,
		Tool:        f.opts.Tool,
		Session:     newSession(),
		CreatedNs:   uint64(f.enc.state.Now),
		Meta:        headerMeta(f.enc.state),
	}, nil
}
