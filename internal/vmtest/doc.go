// Package vmtest runs a test binary as the init process of another kernel under
// QEMU, for what the kernel at hand refuses.
//
// A test calls [Run] with the version of the kernel and the tests to run in the
// guest; the same package's TestMain calls [Main]. The kernels are Debian's
// packages, fetched with apt-get into the user's cache and unpacked without
// being installed. Without QEMU, or without the package, the test is skipped
// with the reason.
//
// The guest has no disk but one that a test gives it and, besides the loopback
// device, no network but the device that a test gives it, whose frames the test
// makes. It is emulated (TCG) with one processor: the times that it measures mean
// nothing.
//
// The packages of another architecture than this host's come from lists of
// their own in the cache: the host's package system does not learn of them.
package vmtest
