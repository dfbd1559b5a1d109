package bundle

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the memory of a decompressor: xz -9 and zstd --ultra -22 without --long take 64 and 128 MiB.
const (
	maxDictionary = 64 << 20
	maxWindow     = 128 << 20
)

// decompress returns a reader of what is in a compressed file.
func decompress(k kind, r io.Reader) (io.Reader, func(), error) {
	switch k {
	case isGzip:
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, err
		}
		return z, func() {}, nil
	case isXZ:
		return newXZ(r), func() {}, nil
	case isBzip2:
		return bzip2.NewReader(r), func() {}, nil
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow),
		zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, nil, err
	}
	return z, z.Close, nil
}

// zipMethods are methods of compression in a zip other than the usual ones.
var zipMethods = map[uint16]kind{12: isBzip2, 93: isZstd, 95: isXZ}

// inZip returns the content of a member of a zip.
func inZip(k kind, r io.Reader) io.ReadCloser {
	content, done, err := decompress(k, r)
	if err != nil {
		return &zipContent{failed{err}, func() {}}
	}
	return &zipContent{content, done}
}

// zipContent is the content of a member; done frees what unpacks it.
type zipContent struct {
	io.Reader
	done func()
}

func (c *zipContent) Close() error {
	c.done()
	return nil
}

// failed is a reader that only has an error.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// tar reads the members of a tar; under is its own name where it is in another archive.
func (w *walker) tar(under string, r io.Reader, depth int) error {
	t := tar.NewReader(r)
	for first := true; ; first = false {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if first {
				return fmt.Errorf("read the archive: %w", err)
			}
			return err
		}
		if h.Typeflag == tar.TypeLink && w.limits.Link != nil {
			w.limits.Link(join(under, tidy(h.Name)), join(under, tidy(h.Linkname)))
		}
		if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeGNUSparse {
			if err := w.count(); err != nil {
				return err
			}
			continue
		}
		m := Member{Name: tidy(h.Name), Modified: h.ModTime}
		var content io.Reader = t
		if sparse(h) {
			content = &counted{r: t, w: w} // it is larger than what it takes in the archive
		}
		if err := w.tarMember(m, under, content, depth); err != nil {
			return err
		}
	}
}

// sparse reports whether a file has holes, which take no room in the archive.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

func (w *walker) tarMember(m Member, under string, r io.Reader, depth int) error {
	b := bufio.NewReaderSize(r, plainBytes)
	head, err := b.Peek(HeadBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return w.member(m, under, b, kindOf(head), depth)
}

// inFile keeps an archive that is in another one in a file while it is read: a zip has its directory at its end, a
// cabinet its blocks where that says.
func (w *walker) inFile(name string, r io.Reader, read func(f *os.File, size int64) error) error {
	f, err := os.CreateTemp(w.temp, "inner-*")
	if err != nil {
		return &visitError{err}
	}
	defer os.Remove(f.Name())
	defer f.Close()
	n, cut := io.Copy(f, &counted{r: r, w: w})
	if err := w.local(name, cut); err != nil {
		return err
	}
	seen := w.seen
	err = read(f, n)
	if cut != nil && w.seen == seen && !w.final(err) {
		return nil // it is said already
	}
	return w.local(name, err)
}

// encrypted is the flag of a member of a zip whose content is.
const encrypted = 1

// zip reads the members of a zip by its directory.
func (w *walker) zip(under string, r io.ReaderAt, size int64, depth int) error {
	left := w.limits.Members - w.seen
	if zipEntries(r, size, left) > left {
		return &limitError{fmt.Sprintf("it has more than %d members: unpack it, and give the folder or the files that matter",
			w.limits.Members)}
	}
	z, err := zip.NewReader(r, size)
	if err != nil {
		found, cut := w.cutZip(under, r, size, depth)
		switch {
		case found:
			w.report.damage("%sthe directory at the end of the zip is missing or damaged: what is before it was read",
				prefix(under))
			return cut
		case cut != nil:
			return cut
		}
		return fmt.Errorf("read the directory of the archive: %w", err)
	}
	for method, k := range zipMethods {
		z.RegisterDecompressor(method, func(r io.Reader) io.ReadCloser { return inZip(k, r) })
	}
	for _, f := range z.File {
		if f.FileInfo().IsDir() || !f.Mode().IsRegular() {
			if err := w.count(); err != nil {
				return err
			}
			continue
		}
		m := Member{Name: tidy(f.Name), Modified: f.Modified}
		name := join(under, m.Name)
		if f.Flags&encrypted != 0 {
			if err := w.lost(name, errEncrypted); err != nil {
				return err
			}
			continue
		}
		if err := w.zipMember(f, m, under, depth); err != nil {
			return err
		}
	}
	return nil
}

// prefix begins a sentence about an inner archive.
func prefix(under string) string {
	if under == "" {
		return ""
	}
	return under + ": "
}

func (w *walker) zipMember(f *zip.File, m Member, under string, depth int) error {
	name := join(under, m.Name)
	content, err := f.Open()
	if err != nil {
		if errors.Is(err, zip.ErrAlgorithm) {
			err = methodError(f.Method)
		}
		return w.lost(name, err)
	}
	defer content.Close()
	c := &counted{r: content, w: w}
	b := bufio.NewReaderSize(c, plainBytes)
	head, err := b.Peek(HeadBytes)
	if err != nil && !errors.Is(err, io.EOF) && len(head) == 0 {
		return w.lost(name, err)
	}
	if err := w.member(m, under, b, kindOf(head), depth); err != nil {
		return err
	}
	return w.local(name, c.failed)
}
