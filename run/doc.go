// Package run holds what the commands run: it opens sources and wires them to the
// pipeline, which hands requests for detail back to a live one, to the detectors
// and to the outputs. It prints nothing but through outputs that it is given;
// cmd/lostbeat parses flags, prints results and sets exit statuses.
package run
