package nic

import (
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/netns"
	"lostbeat/internal/platform"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
)

const (
	// Linux 3.10: no CPU numbers; CPU 1 is offline.
	softnet310 = `00016b54 00000000 00000003 00000000 00000000 00000000 00000000 00000000 00000000 0000002a 00000000
ffffffff 00000002 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000007
`
	// Linux 6.18: the backlog's length, the CPU, and the two parts of the length.
	softnet618 = `00036352 00000000 00000077 00000000 00000000 00000000 00000000 00000000 00000000 0000000f` +
		` 00000000 00000005 00000000 00000002 00000003
00005302 0000000a 00000000 00000000 00000000 00000000 00000000 00000000 00000000` +
		` 00000000 00000000 00000000 00000003 00000000 00000000
`
)

func TestParseSoftnet(t *testing.T) {
	tests := []struct {
		name, text string
		online     []int32
		want       []softnetCPU
	}{
		{"3.10 with CPU 1 offline", softnet310, []int32{0, 2}, []softnetCPU{
			{
				cpu:         0,
				processed:   0x16b54,
				timeSqueeze: 3,
				receivedRPS: 42,
			}, {cpu: 2, processed: math.MaxUint32, dropped: 2, timeSqueeze: 1, flowLimit: 7}}},
		{"6.18", softnet618, []int32{0, 1}, []softnetCPU{
			{
				cpu:            0,
				processed:      0x36352,
				timeSqueeze:    0x77,
				receivedRPS:    15,
				backlogPackets: 5,
			}, {cpu: 3, processed: 0x5302, dropped: 10}}},
		{"empty", "", nil, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseSoftnet(strings.NewReader(test.text), test.online)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
	for _, bad := range []string{"00 01\n", "xx 00 00 00 00 00 00 00 00\n", "100000000 0 0 0 0 0 0 0 0\n"} {
		if _, err := parseSoftnet(strings.NewReader(bad), nil); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

// TestSoftnetWrap counts across the wrap of a 32-bit counter.
func TestSoftnetWrap(t *testing.T) {
	before := softnetCPU{processed: math.MaxUint32 - 1}
	now := softnetCPU{processed: 3}
	if got := now.processed - before.processed; got != 5 {
		t.Errorf("counted %d, want 5", got)
	}
}

const snmpText = `Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: MaxConn ActiveOpens RetransSegs
Tcp: -1 60 7
Udp: InDatagrams NoPorts InErrors RcvbufErrors
Udp: 91 2 18446744073709551615 4
`

func TestParseSNMP(t *testing.T) {
	got, err := parseSNMP(strings.NewReader(snmpText))
	if err != nil {
		t.Fatal(err)
	}
	want := []counter{
		{"Tcp", "RetransSegs", 7},
		{"Udp", "InDatagrams", 91},
		{"Udp", "NoPorts", 2},
		{"Udp", "InErrors", math.MaxUint64},
		{"Udp", "RcvbufErrors", 4},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, bad := range []string{"Udp InErrors\n", "Udp: InErrors\nTcp: 1\n", "Udp: InErrors NoPorts\nUdp: " +
		"1\n", "Udp: InErrors\nUdp: x\n"} {
		if _, err := parseSNMP(strings.NewReader(bad)); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestParseSNMP6(t *testing.T) {
	got, err := parseSNMP6(
		strings.NewReader(
			"Ip6InReceives                   \t12\nUdp6RcvbufErrors                \t3\nUdpLite6InErrors                 \t9\n",
		),
	)
	if err != nil {
		t.Fatal(err)
	}
	if want := []counter{{"Udp6", "RcvbufErrors", 3}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, bad := range []string{"Udp6InErrors\n", "Udp6InErrors \t-1\n"} {
		if _, err := parseSNMP6(strings.NewReader(bad)); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestCPUMask(t *testing.T) {
	tests := []struct{ mask, want string }{
		{
			"0",
			"",
		}, {"1\n", "0"}, {"3", "0-1"}, {"00000000,00000000", ""}, {"00000001,00000000", "32"},
		{"f0000000,0000000d", "0,2-3,60-63"}, {"ff", "0-7"},
		{"00000001,80000000", "31-32"},
	}
	for _, test := range tests {
		got, err := parseCPUMask(test.mask)
		if err != nil || got != test.want {
			t.Errorf("parseCPUMask(%q) = %q, %v, want %q", test.mask, got, err, test.want)
		}
	}
	for _, bad := range []string{"", "x", "1,,1", "100000000"} {
		if _, err := parseCPUMask(bad); err == nil {
			t.Errorf("no error for mask %q", bad)
		}
	}
}

func TestCPUList(t *testing.T) {
	for _, list := range []string{"", "0", "0-3", "0,2-3,60-63", "5,7"} {
		cpus, err := platform.ParseCPUList[int32](list + "\n")
		if err != nil {
			t.Errorf("%q: %v", list, err)
		}
		if got := formatCPUs(cpus); got != list {
			t.Errorf("%q became %q", list, got)
		}
	}
	for _, bad := range []string{"x", "3-1", "0-70000", "1-", "0-65535,0-65535"} {
		if _, err := platform.ParseCPUList[int32](bad); err == nil {
			t.Errorf("no error for list %q", bad)
		}
	}
}

func TestIRQQueue(t *testing.T) {
	tests := []struct {
		action, device string
		queue          int64
		rx, tx, ok     bool
	}{
		{"virtio2-input.0", "eth0", 0, true, false, true},
		{"virtio2-output.3", "eth0", 3, false, true, true},
		{"virtio2-config", "eth0", 0, false, false, false},
		{"eth0-TxRx-7", "eth0", 7, true, true, true},
		{"ice-ens1f0-TxRx-12", "ens1f0", 12, true, true, true},
		{"i40e-eth2-TxRx-1", "eth2", 1, true, true, true},
		{"eth0-rx-1", "eth0", 1, true, false, true},
		{"eth0-tx-2", "eth0", 2, false, true, true},
		{"eth0-rxtx-5", "eth0", 5, true, true, true},
		{"eth0-Tx-Rx-2", "eth0", 2, true, true, true},
		{"mlx5_comp3@pci:0000:00:05.0", "eth0", 3, true, true, true},
		{"mlx5_async0@pci:0000:00:05.0", "eth0", 0, false, false, false},
		{"eth0-fp-2", "eth0", 2, true, true, true},
		{"eth0-4", "eth0", 4, true, true, true},
		{"eth0", "eth0", 0, true, true, true},
		{"eth0-event-8", "eth0", 0, false, false, false},
		{"ena-mgmnt@pci:0000:00:05.0", "eth0", 0, false, false, false},
		{"99999999999999999999", "eth0", 0, false, false, false},
		{"", "eth0", 0, false, false, false},
	}
	for _, test := range tests {
		queue, rx, tx, ok := irqQueue(test.action, test.device)
		if ok != test.ok || ok && (queue != test.queue || rx != test.rx || tx != test.tx) {
			t.Errorf("irqQueue(%q, %q) = %d, %v, %v, %v", test.action, test.device, queue, rx, tx, ok)
		}
	}
}

// TestRingSource says what is known of the ring of each kind of device, and whether the link stands in.
func TestRingSource(t *testing.T) {
	tests := []struct {
		name, driver string
		virtual      bool
		names        []string
		source       string
		state        driverState
		link         bool
	}{
		{name: "queues", driver: "igb", names: []string{"rx_missed_errors", "rx_queue_0_drops", "rx_queue_1_drops",
			"rx_queue_2_drops"}, source: "rx_queue_0_drops, rx_queue_1_drops, rx_queue_2_drops, ..., rx_missed_errors"},
		{name: "with a note", driver: "gve", names: []string{"rx_no_buffers_posted[0]"},
			source: "rx_no_buffers_posted[0]; the device's own"},
		{name: "the hypervisor alone knows", driver: "virtio_net", names: []string{"rx0_drops", "rx0_xdp_drops"},
			source: "none: only the hypervisor"},
		{name: "nothing listed", driver: "hv_netvsc", source: "none: the driver does not count"},
		{name: "in the link alone", driver: "ena", names: []string{"queue_0_rx_skb_alloc_fail"},
			source: "the link's rx_dropped: ", link: true},
		{name: "veth", driver: "veth", virtual: true, source: "none: a full ring is counted as the peer's tx_dropped"},
		{name: "bridge", driver: "bridge", virtual: true, source: "none: a virtual device"},
		{name: "unknown", driver: "frobnicate", names: []string{"rx_missed_errors"},
			source: "unknown driver; instead the link's", state: driverUnknown, link: true},
		{name: "no name", source: "unknown driver; ", state: driverUnknown, link: true},
		{name: "another list than expected", driver: "ixgbe", names: []string{"rx_packets"},
			source: "driver without the expected statistics; ", state: driverUnlisted, link: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			found := useful(test.driver, test.names)
			if source := ringSource(test.driver, !test.virtual, found); !strings.HasPrefix(source, test.source) {
				t.Errorf("the source is %q, want %q", source, test.source)
			}
			if state := stateOf(test.driver, !test.virtual, found); state != test.state {
				t.Errorf("the state is %d, want %d", state, test.state)
			}
			if link := usesLink(test.driver, !test.virtual, found); link != test.link {
				t.Errorf("the link stands in: %v", link)
			}
		})
	}
}

// TestUnknownDriverIsSaid: doctor and screen name the devices whose drivers are not known.
func TestUnknownDriverIsSaid(t *testing.T) {
	a := &attached{host: newNamespace(netns.Namespace{}, true)}
	add := func(index int, driver string, state driverState) {
		d := &device{name: fmt.Sprintf("eth%d", index), state: state}
		d.config.Driver = driver
		a.host.devices[index] = d
	}
	add(0, "ixgbe", driverKnown)
	if p := a.devicesStatus(nil); p.State != model.ProbeOn || p.Reason != "" {
		t.Errorf("with a known driver %+v", p)
	}
	for i := range 4 {
		add(i+1, "frobnicate", driverUnknown)
	}
	p := a.devicesStatus(nil)
	want := "eth1 (driver frobnicate), eth2 (driver frobnicate), eth3 (driver frobnicate) and 1 more"
	if p.State != model.ProbeDegraded || !strings.HasSuffix(p.Reason, want) || p.Hint == "" {
		t.Errorf("with unknown drivers %+v", p)
	}
}

// TestStatistics makes events of two readings of each driver: each loss is in one event, no other statistic in any.
func TestStatistics(t *testing.T) {
	names := []string{"rx_packets", "rx_missed_errors", "rx_no_dma_resources", "rx_crc_errors", "rx_errors",
		"rx_no_buffer_count", "fdir_miss", "tx_flow_control_xoff"}
	d := &device{name: "eth0", ifindex: 2, found: useful("ixgbe", names), statistics: len(names)}
	var b model.Builder
	d.addStatistics([]uint64{9, 8, 7, 6, 5, 4, 3, 2}, 1e9, time.Second, &b)
	if batch := b.Take(); batch != nil && len(batch.Events) > 0 {
		t.Fatalf("the first reading gives %d events", len(batch.Events))
	}
	d.addStatistics([]uint64{1009, 18, 107, 1006, 1005, 10004, 100003, 3}, 2e9, time.Second, &b)
	batch := b.Take()
	if err := model.Validate(batch); err != nil {
		t.Error(err)
	}
	got := make(map[string]uint64)
	for i := range batch.Events {
		if v, ok := batch.Drop(&batch.Events[i]); ok {
			got[v.Place.String()+" "+v.Reason] += v.Count
		}
		if v, ok := batch.Counter(&batch.Events[i]); ok {
			got[v.Instance+" "+v.Name] += uint64(v.Value)
		}
	}
	want := map[string]uint64{"ring rx_missed_errors": 10, "ring rx_no_dma_resources": 100, "device rx_crc_errors": 1000,
		"eth0 driver/rx_no_buffer_count": 10000, "eth0 driver/tx_flow_control_xoff": 1}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRise(t *testing.T) {
	for _, test := range []struct{ before, now, want uint64 }{{0, 0, 0}, {3, 10, 7}, {10, 3, 0}} {
		if got := rise(test.before, test.now); got != test.want {
			t.Errorf("rise(%d, %d) = %d, want %d", test.before, test.now, got, test.want)
		}
	}
}

func FuzzParseSoftnet(f *testing.F) {
	fuzztest.Quick(f)
	f.Add(softnet310)
	f.Add(softnet618)
	f.Fuzz(func(t *testing.T, text string) {
		cpus, err := parseSoftnet(strings.NewReader(text), []int32{0, 2})
		if err == nil && len(cpus) != len(strings.Split(strings.TrimSuffix(text, "\n"), "\n")) && text != "" {
			t.Errorf("%d CPUs from %q", len(cpus), text)
		}
	})
}

func FuzzParseSNMP(f *testing.F) {
	fuzztest.Quick(f)
	f.Add(snmpText)
	f.Add("Udp6InErrors 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func(io.Reader) ([]counter, error){parseSNMP, parseSNMP6} {
			counters, _ := parse(strings.NewReader(text))
			for _, c := range counters {
				if !slices.Contains(snmpNames(c.protocol), c.name) {
					t.Errorf("%s.%s from %q", c.protocol, c.name, text)
				}
			}
		}
	})
}

func FuzzCPUs(f *testing.F) {
	fuzztest.Quick(f)
	f.Add("00000001,80000000")
	f.Add("0-3,8")
	f.Fuzz(func(t *testing.T, text string) {
		if list, err := parseCPUMask(text); err == nil {
			if _, err := platform.ParseCPUList[int32](list); err != nil {
				t.Errorf("mask %q became the list %q: %v", text, list, err)
			}
		}
		_, _ = platform.ParseCPUList[int32](text)
	})
}

func FuzzIRQQueue(f *testing.F) {
	fuzztest.Quick(f)
	f.Add("virtio2-input.0", "eth0")
	f.Add("mlx5_comp3@pci:0000:00:05.0", "eth0")
	f.Fuzz(func(t *testing.T, action, device string) {
		if queue, rx, tx, ok := irqQueue(action, device); ok && (queue < 0 || !rx && !tx) {
			t.Errorf("irqQueue(%q, %q) = %d, %v, %v", action, device, queue, rx, tx)
		}
	})
}
