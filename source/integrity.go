package source

import "lostbeat/model"

// Verified is a File that knows how much of it could be read.
type Verified interface {
	// Integrity says how much has been read, as far as that is known: at once what
	// the outline of the file shows, all of it after a Run that has reached the end.
	Integrity() Integrity
}

// Integrity says how much of a file could be read. The zero value knows nothing
// and counts as complete.
type Integrity struct {
	// Unit is what the file is made of: "buffer", "block", "sample".
	Unit string
	// Read is how many of them could be read, Written how many there were; 0 is unknown.
	Read, Written uint64
	// Start and End are the times of the first and the last event that is in what
	// was read, 0 when the file's span is that of its events.
	Start, End model.Time
	// Bytes is how much of the file was not understood.
	Bytes int64
	// Damage says what is wrong, a sentence each, at most MaxDamage of them; More
	// is how many there were beyond.
	Damage []string
	More   int
	// Unknown is what cannot be told from the file though nothing is damaged.
	Unknown string
}

// MaxDamage is how many sentences an Integrity keeps.
const MaxDamage = 8

// Add notes one damage with the bytes that were not understood because of it.
func (i *Integrity) Add(what string, bytes int64) {
	i.Bytes += bytes
	if len(i.Damage) < MaxDamage {
		i.Damage = append(i.Damage, what)
	} else {
		i.More++
	}
}

// Complete reports whether nothing is known to be missing.
func (i *Integrity) Complete() bool {
	return len(i.Damage) == 0 && (i.Written == 0 || i.Read >= i.Written)
}

// Join adds the damage of another.
func (i *Integrity) Join(other Integrity) {
	for _, what := range other.Damage {
		i.Add(what, 0)
	}
	i.Bytes += other.Bytes
	i.More += other.More
}
