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
}

// useOf summarises the holder's present ports.
func useOf(w *detect.Tick, h *fold.Holder) portUse {
	var u portUse
	var ages, idle []time.Duration
	for port := range w.AllPorts() {
		if owner, _ := w.Ports.Owner(port); !h.Owns(owner) {
			continue
		}
		ages = append(ages, max(0, w.Now.Sub(port.Since)))
		unused, known := port.Idle(w.Now)
		if known {
			u.known++
		}
		if port.Activity == model.ActivityIdle {
			idle = append(idle, unused)
		}
	}
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
		detect.Evidence("held ports of which the use is known", float64(u.known), "ports"),
		detect.Evidence(fmt.Sprintf("of them idle for %s or longer", words.Span(model.IdleAfter)), float64(u.idle), "ports"),
	}
	if u.idle > 0 {
		list = append(
			list,
			detect.Evidence("median idle time of those", u.medianIdle.Seconds(), "s"),
			detect.Evidence("longest idle time", u.longestIdle.Seconds(), "s"),
		)
	}
	return list
}

func (u *portUse) idleText() string {
	return fmt.Sprintf(
		"not a pool in use: %s of %s held ports idle, half of them for %s or longer",
		words.Number(u.idle),
		words.Number(u.known),
		words.Span(u.medianIdle),
	)
}

func (u *portUse) inUseText() string {
	return fmt.Sprintf(
		"%s of %s held ports were used within the last %s: that speaks for a pool that grows rather than for a leak",
		words.Number(u.known-u.idle),
		words.Number(u.known),
		words.Span(model.IdleAfter),
	)
}
