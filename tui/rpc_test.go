package tui

import (
	"fmt"
	"testing"

	"lostbeat/fold"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/tui/tuitest"
)

// nfsHost is a host that serves files by NFS and has mounted some itself.
func nfsHost() *fold.History {
	const at, own, other = tuitest.Start + second, 4026531840, 4026532001
	s := fold.NewHistory()
	apply(s, func(b *model.Builder) {
		cookie := uint64(0)
		port := func(p model.Protocol, port, remote uint16, pid int32, process string, how model.How, netns int64) {
			cookie++
			v := model.PortActive{
				Time: at, PID: pid, TID: -1, Cookie: cookie, Protocol: p, LocalPort: port, RemotePort: remote, How: how,
				Netns: netns, LocalAddr: "0.0.0.0", Process: process,
			}
			if remote != 0 {
				v.LocalAddr, v.RemoteAddr = "10.0.0.7", "10.0.0.1"
			}
			b.AddPortActive(v)
		}
		b.AddPortPool(model.PortPool{
			Time: at, Protocol: model.ProtocolTCP, Low: 665, High: 1023, Size: 359, Source: model.PoolReserved, Name: "sunrpc",
		})
		port(model.ProtocolTCP, 2049, 0, 0, "", model.HowPresent, own)
		port(model.ProtocolTCP, 2049, 0, 0, "", model.HowPresent, other)
		port(model.ProtocolUDP, 38421, 0, 0, "", model.HowKernel, own)
		port(model.ProtocolTCP, 699, 2049, 0, "", model.HowKernel, own)
		port(model.ProtocolTCP, 801, 111, 0, "", model.HowKernel, own)
		port(model.ProtocolTCP, 20048, 0, 611, "rpc.mountd", model.HowBindPort, own)
		port(model.ProtocolTCP, 111, 0, 580, "rpcbind", model.HowBindPort, own)
		register := func(
			program, netid, address string, p model.Protocol, port uint16, pid int32, process string, versions ...int64,
		) {
			for _, version := range versions {
				b.AddRPCEndpoint(model.RPCEndpoint{
					Time: at, NetnsInode: own, PID: pid, TID: -1, Protocol: p, LocalPort: port, Version: version,
					Interface: program, Endpoint: netid + " " + address, Process: process,
				})
			}
		}
		for _, suffix := range []struct{ netid, host string }{{"", "0.0.0.0"}, {"6", "[::]"}} {
			at := func(port int) string { return fmt.Sprintf("%s:%d", suffix.host, port) }
			register("100000 portmapper", "tcp"+suffix.netid, at(111), model.ProtocolTCP, 111, 580, "rpcbind", 4, 3, 2)
			register("100003 nfs", "tcp"+suffix.netid, at(2049), model.ProtocolTCP, 2049, 0, "", 3, 4)
			register("100005 mountd", "tcp"+suffix.netid, at(20048), model.ProtocolTCP, 20048, 611, "rpc.mountd", 1, 2, 3)
			register("100021 nlockmgr", "udp"+suffix.netid, at(38421), model.ProtocolUDP, 38421, 0, "", 1, 3, 4)
		}
		register("100000 portmapper", "local", "/run/rpcbind.sock", model.ProtocolOther, 0, -1, "", 4, 3)
		register("100024 status", "udp", "0.0.0.0:41233", model.ProtocolUDP, 41233, -1, "", 1)
		b.AddDrop(drop(at, second.Sub(0), 1))
	})
	return s
}

// TestProgramFrames shows RPC programs beside the ports: on the page, and among
// the ports of the kernel.
func TestProgramFrames(t *testing.T) {
	s := nfsHost()
	for _, size := range []struct{ w, h int }{{80, 24}, {120, 40}} {
		for name, keys := range map[string][]string{"ports": {"4"}, "process": {"4", "v", "enter"}} {
			name := fmt.Sprintf("nfs-%dx%d-%s", size.w, size.h, name)
			t.Run(name, func(t *testing.T) {
				content := showBoth(t, s, size.w, size.h, keys...)
				testutil.Golden(t, name+".txt", text(content))
			})
		}
	}
}
