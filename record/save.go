package record

import (
	"errors"
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
	if err != nil {
		return wrap("write", path, errors.Join(err, s.Close()))
	}
	for _, b := range kept {
		if err := out.block(b); err != nil {
			return wrap("write", path, errors.Join(err, s.Close()))
		}
	}
	return wrap("close", path, out.finish())
}

// copy returns what is kept, and the header of a recording of it.
func (f *Flight) copy(path string) ([]sealed, *recordpb.Header, error) {
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
