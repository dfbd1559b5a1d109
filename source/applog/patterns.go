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
	// Match is the whole pattern, nil where the literal is enough. Groups named ms, s and us are how long before the
	// line the silence began; pct is the share of Timeout that has passed.
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
		Match: lazyregexp.New(`(?i)forming new configuration(?:: token timed out \((?P<ms>\d+) ?ms\))?`),
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
		Name: "corosync/members-left", Class: model.LogLost, Literal: "members left:",
		Match:   lazyregexp.New(`(?i)A new membership .* was formed\. Members left:`),
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
		Match:   lazyregexp.New(`(?i)(?:Partial )?partition detected`),
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
		Name: "any/missed-heartbeats", Class: model.LogMissed, Literal: "missed ",
		Match:   lazyregexp.New(`(?i)\bmissed (?:\w+ ){0,4}heart ?beats?\b`),
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
			"us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "pct": pattern.Timeout / 100,
		}[name]
		if unit == 0 || len(groups[n]) == 0 {
			continue
		}
		if v, err := strconv.ParseFloat(string(groups[n]), 64); err == nil && v > 0 && v < 1e9 {
			claimed = cmp.Or(claimed, min(time.Duration(v*float64(unit)), maxClaim))
		}
	}
	return claimed, true
}

// maxClaim bounds what a line may say of the length of a silence.
const maxClaim = 7 * 24 * time.Hour
