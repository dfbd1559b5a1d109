package perfmon_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	"lostbeat/model"
	"lostbeat/source/perfmon"
)

// exampleLog is what logman writes, in a time zone one hour east of Greenwich.
const exampleLog = `"(PDH-CSV 4.0) (CET)(-60)","\\CVP01\Processor(1)\% DPC Time",` +
	`"\\CVP01\Network Interface(NIC)\Packets Received Discarded"
"03/10/2026 19:30:00.000"," ","7"
"03/10/2026 19:30:01.000","1.5","7"
"03/10/2026 19:30:02.000","97.25","47"
`

// A performance log of Windows becomes events: shares from 0 to 1, times in UTC,
// and what was lost as drops.
func Example() {
	l, err := perfmon.New(strings.NewReader(exampleLog), int64(len(exampleLog)), "log.csv", perfmon.Options{})
	if err != nil {
		log.Fatal(err)
	}
	err = l.Run(context.Background(), func(b *model.Batch) error {
		for i := range b.Events {
			e := &b.Events[i]
			at := e.Time.Std().UTC().Format(time.TimeOnly)
			if v, ok := b.Counter(e); ok && v.Name == "Processor/% DPC Time" {
				fmt.Printf("%s CPU %d: %.4f of the time in DPCs\n", at, v.CPU, v.Value)
			}
			if v, ok := b.Drop(e); ok {
				fmt.Printf("%s %s: %d packets discarded\n", at, v.Device, v.Count)
			}
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// 18:30:01 CPU 1: 0.0150 of the time in DPCs
	// 18:30:02 CPU 1: 0.9725 of the time in DPCs
	// 18:30:02 NIC: 40 packets discarded
}
