package applog

import (
	"cmp"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/lazyregexp"
	"lostbeat/model"
)

// Pattern is a line that is looked for.
type Pattern struct {
	// Name is "product/what".
	Name string
	// Class is what the line reports.
	Class model.LogClass
	// Literal is in every such line, in lower case; it is looked for first.
	Literal string
	// Match is the whole pattern, nil where the literal is enough. Groups named ns, us, ms and s are how long before
	// the line the silence began; pct is the share of Timeout that has passed.
	Match *lazyregexp.Regexp
	// Timeout is what pct is of.
	Timeout time.Duration
	// Example is such a line without its time. Source says where its form is from; empty is from memory, unproven.
	Example, Source string
}

// Sources of the forms of lines.
const (
	fromArticle  = "Cisco's article on lost heartbeats of CVP"
	fromCorosync = "corosync 3.1, run in the fault lab"
	fromKeepd    = "keepalived 2.2.7, run in namespaces"
	fromEtcd     = "etcd 3.4, run in namespaces"
	fromSource   = "the program's source code"
	fromLogs     = "published logs of users"
	fromScript   = "Microsoft support's search script"
	fromSupport  = "Microsoft's support articles"
	fromVeritas  = "Veritas administrator's guide"
)

// Patterns are the lines that are built in.
var Patterns = []Pattern{
	{
		Name: "cvp/missed-heartbeats", Class: model.LogMissed, Literal: "vru pim heartbeats",
		Match: lazyregexp.New(`(?i)\bmissed \d+ VRU PIM heartbeats`),
		Example: "%CVP_8_5_ICM-6-LOGMSG_ICM_SS_GENERAL_INFO: Missed 2 VRU PIM heartbeats. Closing session and waiting " +
			"for new connection from PIM. [id:2007]",
		Source: fromArticle,
	},
	{
		Name: "cvp/pim-connection", Class: model.LogLost, Literal: "shutting down vru pim connection",
		Example: "%CVP_8_5_ICM-1-LOGMSG_ICM_SS_STATE: Shutting down VRU PIM connection. Transition to partial service. " +
			"[id:2006]",
		Source: fromArticle,
	},
	{
		Name: "icm/receive-error", Class: model.LogLost, Literal: "error receiving data from vru",
		Example: "pim1 Error receiving data from VRU. Last API Error [10054]: An existing connection was forcibly closed " +
			"by the remote host.",
		Source: fromArticle,
	},
	{
		Name: "icm/connection-broken", Class: model.LogLost, Literal: "tcp connection to vru has been broken",
		Example: "pim1 TCP connection to VRU has been broken.", Source: fromArticle,
	},
	{
		Name: "wsfc/missed-heartbeats", Class: model.LogMissed, Literal: "consecutive missed hbs",
		Example: "INFO  [CHM] Received notification for two-fifth consecutive missed HBs to the remote endpoint " +
			"10.0.1.13:~3343~ from 10.0.1.14:~3343~",
		Source: fromScript,
	},
	{
		Name: "wsfc/missed-event", Class: model.LogMissed, Literal: "missedheartbeats",
		Match:   lazyregexp.New(`(?i)got event: Netft\w*MissedHeartbeats`),
		Example: "INFO  [IM] got event: NetftTwoFifthMissedHeartbeats event", Source: fromScript,
	},
	{
		Name: "wsfc/missed-two", Class: model.LogMissed, Literal: "consecutive heartbeats",
		Example: "INFO  [IM] got event: LocalEndpoint 10.0.1.14:~3343~ has missed two consecutive heartbeats from " +
			"10.0.1.13:~3343~",
		Source: fromLogs,
	},
	{
		Name: "wsfc/unreachable", Class: model.LogLost, Literal: "got event: remote endpoint",
		Match:   lazyregexp.New(`(?i)got event: Remote endpoint .* unreachable`),
		Example: "WARN  [IM] got event: Remote endpoint 10.0.1.13:~3343~ unreachable from 10.0.1.14:~3343~",
	},
	{
		Name: "wsfc/lost-connection", Class: model.LogLost, Literal: "lost connection to node",
		Example: "INFO  [CORE] Lost connection to node SVR13, and it is not reconnecting", Source: fromScript,
	},
	{
		Name: "wsfc/keep-alive", Class: model.LogHeldUp, Literal: "failed to send keep-alive ioctl",
		Example: "ERR   [NETFT] Failed to send keep-alive ioctl to NetFT",
	},
	{
		Name: "corosync/token", Class: model.LogMissed, Literal: "token has not been received in",
		Match:   lazyregexp.New(`(?i)Token has not been received in (?P<ms>\d+) ms`),
		Example: "[TOTEM ] Token has not been received in 750 ms", Source: fromCorosync,
	},
	{
		Name: "corosync/processor-failed", Class: model.LogMissed, Literal: "a processor failed, forming new",
		Match: lazyregexp.New(`(?i)A processor failed, forming new configuration(?:: token timed out \((?P<ms>\d+) ?ms\))?`),
		Example: "[TOTEM ] A processor failed, forming new configuration: token timed out (1000ms), waiting 1200ms for " +
			"consensus.",
		Source: fromCorosync,
	},
	{
		Name: "corosync/token-lost", Class: model.LogMissed, Literal: "the token was lost in the",
		Example: "[TOTEM ] The token was lost in the OPERATIONAL state.", Source: fromSource,
	},
	{
		Name: "corosync/not-scheduled", Class: model.LogHeldUp, Literal: "main process was not scheduled",
		Match: lazyregexp.New(`(?i)main process was not scheduled (?:\(@\d+\) )?for (?P<ms>\d+(?:\.\d+)?) ms`),
		Example: "[MAIN  ] Corosync main process was not scheduled (@1795900351572) for 2823.5842 ms (threshold is " +
			"800.0000 ms)",
		Source: fromCorosync,
	},
	{
		Name: "corosync/pause", Class: model.LogHeldUp, Literal: "process pause detected for",
		Match:   lazyregexp.New(`(?i)Process pause detected for (?P<ms>\d+) ms`),
		Example: "[TOTEM ] Process pause detected for 2741 ms, flushing membership messages.", Source: fromSource,
	},
	{
		Name: "corosync/members-left", Class: model.LogLost, Literal: "was formed. members",
		Match:   lazyregexp.New(`(?i)A new membership .* was formed\. Members(?: joined:[ \d]*)? left:`),
		Example: "[TOTEM ] A new membership (1.23) was formed. Members left: 2", Source: fromCorosync,
	},
	{
		Name: "corosync/retransmit", Class: model.LogNetwork, Literal: "retransmit list:",
		Example: "[TOTEM ] Retransmit List: 3e 3f", Source: fromSource,
	},
	{
		Name: "corosync/knet-down", Class: model.LogLost, Literal: "link: host:",
		Match:   lazyregexp.New(`(?i)\blink: host: \d+ link: \d+ is down`),
		Example: "[KNET  ] link: host: 2 link: 0 is down", Source: fromSource,
	},
	{
		Name: "corosync/no-links", Class: model.LogLost, Literal: "has no active links",
		Example: "[KNET  ] host: host: 2 has no active links", Source: fromSource,
	},
	{
		Name: "pacemaker/node-lost", Class: model.LogLost, Literal: "state is now lost",
		Example: "notice: Node node2 state is now lost",
	},
	{
		Name: "pacemaker/fenced", Class: model.LogLost, Literal: "was terminated (",
		Match:   lazyregexp.New(`(?i)Peer \S+ was terminated \(\w+\)`),
		Example: "notice: Peer node2 was terminated (reboot) by node1 on behalf of pacemaker-controld: OK",
	},
	{
		Name: "sbd/latency", Class: model.LogDisk, Literal: "exceeded threshold",
		Match:   lazyregexp.New(`(?i)Latency: (?P<s>\d+) exceeded threshold`),
		Example: "warning: Latency: 7 exceeded threshold 5 on disk /dev/sdb1",
	},
	{
		Name: "etcd/heartbeat-late", Class: model.LogMissed, Literal: "failed to send out heartbeat on time",
		Match: lazyregexp.New(`failed to send out heartbeat on time(?:.*?"exceeded-duration":` +
			`"(?:(?P<s>\d+(?:\.\d+)?)s|(?P<ms>\d+(?:\.\d+)?)ms|(?P<us>\d+(?:\.\d+)?)µs)")?`),
		Example: `{"level":"warn","ts":"2026-11-29T12:08:28.770Z","caller":"etcdserver/raft.go:440","msg":"leader ` +
			`failed to send out heartbeat on time; took too long, leader is overloaded likely from slow disk",` +
			`"to":"d5383f2f09148ff1","heartbeat-interval":"100ms","expected-duration":"200ms",` +
			`"exceeded-duration":"3.880123871s"}`,
		Source: fromEtcd,
	},
	{
		Name: "etcd/lost-leader", Class: model.LogMissed, Literal: "lost leader ",
		Match:   lazyregexp.New(`\blost leader \w+ at term \d+`),
		Example: "I | raft: raft.node: 8211f1d0f64f3269 lost leader 91bc3c398fb3c146 at term 3", Source: fromEtcd,
	},
	{
		Name: "etcd/slow-fdatasync", Class: model.LogDisk, Literal: "slow fdatasync",
		Example: `{"level":"warn","msg":"slow fdatasync","took":"2.1s","expected-duration":"1s"}`, Source: fromSource,
	},
	{
		Name: "etcd/lost-peer", Class: model.LogLost, Literal: "lost the tcp streaming connection",
		Example: "W | rafthttp: lost the TCP streaming connection with peer 91bc3c398fb3c146 (stream Message reader)",
	},
	{
		Name: "zookeeper/client-timeout", Class: model.LogMissed, Literal: "have not heard from server in",
		Match: lazyregexp.New(`(?i)have not heard from server in (?P<ms>\d+) ?ms`),
		Example: "WARN  [main-SendThread(127.0.0.1:2181):ClientCnxn$SendThread@1198] - Client session timed out, have " +
			"not heard from server in 4003ms for sessionid 0x10003230ece0000",
		Source: fromLogs,
	},
	{
		Name: "zookeeper/expired", Class: model.LogMissed, Literal: "expiring session 0x",
		Match: lazyregexp.New(`(?i)Expiring session 0x\w+, timeout of (?P<ms>\d+) ?ms exceeded`),
		Example: "INFO  [SessionTracker:ZooKeeperServer@347] - Expiring session 0x10003230ece0000, timeout of 6000ms " +
			"exceeded",
		Source: fromSource,
	},
	{
		Name: "zookeeper/fsync", Class: model.LogDisk, Literal: "fsync-ing the write ahead log",
		Match: lazyregexp.New(`(?i)fsync-ing the write ahead log in \S+ took (?P<ms>\d+) ?ms`),
		Example: "WARN  [SyncThread:1:FileTxnLog@338] - fsync-ing the write ahead log in SyncThread:1 took 2962ms which " +
			"will adversely effect operation latency.",
		Source: fromSource,
	},
	{
		Name: "zookeeper/jvm-pause", Class: model.LogHeldUp, Literal: "detected pause in jvm",
		Match: lazyregexp.New(`(?i)Detected pause in JVM .*?approximately (?P<ms>\d+) ?ms`),
		Example: "WARN  [JvmPauseMonitor] - Detected pause in JVM or host machine (e.g. a stop the world GC, or JVM not " +
			"scheduled): paused approximately 2350ms, total pause: 1 2 3 4 5",
	},
	{
		Name: "rabbitmq/missed-heartbeats", Class: model.LogMissed, Literal: "missed heartbeats from client",
		Match:   lazyregexp.New(`(?i)missed heartbeats from client, timeout: (?P<s>\d+)s`),
		Example: "[error] <0.679.0> missed heartbeats from client, timeout: 60s", Source: fromLogs,
	},
	{
		Name: "rabbitmq/node-down", Class: model.LogLost, Literal: "rabbit on node",
		Match:   lazyregexp.New(`(?i)rabbit on node '?\S+?'? down`),
		Example: "[info] <0.375.0> rabbit on node rabbit@two down", Source: fromSource,
	},
	{
		Name: "rabbitmq/net-tick", Class: model.LogMissed, Literal: "net_tick_timeout",
		Example: "[info] <0.375.0> node rabbit@two down: net_tick_timeout", Source: fromSource,
	},
	{
		Name: "rabbitmq/partition", Class: model.LogLost, Literal: "partition detected",
		Example: "[error] <0.375.0> Partial partition detected:", Source: fromSource,
	},
	{
		Name: "keepalived/master-down", Class: model.LogMissed, Literal: "receive advertisement timeout",
		Example: "Keepalived_vrrp[812]: (V) Receive advertisement timeout", Source: fromKeepd,
	},
	{
		Name: "keepalived/master-state", Class: model.LogLost, Literal: "entering master state",
		Example: "Keepalived_vrrp[812]: (V) Entering MASTER STATE", Source: fromKeepd,
	},
	{
		Name: "keepalived/held-up", Class: model.LogHeldUp, Literal: "thread timer expired",
		Match:   lazyregexp.New(`(?i)thread timer expired (?P<s>\d+(?:\.\d+)?) seconds ago`),
		Example: "Keepalived_vrrp[812]: A thread timer expired 3.988128 seconds ago", Source: fromKeepd,
	},
	{
		Name: "ceph/no-reply", Class: model.LogMissed, Literal: "heartbeat_check: no reply from",
		Example: "7f9c5eb52640 -1 osd.3 139675 heartbeat_check: no reply from 10.132.0.8:6804 osd.2 since back " +
			"2026-08-24T20:50:44.215809+0000 front 2026-08-24T20:50:44.215871+0000 (oldest deadline " +
			"2026-08-24T20:51:07.715795+0000)",
		Source: fromLogs,
	},
	{
		Name: "ceph/marked-down", Class: model.LogLost, Literal: "wrongly marked me down",
		Example: "log_channel(cluster) log [WRN] : Monitor daemon marked osd.2 down, but it is still running; map e71 " +
			"wrongly marked me down at e70",
	},
	{
		Name: "ceph/slow-ops", Class: model.LogDisk, Literal: " slow ops, oldest one blocked for",
		Match:   lazyregexp.New(`(?i)\d+ slow ops, oldest one blocked for (?P<s>\d+) sec`),
		Example: "log_channel(cluster) log [WRN] : 5 slow ops, oldest one blocked for 32 sec, osd.2 has slow ops",
		Source:  fromSource,
	},
	{
		Name: "llt/trouble", Class: model.LogMissed, Literal: "in trouble",
		Match:   lazyregexp.New(`\blink \d+ \(\S+\) node \d+ in trouble`),
		Example: "LLT INFO V-14-1-10205 link 1 (eth2) node 1 in trouble", Source: fromVeritas,
	},
	{
		Name: "llt/inactive", Class: model.LogMissed, Literal: " inactive ",
		Match:   lazyregexp.New(`\blink \d+ \(\S+\) node \d+ inactive (?P<s>\d+) ?\s?sec`),
		Example: "LLT INFO V-14-1-10032 link 1 (eth2) node 1 inactive 5 sec (510)", Source: fromVeritas,
	},
	{
		Name: "llt/expired", Class: model.LogLost, Literal: "v-14-1-10509",
		Example: "LLT INFO V-14-1-10509 link 1 (eth2) node 1 expired", Source: fromVeritas,
	},
	{
		Name: "llt/held-up", Class: model.LogHeldUp, Literal: "timer not called for",
		Match:   lazyregexp.New(`(?i)timer not called for (?P<s>\d+) secs`),
		Example: "LLT WARNING V-14-1-10536 timer not called for 19 secs (1936 ticks). Send out of context hbs",
		Source:  fromVeritas,
	},
	{
		Name: "oracle/network-missing", Class: model.LogMissed, Literal: "of the timeout interval",
		Match:   lazyregexp.New(`(?i)has been missing for (?P<pct>\d+)% of the timeout interval`),
		Timeout: 30 * time.Second,
		Example: "[OCSSD(4321)]CRS-1612: Network communication with node rac2 (2) has been missing for 50% of the timeout " +
			"interval. If this persists, removal of this node from cluster will occur in 14.920 seconds",
	},
	{
		Name: "oracle/heartbeat-fatal", Class: model.LogMissed, Literal: "heartbeat fatal",
		Match:   lazyregexp.New(`(?i)at (?P<pct>\d+)% heartbeat fatal`),
		Timeout: 30 * time.Second,
		Example: "[CSSD]clssnmPollingThread: node rac2 (2) at 50% heartbeat fatal, removal in 14.920 seconds",
	},
	{
		Name: "oracle/evicted", Class: model.LogLost, Literal: "unable to communicate with other nodes",
		Example: "[OCSSD(4321)]CRS-1609: This node is unable to communicate with other nodes in the cluster and is " +
			"going down to preserve cluster integrity",
	},
	{
		Name: "wsfc/connection-broken", Class: model.LogLost, Literal: "is broken. reason",
		Match: lazyregexp.New(`(?i)Connection to Node \d+ is broken\. Reason`),
		Example: "WARN [NODE] Node 1: Connection to Node 2 is broken. Reason GracefulClose(1226)' because of " +
			"'channel to remote endpoint 10.0.1.13:~3343~ is closed'",
		Source: fromSupport,
	},
	{
		Name: "sqlag/connection-timeout", Class: model.LogMissed,
		Literal: "a connection timeout has occurred on a previously",
		Example: "spid31s A connection timeout has occurred on a previously established connection to " +
			"availability replica 'SQL2' with id [17116239-4815-4B9B-8097-26F68DED0653]. Either a " +
			"networking or a firewall issue exists or the availability replica has transitioned to the " +
			"resolving role.",
		Source: fromSupport,
	},
	{
		Name: "sqlag/lease-expired", Class: model.LogMissed, Literal: "windows server failover cluster has expired",
		Example: "Server The lease between availability group 'AG1' and the Windows Server Failover Cluster " +
			"has expired.",
		Source: fromSupport,
	},
	{
		Name: "sqlag/lease-timeout", Class: model.LogMissed, Literal: "did not receive a process event signal from",
		Example: "Server SQL Server hosting availability group 'AG1' did not receive a process event signal " +
			"from the Windows Server Failover Cluster within the lease timeout period.",
		Source: fromSupport,
	},
	{
		Name: "sqlag/lease-state", Class: model.LogLost, Literal: "(wsfc) has expired",
		Example: "spid36s The state of the local availability replica in availability group 'AG1' has changed " +
			"from 'PRIMARY_NORMAL' to 'RESOLVING_NORMAL'. The state changed because the lease between " +
			"the local availability replica and Windows Server Failover Clustering (WSFC) has expired.",
	},
	{
		Name: "pacemaker/fencing", Class: model.LogLost, Literal: "targeting ",
		Match: lazyregexp.New(`(?i)Operation '?(?:reboot|off)'? .*\btargeting \S+ .*returned 0\b`),
		Example: "pacemaker-fenced[99]: notice: Operation 'reboot' [4242] targeting node2 using fence_ipmi " +
			"returned 0 (OK)",
	},
	{
		Name: "sbd/outdated", Class: model.LogHeldUp, Literal: "is outdated (age:",
		Match:   lazyregexp.New(`(?i)Servant \S+ is outdated \(age: (?P<s>\d+)\)`),
		Example: "sbd[3105]: warning: inquisitor_child: Servant cluster is outdated (age: 6)",
		Source:  fromSource,
	},
	{
		Name: "etcd/lost-stream", Class: model.LogLost, Literal: "lost tcp streaming connection",
		Example: `{"level":"warn","ts":"2024-01-07T19:15:23.828+0100","caller":"rafthttp/stream.go:421","msg":"lost ` +
			`TCP streaming connection with remote peer","stream-reader-type":"stream ` +
			`Message","remote-peer-id":"48ea5f4fca1499b"}`,
		Source: fromLogs,
	},
	{
		Name: "etcd/inactive", Class: model.LogLost, Literal: "peer became inactive",
		Example: `{"level":"warn","ts":"2024-01-07T19:15:23.828+0100","caller":"rafthttp/peer_status.go:66","msg":"peer ` +
			`became inactive (message send to peer failed)","peer-id":"48ea5f4fca1499b"}`,
		Source: fromSource,
	},
	{
		Name: "raft/heartbeat-timeout", Class: model.LogMissed, Literal: "heartbeat timeout",
		Match: lazyregexp.New(`(?i)heartbeat timeout (?:from \S+ )?reached, starting election`),
		Example: "[WARN] agent.server.raft: heartbeat timeout reached, starting election: " +
			"last-leader-addr=10.0.0.2:8300",
		Source: fromSource,
	},
	{
		Name: "raft/failed-to-contact", Class: model.LogMissed, Literal: "failed to contact",
		Match: lazyregexp.New(`(?i)raft: failed to contact(?: \S+ in |.*\btime=)` +
			`(?:(?P<s>\d+(?:\.\d+)?)s|(?P<ms>\d+(?:\.\d+)?)ms)`),
		Example: "[WARN] agent.server.raft: failed to contact: server-id=a1b2 time=2.501s",
		Source:  fromSource,
	},
	{
		Name: "raft/no-quorum", Class: model.LogLost, Literal: "failed to contact quorum of nodes",
		Example: "[WARN] agent.server.raft: failed to contact quorum of nodes, stepping down",
		Source:  fromSource,
	},
	{
		Name: "serf/suspect", Class: model.LogMissed, Literal: "has failed, no acks received",
		Example: "[INFO] agent.server.memberlist.lan: memberlist: Suspect node2 has failed, no acks received",
		Source:  fromSource,
	},
	{
		Name: "serf/member-failed", Class: model.LogLost, Literal: "eventmemberfailed",
		Example: "[INFO] agent.server.serf.lan: serf: EventMemberFailed: node2 10.0.0.2",
		Source:  fromSource,
	},
	{
		Name: "nomad/expired", Class: model.LogMissed, Literal: "node ttl expired",
		Example: "[WARN] nomad.heartbeat: node TTL expired: node_id=abcd",
		Source:  fromSource,
	},
	{
		Name: "patroni/demoted", Class: model.LogLost, Literal: " self because dcs is not accessible",
		Example: "INFO: demoted self because DCS is not accessible and I was a leader",
		Source:  fromLogs,
	},
	{
		Name: "patroni/loop", Class: model.LogHeldUp, Literal: "loop time exceeded, rescheduling",
		Example: "WARNING: Loop time exceeded, rescheduling immediately.",
		Source:  fromSource,
	},
	{
		Name: "postgresql/receiver-timeout", Class: model.LogMissed, Literal: "terminating walreceiver due to timeout",
		Example: "FATAL: terminating walreceiver due to timeout",
		Source:  fromSource,
	},
	{
		Name: "postgresql/sender-timeout", Class: model.LogMissed, Literal: "due to replication timeout",
		Example: "LOG: terminating walsender process due to replication timeout",
		Source:  fromSource,
	},
	{
		Name: "mysql/unreachable", Class: model.LogLost, Literal: "has become unreachable",
		Match: lazyregexp.New(`(?i)Member with address \S+ has become unreachable`),
		Example: "[Warning] Plugin group_replication reported: 'Member with address db2:3306 has become " +
			"unreachable.'",
	},
	{
		Name: "galera/suspect", Class: model.LogMissed, Literal: "suspecting node:",
		Example: "[Note] WSREP: evs::proto(a1b2c3d4, OPERATIONAL, view_id(REG,a1b2c3d4,15)) suspecting node: " +
			"e5f6a7b8",
		Source: fromSource,
	},
	{
		Name: "galera/nonlive", Class: model.LogMissed, Literal: "nonlive peers: ",
		Match: lazyregexp.New(`relay requesting on, nonlive peers: \S`),
		Example: "[Note] WSREP: (a1b2c3d4, 'tcp://0.0.0.0:4567') turning message relay requesting on, nonlive " +
			"peers: tcp://10.0.0.2:4567",
		Source: fromSource,
	},
	{
		Name: "galera/inactive", Class: model.LogLost,
		Literal: "suspected node without join message, declaring inactive",
		Example: "[Note] WSREP: evs::proto(a1b2, GATHER, view_id(REG,a1b2,15)) suspected node without join " +
			"message, declaring inactive",
		Source: fromSource,
	},
	{
		Name: "galera/not-primary", Class: model.LogLost, Literal: "received non-primary",
		Example: "[Note] [MY-000000] [Galera] Received NON-PRIMARY.",
		Source:  fromSource,
	},
	{
		Name: "galera/held-up", Class: model.LogHeldUp, Literal: "last inactive check more than",
		Match: lazyregexp.New(`last inactive check more than .* ago \(PT(?P<s>\d+(?:\.\d+)?)S\)`),
		Example: "[Warning] WSREP: last inactive check more than PT1.5S (3*evs.inactive_check_period) ago " +
			"(PT3.50767S), skipping check",
		Source: fromSource,
	},
	{
		Name: "zookeeper/no-followers", Class: model.LogLost, Literal: "not sufficient followers synced",
		Example: "INFO [QuorumPeer:Leader@654] - Shutdown called. For the reason Not sufficient followers " +
			"synced, only synced with sids: [ 2 ]",
		Source: fromSource,
	},
	{
		Name: "zookeeper/lost-leader", Class: model.LogLost, Literal: "exception when following the leader",
		Example: "WARN [QuorumPeer[myid=1](plain=0.0.0.0:2181):Follower@129] - Exception when following the " +
			"leader",
		Source: fromSource,
	},
	{
		Name: "sentinel/down", Class: model.LogMissed, Literal: "down master ",
		Match:   lazyregexp.New(`\+[so]down master \S+ \S+ \d+`),
		Example: "12345:X # +sdown master mymaster 10.0.0.2 6379",
		Source:  fromSource,
	},
	{
		Name: "sentinel/tilt", Class: model.LogHeldUp, Literal: "+tilt #tilt mode entered",
		Example: "12345:X # +tilt #tilt mode entered",
		Source:  fromSource,
	},
	{
		Name: "redis/master-timeout", Class: model.LogMissed, Literal: "no data nor ping received",
		Example: "12345:S # MASTER timeout: no data nor PING received...",
		Source:  fromSource,
	},
	{
		Name: "redis/replica-timeout", Class: model.LogMissed, Literal: "disconnecting timedout ",
		Match:   lazyregexp.New(`(?i)Disconnecting timedout (?:replica|slave)`),
		Example: "12345:M # Disconnecting timedout replica (streaming sync): 10.0.0.3:6379",
		Source:  fromSource,
	},
	{
		Name: "redis/failing", Class: model.LogMissed, Literal: "as failing (quorum reached)",
		Example: "12345:M * Marking node a1b2c3 as failing (quorum reached).",
		Source:  fromSource,
	},
	{
		Name: "kafka/member-expired", Class: model.LogMissed, Literal: "on heartbeat expiration",
		Example: "INFO [GroupCoordinator 1]: Preparing to rebalance group g1 in state PreparingRebalance with " +
			"old generation 1 (__consumer_offsets-43) (reason: removing member consumer-2-f852e86d on " +
			"heartbeat expiration) (kafka.coordinator.group.GroupCoordinator)",
		Source: fromLogs,
	},
	{
		Name: "kafka/member-failed", Class: model.LogMissed, Literal: "has failed, removing it from the group",
		Example: "INFO [GroupCoordinator 1]: Member consumer-1 in group g1 has failed, removing it from the " +
			"group (kafka.coordinator.group.GroupCoordinator)",
		Source: fromSource,
	},
	{
		Name: "kafka/coordinator", Class: model.LogMissed, Literal: "without receiving a heartbeat response",
		Example: "[Consumer clientId=consumer-foo-1, groupId=foo] Group coordinator 10.13.4.33:9092 (id: " +
			"2147483647 rack: null) is unavailable or invalid due to cause: session timed out without " +
			"receiving a heartbeat response. isDisconnected: false. Rediscovery will be attempted.",
		Source: fromLogs,
	},
	{
		Name: "kafka/poll", Class: model.LogHeldUp, Literal: "consumer poll timeout has expired",
		Example: "WARN [Consumer clientId=c1, groupId=g1] consumer poll timeout has expired. This means the " +
			"time between subsequent calls to poll() was longer than the configured max.poll.interval.ms",
		Source: fromSource,
	},
	{
		Name: "kafka/fenced", Class: model.LogMissed, Literal: "because its session has timed out",
		Example: "INFO [QuorumController id=1] Fencing broker 2 because its session has timed out. " +
			"(org.apache.kafka.controller.ReplicationControlManager)",
		Source: fromSource,
	},
	{
		Name: "mongodb/heartbeat", Class: model.LogMissed, Literal: "heartbeat failed after max retries",
		Example: `{"s":"I","c":"REPL_HB","id":23974,"ctx":"ReplCoord-3","msg":"Heartbeat failed after max ` +
			`retries","attr":{"target":"b:27017"}}`,
		Source: fromLogs,
	},
	{
		Name: "mongodb/no-primary", Class: model.LogMissed, Literal: "no primary in election timeout",
		Example: `{"s":"I","c":"ELECTION","id":4615652,"ctx":"ReplCoord-3","msg":"Starting an election, since ` +
			`we've seen no PRIMARY in election timeout period"}`,
		Source: fromLogs,
	},
	{
		Name: "elasticsearch/follower", Class: model.LogMissed, Literal: "followers check retry count exceeded",
		Example: "[INFO ][o.e.c.s.MasterService] [es1] node-left[{es2}{abc} reason: followers check retry " +
			"count exceeded [timeouts=3, failures=0]], term: 5",
		Source: fromSource,
	},
	{
		Name: "elasticsearch/leader", Class: model.LogLost, Literal: "failed, restarting discovery",
		Match:   lazyregexp.New(`master node \[.*failed, restarting discovery`),
		Example: "[INFO ][o.e.c.c.Coordinator] [es1] master node [{es2}] failed, restarting discovery",
		Source:  fromSource,
	},
	{
		Name: "kubernetes/lease", Class: model.LogLost, Literal: "failed to renew lease",
		Match: lazyregexp.New(`(?i)failed to renew lease \S+: `),
		Example: "leaderelection.go:285] failed to renew lease kube-system/kube-scheduler: timed out waiting " +
			"for the condition",
		Source: fromSource,
	},
	{
		Name: "hazelcast/suspect", Class: model.LogMissed, Literal: "it has not sent any heartbeats since",
		Example: "WARN: [10.0.0.1]:5701 [dev] Suspecting Member [10.0.0.2]:5701 because it has not sent any " +
			"heartbeats since 2026-11-14 11:01:00.000. Now: 2026-11-14 11:02:00.000, heartbeat timeout: " +
			"60000 ms, suspicion level: 1.00",
		Source: fromSource,
	},
	{
		Name: "cassandra/down", Class: model.LogLost, Literal: "is now down",
		Match:   lazyregexp.New(`InetAddress \S+ is now DOWN`),
		Example: "INFO [GossipTasks:1] Gossiper.java:968 - InetAddress /10.161.26.248 is now DOWN",
		Source:  fromLogs,
	},
	{
		Name: "cassandra/pause", Class: model.LogHeldUp, Literal: "down due to local pause of",
		Match: lazyregexp.New(`down due to local pause of (?P<ns>\d+)(?:ns)? > \d+`),
		Example: "WARN [GossipTasks:1] FailureDetector.java:278 - Not marking nodes down due to local pause " +
			"of 81905048065 > 5000000000",
		Source: fromLogs,
	},
	{
		Name: "akka/growing", Class: model.LogMissed, Literal: "heartbeat interval is growing too large",
		Match: lazyregexp.New(`heartbeat interval is growing too large.*: (?P<ms>\d+) millis`),
		Example: "WARN akka.remote.PhiAccrualFailureDetector - heartbeat interval is growing too large for " +
			"address akka://x@10.0.0.2:2551: 5012 millis",
		Source: fromSource,
	},
	{
		Name: "bfd/down", Class: model.LogMissed, Literal: "changed state from up to down",
		Match:   lazyregexp.New(`(?i)Session to \S+ changed state from Up to Down`),
		Example: "bird: bfd1: Session to 10.0.0.2 changed state from Up to Down",
	},
	{
		Name: "bgp/hold-timer", Class: model.LogMissed, Literal: "hold timer expired",
		Example: "BGP: %NOTIFICATION: sent to neighbor 10.0.0.2 4/0 (Hold Timer Expired) 0 bytes",
	},
	{
		Name: "openvpn/ping", Class: model.LogMissed, Literal: "(--ping-restart)",
		Example: "[server] Inactivity timeout (--ping-restart), restarting",
		Source:  fromSource,
	},
	{
		Name: "haproxy/down", Class: model.LogMissed, Literal: " is down, reason: layer",
		Match:   lazyregexp.New(`Server \S+ is DOWN, reason: Layer\d timeout`),
		Example: "Server app/web1 is DOWN, reason: Layer4 timeout, check duration: 2002ms.",
	},
	{
		Name: "drbd/ping", Class: model.LogMissed, Literal: "pingack did not arrive in time",
		Example: "kernel: drbd r0 node2: PingAck did not arrive in time.",
		Source:  fromSource,
	},
	{
		Name: "iscsi/ping", Class: model.LogMissed, Literal: "ping timeout of",
		Match: lazyregexp.New(`ping timeout of (?P<s>\d+) secs expired`),
		Example: "kernel: connection1:0: ping timeout of 5 secs expired, recv timeout 5, last rx 4295, last " +
			"ping 4300, now 4305",
		Source: fromSource,
	},
	{
		Name: "nfs/no-answer", Class: model.LogMissed, Literal: "not responding, still trying",
		Match:   lazyregexp.New(`nfs: server \S+ not responding, still trying`),
		Example: "kernel: nfs: server filer1 not responding, still trying",
		Source:  fromSource,
	},
	{
		Name: "ocfs2/idle", Class: model.LogMissed, Literal: " has been idle for ",
		Match: lazyregexp.New(`Connection to node \S+ .* has been idle for (?P<s>\d+(?:\.\d+)?) secs`),
		Example: "kernel: o2net: Connection to node node2 (num 1) at 10.0.0.2:7777 has been idle for 30.1 " +
			"secs.",
		Source: fromSource,
	},
	{
		Name: "systemd/watchdog", Class: model.LogHeldUp, Literal: "watchdog timeout (limit",
		Example: "systemd[1]: app.service: Watchdog timeout (limit 30s)!",
		Source:  fromSource,
	},
	{
		Name: "kernel/soft-lockup", Class: model.LogHeldUp, Literal: "soft lockup - cpu",
		Match:   lazyregexp.New(`soft lockup - CPU#\d+ stuck for (?P<s>\d+)s`),
		Example: "kernel: watchdog: BUG: soft lockup - CPU#3 stuck for 23s! [ksoftirqd/3:30]",
		Source:  fromSource,
	},
	{
		Name: "kernel/rcu-stall", Class: model.LogHeldUp, Literal: "detected stall",
		Match:   lazyregexp.New(`(?i)\brcu\w*:? .*detected stalls? on CPU`),
		Example: "kernel: rcu: INFO: rcu_sched self-detected stall on CPU",
		Source:  fromSource,
	},
	{
		Name: "kernel/transmit-timeout", Class: model.LogLost, Literal: "netdev watchdog:",
		Match:   lazyregexp.New(`NETDEV WATCHDOG: .*transmit queue \d+ timed out`),
		Example: "kernel: NETDEV WATCHDOG: eth0 (tg3): transmit queue 0 timed out",
		Source:  fromSource,
	},
	{
		Name: "kernel/bond-down", Class: model.LogLost, Literal: "link status definitely down for interface",
		Example: "kernel: bond0: link status definitely down for interface eth1, disabling it",
		Source:  fromSource,
	},
	{
		Name: "kernel/link-down", Class: model.LogLost, Literal: "nic link is down",
		Example: "kernel: ixgbe 0000:3b:00.0 eth0: NIC Link is Down",
		Source:  fromSource,
	},
	{
		Name: "kernel/conntrack-full", Class: model.LogLost, Literal: "conntrack: table full, dropping packet",
		Example: "kernel: nf_conntrack: nf_conntrack: table full, dropping packet",
		Source:  fromSource,
	},
	{
		Name: "kernel/neighbor-full", Class: model.LogLost, Literal: "r table overflow",
		Match:   lazyregexp.New(`(?i)neighbou?r table overflow`),
		Example: "kernel: neighbour: arp_cache: neighbor table overflow!",
		Source:  fromSource,
	},
	{
		Name: "sqlag/error-35206", Class: model.LogMissed, Literal: ": 35206, ",
		Example: "spid36s Fehler: 35206, Schweregrad: 10, Status: 2.", Source: fromSupport,
	},
	{
		Name: "sqlag/error-19407", Class: model.LogMissed, Literal: ": 19407, ",
		Example: "spid36s Fehler: 19407, Schweregrad: 16, Status: 2.", Source: fromSupport,
	},
	{
		Name: "sqlag/error-19421", Class: model.LogMissed, Literal: ": 19421, ",
		Example: "spid36s Fehler: 19421, Schweregrad: 16, Status: 2.", Source: fromSupport,
	},
	{
		Name: "any/missed-heartbeats", Class: model.LogMissed, Literal: "missed ",
		Match: lazyregexp.New(
			`(?i)(?:\bmissed (?:[1-9]\d*|a|an|two|three|four|five|several|too many) |\b(?:has|have) missed \pL+ )` +
				`(?:\w+ ){0,3}heart ?beats?\b`),
		Example: "peer 10.0.0.7 missed 3 heartbeats",
	},
}

// asked returns the pattern of a user's regular expression.
func asked(expression string) (Pattern, error) {
	re, err := regexp.Compile(expression)
	if err != nil {
		return Pattern{}, err
	}
	return Pattern{
		Name: expression, Class: model.LogAsked, Match: lazyregexp.Compiled(re), Literal: literalOf(expression),
	}, nil
}

// literalOf returns the longest text that is in all that matches an expression, in
// lower case; empty where there is none that is worth looking for.
func literalOf(expression string) string {
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return ""
	}
	best := ""
	var walk func(re *syntax.Regexp)
	walk = func(re *syntax.Regexp) {
		switch re.Op {
		case syntax.OpLiteral:
			text := strings.ToLower(string(re.Rune))
			for i := range len(text) {
				if text[i] >= 0x80 { // the search takes letters of ASCII in both cases, no others
					return
				}
			}
			if len(text) > len(best) {
				best = text
			}
		case syntax.OpConcat, syntax.OpCapture, syntax.OpPlus:
			for _, sub := range re.Sub {
				walk(sub)
			}
		}
	}
	walk(re.Simplify())
	if len(best) < leastLiteral {
		return ""
	}
	return best
}

// leastLiteral is the shortest text that is looked for before a pattern is tried.
const leastLiteral = 5

// patterns are those of one log, with the search for their literals.
type patterns struct {
	list    []Pattern
	matcher *matcher
	// byLiteral are the patterns that each literal of the matcher stands for.
	byLiteral [][]int
	// always are the patterns without a literal, which are tried on every record.
	always []int
	found  []int
}

func newPatterns(expressions []string) (*patterns, error) {
	p := &patterns{list: Patterns}
	for _, e := range expressions {
		pattern, err := asked(e)
		if err != nil {
			return nil, fmt.Errorf("--log-pattern: %w", err)
		}
		p.list = append(p.list[:len(p.list):len(p.list)], pattern)
	}
	var literals []string
	at := map[string]int{}
	for i, pattern := range p.list {
		if pattern.Literal == "" {
			p.always = append(p.always, i)
			continue
		}
		n, ok := at[pattern.Literal]
		if !ok {
			n = len(literals)
			at[pattern.Literal] = n
			literals, p.byLiteral = append(literals, pattern.Literal), append(p.byLiteral, nil)
		}
		p.byLiteral[n] = append(p.byLiteral[n], i)
	}
	p.matcher = newMatcher(literals)
	return p, nil
}

// match returns the first pattern of the list that a record matches, nil for
// none, and how long before the line the silence began, as far as it says so.
func (p *patterns) match(record []byte) (first *Pattern, claimed time.Duration) {
	p.found = p.matcher.in(record, p.found[:0])
	if len(p.found) == 0 && len(p.always) == 0 {
		return nil, 0
	}
	best := len(p.list)
	try := func(i int) {
		if i >= best {
			return
		}
		if d, ok := p.list[i].try(record); ok {
			best, claimed = i, d
		}
	}
	for _, literal := range p.found {
		for _, i := range p.byLiteral[literal] {
			try(i)
		}
	}
	for _, i := range p.always {
		try(i)
	}
	if best == len(p.list) {
		return nil, 0
	}
	return &p.list[best], claimed
}

// try matches a record that holds the pattern's literal.
func (pattern *Pattern) try(record []byte) (claimed time.Duration, ok bool) {
	if pattern.Match == nil {
		return 0, true
	}
	groups := pattern.Match.FindSubmatch(record)
	if groups == nil {
		return 0, false
	}
	for n, name := range pattern.Match.SubexpNames() {
		unit := map[string]time.Duration{
			"ns": time.Nanosecond, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second,
			"pct": pattern.Timeout / 100,
		}[name]
		if unit == 0 || len(groups[n]) == 0 {
			continue
		}
		if v, err := strconv.ParseFloat(string(groups[n]), 64); err == nil && v > 0 {
			claimed = cmp.Or(claimed, time.Duration(min(v*float64(unit), float64(maxClaim))))
		}
	}
	return claimed, true
}

// maxClaim bounds what a line may say of the length of a silence.
const maxClaim = 7 * 24 * time.Hour
