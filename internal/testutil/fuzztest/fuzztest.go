// Package fuzztest makes fuzz functions quick.
package fuzztest

import (
	"flag"
	"os"
	"strings"
	"testing"
)

// minimise is how long the fuzzer tries to shorten an input.
const minimise = "20ms"

// Quick bounds the time for which `go test -fuzz` shortens each input that it finds interesting. Its default is a
// minute, in which nothing else is tried: its method is quadratic in the length of the input. A value that is given on
// the command line stands.
func Quick(f *testing.F) {
	f.Helper()
	const name = "test.fuzzminimizetime"
	for _, arg := range os.Args {
		if strings.HasPrefix(strings.TrimLeft(arg, "-"), name) {
			return
		}
	}
	if err := flag.Set(name, minimise); err != nil {
		f.Fatal(err)
	}
}
