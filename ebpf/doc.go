// Package ebpf is the Linux engine: it checks what the kernel allows, attaches
// the probes, reads the shared ringbuf, collects the probes' counts once a
// second and turns all of it into one stream, a source.Source called Live.
//
// Probes import this package, never the reverse. The cilium library is always
// imported as cebpf, and only here and in probes/*/*_linux.go.
package ebpf
