package main

import "testing"

func TestCounterNames(t *testing.T) {
	f := captureFlags{names: []string{`Cpu\Empfangene Pakete, verworfen=Network Interface/Packets Received Discarded`}}
	names, err := f.counterNames()
	if err != nil || names[`Cpu\Empfangene Pakete, verworfen`] != "Network Interface/Packets Received Discarded" {
		t.Errorf("got %v, %v", names, err)
	}
	for _, bad := range []string{"", "x", `a\b`, "a=b/c", `a\b=c`} {
		f := captureFlags{names: []string{bad}}
		if _, err := f.counterNames(); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
