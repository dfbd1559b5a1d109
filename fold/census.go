package fold

import (
	"cmp"
	"fmt"
	"slices"

	"lostbeat/model"
	"lostbeat/model/state"
)

// PortUse is what is known of the use of one port.
type PortUse uint8

// Uses of ports.
const (
	// PortUnseen: no socket had it since observation began.
	PortUnseen PortUse = iota
	// PortOpen: a socket has it.
	PortOpen
	// PortResting: its socket is closed, and it is at rest.
	PortResting
	// PortMayRest: its socket was closed so lately that it may be at rest, which the stream does not report.
	PortMayRest
	// PortClosed: its socket was closed, it does not rest, and nobody has taken it again.
	PortClosed
	portUses
)

// PortPlace is a port of a census.
type PortPlace struct {
	Port uint16
	Use  PortUse
	// By has it or had it last; its PID is -1 where that is not known.
	By ProcessKey
	// Since is when it was closed, or 0.
	Since model.Time
}

// Census is what is known of each port of a bounded pool at a moment.
type Census struct {
	// Places are the ports in order, Counts how many there are of each use.
	Places []PortPlace
	Counts [portUses]int
	// Whole says that the sockets were listed that were open when observation began: a port that was never seen had none.
	Whole bool
}

// Idle are the ports that have neither an open nor a resting socket, as far as that is certain: those that were closed
// long enough ago and, where the open sockets were listed at the start, those that never had one.
func (c *Census) Idle() (list []FreePort) {
	for _, p := range c.Places {
		if p.Use == PortClosed || p.Use == PortUnseen && c.Whole {
			list = append(list, FreePort{p.Port, p.Since, p.By})
		}
	}
	return list
}

// Census lists the ports of a pool as they are now, nil where the pool is too large to be followed. at is the time at
// which a port must have been free.
func (w *Fold) Census(pool *state.Pool, at model.Time) *Census {
	if pool == nil || pool.Size == 0 || pool.Size > boundedPool || uint64(pool.High-pool.Low)+1 > boundedPool ||
		!w.room.Spend("ports of a pool", int(pool.Size)+w.State.Ports.Len()) {
		return nil
	}
	c := &Census{Whole: w.Ports.TablesFrom != 0}
	places := make([]PortPlace, int(pool.High-pool.Low)+1)
	for i := range places {
		places[i] = PortPlace{Port: pool.Low + uint16(i), By: ProcessKey{PID: -1}}
	}
	by := w.FreeBy(pool.Protocol, at)
	if r := w.Ports.Reuse[pool.Key()]; r != nil {
		for port, u := range r.ports {
			if port < pool.Low || port > pool.High {
				continue // the limits of the pool have changed
			}
			p := &places[port-pool.Low]
			p.By, p.Since = u.by, u.freeSince
			switch {
			case u.held || u.resting: // see below
			case u.freeSince > by:
				p.Use = PortMayRest
			default:
				p.Use = PortClosed
			}
		}
	}
	for port := range w.State.Ports.All() {
		if port.Shared() || !pool.Contains(port.Protocol, port.Netns, port.LocalPort) {
			continue
		}
		switch p := &places[port.LocalPort-pool.Low]; {
		case !port.Resting:
			p.Use, p.By, p.Since = PortOpen, ProcessKey{port.PID, cmp.Or(port.Process, w.State.ProcessName(port.PID))}, 0
		case p.Use != PortOpen:
			p.Use, p.Since = PortResting, 0
			if p.By.PID < 0 && port.PID > 0 {
				p.By = ProcessKey{port.PID, port.Process}
			}
		}
	}
	for i := range places {
		p := &places[i]
		if p.Use == PortUnseen && c.Whole && w.Ports.TablesFrom > by {
			p.Use = PortMayRest // it may have been closed just before
		}
		c.Counts[p.Use]++
	}
	c.Places = places
	return c
}

// Ranges writes the ports of a use as ranges, "5000-5009, 5012", at most so many.
func (c *Census) Ranges(use PortUse, most int) (text string) {
	n := 0
	for i := 0; i < len(c.Places); i++ {
		if c.Places[i].Use != use {
			continue
		}
		first := i
		for i+1 < len(c.Places) && c.Places[i+1].Use == use {
			i++
		}
		if n++; n > most {
			return text + ", ..."
		}
		if text != "" {
			text += ", "
		}
		text += fmt.Sprint(c.Places[first].Port)
		if i > first {
			text += fmt.Sprint("-", c.Places[i].Port)
		}
	}
	return text
}

// By counts the ports of a use by who has them or had them last, the largest count first.
func (c *Census) By(use PortUse) []PIDCount {
	return CountByPID(slices.Collect(func(yield func(FreePort) bool) {
		for _, p := range c.Places {
			if p.Use == use && !yield(FreePort{p.Port, p.Since, p.By}) {
				return
			}
		}
	}))
}

// RPCPorts is the configuration of the ports of RPC in the registry of a Windows host.
type RPCPorts struct {
	// State is one of model.RPCPortsValid, ...; empty where it is not known.
	State string
	// Detail is the configuration, or what is wrong with it.
	Detail string
	// At is when it was read.
	At model.Time
}

// RPCPorts returns the configuration that was read last.
func (w *Fold) RPCPorts() (c RPCPorts) {
	keys, values := w.Readings(model.ReadingRPCPorts, 0)
	for i := range keys {
		if values[i].At >= c.At {
			c = RPCPorts{keys[i].Instance, values[i].Detail, values[i].At}
		}
	}
	return c
}
