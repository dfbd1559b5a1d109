package record

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"lostbeat/model"
	"lostbeat/record/recordpb"
)

// Ending is how a flight recorder ended that has left its ring behind.
type Ending int

const (
	// EndUnknown: the ring does not say on which boot of the host it was written.
	EndUnknown Ending = iota
	// EndHost: the host has been started again since.
	EndHost
	// EndProcess: the host is still up, so the process was killed.
	EndProcess
)

func (e Ending) String() string {
	switch e {
	case EndHost:
		return "the host went down"
	case EndProcess:
		return "the process was killed"
	default:
		return "the process or the host ended"
	}
}

// Keys of facts in the header of a recording that was made of a ring.
const (
	metaEnded  = "ended"
	metaBootID = "boot_id"
	metaPID    = "pid"
)

// Recovered is a ring that a flight recorder has found of an earlier one, which did not end in order.
type Recovered struct {
	// Ring is the file that was found. It is removed once Path has what it held.
	Ring string
	// Path is the recording that was made of it, empty when it held no event or could not be read.
	Path  string
	Ended Ending
	// Start and End are the times of the first and the last event, 0 when there is none.
	Start, End model.Time
	Events     uint64
	// Open are the titles of the findings of weight that held at the end, the worst first.
	Open []string
	// Unsynced bounds what may have been recorded after End and not been on disk yet when the host went down.
	Unsynced time.Duration
	// Missing are blocks that are missing between the others, Damage says what else is wrong.
	Missing uint64
	Damage  []string
	// Cut says that only the newest part of it fits into the total cap.
	Cut bool
	// Err is why the ring could not be made a recording; it is then left as it is.
	Err error
}

// errNotRing is a file under the name of a ring that is none.
var errNotRing = errors.New("not the ring of a flight recorder")

// recoverRing makes a recording of the ring that an earlier recorder has left under a name, and removes it. It returns
// nil when there is none.
func (f *Flight) recoverRing(path string, cap int64) *Recovered {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	rec := &Recovered{Ring: path}
	if err != nil {
		rec.Err = wrap("open", path, err)
		return rec
	}
	empty, err := f.recover(rec, file, cap)
	err = errors.Join(err, file.Close())
	if err == nil {
		err = errors.Join(f.opts.remove(path), syncFolder(filepath.Dir(path)))
	}
	if err == nil && empty {
		return nil
	}
	rec.Err = wrap("recover", path, err)
	return rec
}

// recover fills in what a ring held. empty says that it was created and never written to.
func (f *Flight) recover(rec *Recovered, file *os.File, cap int64) (empty bool, err error) {
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRing
	}
	if err != nil {
		return false, err
	}
	if empty, err := isZero(file, info.Size()); err != nil || empty {
		return true, err
	}
	u, err := newUnpacker()
	if err != nil {
		return false, err
	}
	defer u.close()
	c, err := readRing(file, info.Size())
	if err != nil {
		return false, err
	}
	if !c.known && len(c.slots) == 0 {
		return false, errNotRing
	}
	if !c.known {
		rec.Damage = append(rec.Damage, "its header is damaged")
	}
	rec.Ended = ended(c.header, f.opts.BootID)
	if len(c.slots) == 0 {
		return false, nil
	}
	rec.Missing = c.gaps()
	rec.Unsynced = syncSeldom
	if c.often {
		rec.Unsynced = time.Second
	}
	in := &input{
		path: file.Name(), r: file, size: info.Size(), header: c.header, blocks: c.blocks(), unpacker: u,
	}
	rec.Start, rec.End, _ = in.span()
	rec.Open = in.openFindings()
	in.fit(rec, cap)
	return false, f.convert(rec, in)
}

// isZero says that a file begins with a page of zeros, as one does that is being created.
func isZero(r io.ReaderAt, size int64) (bool, error) {
	page := make([]byte, min(size, ringPage))
	if n, err := r.ReadAt(page, 0); n < len(page) {
		return false, err
	}
	if !bytes.Equal(page, make([]byte, len(page))) {
		return false, nil
	}
	found, err := findSlots(r, min(size, MostRing))
	return err == nil && len(found) == 0, err
}

// ended says how the recorder of a ring ended, on a host whose present boot is known by its id.
func ended(h *recordpb.Header, boot string) Ending {
	for _, m := range h.Meta {
		switch {
		case m.Key != metaBootID || m.Value == "" || boot == "":
		case m.Value == boot:
			return EndProcess
		default:
			return EndHost
		}
	}
	return EndUnknown
}

// ringMeta are the facts in a ring's header.
func ringMeta(boot string) []*recordpb.Meta {
	return []*recordpb.Meta{
		{Key: metaBootID, Value: boot},
		{Key: metaPID, Value: strconv.Itoa(os.Getpid())},
	}
}

// maxOpen bounds the findings of a ring that are kept.
const maxOpen = 10_000

// openFindings returns the titles of the findings that held at the end. It decodes only blocks that have findings.
func (in *input) openFindings() []string {
	last := map[string]*model.Finding{}
	collect := func(b *model.Batch) error {
		for i := range b.Events {
			v, ok := b.Finding(&b.Events[i])
			if _, known := last[v.ID]; !ok || !known && len(last) >= maxOpen {
				continue
			}
			last[v.ID] = &v
		}
		return nil
	}
	for i := range in.blocks {
		kinds := map[model.Kind]uint64{}
		raw, err := in.head(in.blocks[i].frame)
		if err == nil {
			_, err = parseSummary(raw, kinds)
		}
		if err == nil && kinds[model.KindFinding] > 0 {
			_ = newPass(collect).block(in, i) // what it cannot read is missing here
		}
	}
	var open []*model.Finding
	for _, v := range last {
		if v.Ongoing && v.Severity >= model.SeverityWarning {
			open = append(open, v)
		}
	}
	slices.SortFunc(open, func(a, b *model.Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Start, b.Start), cmp.Compare(a.ID, b.ID))
	})
	titles := make([]string, len(open))
	for i, v := range open {
		titles[i] = v.Title
	}
	return titles
}

// fit leaves out the oldest blocks, up to a keyframe, of what is larger than half of the total cap.
func (in *input) fit(rec *Recovered, cap int64) {
	if cap == 0 {
		return
	}
	room := cap / 2
	first := len(in.blocks)
	for i := len(in.blocks) - 1; i >= 0; i-- {
		if room -= int64(in.blocks[i].size) + nextFrames; room < 0 {
			break
		}
		if s := in.summary(i); i == 0 || s != nil && s.keyframe {
			first = i
		}
	}
	rec.Cut = first > 0
	in.blocks = in.blocks[first:]
}

// convert writes the blocks of a ring to a recording beside the recorder's other files, as they are.
func (f *Flight) convert(rec *Recovered, in *input) (err error) {
	part := rec.Ring + ".part"
	s, err := createFile(part, f.opts.Mode, true)
	if err != nil {
		return wrap("create", part, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(wrap("write", part, err), f.opts.remove(part))
		}
	}()
	h := proto.CloneOf(in.header)
	h.File = f.nextFile(h.Session)
	h.CreatedNs = uint64(rec.Start)
	h.Meta = slices.DeleteFunc(h.Meta, func(m *recordpb.Meta) bool { return m.Key == metaPID || m.Value == "" })
	h.Meta = append(h.Meta, &recordpb.Meta{Key: metaEnded, Value: rec.Ended.String()})
	out, err := startFile(s, part, h, f.enc.zstd)
	for i := 0; i < len(in.blocks) && err == nil; i++ {
		var b sealed
		if b, err = in.sealed(i); err == nil {
			err = out.block(b)
		}
	}
	if err != nil {
		return errors.Join(err, s.Close())
	}
	if err := out.finish(); err != nil {
		return err
	}
	rec.Events = out.events
	if err := syncFile(part); err != nil {
		return err
	}
	if rec.Path, err = renameTo(part, newRotation(f.path, 0, nil), rec.End); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(rec.Path))
}

// sealed returns block i as it was written.
func (in *input) sealed(i int) (b sealed, err error) {
	b.frame = make([]byte, in.blocks[i].size)
	if n, err := in.r.ReadAt(b.frame, in.blocks[i].offset); n < len(b.frame) {
		return b, err
	}
	var h zstd.Header
	if err := h.Decode(b.frame); err != nil {
		return b, fmt.Errorf("block %d: %w", i, err)
	}
	b.raw = int(h.FrameContentSize)
	raw, err := in.head(in.blocks[i].frame)
	if err != nil {
		return b, err
	}
	body, err := find(raw, envelopeSummary)
	if err != nil {
		return b, err
	}
	b.summary = new(recordpb.Summary)
	return b, proto.Unmarshal(body, b.summary)
}

// nextFile returns the number after those of the files of a session.
func (f *Flight) nextFile(session []byte) (next uint32) {
	files, _ := newRotation(f.path, 0, nil).list() // one that cannot be listed has none that are read beside it
	for _, x := range files {
		r, err := os.Open(x.path)
		if err != nil {
			continue
		}
		if h, err := readHeader(r, x.size); err == nil && bytes.Equal(h.Session, session) {
			next = max(next, h.File+1)
		}
		r.Close()
	}
	return next
}

// renameTo gives a file a name of the rotation, after the time of its last event, that no other file has.
func renameTo(path string, r *rotation, end model.Time) (string, error) {
	const tries = 1000
	for i := range uint32(tries) {
		to := r.name(time.Unix(0, int64(end)), i+1)
		if _, err := os.Lstat(to); err == nil {
			continue
		}
		return to, os.Rename(path, to)
	}
	return "", fs.ErrExist
}

// syncFile has a file survive a loss of power.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
