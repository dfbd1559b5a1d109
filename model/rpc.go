package model

// rpcStatusNames are the statuses of Microsoft's RPC that calls fail with
// most, as winerror.h names them.
var rpcStatusNames = map[int64]string{
	5:    "ERROR_ACCESS_DENIED",
	14:   "ERROR_OUTOFMEMORY",
	1717: "RPC_S_UNKNOWN_IF",
	1721: "RPC_S_OUT_OF_RESOURCES",
	1722: "RPC_S_SERVER_UNAVAILABLE",
	1723: "RPC_S_SERVER_TOO_BUSY",
	1726: "RPC_S_CALL_FAILED",
	1727: "RPC_S_CALL_FAILED_DNE",
	1753: "EPT_S_NOT_REGISTERED",
	1818: "RPC_S_CALL_CANCELLED",
	1825: "RPC_S_SEC_PKG_ERROR",
}

// RPCStatusName returns the name of the status of an rpc.call, "" where it has
// none here. A status in the form of an HRESULT has the same name.
func RPCStatusName(status int64) string {
	const fromWin32 = 0x80070000 // HRESULT_FROM_WIN32
	if status&^0xffff == fromWin32 {
		status &= 0xffff
	}
	return rpcStatusNames[status]
}

// Readings that a Windows host gives about its ports and adapters.
const (
	// ReadingRSS is how receive-side scaling of an adapter, the instance, is configured: its value is 1 where it is
	// on, its limit the number of queues, 0 unknown; its detail are the values in the registry.
	ReadingRSS = "rss"
	// ReadingRPCPorts is the configuration of the ports of RPC in the registry. Its instance is one of the states
	// below, its value the number of ports that RPC servers get by default, its detail the configuration or what is
	// wrong with it.
	ReadingRPCPorts = "rpc_ports"
	// ReadingSocketTables says that the tables of all sockets were read, those in TIME_WAIT included. Its value is the
	// number of rows. From the first on, every socket is known that they list.
	ReadingSocketTables = "socket_tables"
)

// States of the configuration of the ports of RPC.
const (
	// RPCPortsValid: servers get ports of the range by default.
	RPCPortsValid = "valid"
	// RPCPortsInvalid: Windows rejects all of it, and servers that ask for a dynamic port get none.
	RPCPortsInvalid = "invalid"
	// RPCPortsAbsent: there is none, and RPC takes ports of the dynamic range.
	RPCPortsAbsent = "absent"
	// RPCPortsOther: there is one, for servers that ask for ports of the other kind (Internet or intranet).
	RPCPortsOther = "other"
)
