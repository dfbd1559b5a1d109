package fold

import (
	"cmp"
	"slices"
	"strings"

	"lostbeat/model"
)

// maxBelow bounds the text about the devices below one.
const maxBelow = 1024

// Over is the device over which the packets of a flow came or went last; the zero one is not known.
type Over struct {
	Ifindex int64
	// Name is empty where it is not known.
	Name string
	// complete says that below has all devices of the network namespace on which the packets may be next.
	complete bool
	below    string // names, with commas between them
}

// Below returns the names of the devices that are below it.
func (o *Over) Below() []string {
	if o.below == "" {
		return nil
	}
	return strings.Split(o.below, ",")
}

// applyFlowDevice notes the device of a followed flow.
func (w *Fold) applyFlowDevice(v *model.FlowDevice) {
	b := w.beats[BeatKey{FollowKey{v.NetnsInode, v.Cookie}, v.RemoteAddr, v.RemotePort, v.Direction}]
	if b == nil {
		return
	}
	over := Over{Ifindex: v.Ifindex, Name: v.Device, complete: v.Complete, below: v.Below}
	w.room.Give(len(b.Over.below))
	if len(over.below) > maxBelow || !w.room.Take("devices of followed flows", len(over.below)) {
		over.below, over.complete = "", false
	}
	b.Over = over
}

// MayUse says that the packets of a flow may come or go over a device, as far as that is known: the flow's own, one
// below it, or one of another network namespace.
func (b *Beat) MayUse(k DeviceKey) bool {
	o := &b.Over
	switch {
	case o.Ifindex == 0, k.Ifindex == 0 && k.Name == "", k.Netns != b.Key.Netns:
		return true
	case k.Ifindex == o.Ifindex, k.Name == o.Name && k.Name != "":
		return true
	}
	return !o.complete || slices.Contains(o.Below(), k.Name)
}

// overName is the name of the device that a flow uses, empty unknown.
func (w *Fold) overName(b *Beat) string {
	if b.Over.Ifindex == 0 {
		return ""
	}
	return cmp.Or(b.Over.Name, w.State.DeviceName(b.Key.Netns, b.Over.Ifindex))
}
