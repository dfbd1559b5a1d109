//go:build !linux

package confine

import (
	"errors"
	"runtime"
)

var errSystem = errors.New("not on " + runtime.GOOS)

func nothing() (r Result) {
	for _, layer := range []string{LayerPrivileges, LayerLandlock, LayerSeccomp} {
		r.add(layer, errSystem)
	}
	return r
}

// Reader does nothing on this system.
func Reader(Files) Result { return nothing() }

// Client does nothing on this system.
func Client(Files, []uint16) Result { return nothing() }

// Converter does nothing on this system.
func Converter(Files) Result { return nothing() }

// Tracer does nothing on this system.
func Tracer(Tracing) Result { return nothing() }

// LandlockVersion is 0: this system has no Landlock.
func LandlockVersion() int { return 0 }

// SeccompSupported reports that this system has no filters of system calls.
func SeccompSupported() bool { return false }

// Has reports that this system has no capabilities.
func Has(string) bool { return false }
