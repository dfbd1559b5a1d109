package perfmon

import (
	"strconv"
	"strings"
)

// path is a counter path, \\MACHINE\Object(Instance)\Counter, in its parts.
type path struct {
	machine, object, instance, counter string
}

// parsePath splits a counter path. An instance may hold anything, parentheses
// and backslashes included, so that it ends at the last `)\`. ok is false for a
// cell that is no path: the description of a data collector set.
func parsePath(s string) (p path, ok bool) {
	rest, ok := strings.CutPrefix(s, `\\`)
	if !ok {
		return path{}, false
	}
	p.machine, rest, ok = strings.Cut(rest, `\`)
	if !ok {
		return path{}, false
	}
	if i := strings.LastIndex(rest, `)\`); i >= 0 {
		if j := strings.IndexByte(rest[:i], '('); j >= 0 {
			p.object, p.instance, p.counter = rest[:j], rest[j+1:i], rest[i+2:]
			return p, p.object != "" && p.counter != ""
		}
	}
	i := strings.LastIndexByte(rest, '\\')
	if i <= 0 {
		return path{}, false
	}
	p.object, p.counter = rest[:i], rest[i+1:]
	return p, p.counter != ""
}

// String returns the path as PDH writes it.
func (p path) String() string {
	if p.instance == "" {
		return `\\` + p.machine + `\` + p.object + `\` + p.counter
	}
	return `\\` + p.machine + `\` + p.object + `(` + p.instance + `)\` + p.counter
}

// maxColumns is how many columns of a log are read: some 300 bytes are kept for
// each. A log of all counters of a busy server has some ten thousand.
const maxColumns = 1 << 17

// column is one counter of one instance of one machine.
type column struct {
	path
	// object and spec are what lostbeat knows the counter as, nil when it does not.
	known *objectSpec
	spec  *counterSpec
	// id numbers the columns of a log.
	id int
	// name is that of its counter events.
	name string
	// total says that the instance is the sum of the others.
	total bool
	// group and cpu are the processor that the instance is, cpu -1 when it is none.
	group, cpu int32
	// kind is the counter's type, typed whether the log tells it.
	kind  CounterType
	typed bool
}

// newColumn makes a column of what was found for p.
func newColumn(p path, known *objectSpec, spec *counterSpec) *column {
	c := &column{path: p, known: known, spec: spec, name: p.object + "/" + p.counter, cpu: -1}
	if spec != nil {
		c.name = known.canonical(spec)
	}
	c.total = p.instance == "_Total" || strings.HasSuffix(p.instance, ",_Total")
	if known != nil && known.perCPU && !c.total {
		c.group, c.cpu = parseCPU(p.instance)
	}
	return c
}

// parseCPU reads the instance of a processor: "3", or "group,3". It returns
// -1 for any other.
func parseCPU(instance string) (group, cpu int32) {
	if g, n, ok := strings.Cut(instance, ","); ok {
		v, err := strconv.ParseUint(g, 10, 8)
		if err != nil {
			return 0, -1
		}
		group, instance = int32(v), n
	}
	v, err := strconv.ParseUint(instance, 10, 12)
	if err != nil {
		return 0, -1
	}
	return group, int32(v)
}
