package nic

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/driverstat"
	"lostbeat/internal/netns"
	"lostbeat/internal/testutil"
	"lostbeat/model"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// run runs a command, which must succeed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func views[V any](batches []*model.Batch, view func(*model.Batch, *model.Event) (V, bool)) (found []V) {
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if v, ok := view(b, e); ok {
			found = append(found, v)
		}
	})
	return found
}

// send sends datagrams from a namespace to an address of the other.
func send(t *testing.T, n *testutil.Netns, count int) {
	t.Helper()
	n.Do(t, func() error {
		c, err := net.Dial("udp4", testutil.VethAddr2+":9")
		if err != nil {
			return err
		}
		defer c.Close()
		for sent := 0; sent < count; {
			_, err := c.Write(make([]byte, 64))
			switch {
			case err == nil:
				sent++
			case !errors.Is(err, unix.ECONNREFUSED): // the receiver has refused an earlier one, and this one is not sent
				return err
			}
		}
		return nil
	})
}

func TestHost(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{}, New())
	s.Intervals(1)
	batches := s.Stop()
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	for _, p := range views(batches, (*model.Batch).Probe) {
		t.Logf("%-12s %v %s", p.Part, p.State, p.Reason)
		if p.Name == Name && p.State != model.ProbeOn {
			t.Errorf("%s is %v: %s", p.Part, p.State, p.Reason)
		}
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	configs := views(batches, (*model.Batch).DeviceConfig)
	queues := views(batches, (*model.Batch).DeviceQueue)
	for _, i := range interfaces {
		n := slices.IndexFunc(configs, func(c model.DeviceConfig) bool {
			return c.Netns == "" && c.Device == i.Name && c.Ifindex == int64(i.Index)
		})
		if n < 0 {
			t.Errorf("no device.config for %s", i.Name)
			continue
		}
		t.Logf("%+v", configs[n])
		if configs[n].RXQueues == 0 || configs[n].RingSource == "" {
			t.Errorf("unexpected %+v", configs[n])
		}
		if !slices.ContainsFunc(
			queues,
			func(q model.DeviceQueue) bool { return q.Device == i.Name && q.Direction == model.DirectionRX },
		) {
			t.Errorf("no device.queue for %s", i.Name)
		}
	}
	for _, q := range queues {
		if q.IRQ != 0 {
			t.Logf("%+v", q)
			if _, err := os.Stat(fmt.Sprintf("/proc/irq/%d", q.IRQ)); err != nil || q.IRQCPUs == "" {
				t.Errorf("unexpected %+v: %v", q, err)
			}
		}
	}
	if n := len(views(batches, (*model.Batch).Softnet)); n == 0 {
		t.Error("no softnet events")
	}
	counters := views(batches, (*model.Batch).Counter)
	for _, name := range []string{"Udp.RcvbufErrors", "Udp6.RcvbufErrors", "Tcp.RetransSegs", "TcpExt.ListenOverflows"} {
		if !slices.ContainsFunc(counters, func(c model.Counter) bool {
			return c.Name == name && c.Instance == "" && c.Mode == model.CounterTotal
		}) {
			t.Errorf("no counter %s", name)
		}
	}
}

// TestPolls compares the counted work with softnet_stat: all packets of a veth
// pair without GRO go through the backlog's polls.
func TestPolls(t *testing.T) {
	tx, rx := testutil.VethPair(t)
	s := ebpftest.Start(t, ebpf.Options{}, New())
	// What is counted begins with the first reading of the device, which is made when its namespace is found.
	s.WaitFor(40*time.Second, "device.config of the namespace", func(b *model.Batch, e *model.Event) bool {
		c, ok := b.DeviceConfig(e)
		return ok && c.Netns == rx.Name && c.Device == testutil.VethDevice
	})
	// A few packets are lost while the address of the other end is looked up.
	for range 100 {
		if send(t, tx, 1); received(t, rx) > 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	const count = 20000
	send(t, tx, count)
	var read uint64
	s.WaitFor(40*time.Second, "device.stats with all packets", func(b *model.Batch, e *model.Event) bool {
		if v, ok := b.DeviceStats(e); ok && v.Device == testutil.VethDevice {
			read += v.RXPackets
		}
		return read >= count
	})
	s.Intervals(2)
	batches := s.Stop()

	var processed, polled uint64
	for _, v := range views(batches, (*model.Batch).Softnet) {
		processed += v.Processed
	}
	for _, v := range views(batches, (*model.Batch).NAPI) {
		polled += v.Packets
		if v.MaxPackets > v.Packets || v.FullPolls > v.Polls || v.MaxPackets == 0 && v.Packets > 0 {
			t.Errorf("unexpected %+v", v)
		}
	}
	if want := received(t, rx); want < count || deviceReceived(batches) < want {
		t.Errorf("device.stats counted %d packets, the device %d, sent %d", deviceReceived(batches), want, count)
	}
	// The host's own traffic goes on meanwhile, and the two are not read at the
	// same moment.
	if polled < count || processed < count || polled > processed*11/10 || processed > polled*11/10 {
		t.Errorf("polls did the work of %d packets, softnet_stat counted %d, sent %d", polled, processed, count)
	}
	t.Logf("polled %d, processed %d, sent %d", polled, processed, count)
}

// received returns what the device of a namespace has received so far.
func received(t *testing.T, n *testutil.Netns) (packets uint64) {
	t.Helper()
	n.Do(t, func() error {
		link, err := netlink.LinkByName(testutil.VethDevice)
		if err == nil {
			packets = link.Attrs().Statistics.RxPackets
		}
		return err
	})
	return packets
}

// deviceReceived adds up what device.stats say that the devices of a pair have
// received.
func deviceReceived(batches []*model.Batch) (packets uint64) {
	for _, v := range views(batches, (*model.Batch).DeviceStats) {
		if v.Device == testutil.VethDevice {
			packets += v.RXPackets
		}
	}
	return packets
}

// TestThreaded sees that the polls are made by a NAPI thread.
func TestThreaded(t *testing.T) {
	tx, rx := testutil.VethPair(t)
	run(t, "ip", "netns", "exec", tx.Name, "ethtool", "-K", testutil.VethDevice, "tso", "off", "gso", "off")
	run(t, "ip", "netns", "exec", rx.Name, "ethtool", "-K", testutil.VethDevice, "gro", "on")
	run(t, "ip", "netns", "exec", rx.Name, "sh", "-c", "echo 1 > /sys/class/net/"+testutil.VethDevice+"/threaded")
	s := ebpftest.Start(t, ebpf.Options{}, New())
	// The namespaces are found within the first interval.
	s.WaitFor(40*time.Second, "device.config of the namespace", func(b *model.Batch, e *model.Event) bool {
		c, ok := b.DeviceConfig(e)
		return ok && c.Netns == rx.Name && c.NetnsInode == uint32(rx.Inode) && c.Device == testutil.VethDevice &&
			c.Threaded && c.Driver == "veth"
	})
	before := received(t, rx)
	send(t, tx, 5000)
	s.Intervals(2)
	batches := s.Stop()
	want := received(t, rx) - before // the thread need not keep up with the sender
	var polls, threaded, packets uint64
	for _, v := range views(batches, (*model.Batch).NAPI) {
		if v.Device == testutil.VethDevice {
			if v.NetnsInode != uint32(tx.Inode) && v.NetnsInode != uint32(rx.Inode) {
				t.Errorf("polls of namespace %d, want %d or %d", v.NetnsInode, tx.Inode, rx.Inode)
			}
			polls, threaded, packets = polls+v.Polls, threaded+v.ThreadedPolls, packets+v.Packets
		}
	}
	if threaded == 0 || packets < want || want == 0 {
		t.Errorf("%d polls, %d of them by the thread, %d packets; the device received %d", polls, threaded, packets, want)
	}
	t.Logf("%d polls, %d of them by the thread, %d packets; the device received %d", polls, threaded, packets, want)
}

// TestLongChanges sees a link go down and come up, RPS set up, and a namespace go.
func TestLongChanges(t *testing.T) {
	testutil.Privileged(t)
	name := fmt.Sprintf("lbnic%d", os.Getpid())
	run(t, "ip", "netns", "add", name)
	deleted := false
	t.Cleanup(func() {
		if !deleted {
			run(t, "ip", "netns", "del", name)
		}
	})
	run(t, "ip", "-n", name, "link", "add", "lbnica", "type", "veth", "peer", "name", "lbnicb")
	run(t, "ip", "-n", name, "link", "set", "lbnica", "up")
	run(t, "ip", "-n", name, "link", "set", "lbnicb", "up")
	s := ebpftest.Start(t, ebpf.Options{}, New())
	event := func(what string) func(*model.Batch, *model.Event) bool {
		return func(b *model.Batch, e *model.Event) bool {
			v, ok := b.DeviceEvent(e)
			return ok && v.Device == "lbnica" && v.What == what
		}
	}
	s.WaitFor(40*time.Second, "device.config", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.DeviceConfig(e)
		return ok && v.Device == "lbnica" && v.Netns == name
	})
	run(t, "ip", "netns", "exec", name, "sh", "-c", "echo 2 > /sys/class/net/lbnica/queues/rx-0/rps_cpus")
	run(t, "ip", "-n", name, "link", "set", "lbnicb", "down")
	s.WaitFor(40*time.Second, "link_down", event("link_down"))
	s.WaitFor(40*time.Second, "device.queue with RPS on CPU 1", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.DeviceQueue(e)
		return ok && v.Device == "lbnica" && v.RPSCPUs == "1" && v.Direction == model.DirectionRX
	})
	run(t, "ip", "-n", name, "link", "set", "lbnicb", "up")
	s.WaitFor(40*time.Second, "link_up", event("link_up"))
	run(t, "ip", "netns", "del", name)
	deleted = true
	s.WaitFor(40*time.Second, "removed", event("removed"))
	batches := s.Stop()
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	for _, p := range views(batches, (*model.Batch).Probe) {
		if p.State != model.ProbeOn {
			t.Errorf("%s is %v: %s", p.Part, p.State, p.Reason)
		}
	}
}

// TestChangesWithinInterval sees what happens to devices between two readings,
// though the second reading finds none of it.
func TestChangesWithinInterval(t *testing.T) {
	ns := testutil.NewNetns(t)
	ip := func(args ...string) { run(t, "ip", append([]string{"-n", ns.Name, "link"}, args...)...) }
	ip("add", "lbnica", "type", "veth", "peer", "name", "lbnicb")
	ip("set", "lbnica", "up")
	ip("set", "lbnicb", "up")
	var watched *namespace
	list, err := netns.List(10000)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range list {
		if n.Name == ns.Name {
			watched = newNamespace(n, true)
		}
	}
	var b model.Builder
	now := model.Time(time.Second)
	collect := func() (events []model.DeviceEvent) {
		now += model.Time(time.Second)
		if err := watched.collect(now, time.Second, &b); err != nil {
			t.Fatal(err)
		}
		batch := b.Take()
		if err := model.Validate(batch); err != nil {
			t.Error(err)
		}
		return views([]*model.Batch{batch}, (*model.Batch).DeviceEvent)
	}
	ns.Do(t, func() (err error) {
		watched.changes, err = subscribeLinks()
		return err
	})
	defer watched.changes.close()
	collect()
	ip("set", "lbnica", "down")
	ip("set", "lbnica", "name", "lbnicz")
	ip("set", "lbnicz", "name", "lbnica")
	ip("set", "lbnica", "up")
	var got []string
	for _, e := range collect() {
		if e.NetnsInode != uint32(ns.Inode) {
			t.Errorf("event of namespace %d, want %d", e.NetnsInode, ns.Inode)
		}
		if e.Device != "lbnicb" && e.What != model.DeviceLinkUp { // carriers follow when the kernel finds the time
			got = append(got, e.Device+" "+e.What+" "+e.Detail)
		}
	}
	want := []string{"lbnica link_down taken down", "lbnicz renamed lbnica", "lbnica renamed lbnicz"}
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
	other := testutil.NewNetns(t)
	ip("set", "lbnicb", "netns", other.Name)
	ip("del", "lbnica")
	got = nil
	for _, e := range collect() {
		if e.What == model.DeviceRemoved {
			got = append(got, e.Device+" "+e.What+" "+e.Detail)
		}
	}
	want = []string{"lbnicb removed moved to another network namespace", "lbnica removed "}
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

// TestDriverStatistics compares the statistics of the host's devices with what
// the ethtool command reads.
func TestDriverStatistics(t *testing.T) {
	testutil.Privileged(t)
	tool, err := openEthtool()
	if err != nil {
		t.Fatal(err)
	}
	defer tool.close()
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, i := range interfaces {
		found, names := statisticsOf(t, tool, i.Name)
		if len(found) == 0 {
			continue
		}
		values, err := tool.statistics(i.Name, len(names))
		if err != nil || len(values) != len(names) {
			t.Fatalf("%s: %d values, %d names: %v", i.Name, len(values), len(names), err)
		}
		text := run(t, "ethtool", "-S", i.Name)
		for _, s := range found {
			compared++
			// Losses of the ring stand still on a host that is not overrun.
			if want := fmt.Sprintf("%s: %d\n", s.Name, values[s.Index]); !strings.Contains(text, want) {
				t.Errorf("%s: ethtool does not say %q", i.Name, want)
			}
		}
	}
	if compared == 0 {
		t.Log("no device of this host has statistics of losses")
	}
}

func statisticsOf(t *testing.T, tool *ethtool, device string) ([]driverstat.Found, []string) {
	t.Helper()
	names, err := tool.statisticNames(device)
	if err != nil {
		t.Fatal(err)
	}
	return useful(tool.driver(device), names), names
}
