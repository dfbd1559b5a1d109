package hostcounters_test

import (
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// grown is a counter of eth0 or of CPU 0 that had a value in one bundle and grew by another up to the next.
type grown struct {
	name     string
	from, by float64
}

// twoBundles is two bundles of a host.
func twoBundles(list ...grown) *model.Batch {
	s := detecttest.New()
	s.Seconds(60, func(i int) {
		if i != 0 && i != 59 {
			return
		}
		for _, g := range list {
			c := model.Counter{
				Time: s.End(), Name: g.name, CPU: -1, Mode: model.CounterTotal, Value: g.from + float64(i)/59*g.by,
			}
			if strings.HasPrefix(g.name, "device/") {
				c.Instance = "eth0"
			} else {
				c.CPU = 0
			}
			s.Builder().AddCounter(c)
		}
	})
	return s.Batch()
}

// TestDeviceSteps says what a device lost between two bundles, once.
func TestDeviceSteps(t *testing.T) {
	const dropped, errs, packets = "device/rx_dropped", "device/rx_errors", "device/rx_packets"
	for name, test := range map[string]struct {
		bundles *model.Batch
		count   int
		says    []string
	}{
		"many of what it received": {
			twoBundles(grown{dropped, 100, 5000}, grown{packets, 1e6, 1e5}), 1,
			[]string{"warning eth0 dropped 5,000 received packets (rx_dropped) between two bundles",
				"UTC), 5.0 % of what it received"},
		},
		"few of what it received": {
			twoBundles(grown{dropped, 100, 5000}, grown{packets, 1e6, 1e6}), 1,
			[]string{"info eth0 dropped 5,000", "unhandled protocol"},
		},
		"nothing else is known": {twoBundles(grown{dropped, 100, 5000}), 1, []string{"info eth0 dropped 5,000"}},
		"nothing was received": {
			twoBundles(grown{dropped, 100, 5000}, grown{packets, 1e6, 0}), 1, []string{"warning eth0 dropped 5,000"},
		},
		"few": {twoBundles(grown{dropped, 100, 5}, grown{errs, 100, 5}), 0, nil},
		"those of a backlog": {
			twoBundles(grown{dropped, 100, 5000}, grown{"softnet/dropped", 100, 5000}), 1,
			[]string{"warning CPU 0 dropped 5,000"},
		},
		"more than those of a backlog": {
			twoBundles(grown{dropped, 100, 9000}, grown{"softnet/dropped", 100, 5000}), 2,
			[]string{"info eth0 dropped 9,000", "of backlogs, 5,000 were counted", "warning CPU 0 dropped 5,000"},
		},
		"those without a descriptor": {
			twoBundles(grown{dropped, 100, 5000}, grown{"device/rx_missed", 100, 5000}), 1,
			[]string{"no free receive descriptor"},
		},
		"those without a descriptor, by two names": {
			twoBundles(grown{"device/rx_fifo_errors", 100, 5000}, grown{"device/rx_missed_errors", 100, 5000}), 1,
			[]string{"no free receive descriptor (rx_missed_errors)",
				"rx_fifo_errors grew by as many, which are most likely the same packets"},
		},
		"errors": {
			twoBundles(grown{errs, 100, 5000}, grown{packets, 1e6, 1e5}), 1,
			[]string{"warning eth0 received 5,000 packets with errors (rx_errors)", "UTC), 5.0 %", "CRC"},
		},
	} {
		got := judged(t, test.bundles)
		all := strings.ReplaceAll(strings.Join(got, "\n"), "\u00a0", " ")
		if len(got) != test.count {
			t.Errorf("%s: %d findings, want %d", name, len(got), test.count)
		}
		for _, text := range test.says {
			if !strings.Contains(all, text) {
				t.Errorf("%s: no %q in\n%s", name, text, all)
			}
		}
	}
}

// TestDeviceAlone judges drops of a device by sar when it has nothing of CPUs, and zeros only once.
func TestDeviceAlone(t *testing.T) {
	for name, test := range map[string]struct {
		packets bool
		marks   []int
		count   int
	}{
		"with packets": {true, []int{100, 101}, 1}, "without": {false, []int{100, 101}, 1},
		"soon after the first sample": {false, []int{20, 21}, 0},
		"all the time":                {false, seconds(1, 29), 0},
	} {
		s := detecttest.New()
		s.Seconds(200, func(i int) {
			add := func(name string, v float64) {
				s.Builder().AddCounter(model.Counter{
					Time: s.End(), Dur: time.Second, CPU: -1, Name: name, Instance: "eth0", Mode: model.CounterRate, Value: v,
				})
			}
			if test.packets {
				add("device/rx_packets", 10000)
			}
			if i == 0 {
				add("device/rx_dropped", 0)
			}
			for _, m := range test.marks {
				if m == i {
					add("device/rx_dropped", 5000)
				}
			}
		})
		got := judged(t, s.Batch())
		if len(got) != test.count || test.count > 0 && !strings.Contains(got[0], "eth0 dropped about 10,000") {
			t.Errorf("%s: %d findings, want %d:\n%s", name, len(got), test.count, strings.Join(got, "\n"))
		}
	}
}

// seconds are those from one to another.
func seconds(from, to int) (list []int) {
	for i := from; i <= to; i++ {
		list = append(list, i)
	}
	return list
}
