package model

import (
	"strings"
	"testing"
)

// stream parses lines of the text form, without their date, into one batch.
func stream(t *testing.T, lines string) *Batch {
	t.Helper()
	var b Builder
	for line := range strings.Lines(lines) {
		if line = strings.TrimSpace(line); line != "" {
			if err := ParseText(&b, "2026-11-22T14:03:"+line); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
	}
	return b.Take()
}

func TestValidate(t *testing.T) {
	for _, c := range []struct{ name, lines, want string }{
		{"good", `
			09Z meta key=cpus value=2
			09Z port.active cookie=0x1 local_port=1
			10Z deferred.run dur=1ms cpu=1 pid=0 tid=0 class=softirq
			10Z port.acquire pid=1 tid=1 cookie=0x2 local_port=2
			11Z port.release pid=1 tid=1 cookie=0x2 local_port=2
			11Z port.rest cookie=0x2 local_port=2
			11Z port.release cookie=0x2 local_port=2 how=rest_end
			11Z port.activity cookie=0x1 dur=11s activity=idle
			11Z port.release cookie=0x1 local_port=1
			12Z drop dur=1s place=ring count=1 queue=-1`, ""},
		{"order", "10Z softnet cpu=0\n09Z softnet cpu=0", "out of order within its batch: 1s before"},
		{"negative duration", "10Z deferred.run dur=-1ns", "duration is negative"},
		{"unknown flags", "10Z softnet flags=0x4000", "unknown flags"},
		{"unknown kind", "10Z kind(90)", "unknown kind"},
		{"cpu below -1", "10Z softnet cpu=-2", "cpu is below -1"},
		{"cpu where there is none", "10Z port.active cpu=1", "kind has no cpu"},
		{"cpu that the host has not", "09Z meta key=cpus value=2\n10Z softnet cpu=2", "the host has 2 CPUs"},
		{"cpu outside the list", "09Z meta key=cpus value=0-3,6\n10Z softnet cpu=7", "the host has 7 CPUs"},
		{"pid", "10Z drop pid=-2 count=1", "pid or tid is below -1"},
		{"task where there is none", "10Z softnet pid=1", "kind has no task"},
		{"namespace where there is none", "10Z softnet netns_inode=1", "kind has no network namespace"},
		{"duration where there is none", "10Z meta dur=1s", "kind has no duration"},
		{"resource where there is none", "10Z meta resource=1", "kind has no resource"},
		{"stack where there is none", "10Z meta stack=0x1", "kind has no stack"},
		{"argument where there is none", "10Z meta arg0=1", "kind has no argument 0"},
		{"string where there is none", "10Z meta str2=1", "kind has no string 2"},
		{"histogram where there is none", "10Z meta hist0=1/1ns/1ns[0s:1]", "kind has no histogram 0"},
		{"negative wait", "10Z deferred.run wait=-1ns", "wait_ns is negative"},
		{"port", "10Z port.active local_port=65536", "local_port is not a valid port"},
		{"truth", "10Z port.active resting=2", "resting is not a truth value"},
		{"enumeration", "10Z port.active protocol=9", "protocol has no such value"},
		{"number", "10Z counter value=NaN", "value is not a number"},
		{"histogram", "10Z deferred.hist run=2/1ns/1ns[0s:1]", "buckets hold 1 of 2"},
		{"loss of nothing", "10Z loss", "a loss of nothing"},
		{"finding not derived", `10Z finding body="{}"`, "not marked derived"},
		{"finding without body", "10Z finding flags=derived", "body does not decode"},
		{"pool", "10Z port.pool low=2 high=1", "ends before it begins"},
		{"release", "10Z port.release cookie=0x5", "never acquired"},
		{"release while it rests", "10Z port.rest cookie=0x5\n11Z port.release cookie=0x5", "never acquired"},
		{"end of a rest while its socket holds another port", "10Z port.acquire cookie=0x5\n11Z port.rest " +
			"cookie=0x5\n12Z port.acquire cookie=0x5\n13Z port.release cookie=0x5 how=close\n14Z port.release cookie=0x5 " +
			"how=rest_end", ""},
		{"a rest too many", "10Z port.rest cookie=0x5\n10Z port.rest cookie=0x5\n11Z port.release cookie=0x5 " +
			"how=rest_end\n11Z port.release cookie=0x5 how=rest_end\n11Z port.release cookie=0x5 " +
			"how=rest_end", "never acquired"},
		{"activity of what nobody holds", "10Z port.activity cookie=0x5 activity=in_use", "not held"},
		{"in use and idle", "10Z port.acquire cookie=0x5\n10Z port.activity dur=5s cookie=0x5 " +
			"activity=in_use", "has been idle"},
		{"release of an unknown socket", "10Z port.release", ""},
		{"release after loss", "10Z loss lost=1\n10Z port.release cookie=0x5", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Validate(stream(t, c.lines))
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestValidateLate(t *testing.T) {
	first, late := stream(t, "10Z softnet cpu=0\n12Z softnet cpu=0"), stream(t, "11Z softnet cpu=0")
	if err := Validate(first, late); err == nil || !strings.Contains(err.Error(), "1 events are older") {
		t.Errorf("an undeclared late event: %v", err)
	}
	if err := Validate(first, late, stream(t, "13Z loss lost=1 origin=late")); err != nil {
		t.Errorf("a declared late event: %v", err)
	}
	if err := Validate(first, late, stream(t, "13Z loss lost=1 origin=ringbuf")); err == nil {
		t.Error("a loss elsewhere declares no late event")
	}
}

func TestValidateOptions(t *testing.T) {
	v := Validator{Partial: true, AllowUnknown: true}
	if err := v.Check(stream(t, "10Z port.release cookie=0x5\n10Z kind(90) arg0=1")); err != nil {
		t.Error(err)
	}
}

func TestValidateBoundsItsReport(t *testing.T) {
	err := Validate(stream(t, strings.Repeat("10Z loss\n", 1000)))
	if lines := strings.Count(err.Error(), "\n") + 1; lines != maxProblems+1 ||
		!strings.Contains(err.Error(), "and 980 more") {
		t.Errorf("%d lines: %v", lines, err)
	}
}
