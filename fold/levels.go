package fold

import (
	"cmp"
	"slices"

	"lostbeat/model"
	"lostbeat/model/state"
)

// Levels are what holds at a moment, in numbers, for monitoring. They are immutable.
type Levels struct {
	// At is the moment: the end of the second that was judged last.
	At model.Time
	// Pools are the fullest pools of ports, the fullest first; PoolsLeftOut is how many others there are.
	Pools        []PoolLevel
	PoolsLeftOut int
	// Beats are followed flows; BeatsLeftOut is how many others there are.
	Beats        []BeatTotal
	BeatsLeftOut int
}

// PoolLevel is how full a pool of ports is.
type PoolLevel struct {
	Name     string
	Protocol model.Protocol
	// Netns is the network namespace by name or inode, empty for the host's.
	Netns string
	// Used, Resting and Size are distinct ports: in use, closed but not free yet, and in all.
	Used, Resting, Size int
	// Filling is when it will be exhausted at its present rate, zero when it does not fill steadily.
	Filling Forecast
}

// Levels returns the present levels, of at most so many pools and flows.
func (w *Fold) Levels(most int) *Levels {
	share := func(p *state.Pool) float64 { return Ratio(float64(p.Used+p.Resting), float64(p.Size)) }
	pools := slices.Clone(w.State.SortedPools())
	slices.SortStableFunc(pools, func(a, b *state.Pool) int { return cmp.Compare(share(b), share(a)) })
	shown := pools[:min(len(pools), most)]
	l := &Levels{At: w.Now, Pools: make([]PoolLevel, len(shown)), PoolsLeftOut: len(pools) - len(shown)}
	for i, p := range shown {
		l.Pools[i] = PoolLevel{
			Name: p.Name, Protocol: p.Protocol, Netns: p.NetnsName, Used: p.Used, Resting: p.Resting, Size: int(p.Size),
		}
		l.Pools[i].Filling, _ = w.Forecast(p.Key())
	}
	l.Beats = w.beatTotals(w.Now)
	l.Beats = l.Beats[:min(len(l.Beats), most)]
	l.BeatsLeftOut = len(w.beats) - len(l.Beats)
	return l
}
