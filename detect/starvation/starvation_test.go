package starvation_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/all"
	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// load is what one CPU does in one second; shares are parts of it.
type load struct {
	rx, user, system, irq float64
	// missing is the share of time that is in no state.
	missing                   float64
	packets, dropped, limited uint64
	// wait is the longest wait of NET_RX, held how many waits were that long.
	wait time.Duration
	held uint64
}

func second(s *detecttest.Stream, cpu int32, l load) {
	b, at, d := s.Builder(), s.End(), time.Second
	part := func(share float64) time.Duration { return time.Duration(share * float64(d)) }
	b.AddCPUTime(model.CPUTime{Time: at, Dur: d, CPU: cpu, User: part(l.user), System: part(l.system),
		Softirq: part(l.rx), IRQ: part(l.irq), Idle: max(0, d-part(l.rx+l.user+l.system+l.irq+l.missing))})
	b.AddSoftnet(model.Softnet{
		Time: at, Dur: d, CPU: cpu, Processed: l.packets, Dropped: l.dropped, FlowLimit: l.limited,
	})
	runs := max(l.packets/60, 1)
	waits := &model.Histogram{}
	for range l.held {
		waits.Observe(uint64(l.wait))
	}
	b.AddDeferredHist(model.DeferredHist{Time: at, Dur: d, CPU: cpu, Class: model.ClassSoftirq, Name: "NET_RX",
		Count: runs, Busy: part(l.rx), MaxRun: part(l.rx) / time.Duration(runs), MaxWait: l.wait, WaitHist: waits})
	if l.dropped > 0 {
		s.Drop(model.Drop{CPU: -1, Place: model.PlaceBacklog, Count: l.dropped, Reason: "CPU_BACKLOG",
			Ifindex: int64(2 + cpu), Device: fmt.Sprintf("eth%d", cpu)})
	}
}

// Loads of a CPU that gives a backlog too little, or the backlog too little room.
var (
	quiet    = load{rx: 0.01, user: 0.05, packets: 400, wait: 10 * time.Microsecond}
	starved  = load{rx: 0.3, user: 0.65, system: 0.05, packets: 30_000, dropped: 40_000, wait: 4 * time.Millisecond}
	shallow  = load{rx: 0.02, user: 0.8, system: 0.18, packets: 20_000, dropped: 300, wait: 30 * time.Microsecond}
	limited  = load{rx: 0.2, user: 0.1, packets: 50_000, dropped: 9_000, limited: 8_900, wait: 30 * time.Microsecond}
	burst    = load{rx: 0.35, user: 0.05, packets: 40_000, dropped: 20_000, wait: 200 * time.Microsecond}
	mystery  = load{rx: 0.1, user: 0.05, packets: 30_000, dropped: 20_000, wait: 5 * time.Millisecond}
	overload = load{rx: 0.99, packets: 40_000, dropped: 100_000, wait: 200 * time.Microsecond}
)

// findings runs all detectors and returns the last state of each finding, and what was requested.
func findings(t *testing.T, b *model.Batch) (list []model.Finding, asked []model.Request) {
	t.Helper()
	e := detect.New(all.Settings(), detect.Options{Request: func(r model.Request) { asked = append(asked, r) }})
	var order []string
	last := make(map[string]model.Finding)
	emit := func(_ model.Time, f model.Finding) {
		if _, ok := last[f.ID]; !ok {
			order = append(order, f.ID)
		}
		last[f.ID] = f
	}
	e.Apply(b, emit)
	e.Finish(emit)
	for _, id := range order {
		detecttest.Words(t, last[id])
		list = append(list, detecttest.Blanks(last[id]))
	}
	return list, asked
}

func text(f *model.Finding) string {
	body, _ := json.MarshalIndent(f, "", " ")
	return string(body)
}

func has(t *testing.T, f *model.Finding, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text(f), part) {
			t.Errorf("finding lacks %q:\n%s", part, text(f))
		}
	}
}

// TestReasons has one second, or eight, of each reason for a loss at a backlog
// between quiet ones: the same reason while it lasts and when it is over.
func TestReasons(t *testing.T) {
	for _, tt := range []struct {
		name    string
		load    load
		seconds int
		parts   []string
	}{
		{"programs", starved, 8, []string{
			" CPU 0 and its softirqs ", "320,000 packets lost at its backlog in 8 s", "eth0", "after waiting up to 4 ms",
			"was not observed"}},
		{"programs for a second", starved, 1, []string{
			" CPU 0 and its softirqs ", "40,000 packets lost at its backlog in 1 s"}},
		{"programs for a part of a second", load{
			rx: 0.1, user: 0.25, system: 0.05, packets: 9000, dropped: 8000, wait: 4 * time.Millisecond,
		}, 1, []string{"Programs h", "CPU 0 and its softirqs", "8,000 packets lost at its backlog in 1 s"}},
		{"small backlog", shallow, 8, []string{
			"netdev_max_backlog on CPU 0: 2,400 packets lost at its backlog in 8 s", "not read (default 1,000)"}},
		{"flow limit", limited, 8, []string{"The flow limit of CPU 0", "71,200 of 72,000 packets"}},
		{"burst", burst, 1, []string{"A burst", "CPU 0", "20,000 packets lost at its backlog in 1 s"}},
		{"not known", mystery, 3, []string{"The backlog of CPU 0", "cause unknown", "60,000 packets"}},
		{"overload for a second", overload, 1, []string{"CPU 0 spen", "NET_RX for eth0", "100,000 packets lost in"}},
	} {
		for _, after := range []int{0, 30} {
			t.Run(fmt.Sprintf("%s, %d s later", tt.name, after), func(t *testing.T) {
				s := detecttest.New()
				each := func(n int, l load) {
					for range n {
						second(s, 0, l)
						second(s, 1, quiet)
						s.Next()
					}
				}
				each(5, quiet)
				each(tt.seconds, tt.load)
				each(max(after, 1), quiet)
				list, _ := findings(t, s.Batch())
				if len(list) != 1 {
					t.Fatalf("%d findings, want one: %+v", len(list), list)
				}
				f := &list[0]
				has(t, f, tt.parts...)
				if f.Severity == model.SeverityInfo || f.Subject.CPU != 0 || f.Ongoing != (after == 0) {
					t.Errorf("severity %v, CPU %d, ongoing %v", f.Severity, f.Subject.CPU, f.Ongoing)
				}
				if n := len([]rune(f.Title)); n > 110 {
					t.Errorf("the title has %d characters: %s", n, f.Title)
				}
				if strings.Contains(text(f), "receive buffer") {
					t.Errorf("a buffer is blamed:\n%s", text(f))
				}
			})
		}
	}
}

// TestNotSampled has a fault whose detail lostbeat leaves out: the finding says so while the fault lasts and later, and
// only of what was left out then.
func TestNotSampled(t *testing.T) {
	const stacks = "Kernel stacks were " + model.NotSampled
	const threads = "The scheduling of suspected threads was " + model.NotSampled
	for _, tt := range []struct {
		name string
		shed []string
		// from and to are the seconds between which detail is left out.
		from, to, after int
		want, never     []string
	}{
		{"all the time", []string{"stack", "sched"}, 0, 99, 0, []string{stacks, threads}, nil},
		{"all the time, later", []string{"stack", "sched"}, 0, 99, 30, []string{stacks, threads}, nil},
		{"stacks only", []string{"stack"}, 0, 99, 0, []string{stacks}, []string{threads}},
		{"before", []string{"stack", "sched"}, 0, 4, 0, nil, []string{model.NotSampled}},
		{"zoom, which it does not need", []string{"heartbeat"}, 0, 99, 0, nil, []string{model.NotSampled}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecttest.New()
			state := func(reason string, state model.ProbeState) {
				for _, p := range model.ShedParts {
					if slices.Contains(tt.shed, p.Probe) {
						s.Builder().AddProbe(model.Probe{
							Time: s.Now(), Name: p.Probe, Part: p.Part, State: state, Reason: reason,
						})
					}
				}
			}
			for i := range 14 + tt.after {
				switch i {
				case tt.from:
					state(model.NotSampled+" (it took 4.0 % of a CPU, --max-cpu is 3.0 %)", model.ProbeDegraded)
				case tt.to:
					state("", model.ProbeOn)
				}
				l := quiet
				if i >= 5 && i < 13 {
					l = starved
				}
				second(s, 0, l)
				second(s, 1, quiet)
				s.Next()
			}
			list, _ := findings(t, s.Batch())
			if len(list) != 1 {
				t.Fatalf("%d findings, want one: %+v", len(list), list)
			}
			has(t, &list[0], tt.want...)
			for _, part := range tt.never {
				if strings.Contains(text(&list[0]), part) {
					t.Errorf("finding has %q:\n%s", part, text(&list[0]))
				}
			}
		})
	}
}

// TestNoReason has losses that are too few: of a backlog, of a burst, of waits that nobody is seen to cause.
func TestNoReason(t *testing.T) {
	for _, tt := range []struct {
		name    string
		load    load
		seconds int
	}{
		{"a flood that the host handles", load{rx: 0.4, user: 0.3, packets: 600_000, dropped: 2500}, 20},
		{"99 packets", load{rx: 0.02, packets: 2000, dropped: 99, wait: time.Microsecond}, 1},
		{"a burst within the share", load{rx: 0.3, packets: 900_000, dropped: 1500, wait: time.Microsecond}, 1},
		{"late softirqs", load{rx: 0.1, user: 0.9, packets: 1000, wait: 8 * time.Millisecond, held: 20}, 20},
		{"interrupts below half", load{rx: 0.1, irq: 0.49, packets: 1000}, 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecttest.New()
			for i := range tt.seconds + 6 {
				l := quiet
				if i >= 3 && i < tt.seconds+3 {
					l = tt.load
				}
				second(s, 0, l)
				s.Next()
			}
			list, _ := findings(t, s.Batch())
			for i := range list {
				if list[i].Severity > model.SeverityInfo {
					t.Errorf("found %s", text(&list[i]))
				}
			}
		})
	}
}

// TestBurstAmongTraffic has one second of losses that are few of the window's packets.
func TestBurstAmongTraffic(t *testing.T) {
	for _, dropped := range []uint64{999, 1000} {
		s := detecttest.New()
		for i := range 12 {
			l := load{rx: 0.3, packets: 200_000, wait: 10 * time.Microsecond}
			if i == 5 {
				l.packets, l.dropped = 20_000, dropped
			}
			second(s, 0, l)
			s.Next()
		}
		if list, _ := findings(t, s.Batch()); len(list) != int(dropped-999) {
			t.Errorf("%d dropped: %d findings", dropped, len(list))
		}
	}
}

// TestWorstMoment lets a fault change its face: the cause is that under which most was lost.
func TestWorstMoment(t *testing.T) {
	s := detecttest.New()
	for _, l := range []load{quiet, shallow, shallow, starved, starved, starved, shallow, shallow, shallow, quiet, quiet} {
		second(s, 0, l)
		s.Next()
	}
	for range 20 {
		second(s, 0, quiet)
		s.Next()
	}
	list, _ := findings(t, s.Batch())
	if len(list) != 1 {
		t.Fatalf("%d findings", len(list))
	}
	has(t, &list[0], "Programs held CPU 0 and its softirqs got too little of it: 121,500 packets", "Tasks had 70 %")
}

// TestTwoAtOnce has two CPUs that lose packets of two devices: two findings, each with its own device.
func TestTwoAtOnce(t *testing.T) {
	for _, rps := range []bool{true, false} {
		s := detecttest.New()
		if rps {
			s.Device(2, "eth0", 1, "0")
			s.Device(3, "eth1", 1, "1")
		}
		for range 10 {
			second(s, 0, starved)
			second(s, 1, overload)
			s.Next()
		}
		list, _ := findings(t, s.Batch())
		if len(list) != 2 {
			t.Fatalf("%d findings, want two", len(list))
		}
		for i := range list {
			if f := &list[i]; f.Subject.Device != fmt.Sprintf("eth%d", f.Subject.CPU) {
				t.Errorf("RPS %v: CPU %d has device %q", rps, f.Subject.CPU, f.Subject.Device)
			}
		}
	}
}

// TestVictims has a socket whose queue overflows on the CPU: a victim of the programs, not one of the small backlog.
func TestVictims(t *testing.T) {
	for _, tt := range []struct {
		name  string
		load  load
		count int
	}{{"programs", starved, 1}, {"small backlog", shallow, 2}} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecttest.New()
			for range 10 {
				second(s, 0, tt.load)
				s.Drop(model.Drop{CPU: 0, PID: 77, TID: 77, Cookie: 9, Place: model.PlaceSocket, Count: 2000,
					Protocol: model.ProtocolUDP, LocalPort: 7000, Reason: "SOCKET_RCVBUFF", Process: "rcv"})
				s.Next()
			}
			list, _ := findings(t, s.Batch())
			if len(list) != tt.count {
				t.Fatalf("%d findings, want %d", len(list), tt.count)
			}
			if claims := strings.Contains(text(&list[0]), "receive queue of udp/7000 rcv[77]"); claims != (tt.count == 1) {
				t.Errorf("names the socket: %v", claims)
			}
		})
	}
}

// watched adds what ksoftirqd of a CPU did in a second and who ran meanwhile.
func watched(s *detecttest.Stream, cpu int32, waited time.Duration, rivals ...model.SchedRival) {
	b, name := s.Builder(), fmt.Sprintf("ksoftirqd/%d", cpu)
	for _, st := range []model.SchedStateEvent{
		{State: model.SchedWaiting, Total: waited, Longest: waited / 10, Count: 10},
		{State: model.SchedSleeping, Total: time.Second - waited, Longest: time.Second - waited, Count: 1},
	} {
		st.Time, st.Dur, st.CPU, st.PID, st.TID, st.Task = s.End(), time.Second, cpu, 14, 14, name
		b.AddSchedStateEvent(st)
	}
	for _, r := range rivals {
		r.Time, r.Dur, r.CPU, r.VictimPid, r.VictimTID, r.Victim = s.End(), time.Second, cpu, 14, 14, name
		b.AddSchedRival(r)
	}
}

func TestProgramsAreNamed(t *testing.T) {
	s := detecttest.New()
	for i := range 10 {
		l := starved
		if i == 0 {
			l.dropped *= 3 // the worst moment comes before what was asked for
		}
		second(s, 0, l)
		if i > 1 {
			watched(s, 0, 700*time.Millisecond,
				model.SchedRival{PID: 900, TID: 900, Task: "encoder", Policy: model.SchedPolicyOther, Run: 600 * time.Millisecond},
				model.SchedRival{PID: 901, TID: 901, Task: "other", Policy: model.SchedPolicyOther, Run: 90 * time.Millisecond})
		}
		s.Next()
	}
	list, asked := findings(t, s.Batch())
	has(t, &list[0], "encoder[900] holds CPU 0 and its softirqs get too little", "encoder[900] ran for 1.8 s of the 2.1 s")
	var kinds []string
	for _, r := range asked {
		if r.Kind == model.RequestReading {
			kinds = append(kinds, r.Name)
			continue
		}
		kinds = append(kinds, fmt.Sprintf("%s CPU %d %v", r.Kind, r.CPU, r.For))
	}
	if want := []string{"stacks CPU 0 2s", "sched CPU 0 5s", "netdev"}; !reflect.DeepEqual(kinds[:3], want) {
		t.Errorf("requested %q, want %q", kinds, want)
	}
}

func TestSettingIsRead(t *testing.T) {
	s := detecttest.New()
	for i := range 10 {
		second(s, 0, shallow)
		if i == 1 {
			s.Builder().AddReading(model.Reading{
				Time: s.End(), Name: "netdev", Instance: "netdev_max_backlog", Value: 10, Unit: "packets",
			})
		}
		s.Next()
	}
	list, _ := findings(t, s.Batch())
	has(t, &list[0], "Bursts exceed netdev_max_backlog (10 packets) on CPU 0",
		"allows: it is set to 10 (default 1,000)")
	if strings.Contains(text(&list[0]), "not read") {
		t.Error("what was read is called unread")
	}
}

// TestBacklogThread has a thread empty the backlog rather than NET_RX, as on PREEMPT_RT.
func TestBacklogThread(t *testing.T) {
	for _, tt := range []struct {
		name         string
		polls, full  uint64
		settingsRead bool
		parts        []string
	}{
		{"a small backlog", 4000, 0, true, []string{
			"Bursts exceed netdev_max_backlog (10 packets) on CPU 0: 8,000 packets lost",
			"4,000 of 4,000 polls of the backlog of CPU 0 emptied it; they took 9,000 packets in the same second",
			"it is set to 10 (default 1,000)",
		}},
		{"a small backlog whose size was not read", 4000, 0, false, []string{
			"Bursts exceed netdev_max_backlog on CPU 0", "its value was not read",
		}},
		{"few polls that use their whole budget", 4000, 400, true, []string{
			"Bursts exceed netdev_max_backlog (10 packets) on CPU 0", "3,600 of 4,000 polls",
		}},
		{"a thread that does not keep up", 4000, 401, true, []string{
			"The backlog of CPU 0 overflows, cause unknown", "401 of 4,000 polls of the backlog used their whole budget",
		}},
		{"polls that were not counted", 0, 0, true, []string{"The backlog of CPU 0 overflows, cause unknown"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecttest.New()
			for i := range 8 {
				b, at := s.Builder(), s.End()
				b.AddCPUTime(model.CPUTime{Time: at, Dur: time.Second, CPU: 0, Idle: time.Second})
				b.AddSoftnet(model.Softnet{Time: at, Dur: time.Second, CPU: 0, Processed: 9000, Dropped: 1000})
				b.AddDeferredHist(model.DeferredHist{Time: at, Dur: time.Second, CPU: 0, Class: model.ClassSoftirq,
					Name: "TIMER", Count: 100, Busy: time.Millisecond, MaxRun: 100 * time.Microsecond, WaitHist: &model.Histogram{}})
				if tt.polls > 0 {
					b.AddNAPI(model.NAPI{
						Time: at, Dur: time.Second, CPU: 0, Polls: tt.polls, Packets: 9000, FullPolls: tt.full, MaxPackets: 12,
						Device: "backlog",
					})
				}
				if i == 0 && tt.settingsRead {
					b.AddReading(model.Reading{
						Time: at, Name: "netdev", Instance: "netdev_max_backlog", Value: 10, Unit: "packets",
					})
				}
				s.Next()
			}
			list, _ := findings(t, s.Batch())
			if len(list) != 1 {
				t.Fatalf("%d findings, want one: %+v", len(list), list)
			}
			has(t, &list[0], tt.parts...)
		})
	}
}

// TestSmallBacklogBesideLoad has programs keep NET_RX waiting for some
// milliseconds: where the default backlog would have held what came meanwhile,
// the small one is the cause, else the programs are.
func TestSmallBacklogBesideLoad(t *testing.T) {
	for _, c := range []struct {
		name         string
		limit        float64
		packets      uint64
		want, absent string
	}{
		{"small", 10, 5_000, "Bursts exceed netdev_max_backlog (10 packets) on CPU 0", "Programs hold"},
		{"default", 1000, 5_000, "Programs hold CPU 0", "exceed netdev_max_backlog"},
		{"too many for the default", 10, 500_000, "Programs hold CPU 0", "exceed netdev_max_backlog"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := detecttest.New()
			for i := range 10 {
				second(s, 0, load{rx: 0.02, user: 0.8, system: 0.18, packets: c.packets, dropped: c.packets / 15,
					wait: 12 * time.Millisecond})
				if i == 1 {
					s.Builder().AddReading(model.Reading{
						Time: s.End(), Name: "netdev", Instance: "netdev_max_backlog", Value: c.limit, Unit: "packets",
					})
				}
				s.Next()
			}
			list, _ := findings(t, s.Batch())
			has(t, &list[0], c.want)
			if strings.Contains(text(&list[0]), c.absent) {
				t.Errorf("%q says %q, too", list[0].Title, c.absent)
			}
			if c.absent == "Programs hold" {
				has(t, &list[0], "about 63 packets arrived: the default backlog of 1,000 would have held them")
			}
		})
	}
}

// TestSettingIsRemembered has the setting raised, as is advised, while the fault
// goes on for a little: the finding quotes what it was at its worst.
func TestSettingIsRemembered(t *testing.T) {
	s := detecttest.New()
	for i := range 10 {
		l := shallow
		if i >= 5 {
			l.dropped /= 2
		}
		second(s, 0, l)
		value := 10.0
		if i >= 4 {
			value = 1000
		}
		if i > 0 {
			s.Builder().AddReading(model.Reading{
				Time: s.End(), Name: "netdev", Instance: "netdev_max_backlog", Value: value, Unit: "packets",
			})
		}
		s.Next()
	}
	list, _ := findings(t, s.Batch())
	has(t, &list[len(list)-1], "netdev_max_backlog (10 packets) on CPU 0")
}

// TestPassingRealTime has a migration thread run for some milliseconds while
// ksoftirqd waits for most of each second: it does not hold the CPU.
func TestPassingRealTime(t *testing.T) {
	for _, tt := range []struct {
		run   time.Duration
		named bool
	}{{20 * time.Millisecond, false}, {200 * time.Millisecond, true}} {
		s := detecttest.New()
		for range 10 {
			second(s, 0, starved)
			watched(s, 0, 700*time.Millisecond, model.SchedRival{
				PID: 18, TID: 18, Task: "migration/0", Policy: model.SchedPolicyFIFO, Priority: 99, Run: tt.run,
			})
			s.Next()
		}
		list, _ := findings(t, s.Batch())
		if named := strings.Contains(list[len(list)-1].Title, "migration/0"); named != tt.named {
			t.Errorf("%v: %q, named %v, want %v", tt.run, list[len(list)-1].Title, named, tt.named)
		}
	}
}

// TestProgramBySamples has a program hold a CPU for which ksoftirqd does not
// wait: it is named by the samples of the CPU where it has most of them, and with
// its policy where ksoftirqd waited behind it at all.
func TestProgramBySamples(t *testing.T) {
	for _, tt := range []struct {
		name         string
		hog, other   uint64
		waited       bool
		parts, lacks []string
	}{
		{"most of it", 110, 40, false, []string{
			"hog[900] holds CPU 0 and its softirqs get too little of it", "Of 597 samples of CPU 0 outside deferred work, " +
				"330 were of hog[900]",
		}, []string{"SCHED_FIFO"}},
		{"most of it, and ksoftirqd waited for a moment", 110, 40, true, []string{
			"hog[900] (SCHED_FIFO, priority 50) holds CPU 0",
		}, nil},
		{"one of several", 70, 80, false, []string{"Programs hold CPU 0"}, []string{"hog[900]"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecttest.New()
			for i := range 10 {
				l := quiet
				if i >= 2 {
					l = starved
					sampled(s, 0, 199,
						model.StackSample{Samples: tt.hog, Task: "hog", PID: 900},
						model.StackSample{Samples: tt.other / 2, Task: "sh", PID: 901},
						model.StackSample{Samples: tt.other / 2, Task: "cc", PID: 902},
						model.StackSample{Samples: 40, Softirq: true, Function: "process_backlog", Task: "hog", PID: 900})
				}
				if i >= 2 && tt.waited {
					s.Builder().AddSchedStateEvent(model.SchedStateEvent{
						Time: s.End(), Dur: time.Second, CPU: 0, PID: 15, TID: 15, Task: "ksoftirqd/0",
						State: model.SchedWaiting, Total: 3 * time.Millisecond, Longest: time.Millisecond,
					})
					s.Builder().AddSchedRival(model.SchedRival{
						Time: s.End(), Dur: time.Second, CPU: 0, PID: 900, TID: 900, Run: time.Millisecond / 2, VictimTID: 15,
						VictimPid: 15, Policy: model.SchedPolicyFIFO, Priority: 50, Task: "hog", Victim: "ksoftirqd/0",
					})
				}
				second(s, 0, l)
				second(s, 1, quiet)
				s.Next()
			}
			list, _ := findings(t, s.Batch())
			if len(list) != 1 {
				t.Fatalf("%d findings", len(list))
			}
			has(t, &list[0], tt.parts...)
			for _, part := range tt.lacks {
				if strings.Contains(text(&list[0]), part) {
					t.Errorf("finding has %q:\n%s", part, text(&list[0]))
				}
			}
		})
	}
}

// sampled adds kernel stacks of a second.
func sampled(s *detecttest.Stream, cpu int32, of uint64, list ...model.StackSample) {
	for _, c := range list {
		c.Time, c.Dur, c.CPU, c.Of = s.End(), time.Second, cpu, of
		s.Builder().AddStackSample(c)
	}
}

func TestExpensiveFunction(t *testing.T) {
	s := detecttest.New()
	for i := range 12 {
		second(s, 0, overload)
		if i == 3 || i == 4 {
			sampled(s, 0, 199,
				model.StackSample{Samples: 140, Softirq: true, Function: "nft_do_chain", Entry: "process_backlog", Task: "hog"},
				model.StackSample{Samples: 20, Softirq: true, Function: "nft_meta_get_eval", Entry: "process_backlog"},
				model.StackSample{Samples: 30, Softirq: true, Function: "ip_rcv", Entry: "process_backlog", Task: "x"},
				model.StackSample{Samples: 9, Function: "vfs_read", Task: "dd", PID: 3})
		}
		s.Next()
	}
	list, _ := findings(t, s.Batch())
	has(t, &list[0], "Of 380 samples of CPU 0 in softirqs, 280 were in nft_do_chain: filter rules (nftables) (320 "+
		"including",
		"Look for rules that every packet traverses")
}

// TestHeldBack has softirqs that wait, and says by whom they are held back, where that is proven.
func TestHeldBack(t *testing.T) {
	late := load{rx: 0.05, user: 0.6, system: 0.3, packets: 2000, wait: 4 * time.Millisecond, held: 20}
	realTime := model.SchedRival{
		PID: 50, TID: 50, Task: "audio", Policy: model.SchedPolicyFIFO, Priority: 50, Run: 70 * time.Millisecond,
	}
	normal := realTime
	normal.Policy, normal.Priority = model.SchedPolicyOther, 0
	memory := model.StackSample{
		Samples: 90, PID: 60, Task: "kubelet", Function: "cgroup_rstat_flush", Entry: "seq_read_iter",
	}
	timers := realTime
	timers.Task, timers.Priority = "ktimers/0", 1
	standing := late
	standing.user, standing.missing = 0.2, 0.4
	for _, tt := range []struct {
		name  string
		load  load
		each  func(s *detecttest.Stream)
		parts []string
	}{
		{"a real-time task", late, func(s *detecttest.Stream) { watched(s, 0, 75*time.Millisecond, realTime) }, []string{
			"audio[50] (SCHED_FIFO, priority 50) holds up the softirqs of CPU 0, longest delay 4 ms (NET_RX)"}},
		{"a real-time task on a CPU whose times do not add up", standing, func(s *detecttest.Stream) {
			watched(s, 0, 75*time.Millisecond, realTime)
		}, []string{"audio[50] (SCHED_FIFO, priority 50) holds up the softirqs of CPU 0"}},
		{"a real-time task on a virtual CPU that stood still", standing, func(s *detecttest.Stream) {
			s.Emulated()
			watched(s, 0, 75*time.Millisecond, realTime)
		}, nil},
		{"kernel code", late, func(s *detecttest.Stream) {
			watched(s, 0, time.Millisecond)
			sampled(s, 0, 199, memory)
		}, []string{"kubelet[60] in seq_read_iter (cgroup_rstat_flush) holds up the softirqs of CPU 0"}},
		{"a thread that runs softirqs", late, func(s *detecttest.Stream) {
			watched(s, 0, 75*time.Millisecond, timers)
		}, nil},
		{"an ordinary task", late, func(s *detecttest.Stream) { watched(s, 0, 75*time.Millisecond, normal) }, nil},
		{"kernel code beside ordinary tasks", late, func(s *detecttest.Stream) {
			watched(s, 0, 75*time.Millisecond, normal)
			sampled(s, 0, 199, memory)
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecttest.New()
			for range 10 {
				second(s, 0, tt.load)
				tt.each(s)
				s.Next()
			}
			list, asked := findings(t, s.Batch())
			if len(asked) < 2 {
				t.Errorf("requested %v", asked)
			}
			if len(tt.parts) == 0 {
				if len(list) > 0 {
					t.Errorf("found %s", text(&list[0]))
				}
				return
			}
			if len(list) != 1 {
				t.Fatalf("%d findings, want one", len(list))
			}
			has(t, &list[0], tt.parts...)
		})
	}
}

// TestInterruptStorm names the line; without a victim it is a note.
func TestInterruptStorm(t *testing.T) {
	for _, dropped := range []uint64{0, 5000} {
		s := detecttest.New()
		for range 10 {
			second(s, 0, load{rx: 0.1, irq: 0.6, packets: 20_000, dropped: dropped})
			s.Builder().AddInterruptHist(model.InterruptHist{Time: s.End(), Dur: time.Second, CPU: 0,
				Count: 300_000, Busy: 580 * time.Millisecond, MaxRun: 9 * time.Microsecond, Name: "eth0-rx-0"})
			s.Next()
		}
		list, _ := findings(t, s.Batch())
		if len(list) != 1 {
			t.Fatalf("%d findings, want one", len(list))
		}
		has(t, &list[0], "Hard interrupts take 60 % of CPU 0, mostly eth0-rx-0")
		if info := list[0].Severity == model.SeverityInfo; info != (dropped == 0) {
			t.Errorf("%d dropped: severity %s", dropped, list[0].Severity)
		}
	}
}
