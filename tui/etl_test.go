package tui

import (
	"bytes"
	"testing"

	"lostbeat/detect/all"
	"lostbeat/etw"
	"lostbeat/etw/etl"
	"lostbeat/etw/etl/etltest"
	"lostbeat/fold"
	"lostbeat/pipeline"
	"lostbeat/probes"
)

// played returns what a screen knows of a Windows capture.
func played(t *testing.T, capture []byte) *fold.History {
	t.Helper()
	file, err := etl.New(bytes.NewReader(capture), int64(len(capture)), etl.Options{
		Options: etw.Options{Trace: true}, Probes: probes.ETW,
	})
	if err != nil {
		t.Fatal(err)
	}
	s, settings := fold.NewHistory(), all.Settings()
	if _, err := pipeline.Run(t.Context(), file, pipeline.Options{
		Detect: &settings, Outputs: []pipeline.Output{{Name: "screen", Sink: s, Essential: true}},
	}); err != nil {
		t.Fatal(err)
	}
	s.Publish()
	return s
}

// A Windows capture with packet events has its flows on the page, with their period, the longest gap and why it was;
// one without has none.
func TestWindowsFlows(t *testing.T) {
	page := func(capture []byte) *Model {
		m := screen(played(t, capture), 160, 40, func(o *Options) { o.Live = false })
		press(m, "5")
		return m
	}
	m := page(etltest.DPCStorm(etltest.Options{}))
	for _, part := range []string{
		"udp/5405 from 10.0.0.2:5405", "heartbeatd.exe", "5.1 s", "12:00:08.009", "49",
		"CPU 1 spends 90 %",
	} {
		shows(t, m, part)
	}
	hides(t, m, "no flow is followed")
	m = page(etltest.PortLeak(etltest.Options{}))
	shows(t, m, "no flow is followed")
}
