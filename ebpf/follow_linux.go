package ebpf

// Following is what the probes of one run share of followed flows (include/follow.h).
type Following struct {
	// ReadsBy is the probe whose program at sock_recv_length records the reads of followed flows, empty none so far. The
	// first one that attaches such a program sets it: a second one would record each read again.
	ReadsBy string
}
