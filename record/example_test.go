package record_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lostbeat/model"
	"lostbeat/record"
)

// A recording is written in batches and read as a stream, from its start or from
// any time on.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "host.lostbeat")
	start := model.TimeOf(time.Date(2026, 11, 22, 14, 3, 0, 0, time.UTC))

	w, err := record.Create(path, record.Options{Tool: "example"})
	if err != nil {
		log.Fatal(err)
	}
	var b model.Builder
	b.AddMeta(model.Meta{Time: start, Key: "host", Value: "web-07"})
	for i := range 3 {
		b.AddDrop(model.Drop{
			Time: start.Add(time.Duration(i+1) * time.Second), Dur: time.Second, CPU: 1, PID: -1, TID: -1, Queue: -1,
			Place: model.PlaceRing, Count: uint64(10 * (i + 1)), Ifindex: 2, Device: "eth0", Reason: "rx_missed_errors",
		})
	}
	if err := w.Write(b.Take()); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}

	r, err := record.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	lost := uint64(0)
	err = r.Run(context.Background(), func(b *model.Batch) error {
		for i := range b.Events {
			if drop, ok := b.Drop(&b.Events[i]); ok {
				lost += drop.Count
				fmt.Printf("%s: %d lost in the ring of %s\n", drop.Time.Std().UTC().Format(time.TimeOnly), drop.Count, drop.Device)
			}
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("together:", lost)
	// Output:
	// 14:03:01: 10 lost in the ring of eth0
	// 14:03:02: 20 lost in the ring of eth0
	// 14:03:03: 30 lost in the ring of eth0
	// together: 60
}

// The text form has one event a line; lostbeat events prints it.
func ExampleReadText() {
	const text = `2026-11-22T14:03:01.000000000Z drop place=ring count=30 device=eth0 reason=rx_missed_errors
2026-11-22T14:03:02.000000000Z drop place=backlog count=7 cpu=1
`
	err := record.ReadText(strings.NewReader(text), func(b *model.Batch) error {
		for i := range b.Events {
			if drop, ok := b.Drop(&b.Events[i]); ok {
				fmt.Println(drop.Place, drop.Count)
			}
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// ring 30
	// backlog 7
}
