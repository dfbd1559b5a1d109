package packetdrop

import (
	"fmt"
	"strings"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// readable are the readings that a live source can give on request.
var readable = [...]string{
	ReadConntrack, ReadNeighbours, ReadUDPMem, ReadTCPMem, ReadListenQueue, ReadRPFilter, ReadXDP,
	ReadTC, ReadQdisc, ReadMTU,
	ReadNft, ReadIPTables,
}

// fills are the readings whose value is the fill of something that their limit bounds.
var fills = map[string]string{
	ReadConntrack:  "The connection table (conntrack)",
	ReadNeighbours: "The neighbour table",
	ReadUDPMem:     "The memory of all UDP sockets (udp_mem)",
	ReadTCPMem:     "The memory of all TCP sockets (tcp_mem)",
}

// confirm notes what the readings say of the cause, in the worst second of a case.
func (d *packetDrop) confirm(w *detect.Tick, data *loss) {
	if data.gone != "" {
		return // that is the cause
	}
	data.confirmed, data.ruledOut, data.full = nil, nil, ""
	for _, what := range data.reason.Confirm {
		keys, values := w.Readings(what, int64(data.netns))
		for i, k := range keys {
			v := values[i]
			if k.Ifindex != 0 && data.device.Ifindex != 0 && k.Ifindex != data.device.Ifindex {
				continue
			}
			if what == ReadListenQueue && data.port != 0 && !strings.HasSuffix(k.Instance, ":"+words.Itoa(data.port)) {
				continue
			}
			text := readingText(what, k, v)
			if what == ReadQdisc && data.reason.Name == reasonQdisc && strings.Contains(k.Instance, " noqueue ") {
				// It never drops. While a link is down, another discipline that drops everything takes its place.
				data.gone, data.reason = model.DeviceLinkDown, goneReasons[model.DeviceLinkDown]
				data.confirmed = []string{text + ": it drops nothing while the link is up"}
				return
			}
			thing, isTable := fills[what]
			switch full := v.Limit > 0 && v.Value >= d.settings.TableFull*v.Limit; {
			case isTable && full:
				data.full = thing
				data.confirmed = append(data.confirmed, text)
			case isTable && v.Limit > 0:
				data.ruledOut = append(data.ruledOut, "not full: "+text)
			default:
				data.confirmed = append(data.confirmed, text)
			}
			if len(data.confirmed)+len(data.ruledOut) >= maxReadings {
				return
			}
		}
	}
}

// maxReadings bounds the readings that a finding quotes.
const maxReadings = 8

func readingText(what string, k fold.ReadingKey, v fold.Reading) string {
	text := what
	if k.Instance != "" {
		text += " " + fold.Printable(k.Instance)
	}
	text += ": " + words.Number(int64(v.Value))
	if v.Limit > 0 {
		text += " of " + words.Number(int64(v.Limit))
	}
	if v.Unit != "" {
		text += " " + fold.Printable(v.Unit)
	}
	if r := v.Rate(); r >= 1 {
		text += fmt.Sprintf(" (+%s/s)", words.Rate(r))
	}
	if v.Detail != "" {
		text += ", " + fold.Printable(v.Detail)
	}
	return text
}
