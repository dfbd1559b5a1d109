package model

import "testing"

func TestRPCStatusName(t *testing.T) {
	for status, want := range map[int64]string{
		0: "", 1721: "RPC_S_OUT_OF_RESOURCES", 0x800706ba: "RPC_S_SERVER_UNAVAILABLE", 0xc0000022: "", -1: "",
	} {
		if got := RPCStatusName(status); got != want {
			t.Errorf("%#x: %q, want %q", status, got, want)
		}
	}
}
