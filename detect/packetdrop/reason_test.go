package packetdrop

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// maxSentence is the longest sentence that a person has to read, in characters.
const maxSentence = 170

// TestTables holds every entry to the rules of the tables.
func TestTables(t *testing.T) {
	counter := regexp.MustCompile(`^[A-Z][A-Za-z0-9]*\.[A-Z][A-Za-z0-9]*$`)
	seen := make(map[string]bool)
	check := func(r *Reason, kind string) {
		if seen[kind+r.Name] {
			t.Errorf("%s %s is given twice", kind, r.Name)
		}
		seen[kind+r.Name] = true
		if r.Cause == CauseUnknown && r.Name != reasonNotSpecified {
			t.Errorf("%s %s has no cause", kind, r.Name)
		}
		for _, text := range []string{r.Meaning, r.Advice} {
			if !strings.HasSuffix(text, ".") {
				t.Errorf("%s %s: %q does not end in a full stop", kind, r.Name, text)
			}
			for sentence := range strings.SplitSeq(text, ". ") {
				if len(sentence) > maxSentence {
					t.Errorf("%s %s: %d characters in %q", kind, r.Name, len(sentence), sentence)
				}
			}
		}
		for _, name := range r.Counters {
			if !counter.MatchString(name) {
				t.Errorf("%s %s: %q is no counter", kind, r.Name, name)
			}
		}
		if r.Cause == CauseNormal && !r.Healthy {
			t.Errorf("%s %s is normal, but not healthy", kind, r.Name)
		}
	}
	for _, r := range allReasons() {
		check(r, "reason")
	}
	for i := range exactReasons {
		check(&exactReasons[i], "reason in "+exactReasons[i].In)
	}
	for i := range families {
		check(&families[i], "family")
	}
	for i := range functions {
		check(&functions[i], "function")
	}
}

// TestKernels has an entry for each reason of the kernels whose names are in
// testdata, which were read from their BTF.
func TestKernels(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no names in testdata: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names := strings.Fields(string(text))
		for _, name := range names {
			if byName[name] == nil {
				t.Errorf("%s: %s has no entry", file, name)
			}
		}
		t.Logf("%s: %d reasons", file, len(names))
	}
}

func TestLookup(t *testing.T) {
	for _, test := range []struct {
		reason, function, want string
		match                  Match
	}{
		{"PROTO_MEM", "udp_queue_rcv_one_skb", "PROTO_MEM", MatchReason},
		{"IP_INHDR", "ip_rcv_core", "IP_INHDR", MatchReason},
		{"NOT_SPECIFIED", "veth_xmit", "veth_xmit", MatchFunction},
		{"NOT_SPECIFIED", "ip_rcv_core.isra.0", "ip_rcv_core", MatchFunction},
		{"NOT_SPECIFIED", "br_flood", "br_flood", MatchFunction},
		{"NOT_SPECIFIED", "br_handle_frame_finish", "br_", MatchFunction},
		{"", "tun_net_xmit", "tun_net_xmit", MatchFunction},
		{"NOT_SPECIFIED", "some_driver_poll", "NOT_SPECIFIED", MatchNone},
		{"NOT_SPECIFIED", "", "NOT_SPECIFIED", MatchNone},
		{"QDISC_OF_A_LATER_KERNEL", "", "QDISC_", MatchFamily},
		{"RX_DROP_U_MIC_FAIL", "", "RX_DROP_", MatchFamily},
		{"OF_A_LATER_KERNEL", "veth_xmit", "veth_xmit", MatchFunction},
		{"OF_A_LATER_KERNEL", "", "", MatchNone},
	} {
		got, match := Lookup(test.reason, test.function)
		if got.Name != test.want || match != test.match {
			t.Errorf("Lookup(%q, %q) = %s, %d, want %s, %d", test.reason, test.function, got.Name, match, test.want, test.match)
		}
	}
}

func TestExactReasons(t *testing.T) {
	for function, want := range map[string]Cause{
		"ip_forward": CauseRouting, "ip6_forward": CauseRouting, "ip_forward.isra.0": CauseRouting,
		"ip_rcv_core": CauseCorruption,
	} {
		if got, _ := Lookup(reasonHeader, function); got.Cause != want {
			t.Errorf("%s in %s: the cause is %s, want %s", reasonHeader, function, got.Cause, want)
		}
	}
}

// TestExplainExact says of a reason also what it means where it means something else.
func TestExplainExact(t *testing.T) {
	text, ok := Explain(reasonHeader)
	for _, part := range []string{
		"The IP header was malformed", "Kind of cause: corruption.",
		"In the functions ip_forward and ip6_forward, it means something else: The packet's time to live (IPv6: hop limit) " +
			"ran out before this host could forward it. Kind of cause: routing. What to do: Look for a routing loop",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in %t\n%s", part, ok, text)
		}
	}
	if text, _ := Explain("IP_CSUM"); strings.Contains(text, "something else") {
		t.Errorf("IP_CSUM: %s", text)
	}
}

// TestKinds has the kinds of causes of reasons whose names suggest another one.
func TestKinds(t *testing.T) {
	for name, want := range map[string]Cause{
		reasonIncomplete: CauseNetwork, functionIncomplete: CauseNetwork, "FRAG_TOO_FAR": CauseNetwork,
		"TCP_OFO_DROP": CauseNormal, "TCP_OFO_QUEUE_PRUNE": CauseMemory, "INVALID_PROTO": CauseNormal,
		"ip_defrag": CauseMemory,
	} {
		got, match := Lookup(name, "")
		if match == MatchNone {
			got, _ = Lookup("", name)
		}
		if got.Cause != want {
			t.Errorf("%s: the cause is %s, want %s", name, got.Cause, want)
		}
	}
}

func TestCauseNames(t *testing.T) {
	if got := CauseNormal.String(); got != "normal" {
		t.Errorf("the last cause is called %q", got)
	}
	if got := Cause(200).String(); got != "unknown" {
		t.Errorf("a cause out of range is called %q", got)
	}
}

// allReasons returns every reason that has an entry of its own, by table.
func allReasons() (all []*Reason) {
	for _, table := range tables {
		for i := range table {
			all = append(all, &table[i])
		}
	}
	return all
}
