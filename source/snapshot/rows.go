package snapshot

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"

	"lostbeat/model"
)

// maxFields is how many fields of a line are looked at.
const maxFields = 32

// socketRow takes a row of netstat or ss.
func (p *parser) socketRow(line, trimmed []byte) bool {
	if len(trimmed) > 4096 {
		return false
	}
	if line[0] == '\t' && (bytes.Contains(trimmed, []byte("skmem:")) || bytes.Contains(trimmed, []byte("rto:")) ||
		bytes.HasPrefix(trimmed, []byte("ino:"))) {
		return true // the rest of a row of ss
	}
	var list [maxFields][]byte
	fields := split(list[:0], trimmed)
	// Select-String and grep put the file and the number of the line in front.
	if len(fields) > 1 && len(fields[0]) > 2 && fields[0][len(fields[0])-1] == ':' ||
		len(fields) > 1 && string(fields[0]) == ">" {
		fields = fields[1:]
	}
	if len(fields) < 3 {
		return false
	}
	protocol, ok := protocolOf(fields[0])
	if !ok {
		if s, known := stateWords[foldWord(fields[0])]; known && len(fields) >= 5 && digits(fields[1]) && digits(fields[2]) {
			protocol = model.ProtocolTCP
			if string(fields[0]) == "UNCONN" {
				protocol = model.ProtocolUDP
			}
			return p.ss(protocol, s, fields[3:], true)
		}
		if p.set.ps != nil && p.form == formAny && p.psRow(fields) {
			return true
		}
		return otherSocket(fields)
	}
	switch {
	case len(fields) >= 6 && !digits(fields[1]) && digits(fields[2]) && digits(fields[3]):
		s, known := stateWords[foldWord(fields[1])]
		return p.ss(protocol, s, fields[4:], known)
	case len(fields) >= 5 && digits(fields[1]) && digits(fields[2]):
		return p.linuxNetstat(protocol, fields[3:])
	}
	return p.netstat(protocol, fields[1:])
}

// otherSocket says that a row of ss or netstat is of a socket without ports, or begins the list.
func otherSocket(fields [][]byte) bool {
	switch string(fields[0]) {
	case "nl",
		"u_str",
		"u_dgr",
		"u_seq",
		"p_raw",
		"p_dgr",
		"raw",
		"raw6",
		"icmp",
		"icmp6",
		"v_str",
		"v_dgr",
		"xdp",
		"tipc",
		"dccp",
		"sctp",
		"mptcp",
		"unix",
		"???":
		return len(fields) >= 4
	case "Netid", "Proto":
		return true
	}
	return false
}

func split(list [][]byte, line []byte) [][]byte {
	for i := 0; i < len(line) && len(list) < maxFields; {
		if line[i] == ' ' || line[i] == '\t' {
			i++
			continue
		}
		start := i
		for i < len(line) && line[i] != ' ' && line[i] != '\t' {
			i++
		}
		list = append(list, line[start:i])
	}
	return list
}

func protocolOf(b []byte) (model.Protocol, bool) {
	if len(b) < 3 || len(b) > 5 {
		return 0, false
	}
	switch string(bytes.ToLower(b)) {
	case "tcp", "tcp4", "tcp6", "tcpv6":
		return model.ProtocolTCP, true
	case "udp", "udp4", "udp6", "udpv6":
		return model.ProtocolUDP, true
	}
	return 0, false
}

// ends takes the two addresses of a row; ok is false when they are none.
func (p *parser) ends(r *row, local, remote []byte) bool {
	addr, port, named, ok := endpoint(local)
	if !ok {
		return false
	}
	peer, rport, peerNamed, ok := endpoint(remote)
	if !ok {
		return false
	}
	if named || peerNamed {
		p.named++
		r.lport = 0
		return true
	}
	r.lport, r.rport = port, rport
	r.local = p.set.texts.of(addr)
	if rport != 0 {
		r.remote = p.set.texts.of(peer)
	}
	return true
}

// netstat takes the rest of a row of Windows' netstat.
func (p *parser) netstat(protocol model.Protocol, fields [][]byte) bool {
	r := row{protocol: protocol, pid: -1}
	if len(fields) < 2 || !p.ends(&r, fields[0], fields[1]) {
		if _, _, _, ok := endpoint(fields[0]); ok {
			p.bad++
			return true
		}
		return false
	}
	rest := fields[2:]
	for i := len(rest) - 1; i >= 0 && i >= len(rest)-2; i-- { // -t puts the offload state behind it
		if pid, ok := number(rest[i]); ok {
			r.pid, rest = pid, rest[:i]
			break
		}
	}
	t := p.current(kindNetstat)
	if protocol == model.ProtocolUDP {
		r.state = stateOpen
	} else {
		if len(rest) == 0 {
			p.bad++
			return true
		}
		r.state = t.state(bytes.Join(rest, []byte("_")))
	}
	p.owner = r.pid
	if r.lport != 0 {
		p.add(t, r)
	}
	return true
}

// linuxNetstat takes the rest of a row of Linux' netstat: addresses, the state of TCP, user and inode, process, timer.
func (p *parser) linuxNetstat(protocol model.Protocol, fields [][]byte) bool {
	r := row{protocol: protocol, pid: -1, state: stateOpen}
	if !p.ends(&r, fields[0], fields[1]) {
		return false
	}
	t := p.current(kindLinuxNetstat)
	for i, f := range fields[2:] {
		if s, ok := stateWords[foldWord(f)]; ok && i == 0 && !digits(f) {
			if r.state = s; protocol == model.ProtocolUDP {
				r.state = stateOpen
			}
		}
		if pid, program, ok := bytes.Cut(f, []byte("/")); ok && i > 0 || ok && protocol == model.ProtocolUDP {
			if n, ok := number(pid); ok {
				r.pid = n
				r.process = p.set.texts.of(bytes.TrimSuffix(program[:min(len(program), 64)], []byte(":")))
				break
			}
		}
	}
	if r.state == stateTimeWait {
		r.pid = 0
	}
	if r.lport != 0 {
		p.add(t, r)
	}
	return true
}

// ss takes the addresses and the process of a row of ss.
func (p *parser) ss(protocol model.Protocol, s connState, fields [][]byte, known bool) bool {
	r := row{protocol: protocol, pid: -1, state: s}
	if len(fields) < 2 || !p.ends(&r, fields[0], fields[1]) {
		return false
	}
	if !known {
		p.bad++
		return true
	}
	if protocol == model.ProtocolUDP {
		r.state = stateOpen
	}
	for _, f := range fields[2:] {
		rest, ok := bytes.CutPrefix(f, []byte(`users:(("`))
		if !ok {
			continue
		}
		if end := bytes.IndexByte(rest, '"'); end >= 0 {
			r.process = p.set.texts.of(rest[:min(end, 64)])
		}
		if i := bytes.Index(rest, []byte("pid=")); i >= 0 {
			n := i + 4
			for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
				n++
			}
			if pid, ok := number(rest[i+4 : n]); ok {
				r.pid = pid
			}
		}
	}
	if r.state == stateTimeWait {
		r.pid = 0
	}
	if r.lport != 0 {
		p.add(p.current(kindSS), r)
	}
	return true
}

// procStates are the states of /proc/net/tcp by number.
var procStates = [...]connState{
	1:  stateEstablished,
	6:  stateTimeWait,
	8:  stateCloseWait,
	10: stateListen,
	12: stateOther,
}

// procRow takes a row of /proc/net/tcp and its like.
func (p *parser) procRow(trimmed []byte) bool {
	var list [maxFields][]byte
	fields := split(list[:0], trimmed)
	if len(fields) < 4 || !bytes.HasSuffix(fields[0], []byte(":")) {
		return false
	}
	local, lport, ok := hexEndpoint(fields[1])
	remote, rport, okRemote := hexEndpoint(fields[2])
	st, err := strconv.ParseUint(string(fields[3]), 16, 8)
	if !ok || !okRemote || err != nil {
		p.bad++
		return true
	}
	r := row{protocol: model.ProtocolTCP, pid: -1, lport: lport, rport: rport, local: p.set.texts.add(local)}
	if rport != 0 {
		r.remote = p.set.texts.add(remote)
	}
	if int(st) < len(procStates) {
		r.state = procStates[st]
	}
	if p.rangeOf == "udp" {
		r.protocol, r.state = model.ProtocolUDP, stateOpen
	}
	if r.state == stateTimeWait {
		r.pid = 0
	}
	if lport != 0 {
		p.add(p.current(kindProc), r)
	}
	return true
}

// hexEndpoint reads an address of /proc/net: 32-bit words in the host's byte order, little endian nearly everywhere.
func hexEndpoint(b []byte) (addr string, port uint16, ok bool) {
	text, portText, found := bytes.Cut(b, []byte(":"))
	n, err := strconv.ParseUint(string(portText), 16, 16)
	if !found || err != nil || len(text) != 8 && len(text) != 32 {
		return "", 0, false
	}
	var raw [16]byte
	size, err := hex.Decode(raw[:], text)
	if err != nil {
		return "", 0, false
	}
	for i := 0; i < size; i += 4 {
		binary.BigEndian.PutUint32(raw[i:], binary.LittleEndian.Uint32(raw[i:]))
	}
	a, _ := netip.AddrFromSlice(raw[:size])
	return a.Unmap().String(), uint16(n), true
}
