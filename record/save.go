package record

import (
	"errors"

	"lostbeat/record/recordpb"
)

// Save writes what is kept in memory to a new recording at path, and goes on
// keeping. It takes as long as the disk takes for Options.MaxBytes at most.
func (f *Flight) Save(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return wrap("write", path, ErrClosed)
	}
	f.flush()
	s, err := f.opts.create(path)
	if err != nil {
		return wrap("create", path, err)
	}
	h := &recordpb.Header{
		FormatMajor: FormatMajor,
		FormatMinor: FormatMinor,
		Tool:        f.opts.Tool,
		Session:     newSession(),
		CreatedNs:   uint64(f.enc.state.Now),
		Meta:        headerMeta(f.enc.state),
	}
	out, err := startFile(s, path, h, f.enc.zstd)
	if err != nil {
		return wrap("write", path, errors.Join(err, s.Close()))
	}
	for _, b := range f.kept {
		if err := out.block(b); err != nil {
			return wrap("write", path, errors.Join(err, s.Close()))
		}
	}
	return wrap("close", path, out.finish())
}
