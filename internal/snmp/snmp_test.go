package snmp

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func collect(read func(io.Reader, Each) error, text string) (got []string, err error) {
	err = read(strings.NewReader(text), func(protocol, name, value string) error {
		got = append(got, protocol+"."+name+"="+value)
		return nil
	})
	return got, err
}

func TestRead(t *testing.T) {
	got, err := collect(Read, "Tcp: MaxConn InErrs\nTcp: -1 5\nUdp: NoPorts\nUdp: 3\n")
	if want := []string{"Tcp.MaxConn=-1", "Tcp.InErrs=5", "Udp.NoPorts=3"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for bad, want := range map[string]string{
		"Udp InErrors\n":                  "snmp line 1: no protocol",
		"Udp: InErrors\n":                 "snmp line 1: names of Udp without values",
		"A: B\nA: 1\nUdp: C\nTcp: 1\n":    "snmp line 3: names of Udp without values",
		"Udp: InErrors NoPorts\nUdp: 1\n": "snmp line 2: 2 names, 1 values",
		strings.Repeat("a", 1e5):          "token too long",
	} {
		if _, err := collect(Read, bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", bad, err, want)
		}
	}
}

func TestRead6(t *testing.T) {
	got, err := collect(Read6, "Ip6InReceives                   \t12\nodd 1\n"+
		"Icmp6OutType143 \t9\nUdp6NoPorts\t6\nUdp6InErrors\n")
	want := []string{"Ip6.InReceives=12", "Icmp6.OutType143=9", "Udp6.NoPorts=6", "Udp6.InErrors="}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

// TestEachEnds ends at the first error of the callee.
func TestEachEnds(t *testing.T) {
	end := errors.New("enough")
	for text, read := range map[string]func(io.Reader, Each) error{
		"Udp: A B\nUdp: 1 2\n": Read, "Udp6A 1\nUdp6B 2\n": Read6,
	} {
		calls := 0
		err := read(strings.NewReader(text), func(string, string, string) error { calls++; return end })
		if !errors.Is(err, end) || calls != 1 {
			t.Errorf("%q: %v after %d calls", text, err, calls)
		}
	}
}
