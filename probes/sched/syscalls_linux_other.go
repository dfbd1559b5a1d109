//go:build linux && !amd64

package sched

// legacyCalls are system calls that newer architectures do without.
var legacyCalls = map[int32]systemCall{}
