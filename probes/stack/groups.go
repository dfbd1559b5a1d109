package stack

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"lostbeat/model"
)

// Top is how many groups of each CPU are emitted in an interval.
const Top = 10

// maxPaths bounds the different paths that are kept of one interval; the
// samples of more are still counted.
const maxPaths = 1 << 14

// task is a thread that was running or was interrupted.
type task struct {
	pid, tid int32
	name     string
}

// group is what samples are added up by.
type group struct {
	// task is zero for deferred work, which interrupts any.
	task            task
	function, entry string
	softirq         bool
}

// counts are the samples of one group on one CPU in the interval.
type counts struct {
	samples uint64
	tasks   map[task]uint64
	paths   map[string]*path
}

// path is a call path: the names of its functions are the key.
type path struct {
	samples uint64
	stack   model.Stack
}

// cpuSamples are the samples of one CPU in the interval.
type cpuSamples struct {
	all    uint64
	groups map[group]*counts
}

// samples adds up the samples of an interval.
type samples struct {
	cpus  map[int32]*cpuSamples
	ids   map[string]uint32
	paths int
	key   []byte
	names []string
}

// add counts a sample; addresses are innermost first, none in user code.
func (s *samples) add(cpu int32, t task, addresses []uint64, symbol func(uint64) string) {
	if s.cpus == nil {
		s.cpus, s.ids = make(map[int32]*cpuSamples), make(map[string]uint32)
	}
	on := s.cpus[cpu]
	if on == nil {
		on = &cpuSamples{groups: make(map[group]*counts)}
		s.cpus[cpu] = on
	}
	on.all++
	s.key, s.names = s.key[:0], s.names[:0]
	for i, addr := range addresses {
		if i > 0 {
			addr-- // a return address may be that of the next function
		}
		name := symbol(addr)
		s.names = append(s.names, name)
		s.key = binary.NativeEndian.AppendUint32(s.key, s.id(name))
	}
	g := group{task: t}
	if len(s.names) > 0 {
		g.function = s.names[0]
		g.entry, g.softirq = entryOf(s.names)
	}
	if g.softirq {
		g.task = task{}
	}
	c := on.groups[g]
	if c == nil {
		if s.paths >= maxPaths {
			return
		}
		c = &counts{tasks: make(map[task]uint64), paths: make(map[string]*path)}
		on.groups[g] = c
	}
	c.samples++
	c.tasks[t]++
	if p := c.paths[string(s.key)]; p != nil {
		p.samples++
	} else if s.paths < maxPaths {
		s.paths++
		p = &path{samples: 1}
		for i, name := range s.names {
			p.stack = append(p.stack, model.Frame{Addr: addresses[i], Name: name})
		}
		c.paths[string(s.key)] = p
	}
}

// id returns a number that stands for a name within the interval.
func (s *samples) id(name string) uint32 {
	id, ok := s.ids[name]
	if !ok {
		id = uint32(len(s.ids))
		s.ids[name] = id
	}
	return id
}

// emit adds the most frequent groups of each CPU and starts the next interval.
func (s *samples) emit(now model.Time, interval time.Duration, b *model.Builder) {
	for _, cpu := range sortedKeys(s.cpus, cmp.Compare[int32]) {
		on := s.cpus[cpu]
		groups := sortedKeys(on.groups, func(x, y group) int {
			return cmp.Or(cmp.Compare(on.groups[y].samples, on.groups[x].samples), compareGroups(x, y))
		})
		for _, g := range groups[:min(len(groups), Top)] {
			c := on.groups[g]
			t := mostFrequent(c.tasks, func(n uint64) uint64 { return n }, compareTasks)
			p := mostFrequent(c.paths, func(p *path) uint64 { return p.samples }, cmp.Compare[string])
			event := model.StackSample{
				Time: now, Dur: interval, CPU: cpu, PID: t.pid, TID: t.tid,
				Samples: c.samples, Of: on.all, Softirq: g.softirq,
				Function: g.function, Entry: g.entry, Task: t.name,
			}
			if c.paths[p] != nil {
				event.Stack = c.paths[p].stack
			}
			b.AddStackSample(event)
		}
	}
	*s = samples{key: s.key, names: s.names}
}

func compareGroups(x, y group) int {
	return cmp.Or(cmp.Compare(x.function, y.function), cmp.Compare(x.entry, y.entry), compareTasks(x.task, y.task))
}

func compareTasks(x, y task) int {
	return cmp.Or(cmp.Compare(x.tid, y.tid), cmp.Compare(x.pid, y.pid), cmp.Compare(x.name, y.name))
}

// sortedKeys returns the keys of a map in order.
func sortedKeys[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compare)
	return keys
}

// mostFrequent returns the key with the highest count, of equal ones the first
// in order; the zero key when there is none.
func mostFrequent[K comparable, V any](m map[K]V, count func(V) uint64, compare func(a, b K) int) (best K) {
	most := uint64(0)
	for k, v := range m {
		if n := count(v); n > most || n == most && compare(k, best) < 0 {
			best, most = k, n
		}
	}
	return best
}
