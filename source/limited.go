package source

import (
	"fmt"
	"io"
)

// Limited is a reader for parsers that keep a part of a file until its end: of a part that does not end it gives so
// much and then an error, so that the memory for it is bounded.
type Limited struct {
	r    io.Reader
	most int
	n    int
}

// LimitedReader returns a reader of r that gives at most so many bytes between two calls of Next.
func LimitedReader(r io.Reader, most int) *Limited { return &Limited{r: r, most: most} }

// Next begins the next part.
func (l *Limited) Next() { l.n = 0 }

// Read implements io.Reader.
func (l *Limited) Read(p []byte) (int, error) {
	if l.n >= l.most {
		return 0, fmt.Errorf("a part of it has more than %d KiB", l.most>>10)
	}
	n, err := l.r.Read(p[:min(len(p), l.most-l.n)])
	l.n += n
	return n, err
}
