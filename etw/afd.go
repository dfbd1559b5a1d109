package etw

// Values of the field EnterExit of Winsock events: a request begins, or has
// been completed.
const (
	AFDEnter = 0
	AFDExit  = 1
)

// afdLocated is the first event id of Winsock-AFD whose payload says where in a
// request it was logged; those below are of Windows Vista.
const afdLocated = 1000

// AFD reads what every event of Microsoft-Windows-Winsock-AFD begins with:
// EnterExit and Location, which events of Windows Vista do not have, Process and
// Endpoint. f goes on behind them, and is short where they are not there.
func (r *Record) AFD() (f Fields, step uint32, endpoint uint64) {
	f = r.Fields()
	if r.ID >= afdLocated {
		step = f.U32()
		f.Skip(4)
	}
	f.Pointer()
	return f, step, f.Pointer()
}
