package etw

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lostbeat/model"
)

// TestAdapterKeys wants what the registry says of an adapter's receive-side scaling, and nothing where it says nothing.
func TestAdapterKeys(t *testing.T) {
	for name, c := range map[string]struct {
		values map[string]string
		want   []string
	}{
		"on": {
			map[string]string{"*RSS": "1", "*NumRSSQueues": "8", "*RssBaseProcNumber": "2", "*NumaNodeId": "0"},
			[]string{"config 8", "rss 1 of 8: *RSS 1, *NumRSSQueues 8, *RssBaseProcNumber 2, *NumaNodeId 0"},
		},
		"on, queues unknown": {map[string]string{"*RSS": "1"}, []string{"config 0", "rss 1 of 0: *RSS 1"}},
		"queues not a number": {
			map[string]string{"*RSS": "1", "*NumRSSQueues": "x"},
			[]string{"config 0", "rss 1 of 0: *RSS 1, *NumRSSQueues x"},
		},
		"off": {
			map[string]string{"*RSS": "0", "*NumRSSQueues": "8"}, []string{"config 1", "rss 0 of 0: *RSS 0, *NumRSSQueues 8"},
		},
		"not said": {map[string]string{"*NumRSSQueues": "8"}, nil},
	} {
		var out model.Builder
		k := adapterKey{Values: c.values}
		k.addTo(&out, tableTime, 7, "Ethernet")
		var got []string
		if b := out.Take(); b != nil {
			if err := model.Validate(b); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for i := range b.Events {
				if v, ok := b.DeviceConfig(&b.Events[i]); ok && v.Ifindex == 7 && v.Device == "Ethernet" {
					got = append(got, fmt.Sprint("config ", v.RXQueues))
				}
				if v, ok := b.Reading(&b.Events[i]); ok && v.Instance == "Ethernet" {
					got = append(got, fmt.Sprintf("%s %v of %v: %s", v.Name, v.Value, v.Limit, v.Detail))
				}
			}
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
