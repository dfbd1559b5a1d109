package heartbeat

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"
)

// zoom is the hook for each packet that the host receives, while requests want it.
type zoom struct {
	hook  link.Link // nil while it is not attached
	wants int
}

// errNothingFollowed is a look at flows when there are none.
var errNothingFollowed = errors.New("no flow is followed")

// zoomIn sees from now on when deferred work takes packets up.
func (a *attached) zoomIn() error {
	if a.loader == nil {
		return errNothingFollowed
	}
	if a.stamps < 0 {
		return errors.New("the kernel does not timestamp packets")
	}
	if a.zoom.hook == nil {
		hook, err := a.loader.Attach(heartbeatProgHbReceived)
		if err != nil {
			return err
		}
		if err := a.loader.Variable(heartbeatVarHbZoomed).Set(uint8(1)); err != nil {
			return errors.Join(fmt.Errorf("say that packets are looked at: %w", err), a.loader.Release(hook))
		}
		a.zoom.hook = hook
	}
	a.zoom.wants++
	return nil
}

// zoomOut ends that, with the last request that wants it.
func (a *attached) zoomOut() {
	if a.zoom.wants--; a.zoom.wants > 0 || a.zoom.hook == nil {
		return
	}
	err := errors.Join(a.loader.Variable(heartbeatVarHbZoomed).Set(uint8(0)), a.loader.Release(a.zoom.hook))
	if err != nil {
		a.env.Log.Warn("detach what sees packets before their socket", "error", err)
	}
	a.zoom.hook = nil
}
