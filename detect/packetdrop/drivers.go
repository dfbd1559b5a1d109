package packetdrop

import (
	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/driverstat"
	"lostbeat/model"
)

// driverReasons are entries for the statistics of drivers that count losses in front of the kernel.
var driverReasons = func() map[*driverstat.Statistic]*Reason {
	causes := map[driverstat.Class]Cause{
		driverstat.Ring: CauseDevice, driverstat.Buffer: CauseDevice, driverstat.Damaged: CauseCorruption,
		driverstat.Memory: CauseMemory, driverstat.Provider: CauseConfiguration,
	}
	all := make(map[*driverstat.Statistic]*Reason)
	for i := range driverstat.Drivers {
		d := &driverstat.Drivers[i]
		for j := range d.Statistics {
			if s := &d.Statistics[j]; s.Class.Lost() {
				all[s] = &Reason{
					Name:    s.Names[0],
					Meaning: s.Meaning,
					Cause:   causes[s.Class],
					Advice:  s.AdviceFor("DEVICE"),
					Healthy: s.Class == driverstat.Damaged,
				}
			}
		}
	}
	return all
}()

// lookup returns what is known about a drop: from the table of its device's driver where the driver has counted it, and
// from those of the kernel's reasons otherwise.
func lookup(w *detect.Tick, k *fold.DropKey) (*Reason, Match) {
	if k.Place == model.PlaceDevice && k.Location == "" {
		config, _ := w.DeviceConfig(k.Device)
		if r := driverReasons[driverstat.Explain(config.Driver, k.Reason)]; r != nil {
			return r, MatchReason
		}
	}
	return Lookup(k.Reason, k.Location)
}
