package state

import (
	"unsafe"

	"lostbeat/model"
	"lostbeat/model/budget"
)

// workPerEvent is how many steps of work an event may cause on average, beside
// those of its own.
const workPerEvent = 64

func (s *State) give(bytes int) {
	s.budget.Give(bytes)
	s.taken -= bytes
}

// keep puts v into m when there is room for it. It returns whether there is.
func keep[K comparable, V any](s *State, m map[K]V, k K, v V, what string, bytes func(K, V) int) bool {
	n, before := bytes(k, v), 0
	if old, ok := m[k]; ok {
		before = bytes(k, old)
	}
	if n > before && !s.budget.Room(what, n-before) {
		return false
	}
	s.budget.Adjust(n - before)
	s.taken += n - before
	m[k] = v
	return true
}

// forget takes k out of m.
func forget[K comparable, V any](s *State, m map[K]V, k K, bytes func(K, V) int) {
	if old, ok := m[k]; ok {
		s.give(bytes(k, old))
		delete(m, k)
	}
}

// entryBytes is about what an entry of a map takes beside the texts in it: maps are
// two thirds full on average.
func entryBytes[K comparable, V any]() int {
	var k K
	var v V
	return (budget.MapEntry + int(unsafe.Sizeof(k)) + int(unsafe.Sizeof(v))) * 3 / 2
}

func textBytes(list ...string) (n int) {
	for _, s := range list {
		n += len(s)
	}
	return n
}

func metaBytes(key, value string) int { return entryBytes[string, string]() + len(key) + len(value) }

func probeBytes(_ ProbeKey, v model.Probe) int {
	return entryBytes[ProbeKey, model.Probe]() + textBytes(v.Name, v.Part, v.Reason, v.Hint)
}

func processBytes(_ int32, v model.Process) int {
	return entryBytes[int32, model.Process]() + textBytes(v.Name)
}

func deviceBytes(_ DeviceKey, v model.DeviceConfig) int {
	return entryBytes[DeviceKey, model.DeviceConfig]() + indexedDevice +
		textBytes(v.Device, v.Driver, v.Netns, v.RingSource)
}

// queueBytes counts the copies that a screen shows, too: a device may have
// thousands of queues.
func queueBytes(_ QueueKey, v model.DeviceQueue) int {
	return entryBytes[QueueKey, model.DeviceQueue]() + 2*int(unsafe.Sizeof(QueueKey{})) + 3*int(unsafe.Sizeof(v)) +
		textBytes(v.Device, v.IRQCPUs, v.RPSCPUs)
}

func poolBytes(_ PoolKey, v *Pool) int {
	return entryBytes[PoolKey, *Pool]() + int(unsafe.Sizeof(*v)) + 2*int(unsafe.Sizeof(v)) +
		textBytes(v.Name, v.Reserved, v.NetnsName)
}

// endpointBytes counts the copy that a screen shows, too.
func endpointBytes(_ EndpointKey, v model.RPCEndpoint) int {
	return entryBytes[EndpointKey, model.RPCEndpoint]() + int(unsafe.Sizeof(v)) +
		textBytes(v.Interface, v.Endpoint, v.Process)
}

// Sizes of what is kept of ports: of a port with its places in the indexes, of a
// text beside its bytes, of a page of slots.
const (
	portBytes     = int(unsafe.Sizeof(entry{})) + 2*int(unsafe.Sizeof(link{})) + 8
	portTextBytes = int(unsafe.Sizeof(usedText{})) + 3*int(unsafe.Sizeof(text{}))/2 + 2*budget.MapEntry
	portPageBytes = int(unsafe.Sizeof(page{})) + 3*(int(unsafe.Sizeof(slotPage{}))+8+budget.MapEntry)/2
	manyBytes     = 3 * (int(unsafe.Sizeof(slotKey{})) + int(unsafe.Sizeof(slotUse{})) + budget.MapEntry) / 2
	frameBytes    = int(unsafe.Sizeof(model.Frame{}))
)

func stackBytes(stack model.Stack) int {
	if len(stack) == 0 {
		return 0
	}
	n := 64 + frameBytes*len(stack)
	for i := range stack {
		n += len(stack[i].Name)
	}
	return n
}

// bytes is what the ports take.
func (t *Ports) bytes() int { return t.n*portBytes + t.texts.bytes + t.stackBytes }

// mostBytes is the most that a port may add to them.
func (p *Port) mostBytes() int {
	return portBytes + portPageBytes + manyBytes + 3*portTextBytes + textBytes(p.LocalAddr, p.RemoteAddr, p.Process) +
		stackBytes(p.Stack)
}

// countPorts takes or gives back what the ports have grown or shrunk by.
func (s *State) countPorts() {
	now := s.Ports.bytes() + len(s.slots.pages)*portPageBytes + len(s.slots.many)*manyBytes
	s.budget.Adjust(now - s.portBytes)
	s.taken += now - s.portBytes
	s.portBytes = now
}
