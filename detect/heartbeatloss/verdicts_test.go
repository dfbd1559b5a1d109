package heartbeatloss_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// verdicts are the main verdicts, each in several guises.
var verdicts = []struct {
	name string
	beat detecttest.Heartbeat
	each func(s *detecttest.Stream, i int)
	// severity is warning unless it says otherwise; says are parts of the finding, lacks what must not be in it.
	severity model.Severity
	says     []string
	lacks    []string
}{
	{
		name: "no CPU behind a real-time task",
		beat: detecttest.Heartbeat{
			Held:    held(model.SchedWaiting, 860*ms, func(h *detecttest.Held) { h.Rival = detecttest.Hog() }),
			Timeout: time.Second,
		},
		says: []string{
			flow + "was read 860 ms late: its reader had no CPU behind rt-batch[900] (SCHED_FIFO 50) on CPU 1",
			`in the queue of its socket (100 %)`, "share of the timeout without a packet",
			"the peer or the network: the packet reached this host when it was due",
		},
	},
	{
		name: "no CPU, again and again",
		beat: detecttest.Heartbeat{
			Held: held(model.SchedWaiting, 600*ms, func(h *detecttest.Held) {
				h.Slice = 40 * ms
				h.Rival = &model.SchedRival{CPU: 1, PID: 77, TID: 77, Task: "make", Policy: model.SchedPolicyOther}
			}),
		},
		says: []string{"was read 600 ms late: its reader had no CPU behind make[77] on CPU 1"},
	},
	{
		name: "busy, on a CPU that it shares",
		beat: detecttest.Heartbeat{
			Held: slices.Concat(held(model.SchedWaiting, 600*ms, func(h *detecttest.Held) {
				h.Slice = 4 * ms
				h.Rival = &model.SchedRival{CPU: 1, PID: 77, TID: 77, Task: "make", Policy: model.SchedPolicyOther}
			}), held(model.SchedRunning, 1000*ms, func(h *detecttest.Held) { h.From += 600 * ms; h.Slice = 4 * ms })),
		},
		says: []string{
			"was read 1 s late: its reader was busy with other work for 420 ms", "had a CPU for 420 ms of that time",
		},
		lacks: []string{"no CPU behind"},
	},
	{
		name: "in poll for something else",
		beat: detecttest.Heartbeat{
			Held: held(model.SchedInput, 700*ms, func(h *detecttest.Held) { h.Detail = "poll: poll_schedule_timeout" }),
		},
		says: []string{"was read 700 ms late: its reader waited for", "poll"},
	},
	{
		name: "in epoll_wait, not known for what",
		beat: detecttest.Heartbeat{
			Held: held(model.SchedInput, 700*ms, func(h *detecttest.Held) { h.Detail = "epoll_wait: ep_poll" }),
		},
		says: []string{"the cause in its reader is unknown"},
	},
	{
		name: "throttled",
		beat: detecttest.Heartbeat{
			Held: held(model.SchedThrottled, 700*ms, func(h *detecttest.Held) { h.Slice = 90 * ms }),
		},
		says: []string{"the program was throttled for 700 ms", "5 ms in each 100 ms", "(/batch)"},
	},
	{
		name:     "stopped for longer than the timeout",
		beat:     detecttest.Heartbeat{Held: held(model.SchedStopped, 2500*ms), Timeout: time.Second},
		severity: model.SeverityCritical,
		says:     []string{"was read 2.5 s late: the program was stopped for 2.5 s"},
	},
	{
		name: "frozen, and the thread that reads is unknown",
		beat: detecttest.Heartbeat{Held: held(model.SchedFrozen, 700*ms), Threads: 3},
		says: []string{"the program was frozen for 700 ms"},
	},
	{
		name: "disk",
		beat: detecttest.Heartbeat{
			Held: held(model.SchedDisk, 500*ms, func(h *detecttest.Held) { h.Detail = "fsync fd 9 /var/log/x: io_schedule" }),
		},
		says: []string{"its reader waited for the disk for 500 ms", "fsync fd 9 /var/log/x"},
	},
	{
		name: "lock, beside idle threads that wait for longer",
		beat: detecttest.Heartbeat{
			Held: held(model.SchedLock, 500*ms, func(h *detecttest.Held) { h.Detail = "fcntl fd 5: fcntl_setlk" }), Threads: 4,
		},
		says: []string{"its reader waited for a lock for 500 ms"},
	},
	{
		name: "memory",
		beat: detecttest.Heartbeat{Held: held(model.SchedMemory, 500*ms)},
		says: []string{"its reader waited for memory for 500 ms"},
	},
	{
		name: "asleep",
		beat: detecttest.Heartbeat{Held: held(model.SchedSleeping, 1200*ms)},
		says: []string{"its reader slept for 1.2 s"},
	},
	{
		name: "waits for another socket",
		beat: detecttest.Heartbeat{Held: held(model.SchedInput, 900*ms, func(h *detecttest.Held) { h.Input = 99 })},
		says: []string{"its reader waited for something else for 900 ms"},
	},
	{
		name: "busy itself",
		beat: detecttest.Heartbeat{Held: held(model.SchedRunning, 1000*ms)},
		says: []string{"its reader was busy with other work for 1 s"},
	},
	{
		name: "not watched",
		beat: detecttest.Heartbeat{Held: held(model.SchedWaiting, 860*ms), Unwatched: true},
		says: []string{"was read 860 ms late: the cause in its reader is unknown", "was not watched"},
	},
	{
		name: "only reads are seen, and packets waited",
		beat: detecttest.Heartbeat{Held: held(model.SchedStopped, 860*ms), ReadsOnly: true},
		says: []string{"was read 860 ms late: the program was stopped for 860 ms"},
	},
	{
		name: "only reads are seen, and none waited",
		beat: detecttest.Heartbeat{At: missing(fault, fault+1500*ms, false), ReadsOnly: true},
		says: []string{
			"received nothing for 1.5 s: no packet reached this host, peer or network fault",
		},
	},
	{
		name: "its queue overflows while it is stopped",
		beat: detecttest.Heartbeat{
			Held: held(model.SchedStopped, 8*time.Second), Full: during(fault+time.Second, fault+8*time.Second),
		},
		each: func(s *detecttest.Stream, i int) {
			if i >= 13 && i < 20 {
				s.Drop(drop(model.PlaceSocket, 10, 5405, "SOCKET_RCVBUFF", "sock_queue_rcv_skb_reason", ""))
			}
		},
		says: []string{"the program was stopped for"},
	},
	{
		name: "only arrivals are seen, and nothing came",
		beat: detecttest.Heartbeat{At: missing(fault, fault+1500*ms, false), ArrivalsOnly: true},
		says: []string{"received nothing for 1.5 s: no packet reached this host", "No packet of the flow reached this host"},
	},
	{
		name: "only arrivals are seen, and late",
		beat: detecttest.Heartbeat{Stack: stack(fault, fault+500*ms), ArrivalsOnly: true},
		says: []string{"reached its socket 500 ms late"},
	},
	{
		name: "peer silent",
		beat: detecttest.Heartbeat{At: missing(fault, fault+800*ms, false), Timeout: 5 * time.Second},
		says: []string{
			flow + "received nothing for 800 ms: no packet reached this host, peer or network fault",
			"loss in this host", "the program: nothing waited to be read",
		},
		lacks: []string{"came together"},
	},
	{
		name: "held up on the way",
		beat: detecttest.Heartbeat{At: missing(fault, fault+1500*ms, true)},
		says: []string{"received nothing for 1.5 s", "arrived together afterwards", "not lost"},
	},
	{
		name: "peer silent for longer than the timeout, while other ports lose packets",
		beat: detecttest.Heartbeat{At: missing(fault, fault+3*time.Second, false), Timeout: time.Second},
		each: func(s *detecttest.Stream, i int) {
			if i >= 12 && i < 15 {
				s.Drop(drop(model.PlaceFilter, 4, 9999, "NETFILTER_DROP", "nft_do_chain", ""))
			}
		},
		severity: model.SeverityCritical,
		says:     []string{"peer or network fault"},
	},
	{
		name: "dropped by a filter",
		beat: detecttest.Heartbeat{Dropped: during(fault, fault+900*ms)},
		each: func(s *detecttest.Stream, i int) {
			if i == 12 {
				s.Drop(drop(model.PlaceFilter, 9, 5405, "NETFILTER_DROP", "nft_do_chain", ""))
			}
		},
		says: []string{
			"received nothing for 1 s: this host dropped 9 packets for it at filter (NETFILTER_DROP in nft_do_chain)",
			"the peer or the network: the packets reached this host",
		},
	},
	{
		name: "dropped behind its socket's door",
		beat: detecttest.Heartbeat{Full: during(fault, fault+900*ms)},
		each: func(s *detecttest.Stream, i int) {
			if i == 12 {
				s.Drop(drop(model.PlaceSocket, 9, 5405, "PROTO_MEM", "__udp_enqueue_schedule_skb", ""))
			}
		},
		says: []string{"this host dropped 9 packets for it at the socket (PROTO_MEM"},
	},
	{
		name: "may have been lost in the ring",
		beat: detecttest.Heartbeat{Dropped: during(fault, fault+900*ms)},
		each: func(s *detecttest.Stream, i int) {
			if i == 12 {
				s.Drop(drop(model.PlaceRing, 5000, 0, "rx_missed_errors", "", "eth0"))
			}
		},
		says: []string{"perhaps lost in this host: 5,000 packets dropped at the ring of eth0 (rx_missed_errors)"},
	},
	{
		name: "lost in the ring of a device over which it does not come",
		beat: detecttest.Heartbeat{Dropped: during(fault, fault+900*ms), Over: over("eth1", 3)},
		each: func(s *detecttest.Stream, i int) {
			if i == 12 {
				s.Drop(drop(model.PlaceRing, 5000, 0, "rx_missed_errors", "", "eth0"))
			}
		},
		says: []string{"peer or network fault"},
	},
	{
		name: "may have been lost at a backlog, of another namespace",
		beat: detecttest.Heartbeat{Dropped: during(fault, fault+900*ms)},
		each: func(s *detecttest.Stream, i int) {
			if i == 12 {
				d := drop(model.PlaceBacklog, 300, 0, "CPU_BACKLOG", "enqueue_to_backlog", "veth0")
				d.NetnsInode = 7
				s.Drop(d)
			}
		},
		says: []string{"perhaps lost in this host: 300 packets dropped at the backlog of veth0"},
	},
	{
		name: "may have been lost on its way through another namespace",
		beat: detecttest.Heartbeat{Dropped: during(fault, fault+900*ms)},
		each: func(s *detecttest.Stream, i int) {
			if i == 12 {
				s.Drop(routed(9))
			}
		},
		says: []string{
			"perhaps lost in this host: 9 packets dropped at protocol of veth0 (IP_INNOROUTES in ip_error) in network " +
				"namespace 7",
			"This host had no route to the packet's destination", "or remove the one that forbids it",
		},
	},
	{
		name: "another namespace loses packets all the time",
		beat: detecttest.Heartbeat{Dropped: during(fault, fault+900*ms)},
		each: func(s *detecttest.Stream, _ int) { s.Drop(routed(9)) },
		says: []string{"peer or network fault", "no packet for udp/5405 was dropped"},
	},
	{
		name: "a rule drops packets of other flows all the time",
		beat: detecttest.Heartbeat{Dropped: during(fault, fault+900*ms)},
		each: func(s *detecttest.Stream, _ int) { s.Drop(drop(model.PlaceFilter, 9, 0, "", "nf_queue", "eth0")) },
		says: []string{"peer or network fault", "no packet for udp/5405 was dropped"},
	},
	{
		name: "a rule drops packets of unknown flows since then",
		beat: detecttest.Heartbeat{Dropped: during(fault, fault+900*ms)},
		each: func(s *detecttest.Stream, i int) {
			if i >= 12 {
				s.Drop(drop(model.PlaceFilter, 9, 0, "", "nf_queue", "eth0"))
			}
		},
		says: []string{
			"perhaps lost in this host: 18 packets dropped at filter of eth0 (in nf_queue)", "no program serves that queue",
		},
	},
	{
		name: "a rule changes the port",
		beat: detecttest.Heartbeat{Dropped: during(fault, fault+900*ms)},
		each: func(s *detecttest.Stream, i int) {
			if i == 12 {
				s.Drop(drop(model.PlaceProtocol, 9, 7999, "NO_SOCKET", "__udp4_lib_rcv", "eth0"))
			}
		},
		says: []string{
			"peer or network fault, unless a rule of this host sends its packets to udp/7999",
			"9 packets for udp/7999 came meanwhile, where nothing listens: those of the flow, if a rule changes their port",
		},
		lacks: []string{"of the flow reached this host"},
	},
	{
		name: "many more packets for a closed port than are missing",
		beat: detecttest.Heartbeat{Dropped: during(fault, fault+900*ms)},
		each: func(s *detecttest.Stream, i int) {
			if i == 12 {
				s.Drop(drop(model.PlaceProtocol, 90, 7999, "NO_SOCKET", "__udp4_lib_rcv", "eth0"))
			}
		},
		says:  []string{"no packet reached this host, peer or network fault"},
		lacks: []string{"7999"},
	},
	{
		name: "a socket is closed with packets in its queue meanwhile",
		beat: detecttest.Heartbeat{Dropped: during(fault, fault+900*ms)},
		each: func(s *detecttest.Stream, i int) {
			if i == 12 {
				s.Drop(drop(model.PlaceProtocol, 256, 0, "NOT_SPECIFIED", "udp_destruct_common", ""))
			}
		},
		says:  []string{"no packet reached this host, peer or network fault"},
		lacks: []string{"dropped at", "256"},
	},
	{
		name: "packets for a closed port all the time",
		beat: detecttest.Heartbeat{Dropped: during(fault, fault+900*ms)},
		each: func(s *detecttest.Stream, _ int) {
			s.Drop(drop(model.PlaceProtocol, 9, 7999, "NO_SOCKET", "__udp4_lib_rcv", "eth0"))
		},
		says: []string{"peer or network fault"},
	},
	{
		name: "a rule drops packets of unknown flows, later",
		beat: detecttest.Heartbeat{Dropped: during(fault, fault+12*time.Second)},
		each: func(s *detecttest.Stream, i int) {
			if i >= 18 {
				s.Drop(drop(model.PlaceFilter, 20, 0, "", "nf_queue", "eth0"))
			}
		},
		says: []string{"peer or network fault", "no packet for udp/5405 was dropped"},
	},
	{
		name: "too few lost in another namespace to be why",
		beat: detecttest.Heartbeat{Dropped: during(fault, fault+900*ms)},
		each: func(s *detecttest.Stream, i int) {
			if i == 12 {
				s.Drop(routed(2))
			}
		},
		says: []string{"peer or network fault"},
	},
	{
		name: "more lost in another namespace than with its port",
		beat: detecttest.Heartbeat{Dropped: during(fault, fault+900*ms)},
		each: func(s *detecttest.Stream, i int) {
			if i == 12 {
				s.Drop(drop(model.PlaceFilter, 1, 5405, "NETFILTER_DROP", "nft_do_chain", ""))
				s.Drop(routed(20))
			}
		},
		says: []string{"perhaps lost in this host: 20 packets dropped at protocol of veth0"},
	},
	{
		name: "few lost in another namespace",
		beat: detecttest.Heartbeat{Dropped: during(fault, fault+900*ms)},
		each: func(s *detecttest.Stream, i int) {
			if i == 12 {
				s.Drop(routed(2))
			}
		},
		says: []string{"peer or network fault", "2 packets were dropped, but 9 missing"},
	},
	{
		name: "too few lost in the ring to be why",
		beat: detecttest.Heartbeat{Dropped: during(fault, fault+900*ms)},
		each: func(s *detecttest.Stream, i int) {
			if i == 12 {
				s.Drop(drop(model.PlaceRing, 2, 0, "rx_missed_errors", "", "eth0"))
			}
		},
		says: []string{"peer or network fault", "2 packets were dropped, but 9 missing"},
	},
	{
		name: "deferred work, its vector waits",
		beat: detecttest.Heartbeat{Stack: stack(fault, fault+500*ms)},
		each: func(s *detecttest.Stream, i int) { busy(i, s, 480*ms, 0.1) },
		says: []string{
			"reached its socket 500 ms late: it waited for deferred work on CPU 1 (NET_RX waited to run for up to 480 ms)",
			"in softirq, backlog and filters (100 %)", "the program: it read the packet 30 µs after it was queued",
		},
	},
	{
		name: "deferred work, its CPU is full of it",
		beat: detecttest.Heartbeat{Stack: stack(fault, fault+500*ms)},
		each: func(s *detecttest.Stream, i int) { busy(i, s, ms, 0.6) },
		says: []string{"it waited for deferred work on CPU 1 (NET_RX had 60 % of the CPU)"},
	},
	{
		name: "deferred work behind a real-time task",
		beat: detecttest.Heartbeat{Stack: stack(fault, fault+500*ms)},
		each: func(s *detecttest.Stream, i int) {
			if i != 12 {
				return
			}
			s.Builder().AddSchedStateEvent(model.SchedStateEvent{
				Time: s.End(), Dur: time.Second, CPU: 1, PID: 22, TID: 22, Task: "ksoftirqd/1", State: model.SchedWaiting,
				Total: 490 * ms, Longest: 490 * ms, Count: 1,
			})
			r := *detecttest.Hog()
			r.Time, r.Dur, r.Run, r.VictimPid, r.VictimTID, r.Victim = s.End(), time.Second, 480*ms, 22, 22, "ksoftirqd/1"
			s.Builder().AddSchedRival(r)
		},
		says: []string{"ksoftirqd/1 had no CPU behind rt-batch[900] (SCHED_FIFO 50)"},
	},
	{
		name: "between arrival and socket, and where is unknown",
		beat: detecttest.Heartbeat{Stack: stack(fault, fault+500*ms)},
		says: []string{"softirq, backlog or filters, not known which"},
	},
	{
		name: "sent late: fsync",
		beat: detecttest.Heartbeat{
			Sends: true, At: missing(fault, fault+900*ms, false),
			Held: held(model.SchedDisk, 890*ms, func(h *detecttest.Held) { h.Detail = "fsync fd 9 /var/lib/x: io_schedule" }),
		},
		says: []string{
			"udp/5405 of corosync[812] (knet to 10.0.0.2) was sent 800 ms late: its sender waited for the disk for 890 ms",
			"the network or the peer",
		},
	},
	{
		name: "sent late: no CPU",
		beat: detecttest.Heartbeat{
			Sends: true, At: missing(fault, fault+900*ms, false),
			Held: held(model.SchedWaiting, 890*ms, func(h *detecttest.Held) { h.Rival = detecttest.Hog() }),
		},
		says: []string{"was sent 800 ms late: its sender had no CPU behind rt-batch[900] (SCHED_FIFO 50) on CPU 1"},
	},
	{
		name: "sent late: one of several threads waited for a lock for as long",
		beat: detecttest.Heartbeat{
			Sends: true, At: missing(fault, fault+900*ms, false), Unseen: true, Threads: 4,
			Held: held(model.SchedLock, 850*ms, later, func(h *detecttest.Held) { h.Detail = "flock fd 3: flock_lock_inode" }),
		},
		says: []string{
			"was sent 800 ms late: a thread of it waited for a lock for 845 ms",
			"one of its threads, for as long as nothing was sent, waited for a lock (flock fd 3",
		},
	},
	{
		name: "sent late: several threads wait for one another",
		beat: detecttest.Heartbeat{
			Sends: true, At: missing(fault, fault+900*ms, false), Unseen: true, Threads: 4,
			Held: held(model.SchedLock, 850*ms, later, func(h *detecttest.Held) { h.Detail = "futex: futex_wait_queue" }),
		},
		says: []string{"was sent 800 ms late: the cause in its sender is unknown", "Of the 5 threads watched, none"},
	},
	{
		name: "sent late, and why was not seen",
		beat: detecttest.Heartbeat{Sends: true, At: missing(fault, fault+900*ms, false), Unwatched: true},
		says: []string{"was sent 800 ms late: the cause in its sender is unknown"},
	},
	{
		name: "events were lost that say who ran instead",
		beat: detecttest.Heartbeat{At: missing(fault, fault+900*ms, false)},
		each: func(s *detecttest.Stream, i int) {
			if i == 12 {
				s.Builder().AddLoss(model.Loss{
					Time: s.Now().Add(500 * ms), Lost: 120, Origin: "ringbuf", Detail: "sched: sched.rival",
				})
			}
		},
		says: []string{"received nothing for 900 ms: no packet reached this host"},
	},
	{
		name:     "events were lost",
		beat:     detecttest.Heartbeat{At: missing(fault, fault+900*ms, false)},
		severity: model.SeverityInfo,
		each: func(s *detecttest.Stream, i int) {
			if i == 12 {
				s.Builder().AddLoss(model.Loss{Time: s.Now().Add(500 * ms), Lost: 120, Origin: "ringbuf"})
			}
		},
		says: []string{"received nothing for 900 ms, cause unknown: 120 events were lost in that time"},
	},
	{
		name: "the program was held up, and its peer may only answer",
		beat: detecttest.Heartbeat{At: missing(fault, fault+1500*ms, false), Held: held(model.SchedStopped, 1490*ms, later)},
		says: []string{"cause unknown: The program itself was held up for 1.5 s"},
	},
	{
		name: "the program was held up, with a packet that it did not answer",
		beat: detecttest.Heartbeat{At: missing(fault, fault+1500*ms, false), Held: held(model.SchedStopped, 1490*ms)},
		says: []string{"was read 1.5 s late: the program was stopped for 1.5 s"},
	},
	{
		name: "vanished at its socket",
		beat: detecttest.Heartbeat{Full: during(fault, fault+900*ms)},
		says: []string{"cause unknown: 9 packets reached its socket and were not read, and no drop was recorded"},
	},
}

// Each stream has exactly one finding of the heartbeat, with one main verdict; it is the same live, after the fault
// and after the process has exited, and however the stream is cut.
func TestVerdicts(t *testing.T) {
	for _, v := range verdicts {
		t.Run(v.name, func(t *testing.T) {
			for _, exit := range []time.Duration{0, 18 * time.Second} {
				h := v.beat
				h.Exit = exit
				b := detecttest.Flowing(40, v.each, h)
				f, out := only(t, b)
				severity := model.SeverityWarning
				if v.severity != 0 || v.name == "events were lost" {
					severity = v.severity
				}
				if f.Severity != severity || f.Ongoing {
					t.Errorf("severity %v, ongoing %v", f.Severity, f.Ongoing)
				}
				says(t, f, v.says)
				for _, part := range v.lacks {
					if strings.Contains(text(f), part) {
						t.Errorf("it has %q:\n%s", part, text(f))
					}
				}
				if first := out[0].At.Sub(detecttest.Start); first > fault+4*time.Second {
					t.Errorf("the first word came at %v", first)
				}
			}
		})
	}
}
