package packetdrop

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// title says in a few words what loses packets, how many and for how long.
func (d *packetDrop) title(data *loss, ongoing bool, length time.Duration) string {
	text := d.headline(data, ongoing)
	if strings.Contains(strings.ToLower(text), "packets") {
		return fmt.Sprintf("%s: %s in %s", text, words.Number(data.lost), words.Span(length))
	}
	return text + ": " + lostText(data.lost, length)
}

func (d *packetDrop) headline(data *loss, ongoing bool) string {
	is := words.Tense(ongoing, "is", "was")
	port := data.protocol.String() + "/" + words.Itoa(data.port)
	if data.port == 0 {
		port = "a closed port"
	}
	if owners := data.ranked(); data.pid > 0 && len(owners) > 0 {
		port = owners[0].name()
	}
	switch {
	case data.gone == model.DeviceRemoved:
		return deviceName(data.device) + " was removed while packets went to it"
	case data.gone != "":
		return "The link of " + deviceName(data.device) + " " + is + " down"
	case data.full != "":
		return data.full + " " + is + " full"
	}
	switch data.reason.Name {
	case reasonNoSocket:
		nobody := words.Tense(data.protocol == model.ProtocolTCP, "No program ", "Nothing ")
		return nobody + words.Tense(ongoing, "listens", "listened") + " on " + port
	case reasonListenOverflow:
		if data.port == 0 {
			return "An accept queue " + is + " full"
		}
		return "The accept queue of " + port + " " + is + " full"
	case "PROTO_MEM":
		return d.memoryTitle(data, ongoing, port)
	case "SOCKET_BACKLOG":
		if data.port == 0 && data.pid <= 0 {
			port = "A program"
		}
		return port + " " + words.Tense(ongoing, "stays", "stayed") + " inside calls on its socket while packets " +
			words.Tense(ongoing, "arrive", "arrived")
	case "NETFILTER_DROP":
		return "netfilter " + words.Tense(ongoing, "drops", "dropped") + " packets" + d.path(data)
	case reasonNextHop:
		return "A next hop" + on(data) + words.Tense(ongoing, " does", " did") + " not answer (NEIGH_FAILED)"
	case "NEIGH_QUEUEFULL":
		return "A next hop" + on(data) + words.Tense(ongoing, " answers", " answered") +
			" late or not at all (NEIGH_QUEUEFULL)"
	}
	name := data.subject.reason
	if name == reasonNotSpecified || name == "" {
		name = cmp.Or(data.location, "no reason given")
	}
	are, cannot := words.Tense(ongoing, "are", "were"), words.Tense(ongoing, "cannot", "could not")
	switch {
	case data.reason.In != "":
		return "The time to live of packets" + d.path(data) + " " + words.Tense(ongoing, "runs", "ran") + " out (" +
			fold.Printable(name) + ")"
	case data.reason.Name == reasonIncomplete, data.reason.Name == functionIncomplete:
		return "Fragmented packets" + d.path(data) + " " + are +
			" dropped because other fragments " + are + " missing (" +
			fold.Printable(name) + ")"
	}
	text := "Packets" + d.path(data) + " " + are + " dropped"
	switch data.reason.Cause {
	case CauseFilter:
		text = "A filter " + words.Tense(ongoing, "drops", "dropped") + " packets" + d.path(data)
	case CauseRouting:
		text = "Packets" + d.path(data) + " " + cannot + " be routed"
	case CauseCorruption:
		text = "Damaged packets" + d.path(data) + " " + are + " dropped"
	case CauseMemory:
		text += " because memory " + words.Tense(ongoing, "is", "was") + " short"
	}
	return text + " (" + fold.Printable(name) + ")"
}

// memoryTitle is that of a protocol whose sockets have used up its memory.
func (d *packetDrop) memoryTitle(data *loss, ongoing bool, port string) string {
	limit := "udp_mem"
	if data.protocol == model.ProtocolTCP {
		limit = "tcp_mem"
	}
	who := port + words.Tense(ongoing, " loses", " lost")
	if data.port == 0 && data.pid <= 0 {
		who = "Sockets" + words.Tense(ongoing, " lose", " lost")
	}
	return who + " packets because " + limit + " " + words.Tense(ongoing, "is", "was") + " used up"
}

// on says on which device something is.
func on(data *loss) string {
	if data.device.Name == "" && data.device.Ifindex == 0 {
		return ""
	}
	return " on " + deviceName(data.device)
}

// path says which way the packets went.
func (d *packetDrop) path(data *loss) string {
	if data.device.Name == "" && data.device.Ifindex == 0 {
		if data.transmit {
			return " that this host sends"
		}
		return ""
	}
	if data.transmit {
		return " sent through " + deviceName(data.device)
	}
	return " received on " + deviceName(data.device)
}
