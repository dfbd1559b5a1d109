package heartbeat

import (
	"slices"
	"strings"
	"time"

	"lostbeat/ebpf"
	"lostbeat/model"
)

// knownProtocol is a protocol whose heartbeats are known by the port that they use unless told otherwise, and by the
// programs that speak it.
type knownProtocol struct {
	name     string
	protocol model.Protocol
	// low and high are its ports, 0 where it has none of its own: then the program alone tells.
	low, high uint16
	// programs are the names of the programs, as the kernel cuts them off after 15 bytes; none where every program may
	// speak it, so that it is never sure.
	programs []string
	// argument is what the command line has in it, empty anything: the name of the program says nothing for Java.
	argument string
	// limits returns the timeout and the period of a program that runs; nil where no file and no argument says.
	limits func(p *program) limits
}

// limits are what a program's configuration says of its heartbeats, 0 unknown.
type limits struct {
	// timeout is the silence after which it gives its peer up, period the time between two heartbeats.
	timeout, period time.Duration
}

// fixed are limits that are the same everywhere.
func fixed(timeout, period time.Duration) func(*program) limits {
	return func(*program) limits { return limits{timeout, period} }
}

const (
	udp  = model.ProtocolUDP
	tcp  = model.ProtocolTCP
	vrrp = model.ProtocolOther
)

// known are the protocols of heartbeats that have a name here. A port alone proves nothing: "auto" follows a flow whose
// port and owner are in one row, and proposes one of which only the port is.
var known = []knownProtocol{
	{"corosync", udp, 5405, 5412, []string{"corosync"}, "", corosyncLimits}, // knet: one port for each link
	{"corosync", udp, 5404, 5404, []string{"corosync"}, "", corosyncLimits},
	{"keepalived", vrrp, 0, 0, []string{"keepalived"}, "", keepalivedLimits},
	{"vrrp", vrrp, 0, 0, []string{"vrrpd"}, "", nil},
	{"wsfc", udp, 3343, 3343, []string{"System", "clussvc.exe"}, "", nil},
	{"wsfc", tcp, 3343, 3343, []string{"System", "clussvc.exe"}, "", nil},
	{"heartbeat", udp, 694, 694, []string{"heartbeat"}, "", nil},
	{"pacemaker-remote", tcp, 3121, 3121, []string{"pacemaker-remot", "pacemakerd"}, "", nil},
	{"etcd", tcp, 2380, 2380, []string{"etcd"}, "", etcdLimits},
	{"zookeeper", tcp, 2888, 2888, []string{"java"}, "QuorumPeerMain", zookeeperLimits},
	{"rabbitmq", tcp, 25672, 25672, []string{"beam.smp"}, "", rabbitLimits},
	{"consul", udp, 8301, 8301, []string{"consul"}, "", fixed(lanSuspicion, 0)},
	{"consul", udp, 8302, 8302, []string{"consul"}, "", fixed(wanSuspicion, 0)},
	{"serf", udp, 7946, 7946, []string{"serf", "dockerd"}, "", fixed(lanSuspicion, 0)},
	{"nomad", udp, 4648, 4648, []string{"nomad"}, "", fixed(wanSuspicion, 0)},
	{"bfd", udp, 3784, 3785, []string{"bfdd", "bird"}, "", bfdLimits},
	{"bfd", udp, 4784, 4784, []string{"bfdd", "bird"}, "", bfdLimits},
	{"bfd", udp, 6784, 6784, []string{"bfdd", "bird"}, "", bfdLimits},
	{"hsrp", udp, 1985, 1985, nil, "", nil},
	{"ceph", tcp, 6800, 7300, []string{"ceph-osd"}, "", cephLimits},
	{"ceph", tcp, 3300, 3300, []string{"ceph-mon"}, "", nil},
	{"oracle-css", udp, 0, 0, []string{"ocssd.bin"}, "", fixed(30*time.Second, time.Second)},
	{"redis", tcp, 16379, 16379, []string{"redis-server", "valkey-server"}, "", nil},
	{"redis-sentinel", tcp, 26379, 26379, []string{"redis-sentinel"}, "", nil},
	{"galera", tcp, 4567, 4567, []string{"mariadbd", "mysqld"}, "", nil},
	{"mysql-group", tcp, 33061, 33061, []string{"mysqld"}, "", nil},
	{"elasticsearch", tcp, 9300, 9300, []string{"java"}, "elasticsearch", nil},
	{"cassandra", tcp, 7000, 7000, []string{"java"}, "CassandraDaemon", nil},
	{"gluster", tcp, 24007, 24007, []string{"glusterd"}, "", nil},
	{"pgpool", udp, 9694, 9694, []string{"pgpool"}, "", nil},
	{"ged125", tcp, 5000, 5000, nil, "", nil}, // the voice platform of CVP; many others listen there
}

// port says that a port is one of the protocol's own.
func (k *knownProtocol) port(p uint16) bool { return k.low != 0 && k.low <= p && p <= k.high }

// owned says that a program is one of those that speak the protocol. commandLine is asked only where its name does not
// tell.
func (k *knownProtocol) owned(process string, commandLine func() string) bool {
	return slices.Contains(k.programs, process) && (k.argument == "" || strings.Contains(commandLine(), k.argument))
}

// recognise returns the protocol that a socket speaks by its port and its owner, nil where they do not agree.
func recognise(
	protocol model.Protocol, local, remote uint16, process string, commandLine func() string,
) *knownProtocol {
	for i := range known {
		k := &known[i]
		if k.protocol != protocol || k.low == 0 && protocol != vrrp {
			continue
		}
		if (protocol == vrrp || k.port(local) || k.port(remote)) && k.owned(process, commandLine) {
			return k
		}
	}
	return nil
}

// byOwner returns the protocol of a program that uses ports of no fixed number, nil for others.
func byOwner(protocol model.Protocol, process string) *knownProtocol {
	for i := range known {
		k := &known[i]
		if k.low == 0 && k.protocol == protocol && slices.Contains(k.programs, process) {
			return k
		}
	}
	return nil
}

// byPort returns the protocol that has a port, nil for none.
func byPort(protocol model.Protocol, local, remote uint16) *knownProtocol {
	for i := range known {
		k := &known[i]
		if k.protocol == protocol && k.low < model.FirstEphemeral && (k.port(local) || k.port(remote)) {
			return k
		}
	}
	return nil
}

// flows names the flows of a protocol, whoever owns them.
func (k *knownProtocol) flows() (all []ebpf.Heartbeat) {
	if k.low == 0 && k.protocol != vrrp {
		return nil
	}
	for port := int(k.low); port <= int(k.high); port++ {
		all = append(all, ebpf.Heartbeat{Protocol: k.protocol, Port: uint16(port)})
	}
	return all
}
