package driverstat

import (
	"bufio"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lostbeat/internal/testutil/fuzztest"
)

// list reads a list of statistics as `ethtool -S` prints it: names as the driver gives them, and their values.
// The files have been made from the names in the drivers' sources; a statistic's value is 1000 and its place.
func list(t *testing.T, file string) (names []string, values []uint64) {
	t.Helper()
	f, err := os.Open("testdata/" + file + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Scan()
	for lines.Scan() {
		name, value, ok := cutLast(strings.TrimPrefix(lines.Text(), "     "), ": ")
		n, err := strconv.ParseUint(value, 10, 64)
		if !ok || err != nil {
			t.Fatalf("%s: %q", file, lines.Text())
		}
		names, values = append(names, name), append(values, n)
	}
	return names, values
}

func cutLast(text, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(text, sep)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(sep):], true
}

// TestDrivers finds in a whole list of each driver what counts as lost, and nothing else.
func TestDrivers(t *testing.T) {
	intel := []string{"rx_missed_errors", "rx_crc_errors", "rx_long_length_errors", "rx_short_length_errors"}
	tests := []struct {
		file string
		ring []string // by queue, as NAME or QUEUE/NAME
		lost []string // at the device
	}{
		{"ixgbe", []string{"rx_no_dma_resources", intel[0]}, intel[1:]},
		{"i40e", []string{"rx_missed_errors", "port.rx_discards"}, []string{"port.rx_crc_errors",
			"port.rx_length_errors", "port.rx_undersize", "port.rx_fragments", "port.rx_oversize", "port.rx_jabber"}},
		{"ice", []string{"rx_dropped", "rx_dropped.nic"}, []string{"rx_crc_errors.nic", "rx_undersize.nic",
			"rx_fragments.nic", "rx_oversize.nic", "rx_jabber.nic"}},
		{"mlx5_core", []string{"rx_out_of_buffer", "rx_discards_phy"}, []string{"rx_crc_errors_phy",
			"rx_symbol_err_phy", "rx_in_range_len_errors_phy", "rx_oversize_pkts_phy", "rx_undersize_pkts_phy",
			"rx_fragments_phy", "rx_jabbers_phy", "rx_oversize_pkts_buffer", "0/rx0_oversize_pkts_sw_drop",
			"1/rx1_oversize_pkts_sw_drop"}},
		{"bnxt_en", []string{"0/[0]: rx_discards", "1/[1]: rx_discards", "0/rx_discard_packets_cos0",
			"1/rx_discard_packets_cos1"}, []string{"rx_total_oom_discards", "rx_fcs_err_frames", "rx_align_err_frames",
			"rx_ovrsz_frames", "rx_jbr_frames", "rx_undrsz_frames", "rx_runt_frames"}},
		{"ena", nil, []string{"conntrack_allowance_exceeded", "linklocal_allowance_exceeded",
			"0/queue_0_rx_skb_alloc_fail", "1/queue_1_rx_skb_alloc_fail"}},
		{"gve", []string{"0/rx_no_buffers_posted[0]", "1/rx_no_buffers_posted[1]"}, []string{
			"0/rx_drops_packet_over_mru[0]", "1/rx_drops_packet_over_mru[1]", "rx_skb_alloc_fail",
			"rx_desc_err_dropped_pkt"}},
		{"virtio_net", nil, []string{"0/rx0_drops", "1/rx1_drops"}},
		{"virtio_net-6.1", nil, []string{"0/rx_queue_0_drops", "1/rx_queue_1_drops"}},
		{"vmxnet3", []string{"0/pkts rx OOB", "1/pkts rx OOB"}, []string{"0/pkts rx err", "1/pkts rx err"}},
		{"hv_netvsc", nil, []string{"rx_no_memory"}},
		{"e1000e", intel[:1], slices.Concat([]string{"rx_align_errors"}, intel[1:])},
		{"igb", []string{"0/rx_queue_0_drops", "1/rx_queue_1_drops", intel[0]},
			slices.Concat([]string{"rx_align_errors"}, intel[1:])},
		{"igc", []string{"0/rx_queue_0_drops", "1/rx_queue_1_drops", intel[0]}, intel[1:]},
		{"e1000", intel[:1], intel[1:]},
		{"r8169", []string{"rx_missed"}, []string{"rx_errors"}},
		{"tg3", []string{"rx_discards"}, []string{"rx_fcs_errors", "rx_align_errors", "rx_frame_too_long_errors",
			"rx_undersize_packets", "rx_fragments", "rx_jabbers"}},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			driver, _, _ := strings.Cut(test.file, "-")
			names, values := list(t, test.file)
			var ring, lost []string
			used := make(map[int]string)
			for _, f := range Lookup(driver).Find(names) {
				if before, twice := used[f.Index]; twice {
					t.Errorf("place %d is both %s and %s", f.Index, before, f.Name)
				}
				used[f.Index] = f.Name
				if names[f.Index] != f.Name && strings.TrimSpace(names[f.Index]) != f.Name {
					t.Errorf("place %d is %q, want %q", f.Index, names[f.Index], f.Name)
				}
				if n := f.Value(values); f.LessIndex < 0 && n != uint64(1000+f.Index) {
					t.Errorf("%s is %d, want %d", f.Name, n, 1000+f.Index)
				}
				name := f.Name
				if f.Queue >= 0 {
					name = strconv.FormatInt(f.Queue, 10) + "/" + name
				}
				switch {
				case f.Class.InRing():
					ring = append(ring, name)
				case f.Class.Lost():
					lost = append(lost, name)
				}
			}
			if !slices.Equal(ring, test.ring) {
				t.Errorf("lost in the ring:\n%q, want\n%q", ring, test.ring)
			}
			if !slices.Equal(lost, test.lost) {
				t.Errorf("lost at the device:\n%q, want\n%q", lost, test.lost)
			}
		})
	}
}

// TestTable checks the form of the table, and that each name is one that the driver has.
func TestTable(t *testing.T) {
	listed := make(map[string][]string) // by driver, of all versions
	files, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		file, ok := strings.CutSuffix(f.Name(), ".txt")
		if !ok {
			continue // seeds of fuzz tests
		}
		driver, _, _ := strings.Cut(file, "-")
		names, _ := list(t, file)
		listed[driver] = append(listed[driver], names...)
	}
	// Names of versions that no list is of.
	old := []string{"port.rx_dropped", "[%]: rx_discard_pkts", "[%]: rx_error_pkts"}
	for i := range Drivers {
		d := &Drivers[i]
		if d.Source == "" || !strings.Contains(d.Source, "Linux 6.") {
			t.Errorf("%s: source %q", d.Name, d.Source)
		}
		if Lookup(d.Name) != d {
			t.Errorf("%s is in the table twice", d.Name)
		}
		found := d.Find(listed[d.Name])
		for j := range d.Statistics {
			s := &d.Statistics[j]
			if !strings.HasSuffix(s.Meaning, ".") || s.Class.Lost() != (s.Advice != "") {
				t.Errorf("%s %s: meaning %q, advice %q", d.Name, s.Names[0], s.Meaning, s.Advice)
			}
			if s.Class.Lost() && s.Class.Sign() {
				t.Errorf("%s %s is lost and a sign", d.Name, s.Names[0])
			}
			if listed[d.Name] != nil && !slices.Contains(old, s.Names[0]) &&
				!slices.ContainsFunc(found, func(f Found) bool { return f.Statistic == s }) {
				t.Errorf("%s lists no %q", d.Name, s.Names)
			}
		}
	}
	for _, driver := range strings.Fields("ixgbe i40e ice mlx5_core bnxt_en ena gve virtio_net vmxnet3 hv_netvsc e1000e " +
		"igb r8169 tg3") {
		if Lookup(driver) == nil || listed[driver] == nil {
			t.Errorf("%s is missing", driver)
		}
	}
}

// TestOldNames: statistics whose names have changed are found under each.
func TestOldNames(t *testing.T) {
	for driver, names := range map[string][]string{
		"i40e":    {"rx_dropped", "port.rx_dropped"},
		"bnxt_en": {"[0]: rx_discard_pkts", "[11]: rx_discard_pkts", "[x]: rx_discards"},
	} {
		found := Lookup(driver).Find(names)
		if len(found) != 2 || !found[0].Class.InRing() || !found[1].Class.InRing() {
			t.Errorf("%s: %+v", driver, found)
		}
	}
}

// TestFilteredIsNotLost: what an XDP program drops is in virtio_net's drops, and is no loss.
func TestFilteredIsNotLost(t *testing.T) {
	for _, file := range []string{"virtio_net", "virtio_net-6.1"} {
		names, values := list(t, file)
		found := Lookup("virtio_net").Find(names)
		drops := slices.IndexFunc(found, func(f Found) bool { return f.Class == Memory })
		f := found[drops]
		values[f.Index], values[f.LessIndex] = 70, 50
		if n := f.Value(values); n != 20 {
			t.Errorf("%s: %d packets lost, want 20", f.Name, n)
		}
		values[f.LessIndex] = 71 // read later than the drops
		if n := f.Value(values); n != 0 {
			t.Errorf("%s: %d packets lost, want 0", f.Name, n)
		}
	}
}

func TestRise(t *testing.T) {
	long, short := &Statistic{}, &Statistic{Bits: 16}
	for _, test := range []struct {
		s                 *Statistic
		before, now, want uint64
	}{
		{long, 3, 10, 7}, {long, 10, 3, 0}, {short, 3, 10, 7},
		{short, 65535, 2, 3}, {short, 49152, 16383, 32767},
		{short, 49151, 16383, 0}, {short, 49152, 16384, 0}, // it was reset
		{short, 70000, 2, 0}, // it is longer than was said
	} {
		if got := test.s.Rise(test.before, test.now); got != test.want {
			t.Errorf("from %d to %d with %d bits: %d, want %d", test.before, test.now, test.s.Bits, got, test.want)
		}
	}
}

func TestDescribe(t *testing.T) {
	text, ok := Describe("rx_no_dma_resources")
	for _, part := range []string{"driver ixgbe (ring full)", "ethtool -G DEVICE", "ixgbe_ethtool.c"} {
		if !ok || !strings.Contains(text, part) {
			t.Errorf("no %q in %q", part, text)
		}
	}
	if text, ok := Describe("frobnications"); ok {
		t.Errorf("explained as %q", text)
	}
}

func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../docs/DRIVERS.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != Documentation() {
		t.Error("docs/DRIVERS.md is not what the table says: make generate")
	}
	for i, line := range strings.Split(string(page), "\n") {
		if len(line) > 120 {
			t.Errorf("line %d has %d columns", i+1, len(line))
		}
	}
}

// FuzzFind: whatever a driver lists, a name has one meaning at most, and values are read within the list.
func FuzzFind(f *testing.F) {
	fuzztest.Quick(f)
	f.Add("vmxnet3", "Rx Queue#\n  pkts rx OOB\n  pkts rx OOB")
	f.Add("virtio_net", "rx0_drops\nrx0_xdp_drops\nrx65536_drops\nrx_queue_1_drops")
	f.Add("i40e", "rx_dropped\nrx_missed_errors\nport.rx_dropped")
	f.Add("tg3", "\n\x00\nrx_discards")
	f.Fuzz(func(t *testing.T, driver, text string) {
		d := Lookup(driver)
		if d == nil {
			d = &Drivers[len(driver)%len(Drivers)]
		}
		names := strings.Split(text, "\n")
		values := make([]uint64, len(names))
		used := make(map[int]bool)
		for _, found := range d.Find(names) {
			if used[found.Index] {
				t.Fatalf("%s: place %d has two meanings", d.Name, found.Index)
			}
			used[found.Index] = true
			if found.Value(values) != 0 || found.Queue < -1 || found.Queue > 65535 {
				t.Fatalf("%s: %+v", d.Name, found)
			}
		}
	})
}
