package leak

import (
	"fmt"
	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"slices"
	"time"

	"lostbeat/model"
)

// portUse is how old the ports of a holder are and whether they are used. A
// leak holds ports that nobody uses; a pool holds ports because it uses them.
type portUse struct {
	held              int
	medianAge, oldest time.Duration
	// known is the number of ports of which it is known whether they are used,
	// idle of them are not.
	known, idle int
	// medianIdle and longestIdle are of the idle ones, as far as is known.
	medianIdle, longestIdle time.Duration
	// peerClosed are idle ones that the peer has closed (CLOSE_WAIT).
	peerClosed int
	// boundFirst were bound before they were connected, to so many destinations.
	boundFirst, destinations int
}

// destination is the remote end of a connection.
type destination struct {
	addr string
	port uint16
}

// useOf summarises the holder's present ports.
func useOf(w *detect.Tick, h *fold.Holder) portUse {
	var u portUse
	var ages, idle []time.Duration
	to := make(map[destination]bool)
	for port := range w.AllPorts() {
		if owner, _ := w.Ports.Owner(port); !h.Owns(owner) {
			continue
		}
		ages = append(ages, max(0, w.Now.Sub(port.Since)))
		unused, known := port.Idle(w.Now)
		if known {
			u.known++
		}
		if port.Activity.Idle() {
			idle = append(idle, unused)
		}
		if port.Activity == model.ActivityPeerClosed {
			u.peerClosed++
		}
		if fold.BoundFirst(port) {
			u.boundFirst++
			to[destination{port.RemoteAddr, port.RemotePort}] = true
		}
	}
	u.destinations = len(to)
	u.held, u.idle = len(ages), len(idle)
	if u.held > 0 {
		slices.Sort(ages)
		u.medianAge, u.oldest = ages[u.held/2], ages[u.held-1]
	}
	if u.idle > 0 {
		slices.Sort(idle)
		u.medianIdle, u.longestIdle = idle[u.idle/2], idle[u.idle-1]
	}
	return u
}

// enough says that the use of most ports is known: those taken just now are not
// told of yet.
func (u *portUse) enough() bool { return u.known > 0 && u.known*2 >= u.held }

// unused says that hardly any port is used.
func (u *portUse) unused() bool { return u.enough() && u.idle*10 >= u.known*9 }

// pooled says that most ports are used.
func (u *portUse) pooled() bool { return u.enough() && u.idle*2 < u.known }

// evidence returns what is known of the use.
func (u *portUse) evidence() []model.Evidence {
	if u.known == 0 {
		return nil
	}
	list := []model.Evidence{
		detect.Evidence("held ports whose last use is known", float64(u.known), "ports"),
		detect.Evidence(fmt.Sprintf("of those, idle for %s or longer", words.Span(model.IdleAfter)), float64(u.idle),
			"ports"),
	}
	if u.idle > 0 {
		list = append(
			list,
			detect.Evidence("median idle time of those", u.medianIdle.Seconds(), "s"),
			detect.Evidence("longest idle time", u.longestIdle.Seconds(), "s"),
		)
	}
	if u.peerClosed > 0 {
		list = append(list, detect.Evidence("closed by the peer (CLOSE_WAIT)", float64(u.peerClosed), "ports"))
	}
	return list
}

// halfClosed says that most of the ports are connections that the peer has closed.
func (u *portUse) halfClosed() bool { return u.peerClosed > 0 && u.peerClosed*2 >= u.known }

// bound says that most of the ports were bound before they were connected.
func (u *portUse) bound() bool { return u.boundFirst > 0 && u.boundFirst*2 >= u.held }

func (u *portUse) halfClosedText(still bool) string {
	return fmt.Sprintf(
		"The peer has closed %s of %s connections (CLOSE_WAIT); the program never %s",
		words.Number(u.peerClosed),
		words.Number(u.known),
		words.Tense(still, "does", "did"),
	)
}

func (u *portUse) boundText() string {
	return fmt.Sprintf(
		"%s of them were bound before connecting to %s: such a port is taken for every destination; with "+
			"IP_BIND_ADDRESS_NO_PORT, connect chooses the port, and connections to different destinations can share it",
		words.Number(u.boundFirst),
		words.Plural(u.destinations, "destination"),
	)
}

func (u *portUse) idleText() string {
	return fmt.Sprintf(
		"a connection pool in use: %s of %s held ports are idle, half of them for %s or longer",
		words.Number(u.idle),
		words.Number(u.known),
		words.Span(u.medianIdle),
	)
}

func (u *portUse) inUseText() string {
	return fmt.Sprintf(
		"%s of %s held ports were used in the last %s: that suggests a growing connection pool rather than a leak",
		words.Number(u.known-u.idle),
		words.Number(u.known),
		words.Span(model.IdleAfter),
	)
}
