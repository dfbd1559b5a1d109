package eventlog_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// entry is an entry of a log, seconds after the start.
type entry struct {
	at   float64
	what model.HostEventWhat
	more model.HostEvent
}

// log is a stream of entries, in order.
func log(list ...entry) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.NewWindows()
		for _, e := range list {
			v := e.more
			v.Time, v.What = detecttest.Start.Add(time.Duration(e.at*float64(time.Second))), e.what
			if v.Provider == "" {
				v.Provider, v.ID = "Microsoft-Windows-Test", 7
			}
			s.Builder().AddHostEvent(v)
		}
		return s.Batch()
	}
}

// TestBoundaries tries each setting at the value that just holds and just beyond.
func TestBoundaries(t *testing.T) {
	ports := log(entry{1, model.HostTCPPortsOut, model.HostEvent{}}, entry{301, model.HostNodeRemoved, model.HostEvent{}})
	link := log(entry{1, model.HostLinkDown, model.HostEvent{}}, entry{21, model.HostNodeRemoved, model.HostEvent{}})
	detecttest.Boundaries(t, "eventlog", []detecttest.Boundary{
		{Setting: "eventlog.ports_before", At: 300 * time.Second, Next: 300*time.Second - 1, Says: "5 min before it",
			Stream: ports},
		{Setting: "eventlog.link_before", At: 20 * time.Second, Next: 20*time.Second - 1, Says: "20 s before it",
			Stream: link},
	})
}
