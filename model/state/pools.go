package state

import (
	"iter"

	"lostbeat/model"
)

// maxPoolsOf is how many pools of one protocol and network namespace are kept:
// each event of a port looks at them. A host has a few.
const maxPoolsOf = 32

// poolPlace is whose ports a pool has: those of a namespace, or of any for 0.
type poolPlace struct {
	protocol model.Protocol
	netns    int64
}

// poolIndex are the pools by place.
type poolIndex map[poolPlace][]*Pool

// PoolsOf yields the pools that ports of the protocol and namespace may belong to.
func (s *State) PoolsOf(protocol model.Protocol, netns int64) iter.Seq[*Pool] {
	return func(yield func(*Pool) bool) {
		for _, pool := range s.pools[poolPlace{protocol, 0}] {
			if !yield(pool) {
				return
			}
		}
		if netns == 0 {
			return
		}
		for _, pool := range s.pools[poolPlace{protocol, netns}] {
			if !yield(pool) {
				return
			}
		}
	}
}

// Key returns the key under which the pool stands in State.Pools.
func (p *Pool) Key() PoolKey { return PoolKey{p.Name, p.Protocol, p.Netns} }

func (s *State) forgetPool(k PoolKey) {
	old := s.Pools[k]
	if old == nil {
		return
	}
	place := poolPlace{k.Protocol, k.Netns}
	list := s.pools[place]
	for i, p := range list {
		if p == old {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			list = list[:len(list)-1]
			break
		}
	}
	if s.pools[place] = list; len(list) == 0 {
		delete(s.pools, place)
	}
	forget(s, s.Pools, k, poolBytes)
}

func (s *State) setPool(v model.PortPool) {
	pool := &Pool{PortPool: v}
	k, place := pool.Key(), poolPlace{v.Protocol, v.Netns}
	s.sorted = nil
	if v.High == 0 { // its network namespace was removed
		s.forgetPool(k)
		return
	}
	old := s.Pools[k]
	if old != nil && old.Low == v.Low && old.High == v.High {
		pool.Used, pool.Resting = old.Used, old.Resting
	} else if !s.countPool(pool) {
		return
	}
	s.forgetPool(k)
	if len(s.pools[place]) >= maxPoolsOf {
		s.budget.LeaveOut("port pools")
	} else if keep(s, s.Pools, k, pool, "port pools", poolBytes) {
		s.pools[place] = append(s.pools[place], pool)
	}
}

// countPool counts which ports of a new pool are in use: page by page where they
// are of one namespace.
func (s *State) countPool(pool *Pool) bool {
	first, last := pool.Low/pagePorts, pool.High/pagePorts
	pages := max(0, int(last)-int(first)+1)
	if pool.Netns == 0 || pages > len(s.slots.pages) {
		if !s.budget.Spend("port pools", pagePorts*len(s.slots.pages)) {
			return false
		}
		s.slots.each(func(protocol model.Protocol, netns int64, port uint16, u slotUse) {
			if pool.Contains(protocol, netns, port) {
				pool.count(u, 1)
			}
		})
		return true
	}
	if !s.budget.Spend("port pools", pagePorts/2*pages) {
		return false
	}
	for n := int(first); n <= int(last); n++ {
		k := slotPage{pool.Netns, pool.Protocol, uint16(n)}
		of := s.slots.pages[k]
		if of == nil {
			continue
		}
		for place := range uint16(pagePorts) {
			u, port := s.slots.use(k, of, place), uint16(n)*pagePorts+place
			if u != (slotUse{}) && port >= pool.Low && port <= pool.High {
				pool.count(u, 1)
			}
		}
	}
	return true
}
