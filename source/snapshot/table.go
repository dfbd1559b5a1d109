package snapshot

import (
	"bytes"
	"strconv"

	"lostbeat/model"
)

// row is a socket of a table. Texts are numbers of the source's texts.
type row struct {
	local, remote, process uint32
	// pid is the owner, 0 for none that the system names (TIME_WAIT), -1 unknown.
	pid          int32
	lport, rport uint16
	protocol     model.Protocol
	state        connState
	// created is when the socket was bound or connected, 0 unknown.
	created model.Time
}

// kind says which command made a table.
type kind uint8

const (
	kindNetstat kind = iota
	kindPowerShell
	kindSS
	kindLinuxNetstat
	kindProc
	kinds
)

func (k kind) String() string {
	return [kinds]string{"netstat", "Get-NetTCPConnection or Get-NetUDPEndpoint", "ss", "netstat (Linux)",
		"/proc/net"}[k]
}

func (k kind) linux() bool { return k == kindSS || k == kindLinuxNetstat || k == kindProc }

// table is what one command listed at one moment.
type table struct {
	kind kind
	rows []row
	// covers says which protocols it lists: those of which it has a row.
	covers [256]bool
	// boundSeen says that ports that are bound only are listed, ownersSeen that owners are.
	boundSeen, ownersSeen bool
	// at is a time from the text before it, 0 without one.
	at model.Time
	// damaged says that a part of it is missing.
	damaged bool
	// words are states that are not known yet, strange those that were decided by their use.
	words, strange []string
	known          map[string]connState
}

// texts gives texts numbers; 0 is the empty one.
type texts struct {
	ids  map[string]uint32
	list []string
	// full says that rows have no room any more: their texts are not kept either.
	full bool
}

func newTexts() *texts { return &texts{ids: map[string]uint32{"": 0}, list: []string{""}} }

func (t *texts) of(b []byte) uint32 {
	if id, ok := t.ids[string(b)]; ok {
		return id
	}
	return t.add(name(b))
}

func (t *texts) add(s string) uint32 {
	id, ok := t.ids[s]
	if !ok && !t.full {
		id = uint32(len(t.list))
		t.ids[s] = id
		t.list = append(t.list, s)
	}
	return id
}

// maxAddress is the longest address that is kept: IPv6 with a zone.
const maxAddress = 80

// endpoint divides an address and a port: 0.0.0.0:123, [fe80::1%7]:1900, :::22,
// *:*. named says that the port is a name.
func endpoint(b []byte) (addr []byte, port uint16, named, ok bool) {
	i := bytes.LastIndexByte(b, ':')
	if i < 0 || len(b) > maxAddress {
		return nil, 0, false, false
	}
	addr = b[:i]
	if len(addr) >= 2 && addr[0] == '[' && addr[len(addr)-1] == ']' {
		addr = addr[1 : len(addr)-1]
	}
	text := b[i+1:]
	if string(text) == "*" {
		return addr, 0, false, true
	}
	n, err := strconv.ParseUint(string(text), 10, 16)
	if err != nil {
		return addr, 0, len(text) > 0 && !digits(text), len(text) > 0 && !digits(text)
	}
	return addr, uint16(n), false, true
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

// number parses a process or a count.
func number(b []byte) (int32, bool) {
	if !digits(b) {
		return 0, false
	}
	n, err := strconv.ParseInt(string(b), 10, 32)
	return int32(n), err == nil
}
