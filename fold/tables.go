package fold

import (
	"unsafe"

	"lostbeat/model"
	"lostbeat/model/budget"
)

// Tables keeps what tables of all sockets say: streams of customers' snapshots
// have them in place of single events.
type Tables struct {
	// ByProtocol are the tables of a protocol in order of time: the first, and the latest.
	ByProtocol map[model.Protocol][]*Table
	// next is the table whose parts come first.
	next Table
	room *budget.Budget
}

// Table is one table.
type Table struct {
	model.PortTable
	// Holders and Destinations are those with most ports, the largest first.
	Holders      []model.PortHolder
	Destinations []model.PortDestination
	bytes        int
}

// maxTables is how many tables of a protocol are kept, maxParts how many holders, and destinations, of each.
const (
	maxTables = 128
	maxParts  = 64
)

func newTables(room *budget.Budget) *Tables {
	return &Tables{ByProtocol: make(map[model.Protocol][]*Table), room: room}
}

// Any says that the stream is one of tables: single events mean less in it.
func (t *Tables) Any() bool { return len(t.ByProtocol) > 0 }

// Holder returns what a process had, nil when it is not among those that are listed.
func (t *Table) Holder(pid int32) *model.PortHolder {
	for i := range t.Holders {
		if t.Holders[i].PID == pid {
			return &t.Holders[i]
		}
	}
	return nil
}

func (t *Tables) addHolder(v model.PortHolder) {
	bytes := int(unsafe.Sizeof(v)) + len(v.Process) + len(v.RemoteAddr)
	if len(t.next.Holders) < maxParts && t.room.Take("tables of ports", bytes) {
		t.next.Holders = append(t.next.Holders, v)
		t.next.bytes += bytes
	}
}

func (t *Tables) addDestination(v model.PortDestination) {
	bytes := int(unsafe.Sizeof(v)) + len(v.Process) + len(v.RemoteAddr) + len(v.LocalAddr)
	if len(t.next.Destinations) < maxParts && t.room.Take("tables of ports", bytes) {
		t.next.Destinations = append(t.next.Destinations, v)
		t.next.bytes += bytes
	}
}

// add ends a table.
func (t *Tables) add(v model.PortTable) {
	table := t.next
	t.next = Table{}
	table.PortTable = v
	bytes := int(unsafe.Sizeof(table)) + len(v.Table) + len(v.TimeFrom)
	if !t.room.Take("tables of ports", bytes) {
		t.room.Give(table.bytes)
		return
	}
	table.bytes += bytes
	list := append(t.ByProtocol[v.Protocol], &table)
	if len(list) > maxTables {
		t.room.Give(list[1].bytes)
		list = append(list[:1], list[2:]...)
	}
	t.ByProtocol[v.Protocol] = list
}
