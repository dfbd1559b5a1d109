package heartbeat

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"lostbeat/ebpf"
	"lostbeat/model"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

const (
	protocolTCP = unix.IPPROTO_TCP
	// listPause is the shortest time between two listings of all sockets, and
	// listCost says how many times its length a listing is followed by a pause.
	listPause = 2 * time.Second
	listCost  = 100
	// flowEvery is how often a flow is written again, so that a recording that begins later knows it.
	flowEvery = 10 * time.Second
	// maxSockets bounds the sockets that are followed, as the size of hb_known does.
	maxSockets = 1024
)

// socket is a followed socket.
type socket struct {
	cookie, cgroup        uint64
	netns                 uint32
	pid                   int32
	process               string
	protocol              model.Protocol
	local, remotePort     uint16
	localAddr, remoteAddr string
	knownAs               string
	limits                limits
	// peers are those whose packets are followed, empty all.
	peers []netip.Addr
	// arrivals says that its packets are seen when they reach it.
	arrivals bool
	queue    queue
	tcp      tcpStream
	// ways are its flows, and the device of each; named are those that all programs know.
	ways  map[way]*over
	named map[heartbeatLbFlowEnds]struct{}
	// present says that the last listing had it; written is what was last written of it, and when.
	present bool
	written model.Time
	state   model.FlowState
	// missed says that the flow was said to have ended because a listing did not have the socket: packets from before may
	// still be in the ringbuf.
	missed bool
}

// follows says whether packets of a peer are followed.
func (s *socket) follows(remote netip.Addr) bool {
	return len(s.peers) == 0 || slices.Contains(s.peers, remote.Unmap())
}

// listSockets finds the sockets of followed ports, and follows them.
func (a *attached) listSockets() error {
	a.listed, a.unlisted = time.Now(), false
	entries, err := ebpf.ReadIter[heartbeatSocketEntry](a.list)
	a.took = time.Since(a.listed)
	if err != nil {
		return fmt.Errorf("list the sockets of followed flows: %w", err)
	}
	for _, s := range a.sockets {
		s.present = false
	}
	clear(a.others)
	for _, p := range a.proposals {
		p.present = p.present && p.periodic
	}
	wanted := make(map[uint64]bool)
	for i := range entries {
		if s := a.take(&entries[i]); s != nil {
			wanted[s.cgroup] = true
		} else {
			a.others[entries[i].Cookie] = true
		}
	}
	before := a.groups.reason
	err = a.groups.want(wanted)
	missing := a.names.full || len(a.sockets) >= maxSockets
	for _, s := range a.sockets {
		s.arrivals = a.groups.sees(s.cgroup)
		missing = missing || !s.arrivals
	}
	if missing != a.names.missing {
		a.names.missing = missing
		err = errors.Join(err, a.followPorts())
	}
	if _, said := a.status[partArrivals]; !said || a.groups.reason != before {
		a.arrivalsChanged()
	}
	return err
}

// arrivalsChanged says what is not seen of arrivals.
func (a *attached) arrivalsChanged() {
	status := ebpf.StatusOf(name, partArrivals, nil)
	if reason := cmp.Or(a.groups.reason, a.unstamped); reason != "" {
		status.State, status.Reason, status.Hint = model.ProbeDegraded, reason, a.groups.hint
	}
	a.status[partArrivals] = status
	a.env.StatusChanged()
}

// take follows the socket that an entry of the listing describes; nil where nobody wants it.
func (a *attached) take(e *heartbeatSocketEntry) *socket {
	if s := a.sockets[e.Cookie]; s != nil {
		if s.present && s.pid != int32(e.Tgid) {
			return s // several processes hold it: the first one is named
		}
		s.present, s.pid, s.process = true, int32(e.Tgid), a.env.Process(int32(e.Tgid))
		return s
	}
	if len(a.sockets) >= maxSockets {
		return nil
	}
	s := &socket{
		cookie: e.Cookie, cgroup: e.Cgroup, netns: e.Netns, pid: int32(e.Tgid), process: a.env.Process(int32(e.Tgid)),
		protocol: protocolOf(e.Protocol), local: e.LocalPort, remotePort: e.RemotePort,
		localAddr: ebpf.Addr(e.Local, e.Family).Unmap().String(), present: true,
	}
	if e.RemotePort != 0 {
		s.remoteAddr = ebpf.Addr(e.Remote, e.Family).Unmap().String()
	}
	var matching []ebpf.Heartbeat
	for _, f := range a.flows {
		if f.Protocol == s.protocol && (f.Port == s.local || f.Port == s.remotePort) {
			matching = append(matching, f)
		}
	}
	row := recognise(s.protocol, s.local, s.remotePort, s.process, commandLine(s.pid))
	if len(matching) == 0 && (row == nil || !a.auto) {
		a.proposeByPort(s)
		return nil
	}
	if len(matching) > 0 && !slices.ContainsFunc(matching, func(f ebpf.Heartbeat) bool { return !f.Peer.IsValid() }) {
		for _, f := range matching {
			s.peers = append(s.peers, f.Peer)
		}
	}
	if row == nil {
		row = byOwner(s.protocol, s.process)
	}
	if row != nil {
		s.knownAs = row.name
	}
	s.limits = limitsOf(matching, row, s.pid)
	if err := a.known.Put(s.cookie, uint8(1)); err != nil {
		a.env.Log.Warn("follow a socket", "error", err) // its end is then seen at the next listing
	}
	a.sockets[s.cookie] = s
	return s
}

func protocolOf(protocol uint8) model.Protocol {
	switch protocol {
	case unix.IPPROTO_UDP:
		return model.ProtocolUDP
	case protocolTCP:
		return model.ProtocolTCP
	}
	return model.ProtocolOther
}

// emitFlows writes the flows that are new, have changed, or have not been written for a while.
func (a *attached) emitFlows(now model.Time, b *model.Builder) {
	for _, cookie := range slices.Sorted(maps.Keys(a.sockets)) {
		s := a.sockets[cookie]
		if s.missed && !s.present {
			a.forget(s)
			continue
		}
		s.missed = !s.present
		if a.stateOf(s) == s.state && s.written != 0 && now.Sub(s.written) < flowEvery {
			continue
		}
		a.emitFlow(s, now, b)
	}
}

// emitFlow writes what is seen of a socket.
func (a *attached) emitFlow(s *socket, now model.Time, b *model.Builder) {
	s.state, s.written = a.stateOf(s), now
	b.AddFlow(model.Flow{
		Time: now, PID: s.pid, TID: -1, NetnsInode: s.netns, Cookie: s.cookie, Protocol: s.protocol, LocalPort: s.local,
		RemotePort: s.remotePort, Timeout: s.limits.timeout, Period: s.limits.period, State: s.state, LocalAddr: s.localAddr,
		RemoteAddr: s.remoteAddr,
		Process:    s.process, KnownAs: s.knownAs,
	})
}

// forget ends to follow a socket.
func (a *attached) forget(s *socket) {
	_ = a.known.Delete(s.cookie) // it may not be there
	a.names.forget(s)
	delete(a.sockets, s.cookie)
}

// stateOf says what is seen of a socket.
func (a *attached) stateOf(s *socket) model.FlowState {
	switch {
	case !s.present:
		return model.FlowEnded
	case s.arrivals && a.readsSeen:
		return model.FlowFollowed
	case s.arrivals:
		return model.FlowArrivals
	case a.readsSeen:
		return model.FlowReads
	}
	return model.FlowUnseen
}

// groups are the control groups whose packets are looked at.
type groups struct {
	env    *ebpf.Env
	loader *ebpf.Loader
	links  map[uint64]*group
	// reason says what is not seen and why, empty when everything is; hint what would show it.
	reason, hint string
}

// group is a control group: the programs attached to it, or why there are none.
type group struct {
	links []link.Link
	err   error
}

// errRootGroup is a socket of the root control group.
var errRootGroup = errors.New("its socket was created in the root cgroup")

// want attaches to the groups of followed sockets, and detaches from others.
func (g *groups) want(wanted map[uint64]bool) error {
	var errs []error
	for id, have := range g.links {
		if !wanted[id] {
			errs = append(errs, have.close())
			delete(g.links, id)
		}
	}
	g.reason, g.hint = "", ""
	for _, id := range slices.Sorted(maps.Keys(wanted)) {
		if g.links[id] == nil {
			g.links[id] = g.attach(id)
		}
		if err := g.links[id].err; err != nil {
			g.reason, g.hint = "cannot see when packets reach their socket: "+err.Error(), ""
			if errors.Is(err, errRootGroup) {
				g.hint = "follow it with --heartbeat-root, at a cost to every packet of the host, or start the " +
					"program in its own cgroup: systemd-run --scope"
			}
		}
	}
	return errors.Join(errs...)
}

// sees says whether packets of a group are looked at.
func (g *groups) sees(id uint64) bool { return g.links[id] != nil && g.links[id].err == nil }

// attach attaches to a group.
func (g *groups) attach(id uint64) *group {
	if g.env.CgroupError != nil {
		return &group{err: g.env.CgroupError}
	}
	path, err := groupPath(g.env.CgroupRoot, id)
	if err == nil && path == g.env.CgroupRoot && !g.env.Options.HeartbeatRoot {
		err = errRootGroup
	}
	if err != nil {
		return &group{err: err}
	}
	have := &group{}
	for _, hook := range []string{heartbeatProgHbIngress, heartbeatProgHbEgress, heartbeatProgHbClosed} {
		lk, err := g.loader.AttachGroup(hook, path)
		if err != nil {
			return &group{err: errors.Join(err, have.close())}
		}
		have.links = append(have.links, lk)
	}
	return have
}

func (g *group) close() error {
	var errs []error
	for _, lk := range g.links {
		errs = append(errs, lk.Close())
	}
	g.links = nil
	return errors.Join(errs...)
}

func (g *groups) close() error {
	var errs []error
	for _, have := range g.links {
		errs = append(errs, have.close())
	}
	return errors.Join(errs...)
}

// groupPath returns the folder of the control group with an id, which is the number of its inode.
func groupPath(root string, id uint64) (string, error) {
	found := ""
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil // a group that has gone meanwhile
		}
		info, err := entry.Info()
		if err != nil {
			return nil
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Ino == id {
			found = path
			return fs.SkipAll
		}
		return nil
	})
	if err == nil && found == "" {
		err = fmt.Errorf("the cgroup %d in which its socket was created no longer exists", id)
	}
	return found, err
}
