package logs_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// tokenLost is a log that reports a lost token at the 300th of 400 s, and samples of sar in which CPU 1 is busy with
// softirqs in the seconds of busy.
func tokenLost(busy ...int) *model.Batch {
	s := detecttest.New()
	s.Seconds(400, func(i int) {
		for cpu := range int32(2) {
			v := 0.01
			if cpu == 1 && slices.Contains(busy, i) {
				v = 0.97
			}
			s.Builder().AddCounter(model.Counter{
				Time: s.End(), Dur: time.Second, CPU: cpu, Name: "cpu/softirq", Mode: model.CounterShare, Value: v,
			})
		}
		if i == 300 {
			s.Builder().AddLogLine(model.LogLine{
				Time: s.End(), Dur: 3 * time.Second, Class: model.LogMissed, Log: "corosync.log", Text: "Token lost",
			})
		}
	})
	return s.Batch()
}

// TestSoftirqs joins the lines of logs with sar, in the words of Linux.
func TestSoftirqs(t *testing.T) {
	for name, test := range map[string]struct {
		busy []int
		says []string
	}{
		"busy": {[]int{298, 299, 300}, []string{"CPU 1 of web-07 spent 97.0 % of it in softirqs (usually 1.0 %)",
			"1 of", "While softirqs run", "perf record -C CPU"}},
		"quiet": {nil, []string{"not softirqs of web-07"}},
	} {
		var all []string
		for _, f := range detecttest.Latest(detecttest.Run(tokenLost(test.busy...), 0)) {
			if f.Detector == "log-silence" {
				f = detecttest.Blanks(f)
				all = append(all, f.Title+" "+strings.Join(append(f.Causes, f.Advice...), " "))
			}
		}
		text := strings.Join(all, "\n")
		for _, want := range test.says {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in %s", name, want, text)
			}
		}
		if len(all) != 1 || strings.Contains(text, "DPC") || strings.Contains(text, "RSS") {
			t.Errorf("%s: %s", name, text)
		}
	}
}
