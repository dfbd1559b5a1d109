package confirm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// tableInfo is struct ipt_getinfo, the same for IPv6.
type tableInfo struct {
	Name      [32]byte
	Hooks     uint32
	Entry     [5]uint32 // where the rules of each hook begin
	Underflow [5]uint32 // where its policy stands
	Rules     uint32
	Size      uint32
}

// hookAt returns the hook that has its place at an offset, -1 none.
func (t *tableInfo) hookAt(places [5]uint32, offset int) int {
	for hook, place := range places {
		if t.Hooks&(1<<hook) != 0 && place == uint32(offset) {
			return hook
		}
	}
	return -1
}

// entryLayout is where the parts of struct ipt_entry or ip6t_entry are.
type entryLayout struct {
	addressBytes, protocol, input, inverted int
	target, next, counters, size            int
}

// Layouts of 64-bit kernels.
var (
	entryLayout4 = entryLayout{
		addressBytes: 4, protocol: 80, input: 16, inverted: 83, target: 88, next: 90, counters: 96, size: 112,
	}
	entryLayout6 = entryLayout{
		addressBytes: 16, protocol: 128, input: 64, inverted: 132, target: 140, next: 142, counters: 152, size: 168,
	}
)

// Flags of conditions that must not hold; destination and output are one bit up.
const (
	invertedInput    = 0x01 // IPT_INV_VIA_IN
	invertedSource   = 0x08 // IPT_INV_SRCIP
	invertedProtocol = 0x40 // XT_INV_PROTO
)

var errEntries = errors.New("the rules are malformed")

// Sizes of struct xt_entry_match and xt_entry_target, and of the name in them.
const (
	xtHead    = 32
	xtNameEnd = 31
)

// parseEntries reads the rules of a table. It returns those that drop, and how
// many there are.
func parseEntries(table string, l entryLayout, info tableInfo, data []byte) (dropping []rule, rules int, err error) {
	chain, number := "", 0
	for offset := 0; offset < len(data); {
		if len(data)-offset < l.size {
			return nil, 0, errEntries
		}
		entry := data[offset:]
		target := int(binary.NativeEndian.Uint16(entry[l.target:]))
		next := int(binary.NativeEndian.Uint16(entry[l.next:]))
		if target < l.size || next < target+xtHead || next > len(entry) {
			return nil, 0, errEntries
		}
		entry = entry[:next]
		if i := info.hookAt(info.Entry, offset); i >= 0 {
			chain, number = strings.ToUpper(hookNames[i]), 0
		}
		name := text(entry[target+2 : target+xtNameEnd])
		switch name {
		case "ERROR": // begins a chain of the user's, or ends the table
			chain, number = text(entry[target+xtHead:]), 0
		default:
			number++
			rules++
			r := rule{
				where: fmt.Sprintf("%s %s rule %d", table, chain, number), counted: true,
				packets: binary.NativeEndian.Uint64(entry[l.counters:]),
			}
			if info.hookAt(info.Underflow, offset) >= 0 {
				r.where = fmt.Sprintf("%s %s policy", table, chain)
				rules--
			}
			if verdict := verdictOf(name, entry[target+xtHead:]); verdict != "" {
				words, err := l.matches(entry[:target])
				if err != nil {
					return nil, 0, err
				}
				r.text = shorten(strings.Join(append(words, verdict), " "))
				dropping = append(dropping, r)
			}
		}
		offset += next
	}
	return dropping, rules, nil
}

// verdictOf returns how a target drops, empty when it does not.
func verdictOf(name string, data []byte) string {
	switch name {
	case "REJECT":
		return "reject"
	case "": // the standard target: -1 - verdict
		if len(data) >= 4 && int32(binary.NativeEndian.Uint32(data)) == -1-nfDrop {
			return "drop"
		}
	}
	return ""
}

// matches describes what an entry, without its target, matches.
func (l entryLayout) matches(entry []byte) (words []string, err error) {
	not := func(flag byte) string {
		if entry[l.inverted]&flag != 0 {
			return "! "
		}
		return ""
	}
	for i, name := range []string{"saddr", "daddr"} {
		address, _ := netip.AddrFromSlice(entry[i*l.addressBytes : (i+1)*l.addressBytes])
		mask := entry[(2+i)*l.addressBytes : (3+i)*l.addressBytes]
		bits := 0
		for _, b := range mask {
			for ; b != 0; b &= b - 1 {
				bits++
			}
		}
		if bits > 0 {
			words = append(words, not(invertedSource<<i)+name+" "+netip.PrefixFrom(address, bits).String())
		}
	}
	for i, name := range []string{"iifname", "oifname"} {
		if device := text(entry[l.input+16*i : l.input+16*i+16]); device != "" {
			words = append(words, not(invertedInput<<i)+name+" "+device)
		}
	}
	if p := binary.NativeEndian.Uint16(entry[l.protocol:]); p != 0 {
		name, ok := protocols[uint64(p)]
		if !ok {
			name = fmt.Sprint(p)
		}
		words = append(words, not(invertedProtocol)+name)
	}
	for rest := entry[l.size:]; len(rest) > 0; {
		if len(rest) < xtHead {
			return nil, errEntries
		}
		size := int(binary.NativeEndian.Uint16(rest))
		if size < xtHead || size > len(rest) {
			return nil, errEntries
		}
		switch name := text(rest[2:xtNameEnd]); name {
		case "udp", "tcp":
			if ports := xtPorts(rest[xtHead:size]); ports != "" {
				words = append(words, ports)
			}
		default:
			words = append(words, name)
		}
		rest = rest[size:]
	}
	return words, nil
}
