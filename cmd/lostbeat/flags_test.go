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
	tests := []struct {
		in   string
		want model.Time
		ok   bool
	}{
		{"2026-11-22T23:55:00.5Z", at("2026-11-22T23:55:00.5Z"), true},
		{"2026-11-23T00:55:00+01:00", at("2026-11-22T23:55:00Z"), true},
		{"23:51:02", at("2026-11-22T23:51:02Z"), true},
		{"00:10:00.25", at("2026-11-23T00:10:00.25Z"), true},
		{"23:51", at("2026-11-22T23:51:00Z"), true},
		{"+90s", at("2026-11-22T23:51:30Z"), true},
		{"90s", at("2026-11-22T23:51:30Z"), true},
		{"-2m", at("2026-11-23T00:18:00Z"), true},
		{"", 0, false},
		{"yesterday", 0, false},
		{"25:00:00", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			got, err := parseMoment(tt.in, start, end)
			if (err == nil) != tt.ok || got != tt.want {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
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
