package nic

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sysfs is a view of /sys. Its devices are those of one network namespace.
type sysfs struct {
	root string
	fd   int // of a mount of its own, -1 for the host's
}

// mountSysfs mounts sysfs for the network namespace that the thread is in. The
// mount has no place in the file system: it ends with its descriptor.
func mountSysfs() (*sysfs, error) {
	fs, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open sysfs: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, fmt.Errorf("configure sysfs: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("mount sysfs: %w", err)
	}
	return &sysfs{root: fmt.Sprintf("/proc/self/fd/%d", fd), fd: fd}, nil
}

func (s *sysfs) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
	}
}

// read returns a file of a device without the line's end, "" when it is not
// there or cannot be read.
func (s *sysfs) read(device string, name ...string) string {
	text, err := os.ReadFile(path.Join(append([]string{s.root, "class/net", device}, name...)...))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(text), "\n")
}

// isPhysical says whether a device is more than software: it has a bus device.
func (s *sysfs) isPhysical(device string) bool {
	_, err := os.Stat(path.Join(s.root, "class/net", device, "device"))
	return err == nil
}

// queueDirs returns how many receive and transmit queues a device has, at most
// maxQueues of each.
func (s *sysfs) queueDirs(device string) (rx, tx int) {
	entries, _ := os.ReadDir(path.Join(s.root, "class/net", device, "queues"))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "rx-") {
			rx++
		} else if strings.HasPrefix(e.Name(), "tx-") {
			tx++
		}
	}
	return min(rx, maxQueues), min(tx, maxQueues)
}

// steering returns the CPU list of RPS (rx) or XPS (tx) of a queue, "" when it
// is off or the device has none.
func (s *sysfs) steering(device, direction string, queue int) string {
	file := "rps_cpus"
	if direction == "tx" {
		file = "xps_cpus"
	}
	list, err := parseCPUMask(s.read(device, "queues", fmt.Sprintf("%s-%d", direction, queue), file))
	if err != nil {
		return ""
	}
	return list
}

// interrupt is one interrupt of a device.
type interrupt struct {
	number  int64
	actions []string
	// cpus is the CPU list of its effective affinity, or of the configured one
	// where the kernel does not tell that.
	cpus string
}

// interrupts returns the interrupts of a device's bus device, by number.
func (s *sysfs) interrupts(device, procIRQ string) []interrupt {
	var numbers []int64
	// A virtio device's interrupts belong to the PCI device above it.
	for _, dir := range []string{"device/msi_irqs", "device/../msi_irqs"} {
		target, err := s.resolve(device, dir)
		if err != nil {
			continue
		}
		entries, err := os.ReadDir(target)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if n, err := strconv.ParseInt(e.Name(), 10, 32); err == nil {
				numbers = append(numbers, n)
			}
		}
		break
	}
	if len(numbers) == 0 {
		if n, err := strconv.ParseInt(s.read(device, "device/irq"), 10, 32); err == nil && n > 0 {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	interrupts := make([]interrupt, 0, len(numbers))
	for _, n := range numbers {
		interrupts = append(interrupts, readInterrupt(procIRQ, n))
	}
	return interrupts
}

// resolve follows the link of the bus device before it applies the rest: the
// parent of the link's target is wanted, not that of the link.
func (s *sysfs) resolve(device, rest string) (string, error) {
	base := path.Join(s.root, "class/net", device)
	link, err := os.Readlink(path.Join(base, "device"))
	if err != nil {
		return "", err
	}
	target, ok := strings.CutPrefix(rest, "device/")
	if !ok {
		return "", errors.New("not below the bus device")
	}
	// The class directory itself is a link into the tree of devices.
	classLink, err := os.Readlink(base)
	if err != nil {
		return "", err
	}
	return path.Join(s.root, "class/net", classLink, link, target), nil
}

// readInterrupt reads an interrupt's actions and affinity from /proc/irq.
func readInterrupt(procIRQ string, number int64) interrupt {
	i := interrupt{number: number}
	dir := path.Join(procIRQ, strconv.FormatInt(number, 10))
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			i.actions = append(i.actions, e.Name())
		}
	}
	for _, file := range []string{"effective_affinity_list", "smp_affinity_list"} {
		if text, err := os.ReadFile(path.Join(dir, file)); err == nil {
			if i.cpus = strings.TrimSpace(string(text)); i.cpus != "" {
				break
			}
		}
	}
	return i
}
