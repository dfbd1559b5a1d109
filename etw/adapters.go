package etw

import (
	"fmt"
	"strconv"
	"strings"

	"lostbeat/model"
)

// rssKeywords are the values of an adapter's registry key that configure receive-side scaling, as Microsoft's
// standardised INF keywords name them.
var rssKeywords = []string{
	"*RSS", "*RSSProfile", "*NumRSSQueues", "*MaxRssProcessors", "*RssBaseProcGroup", "*RssBaseProcNumber",
	"*RssMaxProcGroup", "*RssMaxProcNumber", "*NumaNodeId",
}

// adapterKey is what the registry says of a network adapter.
type adapterKey struct {
	// Instance is the GUID of its interface, in braces.
	Instance string
	// Values are those of rssKeywords that it has.
	Values map[string]string
}

// addTo adds the configuration of an adapter's receive-side scaling: what is configured, which need not be in force. A
// key without the value *RSS says nothing: the driver has a default of its own.
func (k *adapterKey) addTo(out *model.Builder, t model.Time, ifindex int64, device string) {
	on, known := k.Values["*RSS"]
	if !known {
		return
	}
	config := model.DeviceConfig{
		Time: t, Ifindex: ifindex, Device: device, RXQueues: 1, RingSource: "InDiscards of GetIfTable2",
	}
	rss := model.Reading{
		Time: t, Ifindex: ifindex, Name: model.ReadingRSS, Instance: device, Unit: "queues", Detail: k.text(),
	}
	if on != "0" {
		config.RXQueues, _ = strconv.ParseUint(k.Values["*NumRSSQueues"], 10, 32) // 0 is unknown
		rss.Value, rss.Limit = 1, float64(config.RXQueues)
	}
	out.AddDeviceConfig(config)
	out.AddReading(rss)
}

// text writes the values in their order.
func (k *adapterKey) text() string {
	var list []string
	for _, name := range rssKeywords {
		if v, ok := k.Values[name]; ok {
			list = append(list, fmt.Sprintf("%s %s", name, v))
		}
	}
	return strings.Join(list, ", ")
}
