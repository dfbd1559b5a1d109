package packetdrop

import (
	"cmp"
	"slices"
	"strings"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// owner is a port or process that lost packets.
type owner struct {
	protocol model.Protocol
	port     uint16
	pid      int32
	process  string
	count    uint64
}

// Bounds of what is kept of a case, and of what a finding lists of it.
const (
	maxOwners      = 64
	shownOwners    = 4
	maxNames       = 32
	shownNames     = 4
	regularSeconds = 4
	regularSpread  = 3
)

func (l *loss) addOwner(d *fold.Drop, n uint64) {
	if n == 0 {
		return
	}
	for i := range l.owners {
		o := &l.owners[i]
		if o.protocol == d.Key.Protocol && o.port == d.Key.Port && o.pid == d.Key.PID {
			o.count += n
			o.process = cmp.Or(o.process, d.Process)
			return
		}
	}
	if len(l.owners) < maxOwners {
		l.owners = append(l.owners, owner{d.Key.Protocol, d.Key.Port, d.Key.PID, d.Process, n})
		return
	}
	l.ownersLeft += n
}

// ranked are the owners that are known, the largest first.
func (l *loss) ranked() []owner {
	list := slices.DeleteFunc(slices.Clone(l.owners), func(o owner) bool { return o.port == 0 && o.pid <= 0 })
	slices.SortFunc(list, func(a, b owner) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.port, b.port), cmp.Compare(a.pid, b.pid),
			cmp.Compare(a.protocol, b.protocol))
	})
	return list
}

func (o *owner) name() string {
	text := ""
	if o.port != 0 {
		text = o.protocol.String() + "/" + words.Itoa(o.port)
	}
	if o.pid > 0 || o.process != "" {
		if text != "" {
			return text + " (" + words.Task(o.process, o.pid) + ")"
		}
		return words.Task(o.process, o.pid)
	}
	return text
}

// evidence lists the owners of what was lost: the largest, and how many more there are.
func (l *loss) evidence() (list []model.Evidence) {
	owners := l.ranked()
	shown := min(len(owners), shownOwners)
	for _, o := range owners[:shown] {
		list = append(list, detect.Evidence("lost by "+o.name(), float64(o.count), "packets"))
	}
	more, rest := len(owners)-shown, l.ownersLeft
	for _, o := range owners[shown:] {
		rest += o.count
	}
	switch {
	case l.ownersLeft > 0:
		list = append(list, detect.Evidence("lost by more than "+words.Number(more)+" others", float64(rest), "packets"))
	case more == 1:
		list = append(list, detect.Evidence("lost by 1 more port or process", float64(rest), "packets"))
	case more > 1:
		name := "lost by " + words.Number(more) + " more ports and processes"
		list = append(list, detect.Evidence(name, float64(rest), "packets"))
	}
	return list
}

// names is a list of reasons or functions, in the order of their appearance.
type names struct {
	list []string
	left bool
}

func (n *names) add(name string) {
	switch {
	case name == "" || slices.Contains(n.list, name):
	case len(n.list) < maxNames:
		n.list = append(n.list, name)
	default:
		n.left = true
	}
}

// String lists the first names, and how many more there are.
func (n *names) String() string {
	shown := min(len(n.list), shownNames)
	text := fold.Printable(strings.Join(n.list[:shown], ", "))
	more := len(n.list) - shown
	switch {
	case n.left:
		text += " and more than " + words.Number(more) + " more"
	case more > 0:
		text += " and " + words.Number(more) + " more"
	}
	return text
}

// hitsFlow says that packets of a flow that comes regularly are among a group: of one whose packets were seen, or of
// one that shows by what it loses, second by second and about as much each time.
// Where no port is known, that of all packets of the group shows it.
func (d *packetDrop) hitsFlow(w *detect.Tick, g *group) (seen, regular bool) {
	sums := make(map[fold.FlowPort]*[fold.MaxWindow]uint64)
	for i := range g.drops {
		p := &g.drops[i]
		k := fold.FlowPort{Protocol: p.Key.Protocol, Port: p.Key.Port}
		if k.Port == 0 {
			continue
		}
		if d.flows[k] {
			return true, true
		}
		if sums[k] == nil {
			sums[k] = new([fold.MaxWindow]uint64)
		}
		for slot, n := range p.Seconds {
			sums[k][slot] += n
		}
	}
	for _, seconds := range sums {
		regular = regular || fold.SumOf(seconds, w.Recent()) >= d.settings.MinDrops && isRegular(w, seconds)
	}
	if !regular && !g.entry.Noise && len(sums) == 0 { // whose they are is not known
		var seconds [fold.MaxWindow]uint64
		for i := range g.drops {
			for slot, n := range g.drops[i].Seconds {
				seconds[slot] += n
			}
		}
		regular = isRegular(w, &seconds)
	}
	return false, regular
}

// isRegular says that about as many packets were lost in each of the last seconds.
func isRegular(w *detect.Tick, seconds *[fold.MaxWindow]uint64) bool {
	var list [regularSeconds]uint64
	for i := range list {
		list[i] = seconds[(w.Slot-i+fold.MaxWindow)%fold.MaxWindow]
	}
	slices.Sort(list[:])
	return list[0] > 0 && list[regularSeconds-1] <= regularSpread*list[regularSeconds/2]
}
