package confirm

import (
	"bytes"
	"testing"

	"lostbeat/internal/testutil/fuzztest"
)

// FuzzReadings reads any bytes as each of the files and messages that readings come from.
func FuzzReadings(f *testing.F) {
	fuzztest.Quick(f)
	f.Add([]byte("entries  searched found\n00000010 0000002a 00000001\n00000010 00000001 00000001\n"))
	f.Add([]byte("TCP: inuse 3 mem 1\nUDP: inuse 2 mem 18446744073709551615\n"))
	message := make([]byte, diagMessageSize)
	message[1] = tcpListen
	f.Add(message)
	f.Fuzz(func(t *testing.T, data []byte) {
		sums, err := sumColumns(bytes.NewReader(data))
		if err == nil && len(sums) > len(data) {
			t.Errorf("%d columns of %d bytes", len(sums), len(data))
		}
		_, _ = firstRow(bytes.NewReader(data), "entries")
		_, _ = sockstatMemory(bytes.NewReader(data), "UDP")
		if l, ok := parseListener(data); ok && (len(data) < diagMessageSize || !l.address.IsValid()) {
			t.Errorf("a listener at %v of %d bytes", l.address, len(data))
		}
	})
}
