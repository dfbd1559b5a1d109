package source

import (
	"io"
	"net/netip"
	"time"

	"lostbeat/internal/spawn"
	"lostbeat/model"
)

// File is an opened recording, capture or log.
type File interface {
	Seekable
	io.Closer
}

// OpenOptions are how a file is to be read. A format takes no notice of what
// does not apply to it.
type OpenOptions struct {
	// UTCOffset is local time minus UTC on the captured machine; nil takes what the file says.
	UTCOffset *time.Duration
	// CodePage is the ANSI code page of the names in the file, for example "cp1251"; empty finds it out.
	CodePage string
	// Names are counters' names in the file's language, `Object\Counter`, to the English "Object/Counter".
	Names map[string]string
	// LogTime says what the times of a text log leave open; nil takes what the log says, and UTC for a missing zone.
	LogTime *LogTime
	// LogPatterns are regular expressions of lines of text logs to report, beside those that are built in.
	LogPatterns []string
	// Follow says which flows of captured packets are followed, nil none.
	Follow FollowRule
	// Trace asks for every single run, not only for those above the thresholds.
	Trace bool
	// Everything asks for what no detector reads, too: uninterpreted records, every counter.
	Everything bool
	// Memory is what the process may take in bytes; 0 is budget.Default. What does not fit is left out, as a loss event.
	Memory int64
	// Host is whose the files are, where those of several hosts, or of one before and after a restart, are opened apart;
	// empty for all other files.
	Host string
	// Progress is told how far the file is read, nil for nobody; see Format.OwnProgress.
	Progress Progress
	// Programs runs the programs that a format needs, nil as children of this process.
	Programs spawn.Run
}

// Zone is that of times that do not say theirs; said is false where nobody said it, and UTC is assumed.
func (o *OpenOptions) Zone() (zone *time.Location, said bool) {
	switch {
	case o.LogTime != nil && o.LogTime.Zone != nil:
		return o.LogTime.Zone, true
	case o.UTCOffset != nil:
		return time.FixedZone("", int(*o.UTCOffset/time.Second)), true
	}
	return time.UTC, false
}

// Follow is how a flow is followed.
type Follow struct {
	// KnownAs is the protocol that it is known for, empty unknown; Timeout the silence after which that gives its peer up,
	// 0 unknown.
	KnownAs string
	Timeout time.Duration
}

// FollowRule says whether a flow is followed between two ends, one of which is the captured host's.
type FollowRule func(protocol model.Protocol, local, remote netip.AddrPort) (Follow, bool)

// LogTime is what lines of a text log may not say of their times. What they do say takes precedence.
type LogTime struct {
	// Zone is that of times without one, nil unknown.
	Zone *time.Location
	// Year is that of the first line, Month and Day its date; 0 unknown.
	Year, Month, Day int
	// Source says where this is from, for people: "--log-time", or the name of a file.
	Source string
}

// Format is a kind of file that can be opened. Each has a package of its own,
// and a line in run.Formats.
type Format struct {
	// Name is a word for it: "etl".
	Name string
	// Sniff says that a file which begins with head is of this format. It is given 128 KiB, or the whole file.
	Sniff func(head []byte) bool
	// Claims says that a path which cannot be read as one file, a directory or a name for several files, is of this
	// format; nil for no such path.
	Claims func(path string) bool
	// Open opens a file that Sniff or Claims has recognised.
	Open func(path string, o OpenOptions) (File, error)
	// OpenAll opens several such files as one, where each is a part of the whole; nil where each is whole by itself.
	OpenAll func(paths []string, o OpenOptions) (File, error)
	// Follow returns a file that is still being written as a live source, which ends when its writer has; nil where that
	// is not to be had. Extension is that of its files, for one that is not there yet.
	Follow    func(path string, o OpenOptions) Source
	Extension string
	// BytesPerSecond is about how much of it is read in a second.
	BytesPerSecond int64
	// OwnProgress says that its files report to OpenOptions.Progress; for others, the times of events do.
	OwnProgress bool
}
