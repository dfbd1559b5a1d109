package platform

import (
	"slices"
	"testing"

	"lostbeat/internal/testutil/fuzztest"
)

func TestParseCPUList(t *testing.T) {
	for list, want := range map[string][]int{
		"":            nil,
		"\n":          nil,
		"0-1\n":       {0, 1},
		"0":           {0},
		"0-3":         {0, 1, 2, 3},
		"0-1,8,10-11": {0, 1, 8, 10, 11},
	} {
		got, err := ParseCPUList[int](list)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v; want %v", list, got, err, want)
		}
	}
	for _, bad := range []string{"x", "1-", "-1", "3-1", "1,,2", "0-99999999", "0-65535,0-65535", " 1"} {
		if got, err := ParseCPUList[int](bad); err == nil {
			t.Errorf("%q is accepted as %v", bad, got)
		}
	}
}

func FuzzParseCPUList(f *testing.F) {
	fuzztest.Quick(f)
	f.Add("0-3,8")
	f.Add("65535")
	f.Add("1-")
	f.Fuzz(func(t *testing.T, list string) {
		cpus, err := ParseCPUList[int](list)
		if err == nil && len(cpus) > maxCPU {
			t.Errorf("%d CPUs", len(cpus))
		}
	})
}
