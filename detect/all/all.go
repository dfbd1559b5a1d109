// Package all lists the detectors. Each has a folder of its own beside this
// one; adding one is a folder and a line here.
package all

import (
	"lostbeat/detect"
	"lostbeat/detect/counters"
	"lostbeat/detect/eventlog"
	"lostbeat/detect/exhaustion"
	"lostbeat/detect/heartbeatloss"
	"lostbeat/detect/hostcounters"
	"lostbeat/detect/leak"
	"lostbeat/detect/logs"
	"lostbeat/detect/packetdrop"
	"lostbeat/detect/packetmonitor"
	"lostbeat/detect/ringdrop"
	"lostbeat/detect/snapshot"
	"lostbeat/detect/socketdrop"
	"lostbeat/detect/starvation"
)

//go:generate go run lostbeat/internal/gen/detectorsdoc

// Settings returns the default settings of every detector.
func Settings() detect.Settings {
	return detect.NewSettings(
		starvation.Definition(),
		ringdrop.Definition(),
		socketdrop.Definition(),
		exhaustion.Definition(),
		leak.Definition(),
		snapshot.Definition(),
		packetdrop.Definition(),
		packetmonitor.Definition(),
		counters.Definition(),
		hostcounters.Definition(),
		eventlog.Definition(),
		heartbeatloss.Definition(),
		logs.Definition(),
	)
}
