// Package run holds what the commands run: it opens sources, wires them to the
// pipeline, the detectors and the outputs, and hands requests for detail back to
// a live source. It prints nothing but through outputs that it is given;
// cmd/lostbeat parses flags, prints results and sets exit statuses.
package run
