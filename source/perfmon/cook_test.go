package perfmon

import (
	"math"
	"testing"

	"lostbeat/internal/testutil/fuzztest"
)

func TestCook(t *testing.T) {
	const tick, second = 1e7, 3579545.0
	for _, c := range []struct {
		name           string
		kind           CounterType
		earlier, later Raw
		want           float64
		ok             bool
	}{
		{"raw count", RawCount, Raw{}, Raw{First: 13}, 13, true},
		{"raw count is unsigned", RawCount, Raw{}, Raw{First: 4e9}, 4e9, true},
		{"large raw count", LargeRawCount, Raw{}, Raw{First: 1 << 40}, 1 << 40, true},
		{"hexadecimal", RawCountHex, Raw{}, Raw{First: 255}, 255, true},
		{
			"counter", Counter, Raw{First: 100, Second: 0, TimeBase: second},
			Raw{First: 300, Second: 2 * 3579545, TimeBase: second}, 100, true,
		},
		{
			"counter wraps", Counter, Raw{First: math.MaxUint32 - 9, TimeBase: 10},
			Raw{First: 10, Second: 10, TimeBase: 10}, 20, true,
		},
		{"counter reset", Counter, Raw{First: 1000, TimeBase: 10}, Raw{First: 10, Second: 10, TimeBase: 10}, 0, false},
		{
			"bulk count", BulkCount, Raw{First: 1 << 40, TimeBase: second},
			Raw{First: 1<<40 + 500, Second: 3579545, TimeBase: second}, 500, true,
		},
		{
			"bulk count reset", BulkCount, Raw{First: 1 << 40, TimeBase: second},
			Raw{First: 5, Second: 3579545, TimeBase: second}, 0, false,
		},
		{"no time between", Counter, Raw{First: 1, Second: 5, TimeBase: 1}, Raw{First: 2, Second: 5, TimeBase: 1}, 0, false},
		{
			"clock went back", Timer100ns, Raw{First: 1, Second: 9, TimeBase: tick},
			Raw{First: 2, Second: 5, TimeBase: tick}, 0, false,
		},
		{
			"timer of 100 ns", Timer100ns, Raw{First: 0, Second: 0, TimeBase: tick},
			Raw{First: 49_000, Second: 10_000_000, TimeBase: tick}, 0.49, true,
		},
		{"inverse timer of 100 ns", Timer100nsInv, Raw{}, Raw{First: 7_500_000, Second: 10_000_000}, 25, true},
		{"inverse timer below zero", Timer100nsInv, Raw{}, Raw{First: 10_000_100, Second: 10_000_000}, 0, true},
		{"timer", Timer, Raw{}, Raw{First: 50, Second: 200}, 25, true},
		{"inverse timer", TimerInv, Raw{}, Raw{First: 50, Second: 200}, 75, true},
		{"object timer", ObjectTimer, Raw{}, Raw{First: 1, Second: 4}, 25, true},
		{"precision timer", Precision100nsTimer, Raw{First: 10, Second: 100}, Raw{First: 20, Second: 140}, 25, true},
		{"precision system timer", PrecisionSystemTimer, Raw{}, Raw{First: 1, Second: 10}, 10, true},
		{"precision object timer", PrecisionObjectTimer, Raw{}, Raw{First: 1, Second: 10}, 10, true},
		{"multi timer", MultiTimer, Raw{}, Raw{First: 100, Second: 200, Multi: 2}, 25, true},
		{"multi timer of nothing", MultiTimer, Raw{}, Raw{First: 100, Second: 200}, 0, false},
		{"multi timer of 100 ns", MultiTimer100ns, Raw{}, Raw{First: 100, Second: 100, Multi: 4}, 25, true},
		// 100*(B1-((X1-X0)/(Y1-Y0)))/B1, Platform SDK, PERF_100NSEC_MULTI_TIMER_INV.
		{"inverse multi timer of 100 ns", MultiTimer100nsInv, Raw{}, Raw{First: 100, Second: 100, Multi: 4}, 75, true},
		{"inverse multi timer", MultiTimerInv, Raw{}, Raw{First: 300, Second: 100, Multi: 4}, 25, true},
		{"inverse multi timer of nothing", MultiTimerInv, Raw{}, Raw{First: 300, Second: 100}, 0, false},
		{"raw fraction", RawFraction, Raw{}, Raw{First: 1, Second: 4}, 25, true},
		{"large raw fraction", LargeRawFraction, Raw{}, Raw{First: 3, Second: 4}, 75, true},
		{"raw fraction of nothing", RawFraction, Raw{}, Raw{First: 1}, 0, false},
		{"sample fraction", SampleFraction, Raw{First: 10, Second: 20}, Raw{First: 15, Second: 30}, 50, true},
		{"sample counter", SampleCounter, Raw{TimeBase: 10}, Raw{First: 40, Second: 20, TimeBase: 10}, 20, true},
		{"average bulk", AverageBulk, Raw{First: 1000, Second: 1}, Raw{First: 9192, Second: 3}, 4096, true},
		{"average bulk without operations", AverageBulk, Raw{First: 1000, Second: 1}, Raw{First: 1000, Second: 1}, 0, false},
		{
			"average timer", AverageTimer, Raw{First: 0, Second: 0, TimeBase: 100},
			Raw{First: 50, Second: 10, TimeBase: 100}, 0.05, true,
		},
		{
			"average base wraps", AverageTimer, Raw{First: 0, Second: math.MaxUint32, TimeBase: 1},
			Raw{First: 50, Second: 4, TimeBase: 1}, 10, true,
		},
		{"queue length", QueueLen100ns, Raw{}, Raw{First: 30, Second: 20}, 1.5, true},
		{"large queue length", LargeQueueLen, Raw{}, Raw{First: 30, Second: 20}, 1.5, true},
		{"delta", CounterDelta, Raw{First: 5}, Raw{First: 9}, 4, true},
		{"large delta", LargeDelta, Raw{First: 1 << 50}, Raw{First: 1<<50 + 4}, 4, true},
		{"elapsed time", ElapsedTime, Raw{}, Raw{First: 10, Second: 110, TimeBase: 10}, 10, true},
		{"elapsed time of the future", ElapsedTime, Raw{}, Raw{First: 110, Second: 10, TimeBase: 10}, 0, false},
		{"text", CounterText, Raw{}, Raw{First: 1}, 0, false},
		{"no data", NoData, Raw{}, Raw{First: 1}, 0, false},
		{"base", AverageBase, Raw{}, Raw{First: 1}, 0, false},
		{"histogram", Histogram, Raw{}, Raw{First: 1}, 0, false},
		{"extremes", LargeDelta, Raw{First: math.MinInt64}, Raw{First: math.MaxInt64}, math.MaxUint64, true},
	} {
		got, ok := Cook(c.kind, c.earlier, c.later)
		if ok != c.ok || math.Abs(got-c.want) > 1e-9*math.Abs(c.want) {
			t.Errorf("%s: %v, %v; want %v, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

func FuzzCook(f *testing.F) {
	fuzztest.Quick(f)
	f.Add(uint32(Timer100ns), int64(1), int64(2), int64(3), int64(4), uint32(1), 1e7)
	f.Add(uint32(AverageTimer), int64(math.MaxInt64), int64(math.MinInt64), int64(0), int64(-1), uint32(0), math.Inf(1))
	f.Fuzz(func(t *testing.T, kind uint32, a, b, c, d int64, multi uint32, base float64) {
		v, ok := Cook(
			CounterType(kind),
			Raw{First: a, Second: b, TimeBase: base},
			Raw{First: c, Second: d, Multi: multi, TimeBase: base},
		)
		if ok && (math.IsNaN(v) || math.IsInf(v, 0)) {
			t.Errorf("%v is no value", v)
		}
	})
}
