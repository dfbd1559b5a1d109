package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"lostbeat/ebpf"
	"lostbeat/etw"
	"lostbeat/internal/hint"
	"lostbeat/model"
	"lostbeat/model/budget"
	"lostbeat/source"
)

// followed is a live source to which the user may have added port pools: a file
// that is still being written, or Windows.
type followed struct {
	source.Source
	pools []ebpf.Pool
	rpc   *etw.RPCInternet
}

// Follow returns a file that is still being written, by a Windows session or by another lostbeat, as a live source. It
// need not exist yet.
func Follow(path string, o OpenOptions) (source.Source, error) {
	format, err := followedFormat(path)
	if err != nil {
		return nil, err
	}
	boundReading(cmp.Or(o.Memory, budget.Default))
	return WithLogs(&followed{format.Follow(path, o.OpenOptions), o.Pools, o.RPCPorts}, o.Logs)
}

func followedFormat(path string) (source.Format, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.Mode().IsRegular() && info.Size() > 0:
		format, err := FormatOf(path)
		if err == nil && format.Follow != nil {
			return format, nil
		}
		if err == nil || byName(path) < 0 {
			return source.Format{}, hint.New(path+": a file of this kind cannot be followed", followHint)
		}
	case err == nil && !info.Mode().IsRegular():
		return source.Format{}, hint.New(path+" is not a regular file", followHint)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return source.Format{}, fmt.Errorf("follow %s: %w", path, err)
	}
	// What is not there, or begun only, is known by its name.
	if i := byName(path); i >= 0 {
		return Formats[i], nil
	}
	return source.Format{}, hint.New(path+" is not there, and its name does not say what it will be", followHint)
}

const followHint = "--follow reads a recording (.lostbeat) or a Windows trace (.etl) while it is being written"

// byName returns the format that a file will have by its name, -1 unknown.
func byName(path string) int {
	return slices.IndexFunc(Formats, func(f source.Format) bool {
		return f.Follow != nil && strings.HasSuffix(strings.ToLower(path), f.Extension)
	})
}

// Run implements source.Source. Findings that the file has are left out: this version's detectors judge anew.
func (f *followed) Run(ctx context.Context, emit source.Emit) error {
	out := emit
	if len(f.pools) > 0 || f.rpc != nil {
		out = (&pooled{pools: f.pools, rpc: f.rpc}).afterFirst(emit)
	}
	read := func(emit source.Emit) error { return f.Source.Run(ctx, emit) }
	_, err := source.Plausible(read, func(b *model.Batch) error {
		if b = withoutFindings(b); len(b.Events) == 0 {
			return nil
		}
		return out(b)
	})
	return err
}
