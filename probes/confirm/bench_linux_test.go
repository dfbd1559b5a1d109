package confirm

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"lostbeat/internal/netns"
	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// BenchmarkReadings is what each reading costs, in a namespace with 10,000
// rules; of snmp it is one of two readings of the counters.
func BenchmarkReadings(b *testing.B) {
	_, rx := testutil.VethPair(b)
	var rules strings.Builder
	rules.WriteString("*filter\n")
	for i := range 10_000 {
		fmt.Fprintf(&rules, "-A INPUT -s 10.0.%d.%d -p udp --dport %d -j DROP\n", i>>8, i&255, i)
	}
	rules.WriteString("COMMIT\n")
	for _, tool := range []string{"iptables-nft-restore", "iptables-legacy-restore"} {
		cmd := exec.CommandContext(b.Context(), "ip", "netns", "exec", rx.Name, tool)
		cmd.Stdin = strings.NewReader(rules.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Skipf("%s: %v\n%s", tool, err, out)
		}
	}
	running, err := New().Attach(nil)
	if err != nil {
		b.Fatal(err)
	}
	a := running.(*attached)
	defer a.Close()
	for _, what := range readings() {
		if what.name == "listen_queue" {
			continue // nobody listens there
		}
		b.Run(what.name, func(b *testing.B) {
			for b.Loop() {
				q := &answer{
					a: a, ctx: b.Context(), request: model.Request{Name: what.name, Netns: int64(rx.Inode)},
				}
				if what.name == "snmp" {
					err = q.findNamespaces()
					if err == nil {
						err = q.inside(func() error { _, err := snmpCounters(); return err })
					}
				} else {
					err = q.read(&what)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("finding a namespace", func(b *testing.B) {
		for b.Loop() {
			if _, err := netns.List(maxNamespaces); err != nil {
				b.Fatal(err)
			}
		}
	})
}
