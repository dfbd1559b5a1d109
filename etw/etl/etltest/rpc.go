package etltest

import (
	"time"

	"lostbeat/etw"
)

// RPCServer is a program that opens and closes RPC endpoints in a range of ports that a firewall lets pass, as in
// Microsoft's KB 814622. When no port is left, RpcServerUseProtseq fails with RPC_S_OUT_OF_RESOURCES.
type RPCServer struct {
	// Low is the lowest port of the range, Ports how many it has; 0 ports: none can be had from the start.
	Low   uint16
	Ports int
	// TCP asks for TCP ports, otherwise UDP ones.
	TCP bool
	// Every is the time between two endpoints, Open how long each is open, Length that of the trace.
	Every, Open, Length time.Duration
	// Rest is after which time a closed port can be had again; 0 never, as after a leak inside the RPC runtime.
	Rest time.Duration
	// Status is what the failing calls return; 0 means RPC_S_OUT_OF_RESOURCES.
	Status uint32
}

const (
	// RPCServerPID is the process, RPCServerName its name.
	RPCServerPID  = 700
	RPCServerName = "cluster.exe"

	outOfResources = 1721
)

// Closed is when an endpoint was closed, and which port it had.
type Closed struct {
	Port uint16
	At   time.Duration
}

// Write adds what the program does to a trace. It returns when each port was closed.
func (s RPCServer) Write(w *Writer) (closed []Closed) {
	w.Process(1, 1e6, RPCServerPID, RPCServerName, RPCServerName)
	sequence, status := "ncadg_ip_udp", s.Status
	if s.TCP {
		sequence = "ncacn_ip_tcp"
	}
	if status == 0 {
		status = outOfResources
	}
	free := make([]time.Duration, s.Ports)
	const never = 1 << 62
	next := 0
	for at, n := s.Every, uint64(0); at+s.Open < s.Length; at, n = at+s.Every, n+1 {
		ns, call := int64(at), GUIDOf(uint8(n))
		start := NewPayload(8).UTF16(sequence).UTF16("").UTF16("").U32(10).U32(0).U32(0)
		w.Event(0, ns, etw.ProviderRPC, 16, 1, RPCServerPID, RPCServerPID+4, call, start)
		tries := 0
		for ; tries < s.Ports && free[next%s.Ports] > at; tries++ {
			next++
		}
		result := status
		if tries < s.Ports {
			result = 0
			slot, endpoint := next%s.Ports, 0xffffa00000000000+n<<12
			next++
			if s.TCP {
				w.StreamSocket(0, ns+10_000, endpoint, RPCServerPID)
			} else {
				w.Socket(0, ns+10_000, endpoint, RPCServerPID)
			}
			port := s.Low + uint16(slot)
			w.Bind(0, ns+20_000, endpoint, RPCServerPID, port, port, 0)
			w.CloseSocket(0, ns+int64(s.Open), endpoint, RPCServerPID)
			closed = append(closed, Closed{port, at + s.Open})
			free[slot] = never
			if s.Rest > 0 {
				free[slot] = at + s.Open + s.Rest
			}
		}
		w.Event(0, ns+50_000, etw.ProviderRPC, 17, 1, RPCServerPID, RPCServerPID+4, call, NewPayload(8).U32(result))
	}
	return closed
}

// Trace returns a trace of what the program does.
func (s RPCServer) Trace(o Options) []byte {
	w := New(o)
	s.Write(w)
	return w.Bytes()
}
