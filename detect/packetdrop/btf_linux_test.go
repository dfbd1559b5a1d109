package packetdrop

import (
	"slices"
	"strings"
	"testing"

	"lostbeat/probes/confirm"

	"github.com/cilium/ebpf/btf"
)

// TestRunningKernel has an entry for each reason of the running kernel.
func TestRunningKernel(t *testing.T) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for name, of := range map[string]func() (*btf.Spec, error){
		"skb_drop_reason": func() (*btf.Spec, error) { return kernel, nil },
		"ovs_drop_reason": func() (*btf.Spec, error) { return btf.LoadKernelModuleSpec("openvswitch") },
	} {
		spec, err := of()
		var enum *btf.Enum
		if err != nil || spec.TypeByName(name, &enum) != nil {
			t.Logf("this kernel has no %s", name)
			continue
		}
		for _, v := range enum.Values {
			reason := strings.TrimPrefix(v.Name, "SKB_DROP_REASON_")
			switch {
			case strings.HasPrefix(reason, "SKB_NOT_"), reason == "SKB_CONSUMED", strings.HasPrefix(reason, "__"),
				strings.HasSuffix(reason, "_MASK"), strings.HasSuffix(reason, "MAX"):
				continue // no loss, or no reason
			}
			found++
			if byName[reason] == nil {
				t.Errorf("%s has no entry", reason)
			}
		}
	}
	if found < 60 { // Linux 6.1 has 64
		t.Errorf("found %d reasons only", found)
	}
	t.Logf("%d reasons", found)
}

// TestReadings asks only for readings that the probe answers.
func TestReadings(t *testing.T) {
	known := confirm.Names()
	check := func(r *Reason) {
		for _, name := range r.Confirm {
			if !slices.Contains(known, name) {
				t.Errorf("%s asks for %q, which no probe reads", r.Name, name)
			}
		}
	}
	for _, r := range allReasons() {
		check(r)
	}
	for i := range functions {
		check(&functions[i])
	}
	if !slices.Contains(known, ReadSNMP) {
		t.Errorf("no probe reads %q", ReadSNMP)
	}
}
