package etl

import (
	"lostbeat/etw"
	"lostbeat/source"
)

// Format is the format of event trace logs, decoded by the given probes.
func Format(probes func() []etw.Probe) source.Format {
	return source.Format{
		Name:           "etl",
		Sniff:          Detect,
		BytesPerSecond: 128 << 20,
		OwnProgress:    true,
		Open: func(path string, o source.OpenOptions) (source.File, error) {
			f, err := Open(path, Options{
				Options:  etw.Options{Trace: o.Trace, SkipRaw: !o.Everything},
				Probes:   probes,
				Progress: o.Progress,
			})
			if err != nil {
				return nil, err
			}
			return f, nil
		},
	}
}
