package bundle

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"lostbeat/internal/hint"

	"golang.org/x/text/encoding/charmap"
)

// Member is a file in a bundle.
type Member struct {
	// Name is its path in the bundle, with slashes; one in an inner archive has that archive's name before it.
	Name string
	// Modified is when it was changed last, zero when the bundle does not say.
	Modified time.Time
}

// Limits bound what is read of a bundle; 0 is the default of each.
type Limits struct {
	// Members is how many files and folders there may be, 200,000 if not said.
	Members int
	// Bytes is how much all that is decompressed may come to: 256 MiB and 200 times the file's size if not said.
	Bytes int64
	// Depth is how many archives may be in one another, 3 if not said.
	Depth int
	// Plain says of a file that looks compressed that it is to be given on as it is; nil for none.
	Plain func(head []byte) bool
	// Link is told of hard links in a tar: the content is that of the target, which comes before; nil for none.
	Link func(name, target string)
}

// Defaults of Limits.
const (
	defaultMembers = 200_000
	defaultDepth   = 3
	baseBytes      = 256 << 20
	mostRatio      = 200
)

// Report says how much of a bundle could be read.
type Report struct {
	// Members is how many files there were, Bytes what was decompressed.
	Members int
	Bytes   int64
	// Damage says what could not be read, a sentence each; More is how many there were beyond those.
	Damage []string
	More   int
}

// maxDamage is how many sentences a report keeps.
const maxDamage = 16

// damage adds a sentence, once where a fault is seen at several places.
func (r *Report) damage(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if slices.Contains(r.Damage, text) {
		return
	}
	if len(r.Damage) >= maxDamage {
		r.More++
		return
	}
	r.Damage = append(r.Damage, text)
}

// HeadBytes is how much of a file Detect is shown, plainBytes how much Limits.Plain.
const (
	HeadBytes  = 512
	plainBytes = 16 << 10
)

// kind is how a file is packed.
type kind uint8

const (
	plain kind = iota
	isZip
	isTar
	isGzip
	isXZ
	isZstd
	isBzip2
	isCab
	is7z
	isRar
)

// compressed says that a file of the kind holds one other.
func (k kind) compressed() bool { return k >= isGzip && k <= isBzip2 }

// magics are the first bytes of each kind.
var magics = []struct {
	kind  kind
	magic string
}{
	{isZip, "PK\x03\x04"},
	{isZip, "PK\x05\x06"}, // an empty one
	{isGzip, "\x1f\x8b\x08"},
	{isXZ, "\xfd7zXZ\x00"},
	{isZstd, "\x28\xb5\x2f\xfd"},
	{isBzip2, "BZh"},
	{isCab, "MSCF\x00\x00\x00\x00"},
	{is7z, "7z\xbc\xaf\x27\x1c"},
	{isRar, "Rar!\x1a\x07"},
}

func kindOf(head []byte) kind {
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.magic)) && (m.kind != isBzip2 || bzip2Head(head)) {
			return m.kind
		}
	}
	if tarHead(head) {
		return isTar
	}
	return plain
}

// bzip2Head reports whether head goes on as a bzip2 file does: "BZh" may begin a text.
func bzip2Head(head []byte) bool {
	const block, empty = "\x31\x41\x59\x26\x53\x59", "\x17\x72\x45\x38\x50\x90"
	return len(head) >= 10 && head[3] >= '1' && head[3] <= '9' &&
		(string(head[4:10]) == block || string(head[4:10]) == empty)
}

// tarHead reports whether head is the header of a tar's first member: its checksum is right.
func tarHead(head []byte) bool {
	if len(head) < 512 || head[0] == 0 {
		return false
	}
	field := strings.Trim(string(head[148:156]), " \x00")
	want := int64(0)
	if field == "" {
		return false
	}
	for _, c := range field {
		if c < '0' || c > '7' {
			return false
		}
		want = want*8 + int64(c-'0')
	}
	sum := int64(0)
	for i, c := range head[:512] {
		if i >= 148 && i < 156 {
			c = ' '
		}
		sum += int64(c)
	}
	return sum == want
}

// Detect reports whether a file that begins with head is an archive or compressed. Recordings of lostbeat are zstd
// files, too; see Limits.Plain.
func Detect(head []byte) bool { return kindOf(head) != plain }

// walker reads one bundle.
type walker struct {
	ctx    context.Context
	limits Limits
	visit  func(Member, io.Reader) error
	report Report
	seen   int
	temp   string
}

// limitError is the error of a bundle that holds more than may be.
type limitError struct{ what string }

func (e *limitError) Error() string { return e.what }

// Walk calls visit with each file of the bundle at path, in order. It is given what can be read of it; what it leaves
// is passed over. temp is a directory for what has to be kept meanwhile. An error of visit ends the walk and is
// returned.
// A bundle of which nothing can be read is an error; else the report says what is missing.
func Walk(ctx context.Context, path, temp string, limits Limits, visit func(Member, io.Reader) error) (Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return Report{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Report{}, err
	}
	if limits.Members == 0 {
		limits.Members = defaultMembers
	}
	if limits.Depth == 0 {
		limits.Depth = defaultDepth
	}
	if limits.Bytes == 0 {
		limits.Bytes = baseBytes + mostRatio*info.Size()
	}
	w := &walker{ctx: ctx, limits: limits, visit: visit, temp: temp}
	head := make([]byte, HeadBytes)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Report{}, err
	}
	name := filepath.Base(path)
	switch k := kindOf(head[:n]); k {
	case is7z, isRar:
		return Report{}, unsupported(k, name)
	case isCab:
		err = w.cab(name, "", f, info.Size(), 1)
	case isZip:
		err = w.zip("", f, info.Size(), 1)
	default:
		err = w.stream(Member{Name: inner(name, k), Modified: info.ModTime()}, "", f, 0)
	}
	var limit *limitError
	var stop *visitError
	switch {
	case errors.As(err, &stop):
		return w.report, stop.err
	case ctx.Err() != nil:
		return w.report, ctx.Err()
	case errors.As(err, &limit):
		w.report.damage("the rest was not read: %v", err)
	case err != nil && w.seen == 0:
		return w.report, err
	case err != nil:
		w.report.damage("it breaks off: %v", err)
	}
	return w.report, nil
}

// visitError is an error of who looks at the members.
type visitError struct{ err error }

func (e *visitError) Error() string { return e.err.Error() }

// unsupported says how an archive that cannot be read is unpacked.
func unsupported(k kind, name string) error {
	how := map[kind]string{
		is7z:  "unpack it: 7z x " + name + " -oFOLDER; then lostbeat findings FOLDER",
		isRar: "unpack it: unrar x " + name + " FOLDER/; then lostbeat findings FOLDER",
	}[k]
	return hint.New(name+" is a "+map[kind]string{is7z: ".7z", isRar: ".rar"}[k]+
		" archive, which lostbeat does not unpack", how)
}

// inner is the name of what is in a compressed file.
func inner(name string, k kind) string {
	if !k.compressed() {
		return name
	}
	for _, ext := range []string{".gz", ".xz", ".zst", ".bz2"} {
		if s, ok := strings.CutSuffix(name, ext); ok && s != "" {
			return s
		}
	}
	lower := strings.ToLower(name)
	for _, ext := range []string{".tgz", ".txz", ".tbz", ".tbz2", ".tzst"} {
		if strings.HasSuffix(lower, ext) && len(name) > len(ext) {
			return name[:len(name)-len(ext)] + ".tar"
		}
	}
	return name
}

// counted counts what is decompressed, and ends where the limit is.
type counted struct {
	r io.Reader
	w *walker
	// failed is the first error of what is under it.
	failed error
}

func (c *counted) Read(p []byte) (int, error) {
	if err := c.w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.w.report.Bytes += int64(n)
	if c.w.report.Bytes > c.w.limits.Bytes {
		c.failed = &limitError{fmt.Sprintf("it unpacks to more than %d MiB", c.w.limits.Bytes>>20)}
		return 0, c.failed
	}
	if err != nil && !errors.Is(err, io.EOF) && c.failed == nil {
		c.failed = err
	}
	return n, err
}

// stream reads a file that may be packed itself; under is the name of the archive that it is in, depth how many there
// are around it.
func (w *walker) stream(m Member, under string, r io.Reader, depth int) error {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(HeadBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	name := m.Name
	if under != "" {
		name = under + "/" + m.Name
	}
	k := kindOf(head)
	if k.compressed() && depth == 0 {
		// the outermost compression is no archive of its own
		d, closer, err := decompress(k, b)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		defer closer()
		m.Name = inner(m.Name, k)
		return w.content(m, under, &counted{r: d, w: w}, depth+1)
	}
	if k == isTar && depth == 0 {
		return w.tar("", b, 1)
	}
	return w.member(m, under, b, k, depth)
}

// content reads what was in a compressed file.
func (w *walker) content(m Member, under string, c *counted, depth int) error {
	b := bufio.NewReaderSize(c, 64<<10)
	head, err := b.Peek(HeadBytes)
	if err != nil && !errors.Is(err, io.EOF) && len(head) == 0 {
		return err
	}
	k := kindOf(head)
	if k == isTar {
		inside := under
		if depth > 1 {
			inside = join(under, m.Name)
		}
		return w.tar(inside, b, depth)
	}
	if err := w.member(m, under, b, k, depth); err != nil {
		return err
	}
	return c.failed
}

func join(under, name string) string {
	if under == "" {
		return name
	}
	return under + "/" + name
}

// member gives one file on, or what is in it.
func (w *walker) member(m Member, under string, b *bufio.Reader, k kind, depth int) error {
	name := join(under, m.Name)
	switch {
	case k == plain, w.asIs(b):
		if err := w.count(); err != nil {
			return err
		}
		w.report.Members++
		if err := w.visit(Member{Name: name, Modified: m.Modified}, b); err != nil {
			return &visitError{err}
		}
		return nil
	case k == is7z, k == isRar:
		w.report.Members++
		w.report.damage("%s", unsupported(k, name).Error())
		return w.count()
	case depth >= w.limits.Depth+1:
		w.report.Members++
		w.report.damage("%s was not unpacked: it is the %dth archive in one another", name, depth)
		return w.count()
	case k == isZip:
		return w.inFile(name, b, func(f *os.File, size int64) error { return w.zip(name, f, size, depth+1) })
	case k == isCab:
		return w.inFile(name, b, func(f *os.File, size int64) error { return w.cab(name, name, f, size, depth+1) })
	case k == isTar:
		return w.tar(name, b, depth+1)
	}
	d, closer, err := decompress(k, b)
	if err != nil {
		w.report.damage("%s: %v", name, err)
		return nil
	}
	defer closer()
	err = w.content(Member{Name: inner(m.Name, k), Modified: m.Modified}, under, &counted{r: d, w: w}, depth+1)
	return w.local(name, err)
}

// local makes a fault of one member a line of the report.
func (w *walker) local(name string, err error) error {
	if err == nil || w.final(err) {
		return err
	}
	w.report.damage("%s: %v", name, err)
	return nil
}

// final reports whether an error ends the walk.
func (w *walker) final(err error) bool {
	var limit *limitError
	var stop *visitError
	return errors.As(err, &limit) || errors.As(err, &stop) || w.ctx.Err() != nil
}

// count takes one more member.
func (w *walker) count() error {
	if w.seen++; w.seen > w.limits.Members {
		return &limitError{fmt.Sprintf("it has more than %d members", w.limits.Members)}
	}
	return w.ctx.Err()
}

// asIs reports whether a file is to be given on as it is.
func (w *walker) asIs(b *bufio.Reader) bool {
	if w.limits.Plain == nil {
		return false
	}
	head, _ := b.Peek(plainBytes)
	return w.limits.Plain(head)
}

// tidy returns the name of a member for people: with slashes, without what leads out of the archive, in UTF-8, without
// control characters.
func tidy(name string) string {
	if !utf8.ValidString(name) {
		if text, err := charmap.CodePage850.NewDecoder().String(name); err == nil {
			name = text
		}
	}
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ReplaceAll(name, `\`, "/"))
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}
