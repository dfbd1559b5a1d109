package reader

import "testing"

// TestSleep tells a sleep from what looks like one.
func TestSleep(t *testing.T) {
	for detail, want := range map[string]string{
		"nanosleep: do_nanosleep":          "slept",
		"":                                 "slept",
		"write fd 4 pipe: anon_pipe_write": "waited to write to a full pipe",
		"connect fd 4 tcp:36672: __inet_stream_connect": "waited for a connection to be made",
		"wait4: do_wait": "waited for another process to end",
		"sendto fd 5 tcp:7000 (10.0.0.2): sk_stream_wait_memory": "waited for room to send on a socket",
	} {
		if did, advice := sleepOf(detail); did != want || (advice == "") != (want == "slept") {
			t.Errorf("%q: %q, %q, want %q", detail, did, advice, want)
		}
	}
}
