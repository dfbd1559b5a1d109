package findings

import (
	"maps"

	"lostbeat/model"
)

// Changes tells updates that say something new from those that change numbers only. The zero value is ready.
type Changes struct{ seen map[string]shown }

// shown is what is known of a finding.
type shown struct {
	severity model.Severity
	ongoing  bool
}

// maxSeen is how many findings are remembered before those that have ended are forgotten.
const maxSeen = 4096

// New reports whether a finding arises, gets worse, ends, or comes back.
func (c *Changes) New(f model.Finding) bool {
	if c.seen == nil {
		c.seen = map[string]shown{}
	}
	if len(c.seen) >= maxSeen {
		maps.DeleteFunc(c.seen, func(_ string, s shown) bool { return !s.ongoing })
	}
	before, known := c.seen[f.ID]
	now := shown{f.Severity, f.Ongoing}
	c.seen[f.ID] = now
	return !known || before.ongoing != now.ongoing || before.severity < now.severity
}
