package perfmon

import "lostbeat/source"

// Logs is the format of performance logs. A binary one is an event trace log
// too: this format comes first where both are known.
func Logs() source.Format {
	return source.Format{
		Name:           "perfmon",
		Sniff:          Detect,
		BytesPerSecond: 4 << 20,
		OwnProgress:    true,
		Open: func(path string, o source.OpenOptions) (source.File, error) {
			l, err := Open(path, Options{
				UTCOffset:   o.UTCOffset,
				CodePage:    o.CodePage,
				Names:       o.Names,
				AllCounters: o.Everything,
				Progress:    o.Progress,
			})
			if err != nil {
				return nil, err
			}
			return l, nil
		},
	}
}
