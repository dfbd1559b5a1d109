package etl_test

import (
	"bytes"
	"context"
	"fmt"
	"log"

	"lostbeat/etw/etl"
	"lostbeat/etw/etl/etltest"
	"lostbeat/model"
	"lostbeat/probes"
)

// exampleTrace is a trace of one CPU on which a driver's DPC ran for 3 ms.
func exampleTrace() []byte {
	w := etltest.New(etltest.Options{})
	w.Image(3, 0, etltest.Driver{
		Base: 0xfffff80003000000, Size: 0xa0000, File: `\SystemRoot\System32\drivers\badnic.sys`,
	})
	w.DPC(0, 68, 1_000_000, 1_020_000, 0xfffff80003001234)
	w.DPC(0, 68, 5_000_000, 8_000_000, 0xfffff80003001234)
	return w.Bytes()
}

// A trace of Windows is read on any system: the records as they are, each with its
// class, id and payload.
func ExampleRecords() {
	data := exampleTrace()
	for r, err := range etl.Records(bytes.NewReader(data), int64(len(data))) {
		if err != nil {
			log.Fatal(err)
		}
		if r.Classic() && r.ID == 68 {
			fmt.Println("DPC on CPU", r.CPU, "payload of", len(r.Payload), "bytes")
		}
	}
	// Output:
	// DPC on CPU 0 payload of 16 bytes
	// DPC on CPU 0 payload of 16 bytes
}

// A File decodes the records and merges the processors' streams by time. Single
// runs are events of their own when they are long; the others are in histograms.
func ExampleFile() {
	data := exampleTrace()
	f, err := etl.New(bytes.NewReader(data), int64(len(data)), etl.Options{Probes: probes.ETW})
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	err = f.Run(context.Background(), func(b *model.Batch) error {
		for i := range b.Events {
			if run, ok := b.DeferredRun(&b.Events[i]); ok {
				fmt.Println(run.Class, run.Name, "ran for", run.Dur, "on CPU", run.CPU)
			}
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// dpc badnic.sys+0x1234 ran for 3ms on CPU 0
}
