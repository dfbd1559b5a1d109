package eventlog

import (
	"strconv"
	"strings"
	"time"

	"lostbeat/model"
)

// entry is one entry of a log.
type entry struct {
	provider, host string
	id             int64
	// record is its number in the log of the channel, 0 unknown.
	record  uint64
	channel string
	at      model.Time
	data    []datum
}

// datum is a value of an entry; name is empty where the provider gives none.
type datum struct{ name, value string }

// messageName is the name of the datum with the text of an entry, in the language of the host.
const messageName = "(message)"

// Bounds of an entry.
const (
	maxData  = 64
	maxValue = 4 << 10
)

// builder makes an entry of the elements of its XML, whether that is text or binary.
type builder struct {
	entry entry
	// path are the open elements.
	path []string
	text []byte
	// name is that of the datum, leaf says that the innermost element has no other in it.
	name string
	leaf bool
}

// maxDepth bounds how deep elements lie in one another.
const maxDepth = 64

func (b *builder) reset() { *b = builder{path: b.path[:0], text: b.text[:0]} }

func (b *builder) start(name string) {
	if len(b.path) < maxDepth {
		b.path = append(b.path, name)
	}
	b.text, b.name, b.leaf = b.text[:0], "", true
}

func (b *builder) attribute(name, value string) {
	if len(b.path) == 0 {
		return
	}
	switch b.path[len(b.path)-1] + "@" + name {
	case "Provider@Name":
		b.entry.provider = value
	case "Provider@EventSourceName":
		if value != "" {
			b.entry.provider = value
		}
	case "TimeCreated@SystemTime":
		if t, err := time.Parse(time.RFC3339Nano, strings.Replace(value, " ", "T", 1)); err == nil {
			b.entry.at = plausible(t)
		}
	case "Data@Name":
		b.name = value
	}
}

// plausible returns a time, 0 for one that no entry is of.
func plausible(t time.Time) model.Time {
	if t.Year() < 1990 || t.Year() > 2190 {
		return 0
	}
	return model.TimeOf(t)
}

func (b *builder) chars(text string) {
	if room := maxValue - len(b.text); room > 0 {
		b.text = append(b.text, text[:min(len(text), room)]...)
	}
}

func (b *builder) end() {
	n := len(b.path)
	if n == 0 {
		return
	}
	element, text := b.path[n-1], strings.TrimSpace(string(b.text))
	b.path = b.path[:n-1]
	switch {
	case !b.leaf:
	case element == "EventID":
		b.entry.id, _ = strconv.ParseInt(text, 10, 32)
	case element == "EventRecordID":
		b.entry.record, _ = strconv.ParseUint(text, 10, 64)
	case element == "Channel":
		b.entry.channel = text
	case element == "Computer":
		b.entry.host = text
	case element == "Message" && b.inside("RenderingInfo"):
		b.datum(messageName, text)
	case b.inside("EventData") || b.inside("UserData"):
		if b.name == "" && element != "Data" {
			b.name = element
		}
		b.datum(b.name, text)
	}
	b.text, b.name, b.leaf = b.text[:0], "", false
}

func (b *builder) datum(name, value string) {
	if len(b.entry.data) < maxData {
		b.entry.data = append(b.entry.data, datum{name, value})
	}
}

// inside reports whether an element is open.
func (b *builder) inside(name string) bool {
	for _, p := range b.path {
		if p == name {
			return true
		}
	}
	return false
}
