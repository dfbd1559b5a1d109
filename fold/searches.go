package fold

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

const (
	// maxSearch is the largest range that is followed as one in which a process
	// searches for a port: bindresvport's, and what firewalls leave open, are smaller.
	maxSearch = 4096
	// minSearch is the smallest.
	minSearch = 16
	// searchDone is how long after its last try a search is over that tried no
	// port twice.
	searchDone = 2 * time.Second
	// searchGap is how far from the ports tried one may lie that belongs to the same search.
	searchGap = 512
)

// SearchKey is who searches: a process that asks for one port after the other.
type SearchKey struct {
	PID      int32
	Protocol model.Protocol
	Netns    int64
}

func compareSearches(a, b SearchKey) int {
	return cmp.Or(
		cmp.Compare(a.PID, b.PID), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Netns, b.Netns),
	)
}

// Search is a range of ports in which a process searches for one that is free,
// and has found none since it began: the C library's bindresvport, an RPC runtime
// with a range of its own, a program whose ports a firewall lets pass.
type Search struct {
	Process string
	// Low and High are the lowest and highest port that was refused.
	Low, High uint16
	// Refused counts the ports refused since First, Second those of the second being judged.
	Refused, Second uint64
	First, Last     model.Time
	// ports are the ports that were refused; again says that one of them was
	// refused twice: the search began anew without having found any.
	ports map[uint16]struct{}
	again bool
}

// InVain says that the search has gone through a range without finding a free port.
func (s *Search) InVain(now model.Time) bool {
	span := int(s.High) - int(s.Low) + 1
	return len(s.ports) >= minSearch && len(s.ports)*5 >= span*4 && (s.again || now.Sub(s.Last) >= searchDone)
}

// Whole is how many whole searches came to nothing.
func (s *Search) Whole() uint64 { return max(1, s.Refused/uint64(max(1, len(s.ports)))) }

// search counts a port that was refused to a process which asked for it.
func (p *Ports) search(w *Fold, v *model.PortFail) {
	if v.PID <= 0 || v.LocalPort == 0 || v.How == model.HowConnect {
		return
	}
	k := SearchKey{v.PID, v.Protocol, v.Netns}
	s := p.Searches[k]
	if s != nil && (int(v.LocalPort) < int(s.Low)-searchGap || int(v.LocalPort) > int(s.High)+searchGap ||
		v.Time.Sub(s.Last) > forgetFailure) {
		p.endSearch(k)
		s = nil
	}
	if s == nil {
		if !p.room.Take("searches for ports", searchBytes) {
			return
		}
		s = &Search{Low: v.LocalPort, High: v.LocalPort, First: v.Time, ports: make(map[uint16]struct{})}
		p.Searches[k] = s
	}
	_, tried := s.ports[v.LocalPort]
	switch {
	case tried:
		s.again = true
	case len(s.ports) >= maxSearch || !p.room.Take("ports searched", searchedBytes):
		p.endSearch(k)
		return
	default:
		s.ports[v.LocalPort] = struct{}{}
	}
	s.Low, s.High = min(s.Low, v.LocalPort), max(s.High, v.LocalPort)
	s.Refused++
	s.Second++
	s.Last = v.Time
	s.Process = cmp.Or(v.Process, s.Process, w.State.ProcessName(v.PID))
}

// found ends the search of a process that has got a port of its choice.
func (p *Ports) found(port *state.Port) {
	k := SearchKey{port.PID, port.Protocol, port.Netns}
	if s := p.Searches[k]; s != nil && port.How == model.HowBindPort &&
		int(port.LocalPort) >= int(s.Low)-searchGap && int(port.LocalPort) <= int(s.High)+searchGap {
		p.endSearch(k)
	}
}

func (p *Ports) endSearch(k SearchKey) {
	if s := p.Searches[k]; s != nil {
		p.room.Give(searchBytes + len(s.ports)*searchedBytes)
		delete(p.Searches, k)
	}
}

// forgetSearches forgets what nobody searches any more.
func (p *Ports) forgetSearches(now model.Time) {
	for k, s := range p.Searches {
		if s.Second = 0; now.Sub(s.Last) > forgetFailure {
			p.endSearch(k)
		}
	}
}

// SortedSearches returns the keys of Searches in a fixed order.
func (p *Ports) SortedSearches() []SearchKey {
	if len(p.Searches) == 0 {
		return nil
	}
	return slices.SortedFunc(maps.Keys(p.Searches), compareSearches)
}
