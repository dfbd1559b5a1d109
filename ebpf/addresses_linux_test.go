package ebpf

import (
	"testing"

	"github.com/cilium/ebpf/asm"
)

// TestWithoutAddresses makes zero what names a kernel function, and that alone.
func TestWithoutAddresses(t *testing.T) {
	function := asm.LoadImm(asm.R1, -1, asm.DWord).WithReference("sock_rfree").WithSymbol("start")
	table := asm.LoadMapPtr(asm.R2, -1).WithReference("counts")
	program := asm.Instructions{function, table, asm.LoadImm(asm.R3, 7, asm.DWord), asm.Return()}
	if !withoutAddresses(program) {
		t.Error("nothing was changed")
	}
	if got := program[0]; got.Constant != 0 || got.Reference() != "" || got.Symbol() != "start" || got.Dst != asm.R1 {
		t.Errorf("the function is now %v", got)
	}
	if got := program[1]; got.Reference() != "counts" || got.Src != table.Src {
		t.Errorf("the map is now %v", got)
	}
	if got := program[2]; got.Constant != 7 {
		t.Errorf("the number is now %v", got)
	}
	if withoutAddresses(program) {
		t.Error("a program without functions was changed")
	}
}
