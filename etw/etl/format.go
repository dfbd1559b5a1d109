package etl

import (
	"lostbeat/etw"
	"lostbeat/source"
)

// FormatName is the name of the format.
const FormatName = "etl"

// Format is the format of event trace logs, decoded by the given probes.
func Format(probes func() []etw.Probe) source.Format {
	options := func(o source.OpenOptions) Options {
		return Options{
			Options: etw.Options{Trace: o.Trace, SkipRaw: !o.Everything, Follow: o.Follow},
			Probes:  probes, Progress: o.Progress,
		}
	}
	return source.Format{
		Name:           FormatName,
		Sniff:          Detect,
		BytesPerSecond: 128 << 20,
		OwnProgress:    true,
		Open: func(path string, o source.OpenOptions) (source.File, error) {
			f, err := Open(path, options(o))
			if err != nil {
				return nil, err
			}
			return f, nil
		},
		Extension: ".etl",
		Follow:    func(path string, o source.OpenOptions) source.Source { return Follow(path, options(o)) },
	}
}
