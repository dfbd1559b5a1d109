package record

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"lostbeat/model"
	"lostbeat/model/state"
)

// Info describes a recording.
type Info struct {
	// Files are the paths, in the order of their times.
	Files []string
	// Format is the version of the format, "1.0"; Tool wrote the recording.
	Format, Tool string
	// Meta are all facts about the host and the capture, by key.
	Meta map[string]string
	// Start and End are the times of the first and the last event, 0 when there is none.
	Start, End model.Time
	// Events is the number of events, Kinds their numbers by kind.
	Events uint64
	Kinds  []KindCount
	// Lost is the number of events that the recording's loss events count. A
	// block that is damaged is not known before it is read.
	Lost uint64
	// Probes are the parts of probes as they were at the end.
	Probes []model.Probe
	// Blocks and Bytes are what the files consist of.
	Blocks int
	Bytes  int64
	// Closed says that the recorder ended the recording itself.
	Closed bool
	// Notes say what is wrong with the files.
	Notes []string
}

// KindCount is the number of events of one kind.
type KindCount struct {
	Kind  model.Kind
	Count uint64
}

// Closed says that the recorder ended every file itself, and that its index was
// read: Stat then needs none of the blocks between the two ends.
func (r *Reader) Closed() bool {
	return !slices.ContainsFunc(r.inputs, func(in *input) bool { return !in.closed })
}

// Stat describes the recording. It reads the index, or the head of each block
// when there is none, and decodes only the blocks at both ends.
func (r *Reader) Stat() *Info {
	info := &Info{Closed: r.Closed(), Notes: r.Notes(), Meta: map[string]string{}}
	info.Start, info.End = r.Span()
	counts := map[model.Kind]uint64{}
	for _, in := range r.inputs {
		info.Files = append(info.Files, in.path)
		info.Format, info.Tool = fmt.Sprintf("%d.%d", in.header.FormatMajor, in.header.FormatMinor), in.header.Tool
		info.Bytes += in.size
		info.Blocks += len(in.blocks)
		for _, m := range in.header.Meta {
			info.Meta[m.Key] = m.Value
		}
		for i := range in.blocks {
			s := in.summary(i)
			if s == nil {
				continue
			}
			info.Events += s.events
			info.Lost += s.lost
		}
		in.countKinds(counts)
	}
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		info.Kinds = append(info.Kinds, KindCount{k, counts[k]})
	}
	st := state.New()
	apply := func(b *model.Batch) error { st.Apply(b); return nil }
	if len(r.inputs) > 0 && len(r.inputs[0].blocks) > 0 {
		// Neither fails: apply does not, and what cannot be read is a loss.
		_ = newPass(apply).block(r.inputs[0], 0)
		_ = r.RunFrom(context.Background(), info.End, apply)
	}
	maps.Copy(info.Meta, st.Meta)
	info.Probes = slices.SortedFunc(maps.Values(st.Probes), func(a, b model.Probe) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Part, b.Part))
	})
	return info
}

// countKinds adds the number of events of each kind to counts: from the index,
// or from the head of each block.
func (in *input) countKinds(counts map[model.Kind]uint64) {
	for k, n := range in.kinds {
		counts[k] += n
	}
	for i := 0; in.kinds == nil && i < len(in.blocks); i++ {
		if raw, err := in.head(in.blocks[i].frame); err == nil {
			_, _ = parseSummary(raw, counts) // one that is damaged counts as nothing
		}
	}
}
