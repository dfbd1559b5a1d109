package perfmon

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/model"
)

// openReal opens a real log of the test data, which is not part of the
// repository.
func openReal(t testing.TB, name string, options Options) *Log {
	t.Helper()
	path := filepath.Join(cmp.Or(os.Getenv("LOSTBEAT_DATA"), "../../../shared/data"), "perfmon", name)
	l, err := Open(path, options)
	if os.IsNotExist(err) {
		t.Skipf("no test data: %v (set LOSTBEAT_DATA)", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if !(math.Abs(got-want) <= within) {
		t.Errorf("%s is %v, want %v within %v", what, got, want, within)
	}
}

// TestRealExplicit reads a log of Windows 8: 601 samples at 1 s of five disk
// counters and of % Processor Time of four cores and _Total. The header's start
// is UTC, the samples' times are local.
func TestRealExplicit(t *testing.T) {
	l := openReal(t, "Tx_BasicPerfCounters.blg", Options{AllCounters: true})
	info, err := l.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Samples != 601 || info.Columns != 10 || info.Lost != 0 || len(info.Notes) != 0 ||
		strings.Join(info.Machines, "") != "GEORGIS3" {
		t.Errorf("inventory %+v", info)
	}
	if got := info.Start.Format(time.RFC3339Nano); got != "2013-02-20T02:50:17.844Z" || info.Offset != -8*time.Hour {
		t.Errorf("start %s, offset %v", got, info.Offset)
	}
	batches := collect(t, l)
	const name = "Processor/% Processor Time"
	total := counters(batches, name, "_Total")
	cores := [][]float64{
		counters(batches, name, "0"),
		counters(batches, name, "1"),
		counters(batches, name, "2"),
		counters(batches, name, "3"),
	}
	if len(total) != 600 {
		t.Fatalf("%d values of _Total", len(total))
	}
	for i := range total {
		if min(cores[0][i], cores[1][i], cores[2][i], cores[3][i]) == 0 {
			continue // more idle time than time: 0 for the core, less than the mean for _Total
		}
		mean := (cores[0][i] + cores[1][i] + cores[2][i] + cores[3][i]) / 4
		near(t, "_Total, the mean of the cores,", total[i], mean, 1e-7) // Windows divides whole units of 100 ns
		if total[i] < 0 || total[i] > 1 {
			t.Errorf("sample %d: share %v", i, total[i])
		}
	}
	// Reads and writes make up the length of the queue.
	all := counters(batches, "PhysicalDisk/Avg. Disk Queue Length", "0 C:")
	reads, writes := counters(
		batches,
		"PhysicalDisk/Avg. Disk Read Queue Length",
		"0 C:",
	), counters(
		batches,
		"PhysicalDisk/Avg. Disk Write Queue Length",
		"0 C:",
	)
	if len(all) != 600 || len(reads) != 600 || len(writes) != 600 {
		t.Fatalf("%d, %d, %d values", len(all), len(reads), len(writes))
	}
	for i := range all {
		near(t, "the queue of reads and writes", all[i], reads[i]+writes[i], 1e-6+all[i]/1000)
	}
}

// TestRealWildcard reads a log of Vista: 11 samples at 60 s of whole objects.
func TestRealWildcard(t *testing.T) {
	l := openReal(t, "PAL_SampleLog.blg", Options{AllCounters: true})
	info, err := l.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Samples != 11 || info.Lost != 0 || len(info.Notes) != 0 || len(info.Objects) != 8 ||
		strings.Join(info.Machines, "") != "ZACH-PC" {
		t.Errorf("inventory %+v", info)
	}
	// Bias 300, summer time -60; the data blocks say the same.
	if info.Offset != -4*time.Hour || info.Start.Format(time.RFC3339Nano) != "2007-08-14T19:40:38.659Z" {
		t.Errorf("start %v, offset %v", info.Start, info.Offset)
	}
	batches := collect(t, l)
	dpc := counters(batches, "Processor/% DPC Time", "0")
	if len(dpc) != 10 {
		t.Fatalf("%d values", len(dpc))
	}
	near(t, "% DPC Time, sample 1 to 2,", dpc[0], 0.0049, 0.0001)
	rate := counters(batches, "Processor/DPC Rate", "0")
	low, high := rate[0], rate[0]
	for _, v := range rate {
		low, high = min(low, v), max(high, v)
	}
	if len(rate) != 11 || low != 0 || high != 13 {
		t.Errorf("DPC Rate is %v to %v in %d samples, want 0 to 13 in 11", low, high, len(rate))
	}
	user, privileged, idle, busy := counters(
		batches,
		"Processor/% User Time",
		"0",
	), counters(
		batches,
		"Processor/% Privileged Time",
		"0",
	), counters(
		batches,
		"Processor/% Idle Time",
		"0",
	), counters(
		batches,
		"Processor/% Processor Time",
		"0",
	)
	for i := range busy {
		near(t, "user, privileged and idle time together", user[i]+privileged[i]+idle[i], 1, 0.001)
		near(t, "idle and busy time together", idle[i]+busy[i], 1, 1e-6)
	}
	// Sums that Windows keeps apart.
	for _, in := range []string{"VIA Rhine II Fast Ethernet Adapter", "Atheros AR5005G Wireless Network Adapter"} {
		both := counters(batches, "Network Interface/Packets/sec", in)
		received, sent := counters(
			batches,
			"Network Interface/Packets Received/sec",
			in,
		), counters(
			batches,
			"Network Interface/Packets Sent/sec",
			in,
		)
		for i := range both {
			near(t, "packets received and sent", received[i]+sent[i], both[i], 1e-6)
		}
	}
	// The time of all processes, the idle one included, is that of the one
	// processor, where none came or went: a process that was not there at the
	// sample before has no time yet.
	var processes [10]float64
	var ids [11]string
	for _, b := range batches {
		for i := range b.Events {
			v, ok := b.Counter(&b.Events[i])
			switch n := sampleAt(info.Start, v.Time); {
			case ok && v.Name == "Process/% Processor Time" && v.Instance != "_Total":
				processes[n-1] += v.Value
			case ok && v.Name == "Process/ID Process":
				ids[n] += fmt.Sprintf("%s %v,", v.Instance, v.Value)
			}
		}
	}
	same := 0
	for i, v := range processes {
		if ids[i] == ids[i+1] {
			same++
			near(t, "the time of all processes", v, 1, 0.03)
		}
	}
	if same < 2 {
		t.Errorf("%d intervals without a change of processes", same)
	}
	elapsed := counters(batches, "System/System Up Time", "")
	for i := 1; i < len(elapsed); i++ {
		near(t, "an interval by the system's up time", elapsed[i]-elapsed[i-1], 60, 0.1)
	}
	for _, e := range lines(batches, model.KindLoss) {
		t.Errorf("loss: %s", e)
	}
}

func sampleAt(start time.Time, at model.Time) int {
	return int(math.Round(at.Std().Sub(start).Minutes()))
}
