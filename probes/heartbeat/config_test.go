package heartbeat

import (
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil/fuzztest"
)

// What the configuration of each protocol says of its timeout and period; what it does not say is unknown.
func TestLimits(t *testing.T) {
	const ms = time.Millisecond
	corosync := func(nodes string) string {
		return "totem {\n  version: 2\n  token: 1000 # ms\n  interface {\n    token: 7\n  }\n}\nnodelist {\n" + nodes + "}\n"
	}
	node := "  node {\n    ring0_addr: 10.0.0.1\n    token: 5\n  }\n"
	for _, c := range []struct {
		name, protocol string
		args, env      string // separated by spaces
		files          map[string]string
		want           limits
	}{
		{"two nodes", "corosync", "", "", map[string]string{"/etc/corosync/corosync.conf": corosync(node + node)},
			limits{timeout: 1000 * ms}},
		{"four nodes", "corosync", "", "",
			map[string]string{"/etc/corosync/corosync.conf": corosync(node + node + node + node)},
			limits{timeout: 2300 * ms}},
		{"its own file", "corosync", "corosync -c /c", "", map[string]string{"/c": "totem {\ntoken: 500\n}"},
			limits{timeout: 500 * ms}},
		{"default", "corosync", "", "",
			map[string]string{"/etc/corosync/corosync.conf": "totem {\nversion: 2\n}\n"}, limits{}},
		{"nonsense", "corosync", "", "",
			map[string]string{"/etc/corosync/corosync.conf": "totem {\ntoken: soon\n}\n"}, limits{}},
		{"no file", "corosync", "", "", nil, limits{}},

		{"version 2", "keepalived", "", "", map[string]string{"/etc/keepalived/keepalived.conf": "vrrp_instance VI_1 {\n" +
			"    priority 128\n    advert_int 2\n    virtual_ipaddress {\n 10.0.0.9\n }\n}\n"},
			limits{6500 * ms, 2 * time.Second}},
		{"version 3", "keepalived", "", "", map[string]string{"/etc/keepalived/keepalived.conf": "global_defs {\n" +
			"  vrrp_version 3\n}\nvrrp_instance VI_1 {\n    priority 128\n    advert_int 0.1\n}\n"}, limits{350 * ms, 100 * ms}},
		{"defaults", "keepalived", "keepalived -f /k", "", map[string]string{"/k": "vrrp_instance VI_1 {\n}\n"},
			limits{3*time.Second + 609375*time.Microsecond, time.Second}},
		{"two that do not agree", "keepalived", "", "",
			map[string]string{"/etc/keepalived/keepalived.conf": "vrrp_instance A {\n" +
				"advert_int 1\n}\nvrrp_instance B {\nadvert_int 2\n}\n"}, limits{}},
		{"an include", "keepalived", "", "", map[string]string{"/etc/keepalived/keepalived.conf": "include x.conf\n" +
			"vrrp_instance A {\n}\n"}, limits{}},

		{"defaults", "etcd", "etcd", "", nil, limits{time.Second, 100 * ms}},
		{"flags", "etcd", "etcd --election-timeout=2500 -heartbeat-interval 250", "ETCD_ELECTION_TIMEOUT=9", nil,
			limits{2500 * ms, 250 * ms}},
		{"environment", "etcd", "etcd", "ETCD_ELECTION_TIMEOUT=5000 ETCD_HEARTBEAT_INTERVAL=500", nil,
			limits{5 * time.Second, 500 * ms}},
		{"file", "etcd", "etcd --config-file /e.yml --election-timeout=9", "",
			map[string]string{"/e.yml": "name: a\nelection-timeout: 3000\n"}, limits{3 * time.Second, 100 * ms}},
		{"a file that is not there", "etcd", "etcd --config-file /e.yml", "", nil, limits{}},

		{"own ticks", "zookeeper", "java QuorumPeerMain /zoo.cfg", "",
			map[string]string{"/zoo.cfg": "tickTime=2000\nsyncLimit=5\n"}, limits{10 * time.Second, time.Second}},
		{"default ticks", "zookeeper", "java QuorumPeerMain /zoo.cfg", "",
			map[string]string{"/zoo.cfg": "#tickTime=9\nsyncLimit = 2\n"}, limits{6 * time.Second, 1500 * ms}},
		{"no limit", "zookeeper", "java QuorumPeerMain /zoo.cfg", "",
			map[string]string{"/zoo.cfg": "tickTime=2000\n"}, limits{}},

		{"default", "rabbitmq", "beam.smp", "", nil, limits{45 * time.Second, 15 * time.Second}},
		{"file", "rabbitmq", "beam.smp", "", map[string]string{"/etc/rabbitmq/rabbitmq.conf": "net_ticktime = 120\n"},
			limits{90 * time.Second, 30 * time.Second}},
		{"advanced file", "rabbitmq", "beam.smp", "RABBITMQ_CONFIG_FILE=/r/rabbit.conf",
			map[string]string{"/r/advanced.config": "[{kernel,\n % {net_ticktime, 9}\n [{net_ticktime, 20}]}]."},
			limits{15 * time.Second, 5 * time.Second}},
		{"flag", "rabbitmq", "beam.smp -kernel net_ticktime 8", "", nil, limits{6 * time.Second, 2 * time.Second}},

		{"defaults of FRR", "bfd", "bfdd", "",
			map[string]string{"/etc/frr/frr.conf": "hostname r1\n"}, limits{900 * ms, 300 * ms}},
		{"a profile", "bfd", "bfdd", "",
			map[string]string{"/etc/frr/frr.conf": "bfd\n peer 10.0.0.2\n  detect-multiplier 5\n" +
				"  receive-interval 100\n"}, limits{500 * ms, 100 * ms}},
		{"two peers", "bfd", "bfdd", "",
			map[string]string{"/etc/frr/frr.conf": "receive-interval 100\nreceive-interval 50\n"},
			limits{}},
		{"BIRD", "bfd", "/usr/sbin/bird", "", map[string]string{"/etc/frr/frr.conf": "x\n"}, limits{}},
		{"none", "bfd", "bfdd", "", nil, limits{}},

		{"defaults", "ceph", "ceph-osd", "", nil, limits{20 * time.Second, 6 * time.Second}},
		{"file", "ceph", "ceph-osd -c /c", "", map[string]string{"/c": "[osd]\nosd heartbeat grace = 30\n" +
			"osd_heartbeat_interval = 3\n"}, limits{30 * time.Second, 3 * time.Second}},
		{"consul", "consul", "", "", nil, limits{timeout: 4 * time.Second}},
	} {
		t.Run(c.protocol+"/"+c.name, func(t *testing.T) {
			p := &program{
				args: strings.Fields(c.args), env: strings.Fields(c.env), read: func(name string) string { return c.files[name] },
			}
			for i := range known {
				if known[i].name == c.protocol && known[i].limits != nil {
					if got := known[i].limits(p); got != c.want {
						t.Errorf("%+v, want %+v", got, c.want)
					}
					return
				}
			}
			t.Error("no such protocol")
		})
	}
}

// Whatever a file says, it is a time that a heartbeat may have.
func FuzzLimits(f *testing.F) {
	fuzztest.Quick(f)
	f.Add("totem {\ntoken: 1e300\n}\nvrrp_instance a {\nadvert_int NaN\n}\nsyncLimit=99999999999\n{net_ticktime, -1}")
	f.Add("}\n}\nvrrp_instance\nadvert_int\n")
	f.Fuzz(func(t *testing.T, text string) {
		p := &program{args: []string{"x", "/f"}, read: func(string) string { return text }}
		for i := range known {
			if known[i].limits == nil {
				continue
			}
			if l := known[i].limits(p); l.timeout < 0 || l.period < 0 {
				t.Errorf("%s: %+v of %q", known[i].name, l, text)
			}
		}
	})
}
