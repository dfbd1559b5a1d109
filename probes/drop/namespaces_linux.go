package drop

import (
	"fmt"
	"net"
	"time"

	"lostbeat/internal/netns"
)

const (
	// namespaceInterval is how often the host's namespaces are listed.
	namespaceInterval = 10 * time.Second
	// namespaceRetry is the shortest time between two listings when a namespace
	// turns up that is not listed.
	namespaceRetry = time.Second
	// deviceNamesMax bounds the cache of device names.
	deviceNamesMax = 4096
)

// namespaces is the list of the host's network namespaces, as it was lately.
type namespaces struct {
	list     []netns.Namespace
	listed   time.Time
	cost     time.Duration
	outdated bool
}

// need says that a namespace is of interest; one that is not listed makes the
// next refresh list again.
func (n *namespaces) need(inode uint32) {
	if inode != 0 && n.find(inode) == nil {
		n.outdated = true
	}
}

func (n *namespaces) find(inode uint32) *netns.Namespace {
	for i := range n.list {
		if n.list[i].Inode == inode {
			return &n.list[i]
		}
	}
	return nil
}

// refresh lists the namespaces when it is time to. Listing takes a hundredth of
// a CPU at most.
func (n *namespaces) refresh() error {
	age, pause := time.Since(n.listed), namespaceInterval
	if n.outdated {
		pause = namespaceRetry
	}
	if age < max(pause, n.cost*costRatio) {
		return nil
	}
	began := time.Now()
	list, err := netns.List(maxNamespaces)
	if err != nil {
		return fmt.Errorf("list network namespaces: %w", err)
	}
	n.list, n.listed, n.cost, n.outdated = list, began, time.Since(began), false
	return nil
}

// deviceNames names the devices of packets that only carry a number.
type deviceNames struct {
	names map[deviceID]string
}

type deviceID struct{ netns, ifindex uint32 }

func (d *deviceNames) init() { d.names = make(map[deviceID]string) }

// of returns the name of a device, "" when it is unknown.
func (d *deviceNames) of(inode, ifindex uint32, all *namespaces) string {
	if ifindex == 0 {
		return ""
	}
	id := deviceID{inode, ifindex}
	if name, ok := d.names[id]; ok {
		return name
	}
	ns := all.find(inode)
	if ns == nil {
		return ""
	}
	var name string
	err := ns.Do(func() error {
		device, err := net.InterfaceByIndex(int(ifindex))
		if err == nil {
			name = device.Name
		}
		return err
	})
	if len(d.names) >= deviceNamesMax {
		clear(d.names)
	}
	if err == nil {
		d.names[id] = name
	}
	return name
}
