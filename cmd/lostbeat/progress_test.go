package main

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

func TestReadingLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		line := &readingLine{w: &out, name: "x.etl", next: time.Now().Add(quietReading)}
		tell := line.progress()
		tell(1, 10) // too early
		time.Sleep(quietReading)
		tell(4, 10)
		tell(5, 10) // too soon after
		time.Sleep(progressEvery)
		tell(20, 10)
		time.Sleep(progressEvery)
		tell(1, 0) // of nothing
		line.end()
		line.end()
		time.Sleep(progressEvery)
		tell(9, 10)
		const clear = "\r\x1b[K"
		if want := clear + "reading x.etl: 40 % · Ctrl-C stops" + clear + "reading x.etl: 100 % · Ctrl-C stops" +
			clear; out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	})
	none := showReading(&bytes.Buffer{}, "x.etl")
	if none.progress() != nil {
		t.Error("progress without a terminal")
	}
	none.end()
}
