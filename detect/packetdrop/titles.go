package packetdrop

import (
	"cmp"
	"fmt"

	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// title says in a few words what loses packets; their number follows it.
func (d *packetDrop) title(data *loss, ongoing bool) string {
	port := data.protocol.String() + "/" + words.Itoa(data.port)
	if data.port == 0 {
		port = "a closed port"
	}
	if owners := data.ranked(); data.pid > 0 && len(owners) > 0 {
		port = owners[0].name()
	}
	if data.wasRemoved() {
		return deviceName(data.device) + " was removed while packets went to it"
	}
	if data.full != "" {
		return fmt.Sprintf("%s %s full", data.full, words.Tense(ongoing, "is", "was"))
	}
	switch data.subject.reason {
	case "NO_SOCKET":
		if data.protocol == model.ProtocolTCP {
			return fmt.Sprintf("No program %s on %s", words.Tense(ongoing, "listens", "listened"), port)
		}
		return fmt.Sprintf("Nothing %s on %s: no program has a socket there",
			words.Tense(ongoing, "listens", "listened"), port)
	case reasonListenOverflow:
		if data.port == 0 {
			return fmt.Sprintf("An accept queue %s full", words.Tense(ongoing, "is", "was"))
		}
		return fmt.Sprintf("The accept queue of %s %s full", port, words.Tense(ongoing, "is", "was"))
	case "PROTO_MEM":
		return fmt.Sprintf("The memory limit of all %s sockets together %s reached, %s loses packets",
			protocolText(cmp.Or(data.protocol, model.ProtocolUDP)), words.Tense(ongoing, "is", "was"), port)
	case "SOCKET_BACKLOG":
		return fmt.Sprintf("%s %s inside calls on its socket while packets arrive", port,
			words.Tense(ongoing, "stays", "stayed"))
	case "NETFILTER_DROP":
		return "netfilter " + words.Tense(ongoing, "drops", "dropped") + " packets" + d.path(data)
	}
	name := data.subject.reason
	if name == reasonNotSpecified || name == "" {
		name = cmp.Or(data.location, "no reason given")
	}
	are, could := words.Tense(ongoing, "are", "were"), words.Tense(ongoing, "cannot", "could not")
	text := "Packets" + d.path(data) + " " + are + " dropped"
	switch data.reason.Cause {
	case CauseFilter:
		text = "A filter " + words.Tense(ongoing, "drops", "dropped") + " packets" + d.path(data)
	case CauseRouting:
		text = "Packets" + d.path(data) + " " + could + " be routed"
	case CauseCorruption:
		text = "Damaged packets" + d.path(data) + " " + are + " dropped"
	case CauseMemory:
		text += " for want of memory"
	}
	return text + " (" + fold.Printable(name) + ")"
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
		return " sent by " + deviceName(data.device)
	}
	return " received on " + deviceName(data.device)
}
