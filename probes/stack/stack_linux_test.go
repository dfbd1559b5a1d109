package stack

import (
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// sampled runs load while the stacks of a CPU (-1 all) are sampled for two
// seconds, and returns the samples.
func sampled(t *testing.T, cpu int32, load func(stop <-chan struct{})) []model.StackSample {
	t.Helper()
	s := ebpftest.Start(t, ebpf.Options{}, New())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { load(stop) })
	s.Request(model.Request{Kind: model.RequestStacks, CPU: cpu, PID: -1, TID: -1})
	s.WaitFor(10*time.Second, "end of the request", func(b *model.Batch, e *model.Event) bool {
		r, ok := b.RequestEvent(e)
		if ok && r.State == model.RequestRefused {
			t.Errorf("refused: %s", r.Reason)
		}
		return ok && (r.State == model.RequestOff || r.State == model.RequestRefused)
	})
	close(stop)
	wg.Wait()
	batches := s.Stop()
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	return samplesOf(batches)
}

func samplesOf(batches []*model.Batch) (list []model.StackSample) {
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if v, ok := b.StackSample(e); ok {
			list = append(list, v)
		}
	})
	return list
}

// total is how many samples satisfy match, and how many there are on the CPU in all.
func total(list []model.StackSample, cpu int32, match func(v *model.StackSample) bool) (n, all uint64) {
	intervals := make(map[model.Time]uint64)
	for i := range list {
		if v := &list[i]; v.CPU == cpu {
			intervals[v.Time] = v.Of
			if match(v) {
				n += v.Samples
			}
		}
	}
	for _, of := range intervals {
		all += of
	}
	return n, all
}

func dump(t *testing.T, list []model.StackSample) {
	for _, v := range list {
		var stack []string
		for _, f := range v.Stack {
			stack = append(stack, f.Name)
		}
		t.Logf("CPU %d %d/%d %s < %s, %s %d, softirq %v: %s",
			v.CPU, v.Samples, v.Of, v.Function, v.Entry, v.Task, v.TID, v.Softirq, strings.Join(stack, " < "))
	}
}

// pin keeps the calling goroutine on a CPU for as long as it lives.
func pin(t *testing.T, cpu int) {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		t.Errorf("run on CPU %d: %v", cpu, err)
	}
}

func run(t *testing.T, stdin string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Packets that pass 300 rules in a pinned queue: the function that makes them
// expensive is found, and that NET_RX runs it.
func TestExpensivePackets(t *testing.T) {
	if runtime.NumCPU() < 2 {
		testutil.Unavailable(t, "one CPU cannot both send and receive")
	}
	tx, rx := testutil.VethPair(t)
	inside := []string{"ip", "netns", "exec", rx.Name}
	run(t, "", append(inside, "sh", "-c", "echo 1 > /sys/class/net/lb0/queues/rx-0/rps_cpus")...)
	var rules strings.Builder
	rules.WriteString("*raw\n")
	for port := range 300 {
		fmt.Fprintf(&rules, "-A PREROUTING -p udp --dport %d -j ACCEPT\n", 20000+port)
	}
	rules.WriteString("COMMIT\n")
	run(t, rules.String(), append(inside, "iptables-restore")...)
	var c net.Conn
	tx.Do(t, func() (err error) {
		c, err = net.Dial("udp4", testutil.VethAddr2+":9")
		return err
	})
	defer c.Close()
	costs := ebpftest.Costs(t, "stack_")
	var cost ebpftest.Cost
	list := sampled(t, 0, func(stop <-chan struct{}) {
		pin(t, 1)
		payload := make([]byte, 16)
		for {
			select {
			case <-stop:
				cost = costs()["stack_sample"]
				return
			default:
				_, _ = c.Write(payload) // the port is closed: refusals come back
			}
		}
	})
	inRules, all := total(list, 0, func(v *model.StackSample) bool {
		return v.Softirq && v.Entry == "net_rx_action" && (v.Function == "nft_do_chain" || v.Function == "ipt_do_table" ||
			strings.HasPrefix(v.Function, "nft_"))
	})
	each := cost.Time / time.Duration(max(cost.Runs, 1))
	t.Logf("%d of %d samples of CPU 0 are in the rules; %v for each", inRules, all, each)
	if all < 100 || inRules < all/4 {
		dump(t, list)
		t.Errorf("%d of %d samples are in the rules under net_rx_action", inRules, all)
	}
	for _, v := range list {
		if v.CPU != 0 {
			t.Errorf("CPU %d was sampled, too", v.CPU)
		}
	}
}

// A task that holds its CPU in the kernel is found with the function and what
// it was called for.
func TestBusyTask(t *testing.T) {
	list := sampled(t, -1, func(stop <-chan struct{}) {
		cmd := exec.Command("dd", "if=/dev/zero", "of=/dev/null", "bs=512M")
		if err := cmd.Start(); err != nil {
			t.Error(err)
			return
		}
		<-stop
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
	})
	var found, all uint64
	for cpu := range int32(runtime.NumCPU()) {
		n, of := total(list, cpu, func(v *model.StackSample) bool {
			return v.Task == "dd" && v.Entry == "vfs_read" && !v.Softirq &&
				(v.Function == "read_zero" || strings.Contains(v.Function, "clear_user"))
		})
		found, all = found+n, all+of
	}
	t.Logf("%d of %d samples", found, all)
	if found < 100 {
		dump(t, list)
		t.Errorf("%d of %d samples are dd in read_zero < vfs_read", found, all)
	}
}

// Without a request the program does not run, and a request that ends leaves
// nothing on.
func TestNothingRunsUnasked(t *testing.T) {
	costs := ebpftest.Costs(t, "stack_")
	s := ebpftest.Start(t, ebpf.Options{}, New())
	s.Intervals(1)
	if n := costs()["stack_sample"].Runs; n != 0 {
		t.Errorf("ran %d times before anybody asked", n)
	}
	all := model.Request{Kind: model.RequestStacks, CPU: -1, PID: -1, TID: -1, For: 300 * time.Millisecond}
	one := all
	one.CPU = 0
	s.Request(all)
	s.Request(one)
	spin := time.Now().Add(600 * time.Millisecond)
	for time.Now().Before(spin) {
		continue // a CPU that is busy is sampled
	}
	off := 0
	s.WaitFor(10*time.Second, "end of both requests", func(b *model.Batch, e *model.Event) bool {
		if r, ok := b.RequestEvent(e); ok && r.State == model.RequestOff {
			off++
		}
		return off == 2
	})
	ran := costs()["stack_sample"]
	if ran.Runs == 0 {
		t.Error("did not run at all")
	}
	s.Intervals(1)
	if n := costs()["stack_sample"].Runs; n != ran.Runs {
		t.Errorf("ran %d times after the requests had ended", n-ran.Runs)
	}
	t.Logf("%d runs, %v each", ran.Runs, ran.Time/time.Duration(max(ran.Runs, 1)))
	nowhere := one
	nowhere.CPU = 4000
	s.Request(nowhere)
	s.WaitFor(10*time.Second, "refusal", func(b *model.Batch, e *model.Event) bool {
		r, ok := b.RequestEvent(e)
		return ok && r.State == model.RequestRefused && r.CPU == 4000 && strings.Contains(r.Reason, "CPU 4000")
	})
}
