package nic

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxStatistics bounds the statistics of a device; the largest known drivers
// have about 10,000 at 256 queues.
const maxStatistics = 1 << 16

// statisticsSlack is room for statistics that a driver adds between being asked
// for their number and writing them.
const statisticsSlack = 4096

// From linux/ethtool.h.
const (
	stringLen     = 32 // ETH_GSTRING_LEN
	setStatistics = 1  // ETH_SS_STATS
)

// ethtool asks the drivers of one network namespace. Its descriptor belongs to
// the namespace that the thread was in when it was opened.
type ethtool struct{ fd int }

func openEthtool() (*ethtool, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open an ethtool socket: %w", err)
	}
	return &ethtool{fd}, nil
}

func (e *ethtool) close() { unix.Close(e.fd) }

// ifreq is struct ifreq with ifr_data.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// call runs one ethtool command on a device; command starts with its number.
func (e *ethtool) call(device string, command unsafe.Pointer) error {
	if len(device) >= unix.IFNAMSIZ {
		return unix.ENAMETOOLONG
	}
	request := ifreq{data: command}
	copy(request.name[:], device)
	if _, _, errno := unix.Syscall(
		unix.SYS_IOCTL, uintptr(e.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)),
	); errno != 0 {
		return errno
	}
	return nil
}

// driver returns the name of the device's driver, "" when it has none.
func (e *ethtool) driver(device string) string {
	info, err := unix.IoctlGetEthtoolDrvinfo(e.fd, device)
	if err != nil {
		return ""
	}
	return cString(info.Driver[:])
}

// rings is struct ethtool_ringparam.
type rings struct {
	command                             uint32
	rxMax, rxMiniMax, rxJumboMax, txMax uint32
	rx, rxMini, rxJumbo, tx             uint32
}

// rings returns the ring sizes, zero when the device has none.
func (e *ethtool) rings(device string) rings {
	r := rings{command: unix.ETHTOOL_GRINGPARAM}
	if e.call(device, unsafe.Pointer(&r)) != nil {
		return rings{}
	}
	return r
}

// channels is struct ethtool_channels.
type channels struct {
	command                             uint32
	rxMax, txMax, otherMax, combinedMax uint32
	rx, tx, other, combined             uint32
}

// channels returns the queues in use, zero when the device does not say.
func (e *ethtool) channels(device string) channels {
	c := channels{command: unix.ETHTOOL_GCHANNELS}
	if e.call(device, unsafe.Pointer(&c)) != nil {
		return channels{}
	}
	return c
}

// statisticNames returns the names of the driver's statistics.
func (e *ethtool) statisticNames(device string) ([]string, error) {
	count, err := e.statisticCount(device)
	if err != nil || count == 0 {
		return nil, err
	}
	const header = 12 // struct ethtool_gstrings
	buf := make([]byte, header+(count+statisticsSlack)*stringLen)
	binary.NativeEndian.PutUint32(buf[0:], unix.ETHTOOL_GSTRINGS)
	binary.NativeEndian.PutUint32(buf[4:], setStatistics)
	binary.NativeEndian.PutUint32(buf[8:], uint32(count))
	if err := e.call(device, unsafe.Pointer(&buf[0])); err != nil {
		return nil, fmt.Errorf("read the names of the statistics of %s: %w", device, err)
	}
	n := min(int(binary.NativeEndian.Uint32(buf[8:])), count+statisticsSlack)
	names := make([]string, n)
	for i := range names {
		names[i] = cString(buf[header+i*stringLen:][:stringLen])
	}
	return names, nil
}

func (e *ethtool) statisticCount(device string) (int, error) {
	set := struct {
		command, reserved uint32
		mask              uint64
		count             [64]uint32
	}{command: unix.ETHTOOL_GSSET_INFO, mask: 1 << setStatistics}
	err := e.call(device, unsafe.Pointer(&set))
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENODEV) || set.mask == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("count the statistics of %s: %w", device, err)
	}
	return min(int(set.count[0]), maxStatistics), nil
}

// statistics returns the values of a device that has count of them.
func (e *ethtool) statistics(device string, count int) ([]uint64, error) {
	buf := make([]uint64, 1+count+statisticsSlack) // struct ethtool_stats
	head := unsafe.Slice((*uint32)(unsafe.Pointer(&buf[0])), 2)
	head[0], head[1] = unix.ETHTOOL_GSTATS, uint32(count)
	if err := e.call(device, unsafe.Pointer(&buf[0])); err != nil {
		return nil, fmt.Errorf("read the statistics of %s: %w", device, err)
	}
	return buf[1 : 1+min(int(head[1]), count+statisticsSlack)], nil
}

func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}
