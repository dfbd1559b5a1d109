package ebpf

import (
	"reflect"
	"testing"
)

// TestSocketSets takes IPv4 alone only where the kernel has no IPv6: elsewhere IPv6 sockets would seem to be idle.
func TestSocketSets(t *testing.T) {
	both := []Set{{Programs: []string{"tracepoint"}}, {Programs: []string{"v4", "v6"}}}
	for hasIPv6, want := range map[bool][]Set{
		true: both, false: append(both[:2:2], Set{Programs: []string{"v4"}, Unseen: "IPv6 sockets are not seen"}),
	} {
		got := socketSets([]string{"tracepoint"}, []string{"v4"}, []string{"v6"}, hasIPv6)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("IPv6 %t: %v, want %v", hasIPv6, got, want)
		}
	}
}
