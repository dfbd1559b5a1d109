package main

import (
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
)

// FuzzFlags parses any text as the value of each flag that has a form of its own: what is accepted can be true, and no
// error is one of Go's parsers.
func FuzzFlags(f *testing.F) {
	fuzztest.Quick(f)
	for _, seed := range []string{
		"rpc=udp:5000-5100", "a=tcp:0-70000", "udp:5405=1s", "tcp:10.0.0.2:2380", "auto", "vrrp", "19:40", "-5m",
		"+9223372036854775807ns", "2026-11-28 19:40:00", "2026-11-28T19:40:00Z", "9999-01-01T00:00:00Z",
		"0001-01-01 00:00", "+02:00", "starvation.late_wait=20ms", `\\HOST\Processor(_Total)\% DPC Time`, "utc", "-07:30",
	} {
		f.Add(seed)
	}
	start, end := model.Time(1_764_000_000e9), model.Time(1_764_003_600e9)
	zones := []*time.Location{time.UTC, time.FixedZone("", -12*3600), time.FixedZone("", 14*3600)}
	f.Fuzz(func(t *testing.T, text string) {
		readable := func(err error) {
			t.Helper()
			for _, leak := range []string{"strconv", "parsing", "time: ", "layout"} {
				if err != nil && strings.Contains(strings.ReplaceAll(err.Error(), text, ""), leak) {
					t.Errorf("%q: %v", text, err)
				}
			}
		}
		p, err := parsePool(text)
		if readable(err); err == nil && (p.Name == "" || p.Low == 0 || p.Low > p.High) {
			t.Errorf("%q is the pool %+v", text, p)
		}
		flows, err := parseHeartbeat(text)
		if readable(err); err == nil && len(flows) == 0 {
			t.Errorf("%q is no flow", text)
		}
		for _, zone := range zones {
			at, err := parseMoment(text, start, end, zone)
			if readable(err); err == nil && (at < start || at > end) {
				t.Errorf("%q is %v, outside of the capture", text, at)
			}
			if exact, wrong := time.Parse(time.RFC3339Nano, text); wrong == nil && err == nil {
				if d := exact.Sub(at.Std()).Abs(); d > time.Duration(momentSlack) {
					t.Errorf("%q is %v", text, at)
				}
			}
		}
		offset, err := parseOffset(text)
		if readable(err); err == nil && offset != nil && offset.Abs() > 48*time.Hour {
			t.Errorf("%q is an offset of %v", text, offset)
		}
		_, err = parseCounterName(text)
		readable(err)
		_, err = parseLogTime(text)
		readable(err)
		_, err = parseAssignment(text)
		readable(err)
	})
}
