package main

import (
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/internal/hint"
	"lostbeat/model"
)

func TestParsePool(t *testing.T) {
	tests := []struct {
		in   string
		want ebpf.Pool
		ok   bool
	}{
		{"rpc=udp:5000-5100", ebpf.Pool{Name: "rpc", Protocol: model.ProtocolUDP, Low: 5000, High: 5100}, true},
		{"web=TCP:443", ebpf.Pool{Name: "web", Protocol: model.ProtocolTCP, Low: 443, High: 443}, true},
		{"all=udp:1-65535", ebpf.Pool{Name: "all", Protocol: model.ProtocolUDP, Low: 1, High: 65535}, true},
		{"udp:5000-5100", ebpf.Pool{}, false},
		{"=udp:5000-5100", ebpf.Pool{}, false},
		{"rpc=5000-5100", ebpf.Pool{}, false},
		{"rpc=sctp:5000-5100", ebpf.Pool{}, false},
		{"rpc=udp:5100-5000", ebpf.Pool{}, false},
		{"rpc=udp:0-10", ebpf.Pool{}, false},
		{"rpc=udp:1-65536", ebpf.Pool{}, false},
		{"rpc=udp:a-b", ebpf.Pool{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			got, err := parsePool(tt.in)
			if (err == nil) != tt.ok || got != tt.want {
				t.Errorf("got %+v, %v", got, err)
			}
			if err != nil && hint.Of(err) == "" {
				t.Error("the error has no hint")
			}
		})
	}
}

func TestParseMoment(t *testing.T) {
	at := func(s string) model.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return model.TimeOf(v)
	}
	start, end := at("2026-11-22T23:50:00Z"), at("2026-11-23T00:20:00Z")
	east := time.FixedZone("EAST", 2*60*60)
	tests := []struct {
		in   string
		zone *time.Location
		want model.Time // 0 for an error
	}{
		{"2026-11-22T23:55:00.5Z", time.UTC, at("2026-11-22T23:55:00.5Z")},
		{"2026-11-23T00:55:00+01:00", time.UTC, at("2026-11-22T23:55:00Z")},
		{"23:51:02", time.UTC, at("2026-11-22T23:51:02Z")},
		{"00:10:00.25", time.UTC, at("2026-11-23T00:10:00.25Z")},
		{"23:51", time.UTC, at("2026-11-22T23:51:00Z")},
		{"01:51:02", east, at("2026-11-22T23:51:02Z")},
		{"02:10", east, at("2026-11-23T00:10:00Z")},
		{"2026-11-22 23:51:02", time.UTC, at("2026-11-22T23:51:02Z")},
		{"2026-11-23 01:51:02.5", east, at("2026-11-22T23:51:02.5Z")},
		{"2026-11-23T01:51:02", east, at("2026-11-22T23:51:02Z")},
		{"2026-11-23 02:00", east, at("2026-11-23T00:00:00Z")},
		{"+90s", time.UTC, at("2026-11-22T23:51:30Z")},
		{"90s", time.UTC, at("2026-11-22T23:51:30Z")},
		{"-2m", time.UTC, at("2026-11-23T00:18:00Z")},
		{"00:20:01", time.UTC, end}, // within the last second
		{"23:51", east, 0},          // outside
		{"2026-11-22T23:49:58Z", time.UTC, 0},
		{"+31m", time.UTC, 0},
		{"-1h", time.UTC, 0},
		{"", time.UTC, 0},
		{"yesterday", time.UTC, 0},
		{"25:00:00", time.UTC, 0},
	}
	for _, tt := range tests {
		t.Run(tt.in+" "+tt.zone.String(), func(t *testing.T) {
			got, err := parseMoment(tt.in, start, end, tt.zone)
			if (err == nil) != (tt.want != 0) || got != tt.want {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
			if err != nil && hint.Of(err) == "" {
				t.Errorf("%v says nothing of what to write", err)
			}
		})
	}
}

func TestByteSize(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "64M": 64e6, "64MiB": 64 << 20, "1GiB": 1 << 30, "8388608": 8 << 20} {
		var got byteSize
		if err := got.Set(in); err != nil || int64(got) != want {
			t.Errorf("%s: got %d, %v, want %d", in, got, err, want)
		}
	}
	var b byteSize
	for _, in := range []string{"", "x", "-1", "9999999999999999999999"} {
		if err := b.Set(in); err == nil {
			t.Errorf("%q was accepted as %d", in, b)
		}
	}
}

func TestParseKinds(t *testing.T) {
	got, err := parseKinds([]string{"drop", "port"})
	if err != nil || !got[model.KindDrop] || !got[model.KindPortAcquire] || !got[model.KindPortFail] ||
		got[model.KindSoftnet] {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := parseKinds([]string{"nonsense"}); err == nil || hint.Of(err) == "" {
		t.Errorf("an unknown kind gave %v", err)
	}
}
