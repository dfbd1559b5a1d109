package confirm

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"lostbeat/internal/snmp"
	"lostbeat/model"
)

// lossCounters are the counters that speak of packets and connections lost, by
// protocol as in /proc/net/snmp, netstat and snmp6.
var lossCounters = []struct {
	protocol string
	names    []string
}{
	{"Ip", []string{
		"InHdrErrors", "InAddrErrors", "InUnknownProtos", "InDiscards", "OutDiscards", "OutNoRoutes", "ReasmTimeout",
		"ReasmFails", "FragFails",
	}},
	{"IpExt", []string{"InNoRoutes", "InTruncatedPkts", "InCsumErrors"}},
	{"Udp", []string{
		"NoPorts", "InErrors", "RcvbufErrors", "SndbufErrors", "InCsumErrors", "MemErrors",
	}},
	{"Tcp", []string{"AttemptFails", "EstabResets", "RetransSegs", "InErrs", "OutRsts", "InCsumErrors"}},
	{"TcpExt", []string{
		"ListenOverflows", "ListenDrops", "TCPBacklogDrop", "PFMemallocDrop", "TCPMinTTLDrop", "TCPDeferAcceptDrop",
		"IPReversePathFilter", "TCPReqQFullDrop", "TCPReqQFullDoCookies", "TCPZeroWindowDrop", "TCPRcvQDrop",
		"TCPOFODrop", "TCPMemoryPressures", "TCPAbortOnMemory", "PruneCalled", "RcvPruned", "OfoPruned", "TCPTimeouts",
		"TCPMD5NotFound", "TCPMD5Unexpected", "TCPMD5Failure", "TCPAORequired", "TCPAOBad", "TCPWqueueTooBig",
		"SyncookiesFailed",
	}},
	{"Ip6", []string{
		"InHdrErrors", "InTooBigErrors", "InNoRoutes", "InAddrErrors", "InUnknownProtos", "InTruncatedPkts", "InDiscards",
		"OutDiscards", "OutNoRoutes", "ReasmTimeout", "ReasmFails", "FragFails",
	}},
	{"Udp6", []string{"NoPorts", "InErrors", "RcvbufErrors", "SndbufErrors", "InCsumErrors", "MemErrors"}},
}

// readSNMP reads the counters twice: a reading is the rise in a second, its
// detail the total. Those that have never risen are left out.
func readSNMP(q *answer) error {
	var before, after map[string]uint64
	var first, second time.Time
	get := func(counters *map[string]uint64, at *time.Time) func() error {
		return func() (err error) {
			*at = time.Now()
			*counters, err = snmpCounters()
			return err
		}
	}
	if err := q.inside(get(&before, &first)); err != nil {
		return err
	}
	if err := q.pause(rateTime); err != nil {
		return err
	}
	if err := q.inside(get(&after, &second)); err != nil {
		return err
	}
	seconds := second.Sub(first).Seconds()
	if seconds <= 0 {
		return errors.New("no time has passed")
	}
	q.add(model.Reading{Value: seconds, Unit: "s", Detail: "length of the measurement; counters without a reading are 0"})
	for _, c := range lossCounters {
		for _, name := range c.names {
			counter := c.protocol + "." + name
			total := after[counter]
			if total == 0 || total < before[counter] {
				continue
			}
			rose := total - before[counter]
			q.add(model.Reading{
				Instance: counter, Value: float64(rose) / seconds, Unit: "per second",
				Detail: fmt.Sprintf("rose by %d to %d", rose, total),
			})
		}
	}
	return nil
}

// snmpCounters reads all counters of the calling thread's namespace.
func snmpCounters() (map[string]uint64, error) {
	counters := make(map[string]uint64)
	for _, file := range []string{"snmp", "netstat", "snmp6"} {
		content, err := procNet(file)
		if errors.Is(err, fs.ErrNotExist) && file == "snmp6" {
			continue // IPv6 is off
		} else if err != nil {
			return nil, err
		}
		read := snmp.Read
		if file == "snmp6" {
			read = snmp.Read6
		}
		if err := read(bytes.NewReader(content), func(protocol, name, value string) error {
			// Some settings between the counters are negative.
			if v, err := strconv.ParseUint(value, 10, 64); err == nil {
				counters[protocol+"."+name] = v
			}
			return nil
		}); err != nil {
			return nil, fmt.Errorf("/proc/net/%s: %w", file, err)
		}
	}
	return counters, nil
}
