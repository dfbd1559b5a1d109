package heartbeat

import (
	"testing"

	"lostbeat/model"
)

// Every row is recognised by its port and its owner, at either end of a connection, and by neither alone.
func TestKnown(t *testing.T) {
	// The ports and owners of reference texts, once more: a row that is changed by mistake is not found.
	for _, want := range []struct {
		name             string
		protocol         model.Protocol
		port             uint16
		process, command string
	}{
		{"corosync", udp, 5405, "corosync", ""},
		{"corosync", udp, 5412, "corosync", ""}, // the eighth link of knet
		{"corosync", udp, 5404, "corosync", ""},
		{"keepalived", vrrp, 0, "keepalived", ""},
		{"vrrp", vrrp, 0, "vrrpd", ""},
		{"wsfc", udp, 3343, "System", ""},
		{"wsfc", tcp, 3343, "clussvc.exe", ""},
		{"heartbeat", udp, 694, "heartbeat", ""},
		{"pacemaker-remote", tcp, 3121, "pacemaker-remot", ""},
		{"etcd", tcp, 2380, "etcd", ""},
		{"zookeeper", tcp, 2888, "java", "java -cp x org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg"},
		{"rabbitmq", tcp, 25672, "beam.smp", ""},
		{"consul", udp, 8301, "consul", ""},
		{"consul", udp, 8302, "consul", ""},
		{"serf", udp, 7946, "serf", ""},
		{"serf", udp, 7946, "dockerd", ""},
		{"nomad", udp, 4648, "nomad", ""},
		{"bfd", udp, 3784, "bfdd", ""},
		{"bfd", udp, 3785, "bird", ""},
		{"bfd", udp, 4784, "bfdd", ""},
		{"bfd", udp, 6784, "bfdd", ""},
		{"ceph", tcp, 6800, "ceph-osd", ""},
		{"ceph", tcp, 7300, "ceph-osd", ""},
		{"ceph", tcp, 3300, "ceph-mon", ""},
		{"redis", tcp, 16379, "redis-server", ""},
		{"redis-sentinel", tcp, 26379, "redis-sentinel", ""},
		{"galera", tcp, 4567, "mariadbd", ""},
		{"mysql-group", tcp, 33061, "mysqld", ""},
		{"elasticsearch", tcp, 9300, "java", "java org.elasticsearch.bootstrap.Elasticsearch"},
		{"cassandra", tcp, 7000, "java", "java org.apache.cassandra.service.CassandraDaemon"},
		{"gluster", tcp, 24007, "glusterd", ""},
		{"pgpool", udp, 9694, "pgpool", ""},
	} {
		name := func(protocol model.Protocol, local, remote uint16, process, command string) string {
			k := recognise(protocol, local, remote, process, func() string { return command })
			if k == nil {
				return ""
			}
			return k.name
		}
		if got := name(want.protocol, want.port, 0, want.process, want.command); got != want.name {
			t.Errorf("%+v: %q", want, got)
		}
		if got := name(want.protocol, 41234, want.port, want.process, want.command); got != want.name {
			t.Errorf("%+v, at the peer: %q", want, got)
		}
		if got := name(want.protocol, want.port, 0, "nc", want.command); got != "" {
			t.Errorf("%+v of nc: %q", want, got)
		}
		if want.protocol == vrrp {
			continue
		}
		if got := name(want.protocol, 4711, 4712, want.process, want.command); got != "" {
			t.Errorf("%+v at another port: %q", want, got)
		}
		if want.command == "" {
			continue
		}
		if got := name(want.protocol, want.port, 0, want.process, "java -jar other.jar"); got != "" {
			t.Errorf("%+v of another program: %q", want, got)
		}
	}
	for i := range known {
		k := &known[i]
		if k.high < k.low || (k.low == 0 || k.protocol == vrrp) && len(k.programs) == 0 {
			t.Errorf("%+v can be told by nothing", k)
		}
	}
	for _, c := range []struct {
		protocol      model.Protocol
		local, remote uint16
		want          string
	}{
		{udp, 1985, 0, "hsrp"}, {tcp, 5000, 0, "ged125"}, {tcp, 41234, 5000, "ged125"}, {udp, 5405, 0, "corosync"},
		{tcp, 5405, 0, ""}, {tcp, 33061, 0, ""}, // it may be anybody's
	} {
		got := ""
		if k := byPort(c.protocol, c.local, c.remote); k != nil {
			got = k.name
		}
		if got != c.want {
			t.Errorf("%+v: proposed as %q", c, got)
		}
	}
	if k := byOwner(udp, "ocssd.bin"); k == nil || k.name != "oracle-css" {
		t.Errorf("ocssd.bin: %+v", k)
	}
	if k := byOwner(udp, "corosync"); k != nil {
		t.Errorf("corosync by its name alone: %+v", k)
	}
}

func TestRegular(t *testing.T) {
	for _, c := range []struct {
		name string
		gaps []uint64
		want bool
	}{
		{"exact", []uint64{200, 200, 200, 200, 200}, true},
		{"too few", []uint64{200, 200, 200, 200}, false},
		{"jitter of a fifth", []uint64{180, 220, 200, 190, 210, 240, 160}, true},
		{"one is missing", []uint64{200, 200, 400, 200, 200, 200, 200}, true},
		{"two are missing", []uint64{200, 200, 700, 200, 200, 200, 200}, false},
		{"at random", []uint64{20, 450, 90, 310, 5, 700, 130, 250}, false},
		{"two at a time", []uint64{1, 399, 1, 399, 1, 399, 1, 399}, false},
	} {
		var g gaps
		for _, us := range c.gaps {
			g.add(gaps{n: 1, sum: us, square: us * us, longest: us})
		}
		if g.regular() != c.want {
			t.Errorf("%s: %v", c.name, g.regular())
		}
	}
}
