package record

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"lostbeat/internal/lazyregexp"
	"lostbeat/model/state"
	"lostbeat/record/recordpb"
)

// Extension is the ending of recordings' names.
const Extension = ".lostbeat"

// rotation names the files of a rotated recording and keeps their sum bounded.
type rotation struct {
	dir, base, ext string
	cap            int64
	files          []rotated // oldest first
	sum            int64
	// remove deletes a file.
	remove func(path string) error
}

type rotated struct {
	path string
	size int64
	// own says that this run has written it, events is then what it holds.
	own    bool
	events uint64
}

func newRotation(path string, total int64, remove func(path string) error) *rotation {
	ext := filepath.Ext(path)
	r := &rotation{
		dir:  filepath.Dir(path),
		base: strings.TrimSuffix(filepath.Base(path), ext),
		ext:  cmp.Or(ext, Extension),
		cap:  total,

		remove: remove,
	}
	if total > 0 {
		// Files of earlier runs count as well. What cannot be listed is not ours to delete.
		found, _ := r.list()
		for _, f := range found {
			r.add(f)
		}
	}
	return r
}

// name returns the path of a new file.
func (r *rotation) name(now time.Time, number uint32) string {
	return filepath.Join(r.dir, fmt.Sprintf("%s-%s-%04d%s", r.base, now.UTC().Format("20060102T150405Z"), number, r.ext))
}

// create creates a new file. A name that another run has taken within the same
// second is passed over.
func (r *rotation) create(
	number uint32,
	create func(path string) (storage, error),
) (path string, s storage, err error) {
	const tries = 1000
	now := time.Now()
	for i := range uint32(tries) {
		path = r.name(now, number+i)
		if s, err = create(path); !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return path, s, err
}

// list returns the files whose names this rotation could have given, oldest first.
func (r *rotation) list() ([]rotated, error) {
	pattern := lazyregexp.New(
		`^` + regexp.QuoteMeta(r.base) + `-\d{8}T\d{6}Z-\d{4,9}` + regexp.QuoteMeta(r.ext) + `$`,
	)
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, err
	}
	var files []rotated
	for _, e := range entries {
		if !pattern.MatchString(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		if info, err := e.Info(); err == nil {
			files = append(files, rotated{path: filepath.Join(r.dir, e.Name()), size: info.Size()})
		}
	}
	slices.SortFunc(files, func(a, b rotated) int { return cmp.Compare(a.path, b.path) })
	return files, nil
}

// isRecording says whether path is a regular file that begins as a recording does.
func isRecording(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = readHeader(f, info.Size())
	return err == nil
}

// headerMeta is what is known about the host when a file is begun.
func headerMeta(s *state.State) []*recordpb.Meta {
	var meta []*recordpb.Meta
	for _, key := range slices.Sorted(maps.Keys(s.Meta)) {
		meta = append(
			meta,
			&recordpb.Meta{Key: strings.ToValidUTF8(key, "\ufffd"), Value: strings.ToValidUTF8(s.Meta[key], "\ufffd")},
		)
	}
	return meta
}

func sortKinds(kinds []*recordpb.KindCount) {
	slices.SortFunc(kinds, func(a, b *recordpb.KindCount) int { return cmp.Compare(a.Kind, b.Kind) })
}
