//go:build !linux

package main

import "lostbeat/pipeline"

// journalOutput is nothing on systems without systemd.
func journalOutput(func(string)) (outputs []pipeline.Output, end func()) { return nil, func() {} }
