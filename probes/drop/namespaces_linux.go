package drop

import (
	"errors"
	"fmt"
	"net"
	"time"

	"lostbeat/internal/netns"
)

const (
	// listPause is the shortest time between two listings of the network
	// namespaces, and listCost says how many times its length a listing is
	// followed by a pause.
	listPause = 500 * time.Millisecond
	listCost  = 100
	// maxNamespaces bounds the namespaces in which devices are looked up.
	maxNamespaces = 1024
	// maxNames bounds the names that are kept.
	maxNames = 4096
)

// deviceNames names the devices of packets that carry only a device's number:
// those that had reached a socket.
type deviceNames struct {
	names      map[deviceID]string
	namespaces []netns.Namespace
	listed     time.Time
	cost       time.Duration
	outdated   bool
}

type deviceID struct{ netns, ifindex uint32 }

func (d *deviceNames) init() {
	d.names = make(map[deviceID]string)
}

// need says that devices of a namespace are to be named; one that is not
// listed makes refresh list again.
func (d *deviceNames) need(inode uint32) {
	if inode != 0 && d.find(inode) == nil {
		d.outdated = true
	}
}

func (d *deviceNames) find(inode uint32) *netns.Namespace {
	for i := range d.namespaces {
		if d.namespaces[i].Inode == inode {
			return &d.namespaces[i]
		}
	}
	return nil
}

// refresh lists the namespaces when one has turned up that is not listed.
func (d *deviceNames) refresh() error {
	if !d.outdated || time.Since(d.listed) < max(listPause, d.cost*listCost) {
		return nil
	}
	began := time.Now()
	list, err := netns.List(maxNamespaces)
	if err != nil {
		return fmt.Errorf("list network namespaces: %w", err)
	}
	d.namespaces, d.listed, d.cost, d.outdated = list, began, time.Since(began), false
	return nil
}

// of returns the name of a device, "" when it is unknown.
func (d *deviceNames) of(inode, ifindex uint32) string {
	if ifindex == 0 {
		return ""
	}
	id := deviceID{inode, ifindex}
	if name, ok := d.names[id]; ok {
		return name
	}
	ns := d.find(inode)
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
	if errors.Is(err, netns.ErrGone) {
		d.outdated = true
	}
	if len(d.names) >= maxNames {
		clear(d.names)
	}
	if err == nil {
		d.names[id] = name
	}
	return name
}
