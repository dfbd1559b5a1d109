package confirm

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// maxText bounds the description of a rule.
const maxText = 160

// rule is a rule, or the policy of a chain, that drops packets.
type rule struct {
	// where is family, table, chain and place.
	where string
	// text says what it matches and what it does.
	text string
	// packets is its counter; counted says that it has one.
	packets uint64
	counted bool
}

// sortRules puts those that have dropped most first.
func sortRules(rules []rule) {
	slices.SortStableFunc(rules, func(a, b rule) int { return cmp.Compare(b.packets, a.packets) })
}

// ruleset is what is known of the rules of nftables.
type ruleset struct {
	rules, chains int
	// maps is how many rules look a verdict up.
	maps int
	// dropping are the rules and policies that drop.
	dropping []rule
}

// errAttribute is a netlink message that ends within an attribute.
var errAttribute = errors.New("netfilter message is cut short")

// attributes calls f for each netlink attribute.
func attributes(data []byte, f func(kind uint16, value []byte)) error {
	for len(data) > 0 {
		if len(data) < 4 {
			return errAttribute
		}
		length := int(binary.NativeEndian.Uint16(data))
		if length < 4 || length > len(data) {
			return errAttribute
		}
		f(binary.NativeEndian.Uint16(data[2:])&0x3fff, data[4:length])
		data = data[min((length+3)&^3, len(data)):]
	}
	return nil
}

// Attributes of nf_tables (linux/netfilter/nf_tables.h). Their numbers are big endian.
const (
	chainTable, chainName, chainHook, chainPolicy, chainCounters = 1, 3, 4, 5, 8
	hookNumber, hookPriority                                     = 1, 2
	ruleTable, ruleChain, ruleHandle, ruleExpressions            = 1, 2, 3, 4
	expressionName, expressionData                               = 1, 2
	counterPackets                                               = 2
	immediateRegister, immediateData                             = 1, 2
	dataValue, dataVerdict                                       = 1, 2
	verdictCode                                                  = 1
	lookupSet, lookupDestination                                 = 1, 3
	payloadBase, payloadOffset, payloadLength                    = 2, 3, 4
	compareOperator, compareData                                 = 2, 3
	loadKey                                                      = 2 // of meta and ct
	rangeFrom, rangeTo                                           = 3, 4
	matchName, matchInfo                                         = 1, 3 // and of targets
	nfDrop                                                       = 0    // NF_DROP
)

// hookNames are those of the IP families.
var hookNames = []string{"prerouting", "input", "forward", "output", "postrouting"}

func text(value []byte) string {
	s, _, _ := strings.Cut(string(value), "\x00")
	return s
}

func number(value []byte) (n uint64) {
	for _, b := range value[:min(len(value), 8)] {
		n = n<<8 | uint64(b)
	}
	return n
}

// family returns the name of the family of a message with its struct nfgenmsg.
func family(message []byte) (name string, rest []byte, err error) {
	if len(message) < 4 {
		return "", nil, errAttribute
	}
	name, ok := nfFamilies[message[0]]
	if !ok {
		name = strconv.Itoa(int(message[0]))
	}
	return name, message[4:], nil
}

// addChain adds a chain whose policy is to drop.
func (s *ruleset) addChain(message []byte) error {
	name, rest, err := family(message)
	if err != nil {
		return err
	}
	s.chains++
	var table, chain, hook string
	var drops bool
	var r rule
	err = attributes(rest, func(kind uint16, value []byte) {
		switch kind {
		case chainTable:
			table = text(value)
		case chainName:
			chain = text(value)
		case chainPolicy:
			drops = number(value) == nfDrop
		case chainHook:
			err = errors.Join(err, attributes(value, func(kind uint16, value []byte) {
				switch n := number(value); kind {
				case hookNumber:
					if hook = fmt.Sprint("hook ", n); n < uint64(len(hookNames)) && name != "netdev" {
						hook = hookNames[n]
					}
				case hookPriority:
					hook += fmt.Sprint(" priority ", int32(n))
				}
			}))
		case chainCounters:
			err = errors.Join(err, r.count(value))
		}
	})
	if drops {
		r.where, r.text = fmt.Sprintf("%s %s %s policy", name, table, chain), "policy drop, "+hook
		s.dropping = append(s.dropping, r)
	}
	return err
}

// count reads a counter.
func (r *rule) count(counter []byte) error {
	return attributes(counter, func(kind uint16, value []byte) {
		if kind == counterPackets {
			r.packets, r.counted = number(value), true
		}
	})
}

// addRule adds a rule when it drops or rejects.
func (s *ruleset) addRule(message []byte) error {
	name, rest, err := family(message)
	if err != nil {
		return err
	}
	s.rules++
	var table, chain string
	var handle uint64
	p := expressions{}
	var failed error
	err = attributes(rest, func(kind uint16, value []byte) {
		switch kind {
		case ruleTable:
			table = text(value)
		case ruleChain:
			chain = text(value)
		case ruleHandle:
			handle = number(value)
		case ruleExpressions:
			failed = attributes(value, func(_ uint16, value []byte) { p.add(value) })
		}
	})
	if p.looksUp {
		s.maps++
	}
	if p.drops {
		p.rule.where = fmt.Sprintf("%s %s %s handle %d", name, table, chain, handle)
		p.rule.text = shorten(strings.Join(p.words, " "))
		s.dropping = append(s.dropping, p.rule)
	}
	return errors.Join(err, failed, p.err)
}

// shorten cuts a description.
func shorten(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "..."
	}
	return s
}

// expressions describes the expressions of a rule as far as they are known.
type expressions struct {
	rule  rule
	words []string
	// loaded is what the last expression has put into a register.
	loaded string
	// drops and looksUp say what becomes of a packet.
	drops, looksUp bool
	err            error
}

// add adds one expression.
func (p *expressions) add(data []byte) {
	var name string
	var values [16][]byte // the attributes of the expression by number
	p.fail(attributes(data, func(kind uint16, value []byte) {
		switch kind {
		case expressionName:
			name = text(value)
		case expressionData:
			p.fail(attributes(value, func(kind uint16, value []byte) {
				if int(kind) < len(values) {
					values[kind] = value
				}
			}))
			if name == "counter" {
				p.fail(p.rule.count(value))
			}
		}
	}))
	switch name {
	case "counter":
	case "immediate":
		p.immediate(values[immediateRegister], values[immediateData])
	case "reject":
		p.drops = true
		p.words = append(p.words, "reject")
	case "meta", "ct":
		p.loaded = loadedKey(name, number(values[loadKey]))
	case "payload":
		p.loaded = loadedField(number(values[payloadBase]), number(values[payloadOffset]), number(values[payloadLength]))
	case "cmp":
		p.words = append(p.words, p.loaded+operator(number(values[compareOperator]))+p.constant(values[compareData]))
	case "range":
		p.words = append(p.words, fmt.Sprintf("%s %s-%s", p.loaded, p.constant(values[rangeFrom]),
			p.constant(values[rangeTo])))
	case "lookup":
		p.words = append(p.words, p.loaded+" @"+text(values[lookupSet]))
		p.looksUp = p.looksUp || values[lookupDestination] != nil && number(values[lookupDestination]) == 0
	case "match", "target":
		p.extension(text(values[matchName]), values[matchInfo])
	case "bitwise", "byteorder": // between what is loaded and its comparison
	default:
		p.words = append(p.words, name)
	}
}

func (p *expressions) fail(err error) { p.err = errors.Join(p.err, err) }

// immediate reads a verdict.
func (p *expressions) immediate(register, data []byte) {
	if number(register) != 0 {
		return // a value, not a verdict
	}
	p.fail(attributes(data, func(kind uint16, value []byte) {
		if kind != dataVerdict {
			return
		}
		p.fail(attributes(value, func(kind uint16, value []byte) {
			if kind == verdictCode && number(value) == nfDrop {
				p.drops = true
				p.words = append(p.words, "drop")
			}
		}))
	}))
}

// extension reads a match or a target of iptables.
func (p *expressions) extension(name string, info []byte) {
	switch name {
	case "DROP", "REJECT":
		p.drops = true
	case "udp", "tcp":
		if ports := xtPorts(info); ports != "" {
			name += " " + ports
		}
	}
	p.words = append(p.words, name)
}

// xtPorts reads the ranges of source and destination ports that the matches
// udp and tcp of iptables begin with.
func xtPorts(info []byte) string {
	if len(info) < 8 {
		return ""
	}
	var words []string
	for i, name := range []string{"sport", "dport"} {
		from, to := binary.NativeEndian.Uint16(info[4*i:]), binary.NativeEndian.Uint16(info[4*i+2:])
		switch {
		case from == 0 && to == 0xffff:
		case from == to:
			words = append(words, fmt.Sprintf("%s %d", name, from))
		default:
			words = append(words, fmt.Sprintf("%s %d-%d", name, from, to))
		}
	}
	return strings.Join(words, " ")
}

// operator returns a comparison (NFT_CMP_*) as it is written.
func operator(op uint64) string {
	operators := []string{" ", " != ", " < ", " <= ", " > ", " >= "}
	if op < uint64(len(operators)) {
		return operators[op]
	}
	return " ? "
}

// metaKeys and ctKeys are the keys (NFT_META_*, NFT_CT_*) that rules use most.
var (
	metaKeys = map[uint64]string{
		1: "protocol", 3: "mark", 4: "iif", 5: "oif", 6: "iifname", 7: "oifname", 15: "nfproto", 16: "l4proto", 18: "pkttype",
	}
	ctKeys = map[uint64]string{0: "ct state", 1: "ct direction", 2: "ct status", 3: "ct mark"}
)

func loadedKey(expression string, key uint64) string {
	names := metaKeys
	if expression == "ct" {
		names = ctKeys
	}
	if name, ok := names[key]; ok {
		return name
	}
	return fmt.Sprintf("%s key %d", expression, key)
}

// fields are parts of headers by base (1 network, 2 transport), offset and length.
var fields = map[[3]uint64]string{
	{1, 9, 1}: "ip protocol", {1, 12, 4}: "ip saddr", {1, 16, 4}: "ip daddr", {1, 6, 1}: "ip6 nexthdr",
	{1, 8, 16}: "ip6 saddr", {1, 24, 16}: "ip6 daddr", {2, 0, 2}: "sport", {2, 2, 2}: "dport", {2, 13, 1}: "tcp flags",
}

func loadedField(base, offset, length uint64) string {
	if name, ok := fields[[3]uint64{base, offset, length}]; ok {
		return name
	}
	return fmt.Sprintf("bytes %d+%d of header %d", offset, length, base)
}

// protocols are the transport protocols that rules name most.
var protocols = map[uint64]string{1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}

// constant writes the value that something is compared with.
func (p *expressions) constant(data []byte) (s string) {
	var value []byte
	p.fail(attributes(data, func(kind uint16, v []byte) {
		if kind == dataValue {
			value = v
		}
	}))
	switch p.loaded {
	case "ip saddr", "ip daddr", "ip6 saddr", "ip6 daddr":
		if addr, ok := netip.AddrFromSlice(value); ok {
			return addr.String()
		}
	case "iifname", "oifname":
		return text(value)
	case "l4proto", "ip protocol", "ip6 nexthdr":
		if name, ok := protocols[number(value)]; ok {
			return name
		}
	case "sport", "dport":
		return strconv.FormatUint(number(value), 10)
	}
	return fmt.Sprintf("0x%x", value)
}
