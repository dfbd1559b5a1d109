package fold

import (
	"unsafe"

	"lostbeat/model"
	"lostbeat/model/budget"
)

// HostEvents keeps what event logs report, in order of time.
type HostEvents struct {
	List []model.HostEvent
	// Total is how many there were.
	Total int
	room  *budget.Budget
}

func newHostEvents(room *budget.Budget) *HostEvents { return &HostEvents{room: room} }

func (h *HostEvents) add(v model.HostEvent) {
	const most = 100_000
	h.Total++
	if len(h.List) >= most {
		h.room.LeaveOut("entries of event logs")
		return
	}
	if h.room.Take("entries of event logs", 2*int(unsafe.Sizeof(v))) {
		h.List = append(h.List, v)
	}
}
