package fold

import (
	"cmp"
	"strings"

	"lostbeat/model"
	"lostbeat/model/state"
)

// ComparePools orders pools by name, protocol and namespace.
func ComparePools(a, b state.PoolKey) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Netns, b.Netns))
}

// poolOf returns the most specific pool that a port belongs to: the smallest.
func (w *Fold) poolOf(protocol model.Protocol, netns int64, port uint16) (state.PoolKey, bool) {
	return poolOf(w.State, protocol, netns, port)
}

func poolOf(st *state.State, protocol model.Protocol, netns int64, port uint16) (state.PoolKey, bool) {
	var best *state.Pool
	var key state.PoolKey
	for pool := range st.PoolsOf(protocol, netns) {
		if !pool.Contains(protocol, netns, port) {
			continue
		}
		k := pool.Key()
		if best == nil || pool.Size < best.Size || pool.Size == best.Size && ComparePools(k, key) < 0 {
			best, key = pool, k
		}
	}
	return key, best != nil
}

// EphemeralPool returns the pool from which the system itself chooses ports.
func (w *Fold) EphemeralPool(protocol model.Protocol, netns int64) (state.PoolKey, bool) {
	var key state.PoolKey
	found := false
	for pool := range w.State.PoolsOf(protocol, netns) {
		k := pool.Key()
		if pool.Source == model.PoolEphemeral && pool.Protocol == protocol && (pool.Netns == 0 || pool.Netns == netns) &&
			(!found || ComparePools(k, key) < 0) {
			key, found = k, true
		}
	}
	return key, found
}

// rpcPool returns the pool from which the RPC runtime takes its ports of a
// protocol: the one of the registry, one that the user calls rpc, or the only one
// that the user has named.
func (w *Fold) rpcPool(protocol model.Protocol) state.PoolKey {
	if !w.room.Spend("refused RPC calls", 2*len(w.State.Pools)) {
		return state.PoolKey{}
	}
	const registry, called, named = 2, 1, 0
	var best state.PoolKey
	rank, count := -1, 0
	for k, pool := range w.State.Pools {
		if pool.Netns != 0 || pool.Source != model.PoolRPC && pool.Source != model.PoolConfigured ||
			protocol != model.ProtocolUnknown && pool.Protocol != protocol {
			continue
		}
		r := named
		switch {
		case pool.Source == model.PoolRPC:
			r = registry
		case strings.Contains(strings.ToLower(pool.Name), "rpc"):
			r = called
		}
		count++
		if r > rank || r == rank && ComparePools(k, best) < 0 {
			best, rank = k, r
		}
	}
	if rank == named && count > 1 {
		return state.PoolKey{} // any of them
	}
	return best
}

// PoolSize returns how many ports a pool has, 0 for one that is not known.
func (w *Fold) PoolSize(k state.PoolKey) uint64 {
	if pool := w.State.Pools[k]; pool != nil {
		return pool.Size
	}
	return 0
}
