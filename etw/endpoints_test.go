package etw

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lostbeat/model"
)

// TestEndpoints reads canned answers of an endpoint mapper.
func TestEndpoints(t *testing.T) {
	iface := MustGUID("367abb81-9844-35f1-ad32-98f038001003")
	bindings := []string{
		"ncacn_ip_tcp:10.0.0.1[49664]", "ncadg_ip_udp:10.0.0.1[5000]", "ncacn_ip_tcp:fd00::1[135,Security=Impersonation]",
		`ncacn_np:\\HOST[\pipe\lsass]`, "ncalrpc:HOST[LRPC-1]",
		"367abb81-9844-35f1-ad32-98f038001003@ncacn_http:10.0.0.1[593]",
		"", "ncacn_ip_tcp:10.0.0.1", "ncacn_ip_tcp:10.0.0.1[http]", ":x[1]", "ncalrpc:]x[",
	}
	next := func() (registeredEndpoint, error) {
		if len(bindings) == 0 {
			return registeredEndpoint{}, errNoMore
		}
		b := bindings[0]
		bindings = bindings[1:]
		return registeredEndpoint{iface, 2, b}, nil
	}
	var out model.Builder
	if err := readEndpoints(next, func(e registeredEndpoint) {
		if v, ok := e.endpoint(tableTime); ok {
			out.AddRPCEndpoint(v)
		}
	}); err != nil {
		t.Fatal(err)
	}
	b := out.Take()
	if err := model.Validate(b); err != nil {
		t.Error(err)
	}
	var got []string
	for i := range b.Events {
		v, _ := b.RPCEndpoint(&b.Events[i])
		own := v.Interface == iface.String()
		got = append(got, fmt.Sprint(v.Protocol, " ", v.LocalPort, " ", v.Endpoint, " ", v.Version, " ", own))
	}
	want := []string{
		"tcp 49664 49664 2 true", "udp 5000 5000 2 true", "tcp 135 135 2 true",
		`other 0 ncacn_np[\pipe\lsass] 2 true`, "other 0 ncalrpc[LRPC-1] 2 true", "tcp 593 593 2 true",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// TestEndpointsEnd wants a mapper that fails, and one that never ends, to be reported.
func TestEndpointsEnd(t *testing.T) {
	failed, n := errors.New("failed"), 0
	err := readEndpoints(func() (registeredEndpoint, error) {
		if n++; n == 3 {
			return registeredEndpoint{}, failed
		}
		return registeredEndpoint{}, nil
	}, func(registeredEndpoint) {})
	if !errors.Is(err, failed) {
		t.Error(err)
	}
	n = 0
	endless := func() (registeredEndpoint, error) { return registeredEndpoint{}, nil }
	if err := readEndpoints(endless, func(registeredEndpoint) { n++ }); err == nil || n != maxEndpoints {
		t.Errorf("%d endpoints: %v", n, err)
	}
}
