package port

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"lostbeat/ebpf"
	"lostbeat/internal/netns"
	"lostbeat/model"
)

// sunRPCPool is the name of the pools of SunRPC's clients.
const sunRPCPool = "sunrpc"

// pools keeps the port pools and reports those that are new or have changed.
type pools struct {
	known   map[poolKey]model.PortPool
	changed []model.PortPool
	// met says when each namespace was first seen in a record, so that a listing
	// that began before does not take it for gone; 0 it was found by a listing.
	met map[uint32]model.Time
}

type poolKey struct {
	name     string
	protocol model.Protocol
	netns    int64
}

func comparePoolKeys(a, b poolKey) int {
	return cmp.Or(cmp.Compare(a.netns, b.netns), cmp.Compare(a.name, b.name), cmp.Compare(a.protocol, b.protocol))
}

func newPools(configured []ebpf.Pool) pools {
	p := pools{known: make(map[poolKey]model.PortPool), met: make(map[uint32]model.Time)}
	for _, c := range configured {
		p.set(model.PortPool{
			Protocol: c.Protocol, Low: c.Low, High: c.High, Size: poolSize(c.Low, c.High),
			Source: model.PoolConfigured, Name: c.Name,
		})
	}
	return p
}

func poolSize(low, high uint16) uint64 {
	if high < low {
		return 0
	}
	return uint64(high-low) + 1
}

// meet reports the pools of a namespace, which one of the tasks is in, with its
// first record: the next listing may be seconds away. A namespace that cannot be entered any more is
// left to that listing.
func (p *pools) meet(inode uint32, at model.Time, b *model.Builder, tasks ...int32) {
	if _, known := p.met[inode]; known || inode == 0 || len(p.met) >= maxNamespaces {
		return
	}
	p.met[inode] = at
	n, err := netns.Of(inode, tasks...)
	if err != nil {
		return
	}
	limits := namespace{inode: inode, name: n.Name}
	if n.Do(limits.readLimits) != nil {
		return
	}
	p.setLimits(limits)
	p.report(at, b)
}

// update takes the limits from a listing.
func (p *pools) update(l *listing) {
	for _, n := range l.namespaces {
		p.met[n.inode] = 0
		p.setLimits(n)
	}
	p.setSunRPC(l.sunRPC[0], l.sunRPC[1])
	if len(l.namespaces) == 0 {
		return // the listing failed: nothing is known to have gone
	}
	gone := func(inode uint32) bool {
		return p.met[inode] <= l.begin &&
			!slices.ContainsFunc(l.namespaces, func(n namespace) bool { return n.inode == inode })
	}
	// A namespace that has gone takes its pools along, so that memory stays bounded.
	for _, k := range slices.SortedFunc(maps.Keys(p.known), comparePoolKeys) {
		if k.netns != 0 && gone(uint32(k.netns)) {
			delete(p.known, k)
			p.changed = append(
				p.changed,
				model.PortPool{Protocol: k.protocol, Source: model.PoolEphemeral, Netns: k.netns, Name: k.name},
			)
		}
	}
	for inode := range p.met {
		if gone(inode) {
			delete(p.met, inode)
		}
	}
}

// setSunRPC sets the pools of SunRPC's clients; a high of 0 is that the module is
// not loaded, or not any more.
func (p *pools) setSunRPC(low, high uint16) {
	for _, protocol := range []model.Protocol{model.ProtocolTCP, model.ProtocolUDP} {
		pool := model.PortPool{Protocol: protocol, Source: model.PoolReserved, Name: sunRPCPool}
		key := poolKey{name: sunRPCPool, protocol: protocol}
		if high != 0 {
			pool.Low, pool.High, pool.Size = low, high, poolSize(low, high)
			p.set(pool)
		} else if _, known := p.known[key]; known {
			delete(p.known, key)
			p.changed = append(p.changed, pool)
		}
	}
}

// setLimits sets the pools of a namespace.
func (p *pools) setLimits(n namespace) {
	if n.high == 0 {
		return
	}
	blocked, text := reservedIn(n.reserved, n.low, n.high)
	for _, protocol := range []model.Protocol{model.ProtocolTCP, model.ProtocolUDP} {
		p.set(model.PortPool{
			Protocol: protocol, Low: n.low, High: n.high, Size: poolSize(n.low, n.high) - blocked,
			Source: model.PoolEphemeral, Netns: int64(n.inode), NetnsName: n.name, Name: "ephemeral", Reserved: text,
		})
	}
}

func (p *pools) set(pool model.PortPool) {
	key := poolKey{pool.Name, pool.Protocol, pool.Netns}
	if p.known[key] != pool {
		p.known[key] = pool
		p.changed = append(p.changed, pool)
	}
}

// report emits what has changed since the last call.
func (p *pools) report(now model.Time, b *model.Builder) {
	for _, pool := range p.changed {
		pool.Time = now
		b.AddPortPool(pool)
	}
	p.changed = p.changed[:0]
}

// reservedIn counts the ports of a list such as "8080,9000-9010" that lie
// within [low, high], and returns those parts of the list.
func reservedIn(list string, low, high uint16) (ports uint64, text string) {
	var inside []string
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil {
			continue
		}
		from, to = max(from, uint64(low)), min(to, uint64(high))
		switch {
		case from > to:
			continue
		case from == to:
			inside = append(inside, strconv.FormatUint(from, 10))
		default:
			inside = append(inside, fmt.Sprintf("%d-%d", from, to))
		}
		ports += to - from + 1
	}
	return ports, strings.Join(inside, ",")
}

// readPortRange reads two port numbers from a file.
func readPortRange(path string) (low, high uint16, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, fmt.Errorf("read port range: %w", err)
	}
	if _, err := fmt.Sscan(string(content), &low, &high); err != nil {
		return 0, 0, fmt.Errorf("read port range %s: %w", path, err)
	}
	return low, high, nil
}

// sunRPCRange reads the range of privileged ports that SunRPC clients bind;
// zero when the module is not loaded.
func sunRPCRange(dir string) (limits [2]uint16) {
	for i, name := range []string{"min_resvport", "max_resvport"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return [2]uint16{}
		}
		port, err := strconv.ParseUint(strings.TrimSpace(string(content)), 10, 16)
		if err != nil {
			return [2]uint16{}
		}
		limits[i] = uint16(port)
	}
	return limits
}
