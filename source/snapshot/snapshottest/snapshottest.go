// Package snapshottest writes tables of sockets as the systems' own commands do.
package snapshottest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf16"
)

// Socket is one socket of a host.
type Socket struct {
	// UDP says that it is one of UDP; State is Windows' word of netstat for one of TCP.
	UDP          bool
	State        string
	Local        string
	LocalPort    int
	Remote       string
	RemotePort   int
	PID          int
	Process      string
	CreationTime time.Time
}

// Form is how a table is written.
type Form struct {
	// Name says which command wrote it.
	Name string
	// Write writes the table.
	Write func([]Socket) []byte
	// Owners says that it names owners, Bound that it has sockets that are bound only.
	Owners, Bound bool
}

// German are the words of a German Windows for states.
var German = map[string]string{"LISTENING": "ABHÖREN", "ESTABLISHED": "HERGESTELLT", "TIME_WAIT": "WARTEND",
	"CLOSE_WAIT": "SCHLIESSEN_WARTEN", "BOUND": "GEBUNDEN"}

// Strange are words of no language.
var Strange = map[string]string{"LISTENING": "聽著", "ESTABLISHED": "ÆØÅ", "TIME_WAIT": "ŽŽ ŽŽ",
	"CLOSE_WAIT": "CLOSE_WAIT", "BOUND": "ŁŁŁ"}

// Forms are the forms of tables. Those of TCP alone, or of UDP alone, leave out the other.
var Forms = []Form{
	{"netstat -anoq", Netstat(nil, "LF"), true, true},
	{"netstat -anoq, German, code page 850", func(s []Socket) []byte {
		return bytes.ReplaceAll(Netstat(German, "CRLF")(s), []byte("Ö"), []byte{0x99})
	}, true, true},
	{"netstat -anoq, German, code page 1252", func(s []Socket) []byte {
		return bytes.ReplaceAll(Netstat(German, "CRLF")(s), []byte("Ö"), []byte{0xd6})
	}, true, true},
	{
		"netstat -anoq, UTF-16LE",
		func(s []Socket) []byte { return UTF16(Netstat(German, "CRLF")(s), false, true) },
		true,
		true,
	},
	{"netstat -anoq, UTF-16BE", func(s []Socket) []byte { return UTF16(Netstat(nil, "CRLF")(s), true, true) }, true, true},
	{"netstat -anoq, UTF-16LE without a mark", func(s []Socket) []byte {
		return UTF16(Netstat(nil, "CRLF")(s), false, false)
	}, true, true},
	{"netstat -anoq, unknown words", Netstat(Strange, "CRLF"), true, true},
	{"a report in UTF-16LE with netstat in code page 850", func(s []Socket) []byte {
		head := UTF16([]byte("===== netstat -anoq =====\r\n\r\n"), false, true)
		return append(head, bytes.ReplaceAll(Netstat(German, "CRLF")(s), []byte("Ö"), []byte{0x99})...)
	}, true, true},
	{"PowerShell table", func(s []Socket) []byte { return append(psTable(s, false), psTable(s, true)...) }, true, true},
	{"PowerShell table, UTF-16LE", func(s []Socket) []byte {
		return UTF16(append(psTable(s, false), psTable(s, true)...), false, true)
	}, true, true},
	{"PowerShell list", psList, true, true},
	{
		"PowerShell CSV",
		func(s []Socket) []byte { return append(psCSV(s, false, ","), psCSV(s, true, ",")...) },
		true,
		true,
	},
	{"PowerShell CSV, culture", func(s []Socket) []byte {
		return append(psCSV(s, false, ";"), psCSV(s, true, ";")...)
	}, true, true},
	{"PowerShell JSON", psJSON, true, true},
	{"PowerShell JSON, UTF-16LE", func(s []Socket) []byte { return UTF16(psJSON(s), false, true) }, true, true},
	{"ss -tunap", ss, true, false},
	{"netstat -tunap", linuxNetstat, true, false},
	{"/proc/net", procNet, false, false},
}

// Netstat returns a writer of netstat -anoq of Windows, with translated states and these ends of lines.
func Netstat(words map[string]string, ends string) func([]Socket) []byte {
	return func(list []Socket) []byte {
		var b bytes.Buffer
		b.WriteString("\nActive Connections\n\n  Proto  Local Address          Foreign Address        State           PID\n")
		for _, s := range list {
			if s.UDP {
				fmt.Fprintf(&b, "  %-6s %-22s %-22s %-15s %d\n", "UDP", end(s.Local, s.LocalPort), "*:*", "", s.PID)
				continue
			}
			state := s.State
			if w, ok := words[state]; ok {
				state = w
			}
			remote := end(s.Remote, s.RemotePort)
			if s.RemotePort == 0 {
				remote = end(anyOf(s.Local), 0)
			}
			fmt.Fprintf(&b, "  %-6s %-22s %-22s %-15s %d\n", "TCP", end(s.Local, s.LocalPort), remote, state, s.PID)
		}
		if ends == "CRLF" {
			return bytes.ReplaceAll(b.Bytes(), []byte("\n"), []byte("\r\n"))
		}
		return b.Bytes()
	}
}

func anyOf(addr string) string {
	if strings.Contains(addr, ":") {
		return "::"
	}
	return "0.0.0.0"
}

func end(addr string, port int) string {
	if strings.Contains(addr, ":") {
		return fmt.Sprintf("[%s]:%d", addr, port)
	}
	return fmt.Sprintf("%s:%d", addr, port)
}

// UTF16 writes text in UTF-16, with or without a byte order mark.
func UTF16(text []byte, bigEndian, mark bool) []byte {
	var order binary.ByteOrder = binary.LittleEndian
	if bigEndian {
		order = binary.BigEndian
	}
	var out []byte
	add := func(u uint16) { out = append(out, 0, 0); order.PutUint16(out[len(out)-2:], u) }
	if mark {
		add(0xfeff)
	}
	for _, u := range utf16.Encode([]rune(string(text))) {
		add(u)
	}
	return out
}

// psStates are PowerShell's words and numbers for states.
var psStates = map[string]struct {
	word   string
	number int
}{"LISTENING": {"Listen", 2}, "ESTABLISHED": {"Established", 5}, "TIME_WAIT": {"TimeWait", 11},
	"CLOSE_WAIT": {"CloseWait", 8}, "BOUND": {"Bound", 100}}

func only(list []Socket, udp bool) (out []Socket) {
	for _, s := range list {
		if s.UDP == udp {
			out = append(out, s)
		}
	}
	return out
}

func psTable(list []Socket, udp bool) []byte {
	var b bytes.Buffer
	list = only(list, udp)
	if len(list) == 0 {
		return nil
	}
	if udp {
		b.WriteString("\r\nLocalAddress                             LocalPort OwningProcess\r\n" +
			"------------                             --------- -------------\r\n")
		for _, s := range list {
			fmt.Fprintf(&b, "%-40s %9d %13d\r\n", s.Local, s.LocalPort, s.PID)
		}
	} else {
		b.WriteString(
			"\r\nLocalAddress                             LocalPort RemoteAddress              RemotePort State       " +
				"AppliedSetting OwningProcess\r\n" +
				"------------                             --------- -------------              ---------- -----       " +
				"-------------- -------------\r\n",
		)
		for _, s := range list {
			remote := s.Remote
			if s.RemotePort == 0 {
				remote = anyOf(s.Local)
			}
			fmt.Fprintf(&b, "%-40s %-9d %-26s %-10d %-11s %-14s %-13d\r\n", s.Local, s.LocalPort, remote, s.RemotePort,
				psStates[s.State].word, "", s.PID)
		}
	}
	b.WriteString("\r\n\r\n")
	return b.Bytes()
}

func psList(list []Socket) []byte {
	var b bytes.Buffer
	for _, s := range list {
		fmt.Fprintf(&b, "\r\nLocalAddress   : %s\r\nLocalPort      : %d\r\n", s.Local, s.LocalPort)
		if !s.UDP {
			fmt.Fprintf(&b, "RemoteAddress  : %s\r\nRemotePort     : %d\r\nState          : %s\r\n", s.Remote, s.RemotePort,
				psStates[s.State].word)
		}
		fmt.Fprintf(&b, "OwningProcess  : %d\r\n", s.PID)
	}
	return b.Bytes()
}

func psCSV(list []Socket, udp bool, sep string) []byte {
	var b bytes.Buffer
	list = only(list, udp)
	if len(list) == 0 {
		return nil
	}
	b.WriteString("#TYPE Selected.Microsoft.Management.Infrastructure.CimInstance\r\n")
	names := []string{"LocalAddress", "LocalPort", "OwningProcess", "CreationTime"}
	if !udp {
		names = append(names, "RemoteAddress", "RemotePort", "State")
	}
	row := func(cells []string) { fmt.Fprintf(&b, "\"%s\"\r\n", strings.Join(cells, `"`+sep+`"`)) }
	row(names)
	for _, s := range list {
		created := ""
		if !s.CreationTime.IsZero() {
			created = s.CreationTime.Format("1/2/2006 3:04:05 PM")
			if sep == ";" {
				created = s.CreationTime.Format("02.01.2006 15:04:05")
			}
		}
		cells := []string{s.Local, fmt.Sprint(s.LocalPort), fmt.Sprint(s.PID), created}
		if !udp {
			cells = append(cells, s.Remote, fmt.Sprint(s.RemotePort), psStates[s.State].word)
		}
		row(cells)
	}
	return b.Bytes()
}

func psJSON(list []Socket) []byte {
	var out []map[string]any
	for _, s := range list {
		o := map[string]any{"LocalAddress": s.Local, "LocalPort": s.LocalPort, "OwningProcess": s.PID,
			"CimClass": map[string]any{"Name": "a } in a string"}}
		if !s.CreationTime.IsZero() {
			o["CreationTime"] = fmt.Sprintf("/Date(%d)/", s.CreationTime.UnixMilli())
		}
		if !s.UDP {
			o["RemoteAddress"], o["RemotePort"], o["State"] = s.Remote, s.RemotePort, psStates[s.State].number
		}
		out = append(out, o)
	}
	b, err := json.Marshal(out)
	if err != nil {
		panic(err) // numbers and texts
	}
	return b
}

// linuxStates are the words of ss and of Linux' netstat, and the numbers of the kernel.
var linuxStates = map[string]struct{ ss, netstat, number string }{
	"LISTENING": {"LISTEN", "LISTEN", "0A"}, "ESTABLISHED": {"ESTAB", "ESTABLISHED", "01"},
	"TIME_WAIT": {"TIME-WAIT", "TIME_WAIT", "06"}, "CLOSE_WAIT": {"CLOSE-WAIT", "CLOSE_WAIT", "08"},
}

func ss(list []Socket) []byte {
	var b bytes.Buffer
	b.WriteString("RTNETLINK answers: Invalid argument\n" +
		"Netid State      Recv-Q Send-Q         Local Address:Port    Peer Address:Port Process\n")
	for _, s := range list {
		proto, state := "tcp", linuxStates[s.State].ss
		if s.UDP {
			proto, state = "udp", "UNCONN"
		} else if state == "" {
			continue
		}
		remote := end(s.Remote, s.RemotePort)
		if s.RemotePort == 0 {
			remote = "*:*"
		}
		users := ""
		if s.State != "TIME_WAIT" {
			users = fmt.Sprintf(` users:(("%s",pid=%d,fd=7))`, s.Process, s.PID)
		}
		fmt.Fprintf(&b, "%-5s %-10s 0      0      %20s %20s%s ino:1 sk:1 cgroup:/x <->\n", proto, state,
			end(s.Local, s.LocalPort), remote, users)
		b.WriteString("\t skmem:(r0,rb212992,t0,tb212992,f0,w0,o0,bl0,d0)\n")
	}
	return b.Bytes()
}

func linuxNetstat(list []Socket) []byte {
	var b bytes.Buffer
	b.WriteString("Active Internet connections (servers and established)\n" +
		"Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name    \n")
	for _, s := range list {
		proto, state := "tcp", linuxStates[s.State].netstat
		if s.UDP {
			proto, state = "udp", ""
		} else if state == "" {
			continue
		}
		local := fmt.Sprintf("%s:%d", s.Local, s.LocalPort)
		remote := fmt.Sprintf("%s:%d", s.Remote, s.RemotePort)
		if s.RemotePort == 0 {
			remote = anyOf(s.Local) + ":*"
		}
		owner := "-"
		if s.State != "TIME_WAIT" {
			owner = fmt.Sprintf("%d/%s", s.PID, s.Process)
		}
		fmt.Fprintf(&b, "%-5s      0      0 %-23s %-23s %-11s %s\n", proto, local, remote, state, owner)
	}
	return b.Bytes()
}

func procNet(list []Socket) []byte {
	var b bytes.Buffer
	for _, udp := range []bool{false, true} {
		b.WriteString("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode")
		if udp {
			b.WriteString(" ref pointer drops")
		}
		b.WriteString("             \n")
		for i, s := range only(list, udp) {
			state := linuxStates[s.State].number
			if udp {
				state = "07"
			} else if state == "" {
				continue
			}
			fmt.Fprintf(&b, "%4d: %s:%04X %s:%04X %s 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100\n", i,
				procAddr(s.Local), s.LocalPort, procAddr(s.Remote), s.RemotePort, state)
		}
	}
	return b.Bytes()
}

func procAddr(text string) string {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return "00000000"
	}
	raw := a.AsSlice()
	var out strings.Builder
	for i := 0; i < len(raw); i += 4 {
		fmt.Fprintf(&out, "%08X", binary.LittleEndian.Uint32(raw[i:]))
	}
	return out.String()
}
