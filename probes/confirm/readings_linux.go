package confirm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"lostbeat/model"

	"github.com/vishvananda/netlink"
)

// reading is one kind of reading.
type reading struct {
	name string
	// argument says that the name may be followed by a colon and an argument.
	argument bool
	// read adds what there is.
	read func(q *answer) error
}

// readings lists all readings; doc.go says what each is.
func readings() []reading {
	return []reading{
		{name: "conntrack", read: readConntrack},
		{name: "neighbours", read: readNeighbours},
		{name: "udp_mem", read: func(q *answer) error { return readMemory(q, "UDP", "udp_mem") }},
		{name: "tcp_mem", read: func(q *answer) error { return readMemory(q, "TCP", "tcp_mem") }},
		{name: "listen_queue", argument: true, read: readListenQueues},
		{name: "rp_filter", read: readRPFilter},
		{name: "xdp", read: readXDP},
		{name: "tc", read: readTC},
		{name: "qdisc", read: readQdiscs},
		{name: "mtu", read: readMTU},
		{name: "nft", read: readNFT},
		{name: "iptables", read: readIPTables},
		{name: "snmp", read: readSNMP},
		{name: "netdev", read: readNetdev},
		{name: "sockbuf", read: readSockbuf},
	}
}

// Names returns the names of all readings.
func Names() (names []string) {
	for _, r := range readings() {
		names = append(names, r.name)
	}
	return names
}

func readingOf(name string) *reading {
	all := readings()
	i := slices.IndexFunc(all, func(r reading) bool { return r.name == name })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// sysctl reads a setting below /proc/sys/net as seen by the calling thread.
func sysctl(name string) (string, error) {
	content, err := os.ReadFile(filepath.Join("/proc/sys/net", name))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(content)), nil
}

// sysctlNumber reads a setting that is one number.
func sysctlNumber(name string) (float64, error) {
	text, err := sysctl(name)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	return float64(v), nil
}

// procNet reads a file of /proc/net as seen by the calling thread.
func procNet(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join("/proc/thread-self/net", name))
}

func readConntrack(q *answer) error {
	return q.inside(func() error {
		count, err := sysctlNumber("netfilter/nf_conntrack_count")
		if errors.Is(err, fs.ErrNotExist) {
			return errors.New("connections are not tracked: nf_conntrack is not loaded")
		} else if err != nil {
			return err
		}
		limit, err := sysctlNumber("netfilter/nf_conntrack_max")
		if err != nil {
			return err
		}
		detail := "what was refused is not known"
		if content, err := procNet("stat/nf_conntrack"); err == nil {
			sums, err := sumColumns(bytes.NewReader(content))
			if err != nil {
				return err
			}
			detail = fmt.Sprintf("drop %d, early_drop %d, insert_failed %d",
				sums["drop"], sums["early_drop"], sums["insert_failed"])
		}
		q.add(model.Reading{Value: count, Limit: limit, Unit: "entries", Detail: detail})
		return nil
	})
}

// sumColumns adds up the rows, one to a CPU, of a file of /proc/net/stat:
// numbers in hex below their names.
func sumColumns(r io.Reader) (map[string]uint64, error) {
	lines := bufio.NewScanner(r)
	if !lines.Scan() {
		return nil, errors.New("statistics without a heading")
	}
	names := strings.Fields(lines.Text())
	sums := make(map[string]uint64, len(names))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		for i, field := range fields[:min(len(fields), len(names))] {
			v, err := strconv.ParseUint(field, 16, 64)
			if err != nil {
				return nil, fmt.Errorf("statistics: %w", err)
			}
			sums[names[i]] += v
		}
	}
	return sums, lines.Err()
}

// firstRow reads a file of /proc/net/stat whose column is the same in all rows.
func firstRow(r io.Reader, column string) (uint64, error) {
	lines := bufio.NewScanner(r)
	if lines.Scan() {
		if i := slices.Index(strings.Fields(lines.Text()), column); i >= 0 && lines.Scan() {
			if fields := strings.Fields(lines.Text()); i < len(fields) {
				return strconv.ParseUint(fields[i], 16, 64)
			}
		}
	}
	return 0, fmt.Errorf("statistics without %s", column)
}

// neighbourTables are the tables of neighbours; each is one for the whole host,
// with one limit.
var neighbourTables = []struct {
	instance, statistics string
	family               int
}{
	{"ipv4", "arp_cache", netlink.FAMILY_V4},
	{"ipv6", "ndisc_cache", netlink.FAMILY_V6},
}

func readNeighbours(q *answer) error {
	for _, table := range neighbourTables {
		here := 0
		err := q.inside(func() error {
			list, err := netlink.NeighList(0, table.family)
			here = len(list)
			return err
		})
		if err != nil {
			return fmt.Errorf("list neighbours: %w", err)
		}
		err = q.host(func() error {
			content, err := procNet("stat/" + table.statistics)
			if errors.Is(err, fs.ErrNotExist) {
				if table.instance == "ipv6" {
					return nil // it is off
				}
				return errors.New("the host's table cannot be read from lostbeat's own network namespace")
			} else if err != nil {
				return err
			}
			entries, err := firstRow(bytes.NewReader(content), "entries")
			if err != nil {
				return err
			}
			sums, err := sumColumns(bytes.NewReader(content))
			if err != nil {
				return err
			}
			var thresholds [3]float64
			for i := range thresholds {
				name := fmt.Sprintf("%s/neigh/default/gc_thresh%d", table.instance, i+1)
				if thresholds[i], err = sysctlNumber(name); err != nil {
					return err
				}
			}
			q.add(model.Reading{
				Instance: table.instance, Value: float64(entries), Limit: thresholds[2], Unit: "entries",
				Detail: fmt.Sprintf("gc_thresh1 %.0f, gc_thresh2 %.0f, table_fulls %d, in this namespace %d",
					thresholds[0], thresholds[1], sums["table_fulls"], here),
			})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readMemory reads the memory of all sockets of a protocol: it has one limit
// for the whole host.
func readMemory(q *answer, protocol, setting string) error {
	return q.host(func() error {
		content, err := procNet("sockstat")
		if err != nil {
			return err
		}
		pages, err := sockstatMemory(bytes.NewReader(content), protocol)
		if err != nil {
			return err
		}
		text, err := sysctl("ipv4/" + setting)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s cannot be read from lostbeat's own network namespace", setting)
		} else if err != nil {
			return err
		}
		fields := strings.Fields(text)
		if len(fields) != 3 {
			return fmt.Errorf("%s is %q, want three numbers", setting, text)
		}
		limit, err := strconv.ParseUint(fields[2], 10, 64)
		if err != nil {
			return fmt.Errorf("read %s: %w", setting, err)
		}
		q.add(model.Reading{
			Value: float64(pages), Limit: float64(limit), Unit: "pages",
			Detail: fmt.Sprintf("low %s, pressure %s, page of %d bytes", fields[0], fields[1], os.Getpagesize()),
		})
		return nil
	})
}

// sockstatMemory returns the pages in use from "UDP: inuse 2 mem 1".
func sockstatMemory(r io.Reader, protocol string) (uint64, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), protocol+":")
		if !ok {
			continue
		}
		fields := strings.Fields(rest)
		if i := slices.Index(fields, "mem"); i >= 0 && i+1 < len(fields) {
			return strconv.ParseUint(fields[i+1], 10, 64)
		}
	}
	return 0, fmt.Errorf("sockstat has no memory of %s", protocol)
}

// netdevSettings are the settings of the receive path, with units.
var netdevSettings = []struct{ name, unit string }{
	{"netdev_max_backlog", "packets"},
	{"netdev_budget", "packets"},
	{"netdev_budget_usecs", "us"},
	{"dev_weight", "packets"},
	{"dev_weight_rx_bias", ""},
	{"flow_limit_table_len", "flows"},
}

func readNetdev(q *answer) error {
	return q.host(func() error {
		for _, s := range netdevSettings {
			v, err := sysctlNumber("core/" + s.name)
			if err != nil {
				continue // not on this kernel, or not in this namespace
			}
			q.add(model.Reading{Instance: s.name, Value: v, Unit: s.unit})
		}
		if text, err := sysctl("core/flow_limit_cpu_bitmap"); err == nil {
			q.add(model.Reading{
				Instance: "flow_limit_cpu_bitmap", Value: float64(countBits(text)), Unit: "cpus", Detail: text,
			})
		}
		if len(q.readings) == 0 {
			return errors.New("the settings cannot be read from lostbeat's own network namespace")
		}
		return nil
	})
}

// countBits counts the CPUs of a mask such as "ff,00000003".
func countBits(mask string) (n int) {
	for _, digit := range mask {
		if v, err := strconv.ParseUint(string(digit), 16, 8); err == nil {
			for ; v != 0; v &= v - 1 {
				n++
			}
		}
	}
	return n
}

func readSockbuf(q *answer) error {
	return q.host(func() error {
		for _, name := range []string{"rmem_default", "rmem_max", "wmem_default", "wmem_max"} {
			v, err := sysctlNumber("core/" + name)
			if err != nil {
				return err
			}
			q.add(model.Reading{Instance: name, Value: v, Unit: "bytes"})
		}
		return nil
	})
}
