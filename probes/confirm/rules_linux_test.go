package confirm

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"lostbeat/internal/testutil/fuzztest"
)

func TestSumColumns(t *testing.T) {
	const stat = "entries  drop early_drop\n0000000a 00000001 00000000\n0000000a 0000000f 00000002\n"
	sums, err := sumColumns(strings.NewReader(stat))
	if err != nil || sums["drop"] != 16 || sums["early_drop"] != 2 {
		t.Errorf("%v, %v", sums, err)
	}
	if n, err := firstRow(strings.NewReader(stat), "entries"); n != 10 || err != nil {
		t.Errorf("entries %d, %v", n, err)
	}
	for name, bad := range map[string]string{"empty": "", "no number": "entries\nxyz\n"} {
		if _, err := sumColumns(strings.NewReader(bad)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := firstRow(strings.NewReader("drop\n00000001\n"), "entries"); err == nil {
		t.Error("a column that is missing: no error")
	}
}

func TestSockstatMemory(t *testing.T) {
	const sockstat = "sockets: used 16\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 244\nUDP: inuse 0 mem 7\nUDPLITE: inuse 0\n"
	for protocol, want := range map[string]uint64{"TCP": 244, "UDP": 7} {
		if n, err := sockstatMemory(strings.NewReader(sockstat), protocol); n != want || err != nil {
			t.Errorf("%s: %d, %v", protocol, n, err)
		}
	}
	if _, err := sockstatMemory(strings.NewReader(sockstat), "UDPLITE"); err == nil {
		t.Error("UDPLITE has no memory, but no error")
	}
}

func TestCountBits(t *testing.T) {
	for mask, want := range map[string]int{"0": 0, "3": 2, "ff,00000001": 9, "f": 4} {
		if n := countBits(mask); n != want {
			t.Errorf("%s: %d, want %d", mask, n, want)
		}
	}
}

func TestReadingNames(t *testing.T) {
	var names []string
	for _, r := range readings() {
		if slices.Contains(names, r.name) {
			t.Errorf("%s twice", r.name)
		}
		names = append(names, r.name)
	}
	if readingOf("nosuch") != nil || readingOf("qdisc") == nil {
		t.Error("readings are not found by name")
	}
}

// attribute makes a netlink attribute.
func attribute(kind byte, values ...[]byte) []byte {
	value := bytes.Join(values, nil)
	a := append([]byte{byte(len(value) + 4), byte((len(value) + 4) >> 8), kind, 0}, value...)
	return append(a, make([]byte, -len(a)&3)...)
}

func expression(name string, values ...[]byte) []byte {
	return attribute(1, attribute(expressionName, []byte(name+"\x00")), attribute(expressionData, values...))
}

func be32(n byte) []byte { return []byte{0, 0, 0, n} }

// ruleMessage is a rule of inet/filter/input with handle 7.
func ruleMessage(expressions ...[]byte) []byte {
	return bytes.Join([][]byte{
		{1, 0, 0, 0},
		attribute(ruleTable, []byte("filter\x00")), attribute(ruleChain, []byte("input\x00")),
		attribute(ruleHandle, []byte{0, 0, 0, 0, 0, 0, 0, 7}),
		attribute(ruleExpressions, expressions...),
	}, nil)
}

func verdict(code ...byte) []byte {
	return expression("immediate", attribute(immediateRegister, be32(0)),
		attribute(immediateData, attribute(dataVerdict, attribute(verdictCode, code))))
}

var (
	drop    = verdict(0, 0, 0, 0)
	counter = expression("counter", attribute(1, make([]byte, 8)),
		attribute(counterPackets, []byte{0, 0, 0, 0, 0, 0, 1, 2}))
	loadUDP = []byte{17}
)

func TestNFTRules(t *testing.T) {
	compare := func(operator byte, value ...byte) []byte {
		return expression("cmp", attribute(compareOperator, be32(operator)),
			attribute(compareData, attribute(dataValue, value)))
	}
	payload := func(base, offset, length byte) []byte {
		return expression("payload", attribute(payloadBase, be32(base)), attribute(payloadOffset, be32(offset)),
			attribute(payloadLength, be32(length)))
	}
	for name, c := range map[string]struct {
		message []byte
		want    rule
		maps    int
	}{
		"port": {
			message: ruleMessage(expression("meta", attribute(loadKey, be32(16))), compare(0, loadUDP...), payload(2, 2, 2),
				compare(0, 0x12, 0x34), counter, drop),
			want: rule{"inet filter input handle 7", "l4proto udp dport 4660 drop", 258, true},
		},
		"address, no counter": {
			message: ruleMessage(payload(1, 12, 4), compare(1, 192, 0, 2, 1), drop),
			want:    rule{"inet filter input handle 7", "ip saddr != 192.0.2.1 drop", 0, false},
		},
		"reject": {
			message: ruleMessage(expression("reject"), counter), want: rule{"inet filter input handle 7", "reject", 258, true},
		},
		"iptables": {
			message: ruleMessage(
				expression("match", attribute(matchName, []byte("udp\x00")),
					attribute(matchInfo, []byte{0, 0, 255, 255, 9, 0, 9, 0})),
				counter, expression("target", attribute(matchName, []byte("REJECT\x00")))),
			want: rule{"inet filter input handle 7", "udp dport 9 REJECT", 258, true},
		},
		"set and limit": {
			message: ruleMessage(payload(2, 0, 2), expression("lookup", attribute(lookupSet, []byte("ports\x00"))),
				expression("limit"), drop),
			want: rule{"inet filter input handle 7", "sport @ports limit drop", 0, false},
		},
		"accept": {message: ruleMessage(counter, verdict(0, 0, 0, 1))},
		"jump":   {message: ruleMessage(counter, verdict(255, 255, 255, 253))},
		"a value that is zero": {
			message: ruleMessage(expression("immediate", attribute(immediateRegister, be32(1)),
				attribute(immediateData, attribute(dataVerdict, attribute(verdictCode, be32(0)))))),
		},
		"verdict map": {
			message: ruleMessage(payload(2, 2, 2), expression("lookup", attribute(lookupSet, []byte("m\x00")),
				attribute(lookupDestination, be32(0)))),
			maps: 1,
		},
	} {
		var s ruleset
		if err := s.addRule(c.message); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got rule
		if len(s.dropping) > 0 {
			got = s.dropping[0]
		}
		if got != c.want || s.rules != 1 || s.maps != c.maps {
			t.Errorf("%s: %+v, %d verdict maps; want %+v, %d", name, got, s.maps, c.want, c.maps)
		}
	}
}

// chainMessage is the base chain ip/filter/INPUT.
func chainMessage(policy byte) []byte {
	return bytes.Join([][]byte{
		{2, 0, 0, 0},
		attribute(chainTable, []byte("filter\x00")), attribute(chainName, []byte("INPUT\x00")),
		attribute(chainHook, attribute(hookNumber, be32(1)), attribute(hookPriority, be32(0))),
		attribute(chainPolicy, be32(policy)),
		attribute(chainCounters, attribute(counterPackets, []byte{0, 0, 0, 0, 0, 0, 0, 5})),
	}, nil)
}

func TestNFTPolicies(t *testing.T) {
	var s ruleset
	for policy := range byte(2) {
		if err := s.addChain(chainMessage(policy)); err != nil {
			t.Fatal(err)
		}
	}
	want := rule{"ip filter INPUT policy", "policy drop, input priority 0", 5, true}
	if s.chains != 2 || len(s.dropping) != 1 || s.dropping[0] != want {
		t.Errorf("%+v, want %+v", s, want)
	}
	regular := attribute(chainTable, []byte("filter\x00")) // a chain without a hook has no policy
	if err := s.addChain(append([]byte{2, 0, 0, 0}, regular...)); err != nil || len(s.dropping) != 1 {
		t.Errorf("a regular chain: %+v, %v", s.dropping, err)
	}
}

func TestCutMessages(t *testing.T) {
	whole := ruleMessage(counter, drop)
	failed := 0
	for n := range whole {
		var s ruleset
		if s.addRule(whole[:n]) != nil {
			failed++
		}
	}
	if failed < len(whole)/2 {
		t.Errorf("only %d of %d cut messages are errors", failed, len(whole))
	}
}

func FuzzNFT(f *testing.F) {
	fuzztest.Quick(f)
	f.Add(ruleMessage(counter, drop))
	f.Add(chainMessage(0))
	f.Fuzz(func(t *testing.T, message []byte) {
		var s ruleset
		_ = s.addRule(message)
		_ = s.addChain(message)
		for _, r := range s.dropping {
			if len(r.text) > maxText+len("...") {
				t.Errorf("%d bytes of text", len(r.text))
			}
		}
	})
}

// entry makes a rule of iptables for UDP to port 9 with the given target.
func entry(l entryLayout, packets byte, target string, data ...byte) []byte {
	match := make([]byte, 48)
	match[0] = byte(len(match))
	copy(match[2:], "udp")
	copy(match[xtHead:], []byte{0, 0, 255, 255, 9, 0, 9, 0})
	e := make([]byte, l.size)
	e[l.protocol] = 17
	binary.NativeEndian.PutUint16(e[l.target:], uint16(l.size+len(match)))
	binary.NativeEndian.PutUint16(e[l.next:], uint16(l.size+len(match)+xtHead+8))
	e[l.counters] = packets
	t := make([]byte, xtHead+8)
	t[0] = byte(len(t))
	copy(t[2:], target)
	copy(t[xtHead:], data)
	return slices.Concat(e, match, t)
}

func TestLegacyRules(t *testing.T) {
	for _, l := range []entryLayout{entryLayout4, entryLayout6} {
		reject := entry(l, 4, "REJECT")
		copy(reject[l.input:], "eth0")
		reject[l.inverted] = invertedInput
		data := slices.Concat(
			entry(l, 1, "", 0xff, 0xff, 0xff, 0xff), // drop
			entry(l, 2, "", 0xfe, 0xff, 0xff, 0xff), // accept
			entry(l, 3, "", 0xff, 0xff, 0xff, 0xff), // policy
			entry(l, 0, "ERROR", []byte("mine")...),
			reject,
			entry(l, 0, "ERROR", []byte("ERROR")...),
		)
		size := uint32(len(reject))
		info := tableInfo{Hooks: 1 << 1, Entry: [5]uint32{1: 0}, Underflow: [5]uint32{1: 2 * size}}
		got, n, err := parseEntries("ip filter", l, info, data)
		if err != nil {
			t.Fatal(err)
		}
		want := []rule{
			{"ip filter INPUT rule 1", "udp dport 9 drop", 1, true},
			{"ip filter INPUT policy", "udp dport 9 drop", 3, true},
			{"ip filter mine rule 1", "! iifname eth0 udp dport 9 reject", 4, true},
		}
		if !slices.Equal(got, want) || n != 3 {
			t.Errorf("%d rules: %+v, want %+v", n, got, want)
		}
		for cut := 1; cut < len(data); cut++ {
			if cut%int(size) == 0 {
				continue
			}
			if _, _, err := parseEntries("", l, info, data[:cut]); err == nil {
				t.Fatalf("cut after %d bytes: no error", cut)
			}
		}
	}
}

func FuzzLegacyRules(f *testing.F) {
	fuzztest.Quick(f)
	f.Add(entry(entryLayout4, 1, "", 0xff, 0xff, 0xff, 0xff), true)
	f.Add(entry(entryLayout6, 1, "ERROR"), false)
	f.Fuzz(func(t *testing.T, data []byte, four bool) {
		l := entryLayout6
		if four {
			l = entryLayout4
		}
		if rules, n, _ := parseEntries("t", l, tableInfo{}, data); len(rules) > n || n > len(data)/l.size {
			t.Errorf("%d of %d rules in %d bytes", len(rules), n, len(data))
		}
	})
}
