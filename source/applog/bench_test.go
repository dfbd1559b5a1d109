package applog

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/source"
)

// BenchmarkRead reads a log of 64 MiB as CVP writes it; its MB/s are those of one core.
func BenchmarkRead(b *testing.B) {
	for name, every := range map[string]int{"records": 1, "stack traces": 20} {
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(testutil.TempDir(b), "cvp.log")
			size := writeBig(b, path, 64<<20, every)
			b.SetBytes(size)
			for b.Loop() {
				l, err := Open(path, source.OpenOptions{})
				if err != nil {
					b.Fatal(err)
				}
				if err := l.Run(context.Background(), func(*model.Batch) error { return nil }); err != nil {
					b.Fatal(err)
				}
				l.Close()
			}
		})
	}
}

// writeBig writes a log in which one line of so many has a time.
func writeBig(b *testing.B, path string, size, every int) int64 {
	b.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	at := time.Date(2013, 3, 30, 0, 0, 0, 0, time.UTC)
	var text []byte
	for n := 0; len(text) < size; n++ {
		if n%every != 0 {
			text = append(text, "\tat com.example.voice.heartbeat.Handler.process(Handler.java:231)\r\n"...)
			continue
		}
		at = at.Add(time.Duration(random.IntN(200)) * time.Millisecond)
		text = at.AppendFormat(text, "Jan 02 2006 15:04:05.000 ")
		text = fmt.Appendf(text, "-0500: %%CVP_8_5_IVR-7-CALL: {Thrd=http-8000-%d} VXMLManager:generateVXML: CALLGUID=%016X "+
			"Generated VXML from template 'PlayMediaIOS.template'\r\n", random.IntN(9), random.Uint64())
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		b.Fatal(err)
	}
	return int64(len(text))
}
