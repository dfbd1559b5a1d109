package model

// FirstEphemeral is where the ports begin that a kernel gives to whoever asks for none in particular: there, a number
// says nothing.
const FirstEphemeral = 32768

// ServicePort is the port by which a flow is named: the local one, or the peer's where the kernel chose that one.
func (v *Flow) ServicePort() uint16 {
	if v.RemotePort != 0 && v.LocalPort >= FirstEphemeral {
		return v.RemotePort
	}
	return v.LocalPort
}

// Name names the flow as --heartbeat does: udp:5405, or vrrp, which has no ports.
func (v *Flow) Name() string {
	if v.Protocol == ProtocolOther {
		return "vrrp"
	}
	return v.Protocol.String() + ":" + itoa(uint64(v.ServicePort()))
}
