package confirm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options of the sockets through which the rules of iptables-legacy are read
// (IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES), the same for IPv4 and IPv6.
const (
	optionInfo    = 64
	optionEntries = 65
	// maxTable bounds the rules of a table in bytes.
	maxTable = 64 << 20
)

// readIPTables reads the rules and policies of iptables-legacy that drop
// packets. Those of iptables-nft belong to nftables.
func readIPTables(q *answer) error {
	var dropping []rule
	var tables []string
	rules := 0
	err := q.inside(func() error {
		for _, f := range []struct {
			name, list    string
			family, level int
			layout        entryLayout
		}{
			{"ip", "ip_tables_names", unix.AF_INET, unix.IPPROTO_IP, entryLayout4},
			{"ip6", "ip6_tables_names", unix.AF_INET6, unix.IPPROTO_IPV6, entryLayout6},
		} {
			names, err := procNet(f.list)
			if errors.Is(err, fs.ErrNotExist) {
				continue // not loaded
			} else if err != nil {
				return err
			}
			for _, table := range strings.Fields(string(names)) {
				info, entries, err := legacyTable(f.family, f.level, table)
				if errors.Is(err, unix.EAGAIN) { // they have just been changed
					info, entries, err = legacyTable(f.family, f.level, table)
				}
				if err != nil {
					return fmt.Errorf("read table %s of iptables: %w", table, err)
				}
				found, n, err := parseEntries(f.name+" "+table, f.layout, info, entries)
				if err != nil {
					return fmt.Errorf("table %s of iptables: %w", table, err)
				}
				rules += n
				dropping = append(dropping, found...)
				tables = append(tables, f.name+" "+table)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	detail := "no tables"
	if len(tables) > 0 {
		detail = "tables " + strings.Join(tables, ", ")
	}
	q.addRules(dropping, rules, detail+" (iptables-legacy; iptables-nft is read as nft)")
	return nil
}

// legacyTable reads a table of the calling thread's namespace.
func legacyTable(family, level int, table string) (info tableInfo, entries []byte, err error) {
	// Any socket will do; a raw one, as iptables has it, takes CAP_NET_RAW.
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return info, nil, err
	}
	defer unix.Close(fd)
	copy(info.Name[:len(info.Name)-1], table)
	size := uint32(unsafe.Sizeof(info))
	if err := getsockopt(fd, level, optionInfo, unsafe.Pointer(&info), &size); err != nil {
		return info, nil, err
	}
	if info.Size > maxTable {
		return info, nil, fmt.Errorf("%d bytes of rules are too many", info.Size)
	}
	// struct ipt_get_entries: name, size, rules.
	head := int(unsafe.Sizeof(info.Name)) + 8
	buffer := make([]uint64, (head+int(info.Size)+7)/8) // aligned
	data := unsafe.Slice((*byte)(unsafe.Pointer(&buffer[0])), head+int(info.Size))
	copy(data, info.Name[:])
	*(*uint32)(unsafe.Pointer(&data[len(info.Name)])) = info.Size
	size = uint32(len(data))
	if err := getsockopt(fd, level, optionEntries, unsafe.Pointer(&data[0]), &size); err != nil {
		return info, nil, err
	}
	return info, data[head:], nil
}

func getsockopt(fd, level, option int, value unsafe.Pointer, size *uint32) error {
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option), uintptr(value),
		uintptr(unsafe.Pointer(size)), 0)
	if errno != 0 {
		return os.NewSyscallError("getsockopt", errno)
	}
	return nil
}
